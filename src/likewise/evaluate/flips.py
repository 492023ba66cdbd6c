"""Queries that a change of the model made right or wrong: two embeddings of the same images, query by query."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from likewise.embeddings import Embeddings
from likewise.metrics import neighbours
from likewise.metrics.exact import exact_interval
from likewise.metrics.neighbours import Sim

__all__ = ["KINDS", "Flips", "Ranked", "flips", "rank"]

# What became of a query, by its number in `Flips.kind`.
KINDS = ("right in both", "became wrong", "became right", "wrong in both, as the same class", "wrong in another way")


class Ranked(NamedTuple):
    """The K references most similar to each query in one embedding, best first."""

    query: Embeddings
    reference: Embeddings
    place: np.ndarray  # int64 [Q, K]
    sim: np.ndarray  # float32 [Q, K]

    @property
    def named(self) -> list[str]:
        """Class of the nearest neighbour of each query."""
        return [self.reference.classes[c] for c in self.reference.labels[self.place[:, 0].tolist()].tolist()]

    @property
    def true(self) -> list[str]:
        """Class of each query."""
        return [self.query.classes[c] for c in self.query.labels.tolist()]


class Flips(NamedTuple):
    """What became of each query that both embeddings have, and what was left out."""

    ids: tuple[str, ...]  # [Q]
    kind: np.ndarray  # uint8 [Q], index into KINDS
    first: np.ndarray  # int64 [Q], places of the queries in the first embedding
    second: np.ndarray  # int64 [Q], and in the second
    only_first: int  # queries that the second lacks
    only_second: int
    relabelled: int  # of other classes in the two, left out

    def count(self, kind: str) -> int:
        """The number of queries of one of KINDS."""
        return int((self.kind == KINDS.index(kind)).sum())

    @property
    def p(self) -> float:
        """Exact two-sided McNemar test (McNemar, 1947, https://doi.org/10.1007/BF02295996): 1.0 without a flip.

        Queries count as independent of one another.
        """
        from scipy.stats import binomtest

        better, worse = self.count("became right"), self.count("became wrong")
        return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0

    @property
    def gain(self) -> float:
        """1-NN accuracy of the second less that of the first, on these queries."""
        return (self.count("became right") - self.count("became wrong")) / len(self.ids)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `gain`, given how many flipped.

        By Clopper and Pearson (1934) of the share of flips that became right. It holds 0 where `p` is 0.05 or
        more. Without a flip: 0 to 0.
        """
        better, worse = self.count("became right"), self.count("became wrong")
        flipped = better + worse
        if not flipped:
            return 0.0, 0.0
        low, high = exact_interval(better, flipped)
        return (2 * low - 1) * flipped / len(self.ids), (2 * high - 1) * flipped / len(self.ids)


def rank(query: Embeddings, reference: Embeddings | None, sim: Sim, k: int = 5) -> Ranked:
    """The k nearest references of each query; without a reference, among the other queries.

    Errors: ValueError where there is nothing to search.
    """
    others = query if reference is None else reference
    k = min(k, len(others) - (reference is None))
    if k < 1 or not len(query):
        raise ValueError(f"{len(query):,} queries and {len(others):,} references: there is no neighbour to find")
    offset = 0 if reference is None else None
    sim_QK, place_QK = neighbours.nearest(query.vectors, others.vectors, k, sim=sim, offset=offset)
    return Ranked(query, others, place_QK.numpy(), sim_QK.numpy())


def flips(first: Ranked, second: Ranked) -> Flips:
    """What became of each query from the first embedding to the second; queries are the same where their ids are.

    Errors: ValueError where they share no query, or where an id stands twice among the queries of one.
    """
    place_1, place_2 = (_by_id(ranked.query.ids) for ranked in (first, second))
    shared = [name for name in first.query.ids if name in place_2]
    if not shared:
        raise ValueError(
            f"the two share no query: {len(place_1):,} test images such as {first.query.ids[0]!r} and "
            f"{len(place_2):,} such as {second.query.ids[0]!r}; give two runs on the same data and split"
        )
    true_1, true_2, named_1, named_2 = first.true, second.true, first.named, second.named
    ids = tuple(name for name in shared if true_1[place_1[name]] == true_2[place_2[name]])
    if not ids:
        raise ValueError(
            f"the {len(shared):,} images that both have are of other classes in each, such as {shared[0]!r}: "
            f"{true_1[place_1[shared[0]]]!r} and {true_2[place_2[shared[0]]]!r}; give two runs on the same data"
        )
    rows_1, rows_2 = (np.array([place[name] for name in ids], np.int64) for place in (place_1, place_2))
    kind_Q = np.array([_kind(true_1[n], named_1[n], named_2[m]) for n, m in zip(rows_1, rows_2, strict=True)], np.uint8)
    lacking = len(place_1) - len(shared), len(place_2) - len(shared), len(shared) - len(ids)
    return Flips(ids, kind_Q, rows_1, rows_2, *lacking)


def _by_id(ids: Sequence[str]) -> dict[str, int]:
    place = {name: n for n, name in enumerate(ids)}
    if len(place) < len(ids):
        name, times = Counter(ids).most_common(1)[0]
        raise ValueError(f"{times} test images are named {name!r}, so that queries cannot be told apart by their names")
    return place


def _kind(true: str, before: str, after: str) -> int:
    """Index into KINDS."""
    if before == true:
        return 0 if after == true else 1
    return 2 if after == true else 3 if before == after else 4
