"""The runs of an experiment: finished runs are reused, others are resumed or trained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from likewise import recipes
from likewise.data.images import Images
from likewise.data.subset import spaced
from likewise.experiment.build import Parts
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.train import obtain
from likewise.experiment.trial import Extra
from likewise.losses.terms import BatchContext
from likewise.models import evaluating
from likewise.reproduce.section import command
from likewise.spec import bind
from likewise.training.loop import Callback, State, at_epoch_end, partners_of
from likewise.training.watch import Watch

__all__ = ["Experiment", "mean_loss"]

SAMPLED = 5_000  # images per part for the loss after an epoch


@dataclass(frozen=True)
class Experiment:
    """Folder and settings of an experiment, and whether to train missing runs."""

    folder: Path
    train: bool = True
    watch: Watch | None = None
    say: Callable[[str], None] = lambda sentence: None
    settings: tuple[str, ...] = ()  # field=value for every recipe, for example fewer images

    def recipe(self, name: str) -> Recipe:
        """A shipped recipe with the experiment's settings."""
        return getattr(recipes, name)().override(*self.settings)

    def command(self, name: str, recipe: Recipe | None = None) -> str:
        """The command that trains it outside the experiment."""
        return command(name, getattr(recipes, name)(), recipe or self.recipe(name))

    def run(self, name: str, recipe: Recipe, *, extra: Extra | None = None) -> Run | None:
        """The run of a recipe; None if it is unfinished and `train` is False."""
        path = self.folder / "runs" / name
        if not self.train and not (path / "metrics.json").exists():
            return None
        announce = lambda how: self.say(f"{name}: {how}" if how else name)  # noqa: E731
        return obtain(path, recipe, watch=self.watch, extra=extra, announce=announce)

    def run_with_losses(self, name: str, recipe: Recipe) -> Run | None:
        """As `run`, logging the loss on training and on test images after every epoch."""
        return self.run(name, recipe, extra=self.both_losses)

    def both_losses(self, run: Run | None, parts: Parts) -> list[Callback]:
        def write(record: dict) -> None:
            for sink in (run and run.append, self.watch):
                if sink:
                    sink(record)

        return [at_epoch_end(1, both_losses(parts, write))]


def both_losses(parts: Parts, write: Watch) -> Callback:
    """A callback that logs the mean loss over training and over test images."""
    parts_measured = {
        "train_loss": spaced(parts.feed.images, SAMPLED),
        "test_loss": spaced(parts.images.part("test"), SAMPLED),
    }

    def call(state: State) -> None:
        losses = {
            name: mean_loss(state, images, parts.recipe.sampler)
            for name, images in parts_measured.items()
            if len(images)
        }
        write({"kind": "losses", "step": state.step, "epoch": state.epochs_done, **losses})

    return call


@torch.no_grad()
def mean_loss(state: State, images: Images, sampler: str) -> float:
    """The loss over the sampler's first epoch as one batch; deterministic pairs."""
    sampler_fn, device = bind("sampler", sampler), next(state.final.parameters()).device
    (at,) = sampler_fn(images.labels, batch=len(images), seed=0, epoch=0)
    with evaluating(state.final), evaluating(state.loss_fn):
        features = torch.cat(
            [state.final.features(images.batch(part).to(device)) for part in torch.arange(len(images)).split(500)]
        )
        context = BatchContext(images.batch(at).to(device), features[at], partners_of(sampler_fn))
        return float(state.loss_fn(state.final.head(features)[at], images.labels[at].to(device), context))
