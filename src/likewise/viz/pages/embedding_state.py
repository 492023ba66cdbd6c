"""The state of the embedding in the report: numbers that are no scores, and how wide each class is."""

from collections.abc import Sequence

from likewise import spec
from likewise.embeddings import as_seen
from likewise.metrics import health
from likewise.viz.pages.html import Html, table, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.pages.score_texts import percent
from likewise.viz.plots.style import decimal

__all__ = ["state"]

# name: title, what it says.
MEASURES = {
    "effective_rank": ("Directions in use", "Of {dimensions} dimensions, after centring. Near 1: all on one line."),
    "norm_mean": ("Length of the vectors", "From {norm_min} to {norm_max}. Near 0, or far apart, is a bad sign."),
    "alignment": ("Distance of classmates", "Mean squared distance at unit length: 0 is one point, 2 is unrelated."),
    "uniformity": ("Evenness", "0: all at one point. The lower the more evenly spread; many dimensions allow −4."),
    "hubness": ("Hubs", "How unevenly pictures are near others (skewness). Far above 1: a few are near everything."),
    "orphans": ("Orphans", "Pictures that are among the ten nearest of no other: nobody finds them."),
    "davies_bouldin": ("Davies–Bouldin", "Widths of two classes over their distance, the worst for each: low is good."),
    "calinski_harabasz": ("Calinski–Harabasz", "Variance between classes over that within them: high is good."),
    "overlapping": ("Overlapping classes", "Classes wider than the way to the next one: their pictures mix."),
}
SHARES = ("orphans", "overlapping")
OPEN_ROWS = 10  # of the classes; further ones unfold


def state(m: RunData) -> list[Html]:
    """What docs/metrics.md calls health, in words, and the spread of each class."""
    held = m.metrics.get("health") or {}
    said = {name: decimal(value, 2).removesuffix(".00") for name, value in held.items()}
    rows = [
        (title, percent(held[name]) if name in SHARES else said[name], meaning.format(**said))
        for name, (title, meaning) in MEASURES.items()
        if name in held
    ]
    says = "Of held-out pictures. These are no scores: they say how the embedding uses its room, and where it is ill."
    shown = [tag("p", says), table(["", "Value", "What it says"], rows, numbers=[1])] if rows else []
    return [*shown, *_classes(m)]


def _classes(m: RunData) -> list[Html]:
    """Width and way to the next class, those that run into it most first."""
    if m.query is None or len(m.query.labels.unique()) < 2:
        return []
    found = health.spread(as_seen(m.query.vectors, spec.bind("sim", m.sim_name)), m.query.labels)
    order = (found.within / found.between).argsort(descending=True, stable=True).tolist()
    rows = [_class(found, i, m.query.classes) for i in order]
    head = ["Class", "Width", "Next class", "Distance", "Width over distance"]
    says = (
        "Width: how far its pictures lie from their mean (root mean square). Distance: from that to the next mean. "
        "The nearer to 1 their ratio, the more pictures of the two lie among one another."
    )
    parts = [tag("h3", "Spread of each class"), tag("p", says), table(head, rows[:OPEN_ROWS], numbers=[1, 3, 4])]
    if rest := rows[OPEN_ROWS:]:
        more = tag("summary", f"The other {len(rest)} classes")
        parts.append(tag("details", more, table(head, rest, numbers=[1, 3, 4])))
    return parts


def _class(found: health.Spread, i: int, classes: Sequence[str]) -> Sequence[object]:
    within, between = float(found.within[i]), float(found.between[i])
    share = decimal(within / between, 2) if between else "∞"
    return classes[int(found.label[i])], decimal(within, 3), classes[int(found.nearest[i])], decimal(between, 3), share
