"""Whole trainings of a recipe in this process, alone or as one of several: its weights, and interrupted ones."""

from pathlib import Path

import torch
from torch import Tensor

from likewise import distributed
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.interrupt import INTERRUPTED
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.train import train
from likewise.experiment.trial import trial
from likewise.training.loop import Callback, State

__all__ = ["metrics_of", "weights_of"]


def weights_of(recipe: Recipe, folder: Path, stop_at: int = 0) -> dict[str, Tensor]:
    """The weights of the finished training in a run folder, resumed where there is a checkpoint.

    stop_at: the step at which rank 0 is interrupted; there are no weights then.
    """
    if distributed.is_main():
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)
    distributed.barrier()
    parts = build(resolve_defaults(recipe), load_images(recipe))
    try:
        done = trial(parts, run=Run(folder), extra=lambda run, parts: [stopping(stop_at)] if stop_at else [])
    except KeyboardInterrupt:
        return {}
    return {name: x.clone() for name, x in done.state.final.state_dict().items()} | {
        "step": torch.tensor(done.state.step)
    }


def stopping(step: int) -> Callback:
    def call(state: State) -> None:
        if state.step == step:
            state.stop = INTERRUPTED

    return call


def metrics_of(recipe: Recipe, out: Path) -> str:
    """Where `train` has written a run."""
    return str(train(recipe, out=out, name="run")[0].path)
