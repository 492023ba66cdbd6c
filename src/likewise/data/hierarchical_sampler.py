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

    Classes are numbered in the order of their names, so neighbours (Greek/alpha, Greek/beta ...) are the hardest to
    distinguish, and a test within a family compares them. An epoch has as many rounds as the largest class has hands of
    `images` images; a round cuts the classes that still have a hand into runs at random places. A class of fewer
    images than `images` is one short hand; images left over from a larger class wait for the next epoch.

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
    """The hands of each class: its images in random order in groups of `images`, or a single, shorter group."""
    by_class = np.split(np.argsort(labels_N, kind="stable"), np.cumsum(np.bincount(labels_N))[:-1])
    shuffled = [rng.permutation(own) for own in by_class if len(own)]
    if not any(len(own) >= images for own in shuffled):
        raise ValueError(
            f"hierarchical_pk draws images={images} of a class at once, and no class has so many; ask for fewer"
        )
    return [[own[at : at + images] for at in range(0, whole(own, images), images)] for own in shuffled]


def whole(own: np.ndarray, images: int) -> int:
    """Number of images of a class that are in hands of full size, or in its only, shorter hand."""
    return len(own) // images * images or len(own)


def cut(hands: list[np.ndarray], classes: int, rng: Generator) -> list[np.ndarray]:
    """Cut neighbouring hands into runs of about `classes`, from a random start; the last class is next to the first."""
    around = np.roll(np.arange(len(hands)), -rng.integers(len(hands)))
    return [
        np.concatenate([hands[i] for i in run]) for run in np.array_split(around, max(1, round(len(around) / classes)))
    ]
