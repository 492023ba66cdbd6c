"""Augmentation of whole batches as tensors, on their device: `name(*, strengths) -> Augment`, and an Augment is called.

`augment(images, generator=None)` takes uint8, or float in 0 to 1, `[N, C, H, W]`, and gives the same shape and dtype.
Every picture draws its own numbers from the generator, or from torch's global one: seeded alike, it does the same.

All that moves pixels (affine, crop, flip, elastic) becomes one grid per picture and one bilinear resampling, whatever
the number of parts, so that nothing is blurred twice. It comes before what changes colours, whatever the order written.
The resampling is not antialiased: it suits zooming in, and zooming out to about two thirds. Pictures that should end
small are made small first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from likewise import spec

__all__ = [
    "affine",
    "blur",
    "chain",
    "colour",
    "elastic",
    "erase",
    "flip",
    "handwriting",
    "light",
    "noise",
    "none",
    "photo",
    "random_resized_crop",
    "strong",
]

Random = Generator | None
Map = Callable[
    [Tensor, Random], Tensor
]  # pictures -> theta [N,3,3]: where in the old picture, -1 to 1, a new pixel looks
Bend = Callable[[Tensor, Random], Tensor]  # pictures -> [N,H,W,2], added to where each pixel looks
Change = Callable[[Tensor, Random], Tensor]  # pictures -> pictures, float


@dataclass(frozen=True)
class Augment:
    """What is done to a batch: maps and bends in one resampling, then changes in order.

    paper: what comes in from outside is the median of each picture's own border, as behind a drawing; otherwise the
    nearest pixel is repeated, as suits a photograph.
    """

    maps: tuple[Map, ...] = ()
    bends: tuple[Bend, ...] = ()
    changes: tuple[Change, ...] = ()
    paper: bool = False

    def __call__(self, images: Tensor, generator: Random = None) -> Tensor:
        if not (self.maps or self.bends or self.changes) or not len(images):
            return images
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise ValueError(
                f"augmentation takes pictures [N, C, H, W], uint8 or float, got {images.dtype} {list(images.shape)}; "
                "for feature rows use augment=none"
            )
        x = images / 255 if images.dtype == torch.uint8 else images
        if self.maps or self.bends:
            x = self.resample(x, generator)
        for change in self.changes:
            x = change(x, generator)
        return x.mul(255).round_().clamp_(0, 255).byte() if images.dtype == torch.uint8 else x

    def __add__(self, after: "Augment") -> "Augment":
        parts = (self.maps + after.maps, self.bends + after.bends, self.changes + after.changes)
        return Augment(*parts, self.paper or after.paper)

    def resample(self, x: Tensor, generator: Random) -> Tensor:
        theta = torch.eye(3, device=x.device, dtype=x.dtype).expand(len(x), 3, 3)
        for each in self.maps:
            theta = theta @ each(x, generator)
        grid = F.affine_grid(theta[:, :2], list(x.shape), align_corners=False)
        for bend in self.bends:
            grid = grid + bend(x, generator)
        if not self.paper:
            return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        paper = border_median(x)
        return F.grid_sample(x - paper, grid, padding_mode="zeros", align_corners=False) + paper


def border_median(x: Tensor) -> Tensor:
    """`[N, C, 1, 1]`: the median of each picture's outermost pixels."""
    edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], -1)
    return edge.median(-1).values[..., None, None]


def uniform(x: Tensor, low: float, high: float, generator: Random, *shape: int) -> Tensor:
    """One number a picture (or `shape` of them) between low and high."""
    drawn = torch.rand(len(x), *shape, device=x.device, dtype=x.dtype, generator=generator)
    return low + (high - low) * drawn


def chance(x: Tensor, p: float, generator: Random) -> Tensor:
    """`[N, 1, 1, 1]`: whether a picture is meant."""
    return (uniform(x, 0, 1, generator) < p)[:, None, None, None]


def matrix(x: Tensor, rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """theta [N,3,3] from two rows whose entries are one number for all, or one a picture."""
    filled = [
        [e if isinstance(e, Tensor) else x.new_full((len(x),), e) for e in row] for row in (*rows, (0.0, 0.0, 1.0))
    ]
    return torch.stack([torch.stack(row, -1) for row in filled], 1)


def affine(*, rotate: float = 0.0, scale: float = 0.0, shear: float = 0.0, translate: float = 0.0) -> Augment:
    """A random affine map: uniform angles and shifts, log-uniform scales, each side its own.

    rotate, shear: up to so many degrees either way. scale: up to 1 + scale times larger or smaller. translate: by up to
    this share of the side. What is not given stays.
    """

    def moved(x: Tensor, generator: Random) -> Tensor:
        angle = uniform(x, -1, 1, generator) * math.radians(rotate)
        slant = (uniform(x, -1, 1, generator) * math.radians(shear)).tan()
        wide, high = (uniform(x, -1, 1, generator, 2) * math.log1p(scale)).exp().unbind(-1)
        right, down = (uniform(x, -2, 2, generator, 2) * translate).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        # Rotation after shear after scaling. Sides are measured in halves of the picture, so a square stays a square.
        aspect = x.shape[-2] / x.shape[-1]
        return matrix(
            x,
            (
                (cos * wide, (cos * slant - sin) * high * aspect, right),
                (sin * wide / aspect, (sin * slant + cos) * high, down),
            ),
        )

    return Augment(maps=(moved,))


def random_resized_crop(*, least: float = 0.4, most: float = 1.0, ratio: float = 4 / 3) -> Augment:
    """A random part of the picture, stretched to the whole. Szegedy et al., 2015.

    least, most: its share of the area; ratio: its sides' ratio is at most that of the picture times or divided by this.
    """

    def crop(x: Tensor, generator: Random) -> Tensor:
        area = uniform(x, least, most, generator)
        tilt = (uniform(x, -1, 1, generator) * math.log(ratio) / 2).exp()
        wide, high = (area.sqrt() * tilt).clamp(max=1), (area.sqrt() / tilt).clamp(max=1)
        right, down = uniform(x, -1, 1, generator, 2).unbind(-1)
        return matrix(x, ((wide, 0.0, right * (1 - wide)), (0.0, high, down * (1 - high))))

    return Augment(maps=(crop,))


def flip(*, p: float = 0.5, vertical: float = 0.0) -> Augment:
    """Mirrored left to right with probability p, top to bottom with probability `vertical`."""

    def mirrored(x: Tensor, generator: Random) -> Tensor:
        drawn = uniform(x, 0, 1, generator, 2)
        wide, high = torch.where(drawn < drawn.new_tensor([p, vertical]), -1.0, 1.0).to(x.dtype).unbind(-1)
        return matrix(x, ((wide, 0.0, 0.0), (0.0, high, 0.0)))

    return Augment(maps=(mirrored,))


def elastic(*, amount: float = 0.03, knots: int = 4) -> Augment:
    """A smooth random bend, as one hand's writing differs from another's. After Simard et al., 2003.

    amount: standard deviation of the shift of each of knots x knots control points, as a share of the side.
    """

    def bend(x: Tensor, generator: Random) -> Tensor:
        shift = torch.randn(len(x), 2, knots, knots, device=x.device, dtype=x.dtype, generator=generator)
        down, right = (cubic(x, knots, side) for side in x.shape[2:])
        return torch.einsum("nckl,kh,lw->nhwc", shift * 2 * amount, down, right)

    return Augment(bends=(bend,))


def cubic(x: Tensor, knots: int, side: int) -> Tensor:
    """`[knots, side]`: how much each knot weighs at each pixel. Two products with it are a bicubic resize."""
    each = torch.eye(knots, device=x.device, dtype=x.dtype)[None, None]
    return F.interpolate(each, (knots, side), mode="bicubic", align_corners=True)[0, 0]


def erase(*, p: float = 0.5, least: float = 0.02, most: float = 0.2, ratio: float = 3.0) -> Augment:
    """A random rectangle becomes the picture's mean colour, with probability p. Zhong et al., 2020.

    least, most: its share of the area; ratio: its sides' ratio is at most this.
    """

    def erased(x: Tensor, generator: Random) -> Tensor:
        area = uniform(x, least, most, generator)
        tilt = (uniform(x, -1, 1, generator) * math.log(ratio) / 2).exp()
        place = uniform(x, 0, 1, generator, 2)
        down = within(x.shape[-2], (area.sqrt() * tilt).clamp(max=1), place[:, 0])
        right = within(x.shape[-1], (area.sqrt() / tilt).clamp(max=1), place[:, 1])
        hole = (down[:, :, None] & right[:, None, :])[:, None] & chance(x, p, generator)
        return torch.where(hole, x.mean((2, 3), keepdim=True), x)

    return Augment(changes=(erased,))


def within(side: int, share: Tensor, place: Tensor) -> Tensor:
    """bool [N, side]: a run of pixels of this share of the side, at this place (0 first, 1 last)."""
    at = (torch.arange(side, device=share.device, dtype=share.dtype) + 0.5) / side
    start = (place * (1 - share))[:, None]
    return (at >= start) & (at < start + share[:, None])


def noise(*, amount: float = 0.05) -> Augment:
    """Gaussian noise whose standard deviation is drawn for each picture, up to `amount`."""

    def noisy(x: Tensor, generator: Random) -> Tensor:
        std = uniform(x, 0, amount, generator)[:, None, None, None]
        return x + std * torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)

    return Augment(changes=(noisy,))


def blur(*, p: float = 0.5, radius: int = 2) -> Augment:
    """With probability p, blended by a random share with its Gaussian blur of so many pixels' radius."""

    def blurred(x: Tensor, generator: Random) -> Tensor:
        share = uniform(x, 0, 1, generator)[:, None, None, None] * chance(x, p, generator)
        return torch.lerp(x, smooth(x, radius), share)

    return Augment(changes=(blurred,))


def smooth(x: Tensor, radius: int) -> Tensor:
    """Gaussian blur with a standard deviation of radius / 2 pixels, along one side and then the other."""
    weights = torch.softmax(-2 * (torch.arange(-radius, radius + 1) / radius) ** 2, 0).tolist()
    for dim, pad in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        wide, side = F.pad(x, pad, mode="replicate"), x.shape[dim]
        # a convolution of one channel is slow on a CPU: shifted copies are eight times as fast
        x = sum(weight * wide.narrow(dim, at, side) for at, weight in enumerate(weights))
    return x


def colour(*, brightness: float = 0.3, contrast: float = 0.3, saturation: float = 0.3) -> Augment:
    """Brightness, contrast and saturation each times a random factor between 1 - strength and 1 + strength.

    Contrast is about the picture's mean grey; saturation, for three channels, about each pixel's grey.
    """

    def coloured(x: Tensor, generator: Random) -> Tensor:
        factor = uniform(x, -1, 1, generator, 3) * x.new_tensor([brightness, contrast, saturation]) + 1
        bright, contrasty, saturated = factor[:, :, None, None, None].unbind(1)
        x = x * bright
        grey = luma(x)
        x = torch.lerp(grey, x, saturated) if x.shape[1] == 3 else x
        return torch.lerp(grey.mean((2, 3), keepdim=True), x, contrasty).clamp_(0, 1)

    return Augment(changes=(coloured,))


def luma(x: Tensor) -> Tensor:
    """`[N, 1, H, W]`: how bright a pixel looks (ITU-R 601-2); the mean where the channels are not red, green, blue."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return torch.einsum("nchw,c->nhw", x, x.new_tensor([0.299, 0.587, 0.114]))[:, None]


def chain(*, steps: Sequence[str]) -> Augment:
    """Several of these, by name: `chain(steps=['flip', 'affine(rotate=10)', 'erase(p=0.2)'])`."""
    return sum((spec.bind("augment", step)() for step in steps), Augment())


def none() -> Augment:
    """Pictures as they are."""
    return Augment()


def light(*, rotate: float = 5.0, scale: float = 0.1, translate: float = 0.05) -> Augment:
    """A little turn, zoom and shift: safe for anything, also where left and right differ."""
    return affine(rotate=rotate, scale=scale, translate=translate)


def photo(*, least: float = 0.4, p: float = 0.5, colours: float = 0.3) -> Augment:
    """Photographs: a random part of them, mirrored or not, in other light. least: of the area; p: of mirroring."""
    return (
        random_resized_crop(least=least) + flip(p=p) + colour(brightness=colours, contrast=colours, saturation=colours)
    )


def handwriting(
    *, rotate: float = 12.0, scale: float = 0.2, shear: float = 12.0, translate: float = 0.04, bend: float = 0.015
) -> Augment:
    """Drawings and letters: another slant, size and place, bent as by another hand; paper comes in from outside."""
    moved = affine(rotate=rotate, scale=scale, shear=shear, translate=translate)
    return moved + elastic(amount=bend) + Augment(paper=True)


def strong(*, least: float = 0.25, rotate: float = 15.0, colours: float = 0.5, holes: float = 0.5) -> Augment:
    """Photographs, when there are few of each class: photo, with turns, blur, noise and holes."""
    moved = affine(rotate=rotate) + photo(least=least, colours=colours)
    return moved + blur() + noise() + erase(p=holes)
