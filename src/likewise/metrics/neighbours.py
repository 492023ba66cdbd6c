"""Exact nearest neighbours, tile by tile: memory holds one tile of similarities, whatever the number of references.

Ties are independent of the tile size: of equal similarities (float32, as computed) the lower index comes first.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise import geometry

__all__ = ["TILE", "Nearest", "nearest", "nearest_of_blocks", "tiles"]

TILE = 2**21  # similarities per tile: 8 MB, which fits the caches of a processor
WIDE = 2**14  # references per tile, unless k is larger
NOTHING = torch.iinfo(torch.int64).min  # below every key: fills ragged rows


class Nearest(NamedTuple):
    """The K nearest references of each query, nearest first."""

    sim: Tensor  # [Q, K] float32
    place: Tensor  # [Q, K] int64: index of the reference; -1, with similarity -inf, if there are fewer than K


Sim = Callable[[Tensor, Tensor], Tensor]
Codes = tuple[Tensor, Tensor]


def nearest(x_QD: Tensor, y_MD: Tensor, k: int, *, sim: Sim = geometry.cosine, **options) -> Nearest:
    """The k nearest rows of y for every row of x; `options` are those of `tiles`.

    >>> nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.1]]), k=1).place
    tensor([[1]])
    """
    _check(x_QD, y_MD, k, options.get("offset"))
    near = Nearest(x_QD.new_empty(len(x_QD), k, dtype=torch.float32), x_QD.new_empty(len(x_QD), k, dtype=torch.int64))
    for rows, part in tiles(x_QD, y_MD, k, sim=sim, **options):
        near.sim[rows], near.place[rows] = part
    return near


def tiles(
    x_QD: Tensor,
    y_MD: Tensor,
    k: int,
    *,
    sim: Sim = geometry.cosine,
    offset: int | None = None,
    hidden: Codes | None = None,
    tile: int = TILE,
) -> Iterator[tuple[slice, Nearest]]:
    """Yields slices of queries with their k nearest references, `(slice, Nearest)`, in order.

    offset: query i is reference offset + i, and excluded from its own results.
    hidden: codes (of queries [Q], of references [M]); references with the code of a query are excluded from its
    results. tile: similarities held at once. Work is O(Q M D), memory O(tile + Q-tile k).
    """
    _check(x_QD, y_MD, k, offset)
    sim, x_QD, y_MD = _once(sim, x_QD.detach(), y_MD.detach())
    width = min(len(y_MD), max(WIDE, 16 * k), tile)
    columns = _cut(len(y_MD), width)
    twins = _twins(y_MD)
    for rows in _cut(len(x_QD), max(1, tile // width)):
        key_QK = torch.empty(rows.stop - rows.start, 0, dtype=torch.int64, device=x_QD.device)
        shared_QG = sim(x_QD[rows], y_MD[twins.first]).float() if len(twins.first) else None
        for cols in columns:
            sim_QM = sim(x_QD[rows], y_MD[cols]).float().contiguous()
            if shared_QG is not None:
                inside = (twins.place >= cols.start) & (twins.place < cols.stop)
                sim_QM[:, twins.place[inside] - cols.start] = shared_QG[:, twins.group[inside]]
            _hide(sim_QM, rows, cols, offset, hidden)
            key_QK = _merge(key_QK, sim_QM, k, cols.start)
        yield rows, _read(_descending(key_QK))


def nearest_of_blocks(x_QD: Tensor, blocks: Iterable[Tensor], k: int, *, offset: int | None = None) -> Nearest:
    """As `nearest` by cosine, of references that come in blocks [M, D], of which one at a time is in memory.

    Equal vectors in one block may be rounded differently, so that ties are by place only where they are exact.

    >>> blocks = [torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.1]])]
    >>> nearest_of_blocks(torch.tensor([[1.0, 0.0]]), blocks, k=1).place
    tensor([[1]])
    """
    unit_QD = geometry.unit(x_QD.detach())
    key_QK = torch.empty(len(x_QD), 0, dtype=torch.int64)
    start = 0
    for block_MD in blocks:
        unit_MD = geometry.unit(block_MD)
        for cols in _cut(len(block_MD), max(1, TILE // len(x_QD))):
            sim_QM = (unit_QD @ unit_MD[cols].mT).float().contiguous()
            place = slice(start + cols.start, start + cols.stop)
            _hide(sim_QM, slice(0, len(x_QD)), place, offset, None)
            key_QK = _merge(key_QK, sim_QM, k, place.start)
        start += len(block_MD)
    return _read(_descending(key_QK))


class _Twins(NamedTuple):
    """References with bit-identical vectors."""

    first: Tensor  # [G]: lowest index of each group of equal references
    place: Tensor  # [T]: indices in any group
    group: Tensor  # [T]: group of each


def _twins(y_MD: Tensor) -> _Twins:
    """Groups of equal references, since a matrix product may round equal columns differently by their place in a tile.

    Found by a hash of the bits of each row, then compared completely.
    """
    bits_MD = y_MD.contiguous().view(torch.int64 if y_MD.element_size() == 8 else torch.int32).long()
    factor_D = torch.randint(2**62, (bits_MD.shape[1],), generator=torch.Generator().manual_seed(0)).to(y_MD.device) | 1
    hash_M = (bits_MD * factor_D).sum(-1)
    _, group_M, count_G = hash_M.unique(return_inverse=True, return_counts=True)
    place = (count_G[group_M] > 1).nonzero()[:, 0]
    if not len(place):
        return _Twins(place, place, place)
    first_G = torch.full_like(count_G, len(y_MD)).scatter_reduce(0, group_M[place], place, "amin")
    place = place[(y_MD[place] == y_MD[first_G[group_M[place]]]).all(-1)]
    group, number = group_M[place].unique(return_inverse=True)
    return _Twins(first_G[group], place, number)


def _check(x_QD: Tensor, y_MD: Tensor, k: int, offset: int | None) -> None:
    if not len(x_QD):
        raise ValueError("there are no queries: the query set is empty")
    if x_QD.shape[1:] != y_MD.shape[1:]:
        raise ValueError(f"queries are {x_QD.shape[-1]}-d and references {y_MD.shape[-1]}-d: embed both with one model")
    seen = len(y_MD) - (offset is not None)
    if not 0 < k <= seen:
        raise ValueError(f"k is {k}, but each query has {seen} references to rank: choose k from 1 to {seen}")
    for name, rows in (("queries", x_QD), ("references", y_MD)):
        if not rows.isfinite().all():
            broken = int((~rows.isfinite().all(-1)).sum())
            raise geometry.DivergedError(
                f"{broken} of {len(rows)} {name} hold NaN or infinity: the model's weights have diverged"
            )


def _once(sim: Sim, x_QD: Tensor, y_MD: Tensor) -> tuple[Sim, Tensor, Tensor]:
    """Inner-product geometries, with the vectors prepared once instead of once per tile.

    Cosine is the product of unit vectors, and -|x - y|^2 that of (2x, -|x|^2, -1) and (y, 1, |y|^2). This is faster,
    and rounds equally in every tile: `geometry.euclidean` centres each tile, which separates duplicates.
    """
    kind = getattr(sim, "func", sim)
    if kind is geometry.cosine:
        return geometry.dot, geometry.unit(x_QD), geometry.unit(y_MD)
    if kind not in (geometry.euclidean, geometry.sqeuclidean):
        return sim, x_QD, y_MD
    x_QD, y_MD = x_QD - y_MD.mean(0), y_MD - y_MD.mean(0)
    x_Q1, y_M1 = x_QD.square().sum(-1, keepdim=True), y_MD.square().sum(-1, keepdim=True)
    if not (x_Q1.isfinite().all() and y_M1.isfinite().all()):
        raise geometry.DivergedError("vectors so long that their squares overflow: the model's weights have diverged")
    left, right = [2 * x_QD, -x_Q1, -torch.ones_like(x_Q1)], [y_MD, torch.ones_like(y_M1), y_M1]
    return _root if kind is geometry.euclidean else _negative, torch.cat(left, dim=1), torch.cat(right, dim=1)


def _negative(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right.mT).clamp_(max=0)


def _root(left: Tensor, right: Tensor) -> Tensor:
    """-|x - y|, and 0 where the square is within rounding error, as in `geometry.euclidean`."""
    rounding_Q1 = 32 * torch.finfo(left.dtype).eps * left[:, -2:-1]
    square_QM = _negative(left, right)
    return square_QM.masked_fill_(square_QM >= rounding_Q1, 0).neg_().sqrt_().neg_()


def _cut(length: int, size: int) -> list[slice]:
    """Even slices of at most `size`: no thin remainder, for which matrix products round differently."""
    n = -(-length // size)
    return [slice(length * i // n, length * (i + 1) // n) for i in range(n)]


def _hide(sim_QM: Tensor, rows: slice, cols: slice, offset: int | None, hidden: Codes | None) -> None:
    if offset is not None:
        own = torch.arange(rows.start, rows.stop, device=sim_QM.device) + offset - cols.start
        inside = (own >= 0) & (own < sim_QM.shape[1])
        sim_QM[inside.nonzero()[:, 0], own[inside]] = -torch.inf
    if hidden is not None:
        sim_QM.masked_fill_(hidden[0][rows, None] == hidden[1][cols], -torch.inf)


# A key is one int64: the bits of the similarity in front, so that keys sort like similarities, followed by the
# inverted index of the reference. All keys differ, so every selection and sort gives the same order.


def _key(sim: Tensor, place: Tensor) -> Tensor:
    bits = (sim + 0.0).view(torch.int32)  # + 0.0: minus zero equals zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return ordered.long().bitwise_left_shift_(32).bitwise_or_(0xFFFFFFFF - place)


def _read(key_QK: Tensor) -> Nearest:
    ordered_QK = (key_QK >> 32).int()
    sim_QK = (ordered_QK ^ ((ordered_QK >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return Nearest(sim_QK, torch.where(sim_QK == -torch.inf, -1, 0xFFFFFFFF - (key_QK & 0xFFFFFFFF)))


def _merge(held_QK: Tensor, sim_QM: Tensor, k: int, start: int) -> Tensor:
    """The k highest keys among the current ones and those of another tile, whose first reference is `start`."""
    further = _few_keys if sim_QM.device.type == "cpu" else _all_keys
    key_QT = further(held_QK, sim_QM, k, start)
    return _highest(torch.cat([held_QK, key_QT], dim=1) if held_QK.shape[1] else key_QT, k)


def _all_keys(held_QK: Tensor, sim_QM: Tensor, k: int, start: int) -> Tensor:
    return _key(sim_QM, torch.arange(start, start + sim_QM.shape[1], device=sim_QM.device))


def _few_keys(held_QK: Tensor, sim_QM: Tensor, k: int, start: int) -> Tensor:
    """The keys that can still be among the k highest: on a CPU, most of a tile is only compared.

    numpy compares, selects and sorts with vector instructions, three to ten times as fast as torch 2.13.
    """
    floor_Q1 = _floor(sim_QM, k)
    if held_QK.shape[1] == k:  # ties go to the references before this tile
        held_Q1 = _read(held_QK.amin(-1, keepdim=True)).sim
        floor_Q1 = torch.maximum(floor_Q1, held_Q1.nextafter(torch.full_like(held_Q1, torch.inf)))
    Q, M = sim_QM.shape
    flat_T = np.flatnonzero(sim_QM.numpy() >= floor_Q1.numpy())
    sim_T = torch.from_numpy(sim_QM.numpy().ravel()[flat_T])
    count_Q = np.diff(np.searchsorted(flat_T, np.arange(Q + 1) * M))
    place_T = flat_T - np.repeat(np.arange(Q) * M - start, count_Q)
    key_T = _key(sim_T, torch.from_numpy(place_T))
    key_QT = np.full((Q, count_Q.max()), NOTHING)
    key_QT[np.arange(count_Q.max()) < count_Q[:, None]] = key_T  # row by row, as in flat_T
    return torch.from_numpy(key_QT)


def _floor(sim_QM: Tensor, k: int) -> Tensor:
    """A similarity that at least k entries of the row reach, or -inf: the k-th largest maximum of 2k or more blocks."""
    Q, M = sim_QM.shape
    if k >= M:
        return sim_QM.new_full((Q, 1), -torch.inf)
    deep = max(1, min(64, M // (2 * k)))
    blocks = M // deep
    highest_QB = sim_QM[:, : deep * blocks].unflatten(1, (deep, blocks)).amax(1)
    return _highest(highest_QB, k).amin(-1, keepdim=True)


def _highest(x_QM: Tensor, k: int) -> Tensor:
    """The k highest keys of each row, unordered."""
    if x_QM.shape[1] <= k:
        return x_QM
    if x_QM.device.type != "cpu":
        return x_QM.topk(k, sorted=False).values
    return torch.from_numpy(np.partition(x_QM.numpy(), -k, axis=1)[:, -k:])


def _descending(key_QK: Tensor) -> Tensor:
    if key_QK.device.type != "cpu":
        return key_QK.sort(-1, descending=True).values
    return torch.from_numpy(np.sort(key_QK.numpy(), axis=1)).flip(1)
