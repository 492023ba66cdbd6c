"""The run folder: where each file of a run is, and how its log and scores are read."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from likewise.atomic import write_text
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import Metrics, read_metrics
from likewise.experiment.run_files import checked_metrics, records
from likewise.metrics.intervals import Score, Scores, score_table
from likewise.safety import notebook
from likewise.safety.bounds import Fields

__all__ = ["Run", "folder_in", "portable"]


@dataclass(frozen=True)
class Run:
    """A run folder by its path; a missing part is a file that does not exist."""

    path: Path

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
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained. Errors: SpecError where the file does not read."""
        return Recipe.load(self.recipe_file)

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics_file(self) -> Path:
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
    def left_out(self) -> Path:
        """A folder: what `likewise calibrate` trained without some of the classes."""
        return self.path / "left_out"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter.safetensors"

    def snapshot(self, epoch: int) -> Path:
        return self.path / "snapshots" / f"epoch_{epoch:04d}.parquet"

    def write(self, name: str, text: str) -> Path:
        """A text file of the run, whole or not at all."""
        return write_text(self.path / name, text)

    def append(self, record: dict[str, object]) -> None:
        """One line more in metrics.jsonl."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def records(self) -> list[Fields]:
        """The lines of metrics.jsonl; one cut short by a crash is left out."""
        return list(records(self.log)) if self.log.exists() else []

    def forget_after(self, step: int) -> None:
        """Drop what was logged after the step that training resumes from."""
        remaining = [r for r in self.records() if r["step"] <= step]
        self.write("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in remaining))

    def metrics(self) -> Metrics:
        """What metrics.json holds. Errors: ValueError when the run was never evaluated."""
        if not self.metrics_file.exists():
            raise ValueError(f"{self.path} has no metrics.json yet; run `likewise evaluate {self.path}`")
        return read_metrics(self.metrics_file)

    def metrics_or_nothing(self) -> Fields:
        """What metrics.json holds, as far as it goes; nothing where there is none."""
        return checked_metrics(self.metrics_file, needed=()) if self.metrics_file.exists() else {}

    def scores(self) -> Scores:
        """The scores of the held-out images by name. Errors: ValueError when the run was never evaluated."""
        entries = self.metrics()["scores"].items()
        return Scores((name, Score(score["value"], score["low"], score["high"], score["n"])) for name, score in entries)

    def _repr_html_(self) -> str:
        """For a notebook: the verdict, and the scores where there are some."""
        try:
            verdict = self.metrics_or_nothing().get("verdict", {})
            note = f"{verdict['grade']}: {verdict['reason']}" if verdict else ""
            return score_table(f"run {self.name}", self.scores(), note=note)
        except ValueError as error:  # not evaluated yet, or not readable
            return notebook.table(f"run {self.name}", (), (), note=str(error))


FOREIGN = set('<>"|?*')  # characters of no file name on Windows, beside those that lead elsewhere
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}


def portable(name: str) -> str:
    """The name with a dash for what some system's file names cannot hold; for names that nobody typed."""
    plain = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]+', "-", name).strip()
    while plain.endswith((".", " ")):
        plain = plain.rstrip(". ").strip()
    return plain or "run"


def folder_in(out: str | os.PathLike, name: str) -> Path:
    """The folder `out/name`. Errors: ValueError for a name that leads elsewhere, or that some system cannot hold."""
    why = ""
    if not name.strip():
        why = "it is blank"
    elif name in (".", "..") or {"/", "\\", ":"} & set(name) or Path(name).is_absolute():
        why = "it would lead out of --out"
    elif name != name.strip() or name.endswith(".") or any(ord(c) < 32 or ord(c) == 127 for c in name):
        why = "it begins or ends in a blank or a dot, or holds a control character"
    elif FOREIGN & set(name):
        why = f"Windows takes none of {' '.join(sorted(FOREIGN))} in it"
    elif name.partition(".")[0].upper() in RESERVED:
        why = "Windows keeps it for a device"
    elif len(os.fsencode(name)) > 200:
        why = "it is longer than 200 bytes"
    if why:
        raise ValueError(
            f"{name[:100]!r} cannot be the name of a folder in {os.fspath(out)}: {why}; give another --name"
        )
    return Path(out) / name
