"""The one way to train a recipe: pretraining, the loop with everything the recipe asks for, best weights, whitening.

`train`, `compare`, `tune`, the estimator and `reproduce` all come through here, so that a field of a recipe means the
same in each. With a run folder everything is kept on disk and can be resumed; without one it stays in memory.
"""

import dataclasses
import inspect
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from likewise import distributed, spec
from likewise.data.images import Images
from likewise.data.subset import sample, spaced
from likewise.doctor import Setup
from likewise.doctor.monitor import note_loss_at_collapse, watch_collapse
from likewise.embeddings import embed_shared
from likewise.evaluate import evaluate
from likewise.experiment.build import Parts, build, resolve_defaults
from likewise.experiment.callbacks import (
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
from likewise.experiment.checkpoint import load_checkpoint, load_last, resumable, save_checkpoint
from likewise.experiment.finishing import average_with_first, check_wise, merge_adapters, whiten
from likewise.experiment.interrupt import INTERRUPTED, interruptible, stop_when_asked
from likewise.experiment.precision import settle
from likewise.experiment.recipe import Recipe, epochs_of
from likewise.experiment.run import Run
from likewise.experiment.shards import has_shards
from likewise.models.blocks import unfreeze_schedule
from likewise.models.weights import is_ours
from likewise.training import optim
from likewise.training.loop import Callback, State, at_epoch_end, fit, steps
from likewise.training.watch import Watch

__all__ = ["Extra", "check_plateau", "stage", "trial", "validation_score"]

Extra = Callable[["Run | None", Parts], Sequence[Callback]]  # further callbacks of a training

# A validation looks for neighbours in a sample of the training part: its score only has to rank epochs.
VALIDATION_REFERENCES = 5_000
# What the stage before a metric training has of its own.
CLASSIFIER: dict[str, object] = {"loss": "softmax", "sim": "", "normalize": None, "miner": "", "memory": 0}
CLASSIFIER |= {"sampler": "shuffled(batch=128)", "pretrain_epochs": 0, "patience": 0, "max_seconds": 0.0}
CLASSIFIER |= {"wise": 0.0, "distill": ""}


def trial(
    parts: Parts,
    *,
    run: Run | None = None,
    watch: Watch | None = None,
    extra: Extra | None = None,
) -> Parts:
    """Train a recipe's parts to the end and return them with the final model in `parts.state.final`.

    run: the folder that keeps log, checkpoints, snapshots and model; a run that was interrupted goes on from its last
        checkpoint. Without one nothing is written.
    watch: gets every record as it is logged. extra: gives further callbacks, called before the checkpoint is saved.
    Errors: KeyboardInterrupt, with how to resume, when the user stopped it; DivergedError.
    """
    check_plateau(parts)
    check_wise(parts.recipe, parts.images)
    settle(parts)
    recipe = parts.recipe
    if run is not None and distributed.from_main(resumable(run.last)):
        restore(run, parts)
    else:
        parts = pretrained(parts, run, watch)
    train_loop(parts, run, watch, extra, resume_with=run)
    if recipe.wise:
        stage(watch, "averaging with the first weights")(0, 0)
        average_with_first(recipe, parts, validation_score(recipe, parts.images), run)
    if recipe.whiten:
        stage(watch, "whitening")(0, 0)
        whiten(recipe, parts.state, parts.images)
    return parts


def restore(run: Run, parts: Parts) -> Parts:
    """The parts as the run's last checkpoint left them."""
    if warning := load_last(run.last, parts.state):
        print(f"likewise: {warning}", file=sys.stderr, flush=True)
    state, ranks = parts.state, distributed.world_size()
    if state.stop == INTERRUPTED:  # by the user, who wants it to go on now
        state.stop = None
    if distributed.is_main():
        run.forget_after(state.step)
        if state.ranks != ranks:
            print(f"likewise: {other_ranks(state.ranks, ranks)}", file=sys.stderr, flush=True)
    state.ranks = ranks
    distributed.barrier()  # all have read the checkpoint before it is replaced
    return parts


def other_ranks(before: int, now: int) -> str:
    """What is said where a training goes on with another number of processes."""
    return (
        f"this run was trained by {before} process{'es' * (before > 1)} and goes on with {now}: its weights will be "
        f"those of {before} within rounding, not bit for bit"
    )


def pretrained(parts: Parts, run: Run | None, watch: Watch | None) -> Parts:
    """The parts as they are, or with a network first trained as a classifier, where the recipe asks for it.

    That stage is a run of its own in the folder `pretraining`, without test scores.
    """
    if not parts.recipe.pretrain_epochs:
        return parts
    with tempfile.TemporaryDirectory() as scratch:
        first = Run((run.path if run else Path(distributed.from_main(scratch))) / "pretraining")
        if not distributed.from_main(is_ours(first.model)):  # nothing, or a save that was cut short
            train_classifier(parts, first, watch, resume_with=run)
        return build(parts.recipe.replace(weights=str(first.model)), parts.images)


def train_classifier(parts: Parts, first: Run, watch: Watch | None, *, resume_with: Run | None) -> None:
    """Train the recipe's network as a softmax classifier into the run `first`, or go on where it stopped."""
    classifier = parts.recipe.replace(**CLASSIFIER, epochs=parts.recipe.pretrain_epochs)
    stage_parts = build(resolve_defaults(classifier), parts.images)
    if distributed.from_main(resumable(first.last)):
        restore(first, stage_parts)
    elif distributed.is_main():
        (first.path / "snapshots").mkdir(parents=True, exist_ok=True)
        first.write("recipe.toml", stage_parts.recipe.to_toml())
    train_loop(stage_parts, first, watch, None, resume_with=resume_with)


def train_loop(
    parts: Parts, run: Run | None, watch: Watch | None, extra: Extra | None, *, resume_with: Run | None
) -> None:
    """Train the steps that are left and keep the model; an interrupted run is ready to be resumed."""
    state, best = parts.state, Best(run)
    note_loss_at_collapse(state, parts.feed)
    if run is not None and state.step == 0:
        begin(run, parts)
    further = extra(run, parts) if extra else ()
    with Records(run, watch) as write, interruptible() as asked:
        fit(loop(parts), callbacks(parts, run, write, best, further, asked))
    distributed.barrier()  # what rank 0 saves of the last step is saved
    if state.stop == INTERRUPTED:
        saved = f" and saved; go on with: likewise train --resume {resume_with.path}" if resume_with else ""
        raise KeyboardInterrupt(f"stopped at step {state.step}{saved}")
    if parts.recipe.patience:
        best.restore(state)
    merge_adapters(parts.recipe, state, run)
    if run is not None and distributed.is_main():
        state.final.save(run.model)
    distributed.barrier()


class Best:
    """The best state by validation so far: a file of the run, or a copy in memory where there is no run."""

    def __init__(self, run: Run | None):
        self.run = run
        self.weights: dict[str, dict[str, Tensor]] = {}

    def save(self, state: State) -> None:
        if self.run is not None:
            save_checkpoint(self.run.best, state)
        else:
            self.weights = {name: clone(module.state_dict()) for name, module in evaluated(state).items()}

    def restore(self, state: State) -> None:
        """Put the best weights back; nothing where no validation was made."""
        if self.run is not None and distributed.is_main() and self.run.best.exists():
            load_checkpoint(self.run.best, state, numbers=False)
        for name, weights in self.weights.items():
            evaluated(state)[name].load_state_dict(weights)
        for module in evaluated(state).values():
            distributed.broadcast_tensors(module)


def evaluated(state: State) -> dict[str, nn.Module]:
    """The modules that a validation scores: the model, and its moving average where there is one."""
    modules = {"model": state.model, "average": state.average}
    return {name: module for name, module in modules.items() if module is not None}


def clone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def begin(run: Run, parts: Parts) -> None:
    """Before the first step: the snapshot of epoch 0, when it is wanted, and a checkpoint to come back to."""
    if 0 in epochs_of(parts.recipe.snapshot_epochs, parts.recipe.epochs):
        first = embed_shared(parts.state.final, sample(parts.images))
        if distributed.is_main():
            first.save(run.snapshot(0))
    save_checkpoint(run.last, parts.state)


def loop(parts: Parts) -> Iterator[State]:
    """The training loop of a recipe's parts, ready to be consumed."""
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
        freeze=unfreeze_schedule(parts.state.model.backbone, recipe.frozen_epochs, recipe.unfreeze_epochs),
    )


def callbacks(
    parts: Parts, run: Run | None, write: Watch, best: Best, extra: Sequence[Callback], asked: threading.Event
) -> list[Callback]:
    """In the order in which they may rely on one another; the checkpoint comes last and holds what all of them did."""
    recipe = parts.recipe
    listed: list[Callback] = [log(write), note_draw(write)]
    if recipe.ema:
        listed.append(averaged(recipe.ema))
    if recipe.eval_every_epochs and len(parts.images.part("val")):
        listed.append(at_epoch_end(recipe.eval_every_epochs, validation(parts, write, best)))
    if run is not None and (wanted := epochs_of(recipe.snapshot_epochs, recipe.epochs)):
        listed.append(snapshot(run, partial(embed_shared, images=sample(parts.images)), wanted))
    if run is not None and recipe.doctor and distributed.is_main():
        listed.append(doctor(run, parts, write))
    listed += [*extra, stop_when_asked(asked)]
    saves = run is not None and (distributed.is_main() or has_shards(parts.state.loss_fn))
    return [*listed, checkpoint(run)] if run is not None and saves else listed


def doctor(run: Run, parts: Parts, write: Watch) -> Callback:
    """Watch for collapse; a problem is reported in one sentence on stderr, once."""
    setup = Setup.of(parts.recipe.to_dict(), len(parts.feed.images.classes))
    say = partial(print, "likewise:", file=sys.stderr, flush=True)
    return watch_collapse(
        parts.state, parts.feed, parts.images.part("val"), setup, write=write, say=say, past=run.records()
    )


def validation(parts: Parts, write: Watch, best: Best) -> Callback:
    """Score, keep the best, and stop when it is flat: one callback, since each needs the one before."""
    recipe = parts.recipe
    listed = [validate(validation_score(recipe, parts.images), write), keep_best(best.save, recipe.monitor)]
    listed += check_plateau(parts)
    listed += [stop_when_flat(recipe.patience)] if recipe.patience else []

    def call(state: State) -> None:
        for callback in listed:
            callback(state)

    return call


def check_plateau(parts: Parts) -> list[Callback]:
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


def validation_score(recipe: Recipe, images: Images) -> Callable[[nn.Module], dict[str, dict[str, object]]]:
    """A function from a model to its scores on the validation part, by name."""
    query, train = images.part("val"), images.part("train")
    closed = bool(torch.isin(query.labels, train.labels).any())
    reference = spaced(train, VALIDATION_REFERENCES) if closed else None

    def score(model: nn.Module) -> dict[str, dict[str, object]]:
        known = embed_shared(model, reference) if reference is not None else None
        embeddings = embed_shared(model, query)
        if not distributed.is_main():
            return distributed.from_main({})
        scores = evaluate(embeddings, known, sim=recipe.sim, seed=recipe.split_seed, quick=True)
        return distributed.from_main({name: dataclasses.asdict(value) for name, value in scores.items()})

    return score


class Records:
    """Where a record goes: metrics.jsonl and TensorBoard of a run, where there is one, and whoever watches."""

    def __init__(self, run: Run | None, watch: Watch | None):
        writes = distributed.is_main()
        self.events = tensorboard(run) if run is not None and writes else None
        self.sinks: list[Watch] = [sink for sink in (run and run.append, self.events, watch) if sink and writes]

    def __enter__(self) -> Watch:
        return self.write

    def __exit__(self, *error: object) -> None:
        if self.events:
            self.events.close()

    def write(self, record: dict[str, object]) -> None:
        for sink in self.sinks:
            sink(record)


def stage(watch: Watch | None, name: str) -> Callable[[int, int], None]:
    """Tells who watches what is being done, and how far it is; (0, 0) where that is not known."""

    def report(done: int, total: int) -> None:
        if watch and distributed.is_main():
            watch({"kind": "stage", "stage": name, "done": done, "total": total})

    return report
