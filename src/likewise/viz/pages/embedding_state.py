"""Report section: health statistics of the embedding, and the spread of each class."""

from collections.abc import Sequence

from likewise import spec
from likewise.embeddings import as_seen
from likewise.metrics import health
from likewise.viz.pages.html import Html, table, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.pages.score_texts import percent
from likewise.viz.plots.style import decimal

__all__ = ["state"]

# name: title, meaning
MEASURES = {
    "effective_rank": (
        "Directions in use",
        "Effective rank, of {dimensions} dimensions, after centring. Near 1: all on one line.",
    ),
    "norm_mean": ("Length of the vectors", "From {norm_min} to {norm_max}. Near 0, or far apart, is a warning sign."),
    "alignment": (
        "Alignment",
        "Mean squared distance of same-class images at unit length: 0 is one point, 2 is unrelated.",
    ),
    "uniformity": ("Uniformity", "0: all at one point. Lower: more evenly spread; down to −4 in many dimensions."),
    "hubness": (
        "Hubs",
        "Skewness of the number of times an image is a neighbour. Far above 1: a few images are near everything.",
    ),
    "orphans": ("Orphans", "Images that are not among the ten nearest neighbours of any other image."),
    "davies_bouldin": (
        "Davies–Bouldin",
        "Widths of two classes over their distance, worst case per class: lower is better.",
    ),
    "calinski_harabasz": (
        "Calinski–Harabasz",
        "Variance between classes over variance within classes: higher is better.",
    ),
    "overlapping": ("Overlapping classes", "Classes wider than their distance to the nearest class: their images mix."),
}
SHARES = ("orphans", "overlapping")
OPEN_ROWS = 10  # classes shown at once; the others unfold


def state(m: RunData) -> list[Html]:
    """Health statistics (docs/metrics.md) with their meaning, and the spread of each class."""
    health_scores = m.metrics.get("health") or {}
    formatted = {name: decimal(value, 2).removesuffix(".00") for name, value in health_scores.items()}
    rows = [
        (title, percent(health_scores[name]) if name in SHARES else formatted[name], meaning.format(**formatted))
        for name, (title, meaning) in MEASURES.items()
        if name in health_scores
    ]
    text = "Computed on held-out images. They describe how the embedding uses its space; they are not quality scores."
    shown = [tag("p", text), table(["", "Value", "Meaning"], rows, numbers=[1])] if rows else []
    return [*shown, *_classes(m)]


def _classes(m: RunData) -> list[Html]:
    """Width of each class and distance to the nearest class, most overlapping first."""
    if m.query is None or len(m.query.labels.unique()) < 2:
        return []
    spread = health.spread(as_seen(m.query.vectors, spec.bind("sim", m.sim_name)), m.query.labels)
    order = (spread.within / spread.between).argsort(descending=True, stable=True).tolist()
    rows = [_class(spread, i, m.query.classes) for i in order]
    head = ["Class", "Width", "Nearest class", "Distance", "Width over distance"]
    text = (
        "Width: root mean square distance of its images from their mean. Distance: between that mean and the nearest "
        "other one. The closer their ratio is to 1, the more the two classes overlap."
    )
    parts = [tag("h3", "Spread of each class"), tag("p", text), table(head, rows[:OPEN_ROWS], numbers=[1, 3, 4])]
    if rest := rows[OPEN_ROWS:]:
        more = tag("summary", f"The other {len(rest)} classes")
        parts.append(tag("details", more, table(head, rest, numbers=[1, 3, 4])))
    return parts


def _class(spread: health.Spread, i: int, classes: Sequence[str]) -> Sequence[object]:
    within, between = float(spread.within[i]), float(spread.between[i])
    share = decimal(within / between, 2) if between else "∞"
    return (
        classes[int(spread.label[i])],
        decimal(within, 3),
        classes[int(spread.nearest[i])],
        decimal(between, 3),
        share,
    )
