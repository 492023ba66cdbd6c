"""Images to vectors: a run's Embedder, or an exported model.onnx without torch in the process.

A fingerprint says which model made a vector: its weights, its preprocessing and its similarity. A gallery is pinned to
one; vectors of another model are refused.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from likewise.gallery.index import check_sim
from likewise.safety import bounds

if TYPE_CHECKING:
    from likewise.models import Embedder

__all__ = ["Encoder", "OnnxEncoder", "RunEncoder", "fingerprint_of", "open_encoder"]

FIELDS = ("network", "shape", "dim", "head", "normalize", "sim", "mean", "std", "whitened")
LATER = ("fit",)  # fields that older models lack, whose fingerprints stay as they are


class Encoder(Protocol):
    """What turns image files into vectors."""

    path: str
    sim: str
    fingerprint: str
    info: bounds.Fields  # threshold and calibration of pairs, where the model has them
    classes: tuple[str, ...]  # that it was trained on
    run: Path | None  # the run that it came from, where it is still there

    @property
    def dim(self) -> int: ...
    def embed(self, paths: Sequence[str | os.PathLike]) -> np.ndarray: ...


def open_encoder(path: str | os.PathLike) -> Encoder:
    """A run, its model folder, or a model.onnx. Errors: ValueError."""
    return OnnxEncoder(path) if Path(path).suffix == ".onnx" else RunEncoder(path)


def fingerprint_of(facts: dict[str, object]) -> str:
    """16 hexadecimal digits of whatever changes a vector."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def named(classes: object) -> tuple[str, ...]:
    """The classes that a model was trained on, as its file names them; none where it names none."""
    names = classes if isinstance(classes, list) else []
    return tuple(name for name in names if isinstance(name, str) and name)


def run_around(folders: Sequence[Path], crc32: object) -> Path | None:
    """The run folder among these whose model has these weights; None where there is none."""
    for folder in folders:
        if (folder / "recipe.toml").is_file() and (folder / "model" / "model.json").is_file():
            try:
                same = bounds.read_json(folder / "model" / "model.json").get("crc32") == crc32
            except (OSError, ValueError):
                continue
            if same and crc32 is not None:
                return folder
    return None


class RunEncoder:
    """A run's model; torch is imported with the first image."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        about = self._described(Path(path))
        self.config: bounds.Fields = about["config"]
        self.info: bounds.Fields = about.get("info") or {}
        self.sim = check_sim(self.config["sim"])
        self.classes = named(self.info.get("trained_classes")) or named(self.config.get("classes"))
        self.fingerprint = fingerprint_of({"crc32": about["crc32"], **self._fields()})
        self.run = run_around([Path(path), Path(path).resolve().parent], about["crc32"])
        self.model: Embedder | None = None

    def _fields(self) -> bounds.Fields:
        fields = {name: self.config.get(name) for name in FIELDS}
        return fields | {name: self.config[name] for name in LATER if name in self.config}

    @property
    def dim(self) -> int:
        return int(self.config["dim"]) or self.load().dim

    @staticmethod
    def _described(path: Path) -> bounds.Fields:
        for folder in (path, path / "model"):
            if (folder / "model.safetensors").is_file() and (folder / "model.json").is_file():
                try:
                    about = bounds.read_json(folder / "model.json")
                    about["config"]["sim"], about["config"]["dim"], about["crc32"]
                except (OSError, ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"the description of the model in {folder} cannot be read: {error}") from None
                return about
        raise ValueError(f"no model at {path}; give a run folder, its model folder, or a model.onnx")

    def load(self) -> "Embedder":
        """The Embedder, loaded once."""
        if self.model is None:
            from likewise.models import Embedder

            self.model = Embedder.load(self.path)
        return self.model

    def embed(self, paths: Sequence[str | os.PathLike]) -> np.ndarray:
        """float32 `[N, dim]` of image files. Errors: ValueError naming what cannot be read."""
        return self.load().embed([Path(path) for path in paths]).numpy()


class OnnxEncoder:
    """A model.onnx that `likewise export` wrote."""

    def __init__(self, path: str | os.PathLike):
        from likewise.export.session import Session, sha256

        self.path = os.fspath(path)
        self.session = Session(path)
        about = self.session.about
        self.dim, self.sim = int(about["dim"]), check_sim(about["sim"])
        self.info: dict[str, object] = {"threshold": about.get("threshold"), "calibration": about.get("calibration")}
        self.fingerprint = fingerprint_of({"onnx": sha256(Path(path)), "sim": self.sim})
        self.classes = named(about.get("classes"))
        self.run = run_around([Path(path).resolve().parent.parent], about.get("crc32"))

    def embed(self, paths: Sequence[str | os.PathLike]) -> np.ndarray:
        """float32 `[N, dim]` of image files. Errors: ValueError naming what cannot be read."""
        return self.session.embed(paths) if len(paths) else np.zeros((0, self.dim), np.float32)
