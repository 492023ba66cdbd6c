"""PairLoss: compare each embedding with references, which are the batch, a memory, or its own partners."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from likewise import distributed, geometry
from likewise.losses.collapse import loss_at_collapse
from likewise.losses.terms import BatchContext, Rule, Terms, as_terms, draws, is_marked, reduce
from likewise.losses.tile import rows_within, tiled
from likewise.match import Refs, Relation, match, match_partners, same

__all__ = ["PairLoss"]

References = Callable[[Tensor, Tensor], Refs]
Compared = tuple[Tensor, Tensor, Tensor]  # sim, pos, neg, each [N, M]


def in_batch(emb_ND: Tensor, labels_N: Tensor) -> Refs:
    """The batch is compared with itself."""
    return Refs(emb_ND, labels_N, offset=0)


class PairLoss(nn.Module):
    """A rule over the similarities of anchors to references. `loss(emb [N, D], labels [N]) -> scalar`.

    sim: the geometry, shared with the miner. miner: selects pairs, without gradient. references: what anchors are
    compared with. relation: which labels match (see match). balanced: every class of a batch has the same weight.
    tile: rows computed at once; by default as many as fit tile.BUDGET, and always all rows for a rule or miner whose
    rows depend on one another. The result does not depend on it.

    A batch without terms gives 0 with zero gradient, noted as `empty`. Half precision is computed in float32.
    With several processes (see across_ranks) each computes the rows of its own anchors, and totals and counts are added
    up before the division; a rule or miner that is random or needs every row computes all of them on each process.
    Errors: ValueError for wrong shapes and types and, on a CPU, for NaN or infinity (a GPU would have to synchronise).

    >>> from likewise.losses.rules import ntxent
    >>> loss = PairLoss(ntxent)
    >>> loss(torch.randn(8, 4), torch.arange(8) % 4).shape
    torch.Size([])
    """

    def __init__(
        self,
        rule: Rule,
        *,
        sim: Callable = geometry.cosine,
        miner: Callable | None = None,
        references: References = in_batch,
        relation: Relation = same,
        balanced: bool = False,
        tile: int | None = None,
    ):
        super().__init__()
        self.rule, self.sim, self.miner, self.references, self.relation = rule, sim, miner, references, relation
        self.balanced, self.tile, self.whole = balanced, tile, any(is_marked(f, "whole") for f in (rule, miner))
        self.random = draws(rule) or draws(miner)
        if tile is not None and (tile < 1 or self.whole):
            raise ValueError(f"tile={tile}: it is 1 or more, and not for a rule or miner that needs every row at once")

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        check(emb_ND, labels_N)
        own = batch.own if batch and not (self.whole or self.random) else None
        with torch.autocast(emb_ND.device.type, enabled=False):
            terms = self.terms(at_least_float32(emb_ND), labels_N, batch.partners if batch else 0, own)
        if batch is not None:
            batch.notes.update(notes(terms, over_ranks=own is not None))
        return reduce(terms, over_ranks=own is not None)

    def terms(self, emb_ND: Tensor, labels_N: Tensor, partners: int = 0, own: slice | None = None) -> tuple[Terms, ...]:
        """The rule's Terms for a batch, or for these anchors of it, before the division."""
        if not len(emb_ND):
            return (Terms(emb_ND.sum(-1), emb_ND.new_zeros(0, dtype=torch.long)),)
        if own is not None and own.start == own.stop:
            return none_of(self.terms(emb_ND, labels_N, partners, slice(0, 1)))
        if partners:
            rows = own or slice(0, len(emb_ND) // (1 + partners))
            own_ND, own_N = (x if own is None else of_anchors(x, 1 + partners, own) for x in (emb_ND, labels_N))
            return self.apply_rule(self.own_partners(own_ND, own_N, partners), labels_N, rows)
        refs = self.references(emb_ND, labels_N)
        first, anchor_ND, anchor_N = 0, emb_ND, labels_N
        if own is not None:
            first, anchor_ND, anchor_N = own.start, emb_ND[own], labels_N[own]
            refs = refs._replace(offset=None if refs.offset is None else refs.offset + first)

        def of_rows(anchor_ND: Tensor, ref_MD: Tensor, rows: slice) -> tuple[Terms, ...]:
            compared = self.similarities_and_masks(anchor_ND, anchor_N, refs._replace(emb=ref_MD), rows)
            return self.apply_rule(compared, labels_N, slice(first + rows.start, first + rows.stop))

        tile = self.tile or rows_within(refs.emb)
        if self.whole or tile >= len(anchor_ND):
            return of_rows(anchor_ND, refs.emb, slice(0, len(anchor_ND)))
        return tiled(of_rows, anchor_ND, refs.emb, list(self.parameters()), tile)

    def apply_rule(self, compared: Compared, labels_N: Tensor, rows: slice) -> tuple[Terms, ...]:
        """Terms of these rows of the batch."""
        sim_NM, pos_NM, neg_NM = compared
        if self.miner:
            with torch.no_grad():
                pos_NM, neg_NM = self.miner(sim_NM.detach(), pos_NM, neg_NM)
        terms = as_terms(self.rule(sim_NM, pos_NM, neg_NM))
        if not self.balanced:
            return terms
        weight_N = 1 / class_size(labels_N)[rows].to(sim_NM.dtype)
        return tuple(Terms(t.total * weight_N, t.count * weight_N) for t in terms)

    def similarities_and_masks(self, emb_ND: Tensor, labels_N: Tensor, refs: Refs, rows: slice) -> Compared:
        """Similarities and masks of these rows to the references."""
        if refs.offset is not None:
            refs = refs._replace(offset=refs.offset + rows.start)
        # The batch itself, not a view, if the rows are all of it: a geometry can then normalise once for both sides.
        anchor_ND = emb_ND if rows == slice(0, len(emb_ND)) else emb_ND[rows]
        return self.sim(anchor_ND, refs.emb), *match(labels_N[rows], refs, self.relation)

    def own_partners(self, emb_ND: Tensor, labels_N: Tensor, partners: int) -> Compared:
        """Each of the first N / (1 + P) rows against its own P partners: sim [N, P], the classic siamese network."""
        if any(is_marked(f, "columns") for f in (self.rule, self.miner)):
            raise ValueError(
                "this rule or miner compares a batch with itself: it takes no pairs or triplets of partners"
            )
        if len(emb_ND) % (1 + partners):
            raise ValueError(
                f"{len(emb_ND)} rows are not anchors with {partners} partners each: give N * {1 + partners}"
            )
        anchor_ND, *other = emb_ND.chunk(1 + partners)
        label_N, *of = labels_N.chunk(1 + partners)
        sim_NP = self.sim(anchor_ND[:, None], torch.stack(other, 1))[:, 0]
        return sim_NP, *match_partners(label_N, of, self.relation)

    def at_collapse(self, labels_N: Tensor | None = None) -> float | None:
        """The loss of a collapsed embedding (all vectors equal), for a batch with these labels."""
        return loss_at_collapse(self.rule, labels_N, sim=self.sim, relation=self.relation)


def check(emb_ND: Tensor, labels_N: Tensor) -> None:
    """Errors: ValueError for invalid input. Values are checked on a CPU only, to avoid synchronising with a GPU."""
    if emb_ND.ndim != 2 or not emb_ND.is_floating_point():
        raise ValueError(f"embeddings are floats [N, D], got {emb_ND.dtype} of shape {list(emb_ND.shape)}")
    if labels_N.ndim == 0 or len(labels_N) != len(emb_ND):
        raise ValueError(f"{len(emb_ND)} embeddings need as many labels, got labels of shape {list(labels_N.shape)}")
    if labels_N.is_floating_point() or labels_N.is_complex():
        raise ValueError(f"labels are whole numbers (int64), got {labels_N.dtype}; convert them with labels.long()")
    # A sum is NaN or infinite as soon as one entry is.
    if emb_ND.device.type == "cpu" and not math.isfinite(emb_ND.detach().sum()) and not emb_ND.isfinite().all():
        bad_N = ~emb_ND.isfinite().all(-1)
        raise geometry.DivergedError(
            f"{int(bad_N.sum())} of {len(bad_N)} embeddings hold NaN or infinity, the first in row "
            f"{int(bad_N.byte().argmax())}; look at the input images, the learning rate and the precision"
        )


def at_least_float32(emb_ND: Tensor) -> Tensor:
    return emb_ND if emb_ND.dtype in (torch.float32, torch.float64) else emb_ND.float()


def class_size(labels_N: Tensor) -> Tensor:
    """The size of each row's class in the batch; by sorting, which does not synchronise with a GPU."""
    if labels_N.ndim != 1:
        raise ValueError(f"balanced=True weighs classes: it needs one label each, got labels {list(labels_N.shape)}")
    sorted_N = labels_N.sort().values
    return torch.searchsorted(sorted_N, labels_N, right=True) - torch.searchsorted(sorted_N, labels_N)


def none_of(terms: tuple[Terms, ...]) -> tuple[Terms, ...]:
    """No rows of these Terms, for a process without anchors: as many sums as the others have, with zero gradient."""
    return tuple(Terms(t.total[:0], t.count[:0]) for t in terms)


def of_anchors(x: Tensor, blocks: int, own: slice) -> Tensor:
    """Rows of these anchors, then of their partners, of anchors followed by `blocks` - 1 blocks of partners."""
    return x.unflatten(0, (blocks, -1))[:, own].flatten(0, 1)


@torch.no_grad()
def notes(terms: tuple[Terms, ...], *, over_ranks: bool = False) -> dict[str, Tensor]:
    """`active`: share of anchors with terms whose loss is nonzero. `empty`: 1 if the batch had no terms."""
    has_N = torch.stack([t.count > 0 for t in terms]).any(0)
    alive_N = torch.stack([t.total != 0 for t in terms]).any(0)
    both, has = (has_N & alive_N).sum(), has_N.sum()
    if over_ranks:
        both, has = distributed.total(torch.stack([both, has]))
    return {"active": both / has.clamp_min(1), "empty": (has == 0).float()}
