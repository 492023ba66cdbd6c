"""A comparison as a page, as Markdown and as figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likewise.atomic import replacing
from likewise.evaluate import Embeddings, Score
from likewise.experiment.compare import FIXED_THRESHOLD, LEVEL, LOWER_IS_BETTER, METRICS, Comparison, Row
from likewise.viz import plots
from likewise.viz.pages import methods, score_texts
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, inline, join, table, tag
from likewise.viz.pages.scores import duration
from likewise.viz.plots import Cloud, Curve
from likewise.viz.plots.style import decimal
from likewise.viz.projection import plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["markdown", "write_comparison"]

FIXED = "accuracy at 0.5"
FIXED_SAID = (
    f"What many projects report: the share of the same pairs judged right when a distance below {FIXED_THRESHOLD} "
    "counts as the same, whatever the model. The right number is pair_accuracy, at the threshold that validation pairs "
    "choose."
)
BOLD = (
    f"Bold: better than every other row of its column by a paired test on the same queries or pairs, p < {LEVEL} after "
    "Holm's correction; no bold where that cannot be said."
)
EXPLAINED = (
    "Values with their 95 % intervals, on test pictures; ↓: the lower the better. "
    f"{BOLD} The column '{FIXED}' is {FIXED_SAID[0].lower()}{FIXED_SAID[1:]}"
)
POINTS = 2_000  # of a map


def write_comparison(found: Comparison) -> list[Path]:
    """compare.md and compare.html, the page last; figures beside them in plots/."""
    pages = {"compare.md": markdown(found), "compare.html": page(found)}
    for name, text in pages.items():
        with replacing(found.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [found.folder / name for name in pages]


# The table.


def columns(found: Comparison) -> list[str]:
    """The scores that some row has; the fixed threshold's stands beside the right one."""
    names = [name for name in METRICS if any(name in row.scores for row in found.rows)]
    at = names.index("pair_accuracy") + 1 if "pair_accuracy" in names else len(names)
    return [*names[:at], *([FIXED] if any(row.fixed is not None for row in found.rows) else []), *names[at:]]


def figures(found: Comparison, row: Row, name: str) -> tuple[str, str, bool]:
    """A score, its interval, and whether it is the best; empty where the row has no such score."""
    if name == FIXED:
        return "" if row.fixed is None else decimal(row.fixed, 3), "", False
    if name not in row.scores:
        return "", "", False
    score = row.scores[name]
    interval = f"{decimal(score['low'], 3)} – {decimal(score['high'], 3)}"
    return decimal(score["value"], 3), interval, found.best.get(name) == row.label


def marked(name: str) -> str:
    return f"{name} ↓" if name in LOWER_IS_BETTER else name


def markdown(found: Comparison) -> str:
    """The table as Markdown, with what its columns mean."""
    names = columns(found)
    head = ["method", *map(marked, names), "seconds", "images/s"]
    rows = [
        [
            bars_escaped(row.label),
            *(plain(*figures(found, row, name)) for name in names),
            f"{row.seconds:.0f}",
            f"{row.images_per_s:,.0f}",
        ]
        for row in found.rows
    ]
    rows += [[bars_escaped(label), "diverged", *[""] * (len(head) - 2)] for label in found.failed]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{EXPLAINED} {of_seeds(found)}\n"


def of_seeds(found: Comparison) -> str:
    """How far the table speaks of methods, and not of single runs."""
    if (n := len(found.rows[0].runs)) > 1:
        return f"Values are means over {n} seeds, and intervals cover each seed's own."
    return (
        "One run each: intervals and tests are about these networks, and another seed may change a close order; "
        "--seeds 3 averages over three."
    )


def bars_escaped(label: str) -> str:
    return label.replace("|", "\\|")


def plain(value: str, interval: str, best: bool) -> str:
    """`**0.993** (0.992 – 0.995)`."""
    return (f"**{value}**" if best else value) + (f" ({interval})" if interval else "")


def page(found: Comparison) -> str:
    """The whole document."""
    sections = [
        ("scores", "Scores", [verdict(found), scores_table(found), *notes(found)]),
        ("threshold", "Why no fixed threshold", misled(found)),
        ("bars", "Nearest neighbour", bars(found, "knn@1")),
        ("losses", "Loss curves", losses(found)),
        ("maps", "Maps of the test pictures", maps(found)),
        ("recipes", "Recipes and runs", methods.recipes(found)),
    ]
    said = [section for section in sections if section[2]]
    return document(found.folder.resolve().name, "Likewise comparison", [methods.facts(found)], said)


def verdict(found: Comparison) -> Html:
    """Who is best by the first score that was compared, and whether that is beyond doubt."""
    name = next((name for name in METRICS if name in found.p), None)
    if name is None:
        return tag("p", "One method has scores: there is nothing to compare it with.")
    top = next(row for row in found.rows if row.label not in found.p[name])
    title, value = score_texts.title(name), score_texts.number(name, top.scores[name]["value"])
    near = [label for label, p in found.p[name].items() if p >= LEVEL]
    if near:
        sure = f"but not beyond doubt: {', '.join(near)} may be as good (p ≥ {LEVEL})."
    else:
        sure = f"better than every other beyond doubt (p < {LEVEL})."
    return tag("p", f"{title}: ", tag("strong", top.label), f" is best with {value}, {sure}")


def scores_table(found: Comparison) -> Html:
    names = columns(found)
    head = ["Method", *(heading(name, tag("br")) for name in names), "Training"]
    rows: list[Sequence[object]] = [
        [
            row.label,
            *(cell(*figures(found, row, name)) for name in names),
            cell(duration(row.seconds), f"{row.images_per_s:,.0f} images/s", False),
        ]
        for row in found.rows
    ]
    rows += [[label, "diverged", *[""] * (len(head) - 2)] for label in found.failed]
    return table(head, rows, numbers=range(1, len(head)))


def heading(name: str, between: object = " ") -> Html:
    title = "At fixed 0.5" if name == FIXED else score_texts.title(name)
    arrow = " ↓" if name in LOWER_IS_BETTER else ""
    return join(f"{title}{arrow}", *([] if name == FIXED else [between, tag("code", name)]))


def cell(value: str, interval: str, best: bool) -> Html:
    return join(tag("strong" if best else "span", value), tag("br"), tag("span", interval, class_="note"))


def notes(found: Comparison) -> list[Html]:
    """What bold means, what each column means, how sure the comparisons are, and what has no scores."""
    gone = [
        tag("p", tag("strong", label), f" diverged and has no scores: {why}.") for label, why in found.failed.items()
    ]
    says = f"Below each value its 95 % interval. ↓: the lower the better. {BOLD} {of_seeds(found)}"
    said = [tag("p", says, class_="note")]
    meant = tag("details", tag("summary", "What the columns mean"), *meanings(found), open="")
    return [*gone, *said, meant, *sureness(found)]


def meanings(found: Comparison) -> Iterator[Html]:
    for name in columns(found):
        row = next((row for row in found.rows if name in row.scores), None)
        told = score_texts.say(name, row.scores[name]) if row else None
        meaning = FIXED_SAID if name == FIXED else told[1] if told else ""
        yield tag("p", tag("strong", heading(name)), f": {meaning}", class_="note")


def sureness(found: Comparison) -> list[Html]:
    names = list(found.p)
    if not names:
        return []
    rows = [[row.label, *(chance(found, row.label, name) for name in names)] for row in found.rows]
    says = (
        "p: how often a difference to the best of the column as large as this, or larger, would come about were both "
        "equally good; corrected for as many tests as there are rows."
    )
    shown = table(["Method", *names], rows, numbers=range(1, len(names) + 1))
    return [tag("details", tag("summary", "How sure: p of each row against the best"), tag("p", says), shown)]


def chance(found: Comparison, label: str, name: str) -> str:
    p = found.p[name].get(label)
    return "best" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def misled(found: Comparison) -> list[Html]:
    """The right accuracy of pairs beside that at a fixed threshold."""
    rows = [row for row in found.rows if row.fixed is not None and "pair_accuracy" in row.scores]
    if not rows:
        return []
    right = {row.label: row.scores["pair_accuracy"]["value"] for row in rows}
    fixed = {row.label: row.fixed or 0.0 for row in rows}
    best, seeming = (max(side, key=lambda label: side[label]) for side in (right, fixed))
    off = max(right, key=lambda label: right[label] - fixed[label])
    says = (
        "Are two pictures of one class? A threshold on their distance says. Every method has a scale of its own, so "
        f"one threshold for all, such as {FIXED_THRESHOLD}, measures the scale and not the method. Here {off} falls "
        f"from {score_texts.percent(right[off])} to {score_texts.percent(fixed[off])}; 50 % is guessing."
    )
    if seeming != best:
        says += f" By it {seeming} would seem best, and that is {best}."
    cells = [[label, *meter(right[label]), *meter(fixed[label])] for label in right]
    head = ["Method", "Threshold from validation pairs", "", f"Distance below {FIXED_THRESHOLD}", ""]
    return [tag("p", says), table(head, cells, numbers=[1, 3])]


def meter(share: float) -> tuple[str, Html]:
    bar = tag("span", tag("i", style=f"width:{100 * share:.1f}%"), class_="bar", aria_hidden="true")
    return score_texts.percent(share), bar


# The figures.


def shown(found: Comparison, name: str, figure: "Figure", caption: str) -> list[Html]:
    """A figure with its caption on the page, and as PNG in plots/."""
    plots.save(figure, found.folder / "plots" / f"{name}.png")
    drawing = tag("div", inline(figure, name, caption), class_="drawing")
    return [tag("figure", drawing, tag("figcaption", caption), class_="wide")]


def bars(found: Comparison, name: str) -> list[Html]:
    told = {row.label: row.scores[name] for row in found.rows if name in row.scores}
    if not told:
        return []
    scored = {label: Score(s["value"], s["low"], s["high"], int(s["n"])) for label, s in told.items()}
    says = "Share of test pictures named rightly by their nearest neighbour; the whisker is the 95 % interval."
    return shown(found, "knn1", plots.compare_bars(scored, xlabel=name), says)


def losses(found: Comparison) -> list[Html]:
    """Each method's loss over seconds of training; a dashed line where its chance value lies."""
    curves, chances = {}, {}
    for row in found.rows:
        lines = [r for r in row.runs[0].records() if r["kind"] == "train"]
        curves[row.label] = Curve([r["seconds"] for r in lines], [r["loss"] for r in lines])
        if (value := row.runs[0].metrics().get("loss_at_collapse")) is not None:
            chances[row.label] = value
    says = (
        "Training loss of each method's first run; the bold line is its running mean. Each loss has its own scale: "
        "compare shapes, not heights. Dashed, where it is known: the loss of a network that has learned nothing."
    )
    return shown(
        found, "losses", plots.losses_family(curves, loss_at_collapse=chances, xlabel="seconds of training"), says
    )


def maps(found: Comparison) -> list[Html]:
    """The test pictures of each method's first run, in the plane of their largest variance."""
    panels = {}
    for row in found.rows:
        part = Embeddings.load(row.runs[0].embeddings).part(row.runs[0].metrics()["split"])
        kept = part.take(np.linspace(0, len(part) - 1, min(len(part), POINTS)).astype(int).tolist())
        panels[row.label] = Cloud(plane(kept.vectors)(kept.vectors), kept.labels.numpy(), kept.classes)
    says = (
        f"Each point is a test picture ({POINTS:,} at most), its colour the class, in the plane that holds the most of "
        "its embedding's variance (PCA), each at a scale of its own. Classes that overlap here may be apart in the "
        "other dimensions: the scores above tell, not the map."
    )
    return shown(found, "maps", plots.maps(panels, shared=False, columns=min(3, len(panels)), side=2.6), says)
