"""Embeddings on disk and from a model, and every score of `evaluate` against another way to the same number."""

import importlib
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from likewise import geometry
from likewise.cli import screen
from likewise.data.images import Images
from likewise.evaluate import (
    DivergedError,
    Embeddings,
    difference,
    draw_pairs,
    embed,
    evaluate,
    health,
    measure,
    pick_calibration,
    pick_threshold,
    queries_without_positives,
    retrieve,
    too_few,
)
from likewise.evaluate.resampling import units
from likewise.evaluate.significance import Comparable, apart, over_seeds
from likewise.evaluate.verification import CURVED, Resampled, folded, pairs_apart, resampled, verify
from likewise.metrics import calibration, clustering, intervals, retrieval, verification
from likewise.metrics import health as of_health
from likewise.metrics.retrieval import Set
from likewise.metrics.sampled_pairs import Pairs, draw_folds, even, similarities
from likewise.models import Embedder, inputs
from likewise.models.inputs import at_once
from likewise.viz.pages import score_texts as words

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

CLOSED = [
    "knn@1", "knn@5", "knn_weighted@20", "recall@1", "recall@10", "precision@10", "r_precision", "map@r", "silhouette",
    "nmi", "ami", "ari", "purity", "centroid", "probe", "few_shot@20w1s", "few_shot@20w5s", "few_shot@5w1s",
    "few_shot@5w5s", "dir@far=0.1", "dir@far=0.01", "oscr", "pair_auc", "eer", "tar@far=0.1",
    "tar@far=0.01", "tar@far=0.001",
    "pair_accuracy", "pair_precision", "pair_recall", "pair_f1", "brier", "ece",
]  # fmt: skip
OF_VALIDATION = CLOSED[-6:]


def made(n: int, classes: int, *, seed: int = 0, noise: float = 0.9, dim: int = 8, part: int = 2) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    vectors = centres[labels] + noise * torch.randn(n, dim, generator=generator)
    ids = tuple(f"{part}/{i}" for i in range(n))
    return Embeddings(vectors, labels, ids, torch.full((n,), part).byte(), tuple(f"c{i}" for i in range(classes)))


@pytest.fixture(scope="module")
def parts() -> tuple[Embeddings, Embeddings, Embeddings]:
    """Test, train and validation, of 20 classes."""
    return made(260, 20), made(400, 20, seed=1, part=0), made(260, 20, seed=2, part=1)


@pytest.fixture(scope="module")
def scores(parts):
    query, reference, val = parts
    return evaluate(query, reference, val=val)


@pytest.mark.parametrize("name", [*CLOSED, "silhouette_simplified", "tar@far=0.0001"])
def test_every_score_is_said_in_words(name: str):
    """In the report and on the terminal."""
    told = words.sentence(name, {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9})
    assert told is not None
    assert screen.in_words(name)


def test_names_and_bounds(scores):
    assert list(scores) == CLOSED
    for name, score in scores.items():
        assert all(math.isfinite(x) for x in (score.value, score.low, score.high)), name
        assert score.low <= score.value <= score.high, name
        assert score.n > 0, name


def test_the_same_seed_gives_the_same_scores(parts, scores):
    query, reference, val = parts
    assert evaluate(query, reference, val=val) == scores
    other = evaluate(query, reference, val=val, seed=1)
    assert other["knn@1"].value == scores["knn@1"].value
    assert other["eer"].low != scores["eer"].low


def test_knn_equals_scikit_learns(parts, scores):
    from sklearn.neighbors import KNeighborsClassifier

    query, reference, _ = parts
    theirs = KNeighborsClassifier(1, metric="cosine").fit(reference.vectors.numpy(), reference.labels.numpy())
    assert scores["knn@1"].value == pytest.approx(theirs.score(query.vectors.numpy(), query.labels.numpy()))


def test_silhouette_and_probe_equal_scikit_learns_on_unit_vectors(parts, scores):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import silhouette_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    query, reference, _ = parts
    x, y = (nn.functional.normalize(part.vectors, dim=1).numpy() for part in (query, reference))
    assert scores["silhouette"].value == pytest.approx(silhouette_score(x, query.labels.numpy()), abs=1e-6)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(y, reference.labels.numpy())
    assert scores["probe"].value == pytest.approx(model.score(x, query.labels.numpy()))


def test_pair_scores_equal_scikit_learns(parts, scores):
    from sklearn.metrics import (
        accuracy_score,
        brier_score_loss,
        f1_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    query, _, val = parts
    pairs, fit = draw_pairs(query.labels), pick_calibration(val)
    score = similarities(query.vectors, pairs)
    assert scores["pair_auc"].value == pytest.approx(roc_auc_score(pairs.same, score), abs=1e-9)
    assert scores["pair_auc"].n == len(pairs.same)
    at_E = even(pairs.same)
    same, score, at = pairs.same[at_E], score[at_E], chosen_at(val)
    accept = score.double() >= at
    for name, theirs in (
        ("pair_accuracy", accuracy_score(same, accept)),
        ("pair_precision", precision_score(same, accept)),
        ("pair_recall", recall_score(same, accept)),
        ("pair_f1", f1_score(same, accept)),
        ("brier", brier_score_loss(same, fit(score))),
        ("ece", calibration.ece(fit(score), same)),
    ):
        assert scores[name].value == pytest.approx(theirs, abs=1e-9), name
        assert scores[name].n == len(at_E) == 2 * int(pairs.same.sum())


def chosen_at(val: Embeddings) -> float:
    """The threshold of the best accuracy, over all pairs."""
    pairs = draw_pairs(val.labels)
    return float(verification.threshold(verification.roc(similarities(val.vectors, pairs), pairs.same)))


def test_the_threshold_is_given_or_chosen_on_validation_or_there_is_none(parts):
    query, reference, val = parts
    chosen = pick_threshold(val)
    assert chosen.low <= chosen.value <= chosen.high
    assert evaluate(query, threshold=chosen_at(val))["pair_accuracy"] == evaluate(query, val=val)["pair_accuracy"]
    assert "pair_accuracy" not in evaluate(query, reference)
    assert evaluate(query, threshold=-2.0)["pair_accuracy"].value == 0.5
    strict = pick_threshold(val, target="far=0.01")
    pairs = draw_pairs(val.labels)
    found = verification.decide(similarities(val.vectors, pairs), pairs.same, strict.value)
    assert found.far <= 0.01
    assert pick_threshold(val, target="far=0.01", pairs=pairs) == strict
    assert strict.value > chosen.value
    assert pick_threshold(val, open_set=True).value == chosen.value


def test_open_set_draws_classes_and_leaves_out_what_needs_training_classes(parts):
    query, reference, _ = parts
    scores = evaluate(query)
    assert [name for name in CLOSED if name not in scores] == ["centroid", "probe", *OF_VALIDATION]
    assert scores["knn@1"].value == scores["recall@1"].value
    closed = evaluate(query, reference)
    assert scores["map@r"].value == closed["map@r"].value
    assert scores["map@r"].low != closed["map@r"].low


def test_few_shot_is_the_mean_of_its_trials(parts, scores):
    from likewise.metrics import few_shot

    query = parts[0]
    for ways, shots in ((20, 1), (20, 5), (5, 1), (5, 5)):
        trials = few_shot.right(query.vectors, few_shot.draw(query.labels, ways=ways, shots=shots))
        assert scores[f"few_shot@{ways}w{shots}s"].value == pytest.approx(float(trials.double().mean()))


def test_few_shot_tasks_are_those_that_the_classes_suffice_for():
    """Of 12 classes with 5 images, one has 6: five further ones to name are not there."""
    held = [name for name in evaluate(made(61, 12)) if name.startswith("few_shot")]
    assert held == ["few_shot@5w1s"]


def test_the_weighted_vote_and_the_centroid_are_those_of_the_loops(parts, scores):
    query, reference, _ = parts
    x, y = (nn.functional.normalize(part.vectors, dim=1) for part in (query, reference))
    weight_QM = ((x @ y.T) / 0.07).double().exp()
    kept = weight_QM >= weight_QM.topk(20).values[:, -1:]
    votes = (weight_QM * kept) @ nn.functional.one_hot(reference.labels).double()
    expected = float((votes.argmax(1) == query.labels).double().mean())
    assert scores["knn_weighted@20"].value == pytest.approx(expected)
    middle = torch.stack([y[reference.labels == label].mean(0) for label in range(20)])
    nearest = nn.functional.normalize(middle, dim=1) @ x.T
    assert scores["centroid"].value == pytest.approx(float((nearest.argmax(0) == query.labels).double().mean()))


def test_agreement_with_k_means_equals_scikit_learns(parts, scores):
    from sklearn import metrics as theirs

    from likewise.metrics.clustering import kmeans

    labels = parts[0].labels
    clusters = kmeans(nn.functional.normalize(parts[0].vectors, dim=1), 20)
    assert scores["nmi"].value == pytest.approx(theirs.normalized_mutual_info_score(labels, clusters))
    assert scores["ami"].value == pytest.approx(theirs.adjusted_mutual_info_score(labels, clusters))
    assert scores["ari"].value == pytest.approx(theirs.adjusted_rand_score(labels, clusters))
    commonest = theirs.cluster.contingency_matrix(labels, clusters).max(0).sum()
    assert scores["purity"].value == pytest.approx(commonest / len(labels))


def test_quick_is_a_part_of_the_whole(parts, scores):
    query, reference, val = parts
    quick = evaluate(query, reference, val=val, quick=True)
    assert list(quick) == ["knn@1", "knn@5", "recall@1", "r_precision", "map@r"]
    assert all(quick[name].value == scores[name].value for name in quick)


@pytest.mark.parametrize("sim", ["cosine", "euclidean", "sqeuclidean", "manhattan", "dot"])
def test_every_geometry_and_both_ways_to_name_it(parts, sim: str):
    query, reference, val = parts
    named = evaluate(query, reference, sim=sim, val=val)
    assert list(named) == CLOSED
    assert evaluate(query, reference, sim=getattr(geometry, sim), val=val) == named


def test_an_unknown_similarity_is_one_sentence(parts):
    with pytest.raises(ValueError, match="did you mean cosine"):
        evaluate(parts[0], sim="cosin")


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("closed", [False, True])
def test_tiny_sets_have_what_they_can_tell_and_no_nan(n: int, classes: int, closed: bool):
    query, reference = made(n, classes), made(2 * classes, classes, seed=1)
    scores = evaluate(query, reference if closed else None, val=made(6, 2, seed=2))
    for name, score in scores.items():
        assert all(math.isfinite(x) for x in (score.value, score.low, score.high)), name
        assert score.low <= score.high, name
    assert ("knn@1" in scores) == (closed or n > classes)
    assert ("knn@5" in scores) == ((closed and classes == 3) or (not closed and n == 7))
    assert ("recall@1" in scores) == (n > classes)
    assert ("centroid" in scores) == (closed and classes > 1)
    assert ("silhouette" in scores) == (n > classes > 1)
    assert ("probe" in scores) == (closed and classes > 1)
    assert ("pair_auc" in scores) == (n > classes > 1)


def test_a_class_with_one_picture_is_left_out_and_counted():
    whole = made(40, 4)
    labels = whole.labels.clone()
    labels[3] = 9
    query = Embeddings(whole.vectors, labels, whole.ids, whole.split, tuple("abcdefghij"))
    scores = evaluate(query)
    assert (scores["recall@1"].n, scores["knn@1"].n, scores["silhouette"].n) == (39, 39, 40)
    assert evaluate(query, made(40, 4, seed=1))["knn@1"].n == 39  # a class that the reference part does not have


def test_pairs_all_judged_right_have_the_doubt_that_few_pictures_leave():
    """Five images: a curve read in floating point is 1 but for rounding, and no bootstrap of it sees a doubt."""
    query = made(6, 3, noise=1e-3)
    scores = evaluate(query, threshold=0.99)
    for name in ("pair_auc", "pair_accuracy", "pair_precision", "pair_recall", "pair_f1"):
        assert scores[name].value == pytest.approx(1)
        assert scores[name].low == pytest.approx(0.025 ** (1 / 6))
    assert (scores["eer"].value, scores["eer"].high) == pytest.approx((0, 1 - 0.025 ** (1 / 6)))


def test_precision_is_left_out_where_nothing_is_accepted(parts):
    scores = evaluate(parts[0], threshold=2.0)
    assert "pair_precision" not in scores
    assert (scores["pair_accuracy"].value, scores["pair_recall"].value, scores["pair_f1"].value) == (0.5, 0, 0)


def test_any_retrieval_metric_with_its_interval(parts):
    query, reference, _ = parts
    names = ["mrr", "ndcg@10", "map", "cmc@3", "found@5", "precision@1"]
    scores, n = retrieve(query, None, names)
    by_query = retrieval.measure(names, Set(query.vectors, query.labels)).values
    assert n == 0
    for name in names:
        assert scores[name].value == pytest.approx(float(by_query[name].mean()))
        assert scores[name].low < scores[name].value < scores[name].high
    for open_set, score in ((False, evaluate(query, reference)["recall@1"]), (True, evaluate(query)["recall@1"])):
        found = retrieve(query, None, ["recall@1"], open_set=open_set)[0]["recall@1"]
        assert list(vars(found).values()) == pytest.approx(list(vars(score).values()))
    apart = retrieve(query, reference, ["recall@1"])[0]["recall@1"]
    assert apart.value == evaluate(query, reference)["knn@1"].value
    assert retrieve(query, reference.take([0, 1, 2]), ["recall@1"])[1] == 260 - 39


@pytest.mark.parametrize(
    ("gallery", "names", "across", "sentence"),
    [
        (None, ["recal@1"], False, "no retrieval metric is named 'recal@1'"),
        (None, ["recall@4"], False, "k is 4, but each query has 3 references to rank: choose k from 1 to 3"),
        (made(9, 3).take([]), ["mrr"], False, "the part to search holds no images"),
        (made(9, 3).take([2]), ["mrr"], False, "none of the 4 queries has an image of its class to find in the gall"),
        (None, ["mrr"], True, "across_groups needs the group"),
        (made(9, 3, noise=math.nan), ["mrr"], False, "hold NaN"),
    ],
)
def test_a_ranking_that_cannot_be_is_one_sentence(gallery, names, across, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        retrieve(made(4, 2), gallery, names, across_groups=across)


def test_queries_with_nothing_to_find_are_counted():
    whole = made(40, 4)
    labels = whole.labels.clone()
    labels[3], labels[5] = 9, 8
    query = Embeddings(whole.vectors, labels, whole.ids, whole.split, tuple("abcdefghij"))
    assert queries_without_positives(query) == {"retrieval": 2}
    assert queries_without_positives(query, made(40, 4, seed=1)) == {"retrieval": 2, "unseen": 2}
    assert queries_without_positives(whole, whole.take(range(3))) == {"unseen": 10}
    assert queries_without_positives(whole) == {}


def test_health_is_what_the_metrics_say(parts):
    query = parts[0]
    found = health(query)
    unit = nn.functional.normalize(query.vectors, dim=1)
    assert found["effective_rank"] == of_health.effective_rank(query.vectors - query.vectors.mean(0))
    assert (found["dimensions"], found["norm_max"]) == (8, pytest.approx(float(query.vectors.norm(dim=1).max())))
    assert found["alignment"] == of_health.alignment(query.vectors, query.labels)
    assert found["uniformity"] == of_health.uniformity(query.vectors)
    sim = unit @ unit.T - 2 * torch.eye(len(unit))
    counted = sim.topk(10).indices.flatten().bincount(minlength=len(unit))
    assert found["hubness"] == pytest.approx(of_health.hubness(counted))
    assert found["orphans"] == float((counted == 0).double().mean())
    assert found["davies_bouldin"] == clustering.davies_bouldin(unit, query.labels)
    assert found["calinski_harabasz"] == clustering.calinski_harabasz(unit, query.labels)
    spread = of_health.spread(unit, query.labels)
    assert found["overlapping"] == float((spread.within > spread.between).double().mean())


@pytest.mark.parametrize("sim", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("classes", [1, 2, 40])
def test_health_of_any_set_is_numbers(n: int, classes: int, sim: str):
    for part in (made(n, classes), replace(made(n, classes), vectors=torch.ones(n, 8))):
        found = health(part, sim=sim)
        assert all(math.isfinite(value) for value in found.values())
        assert ("davies_bouldin" in found) == (1 < min(classes, n) < n)
        assert ("hubness" in found) == (n == 40)
    with pytest.raises(ValueError, match="hold NaN"):
        health(made(n, classes, noise=math.nan))


def test_collapsed_vectors_score_as_chance_does():
    query = made(200, 2)
    flat = Embeddings(torch.ones(200, 4), query.labels, query.ids, query.split, query.classes)
    scores = evaluate(flat, val=flat)
    assert (scores["pair_auc"].value, scores["eer"].value, scores["silhouette"].value) == (0.5, 0.5, 0)
    assert scores["pair_accuracy"].value == 0.5
    assert scores["ami"].value == pytest.approx(0, abs=1e-9)


def test_large_numbers_of_classes_keep_their_identity():
    query = made(60, 6)
    far = Embeddings(query.vectors, query.labels + 2**24, query.ids, query.split, query.classes)
    assert evaluate(far) == evaluate(query)


def test_across_groups_a_query_does_not_find_its_own_group():
    """Two cameras, each with its own cast of light: within a camera images are alike, across them classes are not."""
    generator = torch.Generator().manual_seed(0)
    labels, camera = torch.arange(80) % 10, torch.arange(80) // 10 % 2
    vectors = 5 * nn.functional.one_hot(camera * 10 + labels) + torch.randn(80, 20, generator=generator) / 9
    groups = tuple("AB"[c] for c in camera.tolist())
    ids = tuple(map(str, range(80)))
    query = Embeddings(vectors, labels, ids, torch.full((80,), 2).byte(), tuple("abcdefghij"), groups)
    assert evaluate(query)["recall@1"].value == 1
    across = evaluate(query, across_groups=True)
    assert across["recall@1"].value == across["knn@1"].value < 0.5
    train = query.take(range(40, 80))
    assert evaluate(query.take(range(40)), train)["knn@1"].value == 1
    assert evaluate(query.take(range(40)), train, across_groups=True)["knn@1"].value < 0.5
    with pytest.raises(ValueError, match="across_groups needs the group"):
        evaluate(made(10, 2), across_groups=True)


def test_pairs_may_be_given(parts):
    query = parts[0]
    given = Pairs(torch.arange(100), torch.arange(20, 120), torch.arange(100) % 2 == 0)
    scores = evaluate(query, pairs=given, threshold=0.5)
    assert (scores["pair_auc"].n, "tar@far=0.1" in scores) == (100, False)
    assert scores["pair_auc"].value == pytest.approx(
        float(verification.auc(verification.roc(similarities(query.vectors, given), given.same)))
    )


def test_rates_that_the_pairs_cannot_tell_are_left_out_and_say_why(parts):
    """260 images of 20 classes: 61,560 pairs of two."""
    query = parts[0]
    left_out = too_few(draw_pairs(query.labels).same)
    assert list(left_out) == ["tar@far=0.0001"]
    assert "of 32,110 pairs of two classes 3.2 would be accepted falsely" in left_out["tar@far=0.0001"]
    assert not set(left_out) & set(evaluate(query))
    assert list(too_few(torch.arange(299) < 0)) == [f"tar@far={rate}" for rate in ("0.1", "0.01", "0.001", "0.0001")]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("far=0.0001", "these validation pairs tell far=0.001 or more"),
        ("precision=1", "no threshold reaches precision=1|too few pairs to say"),
        ("precision=0.9999", "too few pairs to say|the best has"),
        ("recall=0.9", "choose accuracy, f1, eer, a rate such as far=0.001, or precision=0.99"),
    ],
)
def test_a_threshold_out_of_reach_is_one_sentence(parts, target: str, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        pick_threshold(parts[2], target=target)


@pytest.mark.parametrize("target", ["accuracy", "f1", "eer", "far=0.1", "precision=0.9"])
def test_a_threshold_lies_in_its_interval_and_keeps_its_target(parts, target: str):
    chosen = pick_threshold(parts[2], target=target, open_set=True)
    assert chosen.low <= chosen.value <= chosen.high
    assert chosen.target == target


def test_pairs_of_few_classes_are_drawn_by_picture():
    assert units(torch.tensor([3, 3, 7, 7]), classes=True).tolist() == [0, 1, 2, 3]
    assert units(torch.arange(10) // 2 + 5, classes=True).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert units(torch.arange(10) // 2, classes=False).tolist() == list(range(10))


def test_intervals_of_new_classes_are_those_of_drawn_classes(parts):
    """A class drawn twice has each of its pairs twice, a pair of two classes as often as both; worked with loops."""
    query = parts[0].take(range(60))
    pairs = draw_pairs(query.labels)
    score_T = similarities(query.vectors, pairs)
    seen = []
    for counts in intervals.draws(20, resamples=400, seed=3):
        for count in counts.tolist():
            a, b = (query.labels[side].tolist() for side in pairs[:2])
            weight = torch.tensor([count[i] if i == j else count[i] * count[j] for i, j in zip(a, b, strict=True)])
            seen.append(float(verification.eer(verification.roc(score_T, pairs.same, weight))))
    found = resampled(pairs, score_T, query.labels, curves=CURVED, seed=3)["eer"]
    assert found.seen.tolist() == pytest.approx(seen, abs=1e-9)
    score = verify(pairs, score_T, query.labels, seed=3)["eer"]
    low, high = intervals.ends(found.variable, 20)
    assert (score.low, score.high) == pytest.approx((low, high), abs=1e-9)


def test_folds_give_the_mean_and_its_standard_error(parts):
    from scipy import stats

    query = parts[0]
    pairs, fold_T = draw_folds(query.labels, 50, folds=5)
    score_T = similarities(query.vectors, pairs)
    found = folded(pairs, score_T, fold_T)
    accuracy = verification.fold_accuracy(score_T, pairs.same, fold_T).numpy()
    assert found.accuracy == pytest.approx(accuracy.tolist())
    assert found.error == pytest.approx(stats.sem(accuracy))
    reach = stats.t.interval(0.95, 4, accuracy.mean(), stats.sem(accuracy))
    assert (found.score.low, found.score.high) == pytest.approx(reach)
    with pytest.raises(ValueError, match="2 folds are needed; there is 1"):
        folded(pairs, score_T, torch.zeros_like(fold_T))


@pytest.mark.parametrize(
    ("query", "reference", "sentence"),
    [
        (made(0, 2), None, "the part to evaluate holds no images"),
        (made(4, 2, noise=math.nan), None, "4 of 4 query vectors hold NaN or infinity: the training has diverged"),
        (made(4, 2), made(6, 2, noise=math.inf), "6 of 6 reference vectors hold NaN"),
        (made(4, 2), made(6, 2, dim=5), "queries are 8-d and references 5-d"),
        (made(4, 1), made(6, 3).take([1, 2, 4, 5]), "no class of the queries is in the reference part"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(query, reference, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        evaluate(query, reference)


def test_folds_are_judged_on_as_many_pairs_of_either_kind():
    """Scores that say nothing: on nine different pairs to one same, refusing all would be right for 90 %."""
    same = torch.arange(2000) % 10 == 0
    place = torch.arange(2000)
    score_T = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    found = folded(Pairs(place, place, same), score_T, torch.arange(2000) // 200)
    assert found.score.n == 400
    assert 0.4 < found.score.value < 0.6


def test_a_better_run_is_better_and_a_run_equals_itself(parts):
    query, reference, _ = parts
    worse = made(260, 20, noise=1.4)
    found = difference(measure(query, reference), measure(worse, reference))
    assert found["map@r"].low > 0
    assert found["map@r"].p < 0.001
    assert found["map@r"].difference == pytest.approx(
        evaluate(query, reference)["map@r"].value - evaluate(worse, reference)["map@r"].value
    )
    same = difference(measure(query, reference), measure(query, reference))
    assert all((x.difference, x.p) == (0, 1) for x in same.values())
    with pytest.raises(ValueError, match="different queries"):
        difference(measure(query), measure(query.take(range(259))))


def test_a_large_set_gets_the_simplified_silhouette_by_its_name(parts, monkeypatch: pytest.MonkeyPatch):
    module = importlib.import_module("likewise.evaluate.measure")
    monkeypatch.setattr(module, "EXACT", 100)
    monkeypatch.setattr(module, "KMEANS_WORK", 100)
    scores = evaluate(parts[0])
    assert "silhouette_simplified" in scores
    assert not {"silhouette", "nmi", "ami"} & set(scores)


@pytest.mark.parametrize(("n", "starts"), [(10_000, 8), (10_001, 3), (100_000, 3), (100_001, 0)])
def test_kmeans_starts_less_often_where_it_takes_long_and_then_not_at_all(n, starts, monkeypatch: pytest.MonkeyPatch):
    """Of 200 classes; images times classes decide, 2e6 and 2e7."""
    module, seeds = importlib.import_module("likewise.evaluate.measure"), []
    monkeypatch.setattr(clustering, "kmeans", lambda x, k, seed: seeds.append(seed) or seed)
    one = torch.ones(1)
    monkeypatch.setattr(module, "_agreement", lambda labels, found: {"nmi": intervals.Ratio(one * found, one)})
    ratios = module._clusters(torch.zeros(n, 1), torch.arange(n) % 200, 5)
    assert seeds == list(range(5, 5 + starts))
    expected = {"nmi": torch.arange(starts).float().std().item()} if starts else {}
    assert {name: ratio.spread for name, ratio in ratios.items()} == pytest.approx(expected)


@pytest.mark.parametrize(("n", "name"), [(20_000, "silhouette"), (20_001, "silhouette_simplified")])
def test_up_to_how_many_images_the_silhouette_is_exact(n, name, monkeypatch: pytest.MonkeyPatch):
    module = importlib.import_module("likewise.evaluate.measure")
    for which in ("silhouette", "simplified_silhouette"):
        monkeypatch.setattr(clustering, which, lambda x, labels: torch.zeros(len(labels)))
    assert list(module._silhouette(torch.zeros(n, 1), torch.arange(n) % 2, True)) == [name]


@pytest.mark.parametrize(
    ("classes", "names"), [(1, []), (2, ["centroid", "probe"]), (200, ["centroid", "probe"]), (201, ["centroid"])]
)
def test_up_to_how_many_classes_a_probe_is_fitted(classes, names, monkeypatch: pytest.MonkeyPatch):
    module = importlib.import_module("likewise.evaluate.measure")

    class Answer:
        def predict(self, x):
            return x[:, 0].astype(int)

    monkeypatch.setattr(module.classification, "probe", lambda x, labels, seed: Answer())
    labels = torch.arange(classes)
    at = torch.tensor([0] * 3)
    found = module._named(torch.zeros(3, 2), at, torch.eye(max(classes, 2))[:classes, :2], labels, geometry.cosine, 0)
    assert list(found) == names


@pytest.mark.parametrize("grouped", [False, True])
def test_saved_is_loaded(tmp_path: Path, grouped: bool):
    whole = made(20, 4)
    groups = tuple(f"camera {i % 3}" for i in range(20)) if grouped else None
    saved = Embeddings(
        whole.vectors, whole.labels, whole.ids, torch.arange(20).byte() % 3, (*whole.classes, "none"), groups
    )
    saved.save(tmp_path / "e.parquet")
    loaded = Embeddings.load(tmp_path / "e.parquet")
    assert torch.equal(loaded.vectors, saved.vectors)
    assert torch.equal(loaded.labels, saved.labels)
    assert torch.equal(loaded.split, saved.split)
    assert (loaded.labels.dtype, loaded.split.dtype) == (torch.int64, torch.uint8)
    assert (loaded.ids, loaded.classes, loaded.groups) == (saved.ids, saved.classes, saved.groups)
    assert loaded.part("val").ids == saved.ids[1::3]
    assert os.listdir(tmp_path) == ["e.parquet"]


def test_the_file_is_plain_parquet(tmp_path: Path):
    import pyarrow.parquet as pq

    made(3, 2).save(tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.schema.types[-1].list_size == 8
    assert table.select(["id", "label", "class", "split"]).to_pylist()[1] == {
        "id": "2/1", "label": 1, "class": "c1", "split": "test",
    }  # fmt: skip


def test_nothing_is_saved_and_loaded(tmp_path: Path):
    made(5, 2).take([]).save(tmp_path / "e.parquet")
    loaded = Embeddings.load(tmp_path / "e.parquet")
    assert (len(loaded), loaded.vectors.shape, loaded.classes) == (0, (0, 8), ("c0", "c1"))


def test_other_tools_files_are_read(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": ["a", "b"], "label": [0, 2], "vector": [[1.0, 2.0], [3.0, 4.0]]})
    pq.write_table(table, tmp_path / "e.parquet")
    loaded = Embeddings.load(tmp_path / "e.parquet")
    assert loaded.vectors.tolist() == [[1, 2], [3, 4]]
    assert (loaded.classes, loaded.split.tolist()) == (("0", "1", "2"), [2, 2])


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "e.parquet"
    with pytest.raises(ValueError, match="cannot read embeddings from"):
        Embeddings.load(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="cannot read embeddings from"):
        Embeddings.load(path)
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), path)
    with pytest.raises(ValueError, match="has no column 'label'; it has id, vector"):
        Embeddings.load(path)
    pq.write_table(pa.table({"id": ["a", "b"], "label": [0, 1], "vector": [[1.0], [1.0, 2.0]]}), path)
    with pytest.raises(ValueError, match="all of one length"):
        Embeddings.load(path)
    pq.write_table(pa.table({"id": ["a"], "label": [0], "vector": [[1.0]], "split": ["trian"]}), path)
    with pytest.raises(ValueError, match="no part named 'trian'; did you mean train"):
        Embeddings.load(path)


def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "e.parquet"
    made(5, 2).save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        made(9, 2).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["e.parquet"]


def pictures(n: int = 10) -> Images:
    pixels = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2)
    labels = torch.arange(n) % 2
    groups = tuple(f"g{i}" for i in range(n))
    return Images(pixels, labels, ("a", "b"), tuple(f"p{i}" for i in range(n)), torch.zeros(n).byte(), groups)


class Flat(nn.Module):
    """Images as rows, through a dropout that must be off."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.9)
        self.linear = nn.Linear(4, 4, bias=False)
        nn.init.eye_(self.linear.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.drop(x.flatten(1).float()))


@pytest.mark.parametrize("batch", [1, 3, 10, 512])
def test_embed_keeps_order_and_everything_known(batch: int):
    images = pictures()
    found = embed(Flat(), images, batch=batch)
    assert torch.equal(found.vectors, images.pixels.flatten(1).float())
    assert (found.ids, found.classes, found.groups) == (images.ids, images.classes, images.groups)
    assert torch.equal(found.labels, images.labels)
    assert not found.vectors.requires_grad
    found.vectors.add_(1)  # an ordinary tensor


@pytest.mark.parametrize(("side", "most"), [(28, 512), (224, 83), (2048, 1), (5000, 1)])
def test_large_pictures_pass_a_few_at_a_time(side, most):
    """512 photographs at 288 pixels in one go took the process to 17 GB."""
    assert at_once((3, side, side)) == most
    assert at_once((side,)) == 512, "rows of numbers"


def test_embed_and_the_embedder_pass_as_many_as_that(monkeypatch):
    monkeypatch.setattr(inputs, "PIXELS", 3 * 2 * 2)
    seen, model = [], Embedder("mlp(widths=(4,))", shape=(1, 2, 2), dim=2)
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    embed(model, pictures()), model.embed(pictures())
    assert seen == [3, 3, 3, 1] * 2


def test_embed_leaves_the_model_as_it_was():
    model = Flat()
    model.drop.eval()
    embed(model, pictures())
    assert (model.training, model.linear.training, model.drop.training) == (True, True, False)

    def fail(_):
        raise RuntimeError

    model.linear.forward = fail
    with pytest.raises(RuntimeError):
        embed(model, pictures())
    assert model.training


def test_interval_of_pairs_is_that_of_their_pictures():
    """Ten images in all: the bootstrap over images is far wider than one over their 45 pairs would be."""
    query = made(10, 2, noise=2.0)
    score = evaluate(query)["pair_auc"]
    pairs = draw_pairs(query.labels)
    sims = similarities(query.vectors, pairs)
    alone = [
        float(verification.auc(verification.roc(sims, pairs.same, count)))
        for part in intervals.draws(len(sims), resamples=300)
        for count in part
    ]
    low, high = intervals.percentiles(torch.tensor(alone))
    assert score.high - score.low > 1.2 * (high - low)


def drawn(query: Embeddings, seed: int = 0) -> dict[str, Resampled]:
    pairs = draw_pairs(query.labels)
    return resampled(pairs, similarities(query.vectors, pairs), query.labels, curves=CURVED, threshold=0.5, seed=seed)


def test_runs_are_compared_on_the_same_draws_of_pairs(parts):
    """The values of the resamples are those of the interval; the difference is surer than both intervals."""
    query = parts[0]
    near = replace(
        query, vectors=query.vectors + 0.25 * torch.randn(260, 8, generator=torch.Generator().manual_seed(5))
    )
    first, second = drawn(query)["eer"], drawn(near)["eer"]
    pairs = draw_pairs(query.labels)
    score = verify(pairs, similarities(query.vectors, pairs), query.labels)["eer"]
    assert (first.value, first.n) == (score.value, score.n)
    assert intervals.ends(first.variable, 20) == pytest.approx((score.low, score.high))
    found = pairs_apart(first, second)
    assert found.difference == pytest.approx(first.value - second.value)
    assert found.low <= found.difference <= found.high
    assert found.high - found.low < 0.7 * (score.high - score.low)
    apart = (first.seen - second.seen).tolist()
    assert found.p == pytest.approx(2 * (1 + min(sum(x <= 0 for x in apart), sum(x >= 0 for x in apart))) / 401)


def test_pairs_of_a_run_against_itself_and_of_a_much_worse_one(parts):
    query = parts[0]
    assert pairs_apart(drawn(query)["eer"], drawn(query)["eer"]).p == 1
    worse = pairs_apart(drawn(query)["pair_accuracy"], drawn(made(260, 20, noise=3.0))["pair_accuracy"])
    assert worse.p == pytest.approx(2 / 401)
    assert worse.low > 0


def test_seeds_are_averaged_query_by_query(parts):
    query, reference, _ = parts
    other = made(260, 20, noise=1.4)
    runs = [Comparable(measure(q, reference), drawn(q)) for q in (query, other)]
    both = over_seeds(runs)
    for name in ("knn@1", "map@r"):
        values = [float(run.queries.ratios[name].over.mean()) for run in runs]
        assert intervals.value(both.queries.ratios[name]) == pytest.approx(sum(values) / 2)
    assert both.pairs["eer"].value == pytest.approx((runs[0].pairs["eer"].value + runs[1].pairs["eer"].value) / 2)
    assert torch.allclose(both.pairs["eer"].seen, (runs[0].pairs["eer"].seen + runs[1].pairs["eer"].seen) / 2)
    assert apart("map@r", both, both).p == 1
    assert apart("map@r", *runs) == difference(runs[0].queries, runs[1].queries)["map@r"]
    assert "eer" in both
    assert "no" not in both


def broken(part: Embeddings, value: float) -> Embeddings:
    vectors = part.vectors.clone()
    vectors[7, 2] = value
    return replace(part, vectors=vectors)


TAKE_A_PART = {
    "threshold": pick_threshold,
    "threshold of a rate": partial(pick_threshold, target="far=0.01", open_set=True),
    "calibration": pick_calibration,
    "evaluate": evaluate,
    "reference": lambda part: evaluate(made(60, 6), part),
    "retrieve": lambda part: retrieve(part, None, ["map@r"]),
    "gallery": lambda part: retrieve(made(60, 6), part, ["map@r"]),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [*TAKE_A_PART, "val"])
def test_one_number_that_is_none_is_a_training_that_diverged(name, value):
    with pytest.raises(DivergedError, match=r"1 of 60 (query|reference) vectors hold NaN or infinity"):
        (TAKE_A_PART | {"val": lambda part: evaluate(made(60, 6), val=part)})[name](broken(made(60, 6), value))


@pytest.mark.parametrize("name", TAKE_A_PART)
def test_an_empty_part_is_named(name):
    with pytest.raises(ValueError, match=r"the part to (evaluate|search) holds no images"):
        TAKE_A_PART[name](made(60, 6).take([]))


def test_an_empty_validation_part_leaves_out_what_it_would_choose():
    assert set(CLOSED) - set(evaluate(made(60, 6), made(60, 6, part=0), val=made(60, 6).take([]))) >= set(OF_VALIDATION)
