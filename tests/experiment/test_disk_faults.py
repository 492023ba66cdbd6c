"""A disk that is full or may not be written, and no more file handles: one sentence, exit code 1 or 2, nothing half."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from PIL import Image

from faults import Faults, failing
from likewise.cli import main
from likewise.cli.failures import explained
from likewise.experiment.recipe import Recipe
from likewise.experiment.train import train

SMALL = ["max_per_class=8", "epochs=1", "network=mlp", "dim=4", "size=8", "sampler=pk(classes=5, images=2)"]
# command: its words; RUN is a finished run
COMMANDS = {
    "train": ["train", "digits", *SMALL, "--out", "runs", "--name", "new"],
    "resume": ["train", "--resume", "RUN"],
    "evaluate": ["evaluate", "RUN"],
    "report": ["report", "RUN"],
    "map": ["map", "RUN", "--method", "pca"],
    "audit": ["audit", "RUN"],
    "embed": ["embed", "RUN", "image.png", "-o", "vectors.parquet"],
    "compare": ["compare", "digits", *SMALL, "--over", "loss=supcon,softmax", "--out", "runs", "--name", "c"],
    "gallery": ["gallery", "create", "g.gallery", "--model", "RUN"],
    "translate": ["translate", "old.yaml", "-o", "new.toml"],
}
FAULTS = {"full": errno.ENOSPC, "denied": errno.EACCES, "handles": errno.EMFILE, "quota": errno.EDQUOT}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a finished run and an image."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = Recipe(data="digits").override(*SMALL)
    train(recipe, out=folder, name="RUN")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "image.png")
    (folder / "old.yaml").write_text("model: {}\n")
    return folder


def called(words: list[str], monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["likewise", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name.endswith((".part", ".tmp")) or p.name.startswith(".tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_write_that_fails(whole, tmp_path, monkeypatch, capfd, command):
    words, wrong = COMMANDS[command], []

    def once(name: str, n: int, number: int) -> tuple[int, list[str]]:
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        monkeypatch.chdir(folder)
        with Faults(folder, n, failing(number), on=number == errno.ENOSPC).active() as faults:
            code = called(words, monkeypatch)
        if n and code:
            message = capfd.readouterr().err
            bad = [w for w in ("Traceback", "unexpected") if w in message] + leftovers(folder)
            if bad or code not in (1, 2) or message.count("likewise: ") < 1:
                wrong.append(f"{faults.operations[n - 1]}: {code} {bad} {message[-300:]}")
        shutil.rmtree(folder)
        return code, faults.operations

    code, operations = once("count", 0, 0)
    assert (code, bool(operations)) == (0, True), capfd.readouterr().err
    places = sorted({1, len(operations), *range(5, len(operations), max(1, len(operations) // 3))})
    numbers = list(FAULTS.values())
    codes = [once(str(n), n, numbers[i % len(numbers)])[0] for i, n in enumerate(places)]
    assert any(codes)
    assert wrong == []


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
         "the disk is full; free some space", 1),
        (safetensors.SafetensorError("invalid header"), "a .safetensors file is damaged", 1),
        (OSError("[Errno 28] Error writing bytes to file. Detail: No space left on device"), "the disk is full", 1),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full", 1),
        (sqlite3.OperationalError("attempt to write a readonly database"), "the file system is read-only", 1),
        (MemoryError(), "there is not enough memory", 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
         "there is not enough memory", 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory", 1),
        (OSError(errno.EFBIG, "File too large", "a"), "a: the file is larger than the limit", 1),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", Path("a/b")), "a/b: a part of the path is a file", 2),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), "a: the name is too long", 2),
    ],
)  # fmt: skip
def test_the_sentence(error, sentence, code):
    said, exit_code = explained(error)
    assert sentence in said
    assert exit_code == code
    assert "unexpected" not in said


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["ulimit -f 4", "ulimit -n 5"])
def test_the_real_limits(tmp_path, limit):
    """A file may have 4 KiB; a process 5 files, which is what holds before the recipe is read back."""
    command = " ".join(
        [sys.executable, "-m", "likewise", "train", "digits", "max_per_class=8", "epochs=1", "network=mlp"]
    )
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limit}; {command} --out {tmp_path} --name r"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert leftovers(tmp_path) == []
