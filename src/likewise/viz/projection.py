"""Projections to two or three dimensions for display: PCA, t-SNE (scikit-learn's or openTSNE's), UMAP.

Each takes vectors `[N, D]` (tensor or array) and returns float32 `[N, dims]`. An embedding with at
most `dims` dimensions is returned unchanged. PCA preserves distances as well as a linear map can; t-SNE and UMAP
preserve neighbourhoods, so cluster sizes and gaps between clusters carry no meaning.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from likewise.extras import install_line
from likewise.spec import near

__all__ = ["LANDMARKS", "METHODS", "Plane", "opentsne", "pca", "plane", "project", "tsne", "umap"]


LANDMARKS = 5_000  # vectors that t-SNE lays out; more are placed among these


class Plane(NamedTuple):
    """A plane in the embedding space: `plane(x_ND)` gives the coordinates of x in it."""

    origin: np.ndarray  # [D]
    axes: np.ndarray  # [dims, D]
    share: float  # explained variance, 0 to 1

    def __call__(self, x_ND: ArrayLike) -> np.ndarray:
        return ((_matrix(x_ND) - self.origin) @ self.axes.T).astype(np.float32)


def project(x_ND: ArrayLike, method: str = "pca", *, dims: int = 2, **numbers: float) -> np.ndarray:
    """Project vectors by one of METHODS. Errors: ValueError for an unknown method, with the near name."""
    if method not in METHODS:
        raise ValueError(f"no projection named {method!r}{near(method, METHODS)}")
    return METHODS[method](x_ND, dims=dims, **numbers)


def plane(x_ND: ArrayLike, *, dims: int = 2) -> Plane:
    """Fit the plane of largest variance, to project one or several embeddings. Pearson, 1901.

    Deterministic: scikit-learn orients each axis so that its largest entry is positive. With at most `dims` dimensions
    the plane is the embedding space itself; missing axes are zero.
    """
    from sklearn.decomposition import PCA

    x_ND = _matrix(x_ND)
    if x_ND.shape[1] <= dims:
        return Plane(np.zeros(x_ND.shape[1]), np.eye(dims, x_ND.shape[1]), 1.0)
    if np.ptp(x_ND, axis=0).max() == 0:  # one vector, or all equal: PCA would divide by zero
        return Plane(x_ND[0], np.eye(dims, x_ND.shape[1]), 1.0)
    fitted = PCA(min(dims, len(x_ND)), random_state=0).fit(x_ND)
    axes_KD = np.zeros((dims, x_ND.shape[1]))
    axes_KD[: len(fitted.components_)] = fitted.components_
    return Plane(fitted.mean_, axes_KD, float(fitted.explained_variance_ratio_.sum()))


def pca(x_ND: ArrayLike, *, dims: int = 2) -> np.ndarray:
    """Principal components: the plane of largest variance. Pearson, 1901."""
    return plane(x_ND, dims=dims)(x_ND)


def tsne(x_ND: ArrayLike, *, dims: int = 2, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE with PCA initialisation; perplexity is lowered for few vectors. van der Maaten and Hinton, 2008."""
    from sklearn.manifold import TSNE

    x_ND = _matrix(x_ND)
    if (placed := _without_layout(x_ND, dims, "t-SNE")) is not None:
        return placed
    if len(x_ND) > LANDMARKS:
        return among_landmarks(x_ND, dims=dims, perplexity=perplexity, seed=seed)
    perplexity = min(perplexity, (len(x_ND) - 1) / 3)
    how = "barnes_hut" if dims < 4 else "exact"
    return TSNE(dims, perplexity=perplexity, init="pca", method=how, random_state=seed).fit_transform(x_ND)


def among_landmarks(x_ND: np.ndarray, *, dims: int, perplexity: float, seed: int, k: int = 3) -> np.ndarray:
    """t-SNE of LANDMARKS evenly spaced vectors; the others lie at the weighted mean of the k landmarks nearest to them.

    Weights are inverse squared distances. Time O(N * LANDMARKS).
    """
    from sklearn.neighbors import NearestNeighbors

    at_L = np.arange(LANDMARKS) * len(x_ND) // LANDMARKS
    place_L = tsne(x_ND[at_L], dims=dims, perplexity=perplexity, seed=seed)
    far_NK, near_NK = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x_ND[at_L]).kneighbors(x_ND)
    weight_NK = 1 / np.maximum(far_NK, 1e-9) ** 2
    weight_NK /= weight_NK.sum(1, keepdims=True)
    placed_N = np.einsum("nk,nkd->nd", weight_NK, place_L[near_NK]).astype(np.float32)
    placed_N[at_L] = place_L
    return placed_N


def umap(x_ND: ArrayLike, *, dims: int = 2, neighbours: int = 15, seed: int = 0) -> np.ndarray:
    """UMAP (extra: `pip install 'likewise[view]'`). McInnes, Healy and Melville, 2018."""
    x_ND = _matrix(x_ND)
    if (placed := _without_layout(x_ND, dims, "UMAP")) is not None:
        return placed
    try:
        from umap import UMAP
    except ImportError:
        raise ValueError(f"UMAP needs umap-learn, which is not installed; run: {install_line('view')}") from None
    reducer = UMAP(n_components=dims, n_neighbors=min(neighbours, len(x_ND) - 1), random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(x_ND), dtype=np.float32)


def opentsne(x_ND: ArrayLike, *, dims: int = 2, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE of every vector, also of many: nobody is placed among landmarks (extra: view).

    Interpolated by FFT, in time that grows with N. Linderman et al., 2019, https://doi.org/10.1038/s41592-018-0308-4.
    Three dimensions are those of `tsne`.
    """
    if dims > 2:
        return tsne(x_ND, dims=dims, perplexity=perplexity, seed=seed)
    x_ND = _matrix(x_ND)
    if (placed := _without_layout(x_ND, dims, "t-SNE")) is not None:
        return placed
    try:
        from openTSNE import TSNE
    except ImportError:
        raise ValueError(f"opentsne needs openTSNE, which is not installed; run: {install_line('view')}") from None
    perplexity = min(perplexity, (len(x_ND) - 1) / 3)
    reducer = TSNE(dims, perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit(x_ND), dtype=np.float32)


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "pca": pca,
    "tsne": tsne,
    "opentsne": opentsne,
    "umap": umap,
}


def _matrix(x_ND: ArrayLike) -> np.ndarray:
    """Float64 [N, D]. Errors: ValueError for another shape, no vectors, NaN or infinity."""
    x_ND = np.asarray(x_ND, dtype=np.float64)
    if x_ND.ndim != 2 or 0 in x_ND.shape:
        raise ValueError(f"expected vectors as [N, D] with N and D of at least 1, got {list(x_ND.shape)}")
    bad = int((~np.isfinite(x_ND)).any(1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(x_ND)} vectors contain NaN or infinity; leave them out before projecting")
    return x_ND


def _without_layout(x_ND: np.ndarray, dims: int, name: str) -> np.ndarray | None:
    """Vectors of few dimensions as they are, and equal ones at the origin; None for those that are laid out.

    Errors: ValueError for too few.
    """
    if x_ND.shape[1] <= dims:
        return pca(x_ND, dims=dims)
    # The methods start from a decomposition that needs at least dims + 2 vectors, and variance.
    if len(x_ND) < dims + 2:
        raise ValueError(f"{name} to {dims} dimensions needs at least {dims + 2} vectors, got {len(x_ND)}; use pca")
    if np.ptp(x_ND, axis=0).max() == 0:
        return np.zeros((len(x_ND), dims), np.float32)
    return None
