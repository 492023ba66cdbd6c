"""Report section: confusion and similarity matrix of the classes, in the order of a dendrogram."""

import json
from collections.abc import Iterator

import numpy as np

from likewise.viz import plots
from likewise.viz.pages import findings
from likewise.viz.pages.cases import error
from likewise.viz.pages.class_findings import ClassMatrix, Tree, class_matrix
from likewise.viz.pages.html import Html, Thumbs, asset, script, scrolled, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.plots.style import decimal, short

__all__ = ["matrices"]

PAIRS, EACH = 60, 2  # pairs of classes whose errors the page holds, and images of each
LEVELS = 12  # shades
NUMBERED = 16  # classes up to which cells have numbers
COLUMNS = 30  # classes up to which columns have names
JOINS = 70  # width of the dendrogram, in the units of the drawing
LETTERS = 16  # of a name beside the matrix


def matrices(m: RunData) -> list[Html]:
    """Both matrices with the dendrogram, and what the chosen cell says."""
    shown = class_matrix(m.neighbours, m.sim) if m.neighbours is not None else None
    if m.neighbours is None or shown is None:
        return []
    names = [m.neighbours.query.classes[c] for c in shown.classes.tolist()]
    drawing = plots.class_matrices(shown.counts, shown.similarity, names, shown.tree.place, shown.tree.height)
    plots.save(drawing, m.run.path / "plots" / "classes.png")
    seen = shown.similarity[np.isfinite(shown.similarity)]
    low, high = float(seen.min()), float(seen.max())
    captions = (
        "Confusions: rows are classes of held-out images, columns classes of their nearest neighbours. The stronger a "
        "cell, the larger its share of the row (square root); red cells are errors.",
        f"Similarity ({m.sim_name}): the mean over pairs of images, from {decimal(low)} (pale) to {decimal(high)}; the "
        "diagonal is that within a class. Right, the dendrogram: classes that join further left are more alike.",
    )
    drawn = (confusions(shown, names), similarities(shown, names, low, high))
    figures = [figure(svg, caption) for svg, caption in zip(drawn, captions, strict=True)]
    return [
        tag("p", *introduction(shown)),
        tag("div", *figures, class_="figures" if len(names) <= COLUMNS else "matrices"),
        tag("p", id="cell-text", class_="cell-text", role="status"),
        tag("div", id="cell-errors", class_="errors", aria_label="errors of the cell", role="group"),
        tag("template", *pair_errors(m, shown), id="pair-errors"),
        script(json.dumps(data(shown, names), ensure_ascii=False), type="application/json", id="class-matrix"),
        script(asset("class_matrix.js")),
    ]


def introduction(shown: ClassMatrix) -> Iterator[str]:
    """What is shown, of how much."""
    if len(shown.classes) < shown.of:
        inside = int(shown.counts.sum() - np.trace(shown.counts))
        yield f"The {len(shown.classes):,} of {shown.of:,} classes with the most errors: {inside:,} of the "
        yield f"{shown.errors:,} errors are between two of them. "
    yield "Classes are sorted so that similar ones stand side by side, the same in both matrices. Point at a cell, or "
    yield "walk with the arrow keys, to read it; a click, a tap or Enter shows the errors of that pair of classes."


def figure(svg: Html, caption: str) -> Html:
    return tag("figure", scrolled("drawing", "matrix", svg), tag("figcaption", caption))


def data(shown: ClassMatrix, names: list[str]) -> dict[str, object]:
    """What the script reads: counts of non-empty cells as [row, column, count], similarities in thousandths."""
    cells = np.argwhere(shown.counts > 0)
    known = np.isfinite(shown.similarity)
    thousandths = np.where(known, np.round(1000 * np.where(known, shown.similarity, 0)), 0).astype(int).tolist()
    listed = [[row, column, int(shown.counts[row, column])] for row, column in cells.tolist()]
    alone = np.flatnonzero(~np.diag(known)).tolist()
    return {
        "names": names, "queries": shown.queries.tolist(), "counts": listed, "similarity": thousandths, "alone": alone
    }  # fmt: skip


def pair_errors(m: RunData, shown: ClassMatrix) -> Iterator[Html]:
    """Images of the most frequent confusions, which the script takes from here."""
    nn, thumbs = m.neighbours, Thumbs(m.images)
    if nn is None:
        return
    place = {c: n for n, c in enumerate(shown.classes.tolist())}
    inside = [(true, named) for true, named, _ in findings.confused(nn, PAIRS) if true in place and named in place]
    true_Q = nn.query.labels.numpy()
    for true, named in inside:
        of_pair = np.flatnonzero((true_Q == true) & (nn.named == named))
        nearest = of_pair[np.argsort(-nn.sim[of_pair, 0], kind="stable")][:EACH]
        for q in nearest.tolist():
            yield error(nn, q, thumbs, cell=f"{place[true]} {place[named]}")


def confusions(shown: ClassMatrix, names: list[str]) -> Html:
    share_CC = np.sqrt(shown.counts / shown.queries[:, None].clip(min=1))
    diagonal = np.eye(len(names), dtype=bool)
    inside = [
        *shades(np.where(diagonal, share_CC, 0), "hits"),
        *shades(np.where(diagonal, 0, share_CC), "misses"),
    ]
    if len(names) <= NUMBERED:
        inside += numbers(shown.counts, names)
    wrong = int(shown.counts[~diagonal].sum())
    return matrix("confusion", names, inside, f"Confusion matrix of {len(names)} classes with {wrong:,} errors")


def numbers(counts_CC: np.ndarray, names: list[str]) -> Iterator[Html]:
    side = cell_side(len(names))
    for row, column in np.argwhere(counts_CC > 0).tolist():
        at = {"x": f"{(column + 0.5) * side:g}", "y": f"{(row + 0.5) * side:g}"}
        yield tag("text", int(counts_CC[row, column]), class_="count", **at)


def similarities(shown: ClassMatrix, names: list[str], low: float, high: float) -> Html:
    scaled_CC = np.nan_to_num((shown.similarity - low) / max(high - low, 1e-12), nan=0.0)
    inside = [*shades(scaled_CC, "alike"), joins(shown.tree, len(names))]
    return matrix("similarity", names, inside, f"Similarity matrix of {len(names)} classes, with a dendrogram", JOINS)


def matrix(name: str, names: list[str], inside: list[Html], label: str, right: int = 0) -> Html:
    """A square of cells with the names of rows, of columns where there is room, and the mark of the current cell."""
    side, length = cell_side(len(names)), max(len(short(one, LETTERS)) for one in names)
    size = min(side * 0.8, 11.0)
    left, across = round(length * size * 0.6) + 6, len(names) * side
    below = left if len(names) <= COLUMNS else 4
    texts = [
        tag("text", short(one, LETTERS), x=-4, y=f"{(n + 0.5) * side:g}", class_="row-name")
        for n, one in enumerate(names)
    ]
    if len(names) <= COLUMNS:
        texts += [
            tag("text", short(one, LETTERS), class_="column-name",
                transform=f"translate({(n + 0.5) * side:g} {across + 4:g}) rotate(-90)")
            for n, one in enumerate(names)
        ]  # fmt: skip
    frame = tag("rect", width=f"{across:g}", height=f"{across:g}", class_="frame")
    mark = tag("rect", width=f"{side:g}", height=f"{side:g}", class_="mark", visibility="hidden")
    box = f"{-left} -2 {left + across + right + 2:g} {across + below + 4:g}"
    return tag(
        "svg", tag("title", label), frame, *inside, *texts, mark,
        viewBox=box, style=f"width:{left + across + right + 2:g}px;font-size:{size:g}px", class_=f"matrix {name}",
        tabindex=0, role="application", aria_label=f"{label}; arrow keys walk the cells, Enter shows errors",
        data_side=f"{side:g}",
    )  # fmt: skip


def cell_side(classes: int) -> float:
    """Of a cell, in pixels where the page is wide enough."""
    return float(np.clip(760 / classes, 7.0, 26.0).round(1))


def shades(values_CC: np.ndarray, kind: str) -> Iterator[Html]:
    """One path for all cells of a shade; values between 0 and 1, of which 0 is not drawn."""
    side = cell_side(len(values_CC))
    level_CC = np.ceil(values_CC.clip(0, 1) * LEVELS).astype(int)
    cell = f"h{side:g}v{side:g}h-{side:g}z"
    for level in range(1, LEVELS + 1):
        places = np.argwhere(level_CC == level)
        if len(places):
            path = "".join(f"M{column * side:.5g} {row * side:.5g}{cell}" for row, column in places.tolist())
            yield tag("path", d=path, class_=kind, fill_opacity=f"{0.85 * level / LEVELS:.2f}")


def joins(drawn: Tree, classes: int) -> Html:
    """The dendrogram, right of the matrix: the root at its right end."""
    side = cell_side(classes)
    left, top, bottom = classes * side + 4, float(drawn.height.max()), float(drawn.height.min())
    x = left + (top - drawn.height) / max(top - bottom, 1e-12) * (JOINS - 8)
    y = (drawn.place + 0.5) * side
    path = "".join(
        "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs, ys, strict=True))
        for xs, ys in zip(x.tolist(), y.tolist(), strict=True)
    )
    return tag("path", d=path, class_="joins")
