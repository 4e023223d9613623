"""Breeds a policy for a program of one's own, and keeps it in a file that a recipe may name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.assembling import plain
from bayes_badger.errors import BadgerError, listed
from bayes_badger.fitting import prepared, program_at
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._alone import as_lifetime
from bayes_badger.inner_loop._plan import plan_of_example
from bayes_badger.inner_loop._taught import Taught, load, save
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.learning import check_same
from bayes_badger.outcomes import check_outcome, typed_outcome
from bayes_badger.outer_loop import breeding, checkpoint
from bayes_badger.preflight.checks import BREEDING, POLICY, check_breed, split_settings
from bayes_badger.program import Program
from bayes_badger.program.parameters import from_table
from bayes_badger.recipe import validated
from bayes_badger.runs import Run

ASKED = "asked.json"


class Shape(BaseModel):
    """What a policy is like. With none of it set, breeding goes on from the one that is shipped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: int = Field(4, ge=0, description="numbers of a message; 0: experts are silent")
    state: int = Field(12, ge=1, description="numbers of the layers between")
    width: int = Field(2, ge=0, description="numbers that are remembered; 0: no memory")
    kinds: int = Field(1, ge=1, description="of experts; 1: all are alike")


class Bred(NamedTuple):
    """What was bred: `path` is the policy's file, the others as of `outer_loop.breeding.Bred`."""

    path: Path
    steps: int
    curve: list[dict[str, Any]]
    finished: bool


def breed(
    program: str | Path | Callable[..., Any],
    data: Any = None,
    *,
    to: str | Path,
    steps: int = 300,
    learned: Run | None = None,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    missing: str = "refuse",
    seed: int = 0,
    report: Report = silent,
) -> Bred:
    """Breeds the policy of `experts` for one program, whose tasks share no latents.

    On the tasks of the data, where there are any; else on ever new ones, simulated from the
    program's `world`, or from itself. The recipe `experts` takes it with the setting
    `inference.policy`.

    Args:
        program: As of `fit`.
        data: As of `fit`; or stored simulations.
        to: The file to write, NAME.safetensors. Checkpoints stand beside it until all is done, in
            NAME.breeding: the same call goes on from them.
        steps: How many.
        learned: A run of the same program, whose learned parameters it is to have.
        task: The column that tells the tasks apart.
        settings: Of the program; of breeding with the prefix "breeding.", as "breeding.penalty";
            and of a policy that starts anew with the prefix "policy.", as "policy.message".
        columns: Table columns that make up one column of the program, `{"X": ["x1", "x2"]}`.
        missing: "refuse" rows where something is missing, or "drop" them.
        seed: Of everything random.
        report: Is told how far it has come. A KeyboardInterrupt keeps what was bred.

    Raises:
        BadgerError: Where there is nothing that a policy could do, or something asked is wrong.
    """
    check_breed(program, data, task=task, settings=settings, missing=missing)
    own, parts = split_settings(settings or {}, (BREEDING, POLICY))
    for_breeding = {**parts[BREEDING], "steps": steps}
    how = validated(breeding.Settings, BREEDING, for_breeding, "breeding")
    shape = validated(Shape, POLICY, parts[POLICY], "a policy")
    path = Path(to).expanduser().absolute()
    loaded, keys = program_at(program), jax.random.split(jax.random.key(seed), 4)
    lifted, evidence, world, _ = prepared(
        loaded, own, data, task, columns, missing, (None, None), keys[0]
    )
    if learned is not None:
        lifted = from_table(lifted, learned.parameters)
    check_outcome(lifted, evidence, keys[1])
    evidence = typed_outcome(lifted, evidence)
    _check(lifted, evidence, keys[1])
    inputs: Any = getattr(loaded, "optional", lambda name: None)("inputs")
    if world is None:
        source = breeding.Source(lifted, inputs, evidence=evidence)
    else:
        source = breeding.Source(lifted, inputs, None if world.model is lifted.model else world)
    folder = path.with_suffix(".breeding")
    asked = {
        "program": lifted.name,
        "program's file": getattr(loaded, "sha256", ""),
        "settings": plain(own),
        "evidence": evidence.digest(),
        "parameters": {n: x.tolist() for n, x in (learned.parameters if learned else {}).items()},
        "breeding": how.model_dump(),
        "policy": parts[POLICY],
        "seed": seed,
    }
    _remember(folder, json.loads(json.dumps(asked, default=str)))
    start = Taught(keys[2], **shape.model_dump()) if parts[POLICY] else load(experts.UNIVERSAL)
    found = breeding.breed(start, [source], keys[3], how, report, folder)
    policy: Any = found.policy
    save(policy, path)
    if found.finished:
        checkpoint.remove(folder)
        (folder / ASKED).unlink(missing_ok=True)
        folder.rmdir()
    return Bred(path, found.steps, found.curve, found.finished)


def _check(program: Program, evidence: Any, key: Any) -> None:
    """That a policy has something to do."""
    reason = experts.Experts(experts.Settings()).why_not(program, evidence)
    if reason is not None:
        raise BadgerError(f"{program.name}: experts {reason}")
    if as_lifetime(program, evidence):
        names = listed(x.name for x in program.latents if x.discrete or x.scope == "lifetime")
        raise BadgerError(
            f"{program.name}: experts use a policy where tasks share no latents and none is "
            f"discrete, unlike {names}"
        )
    if plan_of_example(program, key).straight:
        raise BadgerError(
            f"{program.name}: one Gaussian is its posterior, which leaves nothing to a policy"
        )


def _remember(folder: Path, asked: Mapping[str, Any]) -> None:
    """Notes what is asked, where nothing is; else it must be the same."""
    if (folder / ASKED).exists():
        check_same(folder, asked)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ASKED).write_text(json.dumps(asked, indent=1))
    except OSError as error:
        raise BadgerError(f"no checkpoint in {folder}: {error.strerror or error}") from error
