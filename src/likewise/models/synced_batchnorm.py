"""Batch normalisation over the batches of all processes, on CPU and GPU; torch's own is for GPUs only."""

from typing import Any  # the ctx of autograd, which takes any attribute

import torch
import torch.nn.functional as F
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
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        out = _Normalised.apply(wide, self.weight, self.bias, mean_C.to(wide), var_C.to(wide), self.eps, count)
        return out.to(x.dtype)

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


class _Normalised(torch.autograd.Function):
    """(x - mean) / deviation * weight + bias for the mean and variance of all processes' rows, which depend on x.

    Torch's kernels for constant statistics do one pass forward and one for the sums of the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        mean_C: Tensor,
        var_C: Tensor,
        eps: float,
        count: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight_C, mean_C, var_C)
        ctx.eps, ctx.count = eps, count
        return F.batch_norm(x, mean_C, var_C, weight_C, bias_C, False, 0.0, eps) if len(x) else x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight_C, mean_C, var_C = ctx.saved_tensors
        by_unit_C = summed_C = torch.zeros_like(mean_C)
        if len(x):
            given = (grad, x, torch.ones_like(mean_C), mean_C, var_C, None, None, False, ctx.eps, [False, True, True])
            _, by_unit_C, summed_C = torch.ops.aten.native_batch_norm_backward(*given)
        all_2C = distributed.total(torch.stack([by_unit_C, summed_C]).double()) / ctx.count
        inverse_C = (var_C.double() + ctx.eps).rsqrt()
        scale_C = inverse_C if weight_C is None else inverse_C * weight_C
        slope_C = -scale_C * inverse_C * all_2C[0]
        shift_C = -scale_C * all_2C[1] - slope_C * mean_C
        scale, slope, shift = (by_channel(value_C.to(x.dtype), x) for value_C in (scale_C, slope_C, shift_C))
        grad_x = torch.addcmul(shift, x, slope).addcmul_(grad, scale)
        affine = weight_C is not None
        return grad_x, by_unit_C if affine else None, summed_C if affine else None, None, None, None, None


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
