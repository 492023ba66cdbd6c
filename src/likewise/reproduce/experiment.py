"""The runs of an experiment: finished ones are used as they are, others are gone on with or trained."""

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

LOOKED_AT = 5_000  # pictures of a part that a loss is measured on after an epoch


@dataclass(frozen=True)
class Experiment:
    """Where an experiment's runs lie, and whether missing ones are to be trained."""

    folder: Path
    train: bool = True
    watch: Watch | None = None
    say: Callable[[str], None] = lambda sentence: None
    settings: tuple[str, ...] = ()  # field=value for every recipe, such as fewer pictures

    def recipe(self, name: str) -> Recipe:
        """A shipped recipe with the experiment's settings."""
        return getattr(recipes, name)().override(*self.settings)

    def command(self, name: str, recipe: Recipe | None = None) -> str:
        """What to type to train it without the experiment."""
        return command(name, getattr(recipes, name)(), recipe or self.recipe(name))

    def run(self, name: str, recipe: Recipe, *, extra: Extra | None = None) -> Run | None:
        """The run of a recipe; None where it is not finished and not to be trained."""
        path = self.folder / "runs" / name
        if not self.train and not (path / "metrics.json").exists():
            return None
        announce = lambda how: self.say(f"{name}: {how}" if how else name)  # noqa: E731
        return obtain(path, recipe, watch=self.watch, extra=extra, announce=announce)

    def run_with_losses(self, name: str, recipe: Recipe) -> Run | None:
        """The same, with the loss on training and on test images after every epoch in its log."""
        return self.run(name, recipe, extra=self.both_losses)

    def both_losses(self, run: Run | None, parts: Parts) -> list[Callback]:
        def write(record: dict) -> None:
            for sink in (run and run.append, self.watch):
                if sink:
                    sink(record)

        return [at_epoch_end(1, both_losses(parts, write))]


def both_losses(parts: Parts, write: Watch) -> Callback:
    """Write a record of the mean loss over training and over test pictures."""
    seen = {
        "train_loss": spaced(parts.feed.images, LOOKED_AT),
        "test_loss": spaced(parts.images.part("test"), LOOKED_AT),
    }

    def call(state: State) -> None:
        losses = {name: mean_loss(state, images, parts.recipe.sampler) for name, images in seen.items() if len(images)}
        write({"kind": "losses", "step": state.step, "epoch": state.epochs_done, **losses})

    return call


@torch.no_grad()
def mean_loss(state: State, images: Images, sampler: str) -> float:
    """The loss over every batch of the sampler's first epoch at once; the same pairs whenever it is asked for."""
    drawn, device = bind("sampler", sampler), next(state.final.parameters()).device
    (at,) = drawn(images.labels, batch=len(images), seed=0, epoch=0)
    with evaluating(state.final), evaluating(state.loss_fn):
        features = torch.cat(
            [state.final.features(images.batch(part).to(device)) for part in torch.arange(len(images)).split(500)]
        )
        shown = BatchContext(images.batch(at).to(device), features[at], partners_of(drawn))
        return float(state.loss_fn(state.final.head(features)[at], images.labels[at].to(device), shown))
