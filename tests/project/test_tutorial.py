"""The tutorial, typed as written: its commands in order, its file, and its call of the service."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from live import Live
from typed import run

PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text(encoding="utf-8")
LINES = [
    re.split(r"\s#\s", line)[0]
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
BESIDE = ("make install", "export PATH", "likewise explore", "likewise serve", "curl ")  # not typed here, or below


@pytest.mark.slow
@pytest.mark.timeout(900)  # it trains eleven times
def test_the_tutorial_works_as_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi")
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "make_photos.py").write_text(script, encoding="utf-8")
    printed = {}
    for line in LINES:
        if line.startswith(BESIDE):
            continue
        words = shlex.split(line)
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True)
            continue
        assert run(words, monkeypatch) == 0, (line, capsys.readouterr().err)
        printed.setdefault(line, []).append(capsys.readouterr().out)

    assert "GOOD" in printed["likewise train digits"][0]
    assert (tmp_path / "runs/digits/report.html").is_file()
    first, second = printed["likewise gallery identify photos.gallery new/3/0950.png new/9/0009.png"]
    assert "0950.png: 3" in first
    assert "0950.png: 3" in second
    before, after = printed["likewise gallery calibrate photos.gallery --far 0.05"]
    assert "promises no FAR of 0.05" in before
    assert "does not support FAR 0.05" in after
    assert "0009.png: unknown" in first
    assert "0009.png: unknown" in second
    (found,) = printed["likewise gallery search photos.gallery new/9/0009.png --k 3"]
    assert [line.split()[1] for line in found.splitlines()] == ["9"] * 3

    live = Live(tmp_path, "photos.gallery", "--port", "0")
    try:
        with (tmp_path / "new/3/0950.png").open("rb") as image:
            answer = live.client.post("/v1/identify", files={"image": image})
        assert answer.json()["answers"][0]["label"] == "3", answer.text
        assert live.stop() == 0
    finally:
        live.close()
