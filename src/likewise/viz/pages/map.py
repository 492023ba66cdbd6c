"""map.html: an interactive map of the embedding before and after training (one offline file), and a PNG of it."""

import colorsys
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from likewise import spec
from likewise.atomic import replacing
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.run import Run
from likewise.viz import plots
from likewise.viz.pages.decisions import decision_bar
from likewise.viz.pages.document import NOTHING, document
from likewise.viz.pages.html import Html, asset, script, tag
from likewise.viz.pages.map_data import GRID, NOWHERE, neighbourhood, packed, places, shown, sprites
from likewise.viz.pages.run_data import snapshots
from likewise.viz.pages.workspace import head
from likewise.viz.plots import Cloud, class_key
from likewise.viz.plots.style import PALETTE
from likewise.viz.projection import LANDMARKS, METHODS, project

__all__ = ["GRID", "MOST", "Mapped", "clouds", "mapped", "write_map"]

MOST = 100_000  # images on a map
DRAWN = 5_000  # images on the PNG
DECIDE = "Decide on the pinned image, or on all of a lasso"
HINT = "find a class or file"
CLASSES = 200  # classes with a button
NAMES = {"tsne": "t-SNE", "opentsne": "t-SNE of all", "umap": "UMAP", "pca": "PCA"}
MEANS = {
    "pca": "The plane of largest variance: classes that overlap here may be separate in other dimensions.",
} | dict.fromkeys(
    ("tsne", "opentsne", "umap"),
    "Neighbours in the embedding are neighbours here; cluster sizes and gaps between clusters carry no meaning.",
)


class Mapped(NamedTuple):
    """What is laid out: all embeddings of the run, the places of those shown, and the stages by title."""

    embeddings: Embeddings
    at: np.ndarray  # int64 [N], in order
    stages: dict[str, Embeddings]  # the shown images in their order; the earlier stage may lack some


def write_map(run: Run, images: Images | None = None, *, method: str = "tsne", most: int = MOST) -> Path:
    """Write map.html into the run folder, atomically, and plots/METHOD.png.

    most: images that are shown; the page says of how many. Errors: ValueError for an unknown method, or a run
    without embeddings.
    """
    if method not in METHODS:
        raise ValueError(f"no map method is named {method!r}{spec.near(method, METHODS)}")
    layout = mapped(run, most)
    drawn = clouds(layout.stages, method, sim=run.recipe.sim)
    small = {title: thinned(cloud) for title, cloud in drawn.items()}
    plots.save(plots.maps(small, shared=False, names=False), run.path / "plots" / f"{method}.png")
    path = run.path / "map.html"
    with replacing(path) as temporary:
        text = page(run.name, layout, drawn, images, method, run.recipe.sim, head(run, "map.html"))
        temporary.write_text(text, encoding="utf-8")
    return path


def mapped(run: Run, most: int = MOST) -> Mapped:
    """The run's embeddings before and after training; only those after without snapshots.

    Errors: ValueError if the run has neither snapshots nor embeddings.
    """
    by_epoch = snapshots(run)
    if not run.embeddings.exists() and not by_epoch:
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`")
    embeddings = Embeddings.load(run.embeddings) if run.embeddings.exists() else by_epoch[max(by_epoch)]
    at_N = shown(embeddings, most)
    last = embeddings.take(at_N.tolist())
    stages = {"after training": last}
    if by_epoch and min(by_epoch) < max(by_epoch):
        first, wanted = by_epoch[min(by_epoch)], {name: n for n, name in enumerate(last.ids)}
        rows = sorted((n for n, name in enumerate(first.ids) if name in wanted), key=lambda n: wanted[first.ids[n]])
        if len(rows) > 1:
            stages = {called(min(by_epoch)): first.take(rows)} | stages
    return Mapped(embeddings, at_N, stages)


def called(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before training"


def thinned(cloud: Cloud) -> Cloud:
    at = np.arange(min(DRAWN, len(cloud.xy))) * len(cloud.xy) // min(DRAWN, len(cloud.xy))
    return Cloud(cloud.xy[at], cloud.labels[at], cloud.classes)


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
    layout: Mapped,
    drawn: Mapping[str, Cloud],
    images: Images | None,
    method: str,
    sim: str = "cosine",
    top: Html = NOTHING,
) -> str:
    """The whole document."""
    data = map_data(layout, drawn, images, sim)
    content = [*introduction(layout, drawn, method), *decision_bar(name, layout.embeddings.classes, DECIDE)]
    content += viewer(drawn, data, COLOURINGS, tools=[TRAINING], scripts=["map_decide.js"])
    parts = [("map", f"{NAMES[method]} of the embedding", content)]
    return document(
        name, "Likewise map", [], parts, head=[tag("style", Html(asset("map.css") + asset("decide.css")))], top=top
    )


def introduction(layout: Mapped, drawn: Mapping[str, Cloud], method: str) -> list[Html]:
    """How many images of how many are shown, and what the plane means."""
    last = list(layout.stages.values())[-1]
    held_out_count = int((last.split != 0).sum())
    of = len(layout.embeddings)
    counted = f"All {of:,}" if len(last) == of else f"{len(last):,} of {of:,}"
    text = (
        f"{counted} images of {len(last.labels.unique()):,} classes: {held_out_count:,} held out (larger), the others "
        f"from training. {MEANS[method]}"
    )
    first = next(iter(layout.stages.values()))
    if len(first) < len(last):
        text += f" {next(iter(layout.stages)).capitalize()}: the {len(first):,} images that the run kept of that time."
    if method == "tsne" and len(last) > LANDMARKS:
        text += f" {LANDMARKS:,} images are laid out; the others are placed among those most like them."
    does = (
        "Hover to see an image; click or tap to pin it with its neighbours. Scroll or pinch to zoom, drag to move, "
        "double-click to reset. With Shift, or with Lasso, drag around points to list them. Keys: arrows walk from "
        "point to point, + and − zoom, 0 resets, Escape lets go."
    )
    return [tag("p", text), tag("p", does, class_="note")]


def viewer(
    titles: Iterable[str],
    data: Mapping[str, object],
    colourings: Mapping[str, str],
    *,
    tools: Sequence[Html] = (),
    scripts: Sequence[str] = (),
) -> list[Html]:
    """Tools, a canvas for each title, what is pinned and selected, the list of classes, the data and the scripts.

    tools: further ones of the page, and scripts: assets that they need.
    """
    maps = [
        tag(
            "figure",
            tag("figcaption", title),
            tag("canvas", aria_label=f"map {title}", role="application", tabindex=0, data_map=n),
            class_="map",
        )
        for n, title in enumerate(titles)
    ]
    search = tag("input", type="search", id="find", placeholder=HINT, aria_label=HINT)
    options = (tag("option", text, value=value) for value, text in colourings.items())
    colour = tag("label", "Colour ", tag("select", *options, id="colour"))
    lasso = tag("button", "Lasso", type="button", id="lasso", aria_pressed="false")
    return [
        tag("div", search, colour, *tools, lasso, tag("span", id="legend", class_="note"), class_="tools"),
        tag("div", *maps, class_="maps"),
        tag("div", id="pinned", class_="pinned", aria_live="polite", hidden=""),
        tag("div", id="selected", class_="selected", aria_live="polite", hidden=""),
        tag("div", id="classes", class_="classes"),
        tag("div", id="card", class_="tip", hidden=""),
        script(json.dumps(data, ensure_ascii=False, separators=(",", ":")), type="application/json", id="data"),
        *(script(asset(name)) for name in ("map.js", "map_select.js", *scripts)),
    ]


TRAINING = tag("label", tag("input", type="checkbox", id="training", checked=""), " training images too")
COLOURINGS = {
    "class": "by class",
    "part": "by part",
    "right": "by right or wrong",
}


def map_data(layout: Mapped, drawn: Mapping[str, Cloud], images: Images | None, sim: str) -> dict[str, object]:
    """Data for the scripts: the shown images first, then neighbours of these that are not on the map."""
    at_N, embeddings = layout.at, layout.embeddings
    last = embeddings.take(at_N.tolist())
    around = neighbourhood(embeddings, at_N, spec.bind("sim", sim))
    beyond = np.setdiff1d(around.place[around.place >= 0], at_N)
    index = np.full(len(embeddings) + 1, -1)
    index[np.concatenate([at_N, beyond])] = np.arange(len(at_N) + len(beyond))
    listed = np.concatenate([at_N, beyond])
    return {
        "classes": embeddings.classes,
        "colours": colours(embeddings.labels, len(embeddings.classes)),
        "ids": [embeddings.ids[n] for n in listed.tolist()],
        "shown": len(at_N),
        "labels": packed(embeddings.labels[listed.tolist()], "u4"),
        "parts": packed(embeddings.split[listed.tolist()], "u1"),
        "right": packed(around.right, "u1"),
        "neighbours": packed(index[around.place], "i4"),
        "similarities": packed(around.sim, "f4"),
        "maps": [packed(placed(layout.stages[title], cloud, last), "u2") for title, cloud in drawn.items()],
        "sprites": sprites(last.ids, images),
        "buttons": CLASSES,
    }  # fmt: skip


def placed(stage: Embeddings, cloud: Cloud, last: Embeddings) -> np.ndarray:
    """Coordinates of the shown images in a stage, [N, 2]; NOWHERE for those that it lacks."""
    if stage.ids == last.ids:
        return places(cloud.xy)
    at = {name: n for n, name in enumerate(last.ids)}
    place_N2 = np.full((len(last), 2), NOWHERE)
    place_N2[[at[name] for name in stage.ids]] = places(cloud.xy)
    return place_N2


def colours(labels_N: Tensor, classes: int) -> list[str]:
    """A colour per class: the palette of the figures if it suffices, otherwise well-separated hues."""
    if classes <= len(PALETTE):
        return [class_key(labels_N.numpy(), classes)[c].color for c in range(classes)]
    return [hexadecimal(0.618034 * c % 1, (0.38, 0.55, 0.68)[c % 3]) for c in range(classes)]


def hexadecimal(hue: float, lightness: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.62))
