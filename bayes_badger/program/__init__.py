"""A NumPyro program, lifted: the room that alone touches effect handlers."""

from bayes_badger.program.examples import STEPS, TASKS, from_inputs
from bayes_badger.program.incomplete_gamma import register
from bayes_badger.program.latent import LIFETIME, TASK, Derived, Latent
from bayes_badger.program.lift import lift
from bayes_badger.program.one_task import OneTask
from bayes_badger.program.parts import Outcome, Simulated, Step, Terms
from bayes_badger.program.program import Program
from bayes_badger.program.walk import UNCONSTRAINED, WHITENED, Data
from bayes_badger.signature import Signature, read_signature

# Programs whose densities have an incomplete gamma function need its second derivative.
register()

__all__ = [
    "LIFETIME",
    "STEPS",
    "TASK",
    "TASKS",
    "UNCONSTRAINED",
    "WHITENED",
    "Data",
    "Derived",
    "Latent",
    "OneTask",
    "Outcome",
    "Program",
    "Signature",
    "Simulated",
    "Step",
    "Terms",
    "from_inputs",
    "lift",
    "read_signature",
]
