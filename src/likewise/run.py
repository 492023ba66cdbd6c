"""The run folder and what only a run may choose: the device and the seeds. Every file is written aside and renamed."""

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from likewise import bounds
from likewise.models import weights
from likewise.run_files import checked_metrics, finite, plain, records, whole
from likewise.training import State

__all__ = ["Run", "choose_device", "kept_plan", "load_checkpoint", "save_checkpoint", "seed_everything"]

NUMBERS = ("step", "epoch", "at", "of", "seen", "empty", "seconds", "scores", "memory", "drawn")


@dataclass(frozen=True)
class Run:
    """A run folder by its path; a missing part is a file that does not exist."""

    path: Path

    @classmethod
    def create(cls, out: str | os.PathLike, name: str) -> "Run":
        """A new folder `out/name`, or `out/name-2` and so on when that is taken."""
        folder_in(out, name)
        for attempt in range(1, 10_000):
            path = Path(out) / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            (path / "snapshots").mkdir()
            return cls(path)
        raise ValueError(f"{out} already holds 10,000 runs named {name}; choose another --name")

    @classmethod
    def open(cls, path: str | os.PathLike) -> "Run":
        """An existing run. Errors: ValueError when the folder is not one."""
        path = Path(path)
        if not (path / "recipe.toml").is_file():
            there = "has no recipe.toml" if path.is_dir() else "is not a folder"
            raise ValueError(
                f"{path} {there}, so it is not a run; give a folder that `likewise train` made, such as runs/digits"
            )
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def log(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def embeddings(self) -> Path:
        return self.path / "embeddings.parquet"

    @property
    def pairs(self) -> Path:
        return self.path / "pairs.parquet"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.safetensors"

    def snapshot(self, epoch: int) -> Path:
        return self.path / "snapshots" / f"epoch_{epoch:04d}.parquet"

    def write(self, name: str, text: str) -> Path:
        """A text file of the run, whole or not at all."""
        with replacing(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return self.path / name

    def append(self, record: dict[str, Any]) -> None:
        """One line more in metrics.jsonl."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one cut short by a crash is left out."""
        return list(records(self.log)) if self.log.exists() else []

    def forget_after(self, step: int) -> None:
        """Drop what was logged after the step that training resumes from."""
        kept = [r for r in self.records() if r["step"] <= step]
        self.write("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in kept))

    def scores(self) -> dict[str, Any]:
        """What metrics.json holds. Errors: ValueError when the run was never evaluated."""
        if not self.metrics.exists():
            raise ValueError(f"{self.path} has no metrics.json yet; run `likewise evaluate {self.path}`")
        return checked_metrics(self.metrics)

    def metrics_or_nothing(self) -> dict[str, Any]:
        """What metrics.json holds, as far as it goes; nothing where there is none."""
        return checked_metrics(self.metrics, needed=()) if self.metrics.exists() else {}


RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}


def folder_in(out: str | os.PathLike, name: str) -> Path:
    """The folder `out/name`. Errors: ValueError for a name that leads elsewhere, or that some system cannot hold."""
    why = ""
    if not name.strip():
        why = "it is blank"
    elif name in (".", "..") or {"/", "\\", ":"} & set(name) or Path(name).is_absolute():
        why = "it would lead out of --out"
    elif name != name.strip() or name.endswith(".") or any(ord(c) < 32 or ord(c) == 127 for c in name):
        why = "it begins or ends in a blank or a dot, or holds a control character"
    elif name.partition(".")[0].upper() in RESERVED:
        why = "Windows keeps it for a device"
    elif len(os.fsencode(name)) > 200:
        why = "it is longer than 200 bytes"
    if why:
        raise ValueError(
            f"{name[:100]!r} cannot be the name of a folder in {os.fspath(out)}: {why}; give another --name"
        )
    return Path(out) / name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends well its file is on disk and takes that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def choose_device(wanted: str = "auto") -> torch.device:
    """The device of a run. Errors: ValueError when what was asked for is not there."""
    if wanted == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(
            f"device is cpu, cuda, cuda:N, mps or auto, and {wanted!r} is not to be had here; try device=auto"
        ) from None
    return device


def seed_everything(seed: int) -> None:
    """Weights, dropout and random picks; orders, splits and intervals take their own generators from the same seed."""
    random.seed(seed)
    torch.manual_seed(seed)


def save_checkpoint(path: Path, state: State) -> None:
    """All of a State in one safetensors file: tensors by name, the rest as JSON in its header."""
    tensors: dict[str, Tensor] = {}
    parts = {name: flatten(part.state_dict(), f"{name}.", tensors) for name, part in modules(state).items()}
    parts["plan"] = flatten(state.plan, "plan.", tensors)
    tensors |= random_states()
    header = {"parts": parts, **{name: getattr(state, name) for name in NUMBERS}, "empty": int(state.empty)}
    with replacing(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, {"likewise": json.dumps(header)})


def load_checkpoint(path: Path, state: State, *, numbers: bool = True) -> None:
    """Put a saved State back, bit for bit. numbers=False restores the weights alone (the best of a run)."""
    tensors, header = opened_checkpoint(path)
    try:
        for name, part in modules(state).items():
            if numbers or name in {"model", "average"}:
                part.load_state_dict(unflatten(header["parts"][name], tensors))
        if numbers:
            lay_out_alike(state.optimizer)
            for name in NUMBERS:
                setattr(state, name, numbered(name, header.get(name, getattr(state, name))))
            state.plan = [batch for batch in unflatten(header["parts"].get("plan", []), tensors) if is_batch(batch)]
            restore_random(tensors)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path} is no checkpoint of this run: {type(error).__name__} {reason:.200}") from None


def opened_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint. Errors: ValueError for what is none, or damaged."""
    from safetensors import SafetensorError, safe_open

    weights.check_header(path)
    try:
        with safe_open(path, "pt") as file:
            told = (file.metadata() or {}).get("likewise")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint: {error}; train anew") from None
    header = bounds.parsed_json(told or "", f"the header of {path}")
    if not isinstance(header.get("parts"), dict):
        raise ValueError(f"{path} is no checkpoint of a training: its header has no parts")
    return tensors, header


# field of State: what it may hold
CHECKED: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("step", "epoch", "at", "of", "seen", "empty"), whole),
    "seconds": finite,
    **dict.fromkeys(("scores", "memory", "drawn"), lambda value: isinstance(value, dict) and plain(value)),
}


def numbered(name: str, value: Any) -> Any:
    """The value of a field of State. Errors: ValueError for another type."""
    if not isinstance(value, Tensor) and name in CHECKED and not CHECKED[name](value):
        raise ValueError(f"{name} is {value!r:.80}")
    return value


def is_batch(rows: Any) -> bool:
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


def modules(state: State) -> dict[str, Any]:
    """Everything of a State that has a state_dict."""
    found = {"model": state.model, "loss": state.loss_fn, "optimizer": state.optimizer, "average": state.average}
    return {name: part for name, part in found.items() if part is not None}


def flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The same nest with every tensor moved into `tensors` and its name left in its place."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[k, flatten(v, f"{name}{k}.", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [flatten(v, f"{name}{i}.", tensors) for i, v in enumerate(value)]
    return value


def unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
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
    for i in range(torch.cuda.device_count()):
        if f"random.cuda.{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"random.cuda.{i}"], i)
