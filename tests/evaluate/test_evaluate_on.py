"""A trained run scored on labelled images of one's own: references, unknown classes, confusions, broken files."""

import json
import sys

import numpy as np
import pytest

from likewise import api
from likewise.cli import main
from likewise.experiment.recipe import Recipe
from small_images import png

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

LEVELS = {"black": (0, 1, 2), "white": (255, 254, 253)}


def filled(folder, levels):
    for name, values in levels.items():
        (folder / name).mkdir(parents=True)
        for i, value in enumerate(values):
            (folder / name / f"{i}.png").write_bytes(png(value))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    top = tmp_path_factory.mktemp("on")
    train = filled(top / "train", {"black": range(12), "white": range(240, 252)})
    recipe = Recipe(
        data=str(train), split="ratio(val=0.2, test=0.2)", network="mlp(widths=(8,))", dim=4, epochs=2,
        sampler="pk(classes=2, images=4)", ema=0.0,
    )  # fmt: skip
    return api.train(recipe, out=top / "runs", name="greys")


def test_closed_set_with_confusions(run, tmp_path):
    images = filled(tmp_path / "new", LEVELS | {"grey": (20, 30), "mid": (200, 210)})
    (images / "white" / "wrong.png").write_bytes(png(3))
    (images / "white" / "broken.png").write_bytes(b"no image")
    found = api.evaluate_on(run.path, images)
    assert (found["images"], found["part"]) == (11, "all")
    assert found["scores"]["knn@1"]["n"] == 7
    (optimistic,) = found["caveats"]
    assert optimistic.startswith("dir@far and oscr: the unknown queries are of classes that the network was trained on")
    assert optimistic.endswith("2 classes are too few")
    assert found["scores"]["knn@1"]["value"] == pytest.approx(6 / 7)
    assert found["confusions"] == [{"class": "white", "taken_for": "black", "images": 1}]
    assert [w["image"] for w in found["worst"]] == ["white/wrong.png"]
    assert found["unknown_classes"] == ["grey", "mid"]
    assert found["unknown_images"] == 4
    assert found["open_scores"]["recall@1"]["n"] == 4
    assert [s["id"] for s in found["skipped"]] == ["white/broken.png"]


def test_gallery_and_test_part(run, tmp_path):
    images = filled(tmp_path / "parts" / "Train", LEVELS)
    filled(tmp_path / "parts" / "TESTING", {"black": (4,), "white": (251,)})
    gallery = filled(tmp_path / "gallery", {"black": (5, 6), "white": (250, 249)})
    found = api.evaluate_on(run.path, images.parent, gallery=gallery)
    assert (found["images"], found["part"], found["references"]) == (2, "test", 4)
    assert found["scores"]["knn@1"]["value"] == 1
    assert not found["open_scores"]


def test_only_unknown_classes_of_an_npz(run, tmp_path):
    shape = (4, *api.Embedder.load(run.model).shape)
    np.savez(tmp_path / "new.npz", X=np.full(shape, 90, np.uint8), y=["u", "u", "v", "v"])
    found = api.evaluate_on(run.path, tmp_path / "new.npz")
    assert not found["scores"]
    assert found["unknown_classes"] == ["u", "v"]
    assert found["caveats"] == []


def test_command(run, tmp_path, monkeypatch, capsys):
    images = filled(tmp_path / "new", LEVELS)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["likewise", "evaluate", str(run.path), *map(str, words)])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr()

    assert "knn@1" in (text := call("--on", images).out)
    assert "6 images of" in text
    assert json.loads(call("--on", images, "--json").out)["images"] == 6
    assert "give both" in call("--gallery", images).err
