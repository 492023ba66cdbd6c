"""Cross-batch memory: the batch is compared with itself and with the embeddings of earlier batches."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from likewise.losses.pair import in_batch
from likewise.match import Refs

__all__ = ["Memory"]


class Memory(nn.Module):
    """References for PairLoss: those of `inner` (the batch itself), then the last `size` embeddings.

    Stored embeddings take no gradient. They were computed with earlier weights, which is harmless once the weights
    change slowly: for the first `warmup_steps` batches the memory is filled but not used. It is filled in training
    only. State: embeddings [size, dim], their labels [size, *label_shape] and counters, so that resuming is exact.
    Works with every rule over pairs and every geometry. Wang et al., 2020, https://arxiv.org/abs/1912.06798.
    """

    emb: Tensor  # [size, D]
    labels: Tensor  # [size, *label_shape]

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        warmup_steps: int = 0,
        label_shape: tuple[int, ...] = (),
        inner: Callable[[Tensor, Tensor], Refs] = in_batch,
    ):
        super().__init__()
        if size < 1:
            raise ValueError(f"a memory holds at least one embedding, got size={size}")
        self.inner, self.warmup_steps = inner, warmup_steps
        self.register_buffer("emb", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, *label_shape, dtype=torch.long))
        # Python integers, not buffers: reading a position from a GPU would synchronise at every step.
        self.seen = self.steps = 0

    def forward(self, emb_ND: Tensor, labels_N: Tensor) -> Refs:
        fresh = self.inner(emb_ND, labels_N)
        self.check(fresh)
        refs = self.joined(fresh) if self.steps >= self.warmup_steps else fresh
        if self.training:
            self.push(fresh.emb.detach(), fresh.labels)
        return refs

    def joined(self, fresh: Refs) -> Refs:
        """The new references, then the stored ones; anchors keep their positions."""
        emb_KD, labels_K = self.held()
        return Refs(torch.cat([fresh.emb, emb_KD.to(fresh.emb)]), torch.cat([fresh.labels, labels_K]), fresh.offset)

    def held(self) -> tuple[Tensor, Tensor]:
        """The stored embeddings (emb [K, D], labels [K]): K is at most the number seen."""
        n = min(self.seen, len(self.emb))
        return self.emb[:n], self.labels[:n]

    def push(self, emb_ND: Tensor, labels_N: Tensor) -> None:
        """Overwrites the oldest rows with the newest."""
        size = len(self.emb)
        # Only the last rows of a batch larger than the memory: a GPU writes twice to one slot in any order.
        first = max(0, len(emb_ND) - size)
        slot_K = torch.arange(self.seen + first, self.seen + len(emb_ND), device=self.emb.device) % size
        self.emb[slot_K], self.labels[slot_K] = emb_ND[first:].to(self.emb), labels_N[first:].to(self.labels)
        self.seen, self.steps = self.seen + len(emb_ND), self.steps + 1

    def check(self, fresh: Refs) -> None:
        """Errors: ValueError for rows that do not fit."""
        came, holds = ([list(x.shape[1:]) for x in pair] for pair in (fresh[:2], (self.emb, self.labels)))
        if came != holds:
            raise ValueError(
                f"the memory holds embeddings of shape {holds[0]} with labels of shape {holds[1]}, but the batch has "
                f"{came[0]} with {came[1]}; make it with that dim and label_shape"
            )

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.seen, self.steps])

    def set_extra_state(self, state: Tensor) -> None:
        self.seen, self.steps = state.tolist()
