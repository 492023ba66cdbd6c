"""Omniglot: characters of alphabets never seen in training, told apart from a single drawing of each."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from likewise.models.networks import Backbone
from likewise.recipe import Recipe

__all__ = ["omniglot", "strokes"]


def omniglot() -> Recipe:
    """Alphabets never seen in training: 20-way one-shot, on the official within-alphabet runs.

    command  likewise train omniglot; then one_shot_error(Embedder.load("runs/omniglot"), omniglot_runs()) in Python
    result   error 3.0 % (95 % interval 1.3 to 5.3, 12 of 400), seed 0; 2.3 % (1.0 to 3.8) with views=32
    time     22 CPU minutes of training (27 minutes on 2 cores with other work going on)

    Trained on the background alphabets alone. Batches hold characters of two alphabets, so that what must be told apart
    is what is alike; each character turned and mirrored is seven more.
    """
    return Recipe(
        data="omniglot",
        val=0.0,
        size=40,
        turns=4,
        mirror=True,
        augment="handwriting",
        network="likewise.recipes.omniglot:strokes",
        dim=0,
        loss="supcon(temperature=0.1)",
        sampler="likewise.data.kin:kin(families=2, classes=32, images=2)",
        epochs=3,
        optimizer="adamw(weight_decay=0.02)",
        lr=3e-3,
        schedule="one_cycle(warmup=0.15)",
        ema=0.998,
        eval_every_epochs=0,
    )


def strokes(
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (32, 64, 128, 128, 256),
    pools: Sequence[int] = (1, 1, 1, 0, 1),
    width: int = 256,
) -> nn.Module:
    """3 x 3 convolutions with BatchNorm and ReLU, a pool after those marked 1, then `width` numbers with BatchNorm.

    The last layer sees where on the paper a feature lies, and its BatchNorm centres the embedding, so that two unlike
    drawings have similarity 0. Pooled before it is normalised: on a CPU a quarter faster.
    """
    layers: list[nn.Module] = []
    for (before, after), pool in zip(pairwise([shape[0], *channels]), pools, strict=True):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers += [nn.MaxPool2d(2, ceil_mode=True)] * bool(pool) + [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    layers.append(nn.Flatten())
    with torch.no_grad():
        flat = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]
    last = [nn.Linear(flat, width, bias=False), nn.BatchNorm1d(width, affine=False)]
    return Backbone([*layers, *last], width).train()
