"""A section of docs/forerunners.md: Markdown, tables and small images, saved in the experiment's folder."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from likewise.atomic import replacing
from likewise.experiment.recipe import Recipe
from likewise.viz.plots.style import quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Content = TypeVar("Content")

__all__ = ["IMAGE_FOLDER", "Section", "command", "save_json", "load_json", "span", "table", "score_text"]

IMAGE_FOLDER = "images/forerunners"  # folder of images in docs/forerunners.md
DPI, COLOURS = 100, 96  # of images in the repository


@dataclass
class Section:
    """Results in reading order; `write` saves them in the experiment's folder."""

    name: str
    folder: Path
    parts: list[str] = field(default_factory=list)

    def say(self, *paragraphs: str) -> None:
        self.parts += paragraphs

    def rows(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.parts.append(table(head, rows))

    def figure(self, name: str, figure: "Figure", caption: str, *, colours: int = COLOURS) -> None:
        """Save a figure as PNG with at most `colours` (up to 256) colours, and include it."""
        file = f"{self.name}-{name}.png"
        with replacing(self.folder / file) as temporary:
            temporary.write_bytes(small_png(figure, colours))
        self.image(file, caption)

    def image(self, file: str, caption: str) -> None:
        """Include an image of the folder."""
        self.parts.append(f"![{caption}]({IMAGE_FOLDER}/{file})")

    def write(self) -> Path:
        path = self.folder / f"{self.name}.md"
        with replacing(path) as temporary:
            temporary.write_text("\n\n".join(self.parts) + "\n", encoding="utf-8")
        return path


def small_png(figure: "Figure", colours: int = COLOURS) -> bytes:
    """The figure as PNG with a small palette."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    with quiet():
        figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        flat = image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    flat.save(small, "png", optimize=True)
    return small.getvalue()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def score_text(score: Mapping[str, object] | None, places: int = 3) -> str:
    """`0.953 (0.950 – 0.956)`; a dash for a missing score."""
    if score is None:
        return "–"
    value, low, high = (f"{score[key]:.{places}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} – {high})"


def span(values: Sequence[float], places: int = 3, times: float = 1.0) -> str:
    """Mean over seeds, with minimum and maximum: `0.853 (0.849 – 0.858)`."""
    mean, low, high = sum(values) / len(values), min(values), max(values)
    if len(values) == 1:
        return f"{times * mean:.{places}f}"
    return f"{times * mean:.{places}f} ({times * low:.{places}f} – {times * high:.{places}f})"


def command(recipe: str, shipped: Recipe, trained: Recipe) -> str:
    """The command for a run: the shipped recipe's name and the fields that differ."""
    before, after = shipped.to_dict(), trained.to_dict()
    settings = [f"{name}={after[name]}" for name in before if before[name] != after[name]]
    quoted = [f'"{s}"' if set(s) & set("() '") else s for s in settings]
    return " ".join(["likewise train", recipe.replace("_", "-"), *quoted])


def save_json(path: Path, content: Content) -> Content:
    """Write JSON atomically; returns the content."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content


def load_json(path: Path) -> Any:  # of the type that the caller saved
    """The content of a file of `save_json`, or None without one."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
