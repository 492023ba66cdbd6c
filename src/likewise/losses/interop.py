"""Losses and miners of pytorch-metric-learning as they are: `loss="pml:FastAPLoss()"`, `miner="pml:HDCMiner()"`."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from likewise import spec
from likewise.losses.pair import PairLoss, check
from likewise.losses.terms import BatchContext, Rule
from likewise.match import Refs, match

__all__ = ["PREFIX", "PMLLoss", "PMLMined", "miner_of_ours", "pml"]

PREFIX = "pml:"
# Keywords that take another of its objects, written as a name in quotes: distance='LpDistance(p=1)'.
PARTS = {
    "distance": "distances",
    "reducer": "reducers",
    "embedding_regularizer": "regularizers",
    "weight_regularizer": "regularizers",
}
# What its losses with class weights ask for, in our words.
SIZES = {"num_classes": "classes", "embedding_size": "dim", "descriptors_dim": "dim"}


def pml(kind: str, text: str, **sizes: int | None) -> Any:  # Any: a class of the other library
    """The object of pytorch-metric-learning behind `pml:Name(...)`; kind: losses, miners, distances, ...

    Errors: SpecError when it is not installed, for an unknown name or keyword, and for a size that was not given.
    """
    name, settings = spec.parse(text.removeprefix(PREFIX))
    members = library(kind, text)
    if name not in members:
        raise spec.SpecError(f"no {text!r} in pytorch-metric-learning{spec.near(name, members)}")
    takes = constructor_keywords(members[name])
    for key, value in settings.items():
        if key not in takes:
            raise spec.SpecError(f"{PREFIX}{name} takes no {key!r}{spec.near(key, takes)}")
        if key in PARTS and isinstance(value, str):
            settings[key] = pml(PARTS[key], value)
    try:
        return members[name](**wanted_sizes(name, takes, sizes), **settings)
    except TypeError as error:
        raise spec.SpecError(f"{PREFIX}{name}: {error}") from None


def library(kind: str, text: str) -> dict[str, type]:
    """Classes of one of its modules by name."""
    try:
        module = importlib.import_module(f"pytorch_metric_learning.{kind}")
    except ImportError:
        hint = "pip install pytorch-metric-learning"
        raise spec.SpecError(f"{text!r} needs pytorch-metric-learning, which is not installed: {hint}") from None
    return {name: value for name, value in vars(module).items() if inspect.isclass(value)}


def constructor_keywords(cls: type) -> list[str]:
    """Keywords of a constructor and of those it hands its `**kwargs` to."""
    keywords: dict[str, None] = {}
    for ancestor in inspect.getmro(cls)[:-1]:
        parameters = inspect.signature(vars(ancestor)["__init__"]).parameters if "__init__" in vars(ancestor) else {}
        keywords |= dict.fromkeys(k for k, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD and k != "self")
        if ancestor is nn.Module:
            break
    return list(keywords)


def wanted_sizes(name: str, takes: list[str], sizes: dict[str, int | None]) -> dict[str, int]:
    given = {theirs: sizes.get(ours) for theirs, ours in SIZES.items() if theirs in takes}
    missing = [SIZES[theirs] for theirs, size in given.items() if size is None]
    if missing:
        raise spec.SpecError(f"{PREFIX}{name} has class weights: say {' and '.join(f'{m}=...' for m in missing)}")
    return {theirs: size for theirs, size in given.items() if size is not None}


class PMLLoss(nn.Module):
    """A loss object of pytorch-metric-learning behind our call; miner: (emb, labels) -> their tuple of row numbers.

    Its own distance and reducer hold, not our `sim` and division. In a batch of partners it is given each row's pairs.
    """

    def __init__(self, loss: nn.Module, miner: Callable | None = None):
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        check(emb_ND, labels_N)
        if batch is not None and batch.partners:
            return self.loss(emb_ND, labels_N, partner_pairs(labels_N, batch.partners))
        return self.loss(emb_ND, labels_N, self.miner(emb_ND, labels_N) if self.miner else None)

    def at_collapse(self, labels_N: Tensor | None = None) -> None:
        """Not known."""


class PMLMined(PairLoss):
    """A rule of ours on the pairs that a miner object of pytorch-metric-learning picks from the batch.

    The miner measures by its own distance. A triplet picks a positive and a negative of its anchor. Never tiled.
    """

    def __init__(self, rule: Rule, *, theirs: Callable, **given: Any):  # Any: the keywords of PairLoss
        super().__init__(rule, **given)
        self.theirs, self.whole = theirs, True

    def own_partners(self, emb_ND: Tensor, labels_N: Tensor, partners: int) -> tuple[Tensor, Tensor, Tensor]:
        raise ValueError(
            f"a miner of pytorch-metric-learning picks among a batch, not among its {partners=}; leave it out"
        )

    def similarities_and_masks(
        self, emb_ND: Tensor, labels_N: Tensor, refs: Refs, rows: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        sim_NN, pos_NN, neg_NN = super().similarities_and_masks(emb_ND, labels_N, refs, rows)
        picked_pos_NN, picked_neg_NN = masks(self.theirs(emb_ND.detach(), labels_N), len(emb_ND))
        return sim_NN, pos_NN & picked_pos_NN, neg_NN & picked_neg_NN


def masks(tuples: tuple[Tensor, ...], n: int) -> tuple[Tensor, Tensor]:
    """Their (anchor, positive, negative) or (anchor, positive, anchor, negative) row numbers as masks [N, N]."""
    anchor, positive, *other, negative = tuples
    pos_NN, neg_NN = torch.zeros(2, n, n, dtype=torch.bool, device=anchor.device)
    pos_NN[anchor, positive] = True
    neg_NN[other[0] if other else anchor, negative] = True
    return pos_NN, neg_NN


def miner_of_ours(miner: Callable, sim: Callable) -> Callable:
    """One of our miners as one of theirs: (emb, labels) -> (anchor, positive, anchor, negative) row numbers."""

    @torch.no_grad()
    def mine(emb_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, ...]:
        pos_NN, neg_NN = miner(sim(emb_ND, emb_ND), *match(labels_N, Refs(emb_ND, labels_N, 0)))
        return *pos_NN.nonzero(as_tuple=True), *neg_NN.nonzero(as_tuple=True)

    return mine


def partner_pairs(labels_N: Tensor, partners: int) -> tuple[Tensor, ...]:
    """Each anchor with its own partners, as (anchor, positive, anchor, negative) row numbers."""
    rows_PN = torch.arange(len(labels_N), device=labels_N.device).unflatten(0, (1 + partners, -1))
    anchor, other = rows_PN[:1].expand(partners, -1).flatten(), rows_PN[1:].flatten()
    same = labels_N[anchor] == labels_N[other]
    return anchor[same], other[same], anchor[~same], other[~same]
