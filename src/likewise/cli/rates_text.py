"""Terminal output: error rates at thresholds of validation pairs, and the scores of pairs by role and by group."""

import textwrap
from collections.abc import Callable, Sequence

from likewise.experiment.records import GapRecord, RatesRecord, ScoreRecord
from likewise.safety.bounds import Record

__all__ = ["rates_text", "verification_text"]

NAME, GROUP, CELL = 24, 26, 15  # widths of columns


def verification_text(rates: Record) -> list[str]:
    """Lines on pairs, of at most 80 columns: error rates, roles, groups, and the gaps between groups."""
    lines = rates_text(rates.get("error_rates") or ())
    if roles := rates.get("roles"):
        lines += ["", *slices_text("role", "pairs", roles, lambda one: f"{one['same'] or one['different']:,}")]
    if groups := rates.get("groups"):
        lines += ["", *slices_text("group", "same/diff", groups, lambda one: f"{one['same']:,}/{one['different']:,}")]
        if more := rates.get("further_groups"):
            lines.append(f"{more:,} more groups with fewer pairs are not listed")
    return lines + [gap_text(gap) for gap in rates.get("gaps") or ()]


def rates_text(rates: Sequence[RatesRecord]) -> list[str]:
    """FRR and FAR at each threshold, with intervals, and the FAR that it had on validation pairs."""
    if not rates:
        return []
    chosen = any("validation_far" in one for one in rates)
    head = "thresholds of validation pairs" if chosen else "thresholds of these pairs"
    lines = [
        f"{head}; 95 % intervals allow for shared images:",
        f"{'':<{NAME}}{'FRR':<24}{'FAR':<24}{'val. FAR' if chosen else ''}".rstrip(),
    ]
    for one in rates:
        before = f"{one['validation_far']['value']:.4f}" if "validation_far" in one else ""
        lines.append(f"{name(one['at'], NAME)}{cell(one['frr'])}{cell(one['far'])}{before}".rstrip())
    return lines


def slices_text(what: str, counted: str, slices: Sequence[Record], count: Callable[[Record], str]) -> list[str]:
    """A row for each role or group: EER, and FRR and FAR at the threshold."""
    heads = [head for head in ("EER", "FRR", "FAR") if any(one[head.lower()] for one in slices)]
    counts = [count(one) for one in slices]
    width = max(len(counted), *map(len, counts)) + 1
    lines = [f"{what:<{GROUP}}{counted:<{width}}" + "".join(f"{head:<{CELL}}" for head in heads).rstrip()]
    for one, n in zip(slices, counts, strict=True):
        cells = "".join(short(one[head.lower()]) for head in heads)
        lines.append(f"{name(one['name'], GROUP)}{n:<{width}}{cells}".rstrip())
    return lines


def gap_text(gap: GapRecord) -> str:
    """`EER gap 0.192 (+0.008 to +0.375): paper above tablet`, within 80 columns."""
    interval = f"{gap['low']:+.3f} to {gap['high']:+.3f}"
    text = f"{gap['score'].upper()} gap {gap['difference']:.3f} ({interval}): {gap['worst']} above {gap['best']}"
    return textwrap.fill(text, 80, subsequent_indent="    ", break_on_hyphens=False)


def cell(score: ScoreRecord) -> str:
    return f"{score['value']:.4f} {score['low']:.4f}–{score['high']:.4f}".ljust(24)


def short(score: ScoreRecord | None) -> str:
    return ("" if score is None else f"{score['value']:.2f} {score['low']:.2f}–{score['high']:.2f}").ljust(CELL)


def name(text: str, width: int) -> str:
    return (text if len(text) < width else f"{text[: width - 2]}…").ljust(width)
