"""The lock that lets one thread at a time run a NumPyro program.

NumPyro keeps its effect handlers (`trace`, `substitute`, `seed`, plates) in one list for the whole
process. Two threads that run a program at the same time push their handlers onto that one list, and
each sees the sites of the other: mostly NumPyro then raises "all sites must have unique names", but
a mixture that happens to be consistent would give a wrong number. So whoever runs a program, or
NumPyro's own inference on a program, holds `TRACING` while the program's Python code runs. What was
compiled from it runs without the lock, on as many threads as there are.

**Why nothing waits for ever.** JAX too makes threads wait: when two threads call one compiled
function for the first time, the second waits while the first traces and compiles it. If that trace
walks through a program, it needs `TRACING`. So a deadlock needs a thread that holds the lock and
calls such a function. Code that holds the lock must therefore never call a compiled function that
walks through a program. `walk` does not: it calls the user's function, NumPyro, and the maps
between a latent and its coordinate, none of which walks.

The lock protects this library's threads, and those that call it, from each other. It cannot protect
from a thread that uses NumPyro's handlers without it: such a thread should hold it too.

Example:
    >>> import numpyro, numpyro.distributions as dist
    >>> def model():
    ...     return numpyro.sample("x", dist.Normal(0, 1))
    >>> with TRACING:
    ...     trace = numpyro.handlers.trace(numpyro.handlers.seed(model, 0)).get_trace()
    >>> list(trace)
    ['x']
"""

from __future__ import annotations

import threading

# Re-entrant, since a program may be walked through within a walk (a support that is asked for).
TRACING = threading.RLock()
