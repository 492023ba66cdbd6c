"""Random places of images within their classes, which splits, filters and samplers are made of."""

import numpy as np
from numpy.random import Generator

__all__ = ["place_in_class", "starts"]


def place_in_class(labels_N: np.ndarray, rng: Generator) -> np.ndarray:
    """int64 [N]: the place of each image in a random order of its class, from 0. Labels are 0 to C-1."""
    by_class_N = np.lexsort((rng.random(len(labels_N)), labels_N))
    place_N = np.empty(len(labels_N), np.int64)
    place_N[by_class_N] = np.arange(len(labels_N)) - starts(np.bincount(labels_N))[labels_N[by_class_N]]
    return place_N


def starts(counts: np.ndarray) -> np.ndarray:
    """Where each run begins when runs of these lengths lie end to end."""
    return np.cumsum(counts) - counts
