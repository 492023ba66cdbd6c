"""Apply an augmentation to a batch: one resampling for all steps that move pixels, then the colour changes.

Maps and bends become one grid per image and one bilinear resampling, whatever their number, so that nothing is
blurred twice. The resampling is not antialiased: it suits zooming in, and zooming out to about two thirds. Images
that should end small are made small first. Crops and mirrorings alone, of uint8 on a CPU, are cut at whole pixels
instead and stretched one by one, which is three times as fast.

Random numbers are drawn for the whole batch first; then it is processed in pieces that fit a core's cache, since a
batch of photographs as floats fits no cache, and every step would allocate its memory again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from likewise.data.files import together
from likewise.imaging.values import check_unit_range

__all__ = ["Augment", "Places", "Random", "Step", "piece_of"]

LOWEST = -1.0  # of images that a change of colour takes
PIECE = 1 << 18  # numbers in a piece of a batch: 1 MB as float32

Random = Generator | None
Map = Callable[[Tensor, Random], Tensor]  # images -> theta [N,3,3]: where in the old image, -1 to 1, a new pixel looks
Step = Callable[[Tensor, slice], Tensor]  # some of the images, and which they are -> what becomes of them
Bend = Callable[[Tensor, Random], Step]  # all images -> a step that gives [n,H,W,2], added to where each pixel looks
Change = Callable[[Tensor, Random], Step]  # all images -> a step from float to float, which may modify its input


@dataclass(frozen=True)
class Augment:
    """The steps applied to a batch: maps and bends in one resampling, then changes in order.

    Random numbers depend on the shape, device and dtype of the batch only, not on its pixels.

    paper: areas from outside the image get the median of its border, as suits a drawing; otherwise the nearest
    pixel is repeated, as suits a photograph. whole: a change looks at all images of the batch.
    """

    maps: tuple[Map, ...] = ()
    bends: tuple[Bend, ...] = ()
    changes: tuple[Change, ...] = ()
    paper: bool = False
    whole: bool = False

    def __call__(self, images: Tensor, generator: Random = None, *, places: "Places | None" = None) -> Tensor:
        """The batch varied; with `places`, some images of a larger batch, each as it would be in the whole."""
        places = places or Places(len(images), (slice(0, len(images)),))
        if not (self.maps or self.bends or self.changes) or not places.of:
            return images
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise ValueError(
                f"augmentation takes images [N, C, H, W], uint8 or float, got {images.dtype} {list(images.shape)}; "
                "for feature rows use augment=none"
            )
        if images.is_floating_point():
            check_unit_range(images)
            if self.changes and (low := float(images.min())) < LOWEST:
                raise ValueError(
                    f"changes of colour and light are for images of 0 to 1, and these hold {low:g} to "
                    f"{float(images.max()):g}; use augment=light, affine or none"
                )
        steps = self.drawn(images, places.of, generator)
        out = torch.empty_like(images, memory_format=torch.contiguous_format)

        def done(piece: tuple[slice, slice]) -> None:
            at, here = piece
            x = images[here]
            for step in steps:
                x = step(x, at)
            out[here] = nearest(x) if x.dtype != out.dtype else x

        together(done, places.cut(places.of if self.whole else piece_of(images, places.of)))
        return out

    def __add__(self, after: "Augment") -> "Augment":
        parts = (self.maps + after.maps, self.bends + after.bends, self.changes + after.changes)
        return Augment(*parts, self.paper or after.paper, self.whole or after.whole)

    def drawn(self, images: Tensor, count: int, generator: Random) -> list[Step]:
        like = unit(images.new_zeros(1, images.shape[1], 1, 1)).expand(count, *images.shape[1:])
        moves = [self.move(images, like, generator)] if self.maps or self.bends else []
        changes = [change(like, generator) for change in self.changes]
        own = [in_floats if images.dtype == torch.uint8 or moves else copied] if changes else []
        return moves + own + changes

    def move(self, images: Tensor, like: Tensor, generator: Random) -> Step:
        """All maps and bends: a step that gives uint8 for uint8 where it only cuts, else float."""
        theta = torch.eye(3, device=like.device, dtype=like.dtype).expand(len(like), 3, 3)
        for each in self.maps:
            theta = theta @ each(like, generator)
        if images.dtype == torch.uint8 and images.device.type == "cpu" and not self.bends and is_crop(theta):
            return cuts(images, theta)
        return partial(self.resample, theta, [bend(like, generator) for bend in self.bends])

    def resample(self, theta: Tensor, bends: Sequence[Step], images: Tensor, at: slice) -> Tensor:
        x = unit(images)
        grid = places(x, theta[at])
        for bend in bends:
            grid = grid + bend(x, at)
        if not self.paper:
            return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        paper = border_median(x)
        return F.grid_sample(x - paper, grid, padding_mode="zeros", align_corners=False) + paper


class Places(NamedTuple):
    """Which images of a larger batch are at hand: `parts` of its `of` images, one behind the other."""

    of: int
    parts: tuple[slice, ...]

    def cut(self, count: int) -> list[tuple[slice, slice]]:
        """Pieces of at most `count` images, cut where the larger batch is: (there, here)."""
        pieces, here = [], 0
        for part in self.parts:
            start = part.start
            while start < part.stop:
                stop = min((start // count + 1) * count, part.stop)
                pieces.append((slice(start, stop), slice(here, here + stop - start)))
                start, here = stop, here + stop - start
        return pieces


def piece_of(images: Tensor, batch: int) -> int:
    """Images in a piece of a batch of so many."""
    return max(1, PIECE // max(1, images.shape[1:].numel())) if images.device.type == "cpu" else batch


def unit(images: Tensor) -> Tensor:
    """Float images: uint8 as 0 to 1, others as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def in_floats(x: Tensor, at: slice) -> Tensor:
    return unit(x)


def copied(x: Tensor, at: slice) -> Tensor:
    return x.clone()


def nearest(x: Tensor) -> Tensor:
    """0 to 1 as what rounds off to the nearest of 256 values; `x` is written in."""
    return x.mul_(255).add_(0.5).clamp_(0, 255)


def places(x: Tensor, theta: Tensor) -> Tensor:
    """`[N, H, W, 2]`: where each new pixel looks. What F.affine_grid gives, as a sum of a row and a column."""
    across, down = (
        (torch.arange(side, device=x.device, dtype=x.dtype) * 2 + 1) / side - 1 for side in (x.shape[-1], x.shape[-2])
    )
    grid = x.new_empty(len(x), *x.shape[2:], 2)
    for axis in range(2):
        wide, high, shift = theta[:, axis, :, None].unbind(1)
        torch.add((wide * across)[:, None], (high * down + shift)[:, :, None], out=grid[..., axis])
    return grid


def is_crop(theta: Tensor) -> bool:
    """Whether every map shows a part of its image, upright, mirrored or not."""
    size, shift = theta.diagonal(dim1=1, dim2=2)[:, :2].abs(), theta[:, :2, 2].abs()
    return bool((theta[:, 0, 1] == 0).all() and (theta[:, 1, 0] == 0).all() and (size + shift <= 1 + 1e-4).all())


def cuts(images: Tensor, theta: Tensor) -> Step:
    """uint8 images cropped at whole pixels, stretched with antialiasing to the old size, and mirrored."""
    sides = images.new_tensor([images.shape[-1], images.shape[-2]], dtype=theta.dtype)
    signed, shift = theta.diagonal(dim1=1, dim2=2)[:, :2], theta[:, :2, 2]
    low = ((shift - signed.abs() + 1) / 2 * sides).round().long()
    high = torch.maximum(((shift + signed.abs() + 1) / 2 * sides).round().long(), low + 1)
    boxes, mirrored = torch.cat([low, high], 1).tolist(), (signed < 0).tolist()

    def cut(x: Tensor, at: slice) -> Tensor:
        parts = [
            part(image[None], *boxes[row]).flip([-1 - axis for axis in range(2) if mirrored[row][axis]])
            for row, image in enumerate(x, at.start)
        ]
        return torch.cat(parts)

    return cut


def part(image_1CHW: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """The content of the box, resized to the sides of the whole image."""
    inside = image_1CHW[:, :, top:bottom, left:right]
    if inside.shape == image_1CHW.shape:
        return inside
    inside = inside.contiguous(memory_format=torch.channels_last)  # takes half as long, this copy included
    return F.interpolate(inside, image_1CHW.shape[2:], mode="bilinear", antialias=True)


def border_median(x: Tensor) -> Tensor:
    """`[N, C, 1, 1]`: the median of each image's outermost pixels."""
    edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], -1)
    return edge.median(-1).values[..., None, None]
