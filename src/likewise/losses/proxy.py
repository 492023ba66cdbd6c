"""ProxyLoss: compares each embedding with learned class proxies, one or several per class."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.losses.collapse import loss_at_collapse
from likewise.losses.pair import check, none_of, notes
from likewise.losses.terms import BatchContext, Rule, Terms, as_terms, draws, is_marked, reduce
from likewise.match import Refs, match, same, shared

__all__ = ["ProxyLoss", "over"]

SHOWN = 256  # classes that represent all of them for the loss at collapse


AnyRule = TypeVar("AnyRule", bound=Rule)


def over(sim: Callable) -> Callable[[AnyRule], AnyRule]:
    """Mark a rule as one over class proxies, compared by this geometry, which belongs to the rule's definition."""

    def mark(rule: AnyRule) -> AnyRule:
        vars(rule)["over"] = sim
        return rule

    return mark


class ProxyLoss(nn.Module):
    """A rule over the similarities of embeddings to learned class proxies. `loss(emb [N, D], labels [N]) -> scalar`.

    rule: one marked by `over`. A required keyword of the rule is something it asks this module for: `bias_C` (learned,
    from 0), `norm_N` (lengths of the embeddings), `counts_C` (training images of each class), `proxies_MD`.
    centres: proxies a class; the nearest one counts, unless the rule has a `centres` of its own and so weighs them.
    lr_scale: what the optimizer multiplies its learning rate by for these parameters; they take no weight decay.
    Labels may also be multi-hot, [N, C]: the average is then over positive classes. Errors: ValueError for an embedding
    of another width, and (labels on a CPU, where looking is free) for a label that has no proxy; elsewhere such a row
    has no positive and counts for nothing.
    """

    columns: Tensor  # [M], the class of each column the rule sees
    counts: Tensor | None  # [C]

    def __init__(
        self,
        rule: Rule,
        *,
        classes: int,
        dim: int,
        centres: int = 0,
        counts: Sequence[int] | Tensor | None = None,
        lr_scale: float = 1.0,
    ):
        super().__init__()
        keywords = inspect.signature(rule).parameters
        self.pools = "centres" not in keywords
        self.centres = centres or (1 if self.pools else keywords["centres"].default)
        self.rule = rule if self.pools else partial(rule, centres=self.centres)
        self.asked = [k for k, p in keywords.items() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        self.sim, self.classes, self.lr_scale = geometry_of(rule), classes, lr_scale
        # Rows have a norm near 0.58 at any width, so a step of the optimizer rotates them by the same angle.
        self.proxies = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(classes * self.centres, dim), a=5**0.5))
        self.bias = nn.Parameter(torch.zeros(classes)) if "bias_C" in self.asked else None
        self.register_buffer("counts", checked_counts(counts, classes) if "counts_C" in self.asked else None)
        columns = torch.arange(classes).repeat_interleave(1 if self.pools else self.centres)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        check(emb_ND, labels_N)
        self.check(emb_ND, labels_N)
        own = batch.own if batch and not (is_marked(self.rule, "whole") or draws(self.rule)) else None
        with torch.autocast(emb_ND.device.type, enabled=False):
            terms = self.terms(emb_ND, labels_N, own)
        if batch is not None:
            batch.notes.update(notes(terms, over_ranks=own is not None))
        return reduce(terms, over_ranks=own is not None)

    def terms(self, emb_ND: Tensor, labels_N: Tensor, own: slice | None = None) -> tuple[Terms, ...]:
        """The rule's Terms for a batch, or for these rows of it, before the division."""
        if own is not None:
            if own.start == own.stop and len(emb_ND):
                return none_of(self.terms(emb_ND, labels_N, slice(0, 1)))
            emb_ND, labels_N = emb_ND[own], labels_N[own]
        dtype = torch.promote_types(emb_ND.dtype, self.proxies.dtype)
        emb_ND, proxies_MD = emb_ND.to(dtype), self.proxies.to(dtype)
        sim_NM = self.sim(emb_ND, proxies_MD)
        if self.pools and self.centres > 1:
            sim_NM = sim_NM.unflatten(1, (self.classes, self.centres)).amax(-1)
        return self.apply_rule(sim_NM, labels_N, self.answers(emb_ND, proxies_MD))

    def apply_rule(self, sim_NM: Tensor, labels_N: Tensor, answers: dict[str, Tensor]) -> tuple[Terms, ...]:
        """The rule on the similarities of rows with these labels to the columns."""
        one_label = labels_N.ndim == 1
        labels_M = self.columns if one_label else F.one_hot(self.columns, self.classes)
        pos_NM, neg_NM = match(labels_N, Refs(self.proxies, labels_M), same if one_label else shared)
        return as_terms(self.rule(sim_NM, pos_NM, neg_NM, **answers))

    def answers(self, emb_ND: Tensor, proxies_MD: Tensor) -> dict[str, Tensor]:
        """Further arguments that the rule asks for."""
        norm_N = torch.linalg.vector_norm(emb_ND, dim=-1) if "norm_N" in self.asked else None
        known = {"bias_C": self.bias, "counts_C": self.counts, "norm_N": norm_N, "proxies_MD": proxies_MD}
        return {name: value for name, value in known.items() if name in self.asked and value is not None}

    def check(self, emb_ND: Tensor, labels_N: Tensor) -> None:
        """Errors: ValueError when the embedding or the labels do not fit the proxies."""
        dim = self.proxies.shape[1]
        if emb_ND.shape[1] != dim:
            raise ValueError(
                f"the proxies have dim={dim}, the embedding is {list(emb_ND.shape)}; build the loss with its dim"
            )
        if labels_N.ndim == 2 and labels_N.shape[1] != self.classes:
            raise ValueError(f"the loss has classes={self.classes}, the multi-hot labels are {list(labels_N.shape)}")
        if labels_N.ndim == 1 and labels_N.device.type == "cpu" and len(labels_N):
            low, high = (int(x) for x in labels_N.aminmax())
            if low < 0 or high >= self.classes:
                raise ValueError(
                    f"labels run from {low} to {high}, but the loss has proxies for classes={self.classes} "
                    f"(0 to {self.classes - 1}); build it with the number of training classes"
                )

    @torch.no_grad()
    def at_collapse(self, labels_N: Tensor | None = None) -> float | None:
        """The lowest loss for one similarity, equal for every proxy, with these labels or one per class."""
        labels_N = self.columns.unique()[:SHOWN] if labels_N is None else labels_N.to(self.columns.device)
        no_emb_ND = self.proxies.new_zeros(len(labels_N), self.proxies.shape[1])
        answers = self.answers(no_emb_ND, self.proxies)
        answers = {k: v.double() * (k == "counts_C") for k, v in answers.items()}

        def rule(sim_1C: Tensor, pos_1C: Tensor, neg_1C: Tensor) -> tuple[Terms, ...]:
            alike_NM = sim_1C[0, 0].to(self.columns.device).expand(len(labels_N), len(self.columns))
            return self.apply_rule(alike_NM, labels_N, answers)

        one = torch.zeros(2, dtype=torch.int64)  # one kind of anchor: the rule itself contains the batch
        return loss_at_collapse(rule, one, sim=self.sim)


def geometry_of(rule: Rule) -> Callable:
    """The geometry a rule is marked with. Errors: ValueError for a rule that is not over proxies."""
    while isinstance(rule, partial):
        rule = rule.func
    sim = getattr(rule, "over", None)
    if sim is None:
        raise ValueError(f"{rule.__name__} is not a rule over class proxies; mark it with @over(geometry.cosine)")
    return sim


def checked_counts(counts: Sequence[int] | Tensor | None, classes: int) -> Tensor:
    """Number of images of each class, float [C]. Errors: ValueError if missing or of the wrong length."""
    if counts is None or len(counts) != classes:
        has = "none were given" if counts is None else f"{len(counts)} were given"
        raise ValueError(f"this loss needs counts, the training images of each of classes={classes}; {has}")
    return torch.as_tensor(counts).float()
