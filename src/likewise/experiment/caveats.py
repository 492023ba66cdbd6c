"""The caveats of a run's scores: part of metrics.json, shown under the scores."""

from collections.abc import Mapping

import torch

from likewise import spec
from likewise.data.images import SPLITS, Images
from likewise.evaluate import Embeddings, measure
from likewise.evaluate.baselines import pixels, subset
from likewise.evaluate.caveats import burst_caveat, copy_caveat, near_copies, validation_caveat
from likewise.experiment.baselines import cap
from likewise.experiment.recipe import Recipe
from likewise.safety.bounds import Record

__all__ = ["caveats", "far_above", "other_validation"]


def caveats(recipe: Recipe, images: Images, embeddings: Embeddings, split: str, *, open_set: bool) -> list[str]:
    """What makes scores of a part mean less than they seem to, a sentence each, by the name of the score.

    embeddings: the embeddings of all `images`. Near-copies are looked for among as many images as the baselines have.
    """
    labels_N, seed = images.labels.cpu(), recipe.split_seed
    queries, train = (torch.nonzero(images.split.cpu() == SPLITS.index(name)).flatten() for name in (split, "train"))
    query_Q, reference_M = subset(labels_N, queries, None if open_set else train, cap(recipe, len(train)), seed=seed)
    reference = None if reference_M is None else embeddings.take(reference_M)
    ratios = measure(embeddings.take(query_Q), reference, sim=recipe.sim, seed=seed, quick=True).ratios
    none_Q = torch.zeros(len(query_Q), dtype=torch.bool)
    among_references_Q = among_queries_Q = none_Q
    if len(images.shape) == 3:
        query_QD = pixels(images.take(query_Q))
        among_queries_Q = near_copies(query_QD, None)
        if reference_M is not None:
            among_references_Q = near_copies(query_QD, pixels(images.take(reference_M)))
    sentences = [burst_caveat(ratios, among_queries_Q, seed=seed)]
    if reference_M is not None and "knn@1" in ratios:
        sentences.append(copy_caveat(among_references_Q, ratios["knn@1"]))
    return [sentence for sentence in sentences if sentence]


def far_above(val: Mapping[str, Record], test: Mapping[str, Record], grouped: bool) -> list[str]:
    """The caveat where validation scores are far above those of the test part."""
    sentence = validation_caveat(val, test, way=other_validation(grouped))
    return [sentence] if sentence else []


def other_validation(grouped: bool) -> str:
    """How to draw a validation part that asks what the test asks."""
    if grouped:
        return "draw validation by groups: split='by_group(val=0.1)'"
    if "by_scene" in spec.homes("split"):
        return "keep bursts together: split='by_scene(val=0.1)'"
    return "name what images have in common in a column group (burst, day, writer) and give split='by_group(val=0.1)'"
