"""Angular margins applied to cosines."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["at_positives", "multiplied", "widened"]


def at_positives(change: Callable, sim_NC: Tensor, pos_NC: Tensor, *also_NC: Tensor) -> Tensor:
    """Similarities with those to positives changed: `change(sim, *also)`, elementwise."""
    if sim_NC.device.type != "cpu":  # listing the positives would synchronise with the device
        return torch.where(pos_NC, change(sim_NC, *also_NC), sim_NC)
    at = pos_NC.nonzero(as_tuple=True)
    return sim_NC.index_put(at, change(sim_NC[at], *(x[at] for x in also_NC)))


def widened(cos: Tensor, margin: float | Tensor, easy: bool = False) -> Tensor:
    """cos(angle + margin) of any shape, continued monotonically; with `easy`, cos(angle) beyond 90 degrees."""
    trig = torch if isinstance(margin, Tensor) else math
    cos_m, sin_m = trig.cos(margin), trig.sin(margin)
    # At 0 and pi the derivative of sin by cos is infinite; the floor is the rounding error of the product.
    sin = ((1 - cos) * (1 + cos)).clamp_min(torch.finfo(cos.dtype).eps).sqrt()
    wide = cos * cos_m - sin * sin_m
    if easy:
        return torch.where(cos > 0, wide, cos)
    return torch.where(cos >= -cos_m, wide, cos - margin * sin_m)


def multiplied(cos: Tensor, m: int) -> Tensor:
    """cos(m * angle), continued monotonically over [0, pi]: a Chebyshev polynomial, with finite gradients."""
    before, cos_m = torch.ones_like(cos), cos
    for _ in range(m - 1):
        before, cos_m = cos_m, 2 * cos * cos_m - before
    k = (cos.detach().clamp(-1, 1).acos() * m / math.pi).floor()
    return (1 - 2 * (k % 2)) * cos_m - 2 * k
