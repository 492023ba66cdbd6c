"""Reproductions of earlier projects: their figures beside ours, by their definition and by the standard one."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from likewise.reproduce.experiment import Experiment
from likewise.spec import SpecError, near
from likewise.training.watch import Watch

__all__ = ["EXPERIMENTS", "reproduce"]

# name: (module, one-line description)
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
    """Run or resume an experiment in `out/NAME` and write its section there; returns the section's path.

    settings: field=value for all its recipes, for example max_per_class=1000; listed in the section. train: False
    writes the section from finished runs only. Errors: SpecError for an unknown name; ValueError without finished runs.
    """
    key = name.replace("_", "-")
    if key not in EXPERIMENTS:
        raise SpecError(f"no experiment named {name!r}{near(key, EXPERIMENTS)}")
    folder = Path(out) / key
    module = import_module(f"likewise.reproduce.{EXPERIMENTS[key][0]}")
    folder.mkdir(parents=True, exist_ok=True)
    return module.run(Experiment(folder, train, watch, say, settings))
