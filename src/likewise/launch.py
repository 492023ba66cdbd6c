"""A recipe becomes a run: train, keep, evaluate; and goes on with one that was interrupted."""

import dataclasses
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from likewise import optim, spec
from likewise.assemble import Parts, build, load_images, settled
from likewise.callbacks import (
    averaged,
    checkpoint,
    keep_best,
    log,
    lower_when_flat,
    note_draw,
    snapshot,
    stop_when_flat,
    tensorboard,
    validate,
)
from likewise.data.images import Images
from likewise.doctor import Setup
from likewise.evaluate import embed, evaluate
from likewise.models.blocks import thawing
from likewise.recipe import Recipe, epochs_of
from likewise.run import Run, folder_in, load_checkpoint, save_checkpoint
from likewise.scoring import evaluate_run
from likewise.spreadsheets import csv_text
from likewise.symptoms import watch_collapse
from likewise.training import Callback, State, at_epoch_end, fit, steps

__all__ = ["Watch", "judge", "resume", "running", "train"]

Watch = Callable[[dict[str, Any]], None]

# A validation looks for neighbours in a sample of the training part: its score only has to rank epochs.
VALIDATION_REFERENCES = 5_000
SNAPSHOT_PICTURES = 2_000
INTERRUPTED = "interrupted"
# What the stage before a metric training has of its own.
CLASSIFIER: dict[str, Any] = {"loss": "softmax", "sim": "", "normalize": None, "miner": "", "memory": 0}
CLASSIFIER |= {"sampler": "shuffled(batch=128)", "pretrain_epochs": 0, "patience": 0, "max_seconds": 0.0}


def train(
    recipe: Recipe, *, out: str | os.PathLike = "runs", name: str | None = None, watch: Watch | None = None
) -> tuple[Run, Images]:
    """Train a recipe into a new run folder and evaluate it. `watch` sees every record as it is logged."""
    if name is not None:
        folder_in(out, name)
    recipe = settled(recipe)
    parts = build(recipe, load_images(recipe, stage(watch, "reading pictures")))
    lowering(parts)
    run = Run.create(out, default_name(recipe) if name is None else name)
    run.write("recipe.toml", recipe.to_toml())
    write_skipped(run, parts.images)
    return finish(run, pretrained(run, parts, watch), watch)


def resume(path: str | os.PathLike, *, watch: Watch | None = None) -> tuple[Run, Images]:
    """Go on with a run from its last checkpoint, to the very weights it would have had."""
    run = Run.open(path)
    recipe = Recipe.load(run.recipe)
    parts = build(recipe, load_images(recipe, stage(watch, "reading pictures")))
    if not run.last.exists():
        return finish(run, pretrained(run, parts, watch), watch)
    return finish(run, picked_up(run, parts), watch)


def picked_up(run: Run, parts: Parts) -> Parts:
    """The parts as the run's last checkpoint left them."""
    load_checkpoint(run.last, parts.state)
    run.forget_after(parts.state.step)
    return parts


def pretrained(run: Run, parts: Parts, watch: Watch | None) -> Parts:
    """The parts as they are, or with a network that was first trained as a classifier, where the recipe asks for it.

    That stage is a run of its own in the folder `pretraining`, without test scores.
    """
    recipe, first = parts.recipe, Run(run.path / "pretraining")
    if not recipe.pretrain_epochs:
        return parts
    if not first.model.exists():
        classifier = recipe.replace(**CLASSIFIER, epochs=recipe.pretrain_epochs)
        stage_parts = build(settled(classifier), parts.images)
        if first.last.exists():
            stage_parts = picked_up(first, stage_parts)
        else:
            (first.path / "snapshots").mkdir(parents=True, exist_ok=True)
            first.write("recipe.toml", stage_parts.recipe.to_toml())
        learn(first, stage_parts, watch, whole=run)
    return build(recipe.replace(weights=str(first.model)), parts.images)


def finish(run: Run, parts: Parts, watch: Watch | None) -> tuple[Run, Images]:
    """Train what is left, keep the model, evaluate."""
    learn(run, parts, watch, whole=run)
    if parts.recipe.whiten:
        stage(watch, "whitening")(0, 0)
        train = parts.images.part("train")
        parts.state.final.whiten(train, train.labels, shrink=parts.recipe.whiten)
    stage(watch, "scoring")(0, 0)
    evaluate_run(run, model=parts.state.final, images=parts.images, state=parts.state)
    return run, parts.images


def learn(run: Run, parts: Parts, watch: Watch | None, *, whole: Run) -> None:
    """Train what is left and keep the model. Interrupted, the run is left ready to be resumed, as part of `whole`."""
    state = parts.state
    if state.step == 0:
        begin(run, parts)
    with records(run, watch) as write, interruptible() as asked:
        fit(running(parts), callbacks(run, parts, write, asked))
    if state.stop == INTERRUPTED:
        raise KeyboardInterrupt(
            f"stopped at step {state.step} and saved; go on with: likewise train --resume {whole.path}"
        )
    if parts.recipe.patience and run.best.exists():
        load_checkpoint(run.best, state, numbers=False)
    state.final.save(run.model)


def stage(watch: Watch | None, name: str) -> Callable[[int, int], None]:
    """Tells who watches what is being done, and how far it is; (0, 0) where that is not known."""

    def tell(done: int, total: int) -> None:
        if watch:
            watch({"kind": "stage", "stage": name, "done": done, "total": total})

    return tell


def begin(run: Run, parts: Parts) -> None:
    """Before the first step: the snapshot of epoch 0, when it is wanted, and a checkpoint to come back to."""
    if 0 in epochs_of(parts.recipe.snapshot_epochs, parts.recipe.epochs):
        embed(parts.state.final, sample(parts.images)).save(run.snapshot(0))
    save_checkpoint(run.last, parts.state)


def running(parts: Parts) -> Iterator[State]:
    """The loop of a recipe's parts, ready to be consumed."""
    recipe = parts.recipe
    return steps(
        parts.state,
        parts.feed,
        schedule=spec.bind("schedule", recipe.schedule),
        lr=recipe.lr,
        clip=recipe.clip or None,
        device=parts.device,
        amp=recipe.amp == "always" or (recipe.amp == "gpu" and parts.device.type == "cuda"),
        accumulate=recipe.accumulate,
        freeze=thawing(parts.state.model.backbone, recipe.frozen_epochs, recipe.unfreeze_epochs),
    )


def callbacks(run: Run, parts: Parts, write: Watch, asked: threading.Event) -> list[Callback]:
    """In the order in which they may rely on one another; the checkpoint comes last and holds what all of them did."""
    recipe, images = parts.recipe, parts.images
    found: list[Callback] = [log(write), note_draw(write)]
    if recipe.ema:
        found.append(averaged(recipe.ema))
    if recipe.eval_every_epochs and len(images.part("val")):
        found.append(at_epoch_end(recipe.eval_every_epochs, validation(run, parts, write)))
    if wanted := epochs_of(recipe.snapshot_epochs, recipe.epochs):
        found.append(snapshot(run, partial(embed, images=sample(images)), wanted))
    if recipe.doctor:
        found.append(doctor(run, parts, write))
    return [*found, stop_when_asked(asked), checkpoint(run)]


def doctor(run: Run, parts: Parts, write: Watch) -> Callback:
    """Watch for collapse; what is wrong is one sentence on stderr, once."""
    setup = Setup.of(parts.recipe.to_dict(), len(parts.feed.images.classes))
    say = partial(print, "likewise:", file=sys.stderr, flush=True)
    return watch_collapse(
        parts.state, parts.feed, parts.images.part("val"), setup, write=write, say=say, past=run.records()
    )


def validation(run: Run, parts: Parts, write: Watch) -> Callback:
    """Score, keep the best, and stop when it is flat: one callback, since each needs the one before."""
    recipe = parts.recipe
    todo = [validate(judge(recipe, parts.images), write), keep_best(run, recipe.monitor)]
    todo += lowering(parts)
    todo += [stop_when_flat(recipe.patience)] if recipe.patience else []

    def call(state: State) -> None:
        for callback in todo:
            callback(state)

    return call


def lowering(parts: Parts) -> list[Callback]:
    """What lowers the learning rate, where the schedule is `plateau`. Errors: ValueError where nothing could."""
    schedule = spec.bind("schedule", parts.recipe.schedule)
    if getattr(schedule, "func", schedule) is not optim.plateau:
        return []
    numbers = {name: p.default for name, p in inspect.signature(schedule).parameters.items() if name != "progress"}
    if not (0 < numbers["factor"] < 1 and numbers["patience"] >= 1):
        raise ValueError(f"plateau takes a factor between 0 and 1 and a patience of 1 or more, got {numbers}")
    if not parts.recipe.eval_every_epochs or not len(parts.images.part("val")):
        raise ValueError(
            "schedule=plateau lowers the rate when validation scores are flat, and there is no validation; "
            "give val=0.1 and eval_every_epochs=1, or another schedule"
        )
    return [lower_when_flat(**numbers)]


def judge(recipe: Recipe, images: Images) -> Callable[[nn.Module], dict[str, Any]]:
    """A model's scores on the validation part, by name."""
    query, train = images.part("val"), images.part("train")
    closed = bool(torch.isin(query.labels, train.labels).any())
    reference = spaced(train, VALIDATION_REFERENCES) if closed else None

    def score(model: nn.Module) -> dict[str, Any]:
        known = embed(model, reference) if reference is not None else None
        scores = evaluate(embed(model, query), known, sim=recipe.sim, seed=recipe.split_seed, quick=True)
        return {name: dataclasses.asdict(value) for name, value in scores.items()}

    return score


class interruptible:  # noqa: N801 (used as `with interruptible() as asked`)
    """Inside, Ctrl-C sets the event that lets the step under way finish; a second one ends at once."""

    def __enter__(self) -> threading.Event:
        self.asked, self.main = threading.Event(), threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGINT, self.ask)
        return self.asked

    def __exit__(self, *error: object) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.before)

    def ask(self, number: int, frame: Any) -> None:
        if self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()


def stop_when_asked(asked: threading.Event) -> Callback:
    def call(state: State) -> None:
        if asked.is_set() and state.progress < 1:
            state.stop = INTERRUPTED

    return call


class records:  # noqa: N801 (used as `with records(run, watch) as write`)
    """Where a record goes: metrics.jsonl, TensorBoard where it is installed, and whoever watches."""

    def __init__(self, run: Run, watch: Watch | None):
        self.events = tensorboard(run)
        self.sinks: list[Watch] = [sink for sink in (run.append, self.events, watch) if sink]

    def __enter__(self) -> Watch:
        return self.write

    def __exit__(self, *error: object) -> None:
        if self.events:
            self.events.close()

    def write(self, record: dict[str, Any]) -> None:
        for sink in self.sinks:
            sink(record)


def sample(images: Images) -> Images:
    """Some training and some other pictures, for maps and snapshots; test where there is one, else validation."""
    other = images.part("test") if len(images.part("test")) else images.part("val")
    ids = {i for part in (images.part("train"), other) for i in spaced(part, SNAPSHOT_PICTURES).ids}
    return images.take([n for n, i in enumerate(images.ids) if i in ids])


def spaced(images: Images, most: int) -> Images:
    """Evenly spaced pictures, at most so many; always the same ones."""
    if len(images) <= most:
        return images
    return images.take((torch.arange(most) * len(images)) // most)


def default_name(recipe: Recipe) -> str:
    """`fashion-mnist` for a source, the folder's own name for a folder."""
    name = Path(recipe.data).resolve().stem if os.path.exists(recipe.data) else spec.parse(recipe.data)[0]
    return name.replace("_", "-") or "run"


def write_skipped(run: Run, images: Images) -> None:
    """skipped.csv: the pictures that were left out, and why."""
    if images.skipped:
        run.write("skipped.csv", csv_text([("id", "why"), *images.skipped]))
