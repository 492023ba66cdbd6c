"""The pairs of a run: kept and read back, what they choose, and the scores of pairs from files."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from likewise import api, load_data
from likewise.cli.using import verdict
from likewise.evaluate import Embeddings, draw_pairs, pair_files
from likewise.evaluate.pair_files import placed
from likewise.experiment import verify_on
from likewise.experiment.run import Run
from likewise.experiment.thresholds import kept_pairs
from likewise.experiment.verify_on import score_pairs
from likewise.metrics import calibration, verification
from likewise.metrics.sampled_pairs import Pairs, even, similarities
from likewise.models import Embedder

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

QUICK = ("size=16", "epochs=1", "network=mlp(widths=(32,))", "dim=8", "max_per_class=40", "snapshot_epochs=1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small run on real digits, made once."""
    recipe = api.load_recipe("digits").override(*QUICK)
    return api.train(recipe, out=tmp_path_factory.mktemp("runs"), name="d").path


@pytest.fixture
def run(made, tmp_path) -> Run:
    """A copy of it that a test may change."""
    return Run.open(shutil.copytree(made, tmp_path / "d"))


def test_the_pairs_of_the_scores_are_kept_and_anyone_can_score_them(made):
    run = Run.open(made)
    found, held = Embeddings.load(run.embeddings), run.metrics()
    listed = pair_files.part(pair_files.read(run.pairs), "test")
    test = found.part("test")
    pairs = placed(listed, test.ids)
    assert torch.equal(test.labels[pairs.first] == test.labels[pairs.second], pairs.same)
    score_T = similarities(test.vectors, pairs)
    curve = verification.roc(score_T, pairs.same)
    assert held["scores"]["eer"]["value"] == pytest.approx(float(verification.eer(curve)))
    at_E = even(pairs.same)
    judged = verification.decide(score_T[at_E], pairs.same[at_E], held["threshold"]["value"])
    assert held["scores"]["pair_accuracy"]["value"] == pytest.approx(judged.accuracy)
    assert held["scores"]["pair_precision"]["value"] == pytest.approx(judged.precision)
    fit = calibration.restored(held["calibration"])
    brier = float(calibration.brier(fit(score_T[at_E]), pairs.same[at_E]).mean())
    assert held["scores"]["brier"]["value"] == pytest.approx(brier)
    assert set(held["left_out"]) == {"tar@far=0.0001"}


def test_kept_pairs_are_read_back(run):
    """Half of them, kept in the place of all: the scores are of those."""
    test = Embeddings.load(run.embeddings).part("test")
    pairs = draw_pairs(test.labels, seed=5)
    half = type(pairs)(*(column[::2] for column in pairs))
    pair_files.save(run.pairs, {"test": (test, half)})
    api.evaluate(run.path)
    assert run.metrics()["scores"]["pair_auc"]["n"] == len(half.same)
    assert run.metrics()["threshold"] is None
    again = kept_pairs(run, test, "test")
    assert again is not None
    assert all(torch.equal(a, b) for a, b in zip(again, half, strict=True))


def test_kept_pairs_whose_pictures_are_gone_are_one_sentence(run):
    test = Embeddings.load(run.embeddings).part("test")
    with pytest.raises(ValueError, match=r"image.* of the pairs .* not among .*; delete .*pairs.parquet to draw other"):
        kept_pairs(run, test.take(range(1, len(test))), "test")


def test_the_threshold_is_chosen_for_a_target_and_keeps_it(run):
    before = run.metrics()
    api.evaluate(run.path, threshold_at="far=0.1")
    strict = run.metrics()
    assert (before["threshold"]["target"], strict["threshold"]["target"]) == ("accuracy", "far=0.1")
    assert Embedder.load(run.path).info["threshold"] == strict["threshold"]
    assert strict["scores"]["eer"] == before["scores"]["eer"]
    val = Embeddings.load(run.embeddings).part("val")
    pairs = kept_pairs(run, val, "val")
    assert pairs is not None
    score_T = similarities(val.vectors, pairs)
    assert verification.decide(score_T, pairs.same, strict["threshold"]["value"]).far <= 0.1
    api.evaluate(run.path)
    assert run.metrics() == strict
    with pytest.raises(ValueError, match=r"no threshold for far=0\.0001: too few pairs"):
        api.evaluate(run.path, threshold_at="far=0.0001")
    assert run.metrics() == strict


def test_verify_gives_the_calibrated_probability_at_the_prior_of_its_threshold(run, tmp_path):
    digits = load_data("digits", size=16).part("test")
    for i in (0, 1):
        Image.fromarray(digits.pixels[i, 0].numpy()).save(tmp_path / f"{i}.png")
    found = api.verify(run.path, tmp_path / "0.png", tmp_path / "1.png")
    fit = calibration.restored(run.metrics()["calibration"])
    here, cut = fit(torch.tensor([found["similarity"], found["threshold"]], dtype=torch.float64)).logit().tolist()
    assert found["prior"] == pytest.approx(float(torch.tensor(-cut).sigmoid()))
    assert found["probability"] == pytest.approx(float(torch.tensor(here - cut).sigmoid()), abs=1e-3)
    assert found["same"] == (found["probability"] >= 0.5)
    assert (found["threshold"], found["target"]) == (run.metrics()["threshold"]["value"], "accuracy")
    model = Embedder.load(run.path)
    del model.info["calibration"]
    model.save(run.model)
    assert api.verify(run.path, tmp_path / "0.png", tmp_path / "1.png")["probability"] is None


def said(same: bool, p: float | None) -> str:
    return verdict({"same": same, "probability": p, "similarity": 0.5, "threshold": 0.25, "target": "accuracy"})


def test_the_verdict_in_words():
    tail = ": similarity +0.5000, threshold +0.2500 (for accuracy)"
    assert said(True, 0.934) == f"same, probability 0.93{tail}"
    assert said(False, 0.2) == f"different, probability of same 0.20{tail}"
    assert said(True, 1.0) == f"same, probability above 0.99{tail}"
    assert said(False, 0.0) == f"different, probability of same below 0.01{tail}"
    assert said(True, None) == f"same{tail}"


# Pairs from files


def rows_of(run: Run, n: int = 40) -> list[tuple[str, str, int]]:
    """The first pairs of the test part, of either kind."""
    listed = pair_files.part(pair_files.read(run.pairs), "test")
    at = even(listed.same)
    at = torch.cat([at[: n // 2], at[len(at) // 2 :][: n // 2]]).tolist()
    return [(listed.first[i], listed.second[i], int(listed.same[i])) for i in at]


def write(path: Path, rows: list[tuple]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_pairs_by_ids_and_the_same_by_paths(run, tmp_path):
    """An image saved to a file has the very vector of the run's own."""
    rows = rows_of(run)
    by_id = score_pairs(run, write(tmp_path / "ids.csv", rows))
    digits = load_data("digits", size=16)
    place = {name: i for i, name in enumerate(digits.ids)}
    folder = tmp_path / "images"
    for name in {name for a, b, _ in rows for name in (a, b)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.pixels[place[name], 0].numpy()).save(folder / f"{name}.png")
    file = write(tmp_path / "paths.csv", [(f"{a}.png", f"{b}.png", same) for a, b, same in rows])
    by_path = score_pairs(run, file, images=folder)
    names = ["pair_auc", "eer", "pair_accuracy", "pair_precision", "pair_recall", "pair_f1", "brier", "ece"]
    assert list(by_id["scores"]) == list(by_path["scores"]) == names
    for name in names:
        assert by_path["scores"][name]["value"] == pytest.approx(by_id["scores"][name]["value"], abs=1e-6)
    assert by_id["notes"] == []
    assert "fold_accuracy" not in by_id["scores"]
    shutil.copy(file, folder / "paths.csv")
    assert score_pairs(run, folder / "paths.csv")["scores"] == by_path["scores"]


def test_pictures_that_are_missing_are_one_sentence_with_the_first_and_the_count(run, tmp_path):
    rows = rows_of(run)
    with pytest.raises(ValueError, match=r"2 images that .* names are not there; the first is 'no/1.png'"):
        score_pairs(run, write(tmp_path / "p.csv", [*rows, ("no/1.png", rows[0][0], 0), ("no/1.png", "no/2.png", 1)]))
    with pytest.raises(ValueError, match="all of the 2 pairs are of one kind"):
        score_pairs(run, write(tmp_path / "p.csv", rows[:2]))
    with pytest.raises(ValueError, match="there is no file of pairs"):
        score_pairs(run, tmp_path / "none.csv")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read .*bad\.png as an image"):
        score_pairs(run, write(tmp_path / "p.csv", [*rows, ("bad.png", rows[0][0], 0)]))
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        score_pairs(run, tmp_path / "p.csv")
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot read pairs from"):
        score_pairs(run, tmp_path / "p.parquet")


def test_folds_of_a_file_give_the_accuracy_by_folds_and_say_when_they_share_a_class(run, tmp_path):
    rows = rows_of(run)
    file = write(tmp_path / "p.csv", [("a", "b", "same", "fold"), *((*row, i % 4) for i, row in enumerate(rows))])
    found = score_pairs(run, file)
    listed = pair_files.read(file)
    test = Embeddings.load(run.embeddings).part("test")
    pairs = placed(listed, test.ids)
    assert listed.fold is not None
    by_hand = verification.fold_accuracy(similarities(test.vectors, pairs), pairs.same, listed.fold)
    score = found["scores"]["fold_accuracy"]
    assert score["folds"] == pytest.approx(by_hand.tolist())
    assert score["value"] == pytest.approx(float(by_hand.mean()))
    assert score["standard_error"] == pytest.approx(float(by_hand.std() / 2))
    assert any("people or classes are in more than one fold" in note for note in found["notes"])


def test_pairs_of_training_pictures_are_named(run, tmp_path):
    train = Embeddings.load(run.embeddings).part("train")
    pairs = draw_pairs(train.labels)
    at = even(pairs.same)[::500].tolist()
    rows = [(train.ids[pairs.first[i]], train.ids[pairs.second[i]], int(pairs.same[i])) for i in at]
    found = score_pairs(run, write(tmp_path / "p.csv", rows))
    assert found["notes"] == [f"{len(rows)} of the {len(rows)} pairs hold images that the run was trained on"]


def test_the_list_of_lfw_finds_its_pictures_and_draws_people(run, tmp_path):
    """Twelve people in two folds; their images are digits."""
    digits = load_data("digits", size=16).part("test")
    lines = ["2\t3"]
    for fold in (0, 1):
        people = [f"P{fold}{i}" for i in range(6)]
        lines += [f"{name}\t1\t2" for name in people[:3]]
        lines += [f"{a}\t1\t{b}\t2" for a, b in zip(people[:3], people[3:], strict=True)]
        for i, name in enumerate(people):
            (tmp_path / "lfw" / name).mkdir(parents=True)
            for n in (1, 2):
                picture = Image.fromarray(digits.pixels[12 * fold + 2 * i + n, 0].numpy())
                picture.save(tmp_path / "lfw" / name / f"{name}_{n:04d}.jpg")
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    found = score_pairs(run, tmp_path / "pairs.txt", images=tmp_path / "lfw")
    assert found["scores"]["pair_auc"]["n"] == 12
    assert len(found["scores"]["fold_accuracy"]["folds"]) == 2
    assert found["notes"] == []
    with pytest.raises(
        ValueError, match=r"images that .*pairs.txt names are not there; the first is 'P00/P00_0001.jpg'"
    ):
        score_pairs(run, tmp_path / "pairs.txt")


def test_folds_over_classes(run):
    found = score_pairs(run, folds=5)
    assert found["scores"]["fold_accuracy"]["n"] == found["scores"]["pair_auc"]["n"]
    assert found["notes"] == []
    with pytest.raises(ValueError, match="10 folds need at least 20 classes"):
        score_pairs(run, folds=10)


def test_what_is_printed_of_a_file(run, tmp_path, monkeypatch, capsys):
    from likewise.cli import main

    def call(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["likewise", "evaluate", str(run.path), *words])
        with pytest.raises(SystemExit, match="0"):
            main()
        return capsys.readouterr().out

    file = write(
        tmp_path / "p.csv", [("a", "b", "same", "fold"), *((*row, i % 2) for i, row in enumerate(rows_of(run)))]
    )
    before = run.metrics_file.read_bytes()
    printed = call("--pairs", str(file))
    assert "\nfar=0.1 " in printed
    assert "too few pairs" not in printed  # rates with exact bounds instead
    assert "mean ± standard error over 2 folds 0." in printed
    assert "note: " in printed
    told = json.loads(call("--pairs", str(file), "--json"))
    assert list(told) == ["run", "pairs", "scores", "left_out", "threshold", "error_rates", "notes"]
    assert "threshold for accuracy  0." in printed
    assert "\nfar=0.001 " in printed
    assert re.search(r"val\. FAR\nfar=0\.03  .*0\.\d{4}–", call("--pairs", str(file), "--threshold-at", "far=0.03"))
    assert "tar@far=0.01" in told["left_out"]
    assert run.metrics_file.read_bytes() == before


@pytest.mark.parametrize(("train", "together"), [((), True), ((29,), True), ((0,), False), ((0, 29), False)])
def test_people_are_drawn_together_where_none_was_trained_on(train, together):
    """Pairs of 20 people with two images each; the run's classes are those and ten more."""
    names = tuple(f"p{i}" for i in range(30))
    labels = torch.tensor([*train, 5, 6])
    part = torch.tensor([0] * len(train) + [1, 2], dtype=torch.uint8)
    known = Embeddings(torch.zeros(len(labels), 1), labels, tuple(map(str, range(len(labels)))), part, names)
    who = tuple(f"p{i // 2}" for i in range(40))
    nothing = torch.zeros(0, dtype=torch.int64)
    listed = verify_on.Listed(Pairs(nothing, nothing, nothing.bool()), torch.zeros(40, 1), who, who, None)
    expected = [i // 2 for i in range(40)] if together else list(range(40))
    assert verify_on.drawn_together(listed, known).tolist() == expected
