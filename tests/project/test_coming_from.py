"""docs/coming-from.md: fields of the right-hand columns are fields that a recipe takes, and commands exist."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from likewise import Recipe
from typed import parse

PAGE = (Path(__file__).parents[2] / "docs/coming-from.md").read_text(encoding="utf-8")
OURS = [row.split(" | ")[1] for row in PAGE.splitlines() if row.startswith("| ") and " | " in row]
CODES = dict.fromkeys(code for cell in OURS for code in re.findall(r"`([^`]+)`", cell))
FIELDS = [code for code in CODES if re.match(r"[a-z_]+=", code)]
COMMANDS = [code for code in CODES if code.startswith("likewise ") and len(code.split()) > 3]
VERBS = [code for code in CODES if re.fullmatch(r"likewise [a-z]+(?: search)?", code)]


def test_there_is_something_to_check():
    assert len(FIELDS) > 40
    assert len(COMMANDS) >= 2
    assert len(VERBS) >= 5


@pytest.mark.parametrize("field", FIELDS)
def test_a_recipe_takes_the_field(field):
    if "pml:" in field and not importlib.util.find_spec("pytorch_metric_learning"):
        pytest.skip("needs pytorch-metric-learning")
    name, _, value = field.partition("=")
    sim = {"triplet(margin=1.0)": "sqeuclidean", "contrastive(margin=1.0)": "euclidean"}.get(value)
    recipe = Recipe(sim=sim).override(field) if sim else Recipe().override(field)
    assert getattr(recipe, name) is not None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command):
    parse(command.split())


@pytest.mark.parametrize("command", VERBS)
def test_a_verb_exists(command, capsys):
    with pytest.raises(typer.Exit):  # after its help
        parse([*command.split(), "--help"])
    assert "Usage" in capsys.readouterr().out
