"""What "unknown" is calibrated with: classes not trained on, trainings without some, or a cautious threshold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from colours import make
from likewise import Gallery, api, geometry
from likewise.embeddings import Embeddings
from likewise.evaluate.identification import identify_left_out
from likewise.experiment import left_out
from likewise.experiment.run import Run
from likewise.experiment.score import evaluate_run
from likewise.gallery import grounds, naming, unseen
from likewise.gallery.calibrate import Trials, join
from likewise.gallery.encoder import run_around
from likewise.gallery.unseen import Vectors
from typed import run as typed


def trials(impostor: dict[str, list[float]], genuine: dict[str, list[float]]) -> Trials:
    """Trials of classes; every known one is right where it is above 0."""
    unknown = [(name, score) for name, scores in impostor.items() for score in scores]
    known = [(name, score) for name, scores in genuine.items() for score in scores]
    scores = np.array([score for _, score in known], float)
    return Trials(
        np.array([score for _, score in unknown], float),
        np.array([name for name, _ in unknown], np.str_),
        scores,
        scores > 0,
        np.array([name for name, _ in known], np.str_),
    )


KNOWN = trials({"a": [0.1, 0.2], "b": [0.3], "c": [0.9]}, {"a": [0.5, 0.6], "b": [0.7, -0.1], "c": [0.8]})


def test_trials_are_joined_by_hand():
    both = join([KNOWN, trials({"d": [0.4]}, {"d": [0.45]})])
    assert both.impostor.tolist() == [0.1, 0.2, 0.3, 0.9, 0.4]
    assert both.impostor_class.tolist() == ["a", "a", "b", "c", "d"]
    assert both.right.tolist() == [True, True, True, False, True, True]
    assert both.genuine_class.tolist() == ["a", "a", "b", "b", "c", "d"]


def test_a_model_that_knows_no_class_is_calibrated_with_all_of_them():
    assert unseen.basis(KNOWN, {"z"}, source="here") == (KNOWN, "here", "", -np.inf, None, True)


def test_of_some_trained_classes_only_the_others_count():
    found = unseen.basis(KNOWN, {"a", "b", "z"}, source="here")
    assert found.trials.impostor.tolist() == [0.9]
    assert (found.trials.genuine.tolist(), found.trials.genuine_class.tolist()) == ([0.8], ["c"])
    assert (found.source, found.promised, found.note) == ("classes that the model was not trained on", True, "")


def test_validation_classes_count_where_all_enrolled_ones_were_trained_on():
    further = trials({"x": [0.4], "y": [0.35]}, {})
    found = unseen.basis(KNOWN, set("abc"), source="here", further=further)
    assert found.trials.impostor.tolist() == [0.4, 0.35]
    assert found.trials.genuine.tolist() == KNOWN.genuine.tolist()  # of the enrolled images, since those have none
    assert found.promised


def test_the_threshold_is_not_below_that_of_leaving_every_class_out():
    folds = trials({name: [0.01 * i + 0.005 for i in range(10)] for name in "xyzw"}, {"a": [0.7]})
    found = unseen.basis(join([KNOWN] * 3), set("abc"), source="here", folds=folds)
    # 12 trials, three each at 0.9, 0.3, 0.2 and 0.1: five may reach the threshold, and the fifth and sixth are 0.3
    assert found.promise(0.5, "nearest").threshold == np.nextafter(0.3, 1)
    # 12 say nothing of 0.05; of the 40 of the folds one may reach it, and the first four are 0.095
    assert found.promise(0.05, "nearest").threshold == np.nextafter(0.095, 1)
    assert found.promise(0.5, "nearest").promised


@pytest.mark.parametrize(("others", "source"), [("xyzw", unseen.FOLDS), ("x", "classes that the model was not")])
def test_the_trials_of_most_classes_are_taken(others, source):
    folds = trials({name: [0.6] for name in others}, {"a": [0.7]})
    found = unseen.basis(KNOWN, {"a"}, source="here", folds=folds)  # b and c were not trained on
    assert found.source.startswith(source)
    assert len(found.trials.impostor) == (4 if len(others) == 4 else 2)


def test_without_such_classes_the_threshold_is_cautious_by_hand():
    found = unseen.basis(KNOWN, set("abc"), source="here", how="run it")
    # the known ones that are right: 0.5, 0.6, 0.7, 0.8; a tenth of them lies below 0.5 + 0.3 * 0.1
    assert found.least == pytest.approx(0.53)
    assert found.note == (
        "no false-accept rate is promised, since the model was trained on 3 of these 3 classes: run it. Until then the "
        "threshold is a cautious one, which 10% of the known images miss"
    )
    many = found._replace(trials=join([KNOWN] * 5))
    low, high = many.promise(0.9, "nearest"), many.promise(0.1, "nearest")
    assert low.threshold == pytest.approx(0.53)  # that of the trials would be lower
    assert high.threshold > 0.9  # that of the trials is higher
    assert (low.low, low.high, low.promised, low.note) == (0.0, 1.0, False, found.note)
    assert low.accepted == 5


def fold(train: dict[str, list], val: dict[str, list], test: dict[str, list]) -> Embeddings:
    """Vectors of two numbers by class and part."""
    rows = [(part, name, x) for part, of in enumerate((train, val, test)) for name, xs in of.items() for x in xs]
    classes = tuple(sorted({name for _, name, _ in rows}))
    return Embeddings(
        torch.tensor([x for _, _, x in rows], dtype=torch.float32),
        torch.tensor([classes.index(name) for _, name, _ in rows]),
        tuple(map(str, range(len(rows)))),
        torch.tensor([part for part, _, _ in rows]).byte(),
        classes,
    )


FOLD = fold(
    {"a": [[1, 0], [0.6, 0.8]], "b": [[0, 1]]}, {"a": [[0.8, 0.6]], "b": [[0.6, 0.8]]}, {"c": [[-1, 0], [0, 2]]}
)


def test_trials_of_folds_by_hand():
    found = unseen.trials_of_folds([FOLD], None, sim="cosine", rule="nearest")
    assert found.impostor == pytest.approx([0.0, 1.0])
    assert found.impostor_class.tolist() == ["c", "c"]
    assert found.genuine == pytest.approx([0.96, 1.0])
    assert found.right.tolist() == [True, False]
    fewer = unseen.trials_of_folds([FOLD], {"a": 1, "z": 5}, sim="cosine", rule="nearest")  # [1, 0] alone
    assert fewer.impostor == pytest.approx([-1.0, 0.0])
    assert (fewer.genuine_class.tolist(), fewer.genuine.tolist()) == (["a"], pytest.approx([0.8]))
    assert unseen.trials_of_folds([FOLD], {"z": 1}, sim="cosine", rule="nearest") is None
    assert unseen.trials_of_folds([], None, sim="cosine", rule="nearest") is None


def test_images_that_are_enrolled_are_known_by_their_vectors():
    given = Vectors(np.array([[1, 0], [0, 1], [3, 0.001]], np.float32), ["a", "b", "c"])
    kept = unseen.without_these(given, Vectors(np.array([[2, 0]], np.float32), ["x"]))
    assert kept.labels == ["b"]  # [3, 0.001] points where [2, 0] does within a millionth
    assert unseen.without_these(given, Vectors(np.zeros((0, 2), np.float32), [])).labels == ["a", "b", "c"]


def test_many_images_are_compared_a_thousand_at_a_time():
    angle = np.linspace(0, 6, 2003)
    vectors = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    at = {0, 999, 1000, 1003, 2000, 2002}
    given = Vectors(vectors, [str(i) for i in range(2003)])
    kept = unseen.without_these(given, Vectors(3 * vectors[sorted(at)], [""] * len(at)))
    assert kept.labels == [str(i) for i in range(2003) if i not in at]


def test_answers_say_that_nothing_is_promised_and_what_to_run(tmp_path):
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(60, 3)), [f"c{i % 3}" for i in range(60)]
    with make(tmp_path / "g") as gallery:
        gallery.enroll_vectors(vectors, labels, fingerprint="c0ffee", gate="off")
        asked = vectors[0].astype(np.float32)
        gallery.encoder.classes = ("c0", "c1", "c2")
        short = (
            "; no false-accept rate is promised, since the model was trained on 3 of these 3 classes: run `likewise "
            "calibrate RUN` for its run, then `likewise gallery calibrate GALLERY --model RUN`"
        )
        assert gallery.identify(asked, far=0.2).why.endswith(short)
        assert not gallery.calibrate(0.2).promised
        assert gallery.identify(asked).why.endswith(short)
        assert gallery.verify(asked, "c0")["note"] == short.removeprefix("; ")
        assert gallery.info()["promise"]["note"].endswith("which 10% of the known images miss")
        gallery.encoder.classes = ("c0", "c1")
        gallery.trials = {}
        assert gallery.promise(0.2).source == "classes that the model was not trained on"
        gallery.encoder, gallery.about["model"] = None, str(tmp_path / "gone")
        gallery.trials = {}
        assert gallery.promise(0.2).source == grounds.GALLERY


def test_a_calibration_is_outdated_by_the_classes_that_were_enrolled_then(tmp_path):
    rng = np.random.default_rng(0)
    with make(tmp_path / "g") as gallery:
        gallery.encoder.classes = ("c0", "c1")  # so that the trials are of c2 to c5 alone
        labels = [f"c{i % 6}" for i in range(60)]
        gallery.enroll_vectors(rng.normal(size=(60, 3)), labels, fingerprint="c0ffee", gate="off")
        found = gallery.calibrate(0.2)
        assert (found.classes, found.enrolled) == (4, 6)
        asked = rng.normal(size=3).astype(np.float32)
        assert "calibrated with" not in gallery.identify(asked).why
        gallery.enroll_vectors(rng.normal(size=(2, 3)), ["d0", "d1"], fingerprint="c0ffee", gate="off")
        assert "calibrated with 6 classes, now 8" in gallery.identify(asked).why


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Run:
    recipe = api.load_recipe("digits").replace(
        size=8, epochs=1, dim=8, network="mlp", max_per_class=12, max_classes=4, val=0.25, snapshot_epochs="0"
    )
    return api.train(recipe, out=tmp_path_factory.mktemp("runs"), name="d")


@pytest.mark.slow
def test_a_run_is_trained_without_each_class_and_predicts_by_it(small, tmp_path, monkeypatch, capsys):
    image = tmp_path / "x.png"
    from PIL import Image

    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(image)
    (before,) = api.predict(small.path, [image], far=0.3)
    assert before["note"].startswith("no false-accept rate is promised, since the model was trained on 4 of these 4")
    assert f"run `likewise calibrate {small.path}`" in before["note"]
    assert before["far_interval"] == [0.0, 1.0]
    scored = small.metrics()
    optimistic = "so these scores are optimistic; `likewise calibrate RUN` scores them by trainings without"
    assert optimistic in scored["caveats"][0]
    assert optimistic in evaluate_run(small)["caveats"][0]

    assert typed(["likewise", "calibrate", str(small.path), "--far", "0.3", "--json"], monkeypatch) == 0
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)
    assert [f"training {i} of 4" in captured.err for i in range(1, 5)] == [True] * 4
    assert (row["classes"], row["source"], row["promised"]) == (4, unseen.FOLDS, True)
    folds = left_out.left_out(small)
    assert len(folds) == 4
    for one in folds:
        (away,) = one.part("test").labels.unique().tolist()
        assert away not in one.part("train").labels.tolist() + one.part("val").labels.tolist()
        assert not any(id_ in set(small_test(small)) for id_ in one.ids), "the test part takes part"
    (after,) = api.predict(small.path, [image], far=0.3)
    again = small.metrics()
    found = identify_left_out(folds, sim=geometry.cosine, seed=small.recipe.split_seed)
    assert again["scores"]["oscr"]["value"] == found["oscr"].value != scored["scores"]["oscr"]["value"]
    assert again["scores"]["knn@1"] == scored["scores"]["knn@1"]
    n = sum(len(one.part("test")) for one in folds)
    assert (
        f"4 trainings of its recipe, each without some of the classes: {n} images of 4 classes" in again["caveats"][0]
    )
    assert not any("optimistic" in caveat for caveat in again["caveats"])
    assert evaluate_run(small)["scores"]["oscr"] == again["scores"]["oscr"]
    assert after["threshold"] >= row["threshold"]  # nor below that of leaving every class out
    assert not after["note"].startswith("no false-accept rate")

    # a call that is repeated trains nothing; another number of folds replaces what is there
    stamps = {path: path.stat().st_mtime_ns for path in left_out.complete(small)}
    left_out.train_left_out(small)
    assert stamps == {path: path.stat().st_mtime_ns for path in left_out.complete(small)}
    left_out.complete(small)[0].unlink()
    assert left_out.left_out(small) == []
    left_out.train_left_out(small, 2)
    assert len(list(small.left_out.iterdir())) == 2


def small_test(run: Run) -> tuple[str, ...]:
    return Embeddings.load(run.embeddings).part("test").ids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--folds", "1"], "folds is 2 to 4, since digits has 4 training classes; got 1"),
        (["--folds", "5"], "folds is 2 to 4, since digits has 4 training classes; got 5"),
        (["--far", "2"], "a rate lies inside 0 and 1, such as 0.05, and k is 1 or more; got 2.0"),
        (["--k", "0"], "and k is 1 or more; got 0"),
    ],
)
def test_wrong_calls_of_calibrate(small, words, sentence, monkeypatch, capsys):
    assert typed(["likewise", "calibrate", str(small.path), *words], monkeypatch) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_calibrating_what_is_no_run_or_has_two_classes(tmp_path, small, monkeypatch, capsys):
    assert typed(["likewise", "calibrate", str(tmp_path)], monkeypatch) == 2
    assert "so it is not a run" in capsys.readouterr().err
    with pytest.raises(ValueError, match="2 training classes, and leaving some out takes 3 or more"):
        left_out.part_classes(two_classes(), 0, 0)


def two_classes():
    from likewise.data import from_arrays

    images = from_arrays(np.zeros((4, 1, 8, 8), np.uint8), [0, 0, 1, 1])
    return replace(images, split=torch.zeros(4).byte())


@pytest.mark.slow
def test_an_open_run_knows_which_classes_it_was_trained_on(tmp_path):
    recipe = api.load_recipe("digits").replace(
        size=8,
        epochs=1,
        dim=8,
        network="mlp",
        max_per_class=12,
        split="by_class(val=0.3, test=0.2)",
        snapshot_epochs="0",
    )
    run = api.train(recipe, out=tmp_path, name="d")
    found = Embeddings.load(run.embeddings)
    trained = [found.classes[i] for i in found.part("train").labels.unique().tolist()]
    with Gallery.create(tmp_path / "g", run.path) as gallery:
        assert list(gallery.model().classes) == trained
        part = found.part("train")
        labels = [found.classes[i] for i in part.labels.tolist()]
        gallery.enroll_vectors(part.vectors.numpy(), labels, fingerprint=gallery.model().fingerprint, gate="off")
        promise = gallery.promise(0.3)
        val = {found.classes[i] for i in found.part("val").labels.tolist()}
        assert (promise.source, promise.classes) == ("classes that the model was not trained on", len(val))
        trials = next(iter(gallery.trials.values())).trials
        assert set(trials.impostor_class.tolist()) == val, "the test part takes part"
        assert naming.noted(promise.as_json()) == ""


def test_the_run_around_a_model_has_its_weights(tmp_path):
    for name, text in (("a", '{"crc32": 1}'), ("b", '{"crc32": 2}'), ("c", "no JSON"), ("d", '{"other": 2}')):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "recipe.toml").touch()
        (tmp_path / name / "model" / "model.json").write_text(text, encoding="utf-8")
    folders = [tmp_path / name for name in "abcde"]
    assert [run_around(folders, crc32) for crc32 in (1, 2, 3, None)] == [folders[0], folders[1], None, None]
    (folders[1] / "recipe.toml").unlink()
    assert run_around(folders, 2) is None


@pytest.mark.slow
def test_the_run_of_an_export_is_the_one_with_its_weights(small, tmp_path):
    crc32 = json.loads((small.model / "model.json").read_text())["crc32"]
    assert run_around([tmp_path, small.path], crc32) == small.path
    assert run_around([small.path], crc32 + 1) is None
    assert run_around([Path(tmp_path)], crc32) is None
