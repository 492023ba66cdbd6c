"""How the package is built, in numbers: sizes, imports, functions, repeated code. Nothing is imported, only parsed.

python tools/structure.py                      the working tree, as a Markdown table
python tools/structure.py --at REV --at REV2   revisions of the repository, a column each
python tools/structure.py --json               the same as JSON, with the names behind the numbers
"""

import argparse
import ast
import io
import json
import statistics
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/likewise"
LONG_FILE = 300  # lines
BLOCK = 6  # lines of code that count as repeated

UNTYPED = ("Any", "Fields", "Record", "Keywords")  # the last three: safety/bounds.py and spec.py

Graph = dict[str, set[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", action="append", default=[], metavar="REV", help="a revision instead of the tree")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    columns = {rev: measure(at_revision(rev)) for rev in options.at} or {"working tree": measure(in_tree())}
    print(json.dumps(columns, indent=1) if options.json else table(columns))


def in_tree(root: Path = ROOT) -> dict[str, str]:
    """Text of each Python file, by its path inside the package."""
    home = root / PACKAGE
    return {p.relative_to(home).as_posix(): p.read_text(encoding="utf-8") for p in sorted(home.rglob("*.py"))}


def at_revision(rev: str) -> dict[str, str]:
    """The same at a revision. Errors: SystemExit for a revision that git does not know."""
    call = ["git", "-C", str(ROOT), "archive", "--format=tar", rev, PACKAGE]
    done = subprocess.run(call, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"git has no {PACKAGE} at {rev!r}: {done.stderr.decode().strip()}")
    sources: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".py") else None
            if file is not None:
                sources[member.name.removeprefix(f"{PACKAGE}/")] = file.read().decode("utf-8")
    return dict(sorted(sources.items()))


def parsed(sources: Mapping[str, str]) -> dict[str, ast.Module]:
    return {path: ast.parse(text, path) for path, text in sources.items()}


def measure(sources: Mapping[str, str]) -> dict[str, object]:
    """Every number of the table by name, and lists of names in `details`."""
    trees = parsed(sources)
    files = import_graph(trees)
    groups = grouped(files)
    lengths = sorted(function_lengths(trees), key=lambda entry: entry[1])
    sizes = {path: len(text.splitlines()) for path, text in sources.items()}
    repeated = repeated_blocks(sources)
    chain, group_chain = longest_chain(files), longest_chain(groups)
    fan_out = [len(imports) for imports in files.values()]
    long_files = {path: n for path, n in sorted(sizes.items()) if n > LONG_FILE}
    return {
        "files": len(sources),
        "lines": sum(sizes.values()),
        "modules beside the packages": sum("/" not in path and not path.startswith("__") for path in sources),
        "packages and modules at top level": len(groups),
        "longest import chain, in files": len(chain),
        "longest import chain, in packages": len(group_chain),
        "imports between packages": sum(map(len, groups.values())),
        "imports between files": sum(fan_out),
        "imports of a file, mean": round(statistics.mean(fan_out), 2),
        "imports of a file, most": max(fan_out),
        "files in import cycles": sum(len(c) for c in components(files) if len(c) > 1),
        "packages in import cycles": sum(len(c) for c in components(groups) if len(c) > 1),
        "annotations with Any": sum(count_any(tree) for tree in trees.values()),
        "functions": len(lengths),
        "function length, median": statistics.median(n for _, n in lengths),
        "function length, 90th percentile": lengths[int(0.9 * (len(lengths) - 1))][1],
        "function length, longest": lengths[-1][1],
        f"files over {LONG_FILE} lines": len(long_files),
        f"repeated blocks of {BLOCK} lines": len(repeated),
        "details": {
            "longest import chain": chain,
            "longest chain of packages": group_chain,
            "package imports": {name: sorted(imports) for name, imports in sorted(groups.items())},
            "longest functions": lengths[-5:],
            "long files": long_files,
            "repeated blocks": repeated[:20],
        },
    }


def table(columns: Mapping[str, Mapping[str, object]]) -> str:
    rows = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    names = [name for name in next(iter(columns.values())) if name != "details"]
    rows += [f"| {name} | {' | '.join(shown(column[name]) for column in columns.values())} |" for name in names]
    return "\n".join(rows)


def shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


# Imports


def module_name(path: str) -> str:
    """`losses.rules` for losses/rules.py, `losses` for losses/__init__.py, nothing for the package itself."""
    return path.removesuffix(".py").replace("/", ".").removesuffix("__init__").removesuffix(".")


def import_graph(trees: Mapping[str, ast.Module]) -> Graph:
    """The files of the package that each file imports, anywhere in it."""
    names = {module_name(path) for path in trees}
    graph = {module_name(path): set(imported(tree, names)) - {module_name(path)} for path, tree in trees.items()}
    graph.pop("", None)  # __init__.py loads its names lazily, by text
    return {name: imports - {""} for name, imports in graph.items()}


def imported(tree: ast.Module, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "likewise":
            base = (node.module or "").removeprefix("likewise").removeprefix(".")
            for alias in node.names:
                inside = f"{base}.{alias.name}".removeprefix(".")
                yield inside if inside in names else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name.removeprefix("likewise.")
                if alias.name.startswith("likewise.") and name in names:
                    yield name


def grouped(files: Graph) -> Graph:
    """Imports between the packages and modules of the top level."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name, imports in files.items():
        group = name.partition(".")[0]
        groups[group] |= {other.partition(".")[0] for other in imports} - {group}
    return dict(groups)


def components(graph: Graph) -> list[tuple[str, ...]]:
    """Strongly connected components: files that import one another, directly or not, are together."""
    reached = {name: reachable(graph, name) for name in graph}
    return sorted({tuple(sorted(o for o in reached[n] | {n} if o == n or n in reached[o])) for n in graph})


def reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph[waiting.pop()] - found
        found |= fresh
        waiting += fresh
    return found


def longest_chain(graph: Graph) -> list[str]:
    """A longest path of imports, from the file that imports to the one that is imported; a cycle counts whole."""
    home = {name: group for group in components(graph) for name in group}
    between = {g: {home[o] for n in g for o in graph[n]} - {g} for g in set(home.values())}
    best: dict[tuple[str, ...], list[str]] = {}
    for group in TopologicalSorter({g: sorted(others) for g, others in sorted(between.items())}).static_order():
        below = max((best[other] for other in sorted(between[group])), key=len, default=[])
        best[group] = [*group, *below]
    return max((best[group] for group in sorted(best)), key=len)


# Functions and lines


def function_lengths(trees: Mapping[str, ast.Module]) -> Iterator[tuple[str, int]]:
    """Lines of each function from `def` to its end, docstring included."""
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module_name(path)}.{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def count_any(tree: ast.Module) -> int:
    """How often `Any`, or a name that stands for a mapping to it, is written outside imports."""
    names = (node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in ast.walk(tree))
    return sum(name in UNTYPED for name in names)


def repeated_blocks(sources: Mapping[str, str]) -> list[list[str]]:
    """Places of each run of code lines that occurs more than once; longer runs count once for the places they share."""
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for path, text in sorted(sources.items()):
        lines = list(code_lines(text))
        for start in range(len(lines) - BLOCK + 1):
            block = tuple(line for _, line in lines[start : start + BLOCK])
            places[block].append((path, start))
    repeated = {tuple(at): block for block, at in places.items() if len(at) > 1 and telling(block)}
    first = {at for at in repeated if tuple((path, start - 1) for path, start in at) not in repeated}
    return [[f"{path}:{line_of(sources[path], start)}" for path, start in at] for at in sorted(first)]


def code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of code with their numbers: no blank lines, comments, imports or docstrings."""
    skip: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            skip.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(text.splitlines(), 1):
        if number not in skip and line.strip() and not line.strip().startswith("#"):
            yield number, line.strip()


def telling(block: Iterable[str]) -> bool:
    """Whether a block says something: lists of short lines and closing brackets do not."""
    return sum(len(line) > 12 for line in block) >= BLOCK - 2


def line_of(text: str, place: int) -> int:
    return list(code_lines(text))[place][0]


if __name__ == "__main__":
    main()
