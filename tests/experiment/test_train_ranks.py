"""Recipes trained by several processes: the weights of one, exact resumption, one writer, one message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_trials import weights_of
from torch import Tensor

from killing import SETTINGS, SMALL, difference, result, start
from likewise.experiment.checkpoint import opened_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from ranks import free_port

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

# Settings that amplify rounding: distances near 0 under an optimizer that divides by the gradient, a high rate.
CALMER = {"pairs": {"optimizer": "sgd", "lr": 0.01}, "patience and average": {"lr": 0.02}, "plateau": {"lr": 0.02}}
DROPOUT = {"dropout and thaw"}  # each process draws its own


def setting(name: str) -> Recipe:
    return SMALL.replace(**SETTINGS[name] | CALMER.get(name, {}))


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    assert a["step"] == b["step"]
    x, y = (torch.cat([w[k].flatten().double() for k in w if w[k].is_floating_point()]) for w in (a, b))
    return float((x - y).norm() / y.norm())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def files(folder: Path) -> set[str]:
    found = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return {name for name in found if "tfevents" not in name}


def test_a_recipe_ends_in_the_weights_of_one_process_and_rank_0_alone_writes(two, tmp_path):
    one = weights_of(setting("plain"), tmp_path / "one")
    found = two(weights_of, setting("plain"), tmp_path / "two")
    assert max(apart(weights, one) for weights in found) < 1e-6
    assert files(tmp_path / "two") == files(tmp_path / "one")
    steps = [record["step"] for record in Run(tmp_path / "two").records() if record["kind"] == "val"]
    assert steps == [record["step"] for record in Run(tmp_path / "one").records() if record["kind"] == "val"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SETTINGS) - DROPOUT))
def test_every_setting_ends_in_the_weights_of_one_process(two, tmp_path, name):
    one = weights_of(setting(name), tmp_path / "one")
    first, second = two(weights_of, setting(name), tmp_path / "two")
    assert apart(first, one) < 1e-5
    assert same(first, second)


@pytest.mark.parametrize("name", ["plain", *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(SETTINGS)[:-1])])
def test_interrupted_and_resumed_with_as_many_processes_it_ends_in_the_same_bits(two, tmp_path, name):
    whole, _ = two(weights_of, setting(name), tmp_path / "whole")
    assert two(weights_of, setting(name), tmp_path / "cut", stop_at=5) == [{}, {}]
    first, second = two(weights_of, setting(name), tmp_path / "cut")
    assert same(first, whole)
    assert same(second, whole)


def test_resumed_with_another_number_of_processes_it_is_said_and_within_rounding(two, tmp_path, capsys):
    whole, _ = two(weights_of, setting("memory"), tmp_path / "whole")
    assert two(weights_of, setting("memory"), tmp_path / "cut", stop_at=5) == [{}, {}]
    assert opened_checkpoint(Run(tmp_path / "cut").last)[1]["ranks"] == 2
    alone = weights_of(setting("memory"), tmp_path / "cut")
    assert "was trained by 2 processes and goes on with 1" in capsys.readouterr().err
    assert apart(alone, whole) < 1e-6
    assert opened_checkpoint(Run(tmp_path / "cut").last)[1]["ranks"] == 1


@pytest.mark.slow
def test_begun_with_one_process_it_goes_on_with_two(two, tmp_path):
    whole = weights_of(setting("batch norm"), tmp_path / "whole")
    assert weights_of(setting("batch norm"), tmp_path / "cut", stop_at=5) == {}
    assert apart(two(weights_of, setting("batch norm"), tmp_path / "cut")[0], whole) < 1e-6


def torchrun(*words: str, launch: tuple[str, ...] = ("--standalone", "-m", "likewise")) -> subprocess.CompletedProcess:
    tests = Path(__file__).parents[1]
    path = os.pathsep.join(map(str, (tests, tests.parent / "src")))
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *launch, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        timeout=280,
        check=False,
    )


def said(result: subprocess.CompletedProcess) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("likewise: ")]


@pytest.mark.slow
def test_torchrun_trains_digits_with_the_scores_of_one_process(tmp_path):
    words = ("train", "digits", "epochs=1", "max_per_class=60", "--out", str(tmp_path), "--name")
    alone = subprocess.run([sys.executable, "-m", "likewise", *words, "one"], capture_output=True, check=False)
    assert alone.returncode == 0, alone.stderr
    shared = torchrun(*words, "two")
    assert shared.returncode == 0, shared.stderr
    assert shared.stdout.count("report: ") == 1
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert two.pop("ranks") == 2
    assert one.keys() == two.keys()
    for name, score in one["scores"].items():
        assert two["scores"][name]["value"] == pytest.approx(score["value"], abs=1e-3), name
        # Ends step where a rounding changes one resampled clustering.
        assert two["scores"][name] == pytest.approx(score, abs=0.02), name
    for name in ("split", "data", "steps", "epochs", "parameters"):
        assert one[name] == two[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


DIES = """
import os, signal, sys
from killing import SMALL, often
from likewise import distributed
from likewise.experiment.train import train

def die(state):
    if state.step == 5 and distributed.restarts() == 0 and distributed.rank() == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

with distributed.joined():
    for epochs in (1, 2):  # the first of two runs of the same name is whole when the second one is cut short
        extra = (lambda run, parts: [die]) if epochs == 2 else None
        often(-1, lambda: train(SMALL.replace(epochs=epochs), out=sys.argv[1], name="run", extra=extra))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "launch"), [(0, ["--standalone"]), (1, ["--master-port", "free"])], ids=["0", "1"])
def test_restarted_by_torchrun_a_training_goes_on(two, tmp_path, rank, launch):
    two(start, SMALL, tmp_path / "whole")
    script = tmp_path / "dies.py"
    script.write_text(DIES, encoding="utf-8")
    launch = [str(free_port()) if word == "free" else word for word in launch]
    done = torchrun(str(tmp_path / "cut"), str(rank), launch=(*launch, "--max-restarts", "1", str(script)))
    assert done.returncode == 0, done.stderr
    assert [line.rpartition("/")[2] for line in said(done) if "going on with" in line] == ["run", "run-2"]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["run", "run-2"]
    (tmp_path / "cut" / "run").rename(tmp_path / "first")
    (tmp_path / "cut" / "run-2").rename(tmp_path / "cut" / "run")
    whole, cut = (result(tmp_path / name) for name in ("whole", "cut"))
    assert (whole["scores"].pop("run"), cut["scores"].pop("run")) == ("run", "run-2")
    assert difference(whole, cut, "restarted") == []


@pytest.mark.slow
def test_what_fails_on_every_process_is_said_once(tmp_path):
    wrong = torchrun("train", "digits", "los=triplet", "--out", str(tmp_path))
    assert len(said(wrong)) == 1
    assert "a recipe has no field 'los'" in said(wrong)[0]
    assert "exitcode  : 2" in wrong.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_only_training_is_shared(tmp_path):
    wrong = torchrun("evaluate", str(tmp_path))
    assert said(wrong) == ["likewise: evaluate runs in one process, and torchrun started 2; start it without torchrun"]
