"""Every field of a recipe takes effect, through every way to train one: all of them go through `trial`."""

import dataclasses
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from likewise import Embedder, MetricLearner, Recipe
from likewise.experiment import build as building
from likewise.experiment import train, trial, tune
from likewise.experiment.build import load_images, resolve_defaults
from likewise.experiment.compare import compare
from likewise.experiment.interrupt import SIGNALS, interruptible
from likewise.experiment.run import Run
from likewise.reproduce.experiment import Experiment

SMALL = Recipe(
    data="digits", size=16, max_per_class=12, epochs=2, sampler="pk(classes=5, images=3)", network="mlp", dim=8,
    eval_every_epochs=1, split="ratio(test=0.2)", val=0.2, doctor=False, device="cpu",
)  # fmt: skip

# A value of every field that differs from SMALL's, and what else it needs to be seen.
CHANGED: dict[str, tuple[object, dict[str, object]]] = {
    "data": ("digits()", {}),
    "split": ("by_class(val=0.3, test=0.3)", {}),
    "val": (0.4, {}),
    "group_from": ("(..)$", {"split": "by_group", "group_from": "(.)$"}),
    "size": (20, {}),
    "fit": ("crop", {"size": "16x24"}),
    "channels": (3, {}),
    "min_per_class": (2, {}),
    "max_per_class": (8, {}),
    "max_classes": (6, {}),
    "rotations": (4, {}),
    "mirror": (True, {}),
    "augment": ("light", {}),
    "strict": (True, {}),
    "decisions": ("DECISIONS", {}),
    "network": ("convnet", {}),
    "weights": ("WEIGHTS", {}),
    "head": ("bnneck", {}),
    "adapter": ("lora(rank=2)", {}),
    "dim": (5, {}),
    "normalize": (False, {}),
    "sim": ("euclidean", {}),
    "loss": ("triplet", {}),
    "miner": ("hard", {}),
    "memory": (40, {}),
    "relation": ("level(depth=0)", {}),
    "balanced": (True, {"sampler": "shuffled(batch=40)"}),
    "tile": (3, {}),
    "distill": ("WEIGHTS", {"loss": "sum(losses=['supcon', 'rkd'])"}),
    "sampler": ("shuffled(batch=30)", {}),
    "epochs": (3, {}),
    "pretrain_epochs": (1, {}),
    "max_seconds": (1e-4, {}),
    "optimizer": ("sgd", {}),
    "lr": (1e-2, {}),
    "schedule": ("plateau(factor=0.1, patience=1)", {"epochs": 4}),
    "proxy_lr": (9.0, {"loss": "softmax"}),
    "proxy_share": (0.3, {"loss": "cosface"}),
    "backbone_lr": (0.1, {}),
    "layer_decay": (0.1, {}),
    "frozen_epochs": (1, {}),
    "unfreeze_epochs": (2, {}),
    "accumulate": (2, {}),
    "clip": (1e-3, {}),
    "ema": (0.9, {}),
    "wise": (0.5, {"weights": "WEIGHTS"}),
    "whiten": (0.5, {}),
    "amp": ("always", {}),
    "patience": (1, {"epochs": 8, "lr": 1.0}),
    "monitor": ("map@r", {"patience": 1, "epochs": 8, "lr": 1.0}),
    "eval_every_epochs": (2, {}),
    "snapshot_epochs": ("1", {}),
    "doctor": (True, {}),
    "seed": (1, {}),
    "split_seed": (1, {}),
    "device": ("auto", {}),
    "sync_batchnorm": (False, {}),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("first") / "model"
    trial.trial(building.build(resolve_defaults(SMALL.replace(seed=7)), load_images(SMALL))).state.final.save(folder)
    images = load_images(SMALL)
    rows = f"file,label,decision\n{images.ids[0]},{images.classes[images.labels[0]]},remove\n"
    (folder.parent / "decisions.csv").write_text(rows, encoding="utf-8")
    return str(folder)


def both(field: str, weights: str) -> tuple[Recipe, Recipe]:
    """The recipe without and with the field changed."""
    value, needs = CHANGED[field]
    files = {"WEIGHTS": weights, "DECISIONS": str(Path(weights).with_name("decisions.csv"))}
    plain = SMALL.replace(**{name: files.get(str(one), one) for name, one in needs.items()})
    return plain, plain.replace(**{field: files.get(str(value), value)})


def test_every_field_is_listed():
    assert set(CHANGED) == {f.name for f in dataclasses.fields(Recipe)}
    assert all(both(field, "w")[0] != both(field, "w")[1] for field in CHANGED)


class Reached(Exception):  # noqa: N818 (no error, but a way out)
    """The parts with which `trial` was called."""


def through_train(recipe: Recipe, folder: Path) -> None:
    train.train(recipe, out=folder, name="run")


def through_compare(recipe: Recipe, folder: Path) -> None:
    compare({"one": recipe}, folder=folder)


def through_tune(recipe: Recipe, folder: Path) -> None:
    tune.tune(recipe, {"lr": [str(recipe.lr)]}, folder=folder)


def through_reproduce(recipe: Recipe, folder: Path) -> None:
    Experiment(folder).run("run", recipe)


def through_the_estimator(recipe: Recipe, folder: Path) -> None:
    given = dataclasses.asdict(recipe)
    named = {name: given.pop(name) for name in MetricLearner().get_params() if name in given}
    images = load_images(recipe)
    MetricLearner(**named, settings=given).fit(images.pixels.movedim(1, -1).numpy(), images.labels)


DOORS = [through_train, through_compare, through_tune, through_reproduce, through_the_estimator]
# What a search decides by itself: what is tried is validated after every epoch and trained to its end.
OF_THE_SEARCH = {"patience", "monitor"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("field", CHANGED)
def test_every_door_hands_every_field_to_trial(field, door, weights, tmp_path, monkeypatch):
    def reached(parts, **given):
        raise Reached(parts)

    for module in ("train", "tune"):
        monkeypatch.setattr(globals()[module], "trial", reached)
    monkeypatch.setattr("likewise.estimator.trial", reached)
    recipe = both(field, weights)[1]
    with pytest.raises(Reached) as caught:
        door(recipe, tmp_path)
    parts = caught.value.args[0]
    wanted = resolve_defaults(recipe)
    if door is through_tune and field in OF_THE_SEARCH:
        wanted = wanted.replace(patience=0)
    assert parts.recipe == wanted


def outcome(recipe: Recipe, folder: Path) -> tuple[list[torch.Tensor], list[dict], list[str]]:
    """Final weights, what was logged but for times, and which files a run of the recipe writes."""
    run = Run(folder)
    (folder / "snapshots").mkdir(parents=True)
    parts = building.build(resolve_defaults(recipe), load_images(recipe))
    trial.trial(parts, run=run)
    times = {"seconds", "images_per_s"}
    log = [{k: v for k, v in record.items() if k not in times} for record in run.records()]
    return list(parts.state.final.state_dict().values()), log, sorted(p.name for p in folder.rglob("*.parquet"))


# Fields whose effect is none of weights, log and files, and how it is seen.
SEEN_IN: dict[str, Callable[[building.Parts], object]] = {
    "tile": lambda parts: parts.state.loss_fn.tile,
    "relation": lambda parts: type(parts.state.loss_fn),
}
# The same images by another name; nothing is broken and nothing too small here; the machine has one device and the
# training one process; accuracy and map@r may agree on what is best. Tests of their own cover these.
ELSEWHERE = {"distill", "data", "strict", "min_per_class", "device", "monitor", "sync_batchnorm"}


@pytest.mark.slow
@pytest.mark.parametrize("field", [f for f in CHANGED if f not in ELSEWHERE])
def test_every_field_takes_effect(field, weights, tmp_path):
    plain, changed = both(field, weights)
    if field in SEEN_IN:
        a, b = (SEEN_IN[field](building.build(resolve_defaults(r), load_images(r))) for r in (plain, changed))
        assert a != b
        return
    (a, log_a, files_a), (b, log_b, files_b) = (outcome(r, tmp_path / n) for n, r in (("a", plain), ("b", changed)))
    same = len(a) == len(b) and all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not same or log_a != log_b or files_a != files_b


@pytest.mark.slow
@pytest.mark.parametrize("door", [through_train, through_reproduce])
def test_without_a_run_the_weights_are_the_same(door, weights, tmp_path):
    """In memory, as tune and the estimator train, patience, pretraining and averages end in the same weights."""
    recipe = SMALL.replace(patience=1, epochs=5, pretrain_epochs=1, ema=0.9, whiten=0.3, lr=0.1)
    door(recipe, tmp_path)
    (path,) = (tmp_path if door is through_train else tmp_path / "runs").glob("run")
    in_memory = trial.trial(building.build(resolve_defaults(recipe), load_images(recipe))).state.final
    kept = Embedder.load(path).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in in_memory.state_dict().items())


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_the_first_request_to_end_sets_the_event_and_the_second_ends_at_once():
    before = handlers()
    with interruptible() as asked:
        assert not asked.is_set()
        signal.raise_signal(signal.SIGINT)
        assert asked.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert handlers() == before


@pytest.mark.parametrize("ends", ["well", "with an error", "asked to"])
def test_after_training_signals_are_handled_as_before(ends):
    before, inside = handlers(), []

    def watch(record) -> None:
        inside.append(handlers())
        if ends == "with an error":
            raise RuntimeError("the screen is gone")
        if ends == "asked to" and len(inside) == 1:
            signal.raise_signal(signal.SIGINT)

    parts = building.build(resolve_defaults(SMALL), load_images(SMALL))
    expected = {"well": nullcontext(), "with an error": pytest.raises(RuntimeError, match="the screen is gone")}
    with expected.get(ends) or pytest.raises(KeyboardInterrupt):
        trial.trial(parts, watch=watch)
    assert inside
    assert all(handler != old for handler, old in zip(inside[0], before, strict=True))
    assert handlers() == before


def test_who_watches_is_told_each_stage(tmp_path, monkeypatch):
    records: list[dict] = []
    watch = records.append
    for module, name in ((trial, "pretrained"), (trial, "whiten"), (trial, "average_with_first"), (train, "trial")):
        monkeypatch.setattr(module, name, lambda parts, *given, **more: parts)
    for name in ("check_wise", "validation_score", "train_loop"):
        monkeypatch.setattr(trial, name, lambda *given, **more: None)
    parts = building.build(resolve_defaults(SMALL), load_images(SMALL))
    trial.trial(dataclasses.replace(parts, recipe=SMALL.replace(wise=0.5, whiten=0.1)), watch=watch)
    for name in ("embed_shared", "evaluate_run"):
        monkeypatch.setattr(train, name, lambda *given, **more: None)
    train.train_and_evaluate(Run(tmp_path), parts, watch, None)
    assert records == [
        {"kind": "stage", "stage": stage, "done": 0, "total": 0}
        for stage in ("averaging with the first weights", "whitening", "scoring")
    ]
    trial.stage(None, "reading images")(1, 2)  # nobody watches


def test_in_another_thread_signals_are_left_alone():
    seen = []

    def work() -> None:
        with interruptible() as asked:
            seen.append((handlers(), asked.is_set()))

    before = handlers()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
    assert handlers() == before
