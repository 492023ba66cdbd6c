"""The part of the report that shows a batch as the network sees it in training."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from likewise.experiment.build import feed_of
from likewise.experiment.checkpoint import kept_plan
from likewise.experiment.recipe import Recipe
from likewise.training.loop import Feed
from likewise.viz.pages.cases import card
from likewise.viz.pages.html import Html, tag, thumb
from likewise.viz.pages.run_data import RunData

__all__ = ["batch", "varied"]

MOST, EACH = 48, 4  # pictures on the page, and of a class
ROLES = ("anchor", "its partner", "its second partner")


def batch(m: RunData) -> list[Html]:
    """The first batch of the training, or of its last epoch where the sampler looks at what was learned."""
    if m.images is None or len(m.images.shape) != 3 or not len(m.images.part("train")):
        return []
    recipe = m.run.recipe
    feed = feed_of(recipe, m.images)
    plan = last_plan(m, feed)
    rows = (plan or feed.plan(0))[0]
    pixels = varied(feed, rows, recipe.seed).numpy()
    groups = beside(len(rows), feed.partners) if feed.partners else by_class(feed.images.labels[rows])
    count = sum(map(len, groups))
    which = "a batch of the last epoch" if plan else "the first batch"
    shown = f"{count} of the {len(rows)}" if count < len(rows) else f"All {count}"
    says = tag("p", f"{shown} pictures of {which}, as the network sees them: {said(recipe)}")
    boxes = (tag("div", *cards(feed, rows, pixels, group), class_="pair") for group in groups)
    return [says, tag("div", *boxes, class_="errors"), *mined(m)]


def last_plan(m: RunData, feed: Feed) -> Sequence[Tensor]:
    """The batches kept with the run, where its sampler looks and they still are of these pictures."""
    plan = kept_plan(m.run.last) if feed.needs_embeddings and m.run.last.exists() else []
    return plan if plan and max(int(rows.max()) for rows in plan) < len(feed.images) else []


def varied(feed: Feed, rows: Tensor, seed: int) -> Tensor:
    """The pictures of a batch, augmented together as in training; the same for the same seed."""
    images = feed.images.batch(rows)
    return feed.augment(images, torch.Generator().manual_seed(seed)) if feed.augment else images


def by_class(labels: Tensor) -> list[list[int]]:
    """Places of some pictures of each class."""
    return [(labels == kind).nonzero()[:EACH, 0].tolist() for kind in labels.unique().tolist()[: MOST // EACH]]


def beside(rows: int, partners: int) -> list[list[int]]:
    """Places of some anchors, each with its partners."""
    anchors = rows // (1 + partners)
    return [list(range(at, rows, anchors)) for at in range(min(anchors, MOST // (1 + partners)))]


def cards(feed: Feed, rows: Tensor, pixels: np.ndarray, group: Sequence[int]) -> list[Html]:
    """Pictures with their class and, where they come as anchors and partners, what they are."""
    names = [feed.images.classes[c] for c in feed.images.labels[rows[list(group)]].tolist()]
    roles = [ROLES[min(turn, 2)] if feed.partners else "" for turn in range(len(group))]
    ids = [feed.images.ids[i] for i in rows[list(group)].tolist()]
    return [card(thumb(pixels[at], i), name, role) for at, i, name, role in zip(group, ids, names, roles, strict=True)]


def said(recipe: Recipe) -> str:
    """How they were made, and what to look for."""
    how = f"varied by {recipe.augment}" if recipe.augment else "not varied, as augment is empty"
    return (
        f"drawn by {recipe.sampler}, {how}. Look for pictures whose class you could no longer tell yourself (varied "
        "too much, too small, cut off) and for names that do not fit: the network is told that all of it is true."
    )


def mined(m: RunData) -> Iterator[Html]:
    """How many hard negatives there were for the last epoch, and how many the guard left out."""
    for line in m.lines("draw", "negatives", "too_near", "doubted")[-1:]:
        says = (
            f"Hard negatives for the last epoch: {line['negatives']:,}. Left out as likely of the anchor's own class: "
            f"{line['too_near']:,} more similar to it than its nearest ones, and {line['doubted']:,} whose neighbours "
            "are mostly of its class."
        )
        yield tag("p", says, class_="note")
