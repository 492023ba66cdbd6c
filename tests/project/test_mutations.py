"""tools/mutations.py: which single changes it makes, what it leaves alone, and that a seed chooses the same ones."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "tools" / "mutations.py"


@pytest.fixture(scope="module")
def tool():
    found = importlib.util.spec_from_file_location("mutations", FILE)
    module = importlib.util.module_from_spec(found)
    sys.modules["mutations"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    yield module
    del sys.modules["mutations"]


def made(tool, source: str) -> set[tuple[str, str]]:
    """(kind, mutated line) of every mutant."""
    lines = source.splitlines()
    found = set()
    for mutant in tool.mutants("m.py", source.encode()):
        changed = mutant.apply(source.encode()).decode()
        assert ast.parse(changed)
        found |= {(mutant.kind, after.strip()) for before, after in zip(lines, changed.splitlines()) if before != after}  # noqa: B905 (a change may span lines)
    return found


@pytest.mark.parametrize(
    ("line", "mutants"),
    [
        ("x = a < b", {("comparison", "x = (a <= b)")}),
        ("x = a in b", {("comparison", "x = (a not in b)")}),
        ("x = a + b", {("arithmetic", "x = (a - b)")}),
        ("x = -a", {("arithmetic", "x = (a)")}),
        ("x = 'a' + b", set()),
        ("x = a and b", {("condition", "x = (a or b)")}),
        ("x = not a", {("condition", "x = (a)")}),
        ("x = 3", {("constant", "x = (4)")}),
        ("x = 0.5", {("constant", "x = (1.0)")}),
        ("x = 0.0", {("constant", "x = (1.0)")}),
        ("x = True", {("constant", "x = (False)")}),
        ("x = 'text'", set()),
        ("x = f'{1 + 2}'", set()),
        ("x = f(a, b)", {("arguments", "x = (f(b, a))")}),
        ("x = f(a, a)", set()),
        ("f(a)", {("removal", "pass")}),
        ("x.y = a", {("removal", "pass")}),
        ("x += a", {("removal", "pass"), ("arithmetic", "x -= a")}),
        ("return a", {("return", "return None")}),
        ("return None", set()),
        ("raise a", {("removal", "pass")}),
        ("assert a < b", set()),
        ("x: Literal[3] = a", set()),
        ("x = 'é' if a else b", {("condition", "x = 'é' if (not a) else b")}),
    ],
)
def test_each_kind_by_hand(tool, line, mutants):
    assert made(tool, f"def f(é):\n    {line}\n") == mutants


def test_blocks_keep_their_bodies(tool):
    source = "def f(x, y=2, *, z: int = 3):\n    '''Text 1.'''\n    if x:\n        return x\n"
    assert made(tool, source) == {
        ("default", "def f(x, y=(3), *, z: int = 3):"),
        ("default", "def f(x, y=2, *, z: int = (4)):"),
        ("condition", "if (not x):"),
        ("return", "return None"),
    }
    assert {m.reached for m in tool.mutants("m.py", source.encode()) if m.kind == "default"} == {(2, 4)}


def test_fields_are_defaults_and_decorators_and_all_are_left_alone(tool):
    source = "__all__ = ['a'] + [1]\n\n\n@dataclass(frozen=True)\nclass A:\n    x: int = 1\n"
    assert made(tool, source) == {("default", "x: int = (2)")}


def test_a_seed_chooses_the_same_mutants_with_the_kinds_in_turn(tool):
    sources = {"m.py": FILE.read_bytes()}
    chosen = tool.choose(sources, 24, seed=5)
    assert chosen == tool.choose(sources, 24, seed=5)
    assert chosen != tool.choose(sources, 24, seed=6)
    assert len({mutant.line for mutant in chosen}) == 24
    assert [mutant.kind for mutant in chosen[:7]] == sorted({mutant.kind for mutant in chosen[:7]})
