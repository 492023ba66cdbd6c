"""A run survives damage, kills, a second process and changed data: nothing lost, nothing silently different."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from likewise import Embedder, Recipe
from likewise.experiment import train, trial
from likewise.experiment.checkpoint import load_checkpoint, previous_of
from likewise.experiment.lock import locked
from likewise.experiment.run import Run
from likewise.experiment.train import resume
from likewise.experiment.train import train as train_run

SMALL = Recipe(
    data="digits", size=16, max_per_class=10, epochs=3, sampler="pk(classes=5, images=3)", network="mlp", dim=8,
    doctor=False, device="cpu", seed=3,
)  # fmt: skip


def weights(run: Run) -> dict[str, torch.Tensor]:
    return Embedder.load(run.path).state_dict()


def same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """The process ends here."""


def cut(recipe: Recipe, folder, step: int) -> Run:
    """A run that ended without a word after some step, its checkpoint saved at every one."""

    def stop(record):
        if record["kind"] == "train" and record["step"] > step:
            raise Killed

    with pytest.raises(Killed):
        train_run(recipe, out=folder, name="cut", watch=stop)
    return Run(folder / "cut")


@pytest.fixture
def often(monkeypatch):
    """Every step is logged and saved."""
    log, checkpoint = trial.log, trial.checkpoint
    monkeypatch.setattr(trial, "log", lambda write: log(write, seconds=-1))
    monkeypatch.setattr(trial, "checkpoint", lambda run: checkpoint(run, seconds=-1))


@pytest.mark.slow
def test_a_run_that_patience_stopped_does_not_train_on(tmp_path, monkeypatch):
    """Killed before its scores are written, it is stopped still when it is resumed."""
    recipe = SMALL.replace(patience=1, epochs=30, lr=1.0, val=0.3)
    whole = train_run(recipe, out=tmp_path, name="whole")[0]
    assert whole.metrics()["epochs"] < 30

    def killed(*given, **named):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(train, "evaluate_run", killed)
        with pytest.raises(Killed):
            train_run(recipe, out=tmp_path, name="cut")
    again = resume(tmp_path / "cut")[0]
    assert again.metrics()["epochs"] == whole.metrics()["epochs"]
    assert same(weights(whole), weights(again))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, often, capsys, damage):
    whole = train_run(SMALL, out=tmp_path, name="whole")[0]
    run = cut(SMALL, tmp_path, 4)
    content = bytearray(run.last.read_bytes())
    if damage == "flip":
        content[-100] ^= 1
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "foreign": b"PK\3\4 something else"}.get(
        damage, content
    )
    run.last.unlink() if damage == "gone" else run.last.write_bytes(damaged)
    again = resume(run.path)[0]
    assert "going on from the checkpoint before it" in capsys.readouterr().err
    assert same(weights(whole), weights(again))


def test_every_flipped_byte_of_a_checkpoint_is_noticed(tmp_path, often):
    run = cut(SMALL.replace(dim=2, network="mlp(widths=(4,))"), tmp_path, 3)
    content = run.last.read_bytes()
    state = trial.build(trial.resolve_defaults(run.recipe), train.load_images(run.recipe)).state
    for place in np.random.default_rng(0).integers(0, len(content), 200).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        run.last.write_bytes(changed)
        with pytest.raises(ValueError, match="checkpoint"):
            load_checkpoint(run.last, state)


def test_without_a_whole_checkpoint_it_is_one_sentence(tmp_path, often):
    run = cut(SMALL, tmp_path, 4)
    run.last.write_bytes(b"nothing")
    previous_of(run.last).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="checkpoint"):
        resume(run.path)


@pytest.mark.slow
def test_pretraining_that_was_killed_while_its_model_was_saved(tmp_path, monkeypatch):
    recipe = SMALL.replace(pretrain_epochs=1, epochs=1)
    whole = train_run(recipe, out=tmp_path, name="whole")[0]

    def killed(folder, *rest):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("likewise.models.weights.save", killed)
        with pytest.raises(Killed):
            train_run(recipe, out=tmp_path, name="cut")
    assert same(weights(resume(tmp_path / "cut")[0]), weights(whole))


def save_set(folder, pixels, labels, **more):
    np.savez(folder / "set.npz", X=pixels, y=labels, **more)


CHANGES = {
    "removed": lambda x, y: (x[:-1], y[:-1]),
    "added": lambda x, y: (np.concatenate([x, x[:1]]), np.append(y, y[:1])),
    "modified": lambda x, y: (np.where(np.arange(len(x))[:, None] == 3, x + 1, x).astype(x.dtype), y),
    "renamed": lambda x, y: (x, np.where(y == 0, 9, y)),
    "relabelled": lambda x, y: (x, np.where(np.arange(len(y)) == 5, (y + 1) % 4, y)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_noticed_and_forced(tmp_path, often, change):
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    y = np.arange(60) % 4
    save_set(tmp_path, x, y)
    recipe = Recipe(
        data=str(tmp_path / "set.npz"), network="mlp", epochs=3, sampler="shuffled(batch=16)", doctor=False, val=0.2
    )
    run = cut(recipe, tmp_path, 3)
    save_set(tmp_path, *CHANGES[change](x, y))
    with pytest.raises(ValueError, match=r"was started with other inputs: .*--force"):
        resume(run.path)
    assert resume(run.path, force=True)[0].metrics()["epochs"] == 3


def test_a_changed_recipe_is_named(tmp_path, often):
    run = cut(SMALL, tmp_path, 3)
    run.write("recipe.toml", run.recipe_file.read_text().replace("lr = 0.001", "lr = 0.5"))
    with pytest.raises(ValueError, match=r"the recipe's lr was 0\.001, is 0\.5"):
        resume(run.path)


def test_leftovers_are_swept(tmp_path, often):
    run = cut(SMALL, tmp_path, 3)
    for name in (".recipe.toml.77.part", "checkpoints/.last.safetensors.77.part", "checkpoints/.tmpBMMp9g"):
        (run.path / name).write_bytes(b"half")
    resume(run.path)
    assert not list(run.path.rglob(".*"))


def test_one_process_at_a_time(tmp_path):
    script = "from likewise.experiment.lock import locked; from pathlib import Path\n"
    script += f"with locked(Path({str(tmp_path)!r})): print('in')"
    with locked(tmp_path):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "is in use: another process trains" in done.stderr
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "in\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_request_to_end_saves_and_says_how_to_go_on(tmp_path, number):
    command = [sys.executable, "-m", "likewise", "train", "digits", "epochs=500", "--out", str(tmp_path), "--name", "r"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "r" / "metrics.jsonl"
    for _ in range(600):
        if log.exists() and log.read_text().count("\n") > 2:
            break
        time.sleep(0.1)
    os.kill(process.pid, getattr(signal, number))
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "go on with: likewise train --resume" in message
    assert Run(tmp_path / "r").last.exists()


def test_a_comparison_is_not_replaced_by_another(tmp_path):
    from likewise.experiment.compare import compare

    (tmp_path / "compare.json").write_text(
        json.dumps({"rows": [{"label": "other"}], "best": {}, "p": {}, "failed": {}})
    )
    with pytest.raises(ValueError, match="holds a comparison of other; give this one another --name"):
        compare({"one": SMALL}, folder=tmp_path)


@pytest.mark.parametrize("name", ["v.csv", "v.npy", "v"])
def test_embed_writes_parquet_and_replaces_nothing(tmp_path, name):
    from likewise.cli.using import embed

    with pytest.raises(ValueError, match="embed writes Parquet"):
        embed(tmp_path, None, tmp_path / name)
    (tmp_path / "v.parquet").touch()
    with pytest.raises(ValueError, match="exists; give another"):
        embed(tmp_path, None, tmp_path / "v.parquet")


def test_every_flipped_byte_of_embeddings_is_noticed_or_harmless(tmp_path):
    from likewise import Embeddings

    file = tmp_path / "vectors.parquet"
    some = Embeddings(
        torch.randn(20, 4), torch.arange(20) % 4, tuple(map(str, range(20))), torch.zeros(20, dtype=torch.uint8),
        tuple("abcd"), tuple("g" * 20),
    )  # fmt: skip
    some.save(file)
    content, refused = file.read_bytes(), 0
    for place in np.random.default_rng(0).choice(len(content), 300, replace=False).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        file.write_bytes(changed)
        try:
            found = Embeddings.load(file)
        except ValueError:
            refused += 1
            continue
        assert torch.equal(found.vectors, some.vectors)
        assert torch.equal(found.labels, some.labels)
        assert (found.ids, found.classes, found.groups) == (some.ids, some.classes, some.groups)
    assert refused > 200
