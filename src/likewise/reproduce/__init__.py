"""A forerunner's experiment, run whole: its figures beside ours under its definition and under the right one."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from likewise.reproduce.experiment import Experiment
from likewise.spec import SpecError, near
from likewise.training.watch import Watch

__all__ = ["EXPERIMENTS", "reproduce"]

# Name: the module that holds the experiment, and a line on it.
EXPERIMENTS = {
    "friends": ("friends", "four losses and a VAE to a plane, MNIST and Fashion-MNIST"),
    "mlp-pairs": ("fashion_mlp", "dense siamese networks of 3 and 4 layers on Fashion-MNIST, and the order of pairs"),
    "epoch-series": ("epoch_series", "a classifier against a siamese network on MNIST, epoch by epoch"),
    "video-objects": ("video_objects", "crops from videos by triplets and mined negatives, and what the split hides"),
    "folder-trainer": ("folder_trainer", "photographs by two networks of its own and a published one, pairs, triplets"),
}


def reproduce(
    name: str,
    *settings: str,
    out: str | os.PathLike = "reproductions",
    train: bool = True,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Run an experiment into `out/NAME`, or go on with it, and write its section there; returns the section's path.

    settings: field=value for every recipe of it, such as max_per_class=1000; the section says so. train: without it
    nothing is trained, and the section is of what has been. Errors: SpecError for an unknown name;
    ValueError where nothing was trained and nothing is to be.
    """
    key = name.replace("_", "-")
    if key not in EXPERIMENTS:
        raise SpecError(f"no experiment named {name!r}{near(key, EXPERIMENTS)}")
    folder = Path(out) / key
    module = import_module(f"likewise.reproduce.{EXPERIMENTS[key][0]}")
    folder.mkdir(parents=True, exist_ok=True)
    return module.run(Experiment(folder, train, watch, say, settings))
