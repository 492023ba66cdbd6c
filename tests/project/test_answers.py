"""docs/answers.md: every question has a command, and all that need neither a download nor a long training run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from typed import run, typed_commands

DOCS = Path(__file__).parents[2] / "docs"
PARTS = re.split(r"^## ", (DOCS / "answers.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
COMMANDS = [words for part in PARTS for words in typed_commands(part)]
# downloads, data that may not be there, long trainings, files and ids of the reader
PARSED_ONLY = ("network=hf:", "signatures", "signed.csv", "compare", "ID")
ALONE = [words for words in COMMANDS if words[1] in ("explain", "list")]


def test_there_are_25_questions():
    assert [int(part.split(".")[0]) for part in PARTS] == list(range(1, 26))
    assert all(part.splitlines()[0].endswith("?") for part in PARTS)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.split(".")[0])
def test_an_answer_is_short_and_has_a_command(part):
    text = re.sub(r"^    .*$", "", part.partition("\n")[2], flags=re.MULTILINE).strip()
    assert 2 <= len(re.findall(r"[.?](?=\s|$)", text)) <= 6
    assert typed_commands(part)


@pytest.mark.parametrize("words", ALONE, ids=" ".join)
def test_commands_that_need_no_run(words, monkeypatch, capsys):
    assert run(words, monkeypatch) == 0
    assert len(capsys.readouterr().out) > 100


@pytest.mark.slow
def test_the_commands_run_in_order(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    script = re.findall(r"```python\n(.*?)```", (DOCS / "tutorial.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    subprocess.run([sys.executable, "-c", script], check=True)
    before = [
        "likewise train digits epochs=3",
        "likewise gallery create photos.gallery --model runs/digits",
        "likewise gallery enroll photos.gallery photos --gate off",
        "likewise train digits epochs=2 --name better",
    ]
    ran = 0
    for words in [*(line.split() for line in before), *COMMANDS]:
        if any(mark in word for mark in PARSED_ONLY for word in words):
            continue
        shorter = ["--plan"] if words[1:3] == ["train", "photos"] else []
        if words[1:3] == ["train", "digits"] and words not in [line.split() for line in before]:
            shorter = ["epochs=1", "max_per_class=40", "--name", f"answer-{ran}"]
        code = run([*words, *shorter], monkeypatch)
        assert code == 0, (words, capsys.readouterr().err)
        capsys.readouterr()
        ran += 1
    assert ran > 30
    shutil.rmtree(tmp_path / "runs")
