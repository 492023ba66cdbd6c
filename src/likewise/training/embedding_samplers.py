"""Embedding-aware samplers: batches of classes or images that the embedding after the last epoch confuses.

A sampler marked `needs_embeddings` gets the EpochEmbeddings of the training part at the start of every epoch but the
first, and None then. Its batches are a function of (labels, seed, epoch, embeddings) alone; a checkpoint keeps those of
the current epoch, so that resuming is exact.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from likewise import geometry
from likewise.data.samplers import Batches, Deal, as_tensors, hands_of, rng_of
from likewise.data.within_class import starts
from likewise.metrics.classification import centroids
from likewise.metrics.neighbours import Sim, nearest

__all__ = ["hard_classes", "hard_negatives"]

ASKED = 10  # neighbours that say which class an image is of; a class of n images asks at most n - 1
WIDER = 4  # times as many negatives are looked at as are wanted, for those that the guard leaves out
Row = Callable[[int], np.ndarray]


@dataclass
class EpochEmbeddings:
    """The training part as the epochs before have left it; what a sampler notes is logged."""

    emb: Tensor  # float [N, D]
    sim: Sim = geometry.cosine
    notes: dict[str, int] = field(default_factory=dict)


def hard_classes(
    labels: Tensor,
    *,
    classes: int = 10,
    images: int = 12,
    groups: int = 2,
    seed: int,
    epoch: int,
    embeddings: EpochEmbeddings | None,
) -> Batches:
    """P x K as `pk`, with confusable classes together: by the class centres after the last epoch.

    The `classes` classes of a batch come in `groups` groups: one class, drawn by the images it has left, and those
    whose centres are most similar to its own, of the classes that have images left. Batch sizes are those of `pk`, and
    every image is visited in every epoch. The first epoch, which has no embeddings yet, is drawn as by `pk`, and so are
    batches that hold all classes there are: ask for fewer. Each epoch embeds the training part once more.
    (After Ge, Huang, Dong, Scott, arXiv:1810.06951, 2018) Errors: ValueError for numbers below 1.

    >>> labels, emb = torch.arange(12) % 4, torch.eye(4)[torch.arange(12) % 4]
    >>> draw = hard_classes(labels, classes=2, images=2, seed=0, epoch=1, embeddings=EpochEmbeddings(emb))
    >>> [len(batch) for batch in draw]
    [4, 4, 4, 4]
    """
    rng = rng_of(len(labels), seed, epoch, classes=classes, images=images, groups=groups)
    deal = alike(embeddings, labels, groups) if embeddings else None
    return as_tensors(hands_of(labels, classes, images, rng, deal))


def hard_negatives(
    labels: Tensor,
    *,
    batch: int = 120,
    images: int = 4,
    negatives: int = 2,
    depth: int = 10,
    guard: int = 1,
    seed: int,
    epoch: int,
    embeddings: EpochEmbeddings | None,
) -> Batches:
    """Anchors with others of their class, and with their hardest negatives, each of these with others of its own.

    An anchor and each of `negatives` hard negatives bring hands of `images` images of one class; a batch holds as
    many such anchors as fit in `batch` images, none twice. Every image is visited in every epoch. The negatives are
    drawn from the `depth` images of other classes that were most similar to the anchor after the last epoch, found
    exactly, in O(images^2); before the first epoch there are no embeddings, and they are drawn from all.
    guard: left out as likely of the anchor's own class, and counted in the log, are negatives more similar to the
    anchor than the guard-th nearest image of its class (`too_near`), and those of which more than half of the
    10 nearest neighbours are of the anchor's class (`doubted`: wrong labels are); the next ones take their places. 0
    leaves out none.
    Errors: ValueError for numbers below 1 (guard: 0), or a batch too small for one anchor.

    >>> labels, emb = torch.arange(12) % 4, torch.eye(4)[torch.arange(12) % 4]
    >>> draw = hard_negatives(labels, batch=6, images=2, seed=0, epoch=1, embeddings=EpochEmbeddings(emb))
    >>> [len(batch) for batch in draw]
    [4, 6, 6]
    """
    rng = rng_of(len(labels), seed, epoch, batch=batch, images=images, negatives=negatives, depth=depth)
    if guard < 0 or batch < (1 + negatives) * images:
        raise ValueError(
            f"hard_negatives takes a guard of 0 or more and a batch of {1 + negatives} hands of {images} or more; "
            f"got {guard=}, {batch=}"
        )
    label_N = labels.unique(return_inverse=True)[1]
    hard_NK = hardest(embeddings, label_N, depth=depth, guard=guard) if embeddings else unlike(label_N, depth, rng)
    hands = Hands(label_N.numpy(), images, rng)
    return as_tensors(gathered(hands, in_any_order(hard_NK, rng), negatives, batch))


for _sampler in (hard_classes, hard_negatives):
    vars(_sampler).update(needs_embeddings=True, partners=0)


def alike(embeddings: EpochEmbeddings, labels: Tensor, groups: int) -> Deal:
    """A deal that brings confusable classes together, by the similarity of their mean embeddings."""
    centre_CD = centroids(embeddings.emb, labels.to(embeddings.emb.device))[0].cpu()

    def row(c: int) -> np.ndarray:
        return embeddings.sim(centre_CD[c : c + 1], centre_CD)[0].numpy()

    def deal(hands_C: np.ndarray, batches: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Batch after batch, and these in random order, since the last ones are of what was left."""
        left_C, p = hands_C.copy(), int(hands_C.sum()) // batches
        held_BP = np.empty((batches, p), np.int64)
        for at in range(batches):
            due_C = left_C == batches - at  # these must be in every batch that is left, or some would be left over
            held_BP[at] = company(left_C, due_C, p, min(groups, p), row, rng)
            left_C[held_BP[at]] -= 1
        class_T, batch_T = held_BP.ravel(), np.repeat(rng.permutation(batches), p)
        by_class_T = np.argsort(class_T, kind="stable")
        return batch_T[by_class_T], class_T[by_class_T]

    return deal


def company(left_C: np.ndarray, due_C: np.ndarray, p: int, groups: int, row: Row, rng: Generator) -> np.ndarray:
    """The p classes of a batch, group after group: one that is due, or else any, and its nearest that are free."""
    free_C, due_C = left_C > 0, due_C.copy()
    chosen: list[int] = []
    for group in np.array_split(np.arange(p), groups):
        weight_C = left_C * (due_C if due_C.any() else free_C)
        first = int(rng.choice(len(left_C), p=weight_C / weight_C.sum()))
        sim_C = row(first).copy()
        sim_C[first] = np.inf  # to itself
        for _ in group:
            only_due = p - len(chosen) == due_C.sum()
            chosen.append(int(np.where(due_C if only_due else free_C, sim_C, -np.inf).argmax()))
            free_C[chosen[-1]] = due_C[chosen[-1]] = False
    return np.array(chosen)


def hardest(embeddings: EpochEmbeddings, labels_N: Tensor, *, depth: int, guard: int) -> Tensor:
    """Indices `[N, K]` of each image's hardest negatives, most similar first, after false-negative filtering.

    The next candidate replaces one that is left out, down to the WIDER * depth-th; -1 where none remains. The counts
    of used and left-out candidates go to `embeddings.notes`.
    """
    labels_N, few = labels_N.to(embeddings.emb.device), min(depth, len(labels_N))
    among = min(WIDER * depth if guard else depth, len(labels_N))
    sim_NM, place_NM = nearest(embeddings.emb, embeddings.emb, among, sim=embeddings.sim, hidden=(labels_N, labels_N))
    kept_NM = place_NM >= 0
    near_NM = doubted_NM = torch.zeros_like(kept_NM)
    if guard:
        near_NM = kept_NM & (sim_NM > own(embeddings, labels_N, guard)[:, None])
        doubted_NM = (
            kept_NM & ~near_NM & (named(embeddings, labels_N, place_NM.unique())[place_NM] == labels_N[:, None])
        )
        kept_NM = kept_NM & ~near_NM & ~doubted_NM
    asked_NM = kept_NM.cumsum(1) - kept_NM.long() < few  # the others come after the last one needed
    counted = {"negatives": kept_NM, "too_near": near_NM, "doubted": doubted_NM}
    embeddings.notes.update({name: int((mask & asked_NM).sum()) for name, mask in counted.items()})
    first_NK = (~kept_NM).byte().argsort(dim=1, stable=True)[:, :few]
    return torch.where(kept_NM, place_NM, -1).gather(1, first_NK).cpu()


def own(embeddings: EpochEmbeddings, labels_N: Tensor, rank: int) -> Tensor:
    """Each image's similarity to the rank-th nearest of its class, or the last; infinite where it is alone."""
    sim_N = embeddings.emb.new_full((len(labels_N),), torch.inf, dtype=torch.float32)
    for at in labels_N.argsort(stable=True).split(labels_N.bincount().tolist()):
        if len(at) > 1:
            near = nearest(embeddings.emb[at], embeddings.emb[at], min(rank, len(at) - 1), sim=embeddings.sim, offset=0)
            sim_N[at] = near.sim[:, -1]
    return sim_N


def named(embeddings: EpochEmbeddings, labels_N: Tensor, places: Tensor) -> Tensor:
    """The class that more than half of an image's neighbours are of, `[N]`; -1 where none is, or it is not asked."""
    named_N, places = torch.full_like(labels_N, -1), places[places >= 0]
    if not len(places):
        return named_N
    codes = places, torch.arange(len(labels_N), device=places.device)  # so that none finds itself
    near = nearest(
        embeddings.emb[places], embeddings.emb, min(ASKED, len(labels_N) - 1), sim=embeddings.sim, hidden=codes
    )
    label_QV, asked_Q = labels_N[near.place], (labels_N.bincount()[labels_N[places]] - 1).clamp(1, ASKED)
    asked_QV = torch.arange(label_QV.shape[1], device=places.device) < asked_Q[:, None]
    alike_QVV = (label_QV[:, :, None] == label_QV[:, None]) & (asked_QV[:, :, None] & asked_QV[:, None])
    most = alike_QVV.sum(-1).max(-1)
    elected_Q = label_QV.gather(1, most.indices[:, None])[:, 0]
    named_N[places] = torch.where(2 * most.values > asked_Q, elected_Q, -1)
    return named_N


def unlike(labels_N: Tensor, depth: int, rng: Generator) -> Tensor:
    """Places `[N, K]` of any images, -1 for those of the same class."""
    place_NK = torch.from_numpy(rng.integers(0, len(labels_N), (len(labels_N), depth)))
    return torch.where(labels_N[place_NK] == labels_N[:, None], -1, place_NK)


def in_any_order(place_NK: Tensor, rng: Generator) -> list[list[int]]:
    """Each row's places in random order, without what was left out (-1)."""
    order_NK = np.argsort(rng.random(place_NK.shape), axis=1)
    rows = np.take_along_axis(place_NK.numpy(), order_NK, axis=1).tolist()
    return [[place for place in row if place >= 0] for row in rows]


def gathered(hands: "Hands", hard: list[list[int]], negatives: int, batch: int) -> list[np.ndarray]:
    """Batches of anchors, each with hard negatives, first those not yet shown, all of them in hands of their class."""
    done = []
    for anchor in hands.anchors():
        hands.add(anchor)
        for place in sorted(hard[anchor], key=hands.shown.__getitem__)[:negatives]:
            hands.add(place)
        if len(hands.held) + (1 + negatives) * hands.images > batch:
            done.append(hands.close())
    return [*done, hands.close()] if hands.held else done


class Hands:
    """The batch under way, and every class's images in random order, those not yet shown in the epoch first."""

    def __init__(self, label_N: np.ndarray, images: int, rng: Generator):
        self.images, self.label_N, count_C = images, label_N.tolist(), np.bincount(label_N)
        self.order = rng.permutation(len(label_N)).tolist()
        self.by_class = np.lexsort((rng.random(len(label_N)), label_N)).tolist()
        self.start_C, self.count_C, self.turn_C = starts(count_C).tolist(), count_C.tolist(), [0] * len(count_C)
        self.shown = [False] * len(label_N)
        self.held: dict[int, None] = {}

    def anchors(self) -> Iterator[int]:
        """Every image not yet shown; then any, until the last batch is as full as the others."""
        yield from (place for place in self.order if not self.shown[place])
        yield from (place for place in self.order if self.held and place not in self.held)

    def add(self, place: int) -> None:
        """An image with others of its class; nothing, where it is in the batch already."""
        if place in self.held:
            return
        self.show(place)
        for other in islice(self.others(self.label_N[place]), self.images - 1):
            self.show(other)

    def others(self, c: int) -> Iterator[int]:
        """Images of a class that the batch lacks: on the first round those not yet shown."""
        count = self.count_C[c]
        for _ in range(2 * count):
            place = self.by_class[self.start_C[c] + self.turn_C[c] % count]
            self.turn_C[c] += 1
            if place not in self.held and (self.turn_C[c] > count or not self.shown[place]):
                yield place

    def show(self, place: int) -> None:
        self.held[place], self.shown[place] = None, True

    def close(self) -> np.ndarray:
        """The batch, which is then empty again."""
        places, self.held = np.array(list(self.held)), {}
        return places
