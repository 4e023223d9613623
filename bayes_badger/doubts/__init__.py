"""All that speaks against a run, gathered in one place, from which all others take it.

A doubt concerns one of four things, which must not be mixed up: the posterior's numbers, the
numbers of some tasks, how the program fits its data, or leave-one-out, by which runs are compared.
"""

from bayes_badger.doubts.doubt import FIT, HEADINGS, LEFT_OUT, NUMBERS, TASKS, Doubt, Findings

__all__ = ["FIT", "HEADINGS", "LEFT_OUT", "NUMBERS", "TASKS", "Doubt", "Findings"]
