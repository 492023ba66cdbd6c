"""Variables are named by what their value is, not by how the program came to it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "likewise"
PARTICIPLES = {"found", "said", "told", "held", "kept", "want"}


def participles(text: str) -> list[int]:
    """Lines that bind such a name."""
    nodes = list(ast.walk(ast.parse(text)))
    bound = [
        n.lineno for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id in PARTICIPLES
    ]
    return sorted([*bound, *(n.lineno for n in nodes if isinstance(n, ast.arg) and n.arg in PARTICIPLES)])


def test_no_variable_is_named_by_a_participle():
    lines = {str(path.relative_to(SOURCE)): participles(path.read_text()) for path in SOURCE.rglob("*.py")}
    assert {path: where for path, where in lines.items() if where} == {}


@pytest.mark.parametrize(
    ("text", "lines"),
    [("found = 1\n", [1]), ("def f(told): ...\n", [1]), ("matches = found()\n", []), ("x = lambda said: 1\n", [1])],
)
def test_what_counts(text, lines):
    assert participles(text) == lines
