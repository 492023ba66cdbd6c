"""An optimizer's step where gradients hold some rows of a parameter: the others keep weights and moments."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["step"]


class Whole(NamedTuple):
    """A parameter and its moments while the optimizer sees only some rows of them."""

    data: Tensor
    moments: dict[str, Tensor]
    rows: Tensor


def step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()`; of a parameter with a sparse gradient the rows of that gradient alone are updated.

    Any optimizer whose state is one tensor of the parameter's shape a moment, or one number. Time is that of the rows.
    After An et al., 2022, https://arxiv.org/abs/2203.15565.
    """
    whole = {p: narrowed(optimizer, p) for p in sparse_of(optimizer)}
    optimizer.step()
    for p, before in whole.items():
        widened(optimizer, p, before)


def sparse_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return [p for p in params if p.grad is not None and p.grad.is_sparse]


def narrowed(optimizer: torch.optim.Optimizer, p: Tensor) -> Whole:
    """Leave the parameter, its gradient and its moments with the gradient's rows."""
    assert p.grad is not None
    grad, state = p.grad.coalesce(), optimizer.state[p]
    rows, data = grad.indices()[0], p.data
    moments = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == data.shape}
    p.grad = None
    p.data = data[rows]
    p.grad = grad.values()
    state.update({k: v[rows] for k, v in moments.items()})
    return Whole(data, moments, rows)


def widened(optimizer: torch.optim.Optimizer, p: Tensor, before: Whole) -> None:
    """Put the rows back; moments that the step has begun are 0 elsewhere."""
    state = optimizer.state[p]
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == p.shape:
            whole = before.moments.get(name)
            whole = torch.zeros_like(before.data) if whole is None else whole
            state[name] = whole.index_copy_(0, before.rows, value)
    data = before.data.index_copy_(0, before.rows, p.data)
    p.grad = None
    p.data = data
