"""Data sets: built-in ones by name, and own arrays, tables and images; stored results."""

from ._dataset import Dataset
from ._sets import (
    DATASETS,
    FILES,
    MINI_SHA256,
    MINI_TEST,
    MINI_TRAIN,
    MIRRORS,
    SHA256,
    evenly_spaced,
    idx_arrays,
    load,
)
from ._shipped import shipped, stored_result

__all__ = [
    "DATASETS",
    "FILES",
    "MINI_SHA256",
    "MINI_TEST",
    "MINI_TRAIN",
    "MIRRORS",
    "SHA256",
    "Dataset",
    "evenly_spaced",
    "idx_arrays",
    "load",
    "shipped",
    "stored_result",
]
