"""Why two images are alike: how much each pixel adds to their similarity, and whether that can be believed.

Integrated gradients of the similarity (Sundararajan, Taly and Yan, 2017, https://arxiv.org/abs/1703.01365), for any
network. Two checks come with each map: occlusion (Zeiler and Fergus, 2014, https://arxiv.org/abs/1311.2901), which asks
the network itself what it does without a part, and the same map with permuted weights (Adebayo et al., 2018,
https://arxiv.org/abs/1810.03292), which it must not resemble.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import spec
from likewise.models import Embedder, inputs
from likewise.models.embedder import evaluating

__all__ = ["Saliency", "integrated_gradients", "occlusion", "permuted", "rank_correlation", "saliency"]

STEPS = 32  # of the path from a plain image to the image
PATCHES = 8  # along the shorter side, for occlusion; they overlap by half


class Saliency(NamedTuple):
    """Two images `[C, H, W]` with values from 0 to 1, and maps `[H, W]` of what each pixel adds to the similarity."""

    images: tuple[Tensor, Tensor]
    maps: tuple[Tensor, Tensor]
    similarity: float
    plain: tuple[float, float]  # similarity where the first, or the second, is its mean colour all over
    occlusion: tuple[float, float]  # rank correlation of each map with occlusion
    random: tuple[float, float]  # rank correlation of sizes, with the map of permuted weights


def saliency(model: Embedder, a: object, b: object, *, steps: int = STEPS, seed: int = 0) -> Saliency:
    """Maps of two images, each with the embedding of the other held fixed, and their checks.

    a, b: as `Embedder.embed` takes one image. Each map sums to the similarity less `plain`, up to the error of `steps`.
    Errors: ValueError for a model of rows or signals, and for what is no image.
    """
    if len(model.shape) != 3:
        raise ValueError(f"a map of pixels is for images, and this model takes {list(model.shape)}")
    images = [pixels(model, image) for image in (a, b)]
    other, pairs = permuted(model, seed), ((images[0], images[1]), (images[1], images[0]))
    maps, plain, agreement, random = [], [], [], []
    for one, against in pairs:
        map_HW, at_plain = integrated_gradients(model, one, against, steps=steps)
        drops, windows = occlusion(model, one, against)
        random_HW, _ = integrated_gradients(other, one, against, steps=steps)
        maps.append(map_HW)
        plain.append(at_plain)
        agreement.append(rank_correlation(windowed(map_HW, windows), drops))
        random.append(rank_correlation(map_HW.abs().flatten(), random_HW.abs().flatten()))
    with evaluating(model), torch.no_grad():
        value = float(similarity(model, images[0][None], model(images[1][None])))
    return Saliency(
        (images[0], images[1]),
        (maps[0], maps[1]),
        value,
        (plain[0], plain[1]),
        (agreement[0], agreement[1]),
        (random[0], random[1]),
    )


def pixels(model: Embedder, image: object) -> Tensor:
    """One image as the model sees it, before it is standardised. Errors: ValueError where it is none, or several."""
    parts = list(inputs.batches(image, model.shape, 2, unit_range=model.unit_range, mode=model.fit))
    if len(parts) != 1 or len(parts[0]) != 1:
        raise ValueError("a map of pixels compares one image with another one")
    fitted = inputs.fit(parts[0], model.shape, model.fit)[0]
    return (fitted.float() / 255 if fitted.dtype == torch.uint8 else fitted.float()).to(model.scale.device)


def similarity(model: Embedder, images: Tensor, emb_1D: Tensor) -> Tensor:
    """Of each image `[N, C, H, W]` to one embedding, `[N]`."""
    return spec.bind("sim", model.sim)(model(images), emb_1D)[:, 0]


def integrated_gradients(
    model: Embedder, image: Tensor, against: Tensor, *, steps: int = STEPS
) -> tuple[Tensor, float]:
    """The map of one image, `[H, W]` summed over channels, and the similarity of its mean colour.

    The gradient is averaged over the midpoints of a straight path from the mean colour to the image.
    """
    with evaluating(model):
        with torch.no_grad():
            target = model(against[None])
        start = image.mean((1, 2), keepdim=True).expand_as(image)
        total = torch.zeros_like(image)
        for share in ((torch.arange(steps) + 0.5) / steps).split(8):
            path = torch.lerp(start[None], image[None], share.to(image)[:, None, None, None]).requires_grad_()
            (gradient,) = torch.autograd.grad(similarity(model, path, target).sum(), path)
            total += gradient.sum(0)
        with torch.no_grad():
            at_plain = float(similarity(model, start[None], target))
    return ((image - start) * total / steps).sum(0), at_plain


def occlusion(model: Embedder, image: Tensor, against: Tensor) -> tuple[Tensor, list[tuple[slice, slice]]]:
    """How much the similarity drops where a window takes the image's mean colour, and the windows."""
    height, width = image.shape[1:]
    side = max(1, min(height, width) // PATCHES * 2)
    rows, columns = ([*range(0, length - side, max(1, side // 2)), length - side] for length in (height, width))
    windows = [(slice(y, y + side), slice(x, x + side)) for y in rows for x in columns]
    drops = []
    with evaluating(model), torch.no_grad():
        target = model(against[None])
        whole = similarity(model, image[None], target)
        for start in range(0, len(windows), 64):
            part = windows[start : start + 64]
            hidden = image[None].repeat(len(part), 1, 1, 1)
            for one, (y, x) in zip(hidden, part, strict=True):
                one[:, y, x] = image.mean((1, 2), keepdim=True)
            drops.append(whole - similarity(model, hidden, target))
    return torch.cat(drops), windows


def windowed(map_HW: Tensor, windows: list[tuple[slice, slice]]) -> Tensor:
    return torch.stack([map_HW[window].sum() for window in windows])


def permuted(model: Embedder, seed: int = 0) -> Embedder:
    """The same network with the numbers of every weight in random order: it has learned nothing, but is as large."""
    generator, other = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return other


def rank_correlation(x_N: Tensor, y_N: Tensor) -> float:
    """Spearman's, ties by their mean rank; 0 where one of them is constant.

    >>> round(rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 30.0, 20.0])), 2)
    0.5
    """
    ranks = torch.stack([_ranks(x_N), _ranks(y_N)])
    apart = ranks - ranks.mean(1, keepdim=True)
    norm = apart.square().sum(1).prod().sqrt()
    return float((apart[0] * apart[1]).sum() / norm) if norm > 0 else 0.0


def _ranks(x_N: Tensor) -> Tensor:
    _, place_N, count_U = x_N.double().unique(return_inverse=True, return_counts=True)
    return (count_U.cumsum(0) - (count_U - 1) / 2).double()[place_N]
