"""ShardedProxyLoss: softmax losses over very many classes, whose proxies are shared out over the processes."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise import distributed, spec
from likewise.losses.masked import total
from likewise.losses.proxies import arcface_logits, cosface_logits
from likewise.losses.proxy import geometry_of
from likewise.losses.terms import BatchContext, Terms, reduce

__all__ = ["ShardedProxyLoss", "check_shardable"]

BLOCK = 1 << 22  # numbers that are drawn at once for the initial proxies


def plain_logits(sim_NC: Tensor, pos_NC: Tensor, *, scale: float = 1.0) -> Tensor:
    return scale * sim_NC


# rule: its logits from similarities and positives
LOGITS: dict[str, Callable[..., Tensor]] = {
    "softmax": plain_logits,
    "normalized_softmax": partial(plain_logits, scale=20.0),
    "cosface": cosface_logits,
    "arcface": arcface_logits,
}


class ShardedProxyLoss(nn.Module):
    """A rule of `LOGITS` over class proxies, of which each process holds, and computes with, a contiguous part.

    text: softmax, normalized_softmax, cosface or arcface with its keywords, as `losses.build` takes it. Call it by
    `losses.across_ranks(loss, emb_ND, labels_N)`: value and gradients are those of `ProxyLoss`. `proxies` [own, D] get
    their whole gradient on their own process and are not averaged, so leave them out of DistributedDataParallel.
    share: of the classes of this process that an anchor is compared with, in (0, 1]: those in the batch, and others
    drawn anew for each batch (An et al., 2022, https://arxiv.org/abs/2203.15565). Below 1 the loss is another one.
    sparse: the gradient of `proxies` is then a sparse tensor that holds the rows of those classes alone.
    Initial proxies are those of `ProxyLoss` from the same random state, for any number of processes.
    Errors: ValueError for fewer classes than processes, a share out of range, labels or embeddings that do not fit.
    """

    steps: Tensor  # batches that classes were drawn for

    def __init__(
        self,
        text: str,
        *,
        classes: int,
        dim: int,
        share: float = 1.0,
        sparse: bool = False,
        lr_scale: float = 1.0,
        seed: int = 0,
    ):
        super().__init__()
        ranks, number = distributed.world_size(), distributed.rank()
        if classes < ranks:
            raise ValueError(f"classes={classes} cannot be shared out over {ranks} processes; give each one or more")
        if not 0 < share <= 1:
            raise ValueError(f"share is the share of classes to compare with, above 0 and at most 1, got {share}")
        check_shardable(text)
        name, settings = spec.parse(text)
        bound = spec.bind("loss", text)
        self.sim = geometry_of(bound)
        self.logits = partial(LOGITS[name], **settings)
        self.classes, self.share, self.lr_scale, self.seed = classes, share, lr_scale, seed
        self.sparse = sparse
        self.start, self.stop = classes * number // ranks, classes * (number + 1) // ranks
        self.proxies = shard(initial(classes, dim, self.start, self.stop))
        self.bias = shard(torch.zeros(self.stop - self.start)) if name == "softmax" else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        self.check(emb_ND, labels_N)
        with torch.autocast(emb_ND.device.type, enabled=False):
            lse_N, positive_N = self.own(emb_ND, labels_N)
            top_N = distributed.highest(lse_N)
            sum_N, positive_N = distributed.total(torch.stack([(lse_N - top_N).exp(), positive_N]))
            return reduce([Terms(top_N + sum_N.log() - positive_N, torch.ones_like(labels_N))])

    def own(self, emb_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
        """Log-sum-exp over the classes of this process, and the logit of an anchor's class, or 0 elsewhere."""
        kept_C = self.kept(labels_N)
        bias_C = None if self.bias is None else whole_gradient(self.bias)
        numbers_C = torch.arange(self.start, self.stop, device=labels_N.device)
        if kept_C is None:
            proxies_CD = whole_gradient(self.proxies)
        else:
            proxies_CD = whole_gradient(F.embedding(kept_C, self.proxies, sparse=self.sparse))
            numbers_C = numbers_C[kept_C]
            bias_C = None if bias_C is None else bias_C[kept_C]
        dtype = torch.promote_types(emb_ND.dtype, proxies_CD.dtype)
        sim_NC = self.sim(emb_ND.to(dtype), proxies_CD.to(dtype))
        pos_NC = labels_N[:, None] == numbers_C
        logit_NC = self.logits(sim_NC, pos_NC)
        if bias_C is not None:
            logit_NC = logit_NC + bias_C
        return logit_NC.logsumexp(-1), total(logit_NC, pos_NC)

    def kept(self, labels_N: Tensor) -> Tensor | None:
        """Places of the classes that this batch is compared with, in order; None: all."""
        if self.share == 1 or not self.training:
            return None
        self.steps += 1
        size = self.stop - self.start
        wanted = max(1, round(self.share * size))
        mine_N = (labels_N >= self.start) & (labels_N < self.stop)
        generator = torch.Generator().manual_seed(hash((self.seed, int(self.steps), self.start)))
        order_C = torch.rand(size, generator=generator).to(labels_N.device)
        order_C[labels_N[mine_N] - self.start] = 2.0  # above all that are drawn
        present = int((order_C == 2.0).sum())
        return order_C.topk(max(wanted, present)).indices.sort().values

    def check(self, emb_ND: Tensor, labels_N: Tensor) -> None:
        """Errors: ValueError when the embedding or the labels do not fit the proxies."""
        dim = self.proxies.shape[1]
        if emb_ND.ndim != 2 or emb_ND.shape[1] != dim or labels_N.shape != emb_ND.shape[:1]:
            raise ValueError(
                f"the proxies have dim={dim}, and embeddings are [N, {dim}] with labels [N]; got {list(emb_ND.shape)} "
                f"and {list(labels_N.shape)}"
            )
        if labels_N.device.type == "cpu" and len(labels_N):
            low, high = (int(x) for x in labels_N.aminmax())
            if low < 0 or high >= self.classes:
                raise ValueError(f"labels run from {low} to {high}, but the loss has classes={self.classes}")

    @torch.no_grad()
    def gathered_state(self) -> dict[str, Tensor] | None:
        """On rank 0 the state of `ProxyLoss`, with the proxies of all processes; None on the others.

        Every process must call it, and needs memory for all proxies while it does.
        """
        tensors = {name: distributed.gather(p.detach()) for name, p in self.named_parameters()}
        return {name: x.clone() for name, x in tensors.items()} if distributed.is_main() else None

    @torch.no_grad()
    def load_gathered(self, state: Mapping[str, Tensor]) -> None:
        """Take over this process's part of what `gathered_state` or a `ProxyLoss` had, under any number of processes.

        Errors: ValueError for a state that does not fit.
        """
        for name, p in self.named_parameters():
            wanted = [self.classes, *p.shape[1:]]
            shape = list(state[name].shape) if name in state else None
            if shape != wanted:
                raise ValueError(f"the state has {name} {shape}, and this loss needs {wanted}; build it as that one")
            p.copy_(state[name][self.start : self.stop])


def check_shardable(text: str) -> None:
    """Errors: SpecError for a loss whose proxies cannot be shared out."""
    name, _ = spec.parse(text)
    if name not in LOGITS:
        raise spec.SpecError(f"sharded proxies take {', '.join(LOGITS)}, got {name!r}{spec.near(name, LOGITS)}")


def initial(classes: int, dim: int, start: int, stop: int) -> Tensor:
    """Rows of the proxies that `ProxyLoss` starts with, without ever holding all of them."""
    own_CD = torch.empty(stop - start, dim)
    rows = max(1, BLOCK // dim)
    for at in range(0, classes, rows):
        block_CD = torch.empty(min(rows, classes - at), dim).uniform_(-(dim**-0.5), dim**-0.5)
        low, high = max(start, at), min(stop, at + len(block_CD))
        if low < high:
            own_CD[low - start : high - start] = block_CD[low - at : high - at]
    return own_CD


def shard(x: Tensor) -> nn.Parameter:
    p = nn.Parameter(x)
    vars(p)["shard"] = True
    return p


def whole_gradient(x: Tensor) -> Tensor:
    """The tensor, with its gradient divided by the processes: `distributed.total` adds up that of every one."""
    return _Divided.apply(x)


class _Divided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad / distributed.world_size()
