"""The command line: what is printed, the exit codes, and one sentence for whatever is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.cli import main
from likewise.cli.using import named, verdict

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

QUICK = ("size=16", "epochs=1", "network=mlp(widths=(32,))", "dim=8", "max_per_class=20")


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run a command in this process, inside an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["likewise", *words])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A small run on real digits, made once."""
    from likewise import api

    out = tmp_path_factory.mktemp("runs")
    recipe = api.load_recipe("digits").override(*QUICK, "snapshot_epochs=0,1")
    return api.train(recipe, out=out, name="d").path


def pictures(folder: Path, classes: int = 3, each: int = 6) -> Path:
    """A class-per-folder set of plain colours, a little different each."""
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (20, 20), (80 * c, 5 * i, 200 - 60 * c)).save(folder / f"class{c}" / f"{i}.png")
    return folder


def test_train_on_a_folder_of_pictures(call, tmp_path):
    pictures(tmp_path / "shapes")
    code, out, err = call("train", "shapes", "epochs=2", "size=16", "network=mlp(widths=(16,))", "--name", "mine")
    assert code == 0, err
    assert "knn@1" in out
    assert "report: runs/mine/report.html" in out
    made = {p.name for p in (tmp_path / "runs" / "mine").iterdir()}
    assert {
        "recipe.toml",
        "metrics.jsonl",
        "metrics.json",
        "model",
        "checkpoints",
        "embeddings.parquet",
        "report.html",
    } <= made


def test_scores_as_json_are_those_of_metrics_json(call, trained):
    code, out, _ = call("evaluate", str(trained), "--json")
    said = json.loads(out)
    assert code == 0
    assert {"run", "split", "scores", "caveats", "without_training"} <= set(said)
    assert said["scores"] == json.loads((trained / "metrics.json").read_text())["scores"]
    assert {"value", "low", "high", "n"} == set(said["scores"]["knn@1"])
    assert said["scores"]["knn@1"]["low"] <= said["scores"]["knn@1"]["value"] <= said["scores"]["knn@1"]["high"]


def test_evaluating_again_gives_the_same_numbers(call, trained):
    before = (trained / "metrics.json").read_text()
    assert call("evaluate", str(trained))[0] == 0
    assert (trained / "metrics.json").read_text() == before


def test_predict_and_verify_and_embed_from_a_run(call, trained, tmp_path):
    from likewise import load_data

    digits = load_data("digits", size=16).part("test")
    for i in (0, 1):
        Image.fromarray(digits.pixels[i, 0].numpy()).save(tmp_path / f"{i}.png")
    code, out, err = call("predict", str(trained), "0.png", "1.png", "--k", "3", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert [one["image"] for one in said] == ["0.png", "1.png"]
    assert all(len(one["neighbours"]) == 3 for one in said)
    sims = [n["similarity"] for n in said[0]["neighbours"]]
    assert sims == sorted(sims, reverse=True)
    assert call("verify", str(trained), "0.png", "0.png")[1].startswith("same, probability ")
    code, out, _ = call("embed", str(trained), ".", "-o", "out.parquet")
    assert code == 0
    assert out.startswith("2 images, 8 numbers each")
    assert (tmp_path / "out.parquet").exists()


def test_predict_and_verify_in_plain_text(call, trained):
    """The same as --json, an image and its neighbours a line each."""
    folder = trained.parent / "two"
    folder.mkdir()
    for i, level in enumerate((40, 200)):
        Image.new("L", (16, 16), level).save(folder / f"{i}.png")
    words = (str(trained), str(folder), "--k", "2")
    shown = json.loads(call("predict", *words, "--json")[1])
    code, out, _ = call("predict", *words)
    lines = out.splitlines()
    assert (code, len(shown), len(lines)) == (0, 2, 6)
    for one, (first, *rest) in zip(shown, (lines[:3], lines[3:]), strict=True):
        assert first == f"{one['image']}: {one['class']} ({one['votes']} of 2 neighbours)"
        assert rest == [f"    {n['similarity']:+.4f}  {n['class']}  {n['id']}" for n in one["neighbours"]]
    pair = (str(trained), str(folder / "0.png"), str(folder / "1.png"))
    found = json.loads(call("verify", *pair, "--json")[1])
    assert " ".join(call("verify", *pair)[1].split()) == " ".join((verdict(found), found["note"])).strip()
    assert set(json.loads(call("verify", *pair, "--json")[1])) >= {"same", "probability", "similarity", "threshold"}


ONE = {"class": "7", "votes": 4, "neighbours": [{}] * 5, "nearest_class": "7", "why": "below the threshold"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "7 (4 of 5 neighbours)"),
        ({"probability": None}, "7 (4 of 5 neighbours)"),
        ({"probability": 0.875}, "7 (4 of 5 neighbours, probability 0.88)"),
        ({"class": None}, "unknown (nearest class 7, 4 of 5 neighbours; below the threshold)"),
    ],
)
def test_a_prediction_in_words(changes, text):
    assert named(ONE | changes) == text


@pytest.mark.parametrize(
    ("same", "probability", "text"),
    [
        (True, 0.934, "same, probability 0.93: "),
        (False, 0.25, "different, probability of same 0.25: "),
        (True, 0.995, "same, probability above 0.99: "),
        (True, 0.99, "same, probability 0.99: "),
        (False, 0.004, "different, probability of same below 0.01: "),
        (False, 0.01, "different, probability of same 0.01: "),
        (True, None, "same: "),
    ],
)
def test_a_verdict_in_words(same, probability, text):
    result = {"same": same, "probability": probability, "similarity": 0.81234, "threshold": -0.5, "target": "accuracy"}
    assert verdict(result) == f"{text}similarity +0.8123, threshold -0.5000 (for accuracy)"


def test_animate_draws_the_snapshots(call, trained):
    code, out, err = call("animate", str(trained))
    assert code == 0, err
    with Image.open(out.strip()) as animation:
        assert (animation.format, animation.n_frames) == ("GIF", 2)  # snapshots of epochs 0 and 1


WRONG = [
    (("train",), "no recipe given"),
    (("train", "digitz"), "'digitz' is not a shipped recipe, .toml file, or folder of images; did you mean digits"),
    (("train", "digits", "epochs"), "'epochs' is not field=value"),
    (("train", "digits", "epoch=3"), "no field 'epoch'; did you mean epochs"),
    (("train", "digits", "loss=triplet(margn=1)"), "did you mean margin"),
    (("train", "digits", "data=mnistt"), "no data named 'mnistt'; did you mean mnist"),
    (("train", "digits", "size=8"), "convnet takes images of at least"),
    (("train", "digits", "device=cuda:99"), "is not to be had here"),
    (("train", "empty"), "empty"),
    (("train", "nothing.toml"), "cannot read the recipe"),
    (("train", "digits", "--resume", "runs/x"), "--resume continues a run with its own settings"),
    (("train", "--resume", "runs/x"), "so it is not a run"),
    (("evaluate", "runs/none"), "so it is not a run"),
    (("evaluate", "runs/none", "--threshold-at", "far=x"), "'far=x' gives no share from 0 to 1"),
    (
        ("evaluate", "runs/none", "--folds", "10", "--pairs", "x.csv"),
        "one of --on, --pairs, --folds and --threshold-at",
    ),
    (("evaluate", "runs/none", "--images", "empty"), "--images is the folder of the images in --pairs"),
    (("report", "empty"), "has no recipe.toml, so it is not a run"),
    (("list", "loss"), "nothing is listed under 'loss'; did you mean losses"),
    (("explain", "tripletloss"), "nothing is named 'tripletloss'; did you mean triplet"),
    (("embed", "empty", "a.png"), "empty"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_what_is_wrong_is_one_sentence_and_exit_code_2(call, tmp_path, words, sentence):
    (tmp_path / "empty").mkdir()
    code, out, err = call(*words)
    assert code == 2
    assert not out
    assert sentence in err
    assert err.startswith("likewise: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("runs/*")), "nothing half-written"


def test_one_class_cannot_be_told_apart_from_anything(call, tmp_path):
    pictures(tmp_path / "one", classes=1)
    code, _, err = call("train", "one")
    assert code == 2
    assert "at least 2 classes" in err


@pytest.mark.parametrize("kind", ["losses", "miners", "models", "data", "recipes", "samplers", "augmentations"])
def test_list_says_a_line_for_each(call, kind):
    code, out, _ = call("list", kind)
    assert code == 0
    assert all(len(line.split(maxsplit=1)) == 2 for line in out.splitlines())
    assert json.loads(call("list", kind, "--json")[1])


@pytest.mark.parametrize("name", ["triplet", "convnet", "fashion-mnist", "pk", "cosine", "dim", "one-cycle", "digits"])
def test_explain_comes_from_the_functions(call, name):
    code, out, _ = call("explain", name)
    assert code == 0
    assert name.replace("-", "_") in out


def test_explain_triplet_says_all_there_is_to_know(call):
    out = call("explain", "triplet")[1]
    for word in ("margin=0.2", "pick='all'", "2015", "at collapse"):
        assert word in out


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_that_wait_soon_let_go_of_their_core(call, monkeypatch, given, spins):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert call("list", "losses")[0] == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.parametrize("words", [["-c", "import likewise"], ["-m", "likewise", "--help"]])
def test_help_and_import_load_nothing_heavy(words):
    done = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True)
    loaded = {
        line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "import time" in line
    }
    assert not loaded & {"torch", "numpy", "sklearn", "matplotlib", "pyarrow", "PIL"}


@pytest.mark.parametrize("words", [("train", "digits", "epochs=7"), ("train", "--resume", "a-run")])
def test_the_progress_line_knows_the_epochs(call, monkeypatch, words):
    from likewise import api
    from likewise.cli import screen

    seen = []

    def train(*given, watch, **more):
        seen.append(watch.__self__.epochs)
        raise ValueError("enough")

    monkeypatch.setattr(api, "epochs_of", lambda run: 7)
    monkeypatch.setattr(api, "train", train)
    monkeypatch.setattr(api, "resume", train)
    assert call(*words)[0] == 2
    assert seen == [7]
    assert screen.Progress().epochs == 0


class Bars:
    """A bar that writes down what it is told."""

    def __init__(self):
        self.told: list[tuple] = []

    def add_task(self, name, **given):
        self.told.append(("add", name, given))
        return len(self.told)

    def remove_task(self, task):
        self.told.append(("remove", task))

    def update(self, task, **given):
        self.told.append(("update", task, given))


def test_a_bar_appears_at_once_without_a_total_and_after_a_second_with_one(monkeypatch):
    from likewise.cli import screen

    now = [100.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    progress = screen.Progress(epochs=4)
    progress.bar = bars = Bars()
    for seconds, stage, done in ((0.0, "reading images", 1), (1.0, "reading images", 2), (1.5, "reading images", 3)):
        now[0] = 100 + seconds
        progress.watch({"kind": "stage", "stage": stage, "done": done, "total": 9})
    assert bars.told == [
        ("add", "reading images", {"total": 9, "status": ""}), ("update", 1, {"completed": 3, "status": ""}),
    ]  # fmt: skip
    bars.told.clear()
    progress.watch({"kind": "stage", "stage": "scoring", "done": 0, "total": 0})
    assert bars.told == [
        ("remove", 1), ("add", "scoring", {"total": None, "status": ""}), ("update", 2, {"completed": 0, "status": ""}),
    ]  # fmt: skip
    record = {"kind": "train", "epoch": 1.25, "loss": 0.5, "images_per_s": 5120.4, "active": 0.43, "empty": 2}
    now[0] = 200.0
    progress.watch(record)
    now[0] = 201.5
    bars.told.clear()
    progress.watch(record)
    status = "epoch 1.2 · loss 0.5000 · 5,120 images/s · 43% active · 2 batches without pairs"
    assert bars.told == [
        ("add", "training", {"total": 4, "status": status}), ("update", 1, {"completed": 1.25, "status": status}),
    ]  # fmt: skip
    assert (
        screen.line({"epoch": 1.0, "loss": 0.5, "images_per_s": 1.0, "empty": 0})
        == "epoch 1.0 · loss 0.5000 · 1 images/s"
    )


def test_a_download_has_one_bar_a_file():
    from likewise.cli import screen

    download = screen.Download()
    download.bar = bars = Bars()
    for name, done in (("a", 10), ("a", 20), ("b", 5)):
        download.watch(name, done, 30)
    assert bars.told == [
        ("add", "a", {"total": 30}), ("update", 1, {"completed": 10}), ("update", 1, {"completed": 20}),
        ("add", "b", {"total": 30}), ("update", 4, {"completed": 5}),
    ]  # fmt: skip


def test_the_command_draws_and_says_what_the_checks_found(call, trained, tmp_path):
    for name, level in (("a.png", 40), ("b.png", 200)):
        pixels = np.full((16, 16), level, np.uint8)
        pixels[4:9, 6:12] = 255 - level
        Image.fromarray(pixels).save(tmp_path / name)
    words = (str(trained), str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(tmp_path / "alike.png"))
    code, out, _ = call("saliency", *words)
    assert code == 0
    assert out.startswith("similarity ")
    text = " ".join(out.split())
    assert text.count("occlusion ") == 2
    assert text.count("permuted weights ") >= 2
    assert (tmp_path / "alike.png").read_bytes()[:4] == b"\x89PNG"
    assert set(json.loads(call("saliency", *words, "--json")[1])) == {"similarity", "occlusion", "random", "file"}
    code, _, err = call("saliency", *words[:3], "-o", str(tmp_path / "alike.gif"))
    assert code == 2
    assert "png, svg, pdf" in err
    assert not (tmp_path / "alike.gif").exists()
