"""Two stages of one recipe: the network first as a classifier, then by a metric loss; resumable in either."""

import pytest
import torch

from likewise.experiment import trial
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.train import resume, train
from likewise.models import Embedder
from likewise.recipes.load import load_recipe

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

SETTINGS = ("size=16", "epochs=1", "pretrain_epochs=2", "network=mlp(widths=(32,))", "dim=8", "max_per_class=40")


def recipe(*more: str) -> Recipe:
    return load_recipe("digits").override(*SETTINGS, "doctor=false", *more)


def state(run: Run) -> dict[str, torch.Tensor]:
    return Embedder.load(run.path).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    return train(recipe(), out=tmp_path_factory.mktemp("runs"), name="whole")[0]


def test_the_second_stage_starts_where_the_first_ended(whole, tmp_path):
    first = Run(whole.path / "pretraining")
    assert first.recipe.loss == "softmax"
    assert not first.metrics_file.exists(), "a stage is not scored on the test part"
    last = max(record["epoch"] for record in first.records())
    assert last == 2
    still, _ = train(recipe("lr=0.0"), out=tmp_path, name="still")
    assert same(state(still), Embedder.load(still.path / "pretraining" / "model").state_dict())
    assert not same(state(whole), Embedder.load(first.model).state_dict())


@pytest.mark.parametrize("at", [("pretraining", 3), ("", 2)])
def test_cut_short_in_either_stage_it_ends_in_the_same_weights(whole, tmp_path, monkeypatch, at):
    stage, step = at

    def stop_once(parts, run, watch, extra, *, resume_with):
        def interrupt(record):
            if record["kind"] == "train" and record["step"] >= step and run.path.name == (stage or "cut"):
                raise KeyboardInterrupt

        original(parts, run, interrupt, extra, resume_with=resume_with)

    original = trial.train_loop
    monkeypatch.setattr(trial, "train_loop", stop_once)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), out=tmp_path, name="cut")
    monkeypatch.setattr(trial, "train_loop", original)
    assert same(state(resume(tmp_path / "cut")[0]), state(whole))
