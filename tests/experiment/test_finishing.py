"""What is done to a trained model: adapters merged, the mean with the first weights, statistics made anew."""

import json

import pytest
import torch
from torch import nn

from likewise import Embedder, Recipe
from likewise.experiment import finishing, train, trial
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.finishing import best_share, mixed, recompute_statistics
from likewise.experiment.run import Run
from likewise.experiment.run_files import checked_metrics
from likewise.models import adapters
from likewise.spec import SpecError
from likewise.training.loop import fit

SMALL = Recipe(
    data="digits", size=12, max_per_class=8, epochs=2, sampler="pk(classes=5, images=3)", network="mlp(widths=(12,))",
    dim=4, split="ratio(test=0.2)", val=0.2, doctor=False, device="cpu", eval_every_epochs=0, snapshot_epochs="0",
)  # fmt: skip
ADAPTED = SMALL.replace(adapter="lora(rank=2)", ema=0.9, accumulate=2)


def parts_of(recipe: Recipe):
    return build(resolve_defaults(recipe), load_images(recipe))


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> str:
    """A model to start from."""
    folder = tmp_path_factory.mktemp("first") / "model"
    trial.trial(parts_of(SMALL.replace(seed=9))).state.final.save(folder)
    return str(folder)


# --- adapters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_with_adapters_keeps_the_merged_model_and_the_adapters(ema, first, tmp_path):
    recipe = ADAPTED.replace(ema=ema, weights=first)
    run, images = train.train(recipe, out=tmp_path, name="r")
    kept, start = Embedder.load(run.path), Embedder.load(first)
    assert set(kept.state_dict()) == set(start.state_dict())
    low = kept.backbone.state_dict()["1.weight"] - start.backbone.state_dict()["1.weight"]
    assert torch.linalg.matrix_rank(low, rtol=1e-4) == 2
    assert torch.equal(kept.backbone.state_dict()["1.bias"], start.backbone.state_dict()["1.bias"])
    start.config["mean"], start.config["std"] = kept.config["mean"], kept.config["std"]
    adapters.load(run.adapter, start)
    x = images.batch(torch.arange(9))
    torch.testing.assert_close(start(x), kept(x), rtol=0, atol=1e-5)


def test_a_run_that_starts_from_it_needs_no_adapter(first, tmp_path):
    run, _ = train.train(ADAPTED.replace(weights=first), out=tmp_path, name="r")
    again = parts_of(SMALL.replace(weights=str(run.path)))
    assert torch.equal(again.state.model.backbone[1].weight, Embedder.load(run.path).backbone[1].weight)


@pytest.mark.parametrize("stop", [1, 5])
def test_resumed_it_ends_in_the_same_bits(stop, tmp_path):
    def weights_of(folder, at=0):
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)

        def ends(state):
            state.stop = "interrupted" if state.step == at else state.stop

        try:
            done = trial.trial(parts_of(ADAPTED), run=Run(folder), extra=lambda run, parts: [ends])
        except KeyboardInterrupt:
            return None
        return done.state.final.state_dict()

    whole = weights_of(tmp_path / "whole")
    assert weights_of(tmp_path / "cut", stop) is None
    found = weights_of(tmp_path / "cut")
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    for name in ("whole", "cut"):
        assert (tmp_path / name / "adapter.safetensors").is_file()
    assert (tmp_path / "whole/adapter.safetensors").read_bytes() == (tmp_path / "cut/adapter.safetensors").read_bytes()


def test_only_adapters_head_and_loss_move_and_rates_follow_their_block():
    parts = parts_of(ADAPTED.replace(layer_decay=0.5, loss="softmax"))
    before = {name: t.clone() for name, t in parts.state.model.state_dict().items()}
    scale = {id(p): g["lr_scale"] for g in parts.state.optimizer.param_groups for p in g["params"]}
    model = parts.state.model
    assert scale[id(model.backbone[1].lora_up)] == 1.0
    assert id(model.backbone[1].weight) not in scale
    fit(trial.loop(parts))
    moved = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {name for name in before if name.startswith("head.") or "lora_" in name}


def test_nothing_of_the_network_to_train_is_said():
    with pytest.raises(ValueError, match="frozen_epochs=-1 trains nothing of the network"):
        parts_of(ADAPTED.replace(frozen_epochs=-1))
    with pytest.raises(SpecError, match=r"no adapter named 'lore'; did you mean lora\?"):
        SMALL.replace(adapter="lore")


# --- the mean with the first weights ---------------------------------------------------------------------------------


def test_a_mean_by_hand():
    trained, start = {"w": torch.tensor([4.0]), "n": torch.tensor(7)}, {"w": torch.tensor([0.0]), "n": torch.tensor(1)}
    found = mixed(trained, start, 0.25)
    assert (found["w"].item(), found["n"].item()) == (1.0, 7)
    assert mixed(trained, start, 1.0)["w"].item() == 4.0


def test_the_best_share_is_chosen_and_of_equal_ones_the_largest():
    now, seen = [0.0], []
    scores = {0.25: 0.7, 0.5: 0.9, 0.75: 0.9, 1.0: 0.8}

    def take(share):
        now[0] = share
        seen.append(share)

    assert best_share((0.25, 0.5, 0.75, 1.0), take, lambda: scores[now[0]]) == 0.75
    assert seen == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("adapter", ["", "lora(rank=2)"])
def test_the_final_network_is_the_mean_and_the_head_the_trained_one(adapter, first, tmp_path):
    recipe = SMALL.replace(weights=first, adapter=adapter, ema=0.9)
    whole = trial.trial(parts_of(recipe)).state.final
    start = Embedder.load(first)
    run, _ = train.train(recipe.replace(wise=0.25), out=tmp_path, name="r")
    kept = Embedder.load(run.path)
    for name, value in kept.backbone.state_dict().items():
        expected = 0.25 * whole.backbone.state_dict()[name] + 0.75 * start.backbone.state_dict()[name]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)
    assert torch.equal(kept.head.linear.weight, whole.head.linear.weight)
    assert run.metrics()["wise"] == 0.25
    if adapter:
        start.config["mean"], start.config["std"] = kept.config["mean"], kept.config["std"]
        adapters.load(run.adapter, start)
        torch.testing.assert_close(start.backbone[1].weight, kept.backbone[1].weight, rtol=0, atol=1e-5)


def test_validation_alone_chooses_the_share(first, monkeypatch):
    """Scores that prefer half and half; the model that is scored has the weights of its share."""
    seen = []

    def judge(recipe, images):
        assert len(images.part("val"))

        def score(model):
            seen.append(model.backbone[1].weight.clone())
            return {"knn@1": {"value": [0.1, 0.6, 0.6, 0.2][len(seen) - 1]}}

        return score

    monkeypatch.setattr(trial, "validation_score", judge)
    parts = trial.trial(parts_of(SMALL.replace(weights=first, wise=-1)))
    assert parts.state.callback_state["wise"] == 0.75
    assert torch.equal(parts.state.final.backbone[1].weight, seen[2])
    assert not torch.equal(seen[0], seen[3])


def test_statistics_are_those_of_the_training_images():
    torch.manual_seed(0)
    model = Embedder("small_resnet(width=4, blocks=(1, 1))", shape=(1, 12, 12), dim=4, head="bnneck")
    images = load_images(SMALL).part("train")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    kept = [norm.momentum for norm in norms]
    given = []
    norms[0].register_forward_pre_hook(lambda _, given_x: given.append(given_x[0].double()))
    recompute_statistics(model, images)
    x = torch.cat(given)
    torch.testing.assert_close(norms[0].running_mean, x.mean((0, 2, 3)).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norms[0].running_var, x.var((0, 2, 3)).float(), rtol=1e-4, atol=1e-5)
    assert [norm.momentum for norm in norms] == kept
    assert all(norm.training for norm in norms)


def test_a_network_with_batch_norms_has_statistics_of_its_mean(tmp_path):
    recipe = SMALL.replace(network="small_resnet(width=4, blocks=(1, 1))", size=16)
    trial.trial(parts_of(recipe.replace(seed=4))).state.final.save(tmp_path / "model")
    found = trial.trial(parts_of(recipe.replace(weights=str(tmp_path / "model"), wise=0.5)))
    model, images = found.state.final, found.images.part("train")
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    mean = norm.running_mean.clone()
    recompute_statistics(model, images)
    assert torch.equal(norm.running_mean, mean)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"wise": 0.5}, "starts from random ones; give weights=FILE, or wise=0"),
        ({"wise": -1, "weights": "FIRST", "val": 0.0}, "wise=-1 chooses the share .* by validation, and there is none"),
    ],
)
def test_what_a_mean_cannot_be_made_of_is_said_before_training(fields, said, first, tmp_path):
    recipe = SMALL.replace(**{k: first if v == "FIRST" else v for k, v in fields.items()})
    with pytest.raises(ValueError, match=said):
        train.train(recipe, out=tmp_path, name="r")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("wise", [-0.5, 1.5])
def test_a_share_is_between_0_and_1_or_minus_1(wise):
    with pytest.raises(SpecError, match="wise is share of the trained weights"):
        SMALL.replace(wise=wise)


def test_a_damaged_share_is_named(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"split": "test", "open": False, "scores": {}, "wise": "x"}))
    with pytest.raises(ValueError, match="wise is a number, got 'x'"):
        checked_metrics(tmp_path / "metrics.json")


def test_a_monitor_that_is_not_measured_is_named():
    with pytest.raises(ValueError, match="monitor='x' is not a validation score"):
        finishing.monitored({"knn@1": {"value": 1.0}}, "x")
