"""Accuracy by the size of a stored vector: prefixes of the embedding, in float32, a byte or a bit a number.

For embeddings trained with `matryoshka`, whose prefixes are embeddings by themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from likewise import geometry, spec
from likewise.embeddings import Embeddings
from likewise.evaluate.resampling import DRAWN_CLASSES
from likewise.metrics import intervals, retrieval
from likewise.metrics.influence import Influence
from likewise.metrics.intervals import Ratio, Score
from likewise.metrics.neighbours import Nearest, Sim, nearest
from likewise.metrics.quantized import Range, in_bytes, in_signs, rescored
from likewise.metrics.retrieval import Set

__all__ = ["KINDS", "SizedScore", "dims_of", "vector_sizes"]

KINDS = ("float32", "int8", "binary", "binary, re-scored")
HALVINGS = 4  # down to a sixteenth of the dimensions
AMONG = 40  # nearest by Hamming distance that are compared again


class SizedScore(NamedTuple):
    """The nearest-neighbour accuracy of vectors of one size."""

    dim: int
    kind: str  # one of KINDS
    bytes: int  # of a stored vector
    score: Score


def dims_of(dim: int, trained: Sequence[int] = ()) -> list[int]:
    """All dimensions, a half, a quarter, an eighth and a sixteenth of them, and the prefixes trained; largest first.

    >>> dims_of(64, [8, 12, 64])
    [64, 32, 16, 12, 8, 4]
    """
    halves = {dim >> n for n in range(HALVINGS + 1)}
    return sorted({d for d in halves | set(trained) if 0 < d <= dim}, reverse=True)


def vector_sizes(
    query: Embeddings,
    reference: Embeddings | None,
    known: Tensor,
    dims: Sequence[int],
    *,
    sim: str | Sim = "cosine",
    seed: int = 0,
) -> list[SizedScore]:
    """Share of queries whose nearest reference has their class (knn@1; recall@1 without references), with intervals.

    reference: None: the queries search one another. known: vectors [N, D] that give the range and the mean of each
    dimension, those of the training part. int8: both sides in one byte a number; binary: by Hamming distance;
    binary, re-scored: the nearest 40 of these compared again with the query in float32. Intervals as in `evaluate`.
    Errors: ValueError where no query has a reference of its class.
    """
    sim = spec.bind("sim", sim) if isinstance(sim, str) else sim
    sets = [Set(part.vectors, part.labels) for part in (query, reference) if part is not None]
    relevant_Q = retrieval.relevant(*sets)
    if not relevant_Q.any():
        raise ValueError("no query has a reference of its class, so that there is nothing to find")
    values, class_N = query.labels.unique(return_inverse=True)
    units_N = class_N if reference is None and len(values) >= DRAWN_CLASSES else None
    ratios: dict[str, Ratio] = {}
    sized: dict[str, tuple[int, str]] = {}
    for dim in dims:
        x_QD, known_ND = query.vectors[:, :dim], known[:, :dim]
        y_MD = None if reference is None else reference.vectors[:, :dim]
        for kind in KINDS:
            near = found(x_QD, y_MD, known_ND, kind, sim)
            ratios[name := f"{dim} {kind}"] = ratio(near, sets, relevant_Q, units_N)
            sized[name] = dim, kind
    scores = intervals.bootstrap(ratios, units_N, seed=seed)
    return [SizedScore(dim, kind, bytes_of(dim, kind), scores[name]) for name, (dim, kind) in sized.items()]


def bytes_of(dim: int, kind: str) -> int:
    """Of a stored vector, without what all share."""
    return {"float32": 4 * dim, "int8": dim}.get(kind, -(-dim // 8))


def found(x_QD: Tensor, y_MD: Tensor | None, known_ND: Tensor, kind: str, sim: Sim) -> Nearest:
    """The two nearest references of each query (the only one, where there is one); without y other queries."""
    offset = 0 if y_MD is None else None
    if getattr(sim, "func", sim) is geometry.cosine and kind != "float32":
        x_QD, known_ND = geometry.unit(x_QD), geometry.unit(known_ND)
        y_MD = None if y_MD is None else geometry.unit(y_MD)
    y_MD = x_QD if y_MD is None else y_MD
    seen = len(y_MD) - (offset is not None)
    k = min(2, seen)
    if kind == "float32":
        return nearest(x_QD, y_MD, k, sim=sim, offset=offset)
    known = Range.of(known_ND)
    if kind == "int8":
        return nearest(in_bytes(x_QD, known), in_bytes(y_MD, known), k, sim=sim, offset=offset)
    sign_MD = in_signs(y_MD, known)
    if kind == "binary":
        return nearest(in_signs(x_QD, known), sign_MD, k, sim=geometry.dot, offset=offset)
    return rescored(x_QD, sign_MD, known, k, among=min(AMONG, seen), offset=offset)


def ratio(near: Nearest, sets: Sequence[Set], relevant_Q: Tensor, units_N: Tensor | None) -> Ratio:
    """The first result of each query with something to find: of its class, or not."""
    query, refs = sets[0], sets[-1]
    where_Q = relevant_Q.nonzero()[:, 0]
    hits_QK = refs.labels[near.place[where_Q]] == query.labels[where_Q, None]
    plain = intervals.mean(hits_QK[:, 0], where_Q, len(query.labels))
    if len(sets) > 1:
        return plain
    influence = Influence(query.labels, classes=units_N is not None)
    influence.add("recall@1", where_Q, near.place[where_Q], hits_QK, relevant_Q[where_Q])
    return plain._replace(effect=influence.effect("recall@1", plain.over, relevant_Q))
