"""One look for every figure: ten colours, markers beyond them, dressed axes, atomic saving.

The ten class colours were found by annealing over sRGB so that the nearest two stay as far apart as possible in OKLab,
also as people without red, green or blue cones see them, and so that each stands out on white and on near-black paper
(`tests/test_plots.py` measures both). Texts, lines and paper use five fixed greys, which the report maps to its theme.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

import numpy as np

from likewise.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

INK, MUTED, GRID, FAINT, PAPER = "#1c2128", "#5f6771", "#dde1e6", "#b4bac2", "#ffffff"
PALETTE = (
    "#3198f2", "#de6a05", "#236f6e", "#ba3ea8", "#deac1b", "#795ce3", "#09d08a", "#875b10", "#a7b5e2", "#aa8095",
)  # fmt: skip
MARKERS = ("o", "^")
DISTINCT = len(PALETTE) * len(MARKERS)  # so many classes can be told apart; of more, SPOTLIT are coloured
SPOTLIT = len(PALETTE)
DPI = 150

RC: Any = {
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
    "savefig.dpi": DPI,  # as the figure's own: letters are not equally wide at all sizes, and the layout holds for one
    "svg.fonttype": "none",
    "svg.hashsalt": "likewise",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x$"
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


class Look(NamedTuple):
    """How a class is drawn."""

    color: str
    marker: str = "o"


Key = Mapping[int, Look]  # class index -> look; a class that is absent is drawn in grey


@contextmanager
def quiet() -> Iterator[None]:
    """Our settings, for drawing; no warning for a class name in a script that the font lacks."""
    import matplotlib

    with matplotlib.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styled(draw: "Callable[P, Figure]") -> "Callable[P, Figure]":
    """A plot function that draws with our settings and leaves matplotlib's own as they were.

    The figure is laid out here, once: the layout takes longer than the drawing, and every file would repeat it.
    """

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        with quiet():
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            return figure

    return inside


def sheet(width: float, height: float, rows: int = 1, columns: int = 1, **how: Any) -> "tuple[Figure, list[Axes]]":
    """A figure of `width` x `height` inches and its panels, row by row. No pyplot: nothing global, nothing to close."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **how).ravel().tolist()
    for axes in panels:
        axes.tick_params(length=0)
        axes.set_axisbelow(True)
    return figure, panels


def class_key(labels_N: np.ndarray, classes: int) -> Key:
    """Colour and marker of each class: all of them up to DISTINCT, beyond that the SPOTLIT with the most pictures."""
    if classes <= DISTINCT:
        return {c: _look(c) for c in range(classes)}
    counts_C = np.bincount(np.asarray(labels_N), minlength=classes)
    largest = np.argsort(-counts_C, kind="stable")[:SPOTLIT]
    return {int(c): _look(place) for place, c in enumerate(sorted(largest))}


def _look(place: int) -> Look:
    return Look(PALETTE[place % len(PALETTE)], MARKERS[place // len(PALETTE) % len(MARKERS)])


def short(name: str, most: int = 22) -> str:
    """A class name that fits a legend; matplotlib drops names that begin with an underscore, so a blank goes first."""
    name = f" {name}" if name.startswith("_") else name
    return name if len(name) <= most else f"{name[: most - 1]}…"


def decimal(value: float, places: int = 2) -> str:
    """A number with so many decimal places, and a minus sign that is one."""
    return f"{value:.{places}f}".replace("-", "−")


def save(figure: "Figure", path: str | os.PathLike) -> Path:
    """Write the figure as PNG, whole or not at all."""
    path = Path(path)
    with replacing(path) as temporary, quiet():
        figure.savefig(temporary, format="png")
    return path
