"""Functions of the training's State: log, validate, snapshot, checkpoint, average, stop when flat."""

import copy
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from likewise import distributed
from likewise.embeddings import Embeddings
from likewise.experiment.checkpoint import save_checkpoint
from likewise.experiment.run import Run
from likewise.experiment.shards import has_shards
from likewise.safety.bounds import Fields
from likewise.training.loop import Callback, State

__all__ = [
    "averaged",
    "checkpoint",
    "keep_best",
    "log",
    "lower_when_flat",
    "note_draw",
    "snapshot",
    "stop_when_flat",
    "tensorboard",
    "validate",
]


def log(write: Callable[[dict[str, object]], None], *, seconds: float = 0.25) -> Callback:
    """Write a record of the training at most every so many seconds, and at the end of every epoch."""
    due = 0.0

    def call(state: State) -> None:
        nonlocal due
        if not state.epoch_ended and time.monotonic() < due:
            return
        due = time.monotonic() + seconds
        write(record(state))

    return call


def record(state: State) -> dict[str, object]:
    """What the progress line and metrics.jsonl say of this step. Reading the loss waits for the device."""
    assert state.loss is not None
    entry = {
        "kind": "train",
        "step": state.step,
        "epoch": round(state.epoch + state.batch_index / state.num_batches, 4),
    }
    entry |= {"seconds": round(state.seconds, 3), "loss": state.loss.item(), "lr": state.lr}
    entry |= {"images_per_s": round(state.seen / max(state.seconds, 1e-9), 1), "empty": int(state.empty)}
    return entry | {name: value.item() for name, value in state.notes.items() if name != "empty"}


def note_draw(write: Callable[[dict[str, object]], None]) -> Callback:
    """Write down what the sampler noted when it drew the batches of an epoch."""

    def call(state: State) -> None:
        if state.batch_index == 1 and state.drawn:
            write({"kind": "draw", "step": state.step, "epoch": state.epoch, **state.drawn})

    return call


def validate(score: Callable[[nn.Module], dict[str, Fields]], write: Callable[[dict[str, object]], None]) -> Callback:
    """Score the model on the validation part and write a record."""

    def call(state: State) -> None:
        state.scores = score(state.final)
        entry = {"kind": "val", "step": state.step, "epoch": state.epochs_done, "seconds": round(state.seconds, 3)}
        write(entry | {"scores": state.scores})

    return call


def keep_best(save: Callable[[State], None], monitor: str) -> Callback:
    """Save the state whenever the validation score is the best so far; an equal score keeps the earlier one."""

    def call(state: State) -> None:
        score = monitored(state.scores, monitor)
        if score > state.callback_state.get("best", float("-inf")):
            state.callback_state |= {"best": score, "best_epoch": state.epochs_done}
            save(state)

    return call


def stop_when_flat(patience: int) -> Callback:
    """End the training when the best score is `patience` validations old. Goes behind `keep_best`."""

    def call(state: State) -> None:
        waited = (
            0 if state.callback_state["best_epoch"] == state.epochs_done else state.callback_state.get("waited", 0) + 1
        )
        state.callback_state["waited"] = waited
        if waited >= patience:
            state.stop = (
                f"the validation score has not passed {state.callback_state['best']:.4f} for {patience} validations"
            )

    return call


def lower_when_flat(factor: float, patience: int) -> Callback:
    """Times `factor` for the learning rate after `patience` validations without a better score, since the last time.

    Goes behind `keep_best`.
    """

    def call(state: State) -> None:
        flat = 0 if state.callback_state["best_epoch"] == state.epochs_done else state.callback_state.get("flat", 0) + 1
        if flat >= patience:
            state.callback_state["lowered"] = state.callback_state.get("lowered", 1.0) * factor
        state.callback_state["flat"] = flat % patience

    return call


def monitored(scores: Mapping[str, Mapping[str, object]], name: str) -> float:
    """The score that decides. Errors: ValueError naming the scores there are."""
    value = scores[name]["value"] if name in scores else None
    if not isinstance(value, int | float):
        raise ValueError(f"monitor={name!r} is not a validation score of this run; there are {', '.join(scores)}")
    return float(value)


def snapshot(run: Run, embed: Callable[[nn.Module], Embeddings], epochs: list[int]) -> Callback:
    """Keep the embedding of the sample after the listed epochs."""

    def call(state: State) -> None:
        if state.epoch_ended and state.epochs_done in epochs:
            embeddings = embed(state.final)
            if distributed.is_main():
                embeddings.save(run.snapshot(state.epochs_done))

    return call


def checkpoint(run: Run, *, seconds: float = 10.0) -> Callback:
    """Save everything needed to go on: every so many seconds, at the end of training, and when it is stopped.

    Every process calls it where the loss is shared out over them, at the times of rank 0.
    """
    due = time.monotonic() + seconds

    def call(state: State) -> None:
        nonlocal due
        late = time.monotonic() >= due
        if has_shards(state.loss_fn):
            late = distributed.any_rank(late and distributed.is_main())
        if state.progress < 1 and not state.stop and not late:
            return
        save_checkpoint(run.last, state, keep_previous=True)
        due = time.monotonic() + seconds

    return call


def average_of(model: nn.Module) -> nn.Module:
    """A copy that `averaged` keeps up to date; it is not trained."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def averaged(decay: float) -> Callback:
    """Exponential moving average of the weights; counts and running statistics are copied. Polyak & Juditsky, 1992."""

    @torch.no_grad()
    def call(state: State) -> None:
        assert state.average is not None
        # A shorter memory in the early steps, so that the average forgets the random start.
        now = min(decay, (1 + state.step) / (10 + state.step))
        for mean, value in zip(state.average.parameters(), state.model.parameters(), strict=True):
            mean.lerp_(value, 1 - now)
        for copied, value in zip(state.average.buffers(), state.model.buffers(), strict=True):
            copied.copy_(value)

    return call


class Events:
    """Records as TensorBoard events in the run folder."""

    def __init__(self, run: Run):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.path / "tensorboard"), flush_secs=5)

    def __call__(self, record: Fields) -> None:
        scalars: dict[str, object] = {}
        if record["kind"] == "val":
            scalars = {f"val/{name}": score["value"] for name, score in record["scores"].items()}
        elif record["kind"] == "train":
            scalars = {
                f"train/{name}": record[name] for name in ("loss", "lr", "images_per_s", "active") if name in record
            }
        for name, value in scalars.items():
            if value is not None:
                self.writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        self.writer.close()


def tensorboard(run: Run) -> Events | None:
    """A writer of TensorBoard events, or None where tensorboard is not installed."""
    try:
        return Events(run)
    except ImportError:
        return None
