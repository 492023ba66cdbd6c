"""The parts of the report that are figures. Each figure stands in the page as SVG and beside it as a PNG."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from likewise import spec
from likewise.embeddings import as_seen
from likewise.evaluate import Embeddings
from likewise.metrics import classification
from likewise.metrics.calibration import restored
from likewise.metrics.neighbours import Sim
from likewise.viz import plots
from likewise.viz.pages import findings, score_texts
from likewise.viz.pages.html import Html, inline, tag
from likewise.viz.pages.run_data import RunData, held_out
from likewise.viz.plots import Cloud, Curve
from likewise.viz.plots.style import DISTINCT, decimal
from likewise.viz.projection import Plane, plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["before_after", "embedding_map", "pair_similarities", "silhouette", "training"]

CURVES = 4  # validation scores on one plot
PANELS = 12  # epochs in the series
POINTS = 5_000  # of a panel


def shown(m: RunData, name: str, figure: "Figure", caption: str) -> Html:
    """The figure with its caption; also kept as plots/NAME.png."""
    plots.save(figure, m.run.path / "plots" / f"{name}.png")
    wide = "wide" if figure.get_figwidth() > 6 else None
    return tag(
        "figure", tag("div", inline(figure, name, caption), class_="drawing"), tag("figcaption", caption), class_=wide
    )


def training(m: RunData) -> list[Html]:
    """Loss, validation scores and active anchors over epochs."""
    drawn = [*_loss(m), *_validation(m), *_active(m)]
    return [tag("div", *drawn, class_="figures")] if drawn else []


def _loss(m: RunData) -> Iterator[Html]:
    if lines := m.lines("train", "epoch", "loss"):
        at_collapse = m.metrics.get("loss_at_collapse")
        says = "Training loss; the bold line is its running mean."
        if at_collapse is not None:
            says += f" At {at_collapse:.3g} (dashed) lies the loss of a collapsed embedding, all vectors equal."
        yield shown(m, "loss", plots.loss_curve(_curve(lines, "loss"), loss_at_collapse=at_collapse), says)


def _validation(m: RunData) -> Iterator[Html]:
    lines = m.lines("val", "epoch", "scores")
    there = list(dict.fromkeys(name for line in lines for name in line["scores"]))
    wanted = [n for n in ("knn@1", "recall@1", "map@r", "silhouette", "pair_auc", *there) if n in there]
    curves = {n: _scored(lines, n) for n in list(dict.fromkeys(wanted))[:CURVES]}
    if len(lines) > 1 and curves:
        says = f"Validation scores, shaded over their 95 % intervals: {', '.join(map(score_texts.title, curves))}."
        yield shown(m, "scores", plots.score_curves(curves), says)


def _active(m: RunData) -> Iterator[Html]:
    lines = m.lines("train", "epoch", "active")
    if any(line["active"] < 1 for line in lines):  # of many losses every anchor is active, always
        says = "Active anchors: the share of pictures in a batch that the loss still asks to move."
        yield shown(m, "active", plots.active_curve(_curve(lines, "active")), says)


def _curve(lines: list[dict[str, Any]], value: str) -> Curve:
    return Curve([line["epoch"] for line in lines], [line[value] for line in lines])


def _scored(lines: list[dict[str, Any]], name: str) -> Curve:
    found = [(line["epoch"], line["scores"][name]) for line in lines if name in line["scores"]]
    return Curve([x for x, _ in found], *([score[k] for _, score in found] for k in ("value", "low", "high")))


def embedding_map(m: RunData) -> list[Html]:
    """Training and held-out pictures in the same plane."""
    if m.embeddings is None:
        return []
    seen = plane(m.embeddings.vectors)
    named = {"train": "training", "val": "validation", "test": "test"}
    parts = {named[split]: m.embeddings.part(split) for split in ("train", "test", "val")}
    panels = dict(_panel(name, part, seen) for name, part in parts.items() if len(part))
    panels = dict(list(panels.items())[:2])  # validation only where there is no test part
    figure = plots.maps(panels, key=m.key, columns=len(panels))
    says = f"Each point is a picture, its colour the class. {_plane_said(m.embeddings, seen)} {_beyond(m)}"
    return [shown(m, "map", figure, says.strip()), *_regions(m)]


def _regions(m: RunData) -> Iterator[Html]:
    """Of an embedding in the plane: which class a linear classifier names where."""
    if m.embeddings is None or m.query is None or m.open or m.embeddings.vectors.shape[1] != 2:
        return
    train, sim = m.embeddings.part("train"), spec.bind("sim", m.sim_name)
    if not 2 <= len(train.labels.unique()) <= DISTINCT:
        return
    probe = classification.probe(as_seen(train.vectors, sim), train.labels)
    cloud = _cloud(findings.spaced(m.query, POINTS), plane(m.query.vectors))
    says = (
        "The held-out pictures over the regions in which a linear classifier (logistic regression, fitted to the "
        "training pictures) names each class: a point on a field of another colour is named wrongly."
    )
    yield shown(m, "regions", plots.decision_regions(cloud, EpochEmbeddings(probe, sim)), says)


class EpochEmbeddings:
    """A probe that sees places of the plane as the similarity does."""

    def __init__(self, probe: Any, sim: Sim):
        self.probe, self.sim = probe, sim

    def predict(self, xy_N2: np.ndarray) -> np.ndarray:
        return self.probe.predict(as_seen(torch.from_numpy(xy_N2).float(), self.sim).numpy())


def _panel(name: str, part: Embeddings, seen: Plane) -> tuple[str, Cloud]:
    """A panel of the map: its title and its points, at most POINTS."""
    shown = findings.spaced(part, POINTS)
    count = f"{len(shown):,} of {len(part):,}" if len(shown) < len(part) else f"{len(part):,}"
    return f"{name} ({count})", _cloud(shown, seen)


def _plane_said(embeddings: Embeddings, seen: Plane) -> str:
    width = embeddings.vectors.shape[1]
    if width <= 2:
        return f"The embedding has {width} dimension{'s' if width > 1 else ''}: this is all of it."
    return (
        f"The embedding has {width} dimensions; the map is the plane that holds the most of their variance "
        f"({score_texts.percent(seen.share, 0)}, PCA), so classes that overlap here may be apart in the others."
    )


def _beyond(m: RunData) -> str:
    classes = len(m.embeddings.classes) if m.embeddings is not None else 0
    return f"Of {classes} classes the {len(m.key)} with the most pictures are coloured." if classes > len(m.key) else ""


def before_after(m: RunData) -> list[Html]:
    """The first and the last snapshot, and all of them in a row."""
    seen = {epoch: _visible(snapshot) for epoch, snapshot in m.snapshots.items()}
    if len(seen) < 2:
        return []
    return [_ends(m, seen), *_series(m, seen)]


def _ends(m: RunData, seen: dict[int, Embeddings]) -> Html:
    ends = {
        "before training" if epoch == 0 else f"after epoch {epoch}": seen[epoch] for epoch in (min(seen), max(seen))
    }
    figure = plots.maps(
        {name: _cloud(e, plane(e.vectors)) for name, e in ends.items()}, key=m.key, shared=False, names=False
    )
    own = "" if _flat(seen) else "in the plane of its own largest variance and "
    return shown(m, "before_after", figure, f"The same pictures, each map {own}at its own scale.")


def _series(m: RunData, seen: dict[int, Embeddings]) -> Iterator[Html]:
    if len(seen) > 2:
        last = plane(seen[max(seen)].vectors)
        panels = {f"epoch {epoch}": _cloud(seen[epoch], last) for epoch in _spread(list(seen), PANELS)}
        spans = [float(np.ptp(cloud.xy, axis=0).max()) for cloud in panels.values()]
        alike = max(spans) < 3 * min(spans)
        says = f"The same pictures epoch by epoch{'' if _flat(seen) else f' in the plane of epoch {max(seen)}'}, "
        says += "all at one scale." if alike else "each at its own scale."
        yield shown(m, "series", plots.series(panels, key=m.key, shared=alike), says)


def _flat(seen: dict[int, Embeddings]) -> bool:
    return all(e.vectors.shape[1] <= 2 for e in seen.values())


def _visible(snapshot: Embeddings) -> Embeddings:
    """What a map of a snapshot shows: its held-out pictures, else all."""
    part = held_out(snapshot)
    return snapshot if part is None else part


def _spread(epochs: list[int], most: int) -> list[int]:
    """At most so many of the epochs, evenly spaced, the first and the last among them."""
    return [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, min(most, len(epochs))).round().astype(int))]


def _cloud(part: Embeddings, seen: Plane) -> Cloud:
    return Cloud(seen(part.vectors), part.labels.numpy(), part.classes)


def silhouette(m: RunData) -> list[Html]:
    """The silhouette of each held-out picture, class by class."""
    unit = m.sim_name.startswith("cosine")
    found = findings.silhouettes(m.query, unit=unit) if m.query is not None else None
    if m.query is None or found is None:
        return []
    values_N, labels_N = found
    says = (
        "One thin bar a picture, sorted within its class: near 1 it lies among its own, below 0 nearer to others. "
        f"Euclidean distance{' at unit length' if unit else ''}; {len(values_N):,} of {len(m.query):,} pictures."
    )
    if len(np.unique(labels_N)) > DISTINCT:
        says += f" Shown are the {DISTINCT} classes with the lowest means."
    return [shown(m, "silhouette", plots.silhouette(values_N, labels_N, m.query.classes), says)]


def pair_similarities(m: RunData) -> list[Html]:
    """How similar pairs of one class and of two are; both errors at every threshold; what probabilities are worth."""
    found = m.similarities
    return [] if found is None else [_histogram(m, found), *_det(m, found), *_reliability(m, found)]


def _histogram(m: RunData, found: findings.Similarities) -> Html:
    threshold = (m.metrics.get("threshold") or {}).get("value")
    figure = plots.pair_histogram(*found, threshold=threshold, xlabel=f"similarity ({m.sim_name})")
    says = f"{len(found.same):,} pairs of one class and {len(found.different):,} of two, among held-out pictures."
    if threshold is not None:
        same, different = (np.mean(pairs >= threshold) for pairs in found)
        says += (
            f" At the threshold {score_texts.percent(float(same))} of the same-class pairs are accepted, "
            f"and {score_texts.percent(float(different))} of the others."
        )
    return shown(m, "pairs", figure, says)


def _det(m: RunData, found: findings.Similarities) -> Iterator[Html]:
    if (curve := findings.det(found)) is not None:
        says = (
            "Each point is a threshold: a stricter one accepts fewer pairs of two classes and rejects more of one; "
            "the lower the curve, the better, and on the dotted line both errors are equal."
        )
        yield shown(m, "det", plots.det({m.run.name: curve}), says)


def _reliability(m: RunData, found: findings.Similarities) -> Iterator[Html]:
    fit, scores = m.metrics.get("calibration"), m.metrics.get("scores", {})
    if fit and {"brier", "ece"} <= set(scores):
        off, brier = (scores[name]["value"] for name in ("ece", "brier"))
        says = (
            f"Similarities become probabilities by {score_texts.CURVES[fit['kind']]}, fitted to {fit['n']:,} "
            f"validation pairs; on held-out pairs, half of them of one class, they are off by "
            f"{score_texts.percent(off)} on average (ECE), with a Brier score of {decimal(brier, 3)} "
            "where 0.25 is guessing. On the dashed line they are just right."
        )
        yield shown(m, "reliability", plots.reliability(findings.reliability(found, restored(fit))), says)
