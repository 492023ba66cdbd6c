"""A run that is killed, or interrupted, ends after `--resume` in the very weights of one that never was."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from likewise.experiment.run import Run

# Dropout, proxies, a moving average, a memory of batches and a validation each epoch: everything that has a state.
SETTINGS = (
    "size=16",
    "epochs=12",
    "network=mlp(widths=(64, 64), dropout=0.2)",
    "loss=sum(losses=['supcon()', 'normalized_softmax()'])",
    "augment=light()",
    "ema=0.95",
    "dim=16",
    "eval_every_epochs=3",
    "snapshot_epochs=0,5,12",
)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "likewise", "train", *words]


def started(out: Path, name: str, *more: str) -> subprocess.Popen:
    words = command("digits", *SETTINGS, *more, "--out", str(out), "--name", name)
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread())


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def resumed(run: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command("--resume", str(run)), capture_output=True, text=True, env=one_thread(), check=False)


def finished(process: subprocess.Popen) -> None:
    """Wait, close the pipes, and fail with what the command said where it failed."""
    _, err = process.communicate()
    assert process.returncode == 0, err


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def wait_for_steps(run: Path, process: subprocess.Popen, steps: int) -> None:
    """Until so many steps are logged, or the process has ended by itself."""
    while process.poll() is None:
        if (run / "metrics.jsonl").exists() and any(r["step"] >= steps for r in Run(run).records()):
            return
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    finished(started(out, "a"))
    return out / "a"


@pytest.mark.slow
def test_the_same_recipe_twice_gives_the_same_weights(whole, tmp_path):
    finished(started(tmp_path, "b"))
    assert weights(tmp_path / "b") == weights(whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_and_resumed(whole, tmp_path):
    chance = random.Random(0)
    total = Run(whole).records()[-1]["step"]
    run = tmp_path / "k"
    process = started(tmp_path, "k")
    for _ in range(20):
        wait_for_steps(run, process, chance.randrange(0, total))
        time.sleep(chance.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not (run / "recipe.toml").exists():  # killed before there was a run: begin again
            process = started(tmp_path, "k")
            continue
        process = subprocess.Popen(
            command("--resume", str(run)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread()
        )
    finished(process)
    assert weights(run) == weights(whole)
    steps = [r["step"] for r in Run(run).records()]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(whole, tmp_path):
    process = started(tmp_path, "c")
    wait_for_steps(tmp_path / "c", process, 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 1
    assert f"and saved; go on with: likewise train --resume {tmp_path / 'c'}" in err
    assert "Traceback" not in err
    done = resumed(tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "c") == weights(whole)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(whole):
    before = weights(whole)
    assert resumed(whole).returncode == 0
    assert weights(whole) == before


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sampler", ["hard_classes(classes=4, images=8)", "hard_negatives(batch=48)"])
def test_killed_while_batches_follow_from_the_last_epoch(sampler, tmp_path):
    finished(started(tmp_path, "whole", f"sampler={sampler}"))
    total = Run(tmp_path / "whole").records()[-1]["step"]
    process = started(tmp_path, "k", f"sampler={sampler}")
    for part in (0.3, 0.7):
        wait_for_steps(tmp_path / "k", process, int(part * total))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        words = command("--resume", str(tmp_path / "k"))
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread())
    finished(process)
    assert weights(tmp_path / "k") == weights(tmp_path / "whole")
