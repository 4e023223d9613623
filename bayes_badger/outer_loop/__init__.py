"""The outer loop: what is learned from many tasks, and stays when each is over."""

from bayes_badger.outer_loop import checkpoint
from bayes_badger.outer_loop.loop import Learned, Settings, learn, shared, why_not
from bayes_badger.outer_loop.many import learn_lifetimes, why_no_lifetimes

__all__ = [
    "Learned",
    "Settings",
    "checkpoint",
    "learn",
    "learn_lifetimes",
    "shared",
    "why_no_lifetimes",
    "why_not",
]
