"""Terminal output: the table of a comparison, within 80 columns."""

import textwrap
from collections.abc import Sequence

from likewise.experiment.compare import LEVEL, LOWER_IS_BETTER, METRICS, Comparison, Row
from likewise.experiment.records import ScoreRecord
from likewise.experiment.verdict import verdict_of

__all__ = ["comparison_text"]

WIDTH = 80
NAME, CELL = 20, 12  # columns of the method's name and of a score
SHORT = {"pair_accuracy": "pair acc.", "silhouette_simplified": "silh. s.", "one_shot_error": "one-shot"}


def comparison_text(comparison: Comparison) -> str:
    """Blocks of as many scores as fit beside the names: each value above its 95 % interval; `*` is best by a test."""
    names = [name for name in METRICS if any(name in row.scores for row in comparison.rows)]
    fit = (WIDTH - NAME) // CELL
    blocks = [names[at : at + fit] for at in range(0, len(names), fit)]
    lines = ["\n".join(block(comparison, each)) for each in blocks]
    tail = [f"{label}: diverged" for label in comparison.failed]
    if comparison.best:
        tail.append(f"* better than every other method by a paired test (p < {LEVEL}, Holm)")
    if any(name in LOWER_IS_BETTER for name in names):
        tail.append("↓: the lower the better")
    for one in comparison.without_training:
        tail += textwrap.wrap(f"{one.label}: without training, {one.note}", WIDTH)
    return "\n\n".join([*lines, "\n".join([*seconds(comparison), *tail])])


def block(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """A heading, and two lines for each method, and for what there is without training where it has such a score."""
    heads = [SHORT.get(name, name) + ("↓" if name in LOWER_IS_BETTER else "") for name in names]
    lines = [f"{'':<{NAME}}" + "".join(f"{head:>{CELL}}" for head in heads)]
    for row in comparison.rows:
        cells = [cell(comparison, row, name) for name in names]
        lines.append(f"{shortened(row.label):<{NAME}}" + "".join(f"{value:>{CELL}}" for value, _ in cells))
        lines.append(f"{'':<{NAME}}" + "".join(f"{interval:>{CELL}}" for _, interval in cells))
    for one in comparison.without_training:
        if any(name in one.scores for name in names):
            values, intervals = zip(*(numbers(one.scores.get(name)) for name in names), strict=True)
            lines.append(f"{shortened(one.label):<{NAME}}" + "".join(f"{value:>{CELL}}" for value in values))
            lines.append(f"{'':<{NAME}}" + "".join(f"{interval:>{CELL}}" for interval in intervals))
    return [line.rstrip() for line in lines]


def cell(comparison: Comparison, row: Row, name: str) -> tuple[str, str]:
    value, interval = numbers(row.scores.get(name))
    return f"{value}{'*' if comparison.best.get(name) == row.label else ''}", interval


def numbers(score: "dict[str, float] | ScoreRecord | None") -> tuple[str, str]:
    """A value and its interval; empty for none."""
    return (f"{score['value']:.3f}", f"{score['low']:.3f}–{score['high']:.3f}") if score else ("", "")


def seconds(comparison: Comparison) -> list[str]:
    """One line a method: its whole name where it was cut, its training, and the verdict on its first run."""
    lines = []
    for row in comparison.rows:
        verdict = verdict_of(row.runs[0])
        lines.append(f"{row.label}: {row.seconds:.0f} s, {row.images_per_s:,.0f} images/s; {verdict.grade}")
        if verdict.grade != "good":
            lines[-1] += f" ({verdict.name})"
    return lines


def shortened(label: str) -> str:
    return label if len(label) < NAME else f"{label[: NAME - 2]}…"
