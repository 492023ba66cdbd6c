"""Report sections on single images and classes: neighbours, errors, confusions, the table of classes."""

from collections.abc import Sequence

import numpy as np

from likewise.viz.pages import findings, score_texts
from likewise.viz.pages.findings import Neighbours
from likewise.viz.pages.html import Html, Sorted, Thumbs, asset, script, scrolled, table, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.plots.style import decimal

__all__ = ["card", "class_table", "confusions", "error", "neighbours", "skipped", "worst_errors"]

OPEN_ROWS = 20  # rows of a table shown
CLASSES = 1_000  # rows of the table of classes


def neighbours(m: RunData) -> list[Html]:
    """A few queries with their nearest neighbours."""
    nn = m.neighbours
    if nn is None:
        return []
    thumbs = Thumbs(m.images)
    rows = [_query_row(nn, q, thumbs) for q in findings.samples(nn)]
    text = f"Left, a held-out image per class; right, the most similar of {_reference(m, nn)}, best first. "
    legend = tag("span", "✓ same class", class_="right"), ", ", tag("span", "✗ another class", class_="wrong")
    return [tag("p", text, *legend, ". The number below is the similarity."), tag("div", *rows, class_="queries")]


def _reference(m: RunData, nn: Neighbours) -> str:
    if nn.reference is nn.query:
        return f"the {len(nn.reference) - 1:,} other held-out images"
    return f"{len(nn.reference):,} training images saved with the run"


def _query_row(nn: Neighbours, q: int, thumbs: Thumbs) -> Html:
    query = nn.query
    own = card(thumbs(query.ids[q]), query.classes[int(query.labels[q])], "")
    hits = [_neighbour(nn, q, k, thumbs) for k in range(nn.place.shape[1])]
    return tag(
        "div", tag("div", own, class_="query"), scrolled("neighbours", "nearest neighbours", *hits), class_="row"
    )


def _neighbour(nn: Neighbours, q: int, k: int, thumbs: Thumbs) -> Html:
    at, right = int(nn.place[q, k]), bool(nn.hit[q, k])
    name = nn.reference.classes[int(nn.reference.labels[at])]
    similarity = decimal(float(nn.sim[q, k]), 3)
    return card(
        thumbs(nn.reference.ids[at]), f"{'✓' if right else '✗'} {name}", similarity, "right" if right else "wrong"
    )


def card(image: Html, name: str, note: str, kind: str = "") -> Html:
    """An image with its class and a note below."""
    labels = [tag("span", name, class_="name", title=name)] + ([tag("span", note, class_="sim")] if note else [])
    return tag("div", image, *labels, class_=f"card {kind}".strip())


def worst_errors(m: RunData) -> list[Html]:
    """Held-out images whose nearest neighbour is of another class, most similar first."""
    nn = m.neighbours
    if nn is None:
        return []
    wrong = int((~nn.hit[:, 0]).sum())
    if not wrong:
        return [
            tag("p", f"None: the nearest neighbour of each of the {len(nn.query):,} held-out images is of its class.")
        ]
    thumbs, chosen = Thumbs(m.images), findings.errors(nn)
    text = (
        f"{wrong:,} of {len(nn.query):,} held-out images have a nearest neighbour of another class, among "
        f"{_reference(m, nn)}. Sorted by similarity, highest first: "
        "confident errors, and the first candidates for wrong labels."
    )
    return [tag("p", text), tag("div", *(error(nn, q, thumbs) for q in chosen), class_="errors")]


def error(nn: Neighbours, q: int, thumbs: Thumbs, *, cell: str | None = None) -> Html:
    """A query beside its nearest neighbour of another class; `cell` names its place in the class matrix."""
    query = nn.query
    own = card(thumbs(query.ids[q]), query.classes[int(query.labels[q])], "true class")
    return tag("div", own, _neighbour(nn, q, 0, thumbs), class_="pair", data_cell=cell)


def confusions(m: RunData) -> list[Html]:
    """The most frequent confusions between classes."""
    nn = m.neighbours
    listed = findings.confused(nn) if nn is not None else []
    if nn is None or not listed:
        return []
    of_class = np.bincount(nn.query.labels.numpy(), minlength=len(nn.query.classes))
    names = nn.query.classes
    rows = [
        (names[true], names[named], f"{n:,} of {of_class[true]:,}", _bar(n / int(of_class[true])))
        for true, named, n in listed
    ]
    text = "The most frequent errors: images of one class whose nearest neighbour is of another."
    return [tag("p", text), table(["Class", "Confused with", "Images", "Share of the class"], rows, numbers=[2])]


def class_table(m: RunData) -> list[Html]:
    """1-NN accuracy and the most frequent confusion of every class, lowest accuracy first."""
    nn = m.neighbours
    if nn is None:
        return []
    rows = sorted((_class_row(nn, c) for c in np.unique(nn.query.labels.numpy()).tolist()), key=lambda row: row[0])
    shown = [cells for _, cells in rows[:CLASSES]]
    head = ["Class", "Images", "Right", "", "Most often confused with"]
    text = (
        "Right: held-out images whose nearest neighbour is of their class. Sorted by accuracy, lowest first; "
        "a click on a heading sorts by it."
    )
    parts = [tag("p", text), tag("div", table(head, shown, numbers=[1, 2], class_="sortable"), class_="tall")]
    if len(rows) > CLASSES:
        parts.append(tag("p", f"{CLASSES:,} of {len(rows):,} classes, those of the lowest accuracy.", class_="note"))
    return [*parts, script(asset("sort.js"))]


def _class_row(nn: Neighbours, c: int) -> tuple[tuple[float, int], Sequence[object]]:
    """Sort key and cells of a row."""
    of_class_Q = nn.query.labels.numpy() == c
    right = int(nn.hit[of_class_Q, 0].sum())
    total = int(of_class_Q.sum())
    wrong = np.bincount(nn.named[of_class_Q & ~nn.hit[:, 0]], minlength=1)
    taken = f"{nn.reference.classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else ""
    cells = [
        nn.query.classes[c],
        Sorted(f"{total:,}", total),
        Sorted(f"{right:,} ({score_texts.percent(right / total)})", right / total),
        _bar(right / total),
        taken,
    ]
    return (right / total, c), cells


def _bar(share: float) -> Html:
    return tag("span", tag("i", style=f"width:{100 * share:.1f}%"), class_="bar", title=score_texts.percent(share))


def skipped(m: RunData) -> list[Html]:
    """Images left out of the run, with the reason."""
    if not m.skipped:
        return []
    rows = [(tag("code", name), why) for name, why in m.skipped]
    parts = [tag("p", f"{len(rows):,} image{'s were' if len(rows) > 1 else ' was'} left out of the run.")]
    parts.append(table(["Image", "Why"], rows[:OPEN_ROWS]))
    if len(rows) > OPEN_ROWS:
        parts.append(tag("p", f"… and {len(rows) - OPEN_ROWS:,} more, listed in skipped.csv.", class_="note"))
    return parts
