"""Accuracy by bytes of a run trained with `matryoshka`: part of metrics.json."""

from likewise import spec
from likewise.data.images import SPLITS
from likewise.embeddings import Embeddings
from likewise.evaluate.baselines import subset
from likewise.evaluate.vector_sizes import dims_of, vector_sizes
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import SizePoint, SizesRecord

__all__ = ["accuracy_by_size", "trained_dims"]

MOST = 6_000  # images, queries and references together, in each of about twenty searches


def accuracy_by_size(recipe: Recipe, embeddings: Embeddings, split: str, *, open_set: bool) -> SizesRecord | None:
    """Nearest-neighbour accuracy of prefixes in float32, int8 and bits; None for losses other than matryoshka.

    found: the embeddings of all images. Ranges and means of the dimensions are those of the training part. More than
    6,000 queries and references are reduced to a subset drawn with the split's seed.
    """
    trained = trained_dims(recipe.loss)
    if not trained:
        return None
    queries, train = ((embeddings.split == SPLITS.index(part)).nonzero()[:, 0] for part in (split, "train"))
    query_Q, reference_M = subset(embeddings.labels, queries, None if open_set else train, MOST, seed=recipe.split_seed)
    reference = None if reference_M is None else embeddings.take(reference_M)
    known_ND = embeddings.vectors[train]
    dims = dims_of(known_ND.shape[1], trained)
    try:
        sized = vector_sizes(
            embeddings.take(query_Q), reference, known_ND, dims, sim=recipe.sim or "cosine", seed=recipe.split_seed
        )
    except ValueError:  # nothing to find
        return None
    points: list[SizePoint] = [
        {
            "dim": one.dim,
            "kind": one.kind,
            "bytes": one.bytes,
            "value": one.score.value,
            "low": one.score.low,
            "high": one.score.high,
            "n": one.score.n,
        }
        for one in sized
    ]
    return {
        "score": "recall@1" if open_set else "knn@1",
        "queries": len(query_Q),
        "references": len(query_Q) - 1 if reference is None else len(reference),
        "trained": sorted(set(trained), reverse=True),
        "points": points,
    }


def trained_dims(loss: str) -> list[int]:
    """The prefixes that a loss, or a part of it, was trained at; none where it is no matryoshka."""
    name, settings = spec.parse(loss)
    if name == "matryoshka":
        return [dim for dim in settings.get("dims", ()) if isinstance(dim, int)]
    parts = [part for part in settings.get("losses", ()) if isinstance(part, str)]
    return [dim for part in parts for dim in trained_dims(part)]
