"""What a run would score without training, on its own held-out images: part of metrics.json.

Raw values, the network as it started, and frozen published features where such weights are on this machine: for each
the main scores and the paired difference from the trained model. Where training did not help, a sentence says so first.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from likewise.data.images import Images
from likewise.evaluate import Embeddings, embed
from likewise.evaluate.baselines import Compared, Vectors, compare_with, raw, subset
from likewise.experiment.build import NO_WEIGHTS, first_model
from likewise.experiment.imagenet import imagenet
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import BaselineRecord, WithoutTraining
from likewise.models import Embedder

__all__ = ["cap", "without_training"]

SHARE = 20  # a network embeds at most one image for so many trained on: under 2 % of the training's own passes
FEWEST, MOST = 300, 4_000  # images of the subset, queries and references together
SMALLEST, USUAL, LARGEST = 32, 96, 224  # side in pixels that frozen features see
ENLARGED = 2  # at most so many times

Made = tuple[str, Vectors] | str  # what it is and its vectors, or why there is none


class Part(NamedTuple):
    """Queries and references that every baseline is scored on."""

    query: Images
    reference: Images | None

    def embedded(self, model: torch.nn.Module, sim: str) -> Vectors:
        reference = None if self.reference is None else embed(model, self.reference)
        return Vectors(embed(model, self.query), reference, sim)


def without_training(
    recipe: Recipe,
    images: Images,
    embeddings: Embeddings,
    split: str,
    *,
    open_set: bool,
    device: torch.device | str = "cpu",
) -> WithoutTraining:
    """Scores without training of the images of a part, beside those of the trained model on the same ones.

    embeddings: the trained model's embeddings of all `images`. More than `cap(recipe, images)` queries and references
    are reduced to a subset drawn with the split's seed. Baselines that cannot be computed are in `left_out`, with the
    reason.
    """
    labels_N, seed = images.labels.cpu(), recipe.split_seed
    queries, train = (torch.nonzero(images.split.cpu() == i).flatten() for i in (SPLIT[split], 0))
    query_Q, reference_M = subset(labels_N, queries, None if open_set else train, cap(recipe, len(train)), seed=seed)
    part = Part(images.take(query_Q), None if reference_M is None else images.take(reference_M))
    trained = Vectors(
        embeddings.take(query_Q), None if reference_M is None else embeddings.take(reference_M), recipe.sim
    )
    made = {
        "pixels" if len(images.shape) == 3 else "values": attempted(raw_values, part, images.take(train[:MOST])),
        "untrained": attempted(untrained, part, recipe, images, device),
        "published": attempted(published, part, recipe, images, device),
    }
    some = {name: one for name, one in made.items() if not isinstance(one, str)}
    ours, others = compare_with(trained, {name: vectors for name, (_, vectors) in some.items()}, seed=seed)
    return {
        "main": "map@r" if open_set and "map@r" in ours else next(iter(ours), ""),
        "queries": len(query_Q),
        "queries_of": len(queries),
        "references": 0 if reference_M is None else len(reference_M),
        "references_of": 0 if open_set else len(train),
        "trained": {name: dataclasses.asdict(score) for name, score in ours.items()},  # type: ignore[misc]
        "baselines": {name: record(some[name][0], others[name]) for name in some},
        "left_out": {name: why for name, why in made.items() if isinstance(why, str)},
    }


SPLIT = {"train": 0, "val": 1, "test": 2}


def cap(recipe: Recipe, train: int) -> int:
    """How many images a baseline is scored on at most, from the number of training images that the recipe sees."""
    return min(MOST, max(FEWEST, recipe.epochs * train // SHARE))


def record(what: str, compared: Compared) -> BaselineRecord:
    return {
        "what": what,
        "scores": {name: dataclasses.asdict(score) for name, score in compared.scores.items()},  # type: ignore[misc]
        "difference": {name: apart._asdict() for name, apart in compared.difference.items()},  # type: ignore[misc]
    }


def attempted(make: Callable[..., Made], *given: object) -> Made:
    """A baseline, or why there is none: a finished training is not lost because its baseline cannot be had."""
    try:
        made = make(*given)
    except (ValueError, RuntimeError, OSError) as error:
        return str(error)
    if isinstance(made, str):
        return made
    parts = [part for part in (made[1].query, made[1].reference) if part is not None]
    return made if all(part.vectors.isfinite().all() for part in parts) else "its embeddings are not finite"


def raw_values(part: Part, train: Images) -> Made:
    vectors = raw(part.query, part.reference, train)
    if vectors.sim == "euclidean":
        return "raw values, standardised", vectors
    sides = [min(side, 32) for side in part.query.shape[1:]]
    return f"raw pixels, {sides[1]} x {sides[0]}", vectors


def untrained(part: Part, recipe: Recipe, images: Images, device: torch.device | str) -> Made:
    """The recipe's network at step 0, from its seed and the weights it starts from."""
    return "network at step 0", part.embedded(first_model(recipe, images).to(device), recipe.sim)


def published(part: Part, recipe: Recipe, images: Images, device: torch.device | str) -> Made:
    """Frozen features: of the weights that the run started from, else of a network whose weights are here."""
    if recipe.weights not in ("", NO_WEIGHTS):
        if not recipe.dim:
            return "the run starts from published weights without a new layer: network at step 0 is these"
        return "its first weights, no head", part.embedded(
            first_model(recipe.replace(dim=0, head="linear", normalize=True), images).to(device), "cosine"
        )
    if len(images.shape) != 3:
        return "there are none for feature rows"
    if images.shape[0] not in (1, 3):
        return f"they are for grey and colour images, not {images.shape[0]} channels"
    if (start := imagenet()) is None:
        return "no ImageNet weights on this machine"
    shape = frozen_shape(images.shape)
    with torch.random.fork_rng(devices=[]):
        model = Embedder(start.network, shape=shape, dim=0)
    model.load_weights(start.file)
    return f"{start.title}, frozen, {max(shape)} px", part.embedded(model.to(device), "cosine")


def frozen_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Colour, with a longer side of 96 to 224 pixels, small images enlarged at most twice (to 32 at least)."""
    longest = max(shape[1:])
    wanted = min(max(longest, SMALLEST, min(USUAL, ENLARGED * longest)), LARGEST)
    height, width = (max(SMALLEST, math.ceil(side * wanted / longest)) for side in shape[1:])
    return 3, height, width
