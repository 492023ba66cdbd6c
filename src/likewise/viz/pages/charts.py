"""Report sections that are figures. Each figure is embedded as SVG and saved as PNG."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from likewise import spec
from likewise.embeddings import as_seen
from likewise.evaluate import Embeddings
from likewise.metrics import classification
from likewise.metrics.calibration import restored
from likewise.metrics.neighbours import Sim
from likewise.safety.bounds import Fields
from likewise.viz import plots
from likewise.viz.pages import findings, score_texts
from likewise.viz.pages.html import Html, inline, scrolled, tag
from likewise.viz.pages.run_data import RunData, held_out
from likewise.viz.plots import Cloud, Curve
from likewise.viz.plots.style import DISTINCT, decimal
from likewise.viz.projection import Plane, plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

__all__ = ["before_after", "det", "embedding_map", "reliability", "silhouette", "training"]

CURVES = 4  # validation scores on one plot
PANELS = 12  # epochs in the series
POINTS = 5_000  # points per panel


def shown(m: RunData, name: str, figure: "Figure", caption: str) -> Html:
    """The figure with its caption; also saved as plots/NAME.png."""
    plots.save(figure, m.run.path / "plots" / f"{name}.png")
    wide = "wide" if figure.get_figwidth() > 6 else None
    return tag(
        "figure", scrolled("drawing", "figure", inline(figure, name, caption)), tag("figcaption", caption), class_=wide
    )


def training(m: RunData) -> list[Html]:
    """Loss, validation scores and active anchors over epochs."""
    drawn = [*_loss(m), *_validation(m), *_active(m)]
    return [tag("div", *drawn, class_="figures")] if drawn else []


def _loss(m: RunData) -> Iterator[Html]:
    if lines := m.lines("train", "epoch", "loss"):
        at_collapse = m.metrics.get("loss_at_collapse")
        caption = "Training loss; the bold line is its running mean."
        if at_collapse is not None:
            caption += f" Dashed: the loss of a collapsed embedding (all vectors equal), {at_collapse:.3g}."
        yield shown(m, "loss", plots.loss_curve(_curve(lines, "loss"), loss_at_collapse=at_collapse), caption)


def _validation(m: RunData) -> Iterator[Html]:
    lines = m.lines("val", "epoch", "scores")
    there = list(dict.fromkeys(name for line in lines for name in line["scores"]))
    wanted = [n for n in ("knn@1", "recall@1", "map@r", "silhouette", "pair_auc", *there) if n in there]
    curves = {n: _scored(lines, n) for n in list(dict.fromkeys(wanted))[:CURVES]}
    if len(lines) > 1 and curves:
        caption = f"Validation scores with their 95 % intervals (shaded): {', '.join(map(score_texts.title, curves))}."
        yield shown(m, "scores", plots.score_curves(curves), caption)


def _active(m: RunData) -> Iterator[Html]:
    lines = m.lines("train", "epoch", "active")
    if any(line["active"] < 1 for line in lines):  # with many losses every anchor is always active
        caption = "Active anchors: the share of images in a batch with a non-zero loss."
        yield shown(m, "active", plots.active_curve(_curve(lines, "active")), caption)


def _curve(lines: list[Fields], value: str) -> Curve:
    return Curve([line["epoch"] for line in lines], [line[value] for line in lines])


def _scored(lines: list[Fields], name: str) -> Curve:
    scored = [(line["epoch"], line["scores"][name]) for line in lines if name in line["scores"]]
    return Curve([x for x, _ in scored], *([score[k] for _, score in scored] for k in ("value", "low", "high")))


def embedding_map(m: RunData) -> list[Html]:
    """Maps of training and held-out images in the same plane."""
    if m.embeddings is None:
        return []
    projection = plane(m.embeddings.vectors)
    named = {"train": "training", "val": "validation", "test": "test"}
    parts = {named[split]: m.embeddings.part(split) for split in ("train", "test", "val")}
    panels = dict(_panel(name, part, projection) for name, part in parts.items() if len(part))
    panels = dict(list(panels.items())[:2])  # validation only without a test part
    figure = plots.maps(panels, key=m.key, columns=len(panels))
    caption = (
        f"Each point is an image, its colour the class. {_plane_text(m.embeddings, projection)} {_coloured_text(m)}"
    )
    return [shown(m, "map", figure, caption.strip()), *_regions(m)]


def _regions(m: RunData) -> Iterator[Html]:
    """Decision regions of a linear classifier on a two-dimensional embedding."""
    if m.embeddings is None or m.query is None or m.open or m.embeddings.vectors.shape[1] != 2:
        return
    train, sim = m.embeddings.part("train"), spec.bind("sim", m.sim_name)
    if not 2 <= len(train.labels.unique()) <= DISTINCT:
        return
    probe = classification.probe(as_seen(train.vectors, sim), train.labels)
    cloud = _cloud(findings.spaced(m.query, POINTS), plane(m.query.vectors))
    caption = (
        "Held-out images over the decision regions of a linear classifier (logistic regression, fitted to the training "
        "images): a point on a region of another colour is misclassified."
    )
    yield shown(m, "regions", plots.decision_regions(cloud, PlaneProbe(probe, sim)), caption)


class PlaneProbe:
    """Linear probe over coordinates of the plane, transformed as the similarity transforms vectors."""

    def __init__(self, probe: "Pipeline", sim: Sim):
        self.probe, self.sim = probe, sim

    def predict(self, xy_N2: np.ndarray) -> np.ndarray:
        return self.probe.predict(as_seen(torch.from_numpy(xy_N2).float(), self.sim).numpy())


def _panel(name: str, part: Embeddings, projection: Plane) -> tuple[str, Cloud]:
    """Title and points (at most POINTS) of a panel."""
    shown = findings.spaced(part, POINTS)
    count = f"{len(shown):,} of {len(part):,}" if len(shown) < len(part) else f"{len(part):,}"
    return f"{name} ({count})", _cloud(shown, projection)


def _plane_text(embeddings: Embeddings, projection: Plane) -> str:
    width = embeddings.vectors.shape[1]
    if width <= 2:
        return f"The embedding has {width} dimension{'s' if width > 1 else ''}: the map shows all of it."
    return (
        f"The embedding has {width} dimensions; the map is its PCA plane ("
        f"{score_texts.percent(projection.share, 0)} of the variance), "
        "so classes that overlap here may be separate in other dimensions."
    )


def _coloured_text(m: RunData) -> str:
    classes = len(m.embeddings.classes) if m.embeddings is not None else 0
    return f"The {len(m.key)} largest of {classes} classes are coloured." if classes > len(m.key) else ""


def before_after(m: RunData) -> list[Html]:
    """Maps of the first and the last snapshot, and the series of all snapshots."""
    by_epoch = {epoch: _visible(snapshot) for epoch, snapshot in m.snapshots.items()}
    if len(by_epoch) < 2:
        return []
    return [_ends(m, by_epoch), *_series(m, by_epoch)]


def _ends(m: RunData, by_epoch: dict[int, Embeddings]) -> Html:
    ends = {
        "before training" if epoch == 0 else f"after epoch {epoch}": by_epoch[epoch]
        for epoch in (min(by_epoch), max(by_epoch))
    }
    figure = plots.maps(
        {name: _cloud(e, plane(e.vectors)) for name, e in ends.items()}, key=m.key, shared=False, names=False
    )
    own = "" if _flat(by_epoch) else "in its own PCA plane and "
    return shown(
        m, "before_after", figure, f"The same images before and after training, each map {own}at its own scale."
    )


def _series(m: RunData, by_epoch: dict[int, Embeddings]) -> Iterator[Html]:
    if len(by_epoch) > 2:
        last = plane(by_epoch[max(by_epoch)].vectors)
        panels = {f"epoch {epoch}": _cloud(by_epoch[epoch], last) for epoch in _spread(list(by_epoch), PANELS)}
        spans = [float(np.ptp(cloud.xy, axis=0).max()) for cloud in panels.values()]
        alike = max(spans) < 3 * min(spans)
        caption = (
            f"The same images by epoch{'' if _flat(by_epoch) else f' in the PCA plane of epoch {max(by_epoch)}'}, "
        )
        caption += "all at the same scale." if alike else "each at its own scale."
        yield shown(m, "series", plots.series(panels, key=m.key, shared=alike), caption)


def _flat(by_epoch: dict[int, Embeddings]) -> bool:
    return all(e.vectors.shape[1] <= 2 for e in by_epoch.values())


def _visible(snapshot: Embeddings) -> Embeddings:
    """The held-out images of a snapshot, or all images if it has none."""
    part = held_out(snapshot)
    return snapshot if part is None else part


def _spread(epochs: list[int], most: int) -> list[int]:
    """At most `most` epochs, evenly spaced, including the first and the last."""
    return [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, min(most, len(epochs))).round().astype(int))]


def _cloud(part: Embeddings, projection: Plane) -> Cloud:
    return Cloud(projection(part.vectors), part.labels.numpy(), part.classes)


def silhouette(m: RunData) -> list[Html]:
    """Silhouettes of held-out images by class."""
    unit = m.sim_name.startswith("cosine")
    values = findings.silhouettes(m.query, unit=unit) if m.query is not None else None
    if m.query is None or values is None:
        return []
    values_N, labels_N = values
    caption = (
        "One thin bar per image, sorted within its class. Near 1: close to its own class; below 0: closer to another. "
        f"Euclidean distance{' at unit length' if unit else ''}; {len(values_N):,} of {len(m.query):,} images."
    )
    if len(np.unique(labels_N)) > DISTINCT:
        caption += f" Shown: the {DISTINCT} classes with the lowest means."
    return [shown(m, "silhouette", plots.silhouette(values_N, labels_N, m.query.classes), caption)]


def det(m: RunData, similarities: findings.Similarities) -> Iterator[Html]:
    """DET curve of the evaluated pairs."""
    if (curve := findings.det(similarities)) is not None:
        caption = (
            "Each point is a threshold: a stricter one accepts fewer different-class pairs and rejects more same-class "
            "pairs. Lower is better; both error rates are equal on the dotted line."
        )
        yield shown(m, "det", plots.det({m.run.name: curve}), caption)


def reliability(m: RunData, similarities: findings.Similarities) -> Iterator[Html]:
    """Reliability diagram of the calibrated probabilities."""
    fit, scores = m.metrics.get("calibration"), m.metrics.get("scores", {})
    if fit and {"brier", "ece"} <= set(scores):
        off, brier = (scores[name]["value"] for name in ("ece", "brier"))
        caption = (
            f"Similarities are calibrated by {score_texts.CURVES[fit['kind']]}, fitted to {fit['n']:,} "
            f"validation pairs. On held-out pairs, half of them same, the calibration error (ECE) is "
            f"{score_texts.percent(off)} and the Brier score {decimal(brier, 3)} (0.25 at chance level). "
            "The dashed line is perfect calibration."
        )
        yield shown(m, "reliability", plots.reliability(findings.reliability(similarities, restored(fit))), caption)
