"""The state of an embedding in numbers that are no scores: they have no interval, and better is not always more."""

import torch

from likewise import spec
from likewise.embeddings import Embeddings, as_seen, check
from likewise.metrics import clustering
from likewise.metrics import health as of
from likewise.metrics.neighbours import Sim, nearest

__all__ = ["health"]

NEIGHBOURS = 10  # of each image, for hubs
PAIRS_OF = 5_000  # images, evenly spaced, whose pairs uniformity is of: its time grows with their square


def health(part: Embeddings, *, sim: str | Sim = "cosine") -> dict[str, float]:
    """How many directions are in use, how vectors are spread, and how classes lie; docs/metrics.md says what of it.

    What the part cannot tell is left out: hubs of one image, classes of one class. Errors: as in `evaluate`.
    """
    check(part)
    sim = spec.bind("sim", sim) if isinstance(sim, str) else sim
    lengths = {f"norm_{name}": value for name, value in of.norms(part.vectors)._asdict().items()}
    rank = of.effective_rank(part.vectors - part.vectors.mean(0))
    return {
        "effective_rank": rank,
        "dimensions": part.vectors.shape[1],
        **lengths,
        **_pairs(part),
        **_hubs(part, sim),
    } | (_classes(part, sim))


def _pairs(part: Embeddings) -> dict[str, float]:
    several = len(part.labels.unique()) < len(part)
    values = {"alignment": of.alignment(part.vectors, part.labels)} if several else {}
    if len(part) > 1:
        few = torch.arange(min(PAIRS_OF, len(part))) * len(part) // min(PAIRS_OF, len(part))
        values["uniformity"] = of.uniformity(part.vectors[few])
    return values


def _hubs(part: Embeddings, sim: Sim) -> dict[str, float]:
    if len(part) <= NEIGHBOURS:
        return {}
    near = nearest(part.vectors, part.vectors, NEIGHBOURS, sim=sim, offset=0)
    counted = of.occurrences(near.place, len(part))
    return {"hubness": of.hubness(counted), "orphans": float((counted == 0).double().mean())}


def _classes(part: Embeddings, sim: Sim) -> dict[str, float]:
    """Euclidean, of the vectors as silhouette and k-means see them."""
    if not 1 < len(part.labels.unique()) < len(part):
        return {}
    seen_ND = as_seen(part.vectors, sim)
    spread = of.spread(seen_ND, part.labels)
    return {
        "davies_bouldin": clustering.davies_bouldin(seen_ND, part.labels),
        "calinski_harabasz": clustering.calinski_harabasz(seen_ND, part.labels),
        "overlapping": float((spread.within > spread.between).double().mean()),
    }
