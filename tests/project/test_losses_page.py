"""docs/losses.md says what the losses say of themselves, today."""

import importlib.util
from pathlib import Path

import pytest

from likewise import spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    found = importlib.util.spec_from_file_location("losses_page", ROOT / "tools" / "losses_page.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(tool):
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run `python tools/losses_page.py`"


@pytest.mark.parametrize("name", spec.names("loss"))
def test_every_loss_has_its_place(tool, name):
    page = tool.PAGE.read_text(encoding="utf-8")
    assert page.count(f"### {name}\n") == 1
    assert f"| [{name}](#{name}) |" in page


def test_signs_of_markdown_are_kept_as_signs(tool):
    assert tool.escaped("a_b * |c| <d>") == r"a\_b \* \|c\| \<d\>"
