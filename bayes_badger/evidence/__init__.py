"""What was seen: tasks and their steps, from tables, files and arrays, checked as they enter.

| file | idea |
|---|---|
| `evidence` | the class: long form, ragged tasks |
| `blocks` | ragged tasks as few padded blocks, which is what a compiled program sees |
| `dataset` | to xarray and back without loss |
| `read` | one entry for every kind of source |
| `table`, `files` | data frames; CSV and Parquet |
| `arrays` | arrays `[task, step, ...]` and xarray data sets |
| `labels`, `numbers` | task labels and cells of a data frame |
| `assemble` | checked cells become evidence |
"""

from bayes_badger.evidence.arrays import from_arrays, from_xarray
from bayes_badger.evidence.blocks import Block
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.evidence.read import read, split_queries
from bayes_badger.evidence.table import from_frame

__all__ = [
    "Block",
    "Evidence",
    "from_arrays",
    "from_frame",
    "from_xarray",
    "read",
    "split_queries",
]
