"""A comparison as a page, as Markdown and as figures."""

from html import unescape
from pathlib import Path

import numpy as np

from likewise import plots
from likewise.compare import FIXED_THRESHOLD, LEVEL, METRICS, Comparison, Row
from likewise.evaluate import Embeddings, Score
from likewise.page import document
from likewise.page.html import Html, inline, table, tag
from likewise.plots import Cloud, Curve
from likewise.project import plane
from likewise.run import replacing

__all__ = ["markdown", "write_comparison"]

FIXED = "accuracy at 0.5"
EXPLAINED = (
    "Values with their 95 % intervals, on test pictures. Bold: better than every other row of its column by a paired "
    f"test on the same queries, p < {LEVEL} after Holm's correction; no bold where that cannot be said, or where a "
    f"score has no value per query. The column '{FIXED}' is what many projects report: the share of pairs judged "
    f"right when a distance below {FIXED_THRESHOLD} counts as the same, whatever the model. Beside it, pair_accuracy "
    "uses the threshold chosen on validation pairs."
)


def write_comparison(found: Comparison) -> list[Path]:
    """compare.md and compare.html, the page last; figures beside them in plots/."""
    pages = {"compare.md": markdown(found), "compare.html": page(found)}
    for name, text in pages.items():
        with replacing(found.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [found.folder / name for name in pages]


def markdown(found: Comparison) -> str:
    """The table as Markdown, with what its columns mean."""
    head, rows = cells(found)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{EXPLAINED}\n"


def cells(found: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [name for name in METRICS if any(name in row.scores for row in found.rows)]
    head = ["method", *names, FIXED, "seconds", "images/s"]
    rows = [
        [
            row.label.replace("|", "\\|"),
            *(said(found, row, name) for name in names),
            f"{row.fixed:.3f}",
            f"{row.seconds:.0f}",
            f"{row.images_per_s:,.0f}",
        ]
        for row in found.rows
    ]
    return head, rows


def said(found: Comparison, row: Row, name: str) -> str:
    """`**0.993** (0.992 – 0.995)`; empty where the row has no such score."""
    if name not in row.scores:
        return ""
    score = row.scores[name]
    value = f"{score['value']:.3f}"
    bold = f"**{value}**" if found.best.get(name) == row.label else value
    return f"{bold} ({score['low']:.3f} – {score['high']:.3f})"


def page(found: Comparison) -> str:
    """The whole document."""
    head, rows = cells(found)
    shown = table(head, ([strong(cell) for cell in row] for row in rows), numbers=range(1, len(head)))
    sections = [
        ("scores", "Scores", [shown, tag("p", EXPLAINED)]),
        ("bars", "Nearest neighbour", [figure(found, "knn1", bars(found, "knn@1"), "knn@1 of each method")]),
        ("losses", "Loss curves", [figure(found, "losses", losses(found), "training loss of each method")]),
        ("maps", "Maps of the test pictures", [figure(found, "maps", maps(found), "test pictures of each method")]),
        ("recipes", "Recipes", [tag("pre", row.recipe.to_toml()) for row in found.rows]),
    ]
    return document(found.folder.resolve().name, "Likewise comparison", [], sections)


def strong(cell: str) -> Html:
    """`**x**` as an element, everything else as text."""
    before, bold, rest = cell.partition("**")
    if not bold:
        return tag("span", unescape(before).replace("\\|", "|"))
    inside, _, after = rest.partition("**")
    return tag("span", before, tag("strong", inside), after)


def figure(found: Comparison, name: str, drawn, label: str) -> Html:
    """A figure on the page, and as PNG in plots/."""
    plots.save(drawn, found.folder / "plots" / f"{name}.png")
    return inline(drawn, name, label)


def bars(found: Comparison, name: str):
    told = {row.label: row.scores[name] for row in found.rows if name in row.scores}
    scored = {label: Score(s["value"], s["low"], s["high"], int(s["n"])) for label, s in told.items()}
    return plots.compare_bars(scored, xlabel=name)


def losses(found: Comparison):
    """Each method's loss over seconds of training; a dashed line where its chance value lies."""
    curves, chance = {}, {}
    for row in found.rows:
        lines = [r for r in row.runs[0].records() if r["kind"] == "train"]
        curves[row.label] = Curve([r["seconds"] for r in lines], [r["loss"] for r in lines])
        if (value := row.runs[0].scores().get("chance")) is not None:
            chance[row.label] = value
    return plots.losses_family(curves, chance=chance, xlabel="seconds of training")


def maps(found: Comparison):
    """The test pictures of each method's first run, in the plane of their largest variance."""
    panels = {}
    for row in found.rows:
        part = Embeddings.load(row.runs[0].embeddings).part(row.runs[0].scores()["split"])
        kept = part.take(np.linspace(0, len(part) - 1, min(len(part), 2000)).astype(int).tolist())
        panels[row.label] = Cloud(plane(kept.vectors)(kept.vectors), kept.labels.numpy(), kept.classes)
    return plots.maps(panels, shared=False, columns=min(3, len(panels)), side=2.6)
