"""A sampler for classes that come in superclasses: letters of an alphabet, breeds of an animal, brands of a thing."""

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

__all__ = ["hierarchical_pk"]


def hierarchical_pk(
    labels: Tensor, *, superclasses: int = 2, classes: int = 32, images: int = 2, seed: int, epoch: int
) -> list[Tensor]:
    """Batches of `superclasses` runs of `classes` neighbouring classes, `images` images of each.

    Classes are numbered in the order of their names, so neighbours (Greek/alpha, Greek/beta ...) are what is hardest to
    tell apart, and what a test within a family asks. An epoch has a round for every hand of `images` images that the
    largest class has; a round cuts the classes that still have a hand into runs at random places. A class of fewer
    images than `images` is one short hand; what a larger class has left over waits an epoch.

    >>> labels = torch.arange(8).repeat_interleave(4)
    >>> [len(batch) for batch in hierarchical_pk(labels, superclasses=1, classes=4, images=2, seed=0, epoch=0)]
    [8, 8, 8, 8]
    """
    rng = default_rng((seed, epoch))
    hands = dealt(labels.cpu().numpy(), images, rng)
    rounds = [[own[turn] for own in hands if len(own) > turn] for turn in range(max(map(len, hands)))]
    runs = [run for around in rounds for run in cut(around, classes, rng)]
    order = rng.permutation(len(runs))
    batches = [
        np.concatenate([runs[i] for i in order[at : at + superclasses]]) for at in range(0, len(runs), superclasses)
    ]
    return [torch.from_numpy(batch) for batch in batches]


def dealt(labels_N: np.ndarray, images: int, rng: Generator) -> list[list[np.ndarray]]:
    """For each class, in order, its images in random order as hands of `images`, or as a short one of all it has."""
    by_class = np.split(np.argsort(labels_N, kind="stable"), np.cumsum(np.bincount(labels_N))[:-1])
    shuffled = [rng.permutation(own) for own in by_class if len(own)]
    if not any(len(own) >= images for own in shuffled):
        raise ValueError(
            f"hierarchical_pk draws images={images} of a class at once, and no class has so many; ask for fewer"
        )
    return [[own[at : at + images] for at in range(0, whole(own, images), images)] for own in shuffled]


def whole(own: np.ndarray, images: int) -> int:
    """How many of a class are in whole hands, or in its only and short one."""
    return len(own) // images * images or len(own)


def cut(hands: list[np.ndarray], classes: int, rng: Generator) -> list[np.ndarray]:
    """Runs of about `classes` neighbouring hands, from a random place on; the last class is next to the first."""
    around = np.roll(np.arange(len(hands)), -rng.integers(len(hands)))
    return [
        np.concatenate([hands[i] for i in run]) for run in np.array_split(around, max(1, round(len(around) / classes)))
    ]
