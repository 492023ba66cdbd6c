"""A configuration under translation: its recipe fields, and one line per key on how the key was translated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from likewise.experiment.recipe import Recipe
from likewise.spec import SpecError

__all__ = ["DIFFERS", "MAPPED", "REFUSED", "Line", "Translation", "Work"]

MAPPED, DIFFERS, REFUSED = "mapped", "means something else", "not taken over"


@dataclass(frozen=True)
class Line:
    """The translation of one key: `ours` is the field or command, `why` a note for the reader."""

    kind: str  # mapped | means something else | not taken over
    key: str
    value: object
    ours: str = ""
    why: str = ""
    written: str = ""  # the key as written in the file, with its section


@dataclass(frozen=True)
class Translation:
    """A recipe, the name of its run, and a line for every key of the configuration."""

    recipe: Recipe
    name: str
    generation: str
    lines: tuple[Line, ...]


@dataclass
class Work:
    """A configuration under translation."""

    config: dict[str, object]
    written: dict[str, str] = field(default_factory=dict)
    fields: dict[str, object] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def take(self, key: str, ours: str = "", why: str = "", **fields: object) -> None:
        """Set recipe fields and note the key as mapped, or as different in meaning if `why` is given."""
        self.put(key, fields, ours, why)

    def put(self, key: str, fields: Mapping[str, object], ours: str = "", why: str = "") -> None:
        self.fields |= fields
        shown = ours or ", ".join(f"{name}={value}" for name, value in fields.items())
        self.note(DIFFERS if why else MAPPED, key, shown, why)

    def refuse(self, key: str, why: str) -> None:
        self.note(REFUSED, key, "", why)

    def note(self, kind: str, key: str, ours: str, why: str) -> None:
        self.lines.append(Line(kind, key, self.config[key], ours, why, self.written.get(key, key)))

    def get(self, key: str, default: object = None) -> object:
        value = self.config.get(key, default)
        return default if value is None else value

    def number(self, key: str, default: float | None = None) -> float:
        """A number. Errors: SpecError for anything else."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise SpecError(f"{key} is a number, got {value!r}")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """An integer. Errors: SpecError for anything else."""
        value = self.number(key, default)
        if value != int(value):
            raise SpecError(f"{key} is a whole number, got {value!r}")
        return int(value)
