"""Data sets: built-in ones by name, and one's own from arrays, tables and folders of images."""

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
]
