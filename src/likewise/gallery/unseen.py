"""What a threshold of "unknown" is calibrated with: trials of classes that the model was not trained on.

A network keeps the classes that it was trained on further apart than new ones: where they are left out of the gallery
in turn, they promise too much (docs/gallery.md has the figures). Honest trials are of classes that the training left
out: enrolled ones, validation ones, or those of the trainings that `likewise calibrate` makes.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from likewise.gallery.calibrate import Promise, Trials, calibrate, join, leave_out
from likewise.gallery.calibrate import promise as threshold_of
from likewise.gallery.index import prepare, similarities

if TYPE_CHECKING:
    from likewise.embeddings import Embeddings

__all__ = ["FOLDS", "Basis", "Vectors", "basis", "trials_of_folds", "vectors_of", "without_these"]

FOLDS = "trainings of the model's recipe without some of the classes"
CAUTIOUS = 0.1  # share of the known queries that is given up where no rate can be promised
SAME = 1 - 1e-6  # cosine similarity from which two vectors are taken for those of one image


class Vectors(NamedTuple):
    """Vectors `[N, D]` with their classes."""

    vectors: np.ndarray
    labels: list[str]

    def take(self, rows: Sequence[int] | np.ndarray) -> "Vectors":
        at = np.asarray(rows, np.int64)
        return Vectors(self.vectors[at], [self.labels[i] for i in at.tolist()])

    def among(self, classes: Collection[str]) -> "Vectors":
        """Those of these classes."""
        return self.take([i for i, label in enumerate(self.labels) if label in classes])

    def without(self, classes: Collection[str]) -> "Vectors":
        """Those of other classes."""
        return self.take([i for i, label in enumerate(self.labels) if label not in classes])


def vectors_of(part: "Embeddings") -> Vectors:
    return Vectors(part.vectors.numpy(), [part.classes[i] for i in part.labels.tolist()])


class Basis(NamedTuple):
    """What a threshold is calibrated with."""

    trials: Trials
    source: str
    note: str = ""
    least: float = -np.inf  # the threshold is this one or higher
    also: np.ndarray | None = None  # further impostor scores, by which the threshold is not lower either
    promised: bool = True

    def promise(self, far: float, rule: str) -> Promise:
        """Errors: ValueError as `calibrate`."""
        least = self.least
        if self.also is not None and far * (len(self.also) + 1) >= 1:  # fewer say nothing of this rate
            least = max(least, threshold_of(self.also, far))
        promise = calibrate(self.trials, far, rule=rule, source=self.source, least=least, promised=self.promised)
        return replace(promise, note=self.note) if self.note else promise


def basis(
    known: Trials,
    trained: Collection[str],
    *,
    source: str,
    further: Trials | None = None,
    folds: Trials | None = None,
    how: str = "",
) -> Basis:
    """The trials of the most classes that the model was not trained on; a cautious threshold where there are none.

    The threshold is never lower than the one of leaving every class out: where a training was short, its classes lie
    no further apart than others.

    known: every class left out in turn, trained on or not. further: of classes that are not among them. folds: see
    `trials_of_folds`. how: what to do where nothing can be promised.
    """
    classes = set(known.impostor_class.tolist())
    shared = classes & set(trained)
    untrained = join([not_trained(known, trained), *([further] if further else [])])
    if not shared and not further:
        return Basis(known, source)
    if folds is not None and distinct(folds) > distinct(untrained):
        return Basis(folds, FOLDS, also=known.impostor)
    if distinct(untrained):
        if not len(untrained.genuine):
            untrained = untrained._replace(genuine=known.genuine, right=known.right, genuine_class=known.genuine_class)
        return Basis(untrained, "classes that the model was not trained on", also=known.impostor)
    scores = known.genuine[known.right]
    least = float(np.quantile(scores, CAUTIOUS)) if len(scores) else -np.inf
    note = (
        f"no false-accept rate is promised, since the model was trained on {len(shared):,} of these {len(classes):,} "
        f"classes: {how}. Until then the threshold is a cautious one, which {CAUTIOUS:.0%} of the known images miss"
    )
    return Basis(known, source, note, least, promised=False)


def distinct(trials: Trials) -> int:
    return len(np.unique(trials.impostor_class))


def not_trained(trials: Trials, trained: Collection[str]) -> Trials:
    """Those of classes that the model was not trained on."""
    names = np.asarray(sorted(trained), np.str_)
    unknown_U, known_K = ~np.isin(trials.impostor_class, names), ~np.isin(trials.genuine_class, names)
    return Trials(
        trials.impostor[unknown_U],
        trials.impostor_class[unknown_U],
        trials.genuine[known_K],
        trials.right[known_K],
        trials.genuine_class[known_K],
    )


def trials_of_folds(
    folds: Sequence["Embeddings"], enrolled: Mapping[str, int] | None, *, sim: str, rule: str
) -> Trials | None:
    """Each fold's left-out images, unknown, and its validation images, known, among what its model was trained on.

    enrolled: the classes that are compared with, and how many images of each at most; None: all. None where no fold
    has a class to compare with.
    """
    parts = []
    for fold in folds:
        reference = at_most(vectors_of(fold.part("train")), enrolled)
        if not reference.labels:
            continue
        unknown, known = vectors_of(fold.part("test")), vectors_of(fold.part("val")).among(set(reference.labels))
        asked = [
            leave_out(part.vectors, part.labels, reference.vectors, reference.labels, sim=sim, rule=rule)
            for part in (unknown, known)
        ]
        parts.append(asked[0]._replace(**{name: getattr(asked[1], name) for name in KNOWN}))
    return join(parts) if parts else None


KNOWN = ("genuine", "right", "genuine_class")


def at_most(given: Vectors, most: Mapping[str, int] | None) -> Vectors:
    """The first so many vectors of each class, and none of other classes."""
    if most is None:
        return given
    seen: Counter[str] = Counter()
    rows = []
    for i, label in enumerate(given.labels):
        seen[label] += 1
        if seen[label] <= most.get(label, 0):
            rows.append(i)
    return given.take(rows)


def without_these(given: Vectors, others: Vectors) -> Vectors:
    """Those whose image is none of the others'."""
    if not others.labels or not given.labels:
        return given
    unit_MD = prepare(others.vectors, "cosine")
    near_N = np.concatenate(
        [similarities(given.vectors[i : i + 1000], unit_MD, "cosine").max(1) for i in range(0, len(given.labels), 1000)]
    )
    return given.take(np.flatnonzero(near_N < SAME))
