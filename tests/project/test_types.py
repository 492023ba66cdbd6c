"""How often an annotation is `Any`, and that each one that is left says why."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 168  # by tools/structure.py, with the aliases of bounds.py and spec.py; lower it with every one that goes


@pytest.fixture(scope="module")
def structure():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("structure")
        sys.modules.pop("structure")


def test_no_further_annotation_is_any(structure):
    assert structure.measure(structure.in_tree())["annotations with Any"] <= MOST


def unexplained(text: str) -> list[int]:
    """Lines with `Any` that have no comment, in a file whose import of it has none either."""
    lines, tree = text.splitlines(), ast.parse(text)
    imports = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "Any" for alias in node.names)
    ]
    if any("#" in lines[number - 1] for number in imports):
        return []
    used = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Any"}
    return sorted(number for number in used if "#" not in lines[number - 1])


def test_each_says_why(structure):
    found = {path: lines for path, text in structure.in_tree().items() if (lines := unexplained(text))}
    assert not found, "say beside `Any`, or beside its import, why no type is known"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("from typing import Any\nx: Any = 1\n", [2]),
        ("from typing import Any\nx: Any = 1  # of either kind\n", []),
        ("from typing import Any  # of either kind\nx: Any = 1\n", []),
        ('"""Any image."""\n', []),
    ],
)
def test_what_counts_as_a_reason(text, lines):
    assert unexplained(text) == lines
