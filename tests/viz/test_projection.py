"""Projections: an oracle for PCA, and one contract for every method."""

import sys
import types

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from likewise.viz import projection as project
from likewise.viz.projection import METHODS, pca, plane, tsne


def blobs(n: int = 48, dim: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return (8 * rng.normal(size=(classes, dim)))[labels] + rng.normal(size=(n, dim)), labels


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """t-SNE's threads wait for one another in a spin, which on a busy machine takes minutes."""
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def umap_or_its_stand_in(monkeypatch):
    """umap-learn takes seconds to import and is an extra: here a stand-in that keeps the first columns."""

    class Reducer:
        def __init__(self, n_components, n_neighbors, random_state, n_jobs):
            self.dims, self.neighbours = n_components, n_neighbors

        def fit_transform(self, x_ND):
            assert self.neighbours < len(x_ND)
            return x_ND[:, : self.dims]

    module = types.ModuleType("umap")
    module.UMAP = Reducer
    monkeypatch.setitem(sys.modules, "umap", module)


def test_pca_is_the_plane_of_the_largest_eigenvalues():
    x_ND, _ = blobs()
    centred = x_ND - x_ND.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    found = pca(x_ND)
    for k in range(2):
        expected = centred @ vectors[:, -1 - k]
        np.testing.assert_allclose(np.abs(found[:, k]), np.abs(expected), rtol=1e-4, atol=1e-4)
    assert plane(x_ND).share == pytest.approx(values[-2:].sum() / values.sum())


def test_pca_by_hand():
    line = np.array([[0.0, 0, 0], [3, 4, 0], [6, 8, 0]])  # along (0.6, 0.8, 0), steps of length 5
    np.testing.assert_allclose(pca(line)[:, 0], [-5, 0, 5], atol=1e-5)


def test_the_sign_of_an_axis_does_not_depend_on_the_order_of_the_vectors():
    x_ND, _ = blobs()
    axes = plane(x_ND).axes
    assert (axes[np.arange(2), np.abs(axes).argmax(1)] > 0).all()
    np.testing.assert_allclose(plane(x_ND[::-1]).axes, axes, atol=1e-8)
    np.testing.assert_allclose(plane(-x_ND).axes, axes, atol=1e-8)


def test_a_plane_places_other_vectors_too():
    x_ND, _ = blobs()
    seen = plane(x_ND[:30])
    np.testing.assert_allclose(seen(x_ND)[:30], pca(x_ND[:30]), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_an_embedding_of_as_many_dimensions_is_itself(method):
    x_N2 = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    np.testing.assert_array_equal(project.project(x_N2, method), x_N2)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_finite_float32_of_the_wanted_width_twice_the_same(method, dims):
    x_ND, _ = blobs(16)
    found = project.project(torch.tensor(x_ND), method, dims=dims)
    assert found.shape == (len(x_ND), dims)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, project.project(x_ND, method, dims=dims))


def test_tsne_keeps_neighbourhoods():
    x_ND, labels = blobs()
    map_N2 = tsne(x_ND)
    far_NN = np.linalg.norm(map_N2[:, None] - map_N2[None], axis=-1) + np.diag(np.full(len(map_N2), np.inf))
    assert (labels[far_NN.argmin(1)] == labels).mean() > 0.95


@pytest.mark.parametrize("n", [1, 2, 3])
def test_pca_of_few_or_equal_vectors_is_finite(n):
    assert pca(np.ones((n, 5))).tolist() == [[0, 0]] * n
    assert np.isfinite(pca(np.eye(5)[:n])).all()


def test_one_dimension_lies_on_the_first_axis():
    assert pca([[1.0], [2.0]]).tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_too_few_vectors_are_named(method):
    with pytest.raises(ValueError, match=r"to 2 dimensions needs at least 4 vectors, got 3; use pca"):
        project.project(np.eye(5)[:3], method)
    assert project.project(np.eye(5)[:4], method).shape == (4, 2)


def test_umap_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=r"pip install .*\[view\]'"):
        project.umap(blobs()[0])


def test_opentsne_keeps_neighbourhoods_and_is_the_same_again():
    pytest.importorskip("openTSNE")
    x_ND, labels = blobs()
    map_N2 = project.opentsne(x_ND)
    assert map_N2.dtype == np.float32
    far_NN = np.linalg.norm(map_N2[:, None] - map_N2[None], axis=-1) + np.diag(np.full(len(map_N2), np.inf))
    assert (labels[far_NN.argmin(1)] == labels).mean() > 0.9
    np.testing.assert_array_equal(map_N2, project.opentsne(x_ND))
    assert project.opentsne(np.ones((6, 5))).tolist() == [[0, 0]] * 6


def test_opentsne_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(ValueError, match=r"pip install .*\[view\]'"):
        project.opentsne(blobs()[0])


def test_what_cannot_be_projected_is_said():
    with pytest.raises(ValueError, match=r"1 of 3 vectors contain NaN"):
        pca([[0.0, 1], [np.nan, 1], [1, 1]])
    with pytest.raises(ValueError, match=r"got \[4\]"):
        pca(np.zeros(4))
    with pytest.raises(ValueError, match=r"got \[0, 4\]"):
        pca(np.zeros((0, 4)))
    with pytest.raises(ValueError, match="did you mean tsne"):
        project.project(np.zeros((4, 4)), "t-sne")


@pytest.mark.slow
@pytest.mark.timeout(900)  # umap-learn compiles itself on first use, for minutes where numba has no cache
def test_umap_itself_keeps_neighbourhoods(monkeypatch):
    monkeypatch.delitem(sys.modules, "umap")
    pytest.importorskip("umap")
    x_ND, labels = blobs()
    map_N2 = project.umap(x_ND)
    far_NN = np.linalg.norm(map_N2[:, None] - map_N2[None], axis=-1) + np.diag(np.full(len(map_N2), np.inf))
    assert (labels[far_NN.argmin(1)] == labels).mean() > 0.9


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_equal_vectors_and_a_vector_alone_lie_at_the_origin_of_their_plane(dims):
    for x_ND in (np.full((4, 5), 3.0), np.arange(5.0)[None]):
        found = plane(x_ND, dims=dims)
        assert found(x_ND).tolist() == [[0.0] * dims] * len(x_ND)
        np.testing.assert_array_equal(found.axes, np.eye(dims, 5))
        assert found.share == 1
        assert found(x_ND + np.eye(5)[0])[0].tolist() == [1.0] + [0.0] * (dims - 1)


def test_a_constant_coordinate_is_no_reason_to_see_none():
    x_ND = np.array([[0.0, 7.0, 1.0], [1.0, 7.0, 1.0], [2.0, 7.0, 1.0]])
    assert np.abs(plane(x_ND)(x_ND)[:, 0]).tolist() == pytest.approx([1, 0, 1])
