"""map.html: an interactive map of the embedding before and after training (one offline file), and a PNG of it."""

import colorsys
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.atomic import replacing
from likewise.data.images import SPLITS, Images
from likewise.evaluate import Embeddings
from likewise.experiment.run import Run
from likewise.spec import near
from likewise.viz import plots
from likewise.viz.pages.document import NOTHING, document
from likewise.viz.pages.findings import spaced
from likewise.viz.pages.html import Html, asset, data_uri, script, tag
from likewise.viz.pages.run_data import held_out, snapshots
from likewise.viz.pages.workspace import head
from likewise.viz.plots import Cloud, class_key
from likewise.viz.plots.style import PALETTE
from likewise.viz.projection import METHODS, project

__all__ = ["clouds", "stages", "write_map"]

POINTS = 1_000  # of the training and of the held-out images each: t-SNE takes seconds for them
GRID = 10_000  # coordinates are integers from 0 to GRID
SIDE = 64  # pixels of the thumbnail beside the pointer
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
MEANS = {
    "pca": "The plane of largest variance: classes that overlap here may be separate in other dimensions.",
} | dict.fromkeys(
    ("tsne", "umap"),
    "Neighbours in the embedding are neighbours here; cluster sizes and gaps between clusters carry no meaning.",
)


def write_map(run: Run, images: Images | None = None, *, method: str = "tsne") -> Path:
    """Write map.html into the run folder, atomically, and plots/METHOD.png.

    Errors: ValueError for an unknown method, or a run without embeddings.
    """
    if method not in METHODS:
        raise ValueError(f"no map method is named {method!r}{near(method, METHODS)}")
    by_stage = stages(run)
    drawn = clouds(by_stage, method, sim=run.recipe.sim)
    plots.save(plots.maps(drawn, shared=False, names=False), run.path / "plots" / f"{method}.png")
    path = run.path / "map.html"
    with replacing(path) as temporary:
        temporary.write_text(page(run.name, by_stage, drawn, images, method, head(run, "map.html")), encoding="utf-8")
    return path


def stages(run: Run) -> dict[str, Embeddings]:
    """Embeddings of the same images before and after training, by title; only the last without snapshots.

    Errors: ValueError if the run has neither snapshots nor embeddings.
    """
    by_epoch = snapshots(run)
    if by_epoch:
        ends = {epoch: by_epoch[epoch] for epoch in (min(by_epoch), max(by_epoch))}
        return {called(epoch): some(e) for epoch, e in ends.items()}
    if not run.embeddings.exists():
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`")
    return {"after training": some(Embeddings.load(run.embeddings))}


def called(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before training"


def some(embeddings: Embeddings) -> Embeddings:
    """Evenly spaced training and held-out images, at most POINTS of each."""
    parts = [part for part in (embeddings.part("train"), held_out(embeddings)) if part is not None and len(part)]
    shown = {name for part in parts for name in spaced(part, POINTS).ids}
    return embeddings.take([n for n, name in enumerate(embeddings.ids) if name in shown])


def clouds(by_stage: Mapping[str, Embeddings], method: str = "tsne", *, sim: str = "cosine") -> dict[str, Cloud]:
    """Project each stage to the plane, independently."""
    return {
        name: Cloud(
            project(as_compared(embeddings.vectors, sim), method), embeddings.labels.numpy(), embeddings.classes
        )
        for name, embeddings in by_stage.items()
    }


def as_compared(vectors_ND: Tensor, sim: str) -> Tensor:
    """Normalise the vectors if the similarity is a cosine."""
    return F.normalize(vectors_ND, dim=-1) if sim.startswith("cosine") else vectors_ND


def page(
    name: str,
    by_stage: Mapping[str, Embeddings],
    drawn: Mapping[str, Cloud],
    images: Images | None,
    method: str,
    top: Html = NOTHING,
) -> str:
    """The whole document."""
    last = list(by_stage.values())[-1]
    parts = [
        ("map", f"{NAMES[method]} of the embedding", [*introduction(last, drawn, method), *viewer(last, drawn, images)])
    ]
    return document(name, "Likewise map", [], parts, head=[tag("style", Html(asset("map.css")))], top=top)


def introduction(last: Embeddings, drawn: Mapping[str, Cloud], method: str) -> list[Html]:
    held_out_count = int((last.split != SPLITS.index("train")).sum())
    text = (
        f"{len(last):,} images of {len(last.labels.unique()):,} classes, {held_out_count:,} held out (ringed), the "
        f"others from training. {MEANS[method]}"
    )
    does = "Hover over a point to see its image, class and file"
    does += ", and its position in the other map" if len(drawn) > 1 else ""
    does += ". Click a class in the list to highlight it. Scroll to zoom, drag to move, "
    return [tag("p", text), tag("p", f"{does}and double-click to reset.", class_="note")]


def viewer(last: Embeddings, drawn: Mapping[str, Cloud], images: Images | None) -> list[Html]:
    """Canvases, the list of classes, the data and the script."""
    maps = [
        tag(
            "figure",
            tag("figcaption", title),
            tag("canvas", aria_label=f"map {title}", role="img", data_map=n),
            class_="map",
        )
        for n, title in enumerate(drawn)
    ]
    search = tag("input", type="search", id="find", placeholder="find a class", aria_label="find a class")
    training = tag("label", tag("input", type="checkbox", id="training", checked=""), " training images too")
    data = Html(
        json.dumps(map_data(last, drawn, images), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    )
    return [
        tag("div", search, training, class_="tools"),
        tag("div", *maps, class_="maps"),
        tag("div", id="classes", class_="classes"),
        tag("div", id="card", class_="tip", hidden=""),
        tag("script", data, type="application/json", id="data"),
        script(asset("map.js")),
    ]


def map_data(last: Embeddings, drawn: Mapping[str, Cloud], images: Images | None) -> dict[str, object]:
    """Data for the script, one entry per image."""
    return {
        "classes": last.classes,
        "colours": colours(last.labels, len(last.classes)),
        "ids": last.ids,
        "labels": last.labels.tolist(),
        "held_out": (last.split != SPLITS.index("train")).int().tolist(),
        "maps": [places(cloud.xy).tolist() for cloud in drawn.values()],
        "images": data_uris(last.ids, images),
    }


def places(xy_N2: np.ndarray) -> np.ndarray:
    """Centred integer coordinates from 0 to GRID with equal axis scales; y points down, as on a screen."""
    low, high = xy_N2.min(0), xy_N2.max(0)
    scale = GRID / max(float((high - low).max()), 1e-12)
    place_N2 = GRID / 2 + (xy_N2 - (low + high) / 2) * scale * (1, -1)
    return place_N2.round().astype(int)


def colours(labels_N: Tensor, classes: int) -> list[str]:
    """A colour per class: the palette of the figures if it suffices, otherwise well-separated hues."""
    if classes <= len(PALETTE):
        return [class_key(labels_N.numpy(), classes)[c].color for c in range(classes)]
    return [hexadecimal(0.618034 * c % 1, (0.38, 0.55, 0.68)[c % 3]) for c in range(classes)]


def hexadecimal(hue: float, lightness: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.62))


def data_uris(ids: Sequence[str], images: Images | None) -> list[str]:
    """Thumbnails as data URIs; empty if the data are not images or no longer available."""
    if images is None or len(images.shape) != 3 or not set(ids) <= set(images.ids):
        return []
    at = {name: n for n, name in enumerate(images.ids)}
    chunks = torch.tensor([at[name] for name in ids]).split(256)
    return [data_uri(image.numpy(), side=SIDE) for chunk in chunks for image in images.batch(chunk)]
