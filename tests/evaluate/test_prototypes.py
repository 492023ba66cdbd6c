"""Files of encodings: what they keep of the training images, and how well they name others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from likewise import api, load_data
from likewise.cli import main
from likewise.evaluate import Embeddings
from likewise.evaluate.prototypes import at_most, centres, naming, numbered_as

pytestmark = pytest.mark.slow  # a training or several processes for each part of it


def made(vectors: list[list[float]], labels: list[int], classes: tuple[str, ...], part: int = 0) -> Embeddings:
    ids = tuple(f"{part}/{n}" for n in range(len(labels)))
    split = torch.full((len(labels),), part, dtype=torch.uint8)
    return Embeddings(torch.tensor(vectors), torch.tensor(labels), ids, split, classes)


KNOWN = made([[0, 0], [2, 0], [0, 2], [8, 8], [10, 8], [-9, 0]], [0, 0, 0, 1, 1, 2], ("a", "b", "c"))


def test_at_most_so_many_of_each_class():
    kept = at_most(KNOWN, 2)
    assert kept.labels.tolist() == [0, 0, 1, 1, 2]
    assert [KNOWN.ids.index(name) for name in kept.ids] == sorted(KNOWN.ids.index(name) for name in kept.ids)
    assert at_most(KNOWN, 2).ids == kept.ids
    assert len({at_most(KNOWN, 1, seed=s).ids for s in range(20)}) > 1, "which ones are drawn by the seed"
    assert at_most(KNOWN, 30).ids == KNOWN.ids
    with pytest.raises(ValueError, match="1 image or more is kept, got 0"):
        at_most(KNOWN, 0)


def test_centres_by_hand():
    found = centres(KNOWN)
    assert found.ids == ("a", "b", "c")
    assert found.labels.tolist() == [0, 1, 2]
    torch.testing.assert_close(found.vectors, torch.tensor([[2 / 3, 2 / 3], [9.0, 8.0], [-9.0, 0.0]]))
    assert found.split.tolist() == [0, 0, 0]


def test_top_1_and_top_5_by_hand():
    """Of three queries the nearest is right for one; the class of another is among five, of the third it is not."""
    known = made([[0.0], [1], [2], [3], [4], [50]], [0, 0, 0, 1, 0, 2], ("a", "b", "c"))
    query = made([[0.1], [1.9], [0.0]], [0, 1, 2], ("a", "b", "c"), part=2)
    scores = naming(query, known, sim="euclidean")
    assert {name: (round(s.value, 6), s.n) for name, s in scores.items()} == {
        "top@1": (round(1 / 3, 6), 3),
        "top@5": (round(2 / 3, 6), 3),
    }
    assert list(naming(query, known.take([0, 3, 5]), sim="euclidean")) == ["top@1"], "three have no five nearest"


def test_naming_is_the_nearest_neighbours_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 10
    middle = torch.randn(10, 6, generator=generator)
    known, query = (
        Embeddings(
            middle[labels] + torch.randn(200, 6, generator=generator),
            labels,
            tuple(f"{part}/{n}" for n in range(200)),
            torch.full((200,), part, dtype=torch.uint8),
            tuple("abcdefghij"),
        )
        for part in (0, 2)
    )
    kept = at_most(known, 7)
    theirs = KNeighborsClassifier(1).fit(kept.vectors.numpy(), kept.labels.numpy())
    five = kept.labels[torch.from_numpy(theirs.kneighbors(query.vectors.numpy(), 5, return_distance=False))]
    scores = naming(query, kept, sim="euclidean")
    assert scores["top@1"].value == pytest.approx(theirs.score(query.vectors.numpy(), labels.numpy()))
    assert scores["top@5"].value == pytest.approx(float((five == labels[:, None]).any(1).double().mean()))
    assert scores["top@1"].low <= scores["top@1"].value <= scores["top@1"].high


def test_classes_are_matched_by_name():
    other = numbered_as(made([[0.0], [9.0]], [0, 1], ("z", "b")), ("a", "b"))
    assert (other.classes, other.labels.tolist()) == (("a", "b", "z"), [2, 1])
    query = made([[8.0]], [1], ("a", "b"), part=2)
    assert naming(query, made([[0.0], [9.0]], [0, 1], ("z", "b")), sim="euclidean")["top@1"].value == 1.0
    with pytest.raises(ValueError, match="of other classes than the images to be named"):
        naming(query, made([[0.0]], [0], ("z",)), sim="euclidean")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    recipe = api.load_recipe("digits").override(
        "size=16", "epochs=1", "network=mlp(widths=(32,))", "dim=8", "max_per_class=40", "snapshot_epochs=0,1"
    )
    return api.train(recipe, out=tmp_path_factory.mktemp("runs"), name="d").path


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command in this process."""

    def run(*words: object) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    return run


def test_train_encode_test_from_the_command_line(trained, tmp_path, call):
    """The three steps, and what each file names images by."""
    digits = load_data("digits", size=16).part("test")
    Image.fromarray(digits.pixels[0, 0].numpy()).save(tmp_path / "0.png")
    some, middle = tmp_path / "some.parquet", tmp_path / "middle.parquet"
    done = call("embed", trained, "--most-per-class", 5, "-o", some)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 training images, 8 numbers each")
    assert call("embed", trained, "--centres", "-o", middle).stdout.startswith("10 class centres")

    kept, run = Embeddings.load(some), Embeddings.load(trained / "embeddings.parquet")
    assert set(kept.ids) <= set(run.part("train").ids)
    assert kept.labels.bincount().tolist() == [5] * 10
    at = [run.ids.index(name) for name in kept.ids]
    assert torch.equal(kept.vectors, run.vectors[at])

    done = call("evaluate", trained, "--encodings", middle, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["scores"].keys() == {"top@1", "top@5"}
    assert said["scores"]["top@5"]["value"] >= said["scores"]["top@1"]["value"]
    assert "right class among the five nearest encodings" in call("evaluate", trained, "--encodings", some).stdout

    done = call("predict", trained, tmp_path / "0.png", "--k", 1, "--encodings", middle, "--json")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)
    assert one["neighbours"][0]["id"] == one["class"], "a centre goes by the name of its class"


def test_every_training_picture_is_kept_where_nothing_is_said(trained):
    run = Embeddings.load(trained / "embeddings.parquet")
    assert api.encodings(trained).ids == run.part("train").ids
    both = api.encodings(trained, most_per_class=3, centres=True)
    torch.testing.assert_close(both.vectors, centres(at_most(run.part("train"), 3)).vectors)


def test_what_cannot_be_done_with_encodings_is_said(trained, tmp_path, call):
    without = tmp_path / "plain.parquet"
    api.embed(trained, [picture(tmp_path)]).save(without)
    for words, sentence in (
        (("evaluate", trained, "--encodings", without), "has no classes to name images by"),
        (("evaluate", trained, "--encodings", tmp_path / "none.parquet"), "cannot read embeddings"),
        (("evaluate", trained, "--encodings", without, "--folds", 3), "--encodings by itself"),
        (("embed", trained, tmp_path, "--centres"), "give no images with them"),
        (("embed", tmp_path / "model.onnx"), "has no images of its own"),
        (("embed", trained, "-o", trained / "embeddings.parquet"), "is the run's own file"),
        (
            ("embed", trained, "--most-per-class", -2, "-o", tmp_path / "few.parquet"),
            "1 image or more is kept, got -2",
        ),
    ):
        done = call(*words)
        assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
        assert done.stderr.count("\n") == 1


def test_encodings_of_another_model_are_refused(trained, tmp_path):
    other = made([[0.0] * 4, [1.0] * 4], [0, 1], ("0", "1"))
    other.save(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="embed both with one model"):
        api.evaluate_encodings(trained, tmp_path / "other.parquet")


def picture(folder: Path) -> Path:
    Image.new("L", (16, 16), 128).save(folder / "grey.png")
    return folder / "grey.png"
