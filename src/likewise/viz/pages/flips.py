"""flips.html: which queries became right or wrong between two runs or two epochs, on two linked maps and in lists."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from likewise import spec
from likewise.atomic import replacing
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.evaluate.flips import KINDS, Flips, Ranked, flips, rank
from likewise.experiment.run import Run
from likewise.metrics.neighbours import Sim
from likewise.viz.pages.cases import card
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, Thumbs, asset, table, tag
from likewise.viz.pages.map import CLASSES, MEANS, NAMES, as_compared, colours, viewer
from likewise.viz.pages.map_data import packed, places, spaced, sprites
from likewise.viz.pages.run_data import held_out, snapshots
from likewise.viz.pages.score_texts import percent
from likewise.viz.pages.workspace import FLIPS, head
from likewise.viz.plots.style import decimal
from likewise.viz.projection import project

__all__ = ["Compared", "between", "compared_epochs", "compared_runs", "headline", "listed", "write_flips"]

MOST = 4_000  # queries on the maps
ROWS = 60  # queries of a list
FEW = 12  # queries of a list on the comparison page
NEAREST = 3  # neighbours of a pinned image in each embedding
TONES = ("--faint", "--wrong", "--right", "--unsure", "--different")  # of KINDS
LISTS = ("became wrong", "became right", "wrong in another way")


class Compared(NamedTuple):
    """Two embeddings of the same queries, the earlier or first one first."""

    titles: tuple[str, str]
    ranked: tuple[Ranked, Ranked]
    flips: Flips
    sims: tuple[str, str]  # names of similarities


def compared_runs(first: Run, second: Run) -> Compared:
    """Two runs on their test queries. Errors: ValueError for one run twice, without embeddings, or no shared query."""
    if first.path.resolve() == second.path.resolve():
        raise ValueError(f"{first.path} was given twice; give two runs, or --epochs 0,10 for two epochs of one")
    ranked = tuple(_ranked(run) for run in (first, second))
    names = (first.name, second.name)
    titles = names if names[0] != names[1] else (str(first.path), str(second.path))
    changes = flips(ranked[0], ranked[1])
    return Compared(titles, (ranked[0], ranked[1]), changes, (_sim(first), _sim(second)))


def compared_epochs(run: Run, first: int, second: int) -> Compared:
    """Two snapshots of a run. Errors: ValueError for an epoch that was not kept, with those that were."""
    by_epoch = snapshots(run)
    for epoch in (first, second):
        if epoch not in by_epoch:
            there = ", ".join(map(str, by_epoch)) or "none"
            raise ValueError(
                f"{run.path} has no snapshot of epoch {epoch}; kept are: {there}. Train with "
                f"snapshot_epochs={first},{second} to keep others"
            )
    if first == second:
        raise ValueError(f"--epochs takes two different epochs, such as 0,{max(by_epoch)}; got {first} twice")
    sim, is_open = _sim(run), bool(run.metrics_or_nothing().get("open"))
    earlier, later = (_searched(by_epoch[epoch], is_open, spec.bind("sim", sim)) for epoch in (first, second))
    titles = (_called(first), _called(second))
    return Compared(titles, (earlier, later), flips(earlier, later), (sim, sim))


def _called(epoch: int) -> str:
    return f"epoch {epoch}" if epoch else "before training"


def _sim(run: Run) -> str:
    return run.recipe.sim or "cosine"


def _ranked(run: Run) -> Ranked:
    if not run.embeddings.exists():
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`")
    is_open = bool(run.metrics_or_nothing().get("open"))
    return _searched(Embeddings.load(run.embeddings), is_open, spec.bind("sim", _sim(run)))


def _searched(embeddings: Embeddings, is_open: bool, sim: Sim) -> Ranked:
    """Neighbours as the report has them: training images, or the other queries where classes are new."""
    query = held_out(embeddings)
    if query is None:
        raise ValueError("the embeddings hold no test or validation images, so there are no queries to compare")
    train = embeddings.part("train")
    return rank(query, None if is_open or not len(train) else train, sim, NEAREST)


def write_flips(run: Run, compared: Compared, images: Images | None, *, other: Run | None = None) -> Path:
    """Write flips.html into the run's folder, atomically. other: the first run, which the page links to."""
    path = run.path / FLIPS
    with replacing(path) as temporary:
        temporary.write_text(page(run, compared, images, other), encoding="utf-8")
    return path


def page(run: Run, compared: Compared, images: Images | None, other: Run | None) -> str:
    """The whole document."""
    at_N = spaced(np.arange(len(compared.flips.ids)), MOST)
    thumbs = Thumbs(images)
    parts = [
        ("flips", "Which queries flipped", [*headline(compared), counts(compared), *_link(run, other)]),
        ("maps", "The same images on two maps", maps(compared, at_N, images)),
        *((kind.replace(" ", "-"), kind.capitalize(), listed(compared, kind, thumbs, at_N)) for kind in LISTS),
    ]
    style = tag("style", Html(asset("map.css") + asset("flips.css")))
    return document(run.name, "Likewise flips", [], parts, head=[style], top=head(run, FLIPS))


def _link(run: Run, other: Run | None) -> list[Html]:
    if other is None or not other.report.is_file():
        return []
    to = Path(os.path.relpath(other.report.resolve(), run.path.resolve())).as_posix()
    return [tag("p", "Reports: ", tag("a", other.name, href=to), ", ", tag("a", run.name, href="report.html"), ".")]


def headline(compared: Compared) -> list[Html]:
    """How many became right and wrong, with the test, and what could not be compared."""
    changes, (first, second) = compared.flips, compared.titles
    better, worse, queries = changes.count("became right"), changes.count("became wrong"), len(changes.ids)
    p = "< 0.001" if changes.p < 0.001 else f"= {changes.p:.2g}"
    low, high = (f"{100 * end:+.1f}" for end in changes.interval)
    text = (
        f"From {first} to {second}, {_queries(better)} became right and {worse:,} became wrong, of {queries:,}; p {p}."
    )
    meaning = (
        f"Right: the nearest neighbour is of the query's class. 1-NN accuracy changes by {100 * changes.gain:+.1f} "
        f"points (95 % interval {low} to {high}). p: exact McNemar test, with queries as independent of one "
        "another; another seed flips queries too."
    )
    out = [
        (changes.only_first, f"only {first} has"),
        (changes.only_second, f"only {second} has"),
        (changes.relabelled, "are of another class in each"),
    ]
    left_out = [f"{n:,} that {why}" for n, why in out if n]
    note = [tag("p", f"Left out: {'; '.join(left_out)}.", class_="note")] if left_out else []
    return [tag("p", tag("strong", text)), tag("p", meaning, class_="note"), *note]


def _queries(n: int) -> str:
    return f"{n:,} {'query' if n == 1 else 'queries'}"


def counts(compared: Compared) -> Html:
    """The number of queries of each kind."""
    changes = compared.flips
    rows = [
        (kind.capitalize(), f"{n:,}", percent(n / len(changes.ids))) for kind in KINDS for n in [changes.count(kind)]
    ]
    return table(["", "Queries", "Share"], rows, numbers=[1, 2])


def maps(compared: Compared, at_N: np.ndarray, images: Images | None) -> list[Html]:
    """Two linked maps of the shown queries."""
    of = len(compared.flips.ids)
    method = "tsne" if len(at_N) > 3 else "pca"
    counted = f"All {of:,}" if len(at_N) == of else f"{len(at_N):,} of {of:,}"
    text = f"{counted} queries, laid out by {NAMES[method]} of each embedding by itself. {MEANS[method]}"
    does = (
        "A class, a loop or a kind of change that is chosen on one map is highlighted on both. Link zoom: the other "
        "map follows to the same images. Hover to see an image; click or tap to pin it with its neighbours in both. "
        "Keys: arrows walk from point to point, + and − zoom, 0 resets, Escape lets go."
    )
    data = flip_data(compared, at_N, images, method)
    zoom = tag("button", "Link zoom", type="button", id="link", aria_pressed="true")
    kinds = tag("div", id="groups", class_="classes", role="group", aria_label="what became of the queries")
    colourings = {"group": "by change", "class": "by class"}
    shown = viewer(compared.titles, data, colourings, tools=[zoom], scripts=["flips.js"])
    return [tag("p", text), tag("p", does, class_="note"), kinds, *shown]


def flip_data(compared: Compared, at_N: np.ndarray, images: Images | None, method: str) -> Mapping[str, object]:
    """Data for the scripts: the shown queries first, then neighbours of these that are not on the maps."""
    changes, index, classes = compared.flips, {}, {}
    queries = [changes.ids[n] for n in at_N.tolist()]
    index = {name: n for n, name in enumerate(queries)}
    label_of: dict[str, str] = {}
    sides, drawn = [], []
    for title, ranked, sim, rows in zip(
        compared.titles, compared.ranked, compared.sims, (changes.first[at_N], changes.second[at_N]), strict=True
    ):
        label_of |= {ranked.query.ids[n]: ranked.true[n] for n in rows.tolist()} if not label_of else {}
        place_NK = ranked.place[rows]
        reference = ranked.reference
        names = np.unique(place_NK)
        for m in names.tolist():
            index.setdefault(reference.ids[m], len(index))
            label_of.setdefault(reference.ids[m], reference.classes[int(reference.labels[m])])
        near_NK = np.array([[index[reference.ids[m]] for m in row] for row in place_NK.tolist()])
        sides.append({
            "title": title,
            "neighbours": packed(near_NK, "i4"),
            "similarities": packed(ranked.sim[rows], "f4"),
        })  # fmt: skip
        xy_N2 = project(as_compared(ranked.query.vectors[torch.from_numpy(rows)], sim), method)
        drawn.append(packed(places(xy_N2), "u2"))
    classes = {name: c for c, name in enumerate(sorted(set(label_of.values())))}
    labels = torch.tensor([classes[label_of[name]] for name in index])
    split_N = compared.ranked[0].query.split[torch.from_numpy(changes.first[at_N])]
    kind_N = changes.kind[at_N]
    return {
        "classes": list(classes),
        "colours": colours(labels, len(classes)),
        "ids": list(index),
        "shown": len(at_N),
        "pictured": len(index),
        "labels": packed(labels, "u4"),
        "parts": packed(np.concatenate([split_N.numpy(), np.zeros(len(index) - len(at_N))]), "u1"),
        "right": packed(np.isin(kind_N, [KINDS.index("right in both"), KINDS.index("became right")]), "u1"),
        "groups": packed(kind_N, "u1"),
        "groupNames": KINDS,
        "groupTones": TONES,
        "sides": sides,
        "maps": drawn,
        "sprites": sprites(tuple(index), images),
        "buttons": CLASSES,
    }


def listed(compared: Compared, kind: str, thumbs: Thumbs, at_N: np.ndarray, most: int = ROWS) -> list[Html]:
    """Queries of one of KINDS with their neighbours in both embeddings, those with the most similar wrong one first."""
    changes, (first, second) = compared.flips, compared.ranked
    of_kind = np.flatnonzero(changes.kind == KINDS.index(kind))
    if not len(of_kind):
        return [tag("p", "None.")]
    wrong = first.sim[changes.first, 0] if kind == "became right" else second.sim[changes.second, 0]
    ordered = of_kind[np.argsort(-wrong[of_kind], kind="stable")].tolist()
    on_map = {n: i for i, n in enumerate(at_N.tolist())}
    rows = [_row(compared, n, thumbs, on_map.get(n)) for n in ordered[:most]]
    counted = f"{most:,} of {len(ordered):,} queries" if len(ordered) > most else _queries(len(ordered))
    text = f"{counted}, the most similar wrong neighbour first. The number below a neighbour is its similarity."
    return [tag("p", text), tag("div", *rows, class_="flipped")]


def between(first: Run, second: Run, images: Images | None, command: str) -> list[Html]:
    """For a comparison: what became of the queries from one run to another, and the command that writes the maps."""
    try:
        compared = compared_runs(first, second)
    except ValueError as error:  # a comparison that took hours still gets its page
        return [tag("p", f"Not compared: {error}.", class_="note")]
    thumbs, none = Thumbs(images), np.arange(0)
    parts = [*headline(compared), counts(compared)]
    for kind in ("became right", "became wrong"):
        parts += [tag("h3", kind.capitalize()), *listed(compared, kind, thumbs, none, FEW)]
    return [
        *parts,
        tag("p", "All of them, on two linked maps, from the folder that contains the comparison:", class_="note"),
        tag("pre", command),
    ]


def _row(compared: Compared, n: int, thumbs: Thumbs, image: int | None) -> Html:
    changes = compared.flips
    place = int(changes.first[n]), int(changes.second[n])
    query = compared.ranked[0].query
    own = card(thumbs(changes.ids[n]), query.classes[int(query.labels[place[0]])], "query")
    cards = [
        _neighbour(ranked, q, title, query.classes[int(query.labels[place[0]])], thumbs)
        for ranked, q, title in zip(compared.ranked, place, compared.titles, strict=True)
    ]
    label = f"Show {changes.ids[n]} on the maps"
    show = [] if image is None else [tag("button", "On the maps", type="button", data_image=image, aria_label=label)]
    return tag("div", own, *cards, *show, class_="pair")


def _neighbour(ranked: Ranked, q: int, title: str, true: str, thumbs: Thumbs) -> Html:
    at = int(ranked.place[q, 0])
    name = ranked.reference.classes[int(ranked.reference.labels[at])]
    right = name == true
    similarity = decimal(float(ranked.sim[q, 0]), 3)
    shown = card(
        thumbs(ranked.reference.ids[at]), f"{'✓' if right else '✗'} {name}", similarity, "right" if right else "wrong"
    )
    return tag("div", shown, tag("span", title, class_="side"), class_="of")
