"""map.html: the embedding before and after training, to walk through; one file that opens offline, and a picture."""

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
from likewise.viz.pages.document import document
from likewise.viz.pages.findings import spaced
from likewise.viz.pages.html import Html, data_uri, tag
from likewise.viz.pages.run_data import held_out, snapshots
from likewise.viz.plots import Cloud, class_key
from likewise.viz.plots.style import PALETTE
from likewise.viz.projection import METHODS, project

__all__ = ["clouds", "stages", "write_map"]

POINTS = 1_000  # of the training pictures, and as many of the others: t-SNE takes seconds for them
GRID = 10_000  # places are whole numbers from 0 to this
SIDE = 64  # pixels of a picture that is shown beside the pointer
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
MEANS = {
    "pca": "It is the plane of largest variance: what overlaps here may be apart in other dimensions.",
} | dict.fromkeys(
    ("tsne", "umap"),
    "Neighbours in the embedding are neighbours here; the sizes of islands and the gaps between them mean nothing.",
)


def write_map(run: Run, images: Images | None = None, *, method: str = "tsne") -> Path:
    """Write map.html into the run folder, whole or not at all, and the same as plots/METHOD.png.

    Errors: ValueError for an unknown method, or a run without embeddings.
    """
    if method not in METHODS:
        raise ValueError(f"no map is drawn by {method!r}{near(method, METHODS)}")
    seen = stages(run)
    drawn = clouds(seen, method, sim=run.recipe.sim)
    plots.save(plots.maps(drawn, shared=False, names=False), run.path / "plots" / f"{method}.png")
    path = run.path / "map.html"
    with replacing(path) as temporary:
        temporary.write_text(page(run.name, seen, drawn, images, method), encoding="utf-8")
    return path


def stages(run: Run) -> dict[str, Embeddings]:
    """The same pictures before and after training, by what they are called; only the last, where nothing else was kept.

    Errors: ValueError where the run has neither snapshots nor embeddings.
    """
    kept = snapshots(run)
    if kept:
        ends = {epoch: kept[epoch] for epoch in (min(kept), max(kept))}
        return {called(epoch): some(found) for epoch, found in ends.items()}
    if not run.embeddings.exists():
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`")
    return {"after training": some(Embeddings.load(run.embeddings))}


def called(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before training"


def some(found: Embeddings) -> Embeddings:
    """Evenly spaced training pictures and held-out pictures, at most POINTS of either."""
    parts = [part for part in (found.part("train"), held_out(found)) if part is not None and len(part)]
    kept = {name for part in parts for name in spaced(part, POINTS).ids}
    return found.take([n for n, name in enumerate(found.ids) if name in kept])


def clouds(seen: Mapping[str, Embeddings], method: str = "tsne", *, sim: str = "cosine") -> dict[str, Cloud]:
    """Each stage laid out by itself, in the plane."""
    return {
        name: Cloud(project(as_compared(found.vectors, sim), method), found.labels.numpy(), found.classes)
        for name, found in seen.items()
    }


def as_compared(vectors_ND: Tensor, sim: str) -> Tensor:
    """At length 1 where the cosine is what they are compared by."""
    return F.normalize(vectors_ND, dim=-1) if sim.startswith("cosine") else vectors_ND


def page(
    name: str, seen: Mapping[str, Embeddings], drawn: Mapping[str, Cloud], images: Images | None, method: str
) -> str:
    """The whole document."""
    last = list(seen.values())[-1]
    parts = [
        ("map", f"{NAMES[method]} of the embedding", [*introduction(last, drawn, method), *viewer(last, drawn, images)])
    ]
    return document(name, "Likewise map", [], parts, head=[tag("style", Html(beside("map.css")))])


def introduction(last: Embeddings, drawn: Mapping[str, Cloud], method: str) -> list[Html]:
    held = int((last.split != SPLITS.index("train")).sum())
    says = (
        f"{len(last):,} pictures of {len(last.labels.unique()):,} classes, {held:,} of them held out (ringed), the "
        f"others of the training. {MEANS[method]}"
    )
    does = "Point at a picture to see it, its class and its file"
    does += ", and where it lies in the other map" if len(drawn) > 1 else ""
    does += ". Click a class in the list to pick it out. Turn the wheel to look closer, drag to move, "
    return [tag("p", says), tag("p", f"{does}and click twice to come back.", class_="note")]


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
    training = tag("label", tag("input", type="checkbox", id="training", checked=""), " training pictures too")
    data = Html(
        json.dumps(told(last, drawn, images), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    )
    return [
        tag("div", search, training, class_="tools"),
        tag("div", *maps, class_="maps"),
        tag("div", id="classes", class_="classes"),
        tag("div", id="card", class_="tip", hidden=""),
        tag("script", data, type="application/json", id="data"),
        tag("script", Html(beside("map.js"))),
    ]


def told(last: Embeddings, drawn: Mapping[str, Cloud], images: Images | None) -> dict[str, object]:
    """What the script draws: a row a picture."""
    return {
        "classes": last.classes,
        "colours": colours(last.labels, len(last.classes)),
        "ids": last.ids,
        "labels": last.labels.tolist(),
        "held": (last.split != SPLITS.index("train")).int().tolist(),
        "maps": [places(cloud.xy).tolist() for cloud in drawn.values()],
        "pictures": pictures(last.ids, images),
    }


def places(xy_N2: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to GRID, both sides in one scale, the middle in the middle; y points down as on a screen."""
    low, high = xy_N2.min(0), xy_N2.max(0)
    scale = GRID / max(float((high - low).max()), 1e-12)
    place_N2 = GRID / 2 + (xy_N2 - (low + high) / 2) * scale * (1, -1)
    return place_N2.round().astype(int)


def colours(labels_N: Tensor, classes: int) -> list[str]:
    """A colour for every class: those of the figures where they suffice, else far hues for neighbours in number."""
    if classes <= len(PALETTE):
        return [class_key(labels_N.numpy(), classes)[c].color for c in range(classes)]
    return [hexadecimal(0.618034 * c % 1, (0.38, 0.55, 0.68)[c % 3]) for c in range(classes)]


def hexadecimal(hue: float, lightness: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.62))


def pictures(ids: Sequence[str], images: Images | None) -> list[str]:
    """Each as data inside the page; none where the data are not pictures, or no longer there."""
    if images is None or len(images.shape) != 3 or not set(ids) <= set(images.ids):
        return []
    at = {name: n for n, name in enumerate(images.ids)}
    chunks = torch.tensor([at[name] for name in ids]).split(256)
    return [data_uri(picture.numpy(), side=SIDE) for chunk in chunks for picture in images.batch(chunk)]


def beside(file: str) -> str:
    return (Path(__file__).parent / file).read_text(encoding="utf-8")
