"""Pairs in the order of the classes, as early siamese examples made them once and for all."""

import numpy as np
import torch
from numpy.random import default_rng
from torch import Tensor

__all__ = ["consecutive"]


def consecutive(
    labels: Tensor, *, batch: int = 128, share: float = 1.0, shuffle: bool = False, seed: int, epoch: int
) -> list[Tensor]:
    """Pairs class after class: each image with the next of its class, then with one of another class.

    2B indices, B first images and their B partners, alike and different in turn; the partner of another class is the
    one at the same place in it. The pairs are the same in every epoch, and every class gives as many as the smallest.
    share: of the pairs, from the first class on, that is trained on. shuffle: the order is random, a new one in every
    epoch; without it a batch is of one class or two. For experiments on the order of data; to train, use `pairs`.
    Errors: ValueError for fewer than two classes, a class of one image, or a share that is not above 0 and up to 1.

    >>> [len(batch) for batch in consecutive(torch.tensor([0, 0, 1, 1]), batch=4, seed=0, epoch=0)]
    [8]
    """
    if not 0 < share <= 1 or batch < 1:
        raise ValueError(
            f"consecutive takes a share above 0 and up to 1 and a batch of 1 or more; got {share=}, {batch=}"
        )
    first_T, second_T = in_order(labels.cpu().numpy(), seed)
    order_T = np.arange(max(1, round(share * len(first_T))))
    if shuffle:
        order_T = default_rng((seed, epoch)).permutation(order_T)
    cut = np.split(order_T, np.arange(batch, len(order_T), batch))
    batches = [np.concatenate([first_T[at], second_T[at]]) for at in cut]
    return [torch.from_numpy(batch) for batch in batches]


consecutive.partners = 1  # type: ignore[attr-defined]


def in_order(labels_N: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of every pair: for each class in order, for each place in it, the alike one and the different one."""
    values_C, label_N = np.unique(labels_N, return_inverse=True)
    own = [np.flatnonzero(label_N == c) for c in range(len(values_C))]
    each = min(map(len, own), default=1) - 1
    if len(own) < 2 or each < 1:
        raise ValueError(
            f"consecutive pairs an image with the next of its class and with another class; it needs two classes of "
            f"two images or more, and got {len(own)} classes, the smallest of {each + 1}"
        )
    rng, first, second = default_rng(seed), [], []
    for c, own_P in enumerate(own):
        other_P = (c + rng.integers(1, len(own), each)) % len(own)
        apart = [own[o][place] for place, o in enumerate(other_P)]
        first.append(np.repeat(own_P[:each], 2))
        second.append(np.stack([own_P[1 : each + 1], apart], axis=1).ravel())
    return np.concatenate(first), np.concatenate(second)
