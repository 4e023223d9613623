"""The outer loop: what is learned from many tasks, and stays when each is over."""

from bayes_badger.outer_loop import checkpoint
from bayes_badger.outer_loop.loop import Learned, Settings, learn, why_not

__all__ = ["Learned", "Settings", "checkpoint", "learn", "why_not"]
