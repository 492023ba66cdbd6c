"""docs/architecture.svg is drawn from today's imports, and docs/architecture.md names files that exist."""

import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "likewise"
GUIDES = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/architecture.md", "CONTRIBUTING.md")]
NAMED = {path for text in GUIDES for path in re.findall(r"`([a-z_/]+(?:\.py|/))`", text)}


@pytest.fixture(scope="module")
def tools():
    """The modules architecture and structure of tools/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("architecture"), importlib.import_module("structure")
        for name in ("architecture", "structure"):
            sys.modules.pop(name)


def test_the_picture_is_current(tools):
    architecture, _ = tools
    drawn = architecture.picture(architecture.package_imports())
    assert drawn == architecture.PICTURE.read_text(encoding="utf-8"), "run: python tools/architecture.py"


@pytest.mark.slow
def test_every_package_has_a_box_that_lists_its_imports(tools):
    architecture, _ = tools
    graph = architecture.package_imports()
    svg = ElementTree.fromstring(architecture.picture(graph))
    tips = [t.text for g in svg.iter("{http://www.w3.org/2000/svg}g") for t in g if t.tag.endswith("title")]
    assert len(tips) == len(graph) > 15
    assert "geometry imports no other package" in tips
    assert any(tip.startswith("losses imports distributed, geometry, match, spec") for tip in tips)


@pytest.mark.slow
def test_boxes_of_a_row_do_not_overlap(tools):
    architecture, _ = tools
    svg = ElementTree.fromstring(architecture.picture(architecture.package_imports()))
    boxes = [r for r in svg.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == "box"]
    rows: dict[str, list[int]] = {}
    for box in boxes:
        rows.setdefault(box.get("y"), []).append(int(box.get("x")))
        assert 0 < int(box.get("x")) < architecture.WIDTH - architecture.BOX
    for places in rows.values():
        assert all(b - a >= architecture.BOX for a, b in pairwise(sorted(places)))


def test_implied_arrows_are_left_out(tools):
    architecture, _ = tools
    graph = {"cli": {"viz", "audit"}, "viz": {"audit"}, "audit": set()}
    assert architecture.reduced(graph) == {"cli": {"viz"}, "viz": {"audit"}, "audit": set()}


def test_an_import_against_the_layers_is_refused(tools):
    architecture, _ = tools
    with pytest.raises(ValueError, match="a layer below them: losses"):
        architecture.ranks({"losses": {"viz"}, "viz": set()})


def test_structure_of_a_small_package(tools):
    _, structure = tools
    block = "\n".join(f"    total = total + number_{i}" for i in range(6))
    sources = {
        "__init__.py": "",
        "spec.py": "from typing import Any\ndef f(x: Any):\n    return x\n",
        "losses/__init__.py": "from likewise.losses.rules import g\n",
        "losses/rules.py": f"from likewise import spec\ndef g(total):\n{block}\n",
        "cli.py": f"import likewise.losses\ndef h(total):\n{block}\n",
    }
    found = structure.measure(sources)
    assert found["files"] == 5
    assert found["annotations with Any"] == 1
    assert found["longest import chain, in files"] == 4  # cli -> losses -> losses.rules -> spec
    assert found["imports between packages"] == 2  # cli -> losses -> spec
    assert found["function length, longest"] == 7
    assert found["repeated blocks of 6 lines"] == 1
    assert found["details"]["repeated blocks"] == [["cli.py:3", "losses/rules.py:3"]]


def test_a_cycle_of_files_is_counted(tools):
    _, structure = tools
    graph = {"a": {"b"}, "b": {"a"}, "c": {"a"}}
    assert structure.components(graph) == [("a", "b"), ("c",)]
    assert structure.longest_chain(graph) == ["c", "a", "b"]


@pytest.mark.parametrize("path", sorted(NAMED))
def test_files_named_in_the_guides_exist(path):
    assert (PACKAGE / path).exists() or (ROOT / path).exists()
