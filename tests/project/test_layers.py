"""Imports only point upward in the list of layers, file by file; read from the source, nothing is imported."""

import ast
from pathlib import Path

import likewise

ROOT = Path(likewise.__file__).parent

# A file may import what stands above its package, and its own package.
LAYERS = [
    *("extras", "safety", "spec", "geometry", "match", "atomic", "distributed", "malloc", "imaging"),
    *("losses", "models", "data", "metrics", "embeddings"),
    *("training", "evaluate", "doctor", "experiment", "recipes"),
    *("audit", "export", "gallery", "viz"),
    *("api", "estimator", "serve", "client", "reproduce", "cli", "__main__"),
]
LEVEL = {name: level for level, name in enumerate(LAYERS)}
PARTS = {"losses", "models", "data", "metrics"}  # never one another
# Who may touch the disk.
DISK = {
    "atomic",
    "data",
    "embeddings",
    "evaluate",
    "models",
    "experiment",
    "gallery",
    "export",
    "viz",
    "audit",
    "serve",
}
DISK |= {"cli", "reproduce", "safety"}
TOP_LEVEL = 14  # modules beside the packages, at most


def files() -> list[Path]:
    return [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def module(path: Path) -> str:
    """`losses.rules` for losses/rules.py, `losses` for losses/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(p): p for p in files()}


def package(name: str) -> str:
    return name.partition(".")[0]


def imported(path: Path) -> set[str]:
    """The modules of likewise that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports from the top, likewise.…"
            base = (node.module or "").removeprefix("likewise").removeprefix(".")
            if (node.module or "").partition(".")[0] == "likewise":
                inside = [f"{base}.{a.name}".removeprefix(".") for a in node.names]
                names |= {name if name in MODULES else base for name in inside}
        elif isinstance(node, ast.Import):
            names |= {a.name.removeprefix("likewise.") for a in node.names if a.name.startswith("likewise.")}
    return {name for name in names if name in MODULES} - {module(path)}


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def upward(edges: list[tuple[str, str]]) -> list[str]:
    """The edges that point down, or from one part to another."""
    wrong = [(a, b) for a, b in edges if LEVEL[package(b)] > LEVEL[package(a)]]
    wrong += [(a, b) for a, b in edges if package(a) != package(b) and {package(a), package(b)} <= PARTS]
    return [f"{a} imports {b}" for a, b in wrong]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Files that can be reached from themselves."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        front = set(graph[start])
        while front:
            seen |= front
            front = {b for a in front for b in graph[a]} - seen
        return seen

    return [name for name in graph if name in reach(name)]


def test_every_file_has_its_layer():
    assert {package(name) for name in MODULES} <= set(LEVEL)


def test_imports_point_upward():
    assert not upward([(a, b) for a, listed in GRAPH.items() for b in listed])


def test_a_wrong_import_would_be_seen():
    assert upward([("geometry", "losses.rules"), ("losses.pair", "data.images"), ("experiment.run", "cli.app")]) == [
        "geometry imports losses.rules",
        "losses.pair imports data.images",
        "experiment.run imports cli.app",
        "losses.pair imports data.images",
    ]


def test_no_file_imports_itself_on_a_way_round():
    assert not circles(GRAPH)
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_few_modules_stand_beside_the_packages():
    assert len(list(ROOT.glob("*.py"))) <= TOP_LEVEL


def test_only_some_rooms_write_files():
    words = ("write_text(", "write_bytes(", "save_file(", "replacing(")
    writers = {package(name) for name, p in MODULES.items() if any(w in p.read_text(encoding="utf-8") for w in words)}
    assert writers <= DISK


def test_no_room_has_a_name_that_says_nothing():
    assert not [p for p in files() if p.stem in {"util", "utils", "helper", "helpers", "common", "misc", "base"}]


def test_few_modules_are_named_for_pairs():
    assert len([p for p in files() if "pair" in p.stem]) <= 4


def test_no_file_is_long():
    assert not [p for p in files() if len(p.read_text(encoding="utf-8").splitlines()) > 350]
