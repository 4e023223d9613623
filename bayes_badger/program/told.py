"""What a program raises when it is called, as one line that names the program and its line."""

from __future__ import annotations

import contextlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax

from bayes_badger.errors import BadgerError
from bayes_badger.program.examples import STEPS, TASKS
from bayes_badger.program.proof import NotAcceptedError
from bayes_badger.signature import Signature

LIBRARY = Path(__file__).resolve().parents[1]
SHELVES = LIBRARY / "_shelves"
STANDARD = Path(sysconfig.get_paths()["stdlib"])


@contextlib.contextmanager
def told(signature: Signature) -> Iterator[None]:
    """Turns whatever the user's function raises into one line.

    Raises:
        NotAcceptedError: For any error but a BadgerError, which passes.
    """
    try:
        yield
    except BadgerError:
        raise
    except jax.errors.ConcretizationTypeError as error:
        raise NotAcceptedError(
            f"{signature.program}{_line_of(error.__traceback__)} chooses by the value of its data "
            "or latents, which cannot be compiled: write jnp.where instead of if, and give sizes "
            "by x.shape"
        ) from error
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise NotAcceptedError(
            f"{signature.program}{_line_of(error.__traceback__)} fails on {TASKS} tasks of "
            f"{STEPS} steps: {type(error).__name__}: {first}"
        ) from error


def _line_of(traceback: TracebackType | None) -> str:
    """Names the last line of the user's own code in a traceback."""
    found = ""
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        of_library = path.is_relative_to(LIBRARY) and not path.is_relative_to(SHELVES)
        others = path.is_relative_to(STANDARD) or "site-packages" in path.parts
        if not (of_library or others or path.name.startswith("<frozen")):
            found = f", line {traceback.tb_lineno},"
        traceback = traceback.tb_next
    return found
