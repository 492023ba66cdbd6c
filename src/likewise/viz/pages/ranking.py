"""Comparison page: each score as a sorted dot plot with intervals, and which method is better than which."""

from collections.abc import Mapping
from typing import NamedTuple

from likewise.experiment.compare import LEVEL, LOWER_IS_BETTER, METRICS, Comparison, Row
from likewise.viz.pages import score_texts
from likewise.viz.pages.html import Html, join, table, tag

__all__ = ["dots", "link", "wins"]

ROOM = 0.04  # of the scale, left and right of the outermost intervals


class Span(NamedTuple):
    """A score with its interval."""

    value: float
    low: float
    high: float


def link(comparison: Comparison, label: str) -> Html | str:
    """The method's name; a link to the report of its first run where there is one."""
    row = next((row for row in comparison.rows if row.label == label), None)
    if row is None or not row.runs[0].report.is_file():
        return label
    return tag("a", label, href=row.runs[0].report.relative_to(comparison.folder).as_posix())


def dots(comparison: Comparison) -> list[Html]:
    """One plot a score: a row per method, the best first, on a common scale."""
    names = [name for name in METRICS if sum(name in row.scores for row in comparison.rows) > 1]
    if not names:
        return []
    text = "Each dot is a score on test images, its bar the 95 % interval; the best method is on top."
    return [tag("p", text), tag("div", *(plot(comparison, name) for name in names), class_="figures")]


def plot(comparison: Comparison, name: str) -> Html:
    spans = {row.label: span(row, name) for row in comparison.rows if name in row.scores}
    best_first = sorted(spans, key=lambda label: spans[label].value, reverse=name not in LOWER_IS_BETTER)
    low, high = min(s.low for s in spans.values()), max(s.high for s in spans.values())
    room = max(ROOM * (high - low), 1e-6)
    low, high = low - room, high + room
    rows = [line(comparison, label, name, spans[label], low, high) for label in best_first]
    title = score_texts.title(name) + (" (lower is better)" if name in LOWER_IS_BETTER else "")
    ends = tag("span", *(tag("span", score_texts.number(name, end)) for end in (low, high)), class_="ends")
    rows.append(tag("li", tag("span"), ends, tag("span"), aria_hidden="true"))
    return tag("figure", tag("h3", title, " ", tag("code", name)), tag("ol", *rows, class_="dots"))


def span(row: Row, name: str) -> Span:
    score = row.scores[name]
    return Span(score["value"], score["low"], score["high"])


def line(comparison: Comparison, label: str, name: str, s: Span, low: float, high: float) -> Html:
    left, at, right = (100 * (x - low) / (high - low) for x in (s.low, s.value, s.high))
    best = comparison.best.get(name) == label
    bar = tag("i", style=f"left:{left:.2f}%;width:{max(right - left, 0.4):.2f}%")
    track = tag("span", bar, tag("b", style=f"left:{at:.2f}%"), class_="track", aria_hidden="true")
    value = score_texts.number(name, s.value)
    shown = tag("strong" if best else "span", value, title=score_texts.interval(name, s._asdict()))
    return tag("li", tag("span", link(comparison, label), class_="label"), track, shown)


def wins(comparison: Comparison) -> list[Html]:
    """For each score, which method is better than which by a paired test."""
    parts = [
        matrix(comparison, name, wins_by_label)
        for name, wins_by_label in comparison.wins.items()
        if any(wins_by_label.values())
    ]
    if not comparison.wins:
        return []
    text = (
        f"✓: the method of the row is better than that of the column by a paired test on the same queries or pairs, "
        f"p < {LEVEL} after Holm's correction over all pairs of methods; an empty cell: neither is."
    )
    none = [name for name, wins_by_label in comparison.wins.items() if not any(wins_by_label.values())]
    undecided = [tag("p", f"No method is better than another by such a test in {', '.join(none)}.")] if none else []
    return [*([tag("p", text)] if parts else []), *parts, *undecided]


def matrix(comparison: Comparison, name: str, wins_by_label: Mapping[str, list[str]]) -> Html:
    labels = sorted(wins_by_label, key=lambda label: -len(wins_by_label[label]))
    rows = [
        [
            link(comparison, label),
            str(len(wins_by_label[label])),
            *(mark(wins_by_label, label, other) for other in labels),
        ]
        for label in labels
    ]
    return join(
        tag("h3", score_texts.title(name), " ", tag("code", name)),
        table(["Method", "Wins", *labels], rows, numbers=[1], class_="wins"),
    )


def mark(wins_by_label: Mapping[str, list[str]], label: str, other: str) -> Html | str:
    if other in wins_by_label[label]:
        return tag("span", "✓", class_="right", title=f"{label} is better than {other}")
    return "–" if label == other else ""
