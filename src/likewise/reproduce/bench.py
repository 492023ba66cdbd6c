"""The runs of an experiment: finished ones are used as they are, others are gone on with or trained."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from likewise import recipes
from likewise.assemble import Parts, build, load_images, settled
from likewise.callbacks import checkpoint, log, snapshot
from likewise.data.images import Images
from likewise.evaluate import embed
from likewise.launch import Watch, resume, running, sample, spaced, train
from likewise.losses.terms import Encoded
from likewise.models import evaluating
from likewise.recipe import Recipe, epochs_of
from likewise.reproduce.section import command
from likewise.run import Run, load_checkpoint
from likewise.scoring import evaluate_run
from likewise.spec import bind
from likewise.training import Callback, State, at_epoch_end, fit, partners_of

__all__ = ["Bench", "mean_loss"]

LOOKED_AT = 5_000  # pictures of a part that a loss is measured on after an epoch


@dataclass(frozen=True)
class Bench:
    """Where an experiment's runs lie, and whether missing ones are to be trained."""

    folder: Path
    train: bool = True
    watch: Watch | None = None
    say: Callable[[str], None] = lambda sentence: None
    settings: tuple[str, ...] = ()  # field=value for every recipe, such as fewer pictures

    def recipe(self, name: str) -> Recipe:
        """A shipped recipe with the bench's settings."""
        return getattr(recipes, name)().override(*self.settings)

    def command(self, name: str, recipe: Recipe | None = None) -> str:
        """What to type to train it without the bench."""
        return command(name, getattr(recipes, name)(), recipe or self.recipe(name))

    def run(self, name: str, recipe: Recipe) -> Run | None:
        """The run of a recipe; None where it is not finished and not to be trained."""
        path = self.folder / "runs" / name
        if (path / "metrics.json").exists():
            return Run(path)
        if not self.train:
            return None
        self.say(name)
        if (path / "recipe.toml").exists():
            return resume(path, watch=self.watch)[0]
        return train(recipe, out=path.parent, name=name, watch=self.watch)[0]

    def run_with_losses(self, name: str, recipe: Recipe) -> Run | None:
        """The same, with the loss on training and on test pictures after every epoch in its log, and no report."""
        path = self.folder / "runs" / name
        if (path / "metrics.json").exists():
            return Run(path)
        if not self.train:
            return None
        self.say(name)
        recipe = settled(recipe)
        parts = build(recipe, load_images(recipe))
        run = begun(path, parts)
        fit(running(parts), followed(run, parts, self.watch))
        parts.state.final.save(run.model)
        evaluate_run(run, model=parts.state.final, images=parts.images, state=parts.state)
        return run


def begun(path: Path, parts: Parts) -> Run:
    """A run at its beginning, or where its last checkpoint left it."""
    run = Run(path)
    if run.last.exists():
        load_checkpoint(run.last, parts.state)
        run.forget_after(parts.state.step)
        return run
    (path / "snapshots").mkdir(parents=True, exist_ok=True)
    run.write("recipe.toml", parts.recipe.to_toml())
    run.write("metrics.jsonl", "")
    embed(parts.state.final, sample(parts.images)).save(run.snapshot(0))
    return run


def followed(run: Run, parts: Parts, watch: Watch | None) -> list[Callback]:
    """What is kept of the training; the checkpoint comes last and holds what the others did."""
    epochs = epochs_of(parts.recipe.snapshot_epochs, parts.recipe.epochs)

    def write(record: dict) -> None:
        run.append(record)
        if watch:
            watch(record)

    shown = partial(embed, images=sample(parts.images))
    return [log(write), at_epoch_end(1, both_losses(parts, write)), snapshot(run, shown, epochs), checkpoint(run)]


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
        shown = Encoded(images.batch(at).to(device), features[at], partners_of(drawn))
        return float(state.loss_fn(state.final.head(features)[at], images.labels[at].to(device), shown))
