"""Duplicate images: identical pixels, or the same image re-encoded, resized, cropped or brightened.

Candidates are nearest neighbours, in the embedding and of small grey images; a candidate counts as a copy if the two
images can be aligned.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.images import Images
from likewise.data.scenes import SIDE, thumbs
from likewise.metrics.neighbours import Nearest, nearest

__all__ = ["Copy", "copies", "laid_over", "thumbs"]

COARSE = 16  # pixels per side for the neighbour search
SAME = 0.95  # minimum correlation of aligned copies
STANDS_OUT = 0.15  # maximum residual (1 - correlation), relative to that of the 20th nearest image
USUAL = 20
STEPS, ROUGH_STEPS = 25, 10  # alignment steps, full and coarse (a quarter of the pixels, to discard most candidates)
AT_ONCE = 1024  # images or pairs per batch
MOST_CANDIDATES = 200_000


class Copy(NamedTuple):
    """Indices of two copies; a `likeness` of 1.0 means identical pixels."""

    first: int
    second: int
    likeness: float

    @property
    def exact(self) -> bool:
        return self.likeness == 1.0


def copies(images: Images, small_NCSS: Tensor | None, near: Nearest | None = None) -> list[Copy]:
    """All pairs of copies, most confident first. small: from `thumbs`; None compares feature rows for equality.

    near: neighbours in the embedding, as further candidates.
    """
    exact = [Copy(a, b, 1.0) for a, b in same_pixels(images)]
    if small_NCSS is None or len(images) < 3:
        return exact
    grey_N1SS = small_NCSS.float().mean(1, keepdim=True)
    pairs = sorted(close(grey_N1SS, near, {(a, b) for a, b, _ in exact}), key=lambda copy: -copy.likeness)
    return exact + pairs


def same_pixels(images: Images) -> list[tuple[int, int]]:
    """Pairs with identical bytes; within larger groups, each image with the first."""
    first: dict[bytes, int] = {}
    pairs = []
    for start in range(0, len(images), AT_ONCE):
        batch = images.batch(torch.arange(start, min(start + AT_ONCE, len(images)))).cpu().numpy()
        for at, pixels in enumerate(batch, start):
            known = first.setdefault(blake2b(pixels.tobytes(), digest_size=16).digest(), at)
            if known != at:
                pairs.append((known, at))
    return pairs


def close(grey_N1SS: Tensor, near: Nearest | None, known: set[tuple[int, int]]) -> Iterator[Copy]:
    """Candidates that can be aligned, with a correlation above the usual one in these data."""
    coarse_N1SS = F.avg_pool2d(grey_N1SS, SIDE // COARSE)
    rows_ND = standard(coarse_N1SS.flatten(1))
    alike = nearest(rows_ND, rows_ND, min(USUAL, len(rows_ND) - 1), offset=0)
    usual_N = torch.cat([
        laid_over(coarse_N1SS[at], coarse_N1SS[alike.place[at, -1]], ROUGH_STEPS)
        for at in torch.arange(len(coarse_N1SS)).split(AT_ONCE)
    ])  # fmt: skip
    candidates = sorted({*pairs_of(alike), *(pairs_of(near) if near else ())} - known)
    for pair_P2 in torch.tensor(candidates, dtype=torch.int64).reshape(-1, 2).split(AT_ONCE):
        usual_P = usual_N[pair_P2].amax(1)
        rough_P = laid_over(coarse_N1SS[pair_P2[:, 0]], coarse_N1SS[pair_P2[:, 1]], ROUGH_STEPS)
        worth = 1 - rough_P <= 2 * allowed(usual_P)
        if not worth.any():
            continue
        pair_P2, usual_P = pair_P2[worth], usual_P[worth]
        likeness_P = laid_over(grey_N1SS[pair_P2[:, 0]], grey_N1SS[pair_P2[:, 1]], STEPS)
        for at in (1 - likeness_P <= allowed(usual_P)).nonzero()[:, 0].tolist():
            yield Copy(int(pair_P2[at, 0]), int(pair_P2[at, 1]), min(float(likeness_P[at]), 0.9999))


def allowed(usual_P: Tensor) -> Tensor:
    """Maximum residual of a copy, given the correlation with the 20th nearest image."""
    return (STANDS_OUT * (1 - usual_P)).clamp(max=1 - SAME)


def pairs_of(near: Nearest) -> Iterator[tuple[int, int]]:
    """Pairs of each image with its first neighbours, lower index first; fewer neighbours for many images."""
    k = max(1, min(5, MOST_CANDIDATES // len(near.place)))
    for at, row in enumerate(near.place[:, :k].tolist()):
        yield from ((min(at, other), max(at, other)) for other in row if other >= 0)


def laid_over(a_P1SS: Tensor, b_P1SS: Tensor, steps: int) -> Tensor:
    """Correlation `[P]` of each pair over its overlap, after aligning b to a by scale and shift.

    Gauss-Newton steps on two scales and two shifts, from the identity, with normalised brightness and contrast (Lucas
    and Kanade, 1981; Evangelidis and Psarakis, 2008). Scales and shifts are limited to a quarter of the side.
    """
    a_P1SS, b_P1SS = normalised(a_P1SS), normalised(b_P1SS)
    slope_P2SS = torch.cat(torch.gradient(b_P1SS, dim=(3, 2)), 1) * (b_P1SS.shape[-1] / 2)
    line = (torch.arange(b_P1SS.shape[-1]) + 0.5) * 2 / b_P1SS.shape[-1] - 1
    y_SS, x_SS = torch.meshgrid(line, line, indexing="ij")
    warp_P4 = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(len(a_P1SS), 1)  # scales, then shifts; x before y
    best_P = correlation(a_P1SS, b_P1SS, torch.ones_like(a_P1SS))
    for _ in range(steps):
        grid = torch.stack([warp_P4[:, :1, None] * x_SS + warp_P4[:, 2:3, None],
                            warp_P4[:, 1:2, None] * y_SS + warp_P4[:, 3:, None]], -1)  # fmt: skip
        inside_P1SS = (grid.abs() <= 1).all(-1)[:, None].float()
        over = F.grid_sample(torch.cat([b_P1SS, slope_P2SS], 1), grid, padding_mode="border", align_corners=False)
        b_over, gx, gy = over.split(1, 1)
        best_P = torch.maximum(best_P, correlation(a_P1SS, b_over, inside_P1SS))
        turn_P4S = (torch.cat([gx * x_SS, gy * y_SS, gx, gy], 1) * inside_P1SS).flatten(2)
        rest_PS1 = ((normalised(a_P1SS, inside_P1SS) - normalised(b_over, inside_P1SS)) * inside_P1SS).flatten(1)[
            ..., None
        ]
        square_P44 = turn_P4S @ turn_P4S.mT
        damped = square_P44 + 1e-2 * torch.diag_embed(square_P44.diagonal(dim1=1, dim2=2) + 1)
        warp_P4 = warp_P4 + torch.linalg.solve(damped, turn_P4S @ rest_PS1)[..., 0].clamp(-0.1, 0.1)
        warp_P4 = torch.cat([warp_P4[:, :2].clamp(0.75, 1.33), warp_P4[:, 2:].clamp(-0.5, 0.5)], 1)
    return best_P


def correlation(a_P1SS: Tensor, b_P1SS: Tensor, inside_P1SS: Tensor) -> Tensor:
    """Correlation of each pair over the overlapping pixels; 0 for less than half of the pixels."""
    product = (normalised(a_P1SS, inside_P1SS) * normalised(b_P1SS, inside_P1SS) * inside_P1SS).sum((1, 2, 3))
    count_P = inside_P1SS.sum((1, 2, 3))
    return torch.where(count_P >= inside_P1SS.shape[1:].numel() / 2, product / count_P.clamp(min=1), 0.0).clamp(max=1)


def normalised(x_P1SS: Tensor, inside_P1SS: Tensor | None = None) -> Tensor:
    """Normalise each image to mean 0 and deviation 1 over the pixels inside; constant images become 0."""
    inside = torch.ones_like(x_P1SS) if inside_P1SS is None else inside_P1SS
    count = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    x_P1SS = x_P1SS - (x_P1SS * inside).sum((1, 2, 3), keepdim=True) / count
    deviation = ((x_P1SS * inside).square().sum((1, 2, 3), keepdim=True) / count).sqrt()
    return torch.where(deviation > 1e-3, x_P1SS / deviation.clamp(min=1e-3), 0.0)


def standard(x_ND: Tensor) -> Tensor:
    """Centre each row and normalise it to length 1."""
    return F.normalize(x_ND - x_ND.mean(1, keepdim=True), dim=1)
