"""Work on many tasks in chunks of one shape: compiled once, told as it goes, on all cores.

Where there are several devices, each takes its share of every chunk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
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


def over_chunks(evidence: Evidence, work: Work, report: Report, stage: str) -> Any:
    """The results of all tasks, in their order: a tree of arrays `[task, ...]`.

    Args:
        evidence: Of all tasks.
        work: Takes positions of tasks, `[n]`, their data and mask, always of the same n (the first
            task comes again to fill up), to a tree of arrays `[n, ...]`.
        report: Is told how many are done.
        stage: What it is told that is done.
    """
    order, devices = np.argsort(evidence.lengths, kind="stable"), len(jax.local_devices())
    each = -(-len(order) // devices)
    size = devices * min(CHUNK, 1 << int(np.ceil(np.log2(max(each, 1)))))
    chunks = [order[i : i + size] for i in range(0, len(order), size)]

    def one(tasks: np.ndarray) -> Any:
        block = evidence.select(tasks).padded()
        data, mask = padded(data_of(block), block.mask, size)
        filled = np.concatenate([tasks, np.repeat(tasks[:1], size - len(tasks))])
        return jax.tree.map(lambda x: np.asarray(x)[: len(tasks)], work(filled, data, mask))

    done: list[Any] = []
    report(stage, 0, len(order))
    # XLA leaves the interpreter while it computes, so that threads share the work.
    with ThreadPoolExecutor(min(len(chunks), os.cpu_count() or 1)) as pool:
        try:
            for tasks, found in zip(chunks, pool.map(one, chunks), strict=True):
                done.append((tasks, found))
                report(stage, sum(len(x) for x, _ in done), len(order))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    back = np.argsort(np.concatenate([tasks for tasks, _ in done]), kind="stable")
    return jax.tree.map(lambda *xs: np.concatenate(xs)[back], *(found for _, found in done))
