"""Comparing all rows: worked by hand, against a loop in float64, and short distances between long vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.gallery import index as indexing
from likewise.gallery import mapped
from likewise.gallery.index import SIMS, ExactIndex, prepare, similarities
from likewise.gallery.mapped import MappedRows

LONG = np.array([[300.0, 400.0], [300.0, 400.25], [303.0, 404.0]], np.float32)


def by_loop(query_QD: np.ndarray, vectors_MD: np.ndarray, sim: str) -> np.ndarray:
    found = np.zeros((len(query_QD), len(vectors_MD)))
    for q, x in enumerate(query_QD.astype(np.float64)):
        for m, y in enumerate(vectors_MD.astype(np.float64)):
            square = ((x - y) ** 2).sum()
            found[q, m] = {
                "cosine": x @ y / np.linalg.norm(x) / np.linalg.norm(y),
                "dot": x @ y,
                "euclidean": -np.sqrt(square),
                "sqeuclidean": -square,
            }[sim]
    return found


@pytest.mark.parametrize(("sim", "right"), [("euclidean", [0, -0.25, -5]), ("sqeuclidean", [0, -0.0625, -25])])
def test_short_distances_of_long_vectors_are_not_rounded_away(sim, right):
    exact = ExactIndex(2, sim)
    exact.add(LONG)
    found = exact.search(LONG[:1], 3)
    assert found.row.tolist() == [[0, 1, 2]]
    assert found.sim.tolist() == [right]
    assert not np.signbit(found.sim[0, 0])  # it is printed as 0


@pytest.mark.parametrize("sim", SIMS)
@given(seed=st.integers(0, 10**6), offset=st.sampled_from([0.0, 1.0, 300.0]), tile=st.sampled_from([1, 7, 2**22]))
def test_similarities_are_those_of_a_loop_whatever_the_tile(sim, seed, offset, tile):
    rng = np.random.default_rng(seed)
    vectors_MD = (offset + rng.normal(size=(9, 5))).astype(np.float32)
    query_QD = np.concatenate([vectors_MD[:2], (offset + rng.normal(size=(3, 5))).astype(np.float32)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "TILE", tile)
        found = similarities(query_QD, prepare(vectors_MD, sim), sim)
        exact = ExactIndex(5, sim)
        exact.add(vectors_MD)
        near = exact.search(query_QD, 9)
    right = by_loop(query_QD, vectors_MD, sim)
    scale = {"cosine": 1, "dot": 5 * (offset + 4) ** 2, "euclidean": offset + 4, "sqeuclidean": (offset + 4) ** 2}[sim]
    np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-6 * scale)
    np.testing.assert_allclose(near.sim, -np.sort(-right, 1), rtol=1e-3, atol=1e-6 * scale)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_room_grows_in_step_with_the_rows(is_mapped, tmp_path, monkeypatch):
    """The squares of mapped rows grew by doubling where the file grew by a quarter: 32 GiB at a million items."""
    monkeypatch.setattr(mapped, "STEP", 64)
    exact = ExactIndex(4, "euclidean", MappedRows(4, tmp_path) if is_mapped else None)
    vectors_MD = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    for row in vectors_MD:
        exact.add(row[None])
        assert len(exact.square) == len(exact.rows) <= max(2 * len(exact), 8)
    np.testing.assert_array_equal(exact.prepared, vectors_MD)
    np.testing.assert_allclose(exact.square[:200], (vectors_MD**2).sum(1), rtol=1e-6)
    assert exact.search(vectors_MD[150:151], 1).row.tolist() == [[150]]


@pytest.mark.parametrize("sim", SIMS)
def test_no_query_and_no_row(sim):
    empty = np.zeros((0, 2), np.float32)
    assert similarities(LONG, empty, sim).shape == (3, 0)
    assert similarities(empty, LONG, sim).shape == (0, 3)
    assert ExactIndex(2, sim).search(LONG, 2).row.tolist() == [[-1, -1]] * 3
