"""Augmentation of whole batches as tensors, on their device: `name(*, strengths) -> Augment`, and an Augment is called.

`augment(images, generator=None)` takes uint8, or float in 0 to 1, `[N, C, H, W]`, and gives the same shape and dtype.
Every image draws its own numbers from the generator, or from torch's global one: seeded alike, it does the same.

All that moves pixels (affine, crop, flip, elastic) becomes one resampling (see `resample`), which comes before what
changes colours, whatever the order written.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from likewise import spec
from likewise.data.resample import Augment, Random, Step, piece_of

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
    "mix",
    "noise",
    "none",
    "photo",
    "random_resized_crop",
    "strong",
]

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue look (ITU-R 601-2)


def uniform(x: Tensor, low: float, high: float, generator: Random, *shape: int) -> Tensor:
    """One number an image (or `shape` of them) between low and high."""
    drawn = torch.rand(len(x), *shape, device=x.device, dtype=x.dtype, generator=generator)
    return low + (high - low) * drawn


def chance(x: Tensor, p: float, generator: Random) -> Tensor:
    """`[N, 1, 1, 1]`: whether an image is meant."""
    return (uniform(x, 0, 1, generator) < p)[:, None, None, None]


def matrix(x: Tensor, rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """theta [N,3,3] from two rows whose entries are one number for all, or one an image."""
    filled = [
        [e if isinstance(e, Tensor) else x.new_full((len(x),), e) for e in row] for row in (*rows, (0.0, 0.0, 1.0))
    ]
    return torch.stack([torch.stack(row, -1) for row in filled], 1)


def affine(*, rotate: float = 0.0, scale: float = 0.0, shear: float = 0.0, translate: float = 0.0) -> Augment:
    """A random affine map: uniform angles and shifts, log-uniform scales, each side its own.

    rotate, shear: up to this many degrees in either direction. scale: up to 1 + scale times larger or smaller.
    translate: by up to this share of the side. Parameters that are not given change nothing.
    """

    def moved(x: Tensor, generator: Random) -> Tensor:
        angle = uniform(x, -1, 1, generator) * math.radians(rotate)
        slant = (uniform(x, -1, 1, generator) * math.radians(shear)).tan()
        wide, high = (uniform(x, -1, 1, generator, 2) * math.log1p(scale)).exp().unbind(-1)
        right, down = (uniform(x, -2, 2, generator, 2) * translate).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        # Rotation after shear after scaling. Sides are measured in halves of the image, so a square stays a square.
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
    """A random part of the image, stretched to the whole. Szegedy et al., 2015.

    least, most: its share of the area; ratio: its sides' ratio is at most that of the image times or divided by this.
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
    """A smooth random deformation, like the differences between handwritings. After Simard et al., 2003.

    amount: standard deviation of the shift of each of knots x knots control points, as a share of the side.
    """

    def bend(x: Tensor, generator: Random) -> Step:
        shift = torch.randn(len(x), 2, knots, knots, device=x.device, dtype=x.dtype, generator=generator)
        down, right = (cubic(x, knots, side) for side in x.shape[2:])
        return lambda x, at: torch.einsum("nckl,kh,lw->nhwc", shift[at] * 2 * amount, down, right)

    return Augment(bends=(bend,))


def cubic(x: Tensor, knots: int, side: int) -> Tensor:
    """`[knots, side]`: how much each knot weighs at each pixel. Two products with it are a bicubic resize."""
    each = torch.eye(knots, device=x.device, dtype=x.dtype)[None, None]
    return F.interpolate(each, (knots, side), mode="bicubic", align_corners=True)[0, 0]


def erase(*, p: float = 0.5, least: float = 0.02, most: float = 0.2, ratio: float = 3.0) -> Augment:
    """A random rectangle becomes the image's mean colour, with probability p. Zhong et al., 2020.

    least, most: its share of the area; ratio: its sides' ratio is at most this.
    """

    def holes(x: Tensor, generator: Random) -> Step:
        area = uniform(x, least, most, generator)
        tilt = (uniform(x, -1, 1, generator) * math.log(ratio) / 2).exp()
        share = torch.stack([area.sqrt() * tilt, area.sqrt() / tilt], 1).clamp(max=1)
        start = uniform(x, 0, 1, generator, 2) * (1 - share)
        sides = x.new_tensor(x.shape[2:])
        edges = (
            torch.stack([start, start + share], 1).mul(sides).sub(0.5).ceil().long()
        )  # pixels whose middle is inside
        meant = chance(x, p, generator).flatten()
        holes = dict(zip(meant.nonzero().flatten().tolist(), edges[meant].tolist(), strict=True))

        def erased(x: Tensor, at: slice) -> Tensor:
            for row, image in enumerate(x, at.start):
                if row in holes:
                    (top, left), (bottom, right) = holes[row]
                    image[:, top:bottom, left:right] = image.mean((1, 2), keepdim=True)
            return x

        return erased

    return Augment(changes=(holes,))


def noise(*, amount: float = 0.05) -> Augment:
    """Gaussian noise whose standard deviation is drawn for each image, up to `amount`."""

    def noises(x: Tensor, generator: Random) -> Step:
        std = uniform(x, 0, amount, generator)[:, None, None, None]
        # a piece draws from a generator of its own: so the pieces of a batch may be made at the same time
        count = piece_of(x, len(x))
        seeds = torch.randint(2**62, (len(x),), device=x.device, generator=generator)

        def noisy(x: Tensor, at: slice) -> Tensor:
            first = at.start // count * count
            size = max(at.stop, min(first + count, len(seeds))) - first  # of the piece; some of it may be at hand only
            own = Generator(x.device).manual_seed(int(seeds[first]))
            drawn = torch.randn(size, *x.shape[1:], device=x.device, dtype=x.dtype, generator=own)
            return x.addcmul_(std[at], drawn[at.start - first : at.stop - first])

        return noisy

    return Augment(changes=(noises,))


def blur(*, p: float = 0.5, radius: int = 2) -> Augment:
    """With probability p, blend with its Gaussian blur (radius in pixels) by a random share."""

    def blurs(x: Tensor, generator: Random) -> Step:
        meant = (uniform(x, 0, 1, generator) < p).nonzero().flatten()
        share = x.new_zeros(len(x)).index_copy(0, meant, uniform(x[meant], 0, 1, generator))

        def blurred(x: Tensor, at: slice) -> Tensor:
            rows = share[at].nonzero().flatten()
            if not len(rows):
                return x
            sharp, weight = x[rows], share[at][rows][:, None, None, None]
            return x.index_copy_(0, rows, torch.lerp(sharp, smooth(sharp, radius), weight))

        return blurred

    return Augment(changes=(blurs,))


def smooth(x: Tensor, radius: int) -> Tensor:
    """Gaussian blur with a standard deviation of radius / 2 pixels."""
    weights = torch.softmax(-2 * (torch.arange(-radius, radius + 1) / radius) ** 2, 0).tolist()
    x = F.pad(x, (radius,) * 4, mode="replicate")
    for dim in (-1, -2):
        # as a sum of shifted images: on a CPU a third of the time of a convolution
        shifted = [x.narrow(dim, start, x.shape[dim] - 2 * radius) for start in range(2 * radius + 1)]
        x = shifted[0] * weights[0]
        for weight, each in zip(weights[1:], shifted[1:], strict=True):
            x.add_(each, alpha=weight)
    return x


def colour(*, brightness: float = 0.3, contrast: float = 0.3, saturation: float = 0.3) -> Augment:
    """Brightness, contrast and saturation each times a random factor between 1 - strength and 1 + strength.

    Contrast is about the image's mean grey; saturation, for three channels, about each pixel's grey.
    """

    def colours(x: Tensor, generator: Random) -> Step:
        # All three are linear in the pixel once the image's mean grey is known: one small matrix for each image.
        factor = uniform(x, -1, 1, generator, 3) * x.new_tensor([brightness, contrast, saturation]) + 1
        bright, contrasty, saturated = factor[:, :, None, None].unbind(1)
        channels = x.shape[1]
        grey = x.new_tensor(LUMA) if channels == 3 else x.new_full((channels,), 1 / channels)
        if channels != 3:
            saturated = torch.ones_like(saturated)
        same = torch.eye(channels, device=x.device, dtype=x.dtype)
        mixing_NCC = bright * contrasty * (saturated * same + (1 - saturated) * grey)
        lifted_N11 = bright * (1 - contrasty)

        def coloured(x: Tensor, at: slice) -> Tensor:
            added_N11 = lifted_N11[at] * (x.mean((2, 3)) @ grey)[:, None, None]
            return torch.bmm(mixing_NCC[at], x.flatten(2)).add_(added_N11).view_as(x).clamp_(0, 1)

        return coloured

    return Augment(changes=(colours,))


def mix(*, p: float = 0.5, most: float = 0.3) -> Augment:
    """With probability p, up to the share `most` of another image of the batch shines through; the label stays.

    In no preset. After Zhang et al., 2018, who mix the labels too.
    """

    def mixes(x: Tensor, generator: Random) -> Step:
        other = torch.randperm(len(x), device=x.device, generator=generator)
        share = uniform(x, 0, most, generator)[:, None, None, None] * chance(x, p, generator)
        return lambda x, at: torch.lerp(x, x[other], share)

    return Augment(changes=(mixes,), whole=True)


def chain(*, steps: Sequence[str]) -> Augment:
    """Several of these, by name: `chain(steps=['flip', 'affine(rotate=10)', 'erase(p=0.2)'])`."""
    return sum((spec.bind("augment", step)() for step in steps), Augment())


def none() -> Augment:
    """Images as they are."""
    return Augment()


def light(*, rotate: float = 5.0, scale: float = 0.1, translate: float = 0.05) -> Augment:
    """A little turn, zoom and shift: safe for anything, also where left and right differ."""
    return affine(rotate=rotate, scale=scale, translate=translate)


def photo(*, least: float = 0.4, p: float = 0.5, colours: float = 0.3, rotate: float = 0.0) -> Augment:
    """Photographs: a random part of them, mirrored or not, in other light.

    least: of the area; p: of mirroring; rotate: by up to this many degrees in either direction.
    """
    part = random_resized_crop(least=least) + flip(p=p)
    turned = part + affine(rotate=rotate) if rotate else part
    return turned + colour(brightness=colours, contrast=colours, saturation=colours)


def handwriting(
    *, rotate: float = 12.0, scale: float = 0.2, shear: float = 12.0, translate: float = 0.04, bend: float = 0.015
) -> Augment:
    """For drawings and letters: random slant, size, place and deformation; areas from outside are paper."""
    moved = affine(rotate=rotate, scale=scale, shear=shear, translate=translate)
    return moved + elastic(amount=bend) + Augment(paper=True)


def strong(*, least: float = 0.25, rotate: float = 15.0, colours: float = 0.5, holes: float = 0.5) -> Augment:
    """Photographs, when there are few of each class: photo, with turns, blur, noise and holes."""
    moved = affine(rotate=rotate) + photo(least=least, colours=colours)
    return moved + blur() + noise() + erase(p=holes)
