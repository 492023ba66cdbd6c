"""Few-shot classification: episodes of N classes with K examples each, and fixed one-shot trials."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import geometry
from likewise.metrics.neighbours import Sim

__all__ = ["Episodes", "by_nearest", "by_prototype", "draw", "one_shot_error", "right"]


class Episodes(NamedTuple):
    """E tasks of W classes each, as indices of images."""

    support: Tensor  # [E, W, S] int64: S support images per class
    query: Tensor  # [E, W, Q] int64: Q query images per class


def draw(
    labels_N: Tensor, *, ways: int = 20, shots: int = 1, queries: int = 1, episodes: int = 600, seed: int = 0
) -> Episodes:
    """Random classes and images within them, without replacement; classes that are too small are not used.

    Errors: ValueError for fewer than `ways` classes of `shots + queries` images.

    >>> draw(torch.arange(6) % 3, ways=2, shots=1, episodes=5).support.shape
    torch.Size([5, 2, 1])
    """
    class_N, size_C = labels_N.unique(return_inverse=True, return_counts=True)[1:]
    each = shots + queries
    large = (size_C >= each).nonzero()[:, 0]
    if len(large) < ways:
        task = f"{ways}-way {shots}-shot episodes"
        raise ValueError(f"{task} need {ways} classes of {each} images or more, and there are {len(large)}")
    generator = torch.Generator().manual_seed(seed)
    chosen_EW = large[_distinct(torch.full((episodes,), len(large)), ways, generator)]
    inside_EWX = _distinct(size_C[chosen_EW], each, generator)
    start_C = size_C.cumsum(0) - size_C
    drawn_EWX = class_N.argsort(stable=True)[start_C[chosen_EW][..., None] + inside_EWX]
    return Episodes(drawn_EWX[..., :shots], drawn_EWX[..., shots:])


def _distinct(below: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n different integers from 0 to below each given number, in random order: int64 `[..., n]`."""
    drawn, rising = [], below[..., None][..., :0]
    for i in range(n):
        number = (torch.rand(below.shape, generator=generator, dtype=torch.float64) * (below - i)).long()
        for earlier in rising.unbind(-1):  # skip the numbers that are taken, from the lowest up
            number = number + (number >= earlier)
        drawn.append(number)
        rising = torch.stack(drawn, dim=-1).sort(-1).values
    return torch.stack(drawn, dim=-1)


def by_nearest(support_EWSD: Tensor, query_EPD: Tensor, sim: Sim) -> Tensor:
    """The class of the nearest support image, int64 `[E, P]`; ties go to the first.

    >>> by_nearest(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[0.1, 0.9]]]), geometry.cosine)
    tensor([[1]])
    """
    sim_EPX = sim(query_EPD, support_EWSD.flatten(1, 2))
    return sim_EPX.argmax(-1) // support_EWSD.shape[2]


def by_prototype(support_EWSD: Tensor, query_EPD: Tensor, sim: Sim) -> Tensor:
    """The class of the nearest prototype (mean of the support images), int64 `[E, P]`.

    Snell et al., 2017, https://arxiv.org/abs/1703.05175.

    >>> by_prototype(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[0.1, 0.9]]]), geometry.cosine)
    tensor([[1]])
    """
    return sim(query_EPD, support_EWSD.mean(2)).argmax(-1)


def right(
    vectors_ND: Tensor,
    episodes: Episodes,
    *,
    sim: Sim = geometry.cosine,
    classify: Callable[[Tensor, Tensor, Sim], Tensor] = by_prototype,
    at_once: int = 64,
) -> Tensor:
    """Whether each query is classified correctly, bool `[E, W, Q]`; the mean over W and Q is the episode's accuracy.

    >>> labels = torch.arange(20) % 4
    >>> episodes = draw(labels, ways=2, shots=1, queries=1, episodes=3)
    >>> float(right(torch.eye(4)[labels], episodes).float().mean())
    1.0
    """
    parts = zip(episodes.support.split(at_once), episodes.query.split(at_once), strict=True)
    named = [classify(vectors_ND[s], vectors_ND[q.flatten(1)], sim).view(q.shape) for s, q in parts]
    return torch.cat(named) == torch.arange(episodes.query.shape[1])[:, None]


def one_shot_error(sim_TW: Tensor, answer_T: Tensor) -> Tensor:
    """1 for each trial whose most similar image is not the answer, float64 `[T]`; of ties the first counts.

    >>> one_shot_error(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]))
    tensor([0., 1.], dtype=torch.float64)
    """
    return (sim_TW.argmax(-1) != answer_T).double()
