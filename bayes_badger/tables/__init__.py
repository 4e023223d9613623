"""Tables as text and numbers, checked as far as that needs neither pandas nor jax.

| file | idea |
|---|---|
| `origin` | where a cell came from, for messages |
| `kinds` | files that hold a table, by their names |
| `numbers` | a column as numbers: which cells are missing, and which are none |
| `labels` | labels of tasks |
| `csv_text` | the lines and the header of a CSV file, and its columns as text |
| `columns` | which columns of a table a program needs, and whether they are there |
| `cells` | all cells that a program needs, by row and by task |
| `rows` | which rows are complete |
| `checks` | numbers that single precision can hold |
| `supports` | outcomes that a distribution can have |

pandas takes seconds to import: what can be told of a table without it is told at once.
"""
