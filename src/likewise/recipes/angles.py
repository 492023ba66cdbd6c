"""Whether images are upright, or come at any angle as coins on a table, cells and aerial photographs do."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.images import Images
from likewise.imaging.resize import fit

__all__ = ["BY_CHANCE", "NOT_JUDGED", "Angles", "angles"]

TURNS = 16  # angles that an image is turned to, a full turn in all
BY_CHANCE = 3 / TURNS  # the share of upright ones where all angles are as likely
CLASSES, IMAGES = 40, 30  # at most, drawn
FEWEST = 60  # judged images without which nothing is said
COPY = 0.97  # correlation from which two images are the same photograph


class Angles(NamedTuple):
    """Of `judged` images the share whose closest match within the class is upright to within 22.5 degrees."""

    upright: float = 1.0
    judged: int = 0

    @property
    def any(self) -> bool:
        """Images come at any angle: the share is nearer to that of chance than to that of upright photographs."""
        return self.judged >= FEWEST and self.upright < 0.45


NOT_JUDGED = Angles()


def angles(images: Images, *, seed: int = 0) -> Angles:
    """Turn training images against the others of their class, at `TURNS` angles.

    An image is compared with those of its class and of other groups by the correlation of grey values in the circle
    that stays in the frame, near-copies left out; the angle of the highest one counts. Images: small ones, uint8
    `[C, H, W]`. Photographs of upright objects match upright, those from above at any angle.
    """
    train = images.part("train")
    labels_N, rng = train.labels.cpu().numpy(), np.random.default_rng(seed)
    groups_N = np.unique(train.groups, return_inverse=True)[1] if train.groups else np.arange(len(labels_N))
    upright = judged = 0
    height, width = images.shape[1:]
    for c in rng.permutation(np.unique(labels_N))[:CLASSES].tolist():
        rows = rng.permutation(np.flatnonzero(labels_N == c))[:IMAGES]
        grey_M1HW = fit(train.batch(rows.tolist()), (1, height, width))
        best_M = matched(grey_M1HW[:, 0], groups_N[rows])
        upright += int(np.isin(best_M, (0, 1, TURNS - 1)).sum())
        judged += len(best_M)
    return Angles(upright / judged, judged) if judged else NOT_JUDGED


def matched(grey_MHW: Tensor, groups_M: np.ndarray) -> np.ndarray:
    """int64: of each image that has another to be compared with, the turn at which it correlates most with one."""
    count = len(grey_MHW)
    unit_TMD = turned(grey_MHW.float())
    sim_TMM = torch.einsum("id,tjd->tij", unit_TMD[0], unit_TMD).numpy()
    apart_MM = (groups_M[:, None] != groups_M) & (sim_TMM.max(0) <= COPY)
    sim_TMM = np.where(apart_MM, sim_TMM, -np.inf)
    flat_MX = sim_TMM.transpose(1, 2, 0).reshape(count, count * TURNS)
    return flat_MX.argmax(1)[apart_MM.any(1)] % TURNS


def turned(grey_MHW: Tensor) -> Tensor:
    """float32 `[T, M, D]`: values within the inner circle at each turn, of mean 0 and length 1."""
    count, height, width = grey_MHW.shape
    y_H1 = torch.linspace(-1 + 1 / height, 1 - 1 / height, height)[:, None]
    x_1W = torch.linspace(-1 + 1 / width, 1 - 1 / width, width)
    inside_HW = y_H1.square() + x_1W.square() < 1
    rows = []
    for turn in range(TURNS):
        angle = 2 * math.pi * turn / TURNS
        matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
        grid = F.affine_grid(matrix.expand(count, 2, 3), [count, 1, height, width], align_corners=False)
        pixels_M1HW = F.grid_sample(grey_MHW[:, None], grid, padding_mode="border", align_corners=False)
        rows.append(pixels_M1HW[:, 0, inside_HW])
    values_TMD = torch.stack(rows)
    return F.normalize(values_TMD - values_TMD.mean(-1, keepdim=True), dim=-1)
