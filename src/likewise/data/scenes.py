"""Shots of one scene (bursts, frames of one video, near-copies), found without a model: for splits and quick checks.

The scene (background, light, hand) shows in an image's deviation from its class: what it shows minus the class mean.
Two shots of a scene deviate alike; images of other classes show the similarity expected by chance, so no threshold of
the colours is set by hand. Small grey images have no second sign, and must be copies to the eye (SAME).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.images import SPLITS, Images

__all__ = ["Overlap", "clusters", "colours", "deviations", "overlaps", "pairs", "thumbs"]

SIDE = 32  # pixels per side of thumbnails
COARSE = 16  # of their grey copies that are compared
SHADES = 6  # levels per colour channel
CHANCE = 0.01  # false positive rate of each of the two signs
LEAST, USUAL = 0.65, 200  # of the threshold by chance: its minimum, and the images that it looks among at least
TELLING = 0.05  # a share of near-copies from which they are worth a sentence
SAME = 0.95  # minimum similarity of grey images
WINDOW = 2000  # an image is compared with this many following images of its class: shots of a scene are listed together
AT_ONCE = 1024  # images per batch
QUERIES, REFERENCES = 256, 2000  # images that a quick look compares


class Overlap(NamedTuple):
    """How many of the `checked` images of a part have a near-copy in another one."""

    part: str
    other: str
    copies: int
    checked: int

    @property
    def share(self) -> float:
        return self.copies / max(1, self.checked)


def thumbs(images: Images) -> Tensor | None:
    """Thumbnails, uint8 `[N, C, SIDE, SIDE]`, floats scaled to 0 to 255; None for feature rows."""
    if len(images.shape) != 3:
        return None
    parts = [small(images.batch(at).cpu()) for at in torch.arange(len(images)).split(AT_ONCE)]
    return torch.cat(parts)


def small(pixels_NCHW: Tensor) -> Tensor:
    floats = pixels_NCHW.float()
    if pixels_NCHW.dtype != torch.uint8:
        low, high = floats.amin((1, 2, 3), keepdim=True), floats.amax((1, 2, 3), keepdim=True)
        floats = 255 * (floats - low) / (high - low).clamp(min=1e-12)
    return F.interpolate(floats, (SIDE, SIDE), mode="bilinear", antialias=True).round().byte()


def deviations(rows_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Deviation of rows from their class mean, at length 1."""
    class_N = labels_N.unique(return_inverse=True)[1]
    mean_CD = torch.zeros(int(class_N.max()) + 1, rows_ND.shape[1]).index_add_(0, class_N, rows_ND)
    mean_CD /= class_N.bincount()[:, None]
    return F.normalize(rows_ND - mean_CD[class_N], dim=1)


def colours(small_N3SS: Tensor) -> Tensor:
    """Square roots of a histogram of 216 colours, `[N, 216]`; the root damps large uniform areas."""
    shade_N3P = small_N3SS.flatten(2).long() * SHADES // 256
    colour_NP = (shade_N3P[:, 0] * SHADES + shade_N3P[:, 1]) * SHADES + shade_N3P[:, 2]
    shares_ND = torch.zeros(len(colour_NP), SHADES**3)
    shares_ND.scatter_add_(1, colour_NP, torch.full(colour_NP.shape, 1 / max(1, colour_NP.shape[1])))
    return shares_ND.sqrt()


def pairs(images: Images, *, seed: int = 0) -> np.ndarray:
    """int64 [P, 2]: places of two images of one class that are shots of one scene, or the same pixels.

    Feature rows: equal ones. Memory O(N), time O(N * min(N, WINDOW)).
    """
    small_NCSS = thumbs(images)
    if small_NCSS is None:
        return equal_rows(images)
    labels_N = images.labels.cpu()
    signs = [deviations(coarse(small_NCSS), labels_N)]
    cuts = [SAME]
    if small_NCSS.shape[1] == 3 and len(labels_N.unique()) > 1:
        signs.append(deviations(colours(small_NCSS), labels_N))
        cuts = [by_chance(x_ND, labels_N, seed) for x_ND in signs]
    raw_ND = small_NCSS.flatten(1)
    linked = []
    for c in labels_N.unique().tolist():
        at_M = (labels_N == c).nonzero()[:, 0]
        for start in range(0, len(at_M), AT_ONCE):
            query_Q, near_R = at_M[start : start + AT_ONCE], at_M[start : start + AT_ONCE + WINDOW]
            link_QR = torch.ones(len(query_Q), len(near_R), dtype=torch.bool).triu(1)
            for x_ND, cut in zip(signs, cuts, strict=True):
                link_QR &= x_ND[query_Q] @ x_ND[near_R].mT >= cut
            hit_P2 = link_QR.nonzero()
            linked.append(torch.stack([query_Q[hit_P2[:, 0]], near_R[hit_P2[:, 1]]], 1).numpy())
    same = equal(raw_ND.numpy(), labels_N.numpy())
    return np.concatenate([*linked, same]).astype(np.int64).reshape(-1, 2)


def coarse(small_NCSS: Tensor) -> Tensor:
    """Grey rows `[N, COARSE * COARSE]`, centred and of length 1."""
    grey_ND = F.avg_pool2d(small_NCSS.float().mean(1, keepdim=True), SIDE // COARSE).flatten(1)
    return F.normalize(grey_ND - grey_ND.mean(1, keepdim=True), dim=1)


def by_chance(x_ND: Tensor, labels_N: Tensor, seed: int, most: int = 2000) -> float:
    """The similarity to equally many images of other classes that a share CHANCE of the images reaches."""
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randperm(len(x_ND), generator=generator)[:most]
    counts_N = labels_N.unique(return_inverse=True, return_counts=True)
    of_class = int(counts_N[2].float().median())
    sim_SS = (x_ND[sample] @ x_ND[sample].mT).masked_fill(labels_N[sample, None] == labels_N[sample], -1.0)
    return max(LEAST, float(sim_SS[:, : max(USUAL, of_class)].amax(1).quantile(1 - CHANCE)))


def equal_rows(images: Images) -> np.ndarray:
    rows_ND = images.batch(torch.arange(len(images))).cpu().flatten(1).numpy()
    return equal(rows_ND, images.labels.cpu().numpy())


def equal(rows_ND: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Pairs of equal rows of one class: each with the first of its kind. A row that is constant is no sign."""
    first: dict[tuple[int, bytes], int] = {}
    same = []
    varied_N = rows_ND.min(1) < rows_ND.max(1) if rows_ND.shape[1] > 1 else np.ones(len(rows_ND), bool)
    for at in np.flatnonzero(varied_N).tolist():
        known = first.setdefault((int(labels_N[at]), rows_ND[at].tobytes()), at)
        if known != at:
            same.append((known, at))
    return np.array(same, dtype=np.int64).reshape(-1, 2)


def clusters(images: Images, *, seed: int = 0) -> np.ndarray:
    """int64 [N]: the number of each image's scene, in order of first appearance; one of its own for most."""
    parent = np.arange(len(images))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = int(parent[at])
        return at

    for first, second in pairs(images, seed=seed).tolist():
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    roots = np.array([root(at) for at in range(len(images))], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1]


def overlaps(images: Images, *, seed: int = 0) -> list[Overlap]:
    """A quick check for near-copies of test in train, val in train and test in val, on a seeded sample of classes.

    Whole classes are drawn until QUERIES images of the first part, or REFERENCES in all, are there.
    """
    return [
        overlap(images, part, other, seed=seed)
        for part, other in (("test", "train"), ("val", "train"), ("test", "val"))
        if (images.split == SPLITS.index(part)).any() and (images.split == SPLITS.index(other)).any()
    ]


def overlap(images: Images, part: str, other: str, *, seed: int) -> Overlap:
    split_N, labels_N = images.split.cpu(), images.labels.cpu()
    first_N, second_N = split_N == SPLITS.index(part), split_N == SPLITS.index(other)
    shared = np.intersect1d(labels_N[first_N].numpy(), labels_N[second_N].numpy())
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    queries = references = 0
    for c in rng.permutation(shared).tolist():
        own = (labels_N == c).numpy()
        query = rng.permutation(np.flatnonzero(own & first_N.numpy()))[: QUERIES - queries]
        # neighbours in the list first: a burst is listed together, and a sample of a large class would miss it
        own_refs = np.flatnonzero(own & second_N.numpy())
        if len(own_refs) > REFERENCES // 2:
            near = np.unique(np.searchsorted(own_refs, query)[:, None] + np.arange(-4, 4))
            own_refs = own_refs[near[(near >= 0) & (near < len(own_refs))]]
        chosen += [query, own_refs]
        queries, references = queries + len(query), references + len(own_refs)
        if queries >= QUERIES or references >= REFERENCES:
            break
    if not chosen:
        return Overlap(part, other, 0, 0)
    sample = images.take(torch.from_numpy(np.sort(np.concatenate(chosen))))
    parts = sample.split.cpu().numpy()
    alike = pairs(sample, seed=seed)
    across = alike[parts[alike[:, 0]] != parts[alike[:, 1]]]
    hit = {a if parts[a] == SPLITS.index(part) else b for a, b in across.tolist()}
    return Overlap(part, other, len(hit), queries)
