"""A section of docs/forerunners.md: Markdown, tables and small pictures, written beside the runs they come from."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.atomic import replacing
from likewise.experiment.recipe import Recipe
from likewise.viz.plots.style import quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "Section", "command", "keep", "kept", "span", "table", "told"]

PICTURES = "pictures/forerunners"  # where docs/forerunners.md looks for them
DPI, COLOURS = 100, 96  # of a picture that goes into the repository


@dataclass
class Section:
    """What was found, in the order in which it is read; `write` puts it into the experiment's folder."""

    name: str
    folder: Path
    parts: list[str] = field(default_factory=list)

    def say(self, *paragraphs: str) -> None:
        self.parts += paragraphs

    def rows(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.parts.append(table(head, rows))

    def figure(self, name: str, figure: "Figure", caption: str, *, colours: int = COLOURS) -> None:
        """Keep a figure as a small PNG of so many colours, at most 256, and show it."""
        file = f"{self.name}-{name}.png"
        with replacing(self.folder / file) as temporary:
            temporary.write_bytes(small_png(figure, colours))
        self.picture(file, caption)

    def picture(self, file: str, caption: str) -> None:
        """Show a picture that lies in the folder."""
        self.parts.append(f"![{caption}]({PICTURES}/{file})")

    def write(self) -> Path:
        path = self.folder / f"{self.name}.md"
        with replacing(path) as temporary:
            temporary.write_text("\n\n".join(self.parts) + "\n", encoding="utf-8")
        return path


def small_png(figure: "Figure", colours: int = COLOURS) -> bytes:
    """The figure as PNG in few colours."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    with quiet():
        figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as picture:
        flat = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    flat.save(small, "png", optimize=True)
    return small.getvalue()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def told(score: Mapping[str, Any] | None, places: int = 3) -> str:
    """`0.953 (0.950 – 0.956)`; a dash where there is no such score."""
    if score is None:
        return "–"
    value, low, high = (f"{score[key]:.{places}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} – {high})"


def span(values: Sequence[float], places: int = 3, times: float = 1.0) -> str:
    """The mean over seeds, and from the least to the largest: `0.853 (0.849 – 0.858)`."""
    mean, low, high = sum(values) / len(values), min(values), max(values)
    if len(values) == 1:
        return f"{times * mean:.{places}f}"
    return f"{times * mean:.{places}f} ({times * low:.{places}f} – {times * high:.{places}f})"


def command(recipe: str, shipped: Recipe, trained: Recipe) -> str:
    """What to type for this run: the shipped recipe's name, and the fields that differ from it."""
    before, after = shipped.to_dict(), trained.to_dict()
    settings = [f"{name}={after[name]}" for name in before if before[name] != after[name]]
    quoted = [f'"{s}"' if set(s) & set("() '") else s for s in settings]
    return " ".join(["likewise train", recipe.replace("_", "-"), *quoted])


def keep(path: Path, found: Any) -> Any:
    """Write what was found as JSON, whole or not at all; returns it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def kept(path: Path) -> Any:
    """What `keep` wrote, or None."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
