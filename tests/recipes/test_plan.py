"""The plan for a user's own data, splits that keep scenes whole, and the quick look for near-copies."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.cli import main
from likewise.data import files, load
from likewise.data.images import Images
from likewise.data.scenes import clusters, overlaps
from likewise.data.split import auto, by_scene, given
from likewise.experiment.near_copies import look
from likewise.extras import install_line
from likewise.recipes.cost import Cost, Measured, cost_of
from likewise.recipes.facts import Facts
from likewise.recipes.load import load_recipe
from likewise.recipes.plan import Plan, fitted, plan
from likewise.recipes.rules import epochs_for, rules, sampler, shaped

FACTS = Facts(
    images=1000, train=700, val=100, test=200, classes=10, smallest_class=60, median_class=70, largest_class=80,
    side=28, channels=1, groups=0, drawn=("val", "test"), open=False,
)  # fmt: skip

HEADS = ("data", "parts", "network", "training", "cost")


def bursts(seed: int = 0) -> Images:
    """Two classes of 20 bursts, five shots each: one colour image with little noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (40, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
    pixels = np.clip(blocks.repeat(5, 0) + rng.normal(0, 3, (200, 3, 32, 32)), 0, 255).astype(np.uint8)
    labels = torch.arange(200) // 100
    ids = tuple(f"{i:03d}" for i in range(200))
    return Images(torch.from_numpy(pixels), labels, ("a", "b"), ids, torch.zeros(200, dtype=torch.uint8))


@pytest.mark.parametrize("split", [by_scene, auto])
def test_no_burst_is_cut(split):
    images = split(bursts(), val=0.2, test=0.2)
    parts = images.split.numpy().reshape(40, 5)
    assert (parts == parts[:, :1]).all()
    assert np.bincount(parts[:, 0]).tolist() == [24, 8, 8]
    assert images.drawn == ("val", "test")
    assert np.array_equal(clusters(bursts()), np.arange(200) // 5)


def test_a_published_test_part_is_never_cut_again():
    images = bursts()
    images.split[::2] = 2
    assert torch.equal(by_scene(images).split == 2, images.split == 2)
    drawn = auto(images)
    assert torch.equal(drawn.split == 2, images.split == 2)
    assert drawn.drawn == ("val",)


def test_auto_is_given_where_there_are_neither_groups_nor_copies():
    rng = np.random.default_rng(0)
    images = replace(bursts(), pixels=torch.from_numpy(rng.integers(0, 256, (200, 3, 32, 32), np.uint8)))
    assert torch.equal(auto(images, seed=3).split, given(images, seed=3).split)


def test_the_quick_look_names_the_way_out():
    messages: list[str] = []
    look(given(bursts()), "given", messages.append)
    assert any("test" in m and "split=by_scene" in m for m in messages)
    messages.clear()
    look(by_scene(bursts()), "by_scene", messages.append)
    assert not messages
    assert all(o.copies == 0 for o in overlaps(by_scene(bursts())))


def test_digits_are_not_taken_for_bursts():
    messages: list[str] = []
    look(load("digits"), "given", messages.append)
    assert not messages


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"classes": 2, "median_class": 400}, "pk(classes=2, images=64)"),
        ({"classes": 10, "median_class": 70}, "pk(classes=10, images=12)"),
        ({"classes": 10_000, "median_class": 3}, "pk(classes=42, images=3)"),
        ({"classes": 100, "median_class": 1}, "pk(classes=64, images=2)"),
        ({"classes": 5, "median_class": 4}, "pk(classes=5, images=4)"),
    ],
)
def test_the_batch_is_filled(changes, wanted):
    assert sampler(replace(FACTS, **changes), 128) == wanted


def test_rules(monkeypatch, tmp_path):
    assert rules(FACTS)[0]["network"] == "small_resnet"
    assert rules(FACTS)[0]["size"] == 0
    assert rules(replace(FACTS, median_class=5, largest_class=900))[0]["balanced"]
    assert "supcon" in rules(replace(FACTS, median_class=999))[0]["loss"]
    assert "cosface" in rules(replace(FACTS, median_class=1000))[0]["loss"]
    assert "supcon" in rules(replace(FACTS, median_class=1000, open=True))[0]["loss"]
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "none" / "data"))
    photo = replace(FACTS, side=300, channels=3)
    monkeypatch.setattr("likewise.experiment.imagenet.installed", lambda: None)
    chosen, notes = rules(photo)
    assert "network" not in chosen
    assert install_line("weights") in notes[0]
    monkeypatch.setattr("likewise.experiment.imagenet.installed", lambda: tmp_path)
    chosen, notes = rules(photo)
    assert (chosen["network"], chosen["weights"]) == ("efficientnet_lite", "published")
    assert not notes
    weights = tmp_path / "none" / "data" / "weights"
    weights.mkdir(parents=True)
    (weights / "mobilenet_v2-b0353104.pth").touch()
    assert rules(photo)[0]["size"] == 160
    assert rules(replace(photo, side=100))[0]["size"] == 100
    assert "cosface" in rules(photo)[0]["loss"]
    assert "supcon" in rules(replace(photo, classes=10_000, median_class=3))[0]["loss"]
    assert [epochs_for(n, 30) for n in (100, 2000, 10_000, 60_000, 10**7)] == [90, 30, 30, 12, 3]


def test_minutes_set_the_epochs(monkeypatch):
    monkeypatch.setattr("likewise.recipes.plan.measured", lambda *given: Measured(6.0, 0.001, 0.01, "never"))
    recipe = load_recipe("digits").replace(eval_every_epochs=0)
    cost = cost_of(recipe, FACTS, Measured(6.0, 0.001, 0.01, "never"))
    drawn_up = fitted(recipe, FACTS, [], 2.0, set(), bursts())
    assert 12 <= drawn_up.recipe.epochs <= 20
    assert cost.total(drawn_up.recipe.epochs) <= 120 < cost.total(drawn_up.recipe.epochs + 1)
    assert drawn_up.minutes == pytest.approx(cost.total(drawn_up.recipe.epochs) / 60)
    assert 60 < drawn_up.recipe.max_seconds < 120
    assert fitted(recipe, FACTS, [], 1.0, {"epochs"}, bursts()).recipe.epochs == recipe.epochs
    assert fitted(recipe, FACTS, [], 0.0, set(), bursts()).recipe.epochs == recipe.epochs


def test_costs_are_those_of_each_stage():
    recipe = load_recipe("digits").replace(eval_every_epochs=2, weights="w.pth", epochs=4)
    plain = cost_of(recipe, FACTS, Measured(10.0, 0.0, 0.0, "never"))
    assert cost_of(recipe, FACTS, Measured(10.0, 0.0, 0.02, "never")).read == pytest.approx(1000 * 0.02)
    slow = cost_of(recipe, FACTS, Measured(10.0, 0.5, 0.0, "never"))
    # every second epoch 100 validation and 700 training images
    assert slow.epoch - plain.epoch == pytest.approx(800 * 0.5 / 2)
    # all once, 900 in each of two snapshots, and 300 by two baselines
    assert slow.scoring - plain.scoring == pytest.approx((1000 + 2 * 900 + 2 * 300) * 0.5)
    assert cost_of(recipe.replace(eval_every_epochs=0), FACTS, Measured(10.0, 0.5, 0.0, "never")).epoch == 10.0


def test_busy_cores_stretch_what_is_not_measured():
    recipe = load_recipe("digits").replace(eval_every_epochs=0)
    free, busy = (cost_of(recipe, FACTS, Measured(10.0, 0.0, 0.0, "never", busy=times)) for times in (1.0, 3.0))
    assert busy.scoring == pytest.approx(3 * free.scoring)
    assert busy.epoch == free.epoch
    assert busy.total(100) - 1000.0 == pytest.approx(3 * (free.total(100) - 1000.0))


def test_a_third_of_the_time_is_training():
    assert Cost(read=1000.0, epoch=1.0, scoring=1000.0, images=10).epochs_within(60) == 20
    assert Cost(read=0.0, epoch=100.0, scoring=0.0, images=10).epochs_within(60) == 1
    assert Cost(read=10.0, epoch=1.0, scoring=10.0, images=0).epochs_within(60) == 40


def test_other_aspects():
    photo = replace(FACTS, side=300, channels=3, aspect=1.33, aspects=(1.3, 1.4))
    assert shaped(160, photo) == 160
    assert shaped(160, replace(photo, aspect=2.0)) == "112x224"
    assert shaped(160, replace(photo, aspect=0.5)) == "224x112"
    assert shaped(160, replace(photo, aspect=20.0)) == "80x320"
    assert shaped(160, replace(photo, side=50, aspect=4.0)) == "48x192"
    grey = replace(FACTS, side=90, aspect=3.0, aspects=(2.9, 3.1))
    assert (rules(grey)[0]["size"], "fit" in rules(grey)[0]) == ("64x192", False)
    chosen, notes = rules(replace(grey, aspects=(1.0, 4.0)))
    assert chosen["fit"] == "pad"
    assert replace(grey, aspects=(1.0, 4.0)).kind() == "90 px (width / height 1.0 to 4.0), grey"
    assert photo.kind() == "300 px (width / height 1.3 to 1.4), colour"
    assert replace(photo, aspect=1.0, aspects=(1.0, 1.1)).kind() == "300 px, colour"
    assert "fit=stretch" in notes[0]


def test_plan_stops_before_training(tmp_path, capsys, monkeypatch):
    def command(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["likewise", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return capsys.readouterr().out

    np.savez(
        tmp_path / "a.npz", X=np.random.default_rng(0).integers(0, 256, (80, 16, 16), np.uint8), y=np.arange(80) % 4
    )
    path = str(tmp_path / "a.npz")
    out = command("train", path, "dim=8", "--plan", "--out", str(tmp_path / "runs"))
    heads = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert heads == list(HEADS)
    assert max(map(len, out.splitlines())) <= 80
    assert "dim=8" in out
    assert json.loads(command("train", path, "--plan", "--json"))["data"]["classes"] == 4
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ValueError, match="--minutes"):
        plan(load_recipe(path), minutes=-1.0)


def test_the_plan_fits_80_columns():
    long = replace(load_recipe("digits"), loss="sum(losses=['supcon(temperature=0.1)', 'triplet(margin=0.2)'])")
    notes = ("published weights would help: put mobilenet_v2-b0353104.pth into LIKEWISE_DATA/weights",) * 2
    facts = replace(
        FACTS,
        side=300,
        aspects=(0.5, 2.0),
        images=1_000_000,
        near_copies=(("test", "train", 0.5), ("val", "train", 0.4)),
    )
    lines = Plan(long, facts, notes, 1.0, 1.0, "bfloat16 31 ms a step, float32 70 ms").lines()
    assert max(map(len, lines)) <= 80
    assert [line[:9] for line in lines if line[0] != " "] == [f"{x:<9}" for x in HEADS]
    assert all(line.startswith(" " * 9) for line in lines if line[0] == " ")


@pytest.mark.parametrize("side", [24, 70])
def test_the_plan_reads_each_file_once(tmp_path, monkeypatch, side):
    rng = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "data" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{i}.png")
    read: list[object] = []
    of_file = files.decode

    def counted(source, *given, **named):
        if not isinstance(source, torch.Tensor):
            read.append(source)
        return of_file(source, *given, **named)

    monkeypatch.setattr(files, "decode", counted)
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "none"))
    drawn_up = plan(load_recipe(tmp_path / "data"), ["network=small_resnet(width=4)"])
    assert drawn_up.minutes > 0
    assert len(read) == len(set(read)) == 40


def test_a_float_image_that_is_long_keeps_its_aspect():
    spectrogram = replace(FACTS, side=80, shape=(1, 80, 200), negative=True)
    assert rules(spectrogram)[0]["size"] == "64x160"
    assert rules(replace(spectrogram, channels=2, shape=(2, 80, 80)))[0]["size"] == 64
    assert rules(replace(spectrogram, shape=(1, 80, 2000)))[0]["size"] == "64x256"
    assert spectrogram.kind() == "80 x 200 px, floats"
