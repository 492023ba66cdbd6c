"""The parts of the report that show single pictures and single classes: neighbours, errors, confusions, the table."""

from collections.abc import Sequence

import numpy as np

from likewise.viz.pages import findings, score_texts
from likewise.viz.pages.findings import Neighbours
from likewise.viz.pages.html import Html, Thumbs, table, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.plots.style import decimal

__all__ = ["card", "class_table", "confusions", "neighbours", "skipped", "worst_errors"]

OPEN_ROWS = 20  # of a table; further rows unfold


def neighbours(m: RunData) -> list[Html]:
    """A few queries with what the embedding finds most similar to them."""
    found = m.neighbours
    if found is None:
        return []
    thumbs = Thumbs(m.images)
    rows = [_query_row(found, q, thumbs) for q in findings.samples(found)]
    says = (
        f"Left, a held-out picture of each class shown; right, the most similar of {_reference(m, found)}, best first. "
    )
    legend = tag("span", "✓ same class", class_="right"), ", ", tag("span", "✗ another class", class_="wrong")
    return [tag("p", says, *legend, ". The figure below is the similarity."), tag("div", *rows, class_="queries")]


def _reference(m: RunData, found: Neighbours) -> str:
    if found.reference is found.query:
        return f"the {len(found.reference) - 1:,} other held-out pictures"
    return f"{len(found.reference):,} training pictures kept with the run"


def _query_row(found: Neighbours, q: int, thumbs: Thumbs) -> Html:
    query = found.query
    own = card(thumbs(query.ids[q]), query.classes[int(query.labels[q])], "")
    hits = [_neighbour(found, q, k, thumbs) for k in range(found.place.shape[1])]
    return tag("div", tag("div", own, class_="query"), tag("div", *hits, class_="found"), class_="row")


def _neighbour(found: Neighbours, q: int, k: int, thumbs: Thumbs) -> Html:
    at, right = int(found.place[q, k]), bool(found.hit[q, k])
    name = found.reference.classes[int(found.reference.labels[at])]
    said = decimal(float(found.sim[q, k]), 3)
    return card(thumbs(found.reference.ids[at]), f"{'✓' if right else '✗'} {name}", said, "right" if right else "wrong")


def card(picture: Html, name: str, figure: str, kind: str = "") -> Html:
    said = [tag("span", name, class_="name", title=name)] + ([tag("span", figure, class_="sim")] if figure else [])
    return tag("div", picture, *said, class_=f"card {kind}".strip())


def worst_errors(m: RunData) -> list[Html]:
    """The held-out pictures that are nearest to one of another class, the surest first."""
    found = m.neighbours
    if found is None:
        return []
    wrong = int((~found.hit[:, 0]).sum())
    if not wrong:
        return [
            tag("p", f"None: the nearest neighbour of all {len(found.query):,} held-out pictures is of their class.")
        ]
    thumbs, chosen = Thumbs(m.images), findings.errors(found)
    says = (
        f"{wrong:,} of {len(found.query):,} held-out pictures have a nearest neighbour of another class, among "
        f"{_reference(m, found)}. Those with the highest similarity come first: "
        "mistakes the embedding is sure of, and the first place to look for wrong labels."
    )
    return [tag("p", says), tag("div", *(_error(found, q, thumbs) for q in chosen), class_="errors")]


def _error(found: Neighbours, q: int, thumbs: Thumbs) -> Html:
    query = found.query
    own = card(thumbs(query.ids[q]), query.classes[int(query.labels[q])], "true class")
    return tag("div", own, _neighbour(found, q, 0, thumbs), class_="pair")


def confusions(m: RunData) -> list[Html]:
    """The pairs of classes that are most often taken for one another."""
    found = m.neighbours
    listed = findings.confused(found) if found is not None else []
    if found is None or not listed:
        return []
    of_class = np.bincount(found.query.labels.numpy(), minlength=len(found.query.classes))
    names = found.query.classes
    rows = [
        (names[true], names[named], f"{n:,} of {of_class[true]:,}", _bar(n / int(of_class[true])))
        for true, named, n in listed
    ]
    says = "The commonest mistakes: pictures of one class whose nearest neighbour is of another."
    return [tag("p", says), table(["Class", "Taken for", "Pictures", "Share of the class"], rows, numbers=[2])]


def class_table(m: RunData) -> list[Html]:
    """Every class: how many of its pictures are named correctly, and what it is taken for; the worst first."""
    found = m.neighbours
    if found is None:
        return []
    rows = sorted(
        (_class_row(found, c) for c in np.unique(found.query.labels.numpy()).tolist()), key=lambda row: row[0]
    )
    shown = [cells for _, cells in rows]
    head = ["Class", "Pictures", "Right", "", "Most often taken for"]
    says = "Right: held-out pictures whose nearest neighbour is of their class. The worst classes come first."
    parts = [tag("p", says), table(head, shown[:OPEN_ROWS], numbers=[1, 2])]
    if len(shown) > OPEN_ROWS:
        more = tag("summary", f"The other {len(shown) - OPEN_ROWS} classes")
        parts.append(tag("details", more, table(head, shown[OPEN_ROWS:], numbers=[1, 2])))
    return parts


def _class_row(found: Neighbours, c: int) -> tuple[tuple[float, int], Sequence[object]]:
    """What rows are sorted by, and the cells."""
    mine_Q = found.query.labels.numpy() == c
    right = int(found.hit[mine_Q, 0].sum())
    total = int(mine_Q.sum())
    wrong = np.bincount(found.named[mine_Q & ~found.hit[:, 0]], minlength=1)
    taken = f"{found.reference.classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else ""
    cells = [
        found.query.classes[c],
        f"{total:,}",
        f"{right:,} ({score_texts.percent(right / total)})",
        _bar(right / total),
        taken,
    ]
    return (right / total, c), cells


def _bar(share: float) -> Html:
    return tag("span", tag("i", style=f"width:{100 * share:.1f}%"), class_="bar", title=score_texts.percent(share))


def skipped(m: RunData) -> list[Html]:
    """Pictures that were left out, and why."""
    if not m.skipped:
        return []
    rows = [(tag("code", name), why) for name, why in m.skipped]
    parts = [tag("p", f"{len(rows):,} picture{'s were' if len(rows) > 1 else ' was'} left out of the run.")]
    parts.append(table(["Picture", "Why"], rows[:OPEN_ROWS]))
    if len(rows) > OPEN_ROWS:
        parts.append(tag("p", f"… and {len(rows) - OPEN_ROWS:,} more, listed in skipped.csv.", class_="note"))
    return parts
