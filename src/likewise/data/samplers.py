"""Samplers: labels to the batches of one epoch, a list of index tensors that is a function of (labels, seed, epoch)."""

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from likewise.data.within_class import starts

__all__ = ["pairs", "pk", "shuffled", "triplets"]

Batches = list[Tensor]
Sampler = TypeVar("Sampler", bound=Callable[..., object])
Deal = Callable[[np.ndarray, int, Generator], tuple[np.ndarray, np.ndarray]]  # what `_deal` is


def _partners(count: int) -> Callable[[Sampler], Sampler]:
    """Set on a sampler the number of partners that follow each anchor in its batches."""

    def mark(sampler: Sampler) -> Sampler:
        sampler.partners = count  # type: ignore[attr-defined]
        return sampler

    return mark


@_partners(0)
def shuffled(labels: Tensor, *, batch: int = 128, seed: int, epoch: int) -> Batches:
    """Every image once, in random order. Batches differ by at most one in size and none is larger than `batch`.

    >>> [len(batch) for batch in shuffled(torch.zeros(10), batch=4, seed=0, epoch=0)]
    [4, 3, 3]
    """
    rng = rng_of(len(labels), seed, epoch, batch=batch)
    return as_tensors(_even(rng.permutation(len(labels)), batch))


@_partners(0)
def pk(labels: Tensor, *, classes: int = 10, images: int = 25, seed: int, epoch: int) -> Batches:
    """P x K: `images` images of each of `classes` classes per batch, no image twice in a batch.

    Every image is visited in every epoch. A class's images are shuffled and cut into hands (groups) of K; its last hand
    is filled up with others of the class, and a class of fewer than K images is a single, shorter hand.
    Every batch, the last one too, holds hands of exactly P classes (all, where there are fewer). An epoch has
    max(hands / P, most hands of one class) batches, as many as visiting everything takes; free places go to the
    classes with the fewest hands, shuffled again: in long-tailed data rare classes are seen more often, never less.
    One class alone makes batches without negatives. (Hermans, Beyer, Leibe, arXiv:1703.07737, 2017)

    >>> [len(batch) for batch in pk(torch.arange(12) % 3, classes=2, images=2, seed=0, epoch=0)]
    [4, 4, 4]
    """
    rng = rng_of(len(labels), seed, epoch, classes=classes, images=images)
    return as_tensors(hands_of(labels, classes, images, rng))


@_partners(1)
def pairs(labels: Tensor, *, batch: int = 128, seed: int, epoch: int) -> Batches:
    """2B indices: B anchors, then a partner for each, half of them of the anchor's class.

    Every image is an anchor once. A partner of the same class is never the anchor itself, so an image that is alone
    in its class gets one of another; another class is drawn uniformly among classes, then one of its images. Half is
    per batch, rounded down, and as far as there are anchors with company.
    Errors: ValueError for fewer than two classes.

    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> anchor, partner = pairs(labels, batch=4, seed=0, epoch=0)[0].chunk(2)
    >>> sorted(anchor.tolist()), int((labels[anchor] == labels[partner]).sum())
    ([0, 1, 2, 3], 2)
    """
    rng = rng_of(len(labels), seed, epoch, batch=batch)
    world = _Classes(labels, "pairs")
    anchors = _even(rng.permutation(len(labels)), batch)
    partner_N = world.other_class(np.arange(len(labels)), rng)
    for anchor_B in anchors:
        same = anchor_B[world.count_C[world.label_N[anchor_B]] > 1][: len(anchor_B) // 2]
        partner_N[same] = world.same_class(same, rng)
    return as_tensors([np.concatenate([anchor_B, partner_N[anchor_B]]) for anchor_B in anchors])


@_partners(2)
def triplets(
    labels: Tensor, *, batch: int = 128, positive: str = "random", negative: str = "other", seed: int, epoch: int
) -> Batches:
    """3B indices: B anchors, then a positive for each, then a negative for each.

    positive  random: any other image of the class; next: the next one in the data's order, the one before for the
              last, such as a video's next frame
    negative  other: an image of another class; last: one of the last class alone, as the background of `tracking` is,
              which is then never an anchor

    Every image with company in its class is an anchor once; one that is alone has no positive and is seen as a
    negative only. Negatives are drawn uniformly among the other classes, then among the images of one.
    Errors: ValueError for fewer than two classes, or none with two images.

    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> anchor, positive, negative = labels[triplets(labels, batch=4, seed=0, epoch=0)[0]].chunk(3)
    >>> bool((anchor == positive).all()), bool((anchor == negative).any())
    (True, False)
    """
    if positive not in ("random", "next") or negative not in ("other", "last"):
        raise ValueError(
            f"triplets takes positive='random' or 'next', negative='other' or 'last'; got {positive!r} and {negative!r}"
        )
    rng = rng_of(len(labels), seed, epoch, batch=batch)
    world = _Classes(labels, "triplets")
    last = len(world.count_C) - 1
    with_company = np.flatnonzero((world.count_C[world.label_N] > 1) & ((negative == "other") | (world.label_N < last)))
    if not len(with_company):
        raise ValueError("triplets needs a class with two images, and every class has one; use sampler='shuffled'")
    anchors = _even(rng.permutation(with_company), batch)
    alike = world.next_of_class if positive == "next" else partial(world.same_class, rng=rng)
    unlike = partial(world.other_class, rng=rng, only=last if negative == "last" else None)
    rows = [np.concatenate([a_B, alike(a_B), unlike(a_B)]) for a_B in anchors]
    return as_tensors(rows)


class _Classes:
    """Images by class, to draw partners from."""

    def __init__(self, labels: Tensor, sampler: str):
        names, self.label_N, self.count_C = np.unique(labels.cpu().numpy(), return_inverse=True, return_counts=True)
        if len(names) < 2:
            raise ValueError(
                f"{sampler} draws images of different classes and needs two or more, and the labels hold {len(names)}"
            )
        self.by_class_N = np.argsort(self.label_N, kind="stable")
        self.start_C = starts(self.count_C)
        self.place_N = np.empty_like(self.by_class_N)
        self.place_N[self.by_class_N] = np.arange(len(self.by_class_N))

    def same_class(self, anchor_B: np.ndarray, rng: Generator) -> np.ndarray:
        """Another image of each anchor's class, which has two or more: a random number of steps round the class."""
        class_B = self.label_N[anchor_B]
        start_B, count_B = self.start_C[class_B], self.count_C[class_B]
        steps_B = rng.integers(1, count_B)
        return self.by_class_N[start_B + (self.place_N[anchor_B] - start_B + steps_B) % count_B]

    def next_of_class(self, anchor_B: np.ndarray) -> np.ndarray:
        """The next image of each anchor's class, and the one before for the last."""
        class_B = self.label_N[anchor_B]
        start_B, count_B = self.start_C[class_B], self.count_C[class_B]
        at_B = self.place_N[anchor_B] - start_B
        return self.by_class_N[start_B + np.where(at_B + 1 < count_B, at_B + 1, at_B - 1)]

    def other_class(self, anchor_B: np.ndarray, rng: Generator, only: int | None = None) -> np.ndarray:
        """An image of another class for each anchor, all other classes equally likely; or of the class `only`."""
        classes = len(self.count_C)
        class_B = (self.label_N[anchor_B] + rng.integers(1, classes, len(anchor_B))) % classes
        class_B = class_B if only is None else np.full(len(anchor_B), only)
        return self.by_class_N[self.start_C[class_B] + rng.integers(0, self.count_C[class_B])]


def hands_of(labels: Tensor, classes: int, images: int, rng: Generator, deal: Deal | None = None) -> list[np.ndarray]:
    """The batches of `pk`; deal, if given, says in its place which classes come together in a batch."""
    _, label_N, count_C = np.unique(labels.cpu().numpy(), return_inverse=True, return_counts=True)
    p, size_C = min(classes, len(count_C)), np.minimum(count_C, images)
    need_C = -(-count_C // size_C)  # hands needed to visit a whole class
    batches = max(-(-int(need_C.sum()) // p), int(need_C.max()))
    hands_C = _top_up(need_C, batches, p, rng)
    batch_T, class_T = (deal or _deal)(hands_C, batches, rng)
    hand_TK = _hands(label_N, hands_C, size_C, images, rng)
    in_batch = np.argsort(batch_T, kind="stable").reshape(batches, p)
    real_TK = np.arange(images) < size_C[class_T][:, None]
    return [hand_TK[of][real_TK[of]] for of in in_batch]


def _top_up(need_C: np.ndarray, batches: int, p: int, rng: Generator) -> np.ndarray:
    """Hands of each class: as many as it needs, and more for the classes with the fewest, batches x p in all."""
    total = batches * p
    level = bisect_right(range(batches), total, key=lambda at: int(np.maximum(need_C, at).sum())) - 1
    hands_C = np.maximum(need_C, level)
    lowest = np.flatnonzero(hands_C == level)
    hands_C[rng.permutation(lowest)[: total - int(hands_C.sum())]] += 1
    return hands_C


def _deal(hands_C: np.ndarray, batches: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """The batch [T] and the class [T] of every hand, in order of class: p hands a batch, no two of one class.

    The hands, class after class in random order, fill p rows of `batches` places; each row is then shuffled over the
    batches. Only the class that runs over from one row into the next can meet itself, and it keeps out of the places
    that it had.
    """
    order = rng.permutation(len(hands_C))
    dealt_T = np.repeat(order, hands_C[order])
    place_T = np.empty(len(dealt_T), np.int64)
    taken = np.zeros(0, np.int64)
    for row in range(0, len(dealt_T), batches):
        free = rng.permutation(batches)
        place_T[row : row + batches] = free[np.argsort(np.isin(free, taken), kind="stable")]
        last = dealt_T[row : row + batches] == dealt_T[row + batches - 1]
        taken = place_T[row : row + batches][last]
    by_class_T = np.argsort(dealt_T, kind="stable")
    return place_T[by_class_T], dealt_T[by_class_T]


def _hands(label_N: np.ndarray, hands_C: np.ndarray, size_C: np.ndarray, images: int, rng: Generator) -> np.ndarray:
    """Images [T,K] of every hand, in order of class; places from size_C on are padding.

    A round goes once through a class in random order; the last hand of a round is filled up from its beginning.
    """
    count_C = np.bincount(label_N)
    per_round_C = -(-count_C // size_C)
    rounds_C = -(-hands_C // per_round_C)
    image_R, start_C = _rounds(label_N, count_C, rounds_C, rng)
    class_T = np.repeat(np.arange(len(hands_C)), hands_C)
    turn_T = np.arange(len(class_T)) - starts(hands_C)[class_T]
    round_T, hand_T = np.divmod(turn_T, per_round_C[class_T])
    place_TK = (hand_T * size_C[class_T])[:, None] + np.arange(images)
    first_T = start_C[class_T] + round_T * count_C[class_T]
    return image_R[first_T[:, None] + place_TK % count_C[class_T][:, None]]


def _rounds(
    label_N: np.ndarray, count_C: np.ndarray, rounds_C: np.ndarray, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The images of every class, shuffled again for each of its rounds, concatenated; and the start of each class."""
    image_R = np.repeat(np.arange(len(label_N)), rounds_C[label_N])
    round_R = np.arange(len(image_R)) - np.repeat(starts(rounds_C[label_N]), rounds_C[label_N])
    segment_R = starts(rounds_C)[label_N[image_R]] + round_R
    order_R = np.lexsort((rng.random(len(image_R)), segment_R))
    return image_R[order_R], starts(count_C * rounds_C)


def rng_of(n: int, seed: int, epoch: int, **numbers: int) -> Generator:
    """The generator of an epoch. Errors: ValueError for nothing to draw from, or a number below 1."""
    if not n:
        raise ValueError("there is no image to draw batches from; the training part is empty")
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} counts images or classes of a batch and is 1 or more; got {number}")
    return default_rng((seed, epoch))


def _even(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """As few pieces as the size allows, within one of each other in length: no small last one."""
    return np.array_split(order, -(-len(order) // batch))


def as_tensors(batches: list[np.ndarray]) -> Batches:
    return [torch.from_numpy(batch) for batch in batches]
