"""Exact neighbours: against sorting in a loop, whatever the tile, the ties and what is hidden."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import geometry
from likewise.metrics import neighbours
from likewise.metrics.neighbours import nearest, tiles

TILES = (4, 25, 333, neighbours.TILE)


def whole_numbers(rows: int, seed: int, dim: int = 3) -> torch.Tensor:
    """Inner products of small whole numbers are exact, and full of ties."""
    return torch.randint(-2, 3, (rows, dim), generator=torch.Generator().manual_seed(seed)).float()


def by_sorting(sim_QM: torch.Tensor, k: int, seen) -> list[list[int]]:
    """Sort all references of each query by (similarity down, place up); -1 where there are no more to see."""
    rows = []
    for i, row in enumerate(sim_QM.tolist()):
        order = sorted((j for j in range(len(row)) if seen(i, j)), key=lambda j: (-row[j], j))[:k]
        rows.append(order + [-1] * (k - len(order)))
    return rows


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 40), st.data())
def test_equals_a_sort_whatever_the_tile(queries: int, references: int, data):
    k = data.draw(st.integers(1, references))
    tile = data.draw(st.sampled_from(TILES))
    seed = data.draw(st.integers(0, 99))
    x, y = whole_numbers(queries, seed), whole_numbers(references, seed + 1)
    found = nearest(x, y, k, sim=geometry.dot, tile=tile)
    assert found.place.tolist() == by_sorting(x @ y.T, k, lambda i, j: True)
    assert torch.equal(found.sim, (x @ y.T).gather(1, found.place))


@settings(max_examples=40)
@given(st.integers(2, 25), st.sampled_from(TILES), st.integers(0, 99), st.data())
def test_a_query_does_not_find_itself(n: int, tile: int, seed: int, data):
    k = data.draw(st.integers(1, n - 1))
    x = whole_numbers(n, seed)
    found = nearest(x, x, k, sim=geometry.dot, offset=0, tile=tile)
    assert found.place.tolist() == by_sorting(x @ x.T, k, lambda i, j: i != j)


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 25), st.sampled_from(TILES), st.integers(0, 99))
def test_what_is_hidden_is_not_found(queries: int, references: int, tile: int, seed: int):
    x, y = whole_numbers(queries, seed), whole_numbers(references, seed + 1)
    mine, theirs = (whole_numbers(n, seed + 2, dim=1)[:, 0].long() for n in (queries, references))
    found = nearest(x, y, references, sim=geometry.dot, hidden=(mine, theirs), tile=tile)
    assert found.place.tolist() == by_sorting(x @ y.T, references, lambda i, j: mine[i] != theirs[j])
    assert ((found.place == -1) == (found.sim == -torch.inf)).all()


@pytest.mark.parametrize("tile", [9, 40, neighbours.TILE])
def test_an_accelerators_way_of_selecting_gives_the_same(monkeypatch: pytest.MonkeyPatch, tile: int):
    """Off the processor every key of a tile is built and torch selects; run here, it must not be told apart."""
    x, y = whole_numbers(20, 0), whole_numbers(50, 1)
    usual = nearest(x, y, 7, sim=geometry.dot, tile=tile)
    monkeypatch.setattr(neighbours, "_few_keys", neighbours._all_keys)
    monkeypatch.setattr(neighbours, "_highest", lambda x_QM, k: x_QM.topk(min(k, x_QM.shape[1]), sorted=False).values)
    assert torch.equal(nearest(x, y, 7, sim=geometry.dot, tile=tile).place, usual.place)


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("name", geometry.__all__)
def test_every_geometry_ranks_as_it_scores(name: str, bound: bool):
    x, y = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0)) + 3
    y[:5] = x[:5]
    sim = getattr(geometry, name)
    found = nearest(x, y, 50, sim=partial(sim) if bound else sim, tile=300)
    torch.testing.assert_close(found.sim, sim(x, y).gather(1, found.place), atol=1e-5, rtol=1e-5)
    assert (found.sim.diff() <= 0).all()
    if name in ("euclidean", "sqeuclidean", "manhattan"):
        assert found.place[:5, 0].tolist() == [0, 1, 2, 3, 4]
        assert name == "sqeuclidean" or (found.sim[:5, 0] == 0).all()


def test_zero_has_one_sign():
    y = torch.tensor([[0.0], [-0.0], [0.0]])
    assert nearest(torch.ones(1, 1), y, 3, sim=lambda x_QD, y_MD: x_QD * y_MD.T).place.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("sim", [geometry.cosine, geometry.dot, geometry.euclidean, geometry.sqeuclidean])
def test_duplicates_come_in_the_order_of_the_references(monkeypatch: pytest.MonkeyPatch, sim):
    """Repeated images score exactly alike, also in different tiles; and where all have collapsed into one."""
    monkeypatch.setattr(neighbours, "WIDE", 500)
    y = torch.randn(100, 16, generator=torch.Generator().manual_seed(0)).repeat(30, 1)
    x = y[:100] + 0.1 * torch.randn(100, 16, generator=torch.Generator().manual_seed(1))
    found = nearest(x, y, 30, sim=sim, tile=50_000)
    assert torch.equal(found.place, found.place[:, :1] + 100 * torch.arange(30))
    assert nearest(torch.ones(3, 4), torch.ones(5000, 4), 4, sim=sim).place.tolist() == [[0, 1, 2, 3]] * 3


def test_a_narrow_tile_gives_what_one_wide_tile_gives(monkeypatch: pytest.MonkeyPatch):
    y = torch.randn(3000, 16, generator=torch.Generator().manual_seed(0))
    wide = nearest(y[:500], y, 20, sim=geometry.dot)
    monkeypatch.setattr(neighbours, "WIDE", 500)
    assert torch.equal(nearest(y[:500], y, 20, sim=geometry.dot, tile=100_000).place, wide.place)


def test_tiles_cover_all_queries_in_order():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    rows = [rows for rows, _ in tiles(x, x, 3, tile=333)]
    assert [i for run in rows for i in range(run.start, run.stop)] == list(range(50))
    assert len(rows) > 5


def test_memory_is_a_tile_and_not_the_matrix():
    """The largest tensor that a similarity makes is the tile asked for."""
    sizes = []

    def sim(x, y):
        sizes.append(len(x) * len(y))
        return x @ y.T

    x = torch.randn(1000, 4)
    nearest(x, x, 5, sim=sim, tile=50_000)
    assert max(sizes) <= 50_000
    assert sum(sizes) == 1000 * 1000


@pytest.mark.parametrize(
    ("x", "y", "k", "offset", "sentence"),
    [
        (torch.zeros(0, 2), torch.zeros(3, 2), 1, None, "no queries"),
        (torch.ones(2, 2), torch.ones(3, 4), 1, None, "queries are 2-d and references 4-d"),
        (torch.ones(2, 2), torch.ones(3, 2), 4, None, "k is 4, but each query has 3 references"),
        (torch.ones(3, 2), torch.ones(3, 2), 3, 0, "k is 3, but each query has 2 references"),
        (torch.ones(2, 2), torch.ones(3, 2), 0, None, "k is 0"),
        (torch.ones(2, 2), torch.ones(3, 2), -1, None, "k is -1"),
        (torch.full((2, 2), torch.nan), torch.ones(3, 2), 1, None, "2 of 2 queries hold NaN"),
        (torch.ones(2, 2), torch.tensor([[1, 1], [torch.inf, 0]]), 1, None, "1 of 2 references hold NaN or infinity"),
    ],
)
def test_what_cannot_be_ranked_is_one_sentence(x, y, k: int, offset, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        nearest(x, y, k, offset=offset)
