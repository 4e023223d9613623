"""A NumPyro program, lifted: the room that alone touches effect handlers."""

from bayes_badger.program.latent import LIFETIME, TASK, Derived, Latent
from bayes_badger.program.lift import STEPS, TASKS, lift
from bayes_badger.program.program import Program, Simulated, Step, Terms
from bayes_badger.program.signature import Signature, read_signature
from bayes_badger.program.walk import UNCONSTRAINED, WHITENED, Data

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
    "Program",
    "Signature",
    "Simulated",
    "Step",
    "Terms",
    "lift",
    "read_signature",
]
