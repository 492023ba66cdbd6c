"""Scores without training: values by hand, the weights of step 0, and the sentence that comes first."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise import api
from likewise.cli.baselines import baselines_table
from likewise.cli.screen import headline, scores_json
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.evaluate.baselines import Vectors, compare_with, is_better, is_worse, raw, subset
from likewise.experiment import baselines, gain
from likewise.experiment.build import build, first_model, load_images, resolve_defaults
from likewise.experiment.imagenet import MOBILENET, Start
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.run_files import checked_metrics
from likewise.export.card import without_training as card_section

pytestmark = pytest.mark.slow  # a training or several processes for each part of it


def embeddings(vectors: list[list[float]], labels: list[int]) -> Embeddings:
    n = len(labels)
    return Embeddings(
        torch.tensor(vectors), torch.tensor(labels), tuple(map(str, range(n))), torch.zeros(n).byte(), ("a", "b")
    )


# Queries 0, 1 (class a) and 2, 3 (class b); references at the two unit vectors.
REFERENCE = embeddings([[1.0, 0.0], [0.0, 1.0]], [0, 1])
RIGHT = embeddings([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0]], [0, 0, 1, 1])
HALF = embeddings([[1.0, 0.1], [0.1, 1.0], [0.1, 1.0], [1.0, 0.1]], [0, 0, 1, 1])


def test_scores_and_differences_by_hand():
    of = {"half": Vectors(HALF, REFERENCE, "cosine"), "same": Vectors(RIGHT, REFERENCE, "cosine")}
    ours, others = compare_with(Vectors(RIGHT, REFERENCE, "cosine"), of)
    assert ours["knn@1"].value == 1
    assert others["half"].scores["knn@1"].value == 0.5
    apart = others["half"].difference["knn@1"]
    assert apart.difference == 0.5
    assert apart.low == 0
    assert apart.high == 1
    assert apart.n == 4
    # two of four queries differ: exchanging them either way, 2 of 4 patterns are as far from 0
    assert apart.p == pytest.approx(0.5, abs=0.05)
    same = others["same"].difference["knn@1"]
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("low", "high", "p", "better", "worse"),
    [(0.01, 0.2, 0.01, True, False), (0.01, 0.2, 0.2, False, False), (0.0, 0.2, 0.01, False, False),
     (-0.2, -0.1, 0.05, False, True), (-0.2, 0.1, 0.01, False, False), (0.0, 0.0, 1.0, False, False)],
)  # fmt: skip
def test_beyond_doubt_takes_interval_and_test(low, high, p, better, worse):
    record = {"difference": (low + high) / 2, "low": low, "high": high, "p": p, "n": 9}
    assert (is_better(record), is_worse(record)) == (better, worse)


def images(pixels: torch.Tensor, labels: list[int], parts: list[int]) -> Images:
    ids = tuple(map(str, range(len(labels))))
    return Images(
        pixels, torch.tensor(labels), tuple(map(str, range(max(labels) + 1))), ids, torch.tensor(parts).byte()
    )


def test_raw_pixels_are_at_most_32_a_side_and_rows_are_standardised():
    large = images(torch.full((2, 3, 64, 20), 7, dtype=torch.uint8), [0, 1], [0, 2])
    vectors = raw(large, None, large)
    assert vectors.query.vectors.shape == (2, 3 * 32 * 20)
    assert (vectors.query.vectors == 7).all()
    rows = images(torch.tensor([[0.0, 5.0], [4.0, 5.0]]), [0, 1], [0, 0])
    assert raw(rows, rows, rows).query.vectors.tolist() == [[-1, 0], [1, 0]]  # a constant column stays 0
    assert raw(rows, rows, rows).sim == "euclidean"


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=40),
    most=st.integers(12, 200),
    seed=st.integers(0, 3),
    open_set=st.booleans(),
)
def test_a_subset_is_of_its_size_and_the_same_for_a_seed(counts, most, seed, open_set):
    labels_N = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    query_Q, other = torch.arange(0, len(labels_N), 2), torch.arange(1, len(labels_N), 2)
    reference_M = None if open_set or not len(other) else other
    drawn = subset(labels_N, query_Q, reference_M, most, seed=seed)
    again = subset(labels_N, query_Q, reference_M, most, seed=seed)
    assert [None if x is None else x.tolist() for x in drawn] == [None if x is None else x.tolist() for x in again]
    places = torch.cat([part for part in drawn if part is not None])
    assert len(places) <= most
    assert len(places.unique()) == len(places)
    if open_set and len(query_Q) > most:  # a class keeps others to find, as far as it has them
        had = labels_N[query_Q].bincount(minlength=len(counts))
        for label, n in zip(*labels_N[drawn[0]].unique(return_counts=True), strict=True):
            assert n >= min(2, had[label])
    if reference_M is not None and len(query_Q) + len(reference_M) > most:
        left = labels_N[drawn[1]].bincount(minlength=len(counts)).sort(descending=True).values
        had = labels_N[reference_M].bincount(minlength=len(counts)).max()
        assert left[0] - left[left > 0][-1] <= max(int(had) - 1, 0)


def test_a_closed_subset_is_spread_over_classes():
    labels_N = torch.tensor([0] * 90 + [1] * 10 + [0, 1] * 20)
    query_Q, reference_M = subset(labels_N, torch.arange(100, 140), torch.arange(100), 30, seed=0)
    assert len(query_Q) == 10
    assert labels_N[reference_M].bincount().tolist() == [10, 10]


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((1, 8, 8), (3, 32, 32)), ((1, 28, 28), (3, 56, 56)), ((3, 64, 64), (3, 96, 96)), ((3, 150, 150), (3, 150, 150)),
     ((3, 448, 224), (3, 224, 112)), ((1, 16, 64), (3, 32, 96))],
)  # fmt: skip
def test_frozen_features_see_images_of_a_fair_size(shape, wanted):
    assert baselines.frozen_shape(shape) == wanted


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 grey images of 8 x 8 of three classes: noise on a stripe, which raw pixels tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.integers(0, 60, (90, 8, 8), dtype=np.uint8)
    x[np.arange(90), y * 2] += 150
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    np.savez(path, X=x, y=y)
    return path


def recipe(npz: Path, **changes: object) -> Recipe:
    fields = {"network": "convnet(channels=(4, 8))", "dim": 4, "epochs": 1, "sampler": "pk(classes=3, images=4)"}
    return Recipe(data=str(npz), device="cpu", **(fields | changes))


@pytest.fixture(scope="module")
def still(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose weights did not move."""
    return api.train(recipe(npz, lr=0.0), out=tmp_path_factory.mktemp("runs"), name="still")


def test_the_network_before_training_is_that_of_step_0(npz):
    settled = resolve_defaults(recipe(npz, seed=3))
    loaded = load_images(settled)
    random.seed(1), torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state()
    first = first_model(settled, loaded).state_dict()
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    built = build(settled, loaded).state.model.state_dict()
    assert all(torch.equal(first[name], value) for name, value in built.items())


def test_a_training_that_did_not_help_says_so_first(still):
    run = still
    written = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    assert next(iter(written)) == "verdict"
    assert (written["verdict"]["grade"], written["verdict"]["name"]) == ("bad", "lr-zero")
    assert written["warning"].startswith("Training ")
    assert "lr=0 leaves the weights as they are" in written["warning"]
    first = written["without_training"]["baselines"]["untrained"]["difference"]["knn@1"]
    assert (first["difference"], first["low"], first["high"], first["p"]) == (0, 0, 0, 1)
    shown = headline(run)
    first, _, last = shown.rpartition("BAD: lr=0, so the weights do not move.")
    assert first
    assert "next: likewise train" in last
    assert written["warning"].partition("; what to change")[0] in " ".join(last.split())
    assert next(iter(json.loads(scores_json(run)))) == "verdict"
    page = run.report.read_text(encoding="utf-8")
    assert page.index(written["warning"][:40]) < page.index("<h2>")
    assert 'id="without-training"' in page
    assert max(map(len, baselines_table(run.metrics()).splitlines())) <= 80
    assert written["warning"] in card_section(run.metrics())[0]


def test_metrics_come_back_and_what_is_no_record_is_refused(still, tmp_path):
    read, written = still.metrics(), json.loads(still.metrics_file.read_text(encoding="utf-8"))
    assert read == written
    record = written["without_training"]
    assert record["queries"] == record["queries_of"] == 18
    assert record["main"] == "knn@1"
    del record["baselines"]["pixels"]["difference"]["knn@1"]
    (tmp_path / "metrics.json").write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(ValueError, match="without_training is an object of baselines"):
        checked_metrics(tmp_path / "metrics.json")


def test_a_baseline_that_cannot_be_had_is_named(npz, tmp_path, monkeypatch):
    def gone(*_: object) -> None:
        raise ValueError("the weights are gone")

    monkeypatch.setattr(baselines, "first_model", gone)
    run = api.train(recipe(npz), out=tmp_path / "runs", name="run")
    record = run.metrics()["without_training"]
    assert record["left_out"]["untrained"] == "the weights are gone"
    assert "pixels" in record["baselines"]
    assert "the network before training: none (the weights are gone)" in headline(run)


def test_rows_have_their_raw_values_and_no_frozen_features(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", X=rng.normal(size=(60, 5)).astype(np.float32), y=np.arange(60) % 3)
    run = api.train(recipe(tmp_path / "rows.npz", network="mlp(widths=(8,))"), out=tmp_path / "runs", name="rows")
    record = run.metrics()["without_training"]
    assert set(record["baselines"]) == {"values", "untrained"}
    assert set(record["left_out"]) == {"published"}


def record(**apart: tuple[float, float, float, float]) -> dict:
    def of(difference: float, low: float, high: float, p: float) -> dict:
        return {"difference": difference, "low": low, "high": high, "p": p, "n": 100}

    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    made = {
        name: {"what": name, "scores": {"knn@1": score}, "difference": {"knn@1": of(*x)}} for name, x in apart.items()
    }
    return {"main": "knn@1", "trained": {"knn@1": score | {"value": 0.52}}, "baselines": made}


@pytest.mark.parametrize(
    ("apart", "fields", "steps", "wanted"),
    [
        ({"pixels": (0.1, 0.05, 0.2, 0.001)}, {}, 900, ""),
        ({"pixels": (-0.1, -0.2, -0.05, 0.001)}, {"size": 64}, 900, "made it worse than raw pixels: knn@1 0.5200"),
        (
            {"pixels": (0.1, 0.05, 0.2, 0.001), "untrained": (0.0, -0.1, 0.1, 1.0)},
            {},
            900,
            "the network before training",
        ),
        ({"untrained": (0.0, 0.0, 0.0, 1.0)}, {"lr": 0.0}, 900, "give lr=0.002"),
        ({"untrained": (0.0, -0.1, 0.1, 1.0)}, {"epochs": 3}, 6, "give epochs=100 or more"),
        ({"published": (-0.1, -0.2, -0.05, 0.001)}, {}, 900, "network=mobilenet_v2 weights=mobilenet_v2"),
        ({"published": (-0.1, -0.2, -0.05, 0.001)}, {"weights": "w.pth", "lr": 0.01}, 900, "lr=0.001"),
        # the interval reaches 0.04 below a difference of 0.02: four times the images and none is below 0
        ({"pixels": (0.02, -0.02, 0.06, 0.3)}, {}, 900, "which about 400 test images could tell"),
    ],
)
def test_what_is_said_first(apart, fields, steps, wanted, monkeypatch):
    monkeypatch.setattr(gain, "imagenet", lambda: Start("mobilenet_v2", MOBILENET, "MobileNetV2", Path(MOBILENET)))
    said = gain.warning(record(**apart), Recipe(**fields), steps)
    assert wanted in said
    assert bool(said) == bool(wanted)
