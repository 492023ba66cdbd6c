"""Resize pixels: antialiased bilinear, and by sizes.FITS where the aspect is another; grey of colour and back."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.imaging.sizes import crop_box, inner_sides

__all__ = ["fit", "is_quick", "padded", "resized", "stretched"]

Shape = tuple[int, int, int]  # C, H, W


def fit(pixels_NCHW: Tensor, shape: Shape, mode: str = "stretch") -> Tensor:
    """Convert pixels to another size and colour, by the rules of `imaging.decode`."""
    channels, *sides = shape
    if channels == 1 and pixels_NCHW.shape[1] == 3:
        luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        grey = (pixels_NCHW * luma).sum(1, keepdim=True)
        pixels_NCHW = grey if pixels_NCHW.is_floating_point() else grey.round().to(pixels_NCHW.dtype)
    elif channels == 3 and pixels_NCHW.shape[1] == 1:
        pixels_NCHW = pixels_NCHW.repeat(1, 3, 1, 1)
    return resized(pixels_NCHW, (sides[0], sides[1]), mode)


def resized(pixels_NCHW: Tensor, sides: tuple[int, int], mode: str) -> Tensor:
    """In these sides: stretched, padded or cropped; antialiased bilinear, for the dtypes that torch resizes."""
    height, width = pixels_NCHW.shape[2:]
    if (height, width) == sides:
        return pixels_NCHW
    inside = inner_sides(height, width, sides) if mode == "pad" else sides
    if mode == "crop":
        top, left, height, width = crop_box(height, width, sides)
        pixels_NCHW = pixels_NCHW[:, :, top : top + height, left : left + width]
    if tuple(pixels_NCHW.shape[2:]) != inside:
        pixels_NCHW = F.interpolate(pixels_NCHW, inside, mode="bilinear", antialias=True)
    return padded(pixels_NCHW, sides)


def padded(pixels_XCHW: Tensor, sides: tuple[int, int]) -> Tensor:
    """[...,C,H,W] in the middle of these sides, with the lower median of each channel's border around."""
    height, width = pixels_XCHW.shape[-2:]
    high, wide = sides
    if (height, width) == (high, wide):
        return pixels_XCHW
    edge = torch.cat(
        [pixels_XCHW[..., 0, :], pixels_XCHW[..., -1, :], pixels_XCHW[..., 1:-1, 0], pixels_XCHW[..., 1:-1, -1]], -1
    )
    colour = edge.median(-1).values[..., None, None]
    whole = colour.expand(*pixels_XCHW.shape[:-2], high, wide).clone(memory_format=torch.contiguous_format)
    top, left = (high - height) // 2, (wide - width) // 2
    whole[..., top : top + height, left : left + width] = pixels_XCHW
    return whole


def stretched(pixels_CHW: Tensor, sides: list[int], out: Tensor | None = None) -> Tensor:
    """In these sides, in memory of its own or in `out`; torch takes a third of Pillow's time, where it has AVX2."""
    if [*pixels_CHW.shape[1:]] == sides:
        return pixels_CHW.clone(memory_format=torch.contiguous_format) if out is None else out.copy_(pixels_CHW)
    if is_quick() and out is not None:
        # called by F.interpolate, which has no `out`
        torch.ops.aten._upsample_bilinear2d_aa.out(pixels_CHW[None], sides, False, out=out[None])
        return out
    if is_quick():
        return F.interpolate(pixels_CHW[None], sides, mode="bilinear", antialias=True)[0]
    from PIL import Image

    planes = [Image.fromarray(plane.contiguous().numpy()) for plane in pixels_CHW]
    bilinear = Image.Resampling.BILINEAR
    return torch.from_numpy(np.stack([np.array(plane.resize(sides[::-1], bilinear)) for plane in planes]))


@functools.cache
def is_quick() -> bool:
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
