"""Re-ranking of what a search found, by the neighbours of the neighbours; pure functions on unit vectors (cosine).

Both look at the pool of a query alone, its nearest 1,000 rows, so that their cost does not grow with the gallery.
"""

import numpy as np

from likewise.gallery.index import top

__all__ = ["POOL", "RERANKS", "check_rerank", "expanded", "k_reciprocal", "reranked"]

POOL = 1000  # nearest rows of a query
RERANKS = ("k-reciprocal", "query-expansion")


def check_rerank(rerank: str, sim: str) -> str:
    """Errors: ValueError for an unknown way, or a similarity for which it is not defined."""
    if rerank not in RERANKS:
        raise ValueError(f"rerank is {' or '.join(RERANKS)}; got {rerank!r}")
    if sim != "cosine":
        raise ValueError(f"re-ranking is defined for cosine similarity, and this gallery searches by {sim}")
    return rerank


def reranked(unit_D: np.ndarray, pool_ND: np.ndarray, rerank: str) -> np.ndarray:
    """Places `[N]` of a pool, best first. Pool and query are unit vectors, the pool nearest first."""
    if rerank == "query-expansion":
        return np.argsort(-(pool_ND @ expanded(unit_D, pool_ND)), kind="stable")
    return np.argsort(k_reciprocal(unit_D, pool_ND), kind="stable")


def expanded(unit_D: np.ndarray, pool_ND: np.ndarray, *, n: int = 10, alpha: float = 3.0) -> np.ndarray:
    """The query with its n nearest, each weighted by similarity ** alpha. Radenovic et al., 2019, section 3.4."""
    sim_N = np.maximum(pool_ND @ unit_D, 0)
    near = top(sim_N[None], min(n, len(sim_N))).row[0]
    mixed_D = unit_D + (sim_N[near, None] ** alpha * pool_ND[near]).sum(0)
    return mixed_D / max(float(np.linalg.norm(mixed_D)), 1e-12)


def k_reciprocal(
    unit_D: np.ndarray, pool_ND: np.ndarray, *, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """Distances `[N]`: Jaccard's of k-reciprocal neighbours, and `weight` of the original. Zhong et al., 2017.

    k1: neighbours whose reciprocity is looked at; k2: neighbours over which their encoding is averaged.
    """
    from scipy import sparse

    all_MD = np.concatenate([unit_D[None], pool_ND])
    far_MM = np.maximum(2 - 2 * (all_MD @ all_MD.T), 0)
    far_MM /= np.maximum(far_MM.max(1, keepdims=True), 1e-12)
    size = len(all_MD)
    rank_MK = top(-far_MM, min(max(k1, k2, 1) + 1, size)).row
    mutual = _reciprocal(rank_MK[:, : k1 + 1])
    half = _reciprocal(rank_MK[:, : round(k1 / 2) + 1])
    overlap = (mutual @ half.T).multiply(mutual)  # of each member's own half set with the set that it is a member of
    enough = overlap > (2 / 3) * overlap.sign().multiply(half.sum(1).T)
    members = ((mutual + enough.astype(np.float32) @ half) > 0).tocoo()
    weights = np.exp(-far_MM[members.row, members.col])
    encoding = sparse.csr_matrix((weights, (members.row, members.col)), (size, size))
    encoding = sparse.diags(1 / np.asarray(encoding.sum(1)).ravel()) @ encoding
    mean = _members(rank_MK[:, : max(k2, 1)]) / min(max(k2, 1), size)
    encoding = (mean @ encoding).tocsr()
    common_M = np.asarray(encoding.minimum(sparse.csr_matrix(np.ones((size, 1))) @ encoding[0]).sum(1)).ravel()
    jaccard_N = 1 - common_M[1:] / (2 - common_M[1:])
    return (1 - weight) * jaccard_N + weight * far_MM[0, 1:]


def _members(rank_MK: np.ndarray):
    """Sparse `[M, M]` with 1 where the column is among the row's K."""
    from scipy import sparse

    count, width = rank_MK.shape
    rows = np.repeat(np.arange(count), width)
    return sparse.csr_matrix((np.ones(count * width, np.float32), (rows, rank_MK.ravel())), (count, count))


def _reciprocal(rank_MK: np.ndarray):
    members = _members(rank_MK)
    return members.multiply(members.T).tocsr()
