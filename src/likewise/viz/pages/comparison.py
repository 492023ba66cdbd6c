"""A comparison as HTML page, Markdown table and figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likewise.atomic import replacing
from likewise.data.images import Images
from likewise.evaluate import Embeddings, Score
from likewise.experiment.compare import FIXED_THRESHOLD, LEVEL, LOWER_IS_BETTER, METRICS, Comparison, Row
from likewise.experiment.records import ScoreRecord
from likewise.experiment.verdict import typed, verdict_of
from likewise.viz import plots
from likewise.viz.pages import flips, methods, ranking, score_texts
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, asset, inline, join, scrolled, table, tag
from likewise.viz.pages.scores import duration
from likewise.viz.pages.workspace import grade_mark
from likewise.viz.plots import Cloud, Curve
from likewise.viz.plots.style import decimal
from likewise.viz.projection import plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["markdown", "write_comparison"]

FIXED = "accuracy at 0.5"
FIXED_MEANING = (
    f"Accuracy on the same pairs if a distance below {FIXED_THRESHOLD} counts as the same for every model, as many "
    "projects report it. Compare methods by pair_accuracy, with the threshold chosen on validation pairs."
)
BOLD = (
    f"Bold: better than every other row of its column by a paired test on the same queries or pairs, p < {LEVEL} after "
    "Holm's correction; no bold without such a difference."
)
EXPLAINED = (
    "Values with their 95 % intervals, on test images; ↓: the lower the better. "
    f"{BOLD} Column '{FIXED}': {FIXED_MEANING[0].lower()}{FIXED_MEANING[1:]}"
)
POINTS = 2_000  # points per map
LINKS = 8  # runs in the head of the page, at most; the tables link to all


def write_comparison(comparison: Comparison, images: Images | None = None) -> list[Path]:
    """Write compare.md and compare.html (the last path returned), with figures in plots/."""
    pages = {"compare.md": markdown(comparison), "compare.html": page(comparison, images)}
    for name, text in pages.items():
        with replacing(comparison.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [comparison.folder / name for name in pages]


# The table.


def columns(comparison: Comparison) -> list[str]:
    """Scores present in any row; accuracy at the fixed threshold comes after pair_accuracy."""
    names = [name for name in METRICS if any(name in row.scores for row in comparison.rows)]
    at = names.index("pair_accuracy") + 1 if "pair_accuracy" in names else len(names)
    return [*names[:at], *([FIXED] if any(row.fixed is not None for row in comparison.rows) else []), *names[at:]]


def figures(comparison: Comparison, row: Row, name: str) -> tuple[str, str, bool]:
    """A score, its interval, and whether it is the best; empty strings for a missing score."""
    if name == FIXED:
        return "" if row.fixed is None else decimal(row.fixed, 3), "", False
    value, interval = numbers(row.scores.get(name))
    return value, interval, bool(value) and comparison.best.get(name) == row.label


def numbers(score: Mapping[str, float] | ScoreRecord | None) -> tuple[str, str]:
    """A value and its interval; empty for none."""
    if not score:
        return "", ""
    return decimal(score["value"], 3), f"{decimal(score['low'], 3)} – {decimal(score['high'], 3)}"


def marked(name: str) -> str:
    return f"{name} ↓" if name in LOWER_IS_BETTER else name


def markdown(comparison: Comparison) -> str:
    """The table as Markdown, with the meaning of its columns."""
    names = columns(comparison)
    head = ["method", *map(marked, names), "seconds", "images/s"]
    rows = [
        [
            bars_escaped(row.label),
            *(plain(*figures(comparison, row, name)) for name in names),
            f"{row.seconds:.0f}",
            f"{row.images_per_s:,.0f}",
        ]
        for row in comparison.rows
    ]
    rows += [[bars_escaped(label), "diverged", *[""] * (len(head) - 2)] for label in comparison.failed]
    for one in comparison.without_training:
        cells = (plain(*numbers(one.scores.get(name)), False) for name in names)
        rows.append([bars_escaped(f"{one.label} (without training)"), *cells, "", ""])
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{EXPLAINED} {of_seeds(comparison)}\n"


def of_seeds(comparison: Comparison) -> str:
    """Sentence on the number of seeds and what the intervals cover."""
    if (n := len(comparison.rows[0].runs)) > 1:
        return f"Values are means over {n} seeds, and intervals cover each seed's own."
    return (
        "One run each: intervals and tests are about these trained networks, and other seeds may change a close order; "
        "--seeds 3 averages over three."
    )


def bars_escaped(label: str) -> str:
    return label.replace("|", "\\|")


def plain(value: str, interval: str, best: bool) -> str:
    """`**0.993** (0.992 – 0.995)`."""
    return (f"**{value}**" if best else value) + (f" ({interval})" if interval else "")


def page(comparison: Comparison, images: Images | None = None) -> str:
    """The whole document."""
    bars(comparison, "knn@1")
    sections = [
        ("scores", "Scores", [verdict(comparison), *ranking.dots(comparison)]),
        ("wins", "Pairwise wins", ranking.wins(comparison)),
        ("table", "All scores", [scores_table(comparison), *notes(comparison)]),
        ("flips", "Flipped queries", flipped(comparison, images)),
        ("threshold", "Why no fixed threshold", fixed_threshold(comparison)),
        ("losses", "Loss curves", losses(comparison)),
        ("maps", "Maps of the test images", maps(comparison)),
        ("recipes", "Recipes and runs", methods.recipes(comparison)),
    ]
    filled = [section for section in sections if section[2]]
    name = comparison.folder.resolve().name
    sheet = tag("style", Html("@page { size: A4 landscape; margin: 10mm; }" + asset("flips.css")))
    return document(name, "Likewise comparison", [methods.facts(comparison)], filled, top=top(comparison), head=[sheet])


def top(comparison: Comparison) -> Html:
    """The head of the pages of a run, with links to the report of each method."""
    here = tag("a", "Comparison", href="compare.html", aria_current="page")
    linked = [ranking.link(comparison, row.label) for row in comparison.rows]
    reports = [link for link in linked if isinstance(link, Html)]
    return tag(
        "header",
        tag("span", "Likewise", class_="brand"),
        tag("span", comparison.folder.resolve().name, class_="run"),
        tag("nav", here, *(reports if len(reports) <= LINKS else ()), aria_label="Comparison and its runs"),
        class_="workspace",
    )


def verdict(comparison: Comparison) -> Html:
    """The best method by the first compared score, and whether the difference is significant."""
    name = next((name for name in METRICS if name in comparison.p), None)
    if name is None:
        return tag("p", "Only one method has scores, so there is nothing to compare.")
    top = next(row for row in comparison.rows if row.label not in comparison.p[name])
    title, value = score_texts.title(name), score_texts.number(name, top.scores[name]["value"])
    near = [label for label, p in comparison.p[name].items() if p >= LEVEL]
    if near:
        sure = f"not significantly better than {', '.join(near)} (p ≥ {LEVEL})."
    else:
        sure = f"significantly better than every other method (p < {LEVEL})."
    grade = verdict_of(top.runs[0])
    but = [] if grade.grade == "good" else [tag("p", grade_mark(grade.grade), f"{top.label}: {grade.reason}.")]
    return join(tag("p", f"{title}: ", tag("strong", top.label), f" is best with {value}, {sure}"), *but)


def flipped(comparison: Comparison, images: Images | None) -> list[Html]:
    """Queries on which the first runs of the two best methods by `knn@1` differ."""
    scored = sorted(
        (row for row in comparison.rows if "knn@1" in row.scores), key=lambda row: -row.scores["knn@1"]["value"]
    )
    if len(scored) < 2:
        return []
    best, second = (row.runs[0] for row in scored[:2])
    text = f"The first runs of the two best methods by 1-NN accuracy, from {scored[1].label} to {scored[0].label}."
    above = comparison.folder.resolve().name
    command = " ".join(["likewise explore", *(f"{above}/{typed(run)}" for run in (second, best))])
    return [tag("p", text), *flips.between(second, best, images, command)]


def scores_table(comparison: Comparison) -> Html:
    names = columns(comparison)
    head = ["Method", "Verdict", *(heading(name, tag("br")) for name in names), "Training"]
    rows: list[Sequence[object]] = [
        [
            ranking.link(comparison, row.label),
            graded(row),
            *(cell(*figures(comparison, row, name)) for name in names),
            cell(duration(row.seconds), f"{row.images_per_s:,.0f} images/s", False),
        ]
        for row in comparison.rows
    ]
    rows += [[label, "diverged", *[""] * (len(head) - 2)] for label in comparison.failed]
    for one in comparison.without_training:
        figured = [cell(*numbers(one.scores.get(name)), False) for name in names]
        rows.append([one.label, tag("span", "without training", class_="note"), *figured, ""])
    return table(head, rows, numbers=range(2, len(head)))


def graded(row: Row) -> Html:
    """The verdict on the method's first run, with its reason."""
    grade = verdict_of(row.runs[0])
    return join(
        grade_mark(grade.grade), *([] if grade.grade == "good" else [tag("br"), tag("span", grade.name, class_="note")])
    )


def heading(name: str, between: object = " ") -> Html:
    title = "At fixed 0.5" if name == FIXED else score_texts.title(name)
    arrow = " ↓" if name in LOWER_IS_BETTER else ""
    return join(f"{title}{arrow}", *([] if name == FIXED else [between, tag("code", name)]))


def cell(value: str, interval: str, best: bool) -> Html:
    return join(tag("strong" if best else "span", value), tag("br"), tag("span", interval, class_="note"))


def notes(comparison: Comparison) -> list[Html]:
    """Notes on bold values, the columns, p-values, and diverged methods."""
    diverged = [
        tag("p", tag("strong", label), f" diverged and has no scores: {why}.")
        for label, why in comparison.failed.items()
    ]
    text = f"Below each value its 95 % interval. ↓: the lower the better. {BOLD} {of_seeds(comparison)}"
    note = [tag("p", text, class_="note")]
    note += [
        tag("p", f"{one.label}: without training, {one.note}.", class_="note") for one in comparison.without_training
    ]
    meant = tag("details", tag("summary", "What the columns mean"), *meanings(comparison), open="")
    return [*diverged, *note, meant, *p_values(comparison)]


def meanings(comparison: Comparison) -> Iterator[Html]:
    for name in columns(comparison):
        row = next((row for row in comparison.rows if name in row.scores), None)
        score_text = score_texts.sentence(name, row.scores[name]) if row else None
        meaning = FIXED_MEANING if name == FIXED else score_text[1] if score_text else ""
        yield tag("p", tag("strong", heading(name)), f": {meaning}", class_="note")


def p_values(comparison: Comparison) -> list[Html]:
    names = list(comparison.p)
    if not names:
        return []
    rows = [[row.label, *(p_text(comparison, row.label, name) for name in names)] for row in comparison.rows]
    text = (
        "p: the probability of a difference to the best of the column at least this large if both were equally good, "
        "corrected for the number of rows (Holm)."
    )
    shown = table(["Method", *names], rows, numbers=range(1, len(names) + 1))
    return [tag("details", tag("summary", "p-values of each row against the best"), tag("p", text), shown)]


def p_text(comparison: Comparison, label: str, name: str) -> str:
    p = comparison.p[name].get(label)
    return "best" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def fixed_threshold(comparison: Comparison) -> list[Html]:
    """Pair accuracy with the validated threshold beside that at a fixed threshold."""
    rows = [row for row in comparison.rows if row.fixed is not None and "pair_accuracy" in row.scores]
    if not rows:
        return []
    right = {row.label: row.scores["pair_accuracy"]["value"] for row in rows}
    fixed = {row.label: row.fixed or 0.0 for row in rows}
    best, seeming = (max(side, key=lambda label: side[label]) for side in (right, fixed))
    off = max(right, key=lambda label: right[label] - fixed[label])
    text = (
        "A threshold on the distance decides whether two images show the same class. Every method has its own scale: "
        f"one threshold for all, such as {FIXED_THRESHOLD}, measures the scale and not the method. Here {off} falls "
        f"from {score_texts.percent(right[off])} to {score_texts.percent(fixed[off])}; chance level is 50 %."
    )
    if seeming != best:
        text += f" With it {seeming} would seem best; with validated thresholds {best} is."
    cells = [[label, *meter(right[label]), *meter(fixed[label])] for label in right]
    head = ["Method", "Threshold from validation pairs", "", f"Distance below {FIXED_THRESHOLD}", ""]
    return [tag("p", text), table(head, cells, numbers=[1, 3])]


def meter(share: float) -> tuple[str, Html]:
    bar = tag("span", tag("i", style=f"width:{100 * share:.1f}%"), class_="bar", aria_hidden="true")
    return score_texts.percent(share), bar


# The figures.


def shown(comparison: Comparison, name: str, figure: "Figure", caption: str) -> list[Html]:
    """A figure with its caption; also saved as PNG in plots/."""
    plots.save(figure, comparison.folder / "plots" / f"{name}.png")
    drawing = scrolled("drawing", "figure", inline(figure, name, caption))
    return [tag("figure", drawing, tag("figcaption", caption), class_="wide")]


def bars(comparison: Comparison, name: str) -> None:
    """Save plots/knn1.png, a bar for each method."""
    scores = {row.label: row.scores[name] for row in comparison.rows if name in row.scores}
    if scores:
        scored = {label: Score(s["value"], s["low"], s["high"], int(s["n"])) for label, s in scores.items()}
        plots.save(plots.compare_bars(scored, xlabel=name), comparison.folder / "plots" / "knn1.png")


def losses(comparison: Comparison) -> list[Html]:
    """Each method's loss over seconds of training, with its loss at collapse as a dashed line."""
    curves, at_collapse = {}, {}
    for row in comparison.rows:
        lines = [r for r in row.runs[0].records() if r["kind"] == "train"]
        curves[row.label] = Curve([r["seconds"] for r in lines], [r["loss"] for r in lines])
        if (value := row.runs[0].metrics().get("loss_at_collapse")) is not None:
            at_collapse[row.label] = value
    text = (
        "Training loss of each method's first run; the bold line is its running mean. Each loss has its own scale: "
        "compare shapes, not heights. Dashed, if known: the loss of a collapsed embedding."
    )
    return shown(
        comparison,
        "losses",
        plots.losses_family(curves, loss_at_collapse=at_collapse, xlabel="seconds of training"),
        text,
    )


def maps(comparison: Comparison) -> list[Html]:
    """Test images of each method's first run in its PCA plane."""
    panels = {}
    for row in comparison.rows:
        part = Embeddings.load(row.runs[0].embeddings).part(row.runs[0].metrics()["split"])
        shown_part = part.take(np.linspace(0, len(part) - 1, min(len(part), POINTS)).astype(int).tolist())
        panels[row.label] = Cloud(
            plane(shown_part.vectors)(shown_part.vectors), shown_part.labels.numpy(), shown_part.classes
        )
    text = (
        f"Each point is a test image ({POINTS:,} at most), its colour the class, in the PCA plane of "
        "its embedding, each map at its own scale. Classes that overlap here may be separate in other dimensions: "
        "rely on the scores above, not on the map."
    )
    return shown(comparison, "maps", plots.maps(panels, shared=False, columns=min(3, len(panels)), side=2.6), text)
