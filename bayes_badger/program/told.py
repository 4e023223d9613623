"""What a program raises when it is called, as one line that names the program and its line."""

from __future__ import annotations

from typing import Any

import jax

from bayes_badger.errors import BadgerError
from bayes_badger.program.examples import STEPS, TASKS
from bayes_badger.program.proof import NotAcceptedError
from bayes_badger.program.signature import Signature


class told:  # noqa: N801 - used as a function
    """Turns what a program raises when it is called into one line that names the program."""

    def __init__(self, signature: Signature) -> None:
        self.program = signature.program

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or isinstance(error, BadgerError) or not isinstance(error, Exception):
            return
        where = _line_of(traceback)
        if isinstance(error, jax.errors.ConcretizationTypeError):
            raise NotAcceptedError(
                f"{self.program}{where} chooses by the value of its data or latents, which cannot "
                "be compiled: write jnp.where instead of if, and give sizes by x.shape"
            ) from error
        first = str(error).strip().splitlines()
        raise NotAcceptedError(
            f"{self.program}{where} fails on {TASKS} tasks of {STEPS} steps: "
            f"{type(error).__name__}: {first[0] if first else ''}"
        ) from error


def _line_of(traceback: Any) -> str:
    """Names the last line of the user's own code in a traceback."""
    found = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        own = "site-packages" in code.co_filename or "bayes_badger" in code.co_filename
        if not own and not code.co_filename.startswith("<frozen"):
            found = f", line {traceback.tb_lineno},"
        traceback = traceback.tb_next
    return found
