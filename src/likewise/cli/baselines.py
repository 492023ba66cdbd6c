"""Terminal output: what a run would score without training."""

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from likewise.experiment.records import Metrics

__all__ = ["baselines_table"]

WIDTHS = (28, 8, 6, 7, 18)


def baselines_table(metrics: "Metrics") -> str:
    """The table, within 80 columns, under a line that says on which images; empty without baselines."""
    record = metrics.get("without_training")
    if not record or not record["baselines"]:
        return ""
    from likewise.experiment.gain import TITLES, note, rows

    above = textwrap.fill(f"Without training, {note(record)} (gain: this run less the other):", 80)
    lines = [above, "", line(("", "score", "value", "gain", "95 % interval"))]
    lines += [line(row) for row in rows(record)]
    lines += [f"{TITLES.get(name, name)}: none ({why})" for name, why in record["left_out"].items()]
    return "\n".join(lines) + "\n"


def line(cells: tuple[str, ...]) -> str:
    """One row: method and score on the left, numbers on the right."""
    name, score, *numbers = cells
    left = f"{name[: WIDTHS[0]]:<{WIDTHS[0]}}  {score:<{WIDTHS[1]}}"
    right = "".join(f"  {cell:>{width}}" for cell, width in zip(numbers, WIDTHS[2:], strict=True))
    return f"{left}{right}".rstrip()
