"""The doctor: causes from hand-made looks, measures by hand, and five broken trainings against five healthy ones."""

import dataclasses
import json
import math
import re
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from likewise import geometry, spec
from likewise.data.images import Images
from likewise.doctor import CAUSES, Observation, Setup, diagnose
from likewise.doctor import monitor as symptoms
from likewise.evaluate import Embeddings
from likewise.experiment import checkup, trial
from likewise.experiment import train as launch
from likewise.experiment.checkpoint import load_checkpoint, save_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.losses import distill, proxies, spread
from likewise.training.loop import fit

TRIPLET = Setup("triplet(margin=0.2, pick='hard')", classes=10)
START = Observation(
    1, 0.1, loss=0.21, spread=0.11, rank=30.0, dead=0.0, loss_at_collapse=0.2, auc=0.77, val_auc=0.76, growth=1.0
)
HEALTHY = replace(START, loss=0.02, spread=0.8, rank=8.0, active=0.3, auc=0.99, val_auc=0.97, growth=1.05)
POINT = {"loss": 0.2, "spread": 1e-5, "auc": 0.8, "val_auc": 0.7}  # collapsed, as measured on digits
LOST = {"loss": 0.2, "spread": 0.5, "auc": 0.5, "val_auc": 0.5}  # spread out, and guessing


def course(**seen: float | None) -> list[Observation]:
    """A look at the start, then three that show the same."""
    return [START, *(replace(HEALTHY, **{"step": 100 * epoch, "epoch": epoch, **seen}) for epoch in (1, 2, 3))]


CASES = [
    ("not-finite", TRIPLET, course(loss=math.nan)),
    ("not-finite", TRIPLET, course(spread=math.nan, rank=math.nan, auc=None)),
    ("one-class-batches", Setup("supcon"), course(one_class=1.0, loss=0.0, loss_at_collapse=0.0)),
    ("one-class-batches", Setup("contrastive(margin=1.0)", "euclidean", False), course(**POINT, one_class=0.9)),
    ("no-same-pairs", Setup("sum(losses=['triplet', 'siamese_bce'])"), course(no_same=0.8)),
    ("dead-relu", TRIPLET, course(**POINT, dead=1.0)),
    ("dead-relu", replace(TRIPLET, lr=1.0), course(**POINT, dead=0.9)),
    ("lr-too-high", replace(TRIPLET, lr=0.1), course(**POINT)),
    ("lr-too-high", replace(TRIPLET, optimizer="sgd(momentum=0.0)", lr=5.0), course(**POINT)),
    ("lr-too-high", Setup("supcon", lr=5e-3), course(**POINT, growth=3.0)),
    ("lr-too-high", Setup("softmax", lr=0.2), course(**LOST, growth=7.0)),
    ("lr-too-high", replace(TRIPLET, lr=0.1), course(**LOST, related=0.0)),
    ("lr-too-high", replace(TRIPLET, lr=0.1), course(loss=0.18, spread=0.09, auc=0.75)),  # at two points
    ("wrong-labels", TRIPLET, course(**POINT | {"auc": 0.5}, related=0.4)),
    ("wrong-labels", Setup("softmax"), course(**LOST, growth=3.0, related=0.4)),  # learning by heart takes long weights
    ("wrong-labels", Setup("triplet(pick='semihard')"), course(loss=0.1, auc=0.47, val_auc=0.5, related=-1.0)),
    ("wrong-labels", Setup("softmax"), course(auc=0.99, val_auc=0.51, related=1.0)),
    ("hard-pairs", TRIPLET, course(**POINT)),
    ("hard-pairs", TRIPLET, course(**POINT | {"spread": 5e-3})),
    ("hard-pairs", Setup("triplet", miner="hard"), course(**POINT)),
    ("hard-pairs", TRIPLET, course(**POINT | {"auc": 0.5}, related=90.0)),
    ("not-learning", Setup("supcon"), course(**POINT)),
    ("not-learning", Setup("softmax"), course(**LOST, related=90.0)),
    ("not-learning", Setup("vae"), course(**POINT, loss_at_collapse=None)),
    ("lr-too-low", Setup("supcon"), course(**dataclasses.asdict(START) | {"step": 100, "epoch": 3.0})),
    ("memorised", Setup("softmax"), course(auc=0.99, val_auc=0.51, related=90.0)),
    ("lr-zero", Setup("supcon", lr=0.0), []),
    ("lr-zero", Setup("supcon", lr=0.0), course(**LOST)),
    ("few-steps", Setup("supcon", epochs=30), [START, *(replace(HEALTHY, step=n, epoch=n) for n in (1, 2, 3))]),
    ("margin-out-of-reach", Setup("triplet(margin=5.0)"), course()),
    ("margin-out-of-reach", Setup("triplet(margin=1.2)", classes=10), course()),
    ("margin-out-of-reach", Setup("sum(losses=['softmax', 'contrastive(margin=3)'])", "euclidean"), []),
]

SILENT = [
    ("healthy", TRIPLET, course()),
    ("before the first look", TRIPLET, []),
    ("two looks are not enough", TRIPLET, course(**POINT)[1:3]),
    ("it came back", TRIPLET, [*course(**POINT)[:3], replace(HEALTHY, epoch=3)]),
    ("it comes and goes", TRIPLET, [START, replace(HEALTHY, **POINT), HEALTHY, replace(HEALTHY, **POINT)]),
    ("on the way out", TRIPLET, [START, *(replace(HEALTHY, loss=0.2, spread=s) for s in (4e-3, 5e-3, 7e-3))]),
    ("batch-hard starts above its margin", TRIPLET, course(loss=0.3, spread=0.3, auc=0.7)),
    ("one point, and the loss low: two classes it need not tell apart", TRIPLET, course(spread=1e-3)),
    ("half the embedding is 0, and it learns", TRIPLET, course(dead=0.6)),
    ("a high learning rate that works", replace(TRIPLET, lr=0.2), course(growth=10.0)),
    ("guessing, and the loss falls", Setup("softmax"), course(loss=0.1, auc=0.55, val_auc=0.55, related=90.0)),
    ("no labels to compare", Setup("vae"), course(loss_at_collapse=None, auc=None, val_auc=None)),
    ("proxies need no pairs", Setup("softmax"), course(one_class=1.0, no_same=1.0)),
    ("a memory holds other classes", Setup("supcon", memory=512), course(one_class=1.0)),
    ("good from the start", Setup("supcon"), [HEALTHY] * 4),
    ("good from the start, and trained long", Setup("supcon"), [HEALTHY, *course(growth=4.0, auc=0.98)[1:]]),
    ("one step an epoch, and many epochs", Setup("supcon", epochs=500), [replace(HEALTHY, step=9, epoch=9)] * 3),
    ("few epochs of many steps", Setup("supcon", epochs=3), course()),
    ("a margin in reach", Setup("triplet(margin=1.1)", classes=10), course()),
    ("two classes may be opposite", Setup("triplet(margin=1.9)", classes=2), course()),
    ("a soft margin has none", Setup("triplet(margin=5.0, soft=True)"), course()),
    ("nothing bounds a length", Setup("triplet(margin=5.0)", "euclidean", False), course()),
    ("an angle is another margin", Setup("sphereface(margin=4)"), course()),
]


@pytest.mark.parametrize(
    ("name", "setup", "observations"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_a_cause_is_named(name, setup, observations):
    assert [finding.name for finding in diagnose(observations, setup)] == [name]


@pytest.mark.parametrize(("setup", "observations"), [case[1:] for case in SILENT], ids=[case[0] for case in SILENT])
def test_nothing_is_said_without_a_cause(setup, observations):
    assert diagnose(observations, setup) == []


def test_what_has_ended_needs_no_patience():
    ended = [START, *course(**POINT)[1:2]]
    assert not diagnose(ended, TRIPLET)
    assert [str(finding) for finding in diagnose(ended, TRIPLET, patience=1)] == [
        "the loss is 0.2000 = the margin after epoch 1: all images are embedded at one point, a known effect of "
        "the hardest pairs on an untrained network; use pick='semihard' first, or fewer images per class: "
        "sampler='pk(classes=10, images=4)'"
    ]


def test_a_margin_and_a_cause_are_two_findings():
    setup = Setup("triplet(margin=5.0)", lr=0.1)
    found = diagnose(course(**POINT | {"loss": 5.0}, loss_at_collapse=5.0), setup)
    assert [finding.name for finding in found] == ["margin-out-of-reach", "lr-too-high"]


@pytest.mark.parametrize(
    ("setup", "observations", "said"),
    [
        (
            replace(TRIPLET, lr=0.1),
            course(**POINT, growth=2.17),
            "the loss has been 0.2000 = the margin since epoch 1: all images are embedded at one point, and the "
            "weight norm has grown 2.2-fold; lower lr from 0.1 to 0.001, or use pick='semihard' before "
            "'hard'",
        ),
        (
            replace(TRIPLET, sampler="pk(classes=8, images=4)"),
            course(**POINT | {"loss": 0.201}),
            "the loss has been 0.2010 = the margin since epoch 1: all images are embedded at one point, a known "
            "effect of the hardest pairs on an untrained network; use pick='semihard' first",
        ),
        (
            Setup("softmax", optimizer="sgd", lr=0.5),
            course(**LOST | {"loss": 2.4}, loss_at_collapse=2.3026),
            "the loss has been 2.4000 (at collapse: 2.3026) since epoch 1: pair AUC (0.50) is no better "
            "than chance; lower lr from 0.5 to 0.05",
        ),
        (
            replace(TRIPLET, lr=0.1),
            course(loss=0.18, spread=0.09, auc=0.75),
            "the loss has been 0.1800 (at collapse: 0.2000) since epoch 1: pair AUC (0.75) is no better "
            "than before training, 0.77; lower lr from 0.1 to 0.001, or use pick='semihard' before 'hard'",
        ),
        (
            Setup("triplet(margin=5)", classes=10),
            [],
            "margin=5 cannot be reached: in cosine 10 classes of normalised embeddings are at most 1.11 apart, so "
            "solved pairs keep a full loss; lower margin to 0.2",
        ),
        (
            Setup("supcon", lr=1e-7),
            course(**dataclasses.asdict(START) | {"epoch": 3.0}),
            "after 3 epochs the embedding has not changed since before training; raise lr from 1e-07 to 0.001, and "
            "check that the weights are not frozen",
        ),
    ],
)
def test_the_sentence(setup, observations, said):
    assert [str(finding) for finding in diagnose(observations, setup)] == [said]


@pytest.mark.parametrize(("setup", "observations"), [case[1:] for case in CASES])
def test_every_finding_is_one_plain_sentence(setup, observations):
    for finding in diagnose(observations, setup):
        assert re.fullmatch(r"[^;\n]+; [^;\n]+[^.\n]", str(finding)), finding


def test_every_cause_has_its_case_and_its_row_in_the_docs():
    known = ["margin-out-of-reach", "lr-zero", "few-steps", *CAUSES]
    assert {case[0] for case in CASES} == set(known)
    known.append("validation-above-test")
    page = Path(__file__).parents[2].joinpath("docs", "doctor.md").read_text(encoding="utf-8")
    causes, signals = page.split("## What it measures")
    assert re.findall(r"^\| `([a-z-]+)` \|", causes, re.MULTILINE) == known
    assert {f.name for f in dataclasses.fields(Observation)} - set(re.findall(r"`(\w+)`", signals)) == {"step", "epoch"}


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.sampled_from(["supcon", "triplet(pick='hard')", "softmax", "vae"]),
    st.floats(0.6, 1),
)
def test_an_embedding_that_is_spread_out_and_tells_pairs_apart_is_left_alone(spreads, loss, auc):
    observations = [replace(HEALTHY, step=i, spread=0.02 + s, auc=auc, val_auc=auc) for i, s in enumerate(spreads)]
    assert diagnose(observations, Setup(loss)) == []


# What is measured


def test_vitals_by_hand():
    emb_ND = torch.tensor([[3.0, 1.0, 0.0], [3.0, -1.0, 0.0]])
    said = symptoms.vitals(emb_ND, torch.tensor([0, 1]), geometry.cosine)
    assert said["spread"] == pytest.approx(2 / 20)  # mean (3, 0, 0), squares 10 each
    assert said["rank"] == pytest.approx(1)
    assert said["dead"] == pytest.approx(1 / 3)
    assert said["auc"] is None  # no pair of one class
    assert symptoms.vitals(torch.eye(2), torch.tensor([0, 1]), geometry.cosine)["dead"] == 0  # each is 0 for one only


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_one_point_has_no_spread_and_no_rank(value):
    said = symptoms.vitals(torch.full((6, 4), value), torch.arange(6) % 2, geometry.euclidean)
    assert (said["spread"], said["rank"], said["auc"]) == (0.0, 0.0, 0.5)
    assert said["dead"] == (value == 0)


def test_vitals_of_what_is_not_finite():
    emb_ND = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    said = symptoms.vitals(emb_ND, torch.tensor([0, 0]), geometry.cosine)
    assert math.isnan(said["spread"])
    assert said["auc"] is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), min_size=2, max_size=12))
def test_pair_auc_is_what_a_loop_counts(rows):
    labels, values = zip(*rows, strict=True)
    pairs = [(labels[i] == labels[j], -abs(values[i] - values[j])) for i, j in combinations(range(len(rows)), 2)]
    same, other = ([sim for kind, sim in pairs if kind == wanted] for wanted in (True, False))
    wins = [(a > b) + (a == b) / 2 for a in same for b in other]
    found = symptoms.pair_auc(torch.tensor(values).float()[:, None], torch.tensor(labels), geometry.manhattan)
    assert found == (pytest.approx(sum(wins) / len(wins)) if wins else None)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200), st.integers(8, 64))
def test_a_sample_is_small_even_and_always_the_same(labels, most):
    labels_N = torch.tensor(labels)
    at = symptoms.sample(labels_N, most)
    assert torch.equal(at, symptoms.sample(labels_N, most))
    assert 0 < len(at) <= most
    assert len(at.unique()) == len(at)
    counts = labels_N.bincount()
    if counts.max() > 1:
        assert (labels_N[at].bincount() > 0).sum() == min(
            (counts > 1).sum(), most // max(4, most // (counts > 1).sum())
        )
        assert (counts[labels_N[at]] > 1).all()


def shuffled(images: Images, seed: int = 0) -> Images:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return replace(images, labels=images.labels[order])


def test_labels_of_digits_belong_to_their_images_and_shuffled_ones_do_not():
    images = launch.load_images(Recipe()).part("train")
    assert symptoms.related(images) > 50
    assert all(abs(symptoms.related(shuffled(images, seed))) < 3 for seed in range(5))


class Plan:
    """A feed of these batches of labels."""

    def __init__(self, labels: list[int], batches: list[list[int]], partners: int = 0):
        pixels, ids = torch.zeros(len(labels), 1), tuple(map(str, range(len(labels))))
        self.images = Images(
            pixels, torch.tensor(labels), ("a", "b", "c"), ids, torch.zeros(len(labels), dtype=torch.uint8)
        )
        self.batches, self.partners = [torch.tensor(batch) for batch in batches], partners


@pytest.mark.parametrize(
    ("batches", "one_class", "no_same"),
    [
        ([[0, 1, 2]], 0, 0),
        ([[0, 1]], 1, 0),
        ([[0, 2]], 0, 1),
        ([[0]], 1, 1),
        ([[0, 1], [0, 1, 3], [1, 2]], 1 / 3, 1 / 3),
    ],
)
def test_what_batches_lack(batches, one_class, no_same):
    feed = Plan([0, 0, 1, 1], batches)
    assert symptoms.composition(feed, feed.batches) == pytest.approx({"one_class": one_class, "no_same": no_same})


def test_rows_with_partners_lack_nothing():
    feed = Plan([0, 0, 1], [[0, 1, 2]], partners=2)
    assert symptoms.composition(feed, feed.batches) == {"one_class": 0, "no_same": 0}


# Trainings


BASE = Recipe(network="mlp(widths=(64, 64))", size=8, epochs=8, lr=2e-3, sampler="pk(classes=10, images=12)")
HARD = BASE.replace(loss="triplet(margin=0.2, pick='hard')", sampler="pk(classes=10, images=4)", lr=1e-3)

HEALTHY_RUNS = {
    "supcon": BASE.replace(loss="supcon(temperature=0.1)"),
    "semihard": BASE.replace(loss="triplet(margin=0.2, pick='semihard')"),
    "batch-hard": HARD,
    "contrastive in 2-D": BASE.replace(loss="contrastive(margin=1.0)", dim=2),
    "softmax": BASE.replace(loss="softmax()", sampler="shuffled(batch=128)"),
}


def dead(model: nn.Module) -> None:
    """The last ReLU of the network lets nothing through."""
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.constant_(last.bias, -20.0)


# name: (recipe, what is done to the images, what is done to the model)
BROKEN_RUNS = {
    "lr-too-high": (HARD.replace(lr=0.1), None, None),
    "margin-out-of-reach": (BASE.replace(loss="triplet(margin=5.0)"), None, None),
    "one-class-batches": (BASE.replace(sampler="pk(classes=1, images=120)"), None, None),
    "wrong-labels": (BASE, shuffled, None),
    "dead-relu": (BASE.replace(dim=0, loss="contrastive(margin=1.0)"), None, dead),
}


class Watched:
    """A training with the doctor beside it: what was written, what was said, and how it ended."""

    def __init__(self, recipe: Recipe, spoil_images=None, spoil_model=None):
        recipe = launch.resolve_defaults(recipe)
        images = launch.load_images(recipe)
        self.images = spoil_images(images) if spoil_images else images
        self.parts = launch.build(recipe, self.images)
        self.setup = Setup.of(recipe.to_dict(), classes=len(self.parts.feed.images.classes))
        self.records, self.said = [], []
        if spoil_model:
            spoil_model(self.parts.state.model)

    def watch(self):
        state, feed = self.parts.state, self.parts.feed
        say, write, past = self.said.append, self.records.append, list(self.records)
        return symptoms.watch_collapse(
            state, feed, self.images.part("val"), self.setup, write=write, say=say, past=past
        )

    def run(self) -> "Watched":
        fit(trial.loop(self.parts), [self.watch()])
        return self

    @property
    def found(self) -> list[str]:
        return [name for record in self.records for name in record["findings"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY_RUNS)
def test_a_healthy_training_hears_nothing(name):
    watched = Watched(HEALTHY_RUNS[name]).run()
    assert watched.said == []
    assert len(watched.records) >= 3
    assert watched.records[-1]["auc"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN_RUNS)
def test_a_broken_training_hears_its_cause_once(name):
    watched = Watched(*BROKEN_RUNS[name]).run()
    assert watched.found == [name]
    assert len(watched.said) == 1


@pytest.mark.slow
@pytest.mark.parametrize("network", ["convnet", "lenet", "small_resnet"])
def test_a_learning_rate_a_hundred_times_too_high_is_named_in_every_network(network):
    recipe = BASE.replace(network=network, size=16, loss="triplet(pick='hard')", lr=0.1, max_per_class=60, epochs=12)
    assert Watched(recipe).run().found == ["lr-too-high"]


QUICK = BASE.replace(epochs=3, max_per_class=60, sampler="pk(classes=10, images=6)")


@pytest.fixture
def often(monkeypatch):
    """A look after every epoch, however short."""
    monkeypatch.setattr(symptoms, "TRAINED_ON", 1)


@pytest.mark.usefixtures("often")
def test_looking_changes_nothing_in_the_training():
    ends = []
    for watching in (False, True):
        watched = Watched(QUICK.replace(network="mlp(widths=(9, 9), dropout=0.2)", loss="triplet(pick='random-hard')"))
        fit(trial.loop(watched.parts), [watched.watch()] if watching else [])
        ends.append([*watched.parts.state.model.state_dict().values(), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.usefixtures("often")
def test_a_record_is_json_and_comes_back_as_the_look_it_was():
    watched = Watched(QUICK).run()
    assert [record["kind"] for record in watched.records] == ["health"] * 4
    assert [round(record["epoch"], 1) for record in watched.records] == [0.1, 1.1, 2.1, 3.0]
    for record in watched.records:
        assert set(dataclasses.asdict(Observation.of(json.loads(json.dumps(record, allow_nan=False))))) < set(record)


@pytest.mark.usefixtures("often")
def test_resuming_sees_and_says_what_not_stopping_would(tmp_path):
    broken = QUICK.replace(loss="triplet(pick='hard')", lr=0.3, epochs=5, schedule="constant")
    whole = Watched(broken).run()
    assert whole.found == ["lr-too-high"]

    for stop in (1, 15, 40):
        first = Watched(broken)
        going, callback = trial.loop(first.parts), first.watch()
        for _ in range(stop):
            callback(next(going))
        save_checkpoint(tmp_path / "last.safetensors", first.parts.state)
        rest = Watched(broken)
        load_checkpoint(tmp_path / "last.safetensors", rest.parts.state)
        rest.records, rest.said = json.loads(json.dumps(first.records)), first.said
        rest.run()
        assert rest.records == whole.records
        assert rest.said == whole.said


def test_looking_is_a_small_part_of_the_work():
    watched = Watched(QUICK.replace(epochs=30))
    looked_at = 0
    features = watched.parts.state.model.features

    def counted(images):
        nonlocal looked_at
        looked_at += 0 if torch.is_grad_enabled() else len(images)
        return features(images)

    watched.parts.state.model.features = counted
    watched.run()
    assert 0 < looked_at <= watched.parts.state.seen / 40 + 2 * 128  # the first look and the last are extra


# A run that has ended


def run_of(tmp_path: Path, recipe: Recipe, records: list[dict], vectors: torch.Tensor | None = None) -> Run:
    run = Run(tmp_path / "r")
    run.write("recipe.toml", launch.resolve_defaults(recipe).to_toml())
    for record in records:
        run.append(record)
    if vectors is not None:
        n = len(vectors)
        split = (torch.arange(n) % 20 > 9).to(torch.uint8)
        ids, classes = tuple(map(str, range(n))), tuple("0123456789")
        Embeddings(vectors, torch.arange(n) % 10, ids, split, classes).save(run.embeddings)
    return run


def trained(**seen) -> dict:
    return {"kind": "train", "step": 90, "epoch": 3.0, "seconds": 1.0, "lr": 1e-3, "empty": 0, "active": 1.0, **seen}


def test_a_run_is_explained_from_its_records(tmp_path):
    records = [{"kind": "health", **dataclasses.asdict(observation), "findings": {}} for observation in course(**POINT)]
    findings, observations = checkup.examine(run_of(tmp_path, HARD, [trained(loss=0.2), *records]))
    assert [finding.name for finding in findings] == ["hard-pairs"]
    assert observations == course(**POINT)


def test_a_run_that_was_not_watched_is_explained_from_its_embeddings(tmp_path):
    same_ND = torch.ones(200, 8) + 1e-4 * torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    run = run_of(tmp_path, HARD.replace(lr=0.1), [trained(loss=0.2)], same_ND)
    run.write("metrics.json", json.dumps({"scores": {}, "loss_at_collapse": 0.2}))
    findings, (observation,) = checkup.examine(run)
    assert [finding.name for finding in findings] == ["lr-too-high"]
    assert (observation.loss, observation.loss_at_collapse, observation.active, observation.epoch) == (
        0.2,
        0.2,
        1.0,
        3.0,
    )
    assert observation.spread < 1e-6


def test_a_healthy_run_that_was_not_watched(tmp_path):
    apart_ND = torch.eye(10)[torch.arange(200) % 10]
    findings, (observation,) = checkup.examine(run_of(tmp_path, HARD, [trained(loss=0.0)], apart_ND))
    assert findings == []
    assert (observation.auc, observation.val_auc) == (1.0, 1.0)
    assert observation.spread == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(("test", "names"), [(0.163, ["validation-above-test"]), (0.79, [])])
def test_validation_far_above_the_test_is_named(tmp_path, test, names):
    def score(value: float) -> dict:
        return {"knn@1": {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 100}}

    run = run_of(tmp_path, HARD, [trained(loss=0.0)], torch.eye(10)[torch.arange(200) % 10])
    run.write("metrics.json", json.dumps({"split": "test", "scores": score(test), "val": score(0.825)}))
    findings, _ = checkup.examine(run)
    assert [finding.name for finding in findings] == names
    if names:
        assert "0.8250 is far above the test's 0.1630" in str(findings[0])
        assert "by_scene(val=0.1)" in findings[0].change


def test_a_run_with_nothing_to_see(tmp_path):
    with pytest.raises(ValueError, match="has no embeddings and no health records; run `likewise evaluate"):
        checkup.examine(run_of(tmp_path, HARD, [trained(loss=0.2)]))


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(tmp_path, monkeypatch, capsys, as_json):
    from likewise.cli import main

    records = [{"kind": "health", **dataclasses.asdict(observation)} for observation in course(**POINT)]
    run = run_of(tmp_path, HARD.replace(lr=0.1), records)
    monkeypatch.setattr(sys, "argv", ["likewise", "doctor", str(run.path), *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr().out
    if as_json:
        held = json.loads(said)
        assert [finding["name"] for finding in held["findings"]] == ["lr-too-high"]
        assert [observation["epoch"] for observation in held["observations"]] == [0.1, 1, 2, 3]
    else:
        assert said.startswith(
            "lr-too-high: the loss is 0.2000 = the margin after epoch 3: all images are embedded at one point;"
        )
        shown = ["3", "0.2000", "0.2000", "0.0000", "8.0", "0%", "30%", "0.800", "0.700"]
        *_, last, _, page = said.splitlines()
        assert last.split() == shown
        assert page == str(run.path / "doctor.html")


def test_every_loss_can_be_asked_what_it_compares():
    """Setup reads a loss by its name alone; every listed one must be readable."""
    compares = set()
    for name in spec.names("loss"):
        inner = {"sum": "sum(losses=['supcon', 'softmax'])", "matryoshka": "matryoshka(loss='supcon', dims=[2])"}
        setup = Setup(inner.get(name, name))
        assert diagnose(course(), setup) == []
        compares |= {name} if setup.compares_batch else set()
    alone = {"learned_margin", "barlow", "vicreg", "vae", "sum", *spread.__all__, *distill.__all__}
    assert set(spec.names("loss")) - compares == {*proxies.__all__, *alone}
    assert not Setup("supcon", memory=8).compares_batch
    assert Setup("sum(losses=['supcon', 'koleo'], weights=[1, 0.1])").compares_batch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"sampler": "pk(classes=6, images=5)"}, 6 * [5]),  # ln(1 + 25) for ntxent: no 8 x 4, ln(1 + 28)
        ({"sampler": "pk(classes=3, images=2)", "doctor": False}, 3 * [2]),
        ({"sampler": "pk(classes=10, images=12)", "loss": "arcface"}, None),  # its proxies are trained meanwhile
        ({"loss": "vae", "network": "mlp"}, None),  # defines none
    ],
)
def test_report_and_doctor_show_the_loss_at_collapse_of_the_batch_that_was_drawn(tmp_path, fields, labels):
    recipe = Recipe(**{"data": "digits", "size": 16, "epochs": 1, "loss": "ntxent(temperature=1.0)", **fields})
    run, _ = launch.train(recipe, out=tmp_path, name="r")
    came = run.metrics()["loss_at_collapse"]
    if labels:
        assert came == pytest.approx(math.log(1 + sum(labels) - labels[0]), rel=1e-6)
    records = [record for record in run.records() if record["kind"] == "health"]
    assert bool(records) == recipe.doctor
    assert {record["loss_at_collapse"] for record in records} <= {came}
    assert (came is None) == (recipe.loss == "vae")
