"""Imports only point upward in the list of layers; read from the source, nothing is imported."""

import ast
from pathlib import Path

import likewise

ROOT = Path(likewise.__file__).parent

# A file may import what stands above it, and its own package. Parts never import one another, except the words.
WORDS = {"spec", "geometry", "match", "decode", "jpeg"}
LAYERS = [
    WORDS,
    {"losses", "mining", "models", "data", "metrics", "optim"},
    {"training", "evaluate", "hard", "project", "one_shot", "doctor"},
    {"callbacks", "run", "memory", "symptoms", "gallery"},
    {"recipe", "recipes", "assemble", "pairing", "scoring", "launch", "compare", "tune", "translate"},
    {"plots", "page", "animate", "export", "audit", "serve", "api", "estimator", "reproduce", "cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Who may touch the disk, and who may choose a device (design, section 3).
DISK = {
    "data",
    "models",
    "evaluate",
    "run",
    "recipe",
    "launch",
    "gallery",
    "export",
    "plots",
    "page",
    "animate",
    "audit",
    "serve",
    "cli",
    "api",
    "compare",
    "tune",
    "reproduce",
}


def files() -> list[Path]:
    return [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms of likewise that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports from the top, likewise.…"
            names = (
                [f"{node.module}.{a.name}" for a in node.names] if node.module == "likewise" else [node.module or ""]
            )
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("likewise.")}
    return found


def broken(edges: list[tuple[str, str]]) -> list[str]:
    """The edges that point down, or from one part to another."""
    wrong = [(a, b) for a, b in edges if LEVEL[b] > LEVEL[a]]
    wrong += [(a, b) for a, b in edges if LEVEL[a] == LEVEL[b] == 1 and a != b]
    return [f"{a} imports {b}" for a, b in wrong]


def test_every_file_has_its_layer():
    assert {room(p) for p in files()} <= set(LEVEL)


def test_imports_point_upward():
    assert not broken([(room(p), to) for p in files() for to in imported(p) if to in LEVEL and to != room(p)])


def test_a_wrong_import_would_be_seen():
    assert broken([("geometry", "losses"), ("losses", "data"), ("run", "cli")]) == [
        "geometry imports losses",
        "run imports cli",
        "losses imports data",
    ]


def test_only_some_rooms_write_files():
    writers = {
        room(p)
        for p in files()
        if any(word in p.read_text(encoding="utf-8") for word in ("write_text(", "write_bytes(", "save_file("))
    }
    assert writers <= DISK


def test_no_room_has_a_name_that_says_nothing():
    assert not [p for p in files() if p.stem in {"util", "utils", "helper", "helpers", "common", "misc", "base"}]
