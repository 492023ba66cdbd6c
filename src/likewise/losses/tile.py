"""Terms of a large batch, a few rows at a time: exact, in O(tile x M) memory.

Rows are independent and totals add up, so the gradients of the totals are accumulated tile by tile in the forward
pass. Nothing is computed twice, random picks are drawn once, and the backward pass only scales the accumulated
gradients by the final division, whose count is known at the end. The saved state is as large as the embeddings.
"""

from collections.abc import Callable, Sequence
from typing import Any  # the ctx of autograd, which takes any attribute

import torch
from torch import Tensor

from likewise.losses.terms import Terms

__all__ = ["OfRows", "rows_within", "tiled"]

# Bytes of working memory for the similarities of a batch. A CPU is fastest when a tile fits its cache.
BUDGET = {"cpu": 256 << 20, "cuda": 4 << 30}
COPIES = 16  # of the similarities at peak memory, forward and backward

# of_rows(emb [N, D], ref [M, D], rows) -> the Terms of these rows of emb
OfRows = Callable[[Tensor, Tensor, slice], tuple[Terms, ...]]


def rows_within(ref_MD: Tensor) -> int:
    """Number of rows of similarities to these references that fit the budget."""
    budget = BUDGET.get(ref_MD.device.type, BUDGET["cpu"])
    return max(1, budget // max(1, COPIES * ref_MD.element_size() * len(ref_MD)))


def tiled(of_rows: OfRows, emb_ND: Tensor, ref_MD: Tensor, params: Sequence[Tensor], tile: int) -> tuple[Terms, ...]:
    """The Terms of every row. Gradients of emb, ref and params are exact for anything made of the totals' sums.

    Errors: RuntimeError in the backward pass if totals were not summed as they are, or for a second derivative.
    """
    if not torch.is_grad_enabled():  # an autograd function does not see this
        emb_ND, ref_MD, params = emb_ND.detach(), ref_MD.detach(), ()
    flat = _Tiles.apply(of_rows, tile, emb_ND, ref_MD, *params)
    return tuple(Terms(total_N, count_N) for total_N, count_N in zip(flat[::2], flat[1::2], strict=True))


class _Tiles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, of_rows: OfRows, tile: int, emb_ND: Tensor, ref_MD: Tensor, *params: Tensor):
        needs = ctx.needs_input_grad[2:]
        emb_ND, ref_MD = emb_ND.detach().requires_grad_(needs[0]), ref_MD.detach().requires_grad_(needs[1])
        leaves = [x for x, need in zip((emb_ND, ref_MD, *params), needs, strict=True) if need]
        flat: list[Tensor] = []
        ctx.grads = []
        for start in range(0, len(emb_ND), tile):
            with torch.enable_grad():
                terms = of_rows(emb_ND, ref_MD, slice(start, min(start + tile, len(emb_ND))))
                sums = [t.total.sum() for t in terms]
            of_tile = [x.detach() for t in terms for x in t]
            # Outputs are allocated once: small blocks left by each tile would fragment the heap.
            flat = flat or [x.new_empty(len(emb_ND)) for x in of_tile]
            for whole_N, part in zip(flat, of_tile, strict=True):
                whole_N[start : start + len(part)] = part
            ctx.grads = _added(ctx.grads, _gradients(sums, leaves))
            del terms, sums, of_tile, part  # the tile's graph, before the next one is made
        ctx.mark_non_differentiable(*flat[1::2])
        ctx.set_materialize_grads(False)
        return tuple(flat)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):  # pyright: ignore[reportIncompatibleMethodOverride]
        scales = [_of_sum(grad_N) for grad_N in grads[::2]]
        by_leaf = iter([_combined(scales, of_terms) for of_terms in zip(*ctx.grads, strict=True)])
        return None, None, *(next(by_leaf) if need else None for need in ctx.needs_input_grad[2:])


def _of_sum(grad_N: Tensor | None) -> Tensor | None:
    """The gradient shared by all rows of a summed total; detected from its layout, without synchronising."""
    if grad_N is not None and len(grad_N) > 1 and grad_N.stride(0) != 0:
        raise RuntimeError(
            "totals of a tiled loss can only be summed as they are; weigh rows by `balanced`, or do not tile"
        )
    return None if grad_N is None else grad_N[0]


def _combined(scales: list[Tensor | None], grads: tuple[Tensor, ...]) -> Tensor | None:
    parts = [scale * grad for scale, grad in zip(scales, grads, strict=True) if scale is not None]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0] if parts else None


def _gradients(sums: list[Tensor], leaves: list[Tensor]) -> list[list[Tensor]]:
    """The gradient of each sum with respect to each leaf."""
    last = sums[-1]
    return [_gradient(total, leaves, keep=total is not last) for total in sums]


def _gradient(total: Tensor, leaves: list[Tensor], keep: bool) -> list[Tensor]:
    if not leaves or not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return list(torch.autograd.grad(total, leaves, retain_graph=keep, materialize_grads=True))


def _added(sums: list[list[Tensor]], more: list[list[Tensor]]) -> list[list[Tensor]]:
    """More gradients, added in place to the first ones."""
    for row, new in zip(sums, more, strict=True) if sums else ():
        for into, what in zip(row, new, strict=True):
            into += what
    return sums or more
