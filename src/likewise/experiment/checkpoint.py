"""All of a training State in one safetensors file, and back, bit for bit."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import torch
from safetensors.torch import save_file
from torch import Tensor

from likewise import distributed
from likewise.atomic import replacing
from likewise.experiment.run_files import Check, finite, plain, whole
from likewise.experiment.shards import gathered_states, own_states
from likewise.models import weights
from likewise.safety import bounds
from likewise.training.loop import State

__all__ = ["kept_plan", "load_checkpoint", "load_last", "resumable", "save_checkpoint"]

NUMBERS = (
    "step",
    "epoch",
    "batch_index",
    "num_batches",
    "seen",
    "empty",
    "seconds",
    "scores",
    "callback_state",
    "drawn",
    "stop",
    "ranks",
)
# Names that earlier versions wrote, which are still read.
EARLIER = {"batch_index": "at", "num_batches": "of", "callback_state": "memory"}


class Stateful(Protocol):
    """A part of a State that is saved."""

    def state_dict(self) -> bounds.Fields: ...
    def load_state_dict(self, state_dict: bounds.Fields) -> object: ...


def save_checkpoint(path: Path, state: State, *, keep_previous: bool = False) -> None:
    """All of a State in one safetensors file: tensors by name, the rest as JSON in its header, and a checksum.

    Rank 0 writes it; where the loss is shared out over processes, each of them must call it.
    """
    loss, optimizer = gathered_states(state.loss_fn, state.optimizer)
    if not distributed.is_main():
        return
    tensors: dict[str, Tensor] = {}
    saved = {"model": state.model.state_dict(), "loss": loss, "optimizer": optimizer}
    saved |= {"average": state.average.state_dict()} if state.average is not None else {}
    parts = {name: flatten(part, f"{name}.", tensors) for name, part in saved.items()}
    parts["plan"] = flatten(state.plan, "plan.", tensors)
    tensors |= random_states()
    header = {"parts": parts, **{name: getattr(state, name) for name in NUMBERS}, "empty": int(state.empty)}
    plain = {name: value.contiguous() for name, value in tensors.items()}
    text = json.dumps(header)
    with replacing(path) as temporary:
        save_file(plain, temporary, {"likewise": text, "crc32": str(checksum(plain, text))})
        if keep_previous and path.exists():
            os.replace(path, previous_of(path))


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the last one lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def resumable(path: Path) -> bool:
    """Whether there is a checkpoint to go on from: the last one, or the one before."""
    return path.exists() or previous_of(path).exists()


def load_last(path: Path, state: State) -> str:
    """Put the last checkpoint back, or the one before where the last is damaged or missing.

    Returns a sentence where it was the one before, else nothing. Errors: ValueError when neither can be read.
    """
    try:
        if path.exists():
            load_checkpoint(path, state)
            return ""
        reason = f"{path} is missing"
    except ValueError as error:
        if not previous_of(path).exists():
            raise
        reason = str(error)
    load_checkpoint(previous_of(path), state)
    return f"{reason}; going on from the checkpoint before it, step {state.step}"


def checksum(tensors: Mapping[str, Tensor], text: str) -> int:
    """Over names, types, shapes and bytes of all tensors, and the header's text."""
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        crc = zlib.crc32(f"{name} {value.dtype} {list(value.shape)}".encode(), crc)
        crc = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().tobytes(), crc)
    return crc


def load_checkpoint(path: Path, state: State, *, numbers: bool = True) -> None:
    """Put a saved State back, bit for bit. numbers=False restores the weights alone (the best of a run)."""
    tensors, header = opened_checkpoint(path)
    try:
        saved = {name: unflatten(header["parts"][name], tensors) for name in modules(state)}
        if numbers:
            own = own_states(state.loss_fn, state.optimizer, saved["loss"], saved["optimizer"])
            saved["loss"], saved["optimizer"] = own
        for name, part in modules(state).items():
            if numbers or name in {"model", "average"}:
                part.load_state_dict(saved[name])
        if numbers:
            lay_out_alike(state.optimizer)
            for name in NUMBERS:
                setattr(
                    state,
                    name,
                    numbered(name, header.get(name, header.get(EARLIER.get(name, ""), getattr(state, name)))),
                )
            state.plan = [batch for batch in unflatten(header["parts"].get("plan", []), tensors) if is_batch(batch)]
            restore_random(tensors)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path} is no checkpoint of this run: {type(error).__name__} {reason:.200}") from None


def opened_checkpoint(path: Path) -> tuple[dict[str, Tensor], bounds.Fields]:
    """Tensors and header of a checkpoint. Errors: ValueError for what is none, or damaged."""
    from safetensors import SafetensorError, safe_open

    weights.check_header(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint: {error}; train anew") from None
    text = metadata.get("likewise", "")
    if "crc32" in metadata and metadata["crc32"] != str(checksum(tensors, text)):
        raise ValueError(f"{path} is damaged: its content is not what was saved")
    header = bounds.parsed_json(text, f"the header of {path}")
    if not isinstance(header.get("parts"), dict):
        raise ValueError(f"{path} is no checkpoint of a training: its header has no parts")
    return tensors, header


# field of State: what it may hold
CHECKED: dict[str, Check] = {
    **dict.fromkeys(("step", "epoch", "batch_index", "num_batches", "seen", "empty"), whole),
    "seconds": finite,
    "ranks": lambda value: whole(value) and value > 0,
    "stop": lambda value: value is None or isinstance(value, str),
    **dict.fromkeys(("scores", "callback_state", "drawn"), lambda value: isinstance(value, dict) and plain(value)),
}


def numbered(name: str, value: object) -> object:
    """The value of a field of State. Errors: ValueError for another type."""
    if not isinstance(value, Tensor) and name in CHECKED and not CHECKED[name](value):
        raise ValueError(f"{name} is {value!r:.80}")
    return value


def is_batch(rows: object) -> TypeGuard[Tensor]:
    return isinstance(rows, Tensor) and rows.ndim == 1 and not rows.is_floating_point()


def kept_plan(path: Path) -> list[Tensor]:
    """The batches that a checkpoint holds: those of its epoch, where the sampler looked; else none."""
    tensors, header = opened_checkpoint(path)
    try:
        return [batch for batch in unflatten(header["parts"].get("plan", []), tensors) if is_batch(batch)]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no checkpoint of this run: {error}") from None


def lay_out_alike(optimizer: torch.optim.Optimizer) -> None:
    """Moments in the memory order of their weights: a fused optimizer walks both in step, and a file keeps no order."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def modules(state: State) -> dict[str, Stateful]:
    """Everything of a State that has a state_dict."""
    by_name = {"model": state.model, "loss": state.loss_fn, "optimizer": state.optimizer, "average": state.average}
    return {name: part for name, part in by_name.items() if part is not None}


def flatten(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """The same nest with every tensor moved into `tensors` and its name left in its place."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[k, flatten(v, f"{name}{k}.", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [flatten(v, f"{name}{i}.", tensors) for i, v in enumerate(value)]
    return value


def unflatten(value: object, tensors: dict[str, Tensor]) -> Any:  # Any: the nest that `flatten` was given
    if isinstance(value, list):
        return [unflatten(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    return {k: unflatten(v, tensors) for k, v in value["items"]}


def random_states() -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    for i, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []):
        states[f"random.cuda.{i}"] = state
    return states


def restore_random(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    ranks = distributed.world_size() > 1
    for i in range(torch.cuda.device_count()):
        name = "random.cuda.0" if ranks else f"random.cuda.{i}"  # rank 0 has saved, and its stream is everyone's
        if name in tensors:
            torch.cuda.set_rng_state(tensors[name], i)
