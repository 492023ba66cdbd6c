"""One loss over the batches of all processes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from likewise import distributed
from likewise.losses.terms import BatchContext

__all__ = ["across_ranks"]


def across_ranks(loss: nn.Module, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
    """The loss of the batches of all processes as one batch: the same value on each, and that of one process.

    Gradients are to be averaged over processes (DistributedDataParallel does, and `distributed.average_gradients`);
    they are then those of the whole batch. Embeddings and labels are gathered, with gradient, in order of rank; batches
    may differ in size, and be empty. Losses of this package compute the rows of their own process; any other module
    computes the whole batch on each, with the same result. Images and features are not gathered.
    """
    if distributed.world_size() == 1:
        return loss(emb_ND, labels_N, batch)
    batch = batch or BatchContext()
    blocks = 1 + batch.partners
    if len(emb_ND) % blocks:
        raise ValueError(
            f"{len(emb_ND)} rows are not anchors with {batch.partners} partners each: give N * {blocks} on each rank"
        )
    anchors = batch.sizes or distributed.gather_counts(len(emb_ND) // blocks)
    rows = [n * blocks for n in anchors]
    emb_ND, labels_N = distributed.gather(emb_ND, rows), distributed.gather(labels_N, rows)
    if batch.partners:
        place_N = in_order(anchors, blocks).to(emb_ND.device)
        emb_ND, labels_N = emb_ND[place_N], labels_N[place_N.to(labels_N.device)]
    start = sum(anchors[: distributed.rank()])
    return loss(emb_ND, labels_N, replace(batch, own=slice(start, start + anchors[distributed.rank()])))


def in_order(anchors: Sequence[int], blocks: int) -> Tensor:
    """Where each row of the whole batch, all anchors and then block by block their partners, lies in order of rank."""
    starts = [sum(anchors[:r]) for r in range(len(anchors))]
    whole_BN = torch.arange(blocks * sum(anchors)).view(blocks, -1)
    parts = [whole_BN[:, start : start + n].flatten() for start, n in zip(starts, anchors, strict=True)]
    return torch.cat(parts).argsort()
