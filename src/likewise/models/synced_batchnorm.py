"""Batch normalisation over the batches of all processes, on CPU and GPU; torch's own is for GPUs only."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from likewise import distributed

__all__ = ["SyncedBatchNorm", "is_unsynced", "synchronise"]

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncedBatchNorm(_BatchNorm):
    """In training the mean and variance of a channel are those of all processes' rows, of which each may have none.

    With one process, and in evaluation, it is torch's BatchNorm, with the same parameters and state.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"batch normalisation takes rows [N, C, ...], got {list(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        mean_C, var_C, count = moments(x.detach())
        if self.running_mean is not None and self.running_var is not None:
            share = self.share()
            self.running_mean.lerp_(mean_C.to(self.running_mean), share)
            self.running_var.lerp_((var_C * (count / max(count - 1, 1))).to(self.running_var), share)
        inverse_C = (var_C + self.eps).rsqrt()
        dtype = torch.promote_types(x.dtype, torch.float32)
        unit = _Standardised.apply(x.to(dtype), mean_C.to(dtype), inverse_C.to(dtype), count)
        if self.affine:
            unit = torch.addcmul(by_channel(self.bias, x), unit, by_channel(self.weight, x))
        return unit.to(x.dtype)

    def share(self) -> float:
        """The weight of this batch, which is counted, in the running statistics; a momentum of None averages all."""
        if self.num_batches_tracked is None:
            return self.momentum or 0.0
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum


@torch.no_grad()
def moments(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of each channel over all processes, float64 [C], and the number of values."""
    dims = (0, *range(2, x.ndim))
    count = x.numel() // x.shape[1]
    wide = x if x.dtype == torch.float64 else x.float()
    if count:
        var_C, mean_C = (v.double() for v in torch.var_mean(wide, dims, correction=0))
    else:
        var_C = mean_C = x.new_zeros(x.shape[1], dtype=torch.float64)
    own = torch.cat([mean_C, var_C, mean_C.new_tensor([count])])
    all_RK = distributed.gather(own[None], [1] * distributed.world_size())
    mean_RC, var_RC, count_R1 = all_RK.split([x.shape[1], x.shape[1], 1], dim=1)
    whole = count_R1.sum()
    mean_C = (count_R1 * mean_RC).sum(0) / whole
    var_C = (count_R1 * (var_RC + (mean_RC - mean_C).square())).sum(0) / whole
    return mean_C, var_C, int(whole)


class _Standardised(torch.autograd.Function):
    """(x - mean) * inverse for the mean and deviation of all processes' rows, which depend on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean_C: Tensor, inverse_C: Tensor, count: int) -> Tensor:
        unit = (x - by_channel(mean_C, x)).mul_(by_channel(inverse_C, x))
        ctx.save_for_backward(unit, inverse_C)
        ctx.count = count
        return unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        unit, inverse_C = ctx.saved_tensors
        dims = (0, *range(2, grad.ndim))
        own_2C = torch.stack([grad.sum(dims).double(), (grad * unit).sum(dims).double()])
        mean_2C = (distributed.total(own_2C) / ctx.count).to(grad.dtype)
        direct = torch.addcmul(grad - by_channel(mean_2C[0], grad), unit, by_channel(-mean_2C[1], grad))
        return direct.mul_(by_channel(inverse_C, grad)), None, None, None


def by_channel(value_C: Tensor, x: Tensor) -> Tensor:
    return value_C.view(1, -1, *[1] * (x.ndim - 2))


def synchronise(model: nn.Module) -> nn.Module:
    """Make every BatchNorm of the model a SyncedBatchNorm, in place: parameters, state and names stay."""
    for module in model.modules():
        if type(module) in KINDS:
            module.__class__ = SyncedBatchNorm
    return model


def is_unsynced(model: nn.Module) -> bool:
    """Whether a layer of the model normalises by the rows of its own process."""
    return any(isinstance(m, _BatchNorm) and not isinstance(m, SyncedBatchNorm) for m in model.modules())
