"""The command `badger`.

| file | idea |
|---|---|
| `app` | the commands under one name; what becomes of an error; exit codes |
| `fit`, `predict`, `compare`, `show`, `listing` | the commands |
| `options`, `completion`, `checks` | what they share: options, completion, mistakes told early |
| `summary`, `fitted`, `predicted`, `advice` | what is said of a run, and what to do next |
| `scalars`, `tables` | numbers of a posterior; numbers as columns |
| `screen`, `progress` | text on a terminal; how far the work has come |
| `stray`, `interrupt` | what a program itself prints; Ctrl-C |
| `device` | JAX, before it starts |

Nothing here imports jax or arviz until a command needs it: `badger --help` is instant.
"""

from bayes_badger.cli.app import main

__all__ = ["main"]
