"""Work on many tasks in chunks of one shape: compiled once, told as it goes, on all cores.

Where there are several devices, each takes its share of every chunk.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._compilations import fingerprint, has_run, note
from bayes_badger.inner_loop._portions import padded
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import Data

# Tasks of one dispatch, for each device; more of them would show less progress.
CHUNK = 32
AXIS = "task"

Work = Callable[[np.ndarray, Data, np.ndarray], Any]


def each_task[Out](function: Callable[[Any], Out], xs: Any) -> Out:
    """Compiled work on the tasks of a chunk: one after another on a CPU, elsewhere all at once.

    Every device takes as many tasks as any other.
    """

    def some(xs: Any) -> Out:
        if jax.default_backend() == "cpu":
            return jax.lax.map(function, xs)
        return jax.vmap(function)(xs)

    devices, tasks = jax.local_devices(), len(jax.tree.leaves(xs)[0])
    if len(devices) == 1 or tasks % len(devices):
        return some(xs)
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    spread = jax.sharding.PartitionSpec(AXIS)
    shared = jax.shard_map(some, mesh=mesh, in_specs=(spread,), out_specs=spread, check_vma=False)
    found: Out = shared(xs)
    return found


def in_batches[Out](function: Callable[[Any], Out], xs: Any, batch: int) -> Out:
    """`jax.lax.map` in batches, of a function whose outputs may be without entries too.

    Example:
        >>> [x.shape for x in in_batches(lambda x: (x, jnp.zeros(0)), jnp.arange(5.0), 2)]
        [(5,), (5, 0)]
    """
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], xs))
    leaves, tree = jax.tree.flatten(shapes)

    def some(xs: Any) -> list[Any]:
        return [x for x in jax.tree.leaves(function(xs)) if x.size]

    many, found = len(jax.tree.leaves(xs)[0]), iter(jax.lax.map(some, xs, batch_size=batch))
    every = [next(found) if x.size else jnp.zeros((many, *x.shape), x.dtype) for x in leaves]
    out: Out = jax.tree.unflatten(tree, every)
    return out


class Chunk(NamedTuple):
    """Some tasks, as compiled code takes them.

    Attributes:
        tasks: Their positions, the first again to fill up, `[n]`.
        real: How many of them are meant.
        data: `[n, step, ...]`.
        mask: Which rows are real, `[n, step]`.
    """

    tasks: np.ndarray
    real: int
    data: Data
    mask: Any


def positions(evidence: Evidence, most: int = CHUNK) -> tuple[list[np.ndarray], int]:
    """Which tasks come together, the shortest first, and how many on each device at most."""
    order, devices = np.argsort(evidence.lengths, kind="stable"), len(jax.local_devices())
    each = -(-len(order) // devices)
    size = devices * min(most, 1 << int(np.ceil(np.log2(max(each, 1)))))
    return [order[i : i + size] for i in range(0, len(order), size)], size


def chunk_of(evidence: Evidence, tasks: np.ndarray, size: int) -> Chunk:
    """Some tasks, filled up to a size."""
    block = evidence.select(tasks).padded()
    data, mask = padded(data_of(block), block.mask, size)
    filled = np.concatenate([tasks, np.repeat(tasks[:1], size - len(tasks))])
    return Chunk(filled, len(tasks), data, mask)


def over_chunks(evidence: Evidence, work: Work, report: Report, stage: str) -> Any:
    """The results of all tasks, in their order: a tree of arrays `[task, ...]`.

    Args:
        evidence: Of all tasks.
        work: Takes positions of tasks, `[n]`, their data and mask, always of the same n (the first
            task comes again to fill up), to a tree of arrays `[n, ...]`.
        report: Is told how many are done.
        stage: What it is told that is done.
    """
    each, size = positions(evidence)
    chunks = [lambda tasks=tasks: chunk_of(evidence, tasks, size) for tasks in each]
    return through_chunks(chunks, evidence.n_tasks, work, report, stage)


def through_chunks(
    chunks: Sequence[Callable[[], Chunk]], total: int, work: Work, report: Report, stage: str
) -> Any:
    """The same, of chunks that are made when they are asked for, or were made before.

    The first chunk of each new shape is worked on by the calling thread alone, before any other
    chunk of that shape is begun: what it needs is then compiled, once.
    """
    settings = _settings()

    def one(chunk: Chunk) -> tuple[np.ndarray, Any]:
        with settings():
            found = work(chunk.tasks, chunk.data, chunk.mask)
            tasks = chunk.tasks[: chunk.real]
            return tasks, jax.tree.map(lambda x: np.asarray(x)[: chunk.real], found)

    done: list[Any] = []

    def finished(found: tuple[np.ndarray, Any]) -> None:
        done.append(found)
        report(stage, sum(len(tasks) for tasks, _ in done), total)

    report(stage, 0, total)
    workers = min(len(chunks), os.cpu_count() or 1)
    begun: deque[Future[Any]] = deque()
    # XLA leaves the interpreter while it computes, so that threads share the work.
    with ThreadPoolExecutor(workers) as pool:
        try:
            for made in chunks:
                chunk = made()
                number = fingerprint(work, chunk)
                if len(chunks) == 1 or not has_run(number):
                    finished(one(chunk))
                    note(number)
                    continue
                begun.append(pool.submit(one, chunk))
                # Chunks are made no faster than they are worked on: they take memory.
                while len(begun) > workers:
                    finished(begun.popleft().result())
            while begun:
                finished(begun.popleft().result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    back = np.argsort(np.concatenate([tasks for tasks, _ in done]), kind="stable")
    return jax.tree.map(lambda *xs: np.concatenate(xs)[back], *(found for _, found in done))


def _settings() -> Callable[[], AbstractContextManager[Any]]:
    """What JAX is set to in this thread; other threads begin with what the process is set to."""
    double, device = jax.config.jax_enable_x64, jax.config.jax_default_device
    precision = jax.config.jax_default_matmul_precision

    def settings() -> AbstractContextManager[Any]:
        stack = ExitStack()
        stack.enter_context(jax.enable_x64(double))
        stack.enter_context(jax.default_device(device))
        stack.enter_context(jax.default_matmul_precision(precision))
        return stack

    return settings
