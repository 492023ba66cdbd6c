"""Style of all figures: ten class colours, markers for more classes, axes, atomic saving.

Annealing over sRGB chose the ten class colours: it maximises the smallest OKLab distance between two, also under
simulated colour blindness (protanopia, deuteranopia, tritanopia), with enough contrast on white and on near-black
backgrounds (`tests/viz/test_plots.py` measures both). Text, lines and background use five greys that the report maps to
its theme.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec

import numpy as np

from likewise.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

P = ParamSpec("P")

INK, MUTED, GRID, FAINT, PAPER = "#1c2128", "#5f6771", "#dde1e6", "#b4bac2", "#ffffff"
PALETTE = (
    "#3198f2", "#de6a05", "#236f6e", "#ba3ea8", "#deac1b", "#795ce3", "#09d08a", "#875b10", "#a7b5e2", "#aa8095",
)  # fmt: skip
MARKERS = ("o", "^")
DISTINCT = len(PALETTE) * len(
    MARKERS
)  # classes with a style of their own; with more classes, the SPOTLIT largest are coloured
SPOTLIT = len(PALETTE)
DPI = 150
FORMATS = ("png", "svg", "pdf")

RC: "dict[RcKeyType, object]" = {
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "legend.frameon": False,
    "savefig.dpi": DPI,  # the figure's own: letter widths depend on the size, and the layout was computed for one
    "svg.fonttype": "none",
    "svg.hashsalt": "likewise",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x$"
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


class ClassStyle(NamedTuple):
    """Colour and marker of a class."""

    color: str
    marker: str = "o"


Key = Mapping[int, ClassStyle]  # class index -> style; classes without an entry are drawn in grey


@contextmanager
def quiet() -> Iterator[None]:
    """Apply RC while drawing, and silence warnings about glyphs missing from the font."""
    import matplotlib

    with matplotlib.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styled(draw: "Callable[P, Figure]") -> "Callable[P, Figure]":
    """Decorate a plot function: draw with RC, without changing matplotlib's global settings.

    The layout is computed once, here: it takes longer than drawing, and saving each file would repeat it.
    """

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        with quiet():
            figure = draw(*args, **kwargs)
            if layout := figure.get_layout_engine():
                layout.execute(figure)
            figure.set_layout_engine(None)
            return figure

    return inside


def sheet(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    sharex: bool = False,
    height_ratios: Sequence[float] | None = None,
    width_ratios: Sequence[float] | None = None,
) -> "tuple[Figure, list[Axes]]":
    """A figure of `width` x `height` inches and its panels in row order, without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    grid = figure.subplots(
        rows, columns, squeeze=False, sharex=sharex, height_ratios=height_ratios, width_ratios=width_ratios
    )
    panels = grid.ravel().tolist()
    for axes in panels:
        axes.tick_params(length=0)
        axes.set_axisbelow(True)
    return figure, panels


def class_key(labels_N: np.ndarray, classes: int) -> Key:
    """Styles by class: all classes up to DISTINCT of them, otherwise the SPOTLIT classes with the most images."""
    if classes <= DISTINCT:
        return {c: _style(c) for c in range(classes)}
    counts_C = np.bincount(np.asarray(labels_N), minlength=classes)
    largest = np.argsort(-counts_C, kind="stable")[:SPOTLIT]
    return {int(c): _style(place) for place, c in enumerate(sorted(largest))}


def _style(place: int) -> ClassStyle:
    return ClassStyle(PALETTE[place % len(PALETTE)], MARKERS[place // len(PALETTE) % len(MARKERS)])


def short(name: str, most: int = 22) -> str:
    """Shorten a class name for a legend; a leading blank protects a leading underscore, which matplotlib would hide."""
    name = f" {name}" if name.startswith("_") else name
    return name if len(name) <= most else f"{name[: most - 1]}…"


def decimal(value: float, places: int = 2) -> str:
    """Format with `places` decimals and a typographic minus sign."""
    return f"{value:.{places}f}".replace("-", "−")


def check_format(path: str | os.PathLike) -> str:
    """The format that a file name asks for. Errors: ValueError for none of png, svg, pdf."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ValueError(f"{os.fspath(path)}: a figure is written as {', '.join(FORMATS)}; name the file .{FORMATS[0]}")
    return suffix


def save(figure: "Figure", path: str | os.PathLike) -> Path:
    """Write the figure as PNG, SVG or PDF by the file's suffix, atomically. Errors: as in `check_format`."""
    path, kind = Path(path), check_format(path)
    with replacing(path) as temporary, quiet():
        figure.savefig(temporary, format=kind)
    return path
