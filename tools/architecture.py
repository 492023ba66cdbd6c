"""Draws docs/architecture.svg from the imports: `python tools/architecture.py`.

Each package is a box in its layer; an arrow goes from a package to one that it imports. An arrow that follows from
others (cli -> viz -> audit implies cli -> audit) is left out; a box's tooltip lists everything that it imports.
"""

from collections import defaultdict
from html import escape
from itertools import pairwise
from pathlib import Path

from structure import Graph, grouped, import_graph, in_tree, parsed, reachable

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"

# The layers from top to bottom, with a caption for each package. A package imports what stands above it.
LAYERS: dict[str, dict[str, str]] = {
    "foundations": {
        "extras": "how to install them",
        "safety": "bounds, others' files",
        "spec": "names to objects",
        "geometry": "similarities",
        "match": "positives, negatives",
        "atomic": "files written whole",
        "distributed": "ranks, gather",
        "malloc": "keep freed memory",
        "imaging": "files to pixels",
    },
    "parts": {
        "losses": "rules, proxies, mining",
        "models": "Embedder, networks",
        "data": "Images, samplers",
        "metrics": "pure functions",
        "embeddings": "vectors with labels",
    },
    "verbs": {
        "training": "the loop, optimizers",
        "evaluate": "scores with intervals",
        "doctor": "what went wrong",
        "experiment": "recipe to run",
        "recipes": "one function each",
    },
    "uses of a run": {
        "audit": "faults in the data",
        "export": "ONNX, model card",
        "gallery": "enroll, search, decide",
        "viz": "plots, pages",
    },
    "edges": {
        "api": "Python interface",
        "estimator": "scikit-learn",
        "serve": "HTTP service",
        "client": "of the service",
        "reproduce": "earlier projects",
        "cli": "the command line",
    },
}
UNDRAWN = {"__main__"}
LAYER = {name: number for number, names in enumerate(LAYERS.values()) for name in names}
CAPTIONS = {name: caption for names in LAYERS.values() for name, caption in names.items()}

WIDTH, MARGIN, LABEL = 1240, 24, 120  # pixels: of the picture, around it, of the layers' names on the left
BOX, HEIGHT, GAP, LANE = 142, 44, 14, 18  # a box, the space beside it, and the width of an arrow that passes a row
ROW = 92  # from one row to the next

STYLE = """
  .page { fill: #ffffff; } .layer { fill: #f3f5f8; } .layer-name { fill: #5b6675; font-size: 13px; }
  .box { fill: #ffffff; stroke: #31517e; stroke-width: 1.2; }
  .name { fill: #14213a; font-size: 14px; font-weight: 600; }
  .caption { fill: #5b6675; font-size: 11px; } .arrow { fill: none; stroke: #7488a5; stroke-width: 1.3; }
  .head { fill: #7488a5; } text { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #11161d; } .layer { fill: #1a212b; } .layer-name, .caption { fill: #9aa7b8; }
    .box { fill: #222c39; stroke: #7fa3d6; } .name { fill: #e8eef7; }
    .arrow { stroke: #7d8da3; } .head { fill: #7d8da3; }
  }
"""

Rows = list[list[str]]


def main() -> None:
    PICTURE.write_text(picture(package_imports()), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))


def package_imports() -> Graph:
    """The packages that each package of the working tree imports. Errors: ValueError for one without a layer."""
    graph = grouped(import_graph(parsed(in_tree())))
    graph = {name: imports - UNDRAWN for name, imports in sorted(graph.items()) if name not in UNDRAWN}
    for name in graph:
        if name not in LAYER:
            raise ValueError(f"likewise.{name} has no layer; add it with a caption to LAYERS in tools/architecture.py")
    return graph


def picture(graph: Graph) -> str:
    """The SVG of a graph of packages; the same graph gives the same text."""
    row_of = ranks(graph)
    rows, arrows = with_lanes(row_of, reduced(graph))
    rows = ordered(rows, arrows)
    x_of = placed(rows, arrows)
    height = 2 * MARGIN + ROW * len(rows) - (ROW - HEIGHT) + 2 * GAP
    y_of = {name: MARGIN + GAP + ROW * number for number, row in enumerate(rows) for name in row}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The packages of likewise in their layers, and what imports what</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="10"/>',
        *bands(row_of, y_of),
        *(line(path, x_of, y_of) for path in paths(graph, arrows)),
        *(box(name, graph[name], x_of[name], y_of[name]) for name in graph),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# Layout: rows, lanes for arrows that pass a row, an order with few crossings, and places


def ranks(graph: Graph) -> dict[str, int]:
    """The row of each package: below all that it imports, and below the layers above its own."""
    row_of: dict[str, int] = {}
    for layer in range(len(LAYERS)):
        start = max(row_of.values(), default=-1) + 1
        names = [name for name in graph if LAYER[name] == layer]
        while names:
            ready = [n for n in names if not graph[n] & set(names)]
            if not ready or any(other not in row_of for n in ready for other in graph[n]):
                raise ValueError(f"these import one another or a layer below them: {', '.join(names)}")
            row_of |= {n: max([start, *(row_of[other] + 1 for other in graph[n])]) for n in ready}
            names = [n for n in names if n not in ready]
    return row_of


def reduced(graph: Graph) -> Graph:
    """The arrows that do not follow from others (transitive reduction)."""
    return {
        name: {other for other in imports if not any(other in reachable(graph, via) for via in imports - {other})}
        for name, imports in graph.items()
    }


def with_lanes(row_of: dict[str, int], graph: Graph) -> tuple[Rows, Graph]:
    """Rows of names, and arrows that go one row up each: one that passes rows gets a lane `a>b@row` in each."""
    rows: Rows = [[] for _ in range(max(row_of.values()) + 1)]
    for name in CAPTIONS:
        if name in row_of:
            rows[row_of[name]].append(name)
    arrows: Graph = defaultdict(set)
    for name, imports in graph.items():
        for other in sorted(imports):
            last = name
            for row in range(row_of[name] - 1, row_of[other], -1):
                lane = f"{name}>{other}@{row}"
                rows[row].append(lane)
                arrows[last].add(lane)
                last = lane
            arrows[last].add(other)
    return rows, arrows


def neighbours(arrows: Graph) -> Graph:
    both: Graph = defaultdict(set)
    for name, others in arrows.items():
        for other in others:
            both[name].add(other)
            both[other].add(name)
    return both


def ordered(rows: Rows, arrows: Graph) -> Rows:
    """Each row sorted by the mean place of its neighbours in the row before, there and back; the fewest crossings."""
    beside = neighbours(arrows)
    best, fewest = rows, crossings(rows, arrows)
    for turn in range(40):
        sequence = list(range(len(rows))) if turn % 2 == 0 else list(range(len(rows) - 1, -1, -1))
        for before, number in pairwise(sequence):
            at = {name: (i + 0.5) / len(rows[before]) for i, name in enumerate(rows[before])}
            own = {name: (i + 0.5) / len(rows[number]) for i, name in enumerate(rows[number])}
            key = {n: mean([at[o] for o in sorted(beside[n]) if o in at], own[n]) for n in rows[number]}
            rows = [*rows[:number], sorted(rows[number], key=lambda n: key[n]), *rows[number + 1 :]]
        if (count := crossings(rows, arrows)) < fewest:
            best, fewest = rows, count
    return best


def mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def crossings(rows: Rows, arrows: Graph) -> int:
    total = 0
    for above, below in pairwise(rows):
        ends = [(i, above.index(o)) for i, name in enumerate(below) for o in arrows.get(name, ()) if o in above]
        total += sum((a - c) * (b - d) < 0 for k, (a, b) in enumerate(ends) for c, d in ends[:k])
    return total


def placed(rows: Rows, arrows: Graph) -> dict[str, float]:
    """The middle of each box and lane: near its neighbours, in the order of its row, without overlap."""
    beside = neighbours(arrows)
    left, right = MARGIN + LABEL, WIDTH - MARGIN
    x_of = {n: left + (i + 0.5) * (right - left) / len(row) for row in rows for i, n in enumerate(row)}
    for _ in range(60):
        for row in rows:
            wanted = {n: 0.5 * x_of[n] + 0.5 * mean([x_of[o] for o in sorted(beside[n])], x_of[n]) for n in row}
            x_of |= apart(row, wanted, left, right)
    return x_of


def room(name: str) -> float:
    return LANE if "@" in name else BOX + GAP


def apart(row: list[str], wanted: dict[str, float], left: float, right: float) -> dict[str, float]:
    """Places in order: pushed to the right where they overlap, and back from the right edge; the mean of both ways.

    The mean may pass the right edge, so it is pushed back from there once more.
    """
    forth: list[float] = []
    edge = left
    for name in row:
        forth.append(max(wanted[name], edge + room(name) / 2))
        edge = forth[-1] + room(name) / 2
    back = pushed_back(row, wanted, right)
    return pushed_back(row, {name: (x + back[name]) / 2 for name, x in zip(row, forth, strict=True)}, right)


def pushed_back(row: list[str], wanted: dict[str, float], right: float) -> dict[str, float]:
    """The places wanted, moved to the left as far as the right edge and the next box ask."""
    places: dict[str, float] = {}
    edge = right
    for name in reversed(row):
        places[name] = min(wanted[name], edge - room(name) / 2)
        edge = places[name] - room(name) / 2
    return places


def bands(row_of: dict[str, int], y_of: dict[str, int]) -> list[str]:
    drawn = []
    for layer, names in LAYERS.items():
        at = [y_of[name] for name in names if name in row_of]
        if not at:
            continue
        top, bottom = min(at) - GAP, max(at) + HEIGHT + GAP
        drawn.append(
            f'<rect class="layer" x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{bottom - top}" rx="8"/>'
            f'<text class="layer-name" x="{MARGIN + 12}" y="{(top + bottom) // 2 + 4}">{layer}</text>'
        )
    return drawn


def paths(graph: Graph, arrows: Graph) -> list[list[str]]:
    """Each arrow as its package, the lanes that it takes and the package that it ends at."""
    found = []
    for name in graph:
        for step in sorted(arrows.get(name, ())):
            path = [name, step]
            while "@" in path[-1]:
                path += arrows[path[-1]]
            found.append(path)
    return found


def line(path: list[str], x_of: dict[str, float], y_of: dict[str, int]) -> str:
    """A smooth line from the top of a box, through its lanes, to the bottom of another."""
    x, y = spread(path[0], path[1], x_of), float(y_of[path[0]])
    d = f"M{x:.0f} {y:.0f}"
    for step in path[1:]:
        is_lane = "@" in step
        to_x = x_of[step] if is_lane else spread(step, path[-2], x_of)
        to_y = y_of[step] + HEIGHT + (0 if is_lane else 2)
        bend = (y - to_y) / 2
        d += f"C{x:.0f} {y - bend:.0f} {to_x:.0f} {to_y + bend:.0f} {to_x:.0f} {to_y:.0f}"
        if is_lane:
            d += f"V{y_of[step]}"
        x, y = to_x, float(y_of[step])
    return f'<path class="arrow" marker-end="url(#tip)" d="{d}"/>'


def spread(name: str, toward: str, x_of: dict[str, float]) -> float:
    """Where on the edge of a box an arrow meets it: shifted towards the other end."""
    shift = (x_of[toward] - x_of[name]) / 4
    return x_of[name] + max(-BOX / 2 + 16, min(BOX / 2 - 16, shift))


def box(name: str, imports: set[str], x: float, y: int) -> str:
    tip = f"{name} imports {', '.join(sorted(imports)) or 'no other package'}"
    left = x - BOX / 2
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<rect class="box" x="{left:.0f}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6"/>'
        f'<text class="name" x="{x:.0f}" y="{y + 19}" text-anchor="middle">{escape(name)}</text>'
        f'<text class="caption" x="{x:.0f}" y="{y + 35}" text-anchor="middle">{escape(CAPTIONS[name])}</text></g>'
    )


if __name__ == "__main__":
    main()
