"""An axis of a drawing: places and ticks of numbers, of their logarithms, or of categories."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from likewise.experiment.tune import Span

__all__ = ["Axis", "axis_of"]

TICKS = 4  # between which a linear axis has its steps, about
LETTERS = 14  # of a category


class Axis(NamedTuple):
    """Maps a value to its place between 0 and 1."""

    places: dict[str, float] | None  # of categories
    low: float
    high: float
    log: bool
    ticks: list[tuple[object, str]]  # value and text

    def __call__(self, value: object) -> float:
        if self.places is not None:
            return self.places[str(value)]
        number, low, high = (scaled(one, self.log) for one in (float(str(value)), self.low, self.high))
        return (number - low) / (high - low) if high > low else 0.5


def axis_of(values: Sequence[object], values_or_span: Sequence[str] | Span, *, log: bool | None = None) -> Axis:
    """The axis of a setting. Categories are spaced evenly, in the order in which they were listed.

    values: those that occurred, which widen it. log: by default as the search drew the numbers.
    """
    if not isinstance(values_or_span, Span):
        names = list(dict.fromkeys([*values_or_span, *(str(v) for v in values if v is not None)]))
        places = {name: (n + 0.5) / len(names) for n, name in enumerate(names)}
        short = [(name, name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…") for name in names]
        return Axis(places, 0.0, 1.0, False, list(short))
    numbers = [float(str(v)) for v in values if v is not None] + [values_or_span.low, values_or_span.high]
    low, high, log = min(numbers), max(numbers), values_or_span.log if log is None else log
    between = decades(low, high) if log else steps(low, high)
    ticks = [(n, f"{n:g}".replace("-", "−")) for n in between]
    return Axis(None, low, high, log, list(ticks))


def scaled(number: float, log: bool) -> float:
    return math.log10(number) if log else number


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from low to high; the ends themselves where there are fewer than two."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = [10.0**n for n in range(first, last + 1)]
    return powers if len(powers) > 1 else [low, high]


def steps(low: float, high: float) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from low to high."""
    if not high > low:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]
