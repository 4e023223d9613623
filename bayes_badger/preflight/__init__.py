"""What can be told of a program's file and of a table before anything is computed.

| file | idea |
|---|---|
| `source` | a program read from its text: its function, its signature, what its file defines |
| `index_style` | a program that has no `task` plate for certain |
| `visible` | the outcome's distribution, where the text of the program shows it |
| `settings` | settings of a recipe, read from the text of an inner loop |
| `table` | a CSV file against a signature |
| `checks` | all of it, for each command |

Nothing here executes a user's file or imports jax, numpyro, pandas or xarray: a mistake is told in
a second, and not after JAX has started. Only what is certain is refused: a program that builds its
plates or its columns in ways that its text does not show goes on to be lifted and proved.
"""
