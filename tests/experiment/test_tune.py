"""The search of a recipe's fields: what may be searched, what decides, and going on where it stopped."""

import csv
import subprocess
import sys
import tomllib

import pytest
import torch

from likewise.experiment import tune as tuning
from likewise.experiment.recipe import Recipe
from likewise.experiment.tune import Span, for_search, parse_space, tune
from likewise.recipes.load import load_recipe
from likewise.spec import SpecError

QUICK = ("size=16", "epochs=2", "network=mlp(widths=(16,))", "dim=8", "max_per_class=30", "doctor=false", "augment=")
OVER = ["lr=1e-4..1e-1", "dim=2,8"]


def recipe(*settings: str) -> Recipe:
    return load_recipe("digits").override(*QUICK, *settings)


def test_spans_and_lists():
    space = parse_space(["lr=1e-4..1e-2", "dim=2..6", "loss=softmax,triplet(margin=0.2)", "ema=0.0..0.9"], Recipe())
    assert space["lr"] == Span(1e-4, 1e-2, whole=False)
    assert space["lr"].log
    assert space["dim"] == Span(2, 6, whole=True)
    assert not space["dim"].log
    assert not space["ema"].log
    assert space["loss"] == ["softmax", "triplet(margin=0.2)"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lr=1..0.1", "a range goes from low to high"),
        ("lr=a..b", "expected a number, got 'a'"),
        ("loss=softmax..supcon", "loss is not a number, so it has no range"),
        ("loss=softmx,supcon", "did you mean softmax"),
        ("dimm=2,4", "did you mean dim"),
        ("dim=2..1000000", "expected 0 to 65536"),
        ("seed=0,1,2", "seed says what the score is measured on or by"),
        ("data=mnist,digits", "data says what the score is measured on or by"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_is_read(text, sentence):
    with pytest.raises(SpecError, match=sentence):
        parse_space([text], Recipe())
    with pytest.raises(SpecError, match="tune what"):
        parse_space([], Recipe())


def test_the_test_part_is_never_there():
    images = for_search(recipe(), None)
    assert not len(images.part("test"))
    assert len(images.part("val"))
    assert not images.open


def test_validation_on_classes_kept_apart():
    images = for_search(recipe("val=0.3"), True)
    train, val = (set(images.part(part).labels.tolist()) for part in ("train", "val"))
    assert len(train) == 7
    assert len(val) == 3
    assert train.isdisjoint(val)
    with pytest.raises(ValueError, match="leave --same-classes out"):
        for_search(recipe("split=by_class()"), False)
    with pytest.raises(ValueError, match="no validation images"):
        for_search(recipe("val=0.0"), None)


def test_a_search_finds_the_better_setting_and_goes_on(tmp_path):
    space = parse_space(["lr=1e-8,1e-2"], recipe())
    found = tune(recipe(), space, folder=tmp_path / "s", trials=3)
    assert found.best.lr == 1e-2
    assert len(found.trials) == 3
    assert found.trials[0]["value"] > found.trials[-1]["value"]
    assert Recipe.load(tmp_path / "s" / "best.toml") == found.best
    more = tune(recipe(), space, folder=tmp_path / "s", trials=4)
    assert [t for t in more.trials if t in found.trials] == list(found.trials), "the earlier ones are not trained again"
    assert len(more.trials) == 4
    rows = list(csv.DictReader((tmp_path / "s" / "trials.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["complete"] * 4
    with pytest.raises(ValueError, match="holds a different search"):
        tune(recipe("dim=4"), space, folder=tmp_path / "s", trials=4)


def test_an_interrupted_trial_is_first_in_line(tmp_path, monkeypatch):
    space, calls = parse_space(["dim=2..64"], recipe()), []

    def interrupted(*args):
        calls.append(args[2].dim)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(tuning, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(recipe(), space, folder=tmp_path, trials=3)
    found = tune(recipe(), space, folder=tmp_path, trials=3)
    assert calls[2] == calls[1], "what was cut short is tried again"
    assert len(found.trials) == 3


def test_a_trial_that_was_killed_is_tried_again_and_its_study_is_in_the_folder(tmp_path, monkeypatch):
    space, dims = parse_space(["dim=2..64"], recipe()), []
    monkeypatch.setattr(tuning, "score", lambda *args: dims.append(args[2].dim) or 0.5)
    tune(recipe(), space, folder=tmp_path, trials=1)
    assert {"study.log", "search.json", "trials.csv", "best.toml"} <= {path.name for path in tmp_path.iterdir()}
    study = tuning.opened(tuning.required(), tmp_path, recipe())
    killed = study.ask()  # a process that was killed leaves its trial running
    tuning.drawn(killed, space)
    found = tune(recipe(), space, folder=tmp_path, trials=3)
    assert dims[1] == killed.params["dim"]
    assert len(dims) == len(found.trials) == 3


def test_a_diverged_trial_is_no_reason_to_stop(tmp_path, monkeypatch):
    base = recipe("normalize=false", "loss=contrastive(margin=1.0)", "optimizer=sgd", "epochs=4")
    space = parse_space(["lr=1e5,1e6"], base)
    with pytest.raises(ValueError, match=r"no trial of .* ended"):
        tune(base, space, folder=tmp_path, trials=2)
    assert "fail" in (tmp_path / "trials.csv").read_text()
    # they count as tried: going on tries nothing more
    monkeypatch.setattr(tuning, "score", lambda *given: pytest.fail("tried again"))
    with pytest.raises(ValueError, match=r"no trial of .* ended"):
        tune(base, space, folder=tmp_path, trials=2)


def test_a_wrong_monitor_is_said(tmp_path):
    with pytest.raises(ValueError, match="monitor='knn@7' is not a validation score of this run; there are knn@1"):
        tune(recipe("monitor=knn@7"), parse_space(["dim=2,4"], recipe()), folder=tmp_path, trials=1)


def test_without_optuna_the_error_is_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .*\[tune\]'"):
        tune(recipe(), parse_space(OVER, recipe()), folder=tmp_path)


def test_the_random_state_of_torch_is_the_recipes(tmp_path):
    space = parse_space(["dim=8,9"], recipe())
    values = []
    for name in "ab":
        torch.manual_seed(ord(name))
        values.append(tune(recipe(), space, folder=tmp_path / name, trials=2).trials)
    assert [t["value"] for t in values[0]] == [t["value"] for t in values[1]]


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    call = [sys.executable, "-m", "likewise", "tune", "digits", *QUICK, "--over", "lr=1e-3..1e-2", "--trials", "2"]
    done = subprocess.run([*call, "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 trials finished; knn@1 on held-out images" in done.stdout
    assert done.stdout.splitlines()[-1] == f"all trials: {tmp_path / 'digits' / 'tune.html'}"
    assert (tmp_path / "digits" / "tune.html").is_file()
    best = tomllib.loads((tmp_path / "digits" / "best.toml").read_text())
    assert 1e-3 <= best["lr"] <= 1e-2
    wrong = subprocess.run([*call, "--over", "lr=3..2", "--out", str(tmp_path)], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "a range goes from low" in wrong.stderr
