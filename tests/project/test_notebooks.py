"""The scripts of examples/, run as they are, and what each of them has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# the data set that each needs below LIKEWISE_DATA, and a part of what it prints
NEEDS = {"one_shot": "omniglot", "signatures": "cross-media-signatures"}
PRINTS = {
    "choosing_a_threshold": r"far=0\.01 +similarity from 0\.\d+: false accepts 0\.0\d+, false rejects 0\.\d+",
    "comparing_losses_honestly": r"triplet\(margin=0\.2\) +map@r 0\.\d+ \(0\.\d+ to 0\.\d+\)",
    "gallery_and_service": r"over HTTP, new/9/\d+\.png is \w+\nclasses: 0, 1, 2, 3, 4, 5, 6, 7, 9",
    "one_shot": r"one-shot error 0\.\d+ \(0\.\d+ to 0\.\d+\), \d+ trials",
    "signatures": r"across +EER 0\.\d+ \(0\.\d+ to 0\.\d+\)",
    "ten_minutes_with_digits": r"knn@1 +0\.9\d+ \(0\.9\d+ to \d\.\d+\)",
    "your_own_folder": r"knn@1 on new images (0\.9\d*|1\.0+), of 36",
}
# what the longest do on less, so that running all of them stays affordable
SHORTER = {
    "one_shot": ("epochs=4", "epochs=2"),
    "signatures": ("size=64, max_classes=70", "size=32, max_classes=40"),
    "comparing_losses_honestly": ("epochs=4", "epochs=2"),
}


def cells(script: Path) -> list[tuple[bool, str]]:
    """Whether each cell is text, and what it holds."""
    parts = re.split(r"^# %%( \[markdown\])?\n", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not parts[0]
    return [(bool(kind), content) for kind, content in zip(parts[1::2], parts[2::2], strict=True)]


def test_each_is_listed():
    assert {script.stem for script in EXAMPLES} == set(PRINTS)
    page = (ROOT / "docs/notebooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(\.\./examples/(\w+)\.py\)", page)) == set(PRINTS)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_each_begins_with_a_title_and_ends_with_where_to_go_next(script):
    listed = cells(script)
    assert listed[0][0]
    assert re.match(r"# # \S", listed[0][1])
    is_text, last = listed[-1]
    assert is_text
    assert "## Where to go next" in last
    assert re.search(r"\]\(\S+\)", last)
    links = re.findall(r"\]\(([^)#]+)\)", script.read_text(encoding="utf-8").replace("\n# ", " "))
    assert all((script.parent / link).is_file() for link in links), links


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_each_runs(script, tmp_path, data_root):
    if script.stem in NEEDS:
        data_root(NEEDS[script.stem])
    if script.stem == "gallery_and_service":
        pytest.importorskip("fastapi")
    env = {**os.environ, "PYTHONWARNINGS": "default", "PYTHONPATH": str(ROOT / "src")}
    text = script.read_text(encoding="utf-8")
    longer, shorter = SHORTER.get(script.stem, ("", ""))
    assert longer in text
    copy = tmp_path / script.name
    copy.write_text(text.replace(longer, shorter) if longer else text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(copy)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=580, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert re.search(PRINTS[script.stem], ran.stdout), ran.stdout
    assert "Warning" not in ran.stderr, ran.stderr[-3000:]


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_each_opens_as_a_notebook(script):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(script)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds == ["markdown" if is_text else "code" for is_text, _ in cells(script)]
