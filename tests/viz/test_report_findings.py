"""What the report finds and how it says it: loops, hand-worked cases, sentences."""

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_samples

from likewise import geometry
from likewise.evaluate import Embeddings
from likewise.metrics import calibration
from likewise.metrics import sampled_pairs as pairs
from likewise.viz.pages import findings
from likewise.viz.pages import score_texts as words
from report_run import SCORES, clusters, digits, of_vectors, score

# Words


OF_PAIRS = ["pair_precision", "pair_recall", "pair_f1", "tar@far=0.0001"]


@pytest.mark.parametrize("name", [*SCORES, *OF_PAIRS, "knn@10", "precision@5", "recall@4", "few_shot@5w5s"])
def test_every_score_has_words(name):
    sentence, meaning = words.sentence(name, score(0.5)) or ("", "")
    assert sentence.endswith(".")
    assert meaning.endswith(".")
    assert "{" not in sentence + meaning + words.title(name)
    assert words.number(name, 0.5) in sentence


def test_a_score_without_words_is_still_shown():
    assert words.sentence("brier{}", score(0.5)) is None
    assert words.title("brier{}") == "brier{}"
    assert words.number("brier{}", -0.5) == "−0.500"


def test_numbers_as_they_are_said():
    assert words.percent(0.98123) == "98.1\N{NO-BREAK SPACE}%"
    assert words.interval("knn@1", {"value": 0.5, "low": 0.25, "high": 0.75}) == "25.0 to 75.0"
    assert words.interval("silhouette", {"value": 0.0, "low": -0.1, "high": 0.1}) == "−0.100 to 0.100"
    assert words.interval("knn@1", {"value": 0.5, "low": float("nan"), "high": 0.7}) == ""
    assert words.interval("knn@1", {"value": 0.5}) == ""
    assert words.title("tar@far=0.01") == "TAR at FAR 1 %"
    assert words.title("few_shot@20w1s") == "20-way, 1-shot"
    assert words.aim("far=0.001") == "the highest true accept rate at a false accept rate of at most 0.001"
    said = words.sentence("knn@1", score(0.981, 360, 0.01), data="mnist", open_set=True)
    assert said is not None
    assert said[0].startswith("98.1\N{NO-BREAK SPACE}% of held-out digits have a nearest neighbour of their own class")


# Findings


def looped(query: Embeddings, reference: Embeddings | None, q: int) -> list[int]:
    """The neighbours of one query, best first, by an explicit loop."""
    others = query if reference is None else reference
    told = []
    for n in range(len(others)):
        if reference is not None or n != q:
            told.append((-float(torch.cosine_similarity(query.vectors[q], others.vectors[n], dim=0)), n))
    return [n for _, n in sorted(told)]


@pytest.mark.parametrize("alone", [True, False])
def test_neighbours_equal_an_explicit_loop(alone):
    held = clusters(list("abcd"))
    query, reference = held.part("test"), None if alone else held.part("train")
    found = findings.nearest(query, reference, geometry.cosine, k=5)
    assert found is not None
    for q in range(len(query)):
        assert found.place[q].tolist() == looped(query, reference, q)[:5]
        others = query if alone else reference
        assert found.hit[q].tolist() == [bool(others.labels[n] == query.labels[q]) for n in found.place[q]]


def by_hand(truth: list[int], named: list[int], sims: list[float]) -> findings.Neighbours:
    """Queries whose only neighbour is a reference of the class `named`."""
    images = digits(len(truth))
    vectors = np.zeros((len(truth), 2))
    query = of_vectors(vectors, images)
    query = type(query)(**{**vars(query), "labels": torch.tensor(truth)})
    reference = type(query)(
        **{**vars(query), "labels": torch.tensor(named), "ids": tuple(f"r{n}" for n in range(len(named)))}
    )
    return findings.Neighbours(query, reference, np.arange(len(truth))[:, None], np.array(sims)[:, None])


def test_errors_confusions_and_samples_by_hand():
    found = by_hand([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 1, 1], [0.9, 0.5, 0.8, 0.9, 0.7, 0.6])
    assert findings.errors(found) == [2, 4, 5, 1]
    assert findings.errors(found, most=2) == [2, 4]
    assert findings.confused(found) == [(2, 1, 2), (0, 1, 1), (1, 0, 1)]
    assert findings.samples(found) == [0, 2, 4]
    assert findings.samples(found, most=2) == [0, 4]


def test_two_images_that_name_each_other_are_one_error():
    held = clusters(["a", "b"], each=1, parts=("test",))
    found = findings.nearest(held, None, geometry.cosine)
    assert found is not None
    assert (~found.hit[:, 0]).sum() == 2
    assert findings.errors(found) == [0]


def test_similarities_are_those_of_pairs_of_their_kind():
    held = clusters(["a", "b", "c"])
    found = findings.similarities(held, geometry.euclidean)
    assert found is not None
    far_NN = -torch.cdist(held.vectors, held.vectors)
    same_NN = held.labels[:, None] == held.labels[None]
    for values, mask_NN in ((found.same, same_NN), (found.different, ~same_NN)):
        allowed = far_NN[mask_NN & ~torch.eye(len(held), dtype=torch.bool)].numpy()
        assert np.abs(values[:, None] - allowed[None]).min(1).max() < 1e-4


def test_similarities_are_of_the_pairs_given():
    held = clusters(["a", "b", "c"])
    given = pairs.draw(held.labels, 7)
    found = findings.similarities(held, geometry.cosine, given)
    assert found is not None
    assert np.concatenate(found).tolist() == pairs.similarities(held.vectors, given).tolist()


def test_a_det_curve_of_many_pairs_is_few_points_of_it():
    rng = np.random.default_rng(0)
    found = findings.Similarities(rng.normal(1.5, 1, 5000), rng.normal(0, 1, 20_000))
    far, frr = findings.det(found) or (np.zeros(0), np.zeros(0))
    assert 100 < len(far) < 2000
    assert (np.diff(far) >= 0).all()
    for k in range(0, len(far), 50):  # each is a true operating point
        at = np.quantile(found.different, 1 - far[k])
        assert (found.same < at).mean() == pytest.approx(frr[k], abs=2e-3)
    apart = findings.Similarities(np.ones(5, np.float32), np.zeros(5, np.float32))
    assert findings.det(apart) is None


def test_reliability_is_of_as_many_pairs_of_one_kind_as_of_the_other():
    found = findings.Similarities(np.full(10, 2.0, np.float32), np.full(40, -2.0, np.float32))
    table = findings.reliability(found, calibration.Platt(1.0, 0.0))
    assert table.pairs.tolist() == [10, 10]
    assert table.observed.tolist() == [0, 1]


def test_silhouettes_equal_scikit_learn_at_unit_length():
    held = clusters(["a", "b", "c"])
    values_N, labels_N = findings.silhouettes(held, unit=True) or (None, None)
    unit_ND = torch.nn.functional.normalize(held.vectors, dim=1).numpy()
    np.testing.assert_allclose(values_N, silhouette_samples(unit_ND, held.labels.numpy()), atol=1e-6)
    np.testing.assert_array_equal(labels_N, held.labels)
    assert findings.silhouettes(clusters(["a"]), unit=True) is None
    assert len((findings.silhouettes(held, unit=False, most=10) or ([], []))[0]) == 10


def test_a_det_curve_by_hand():
    """Same 3, 1; different 2, 0: at 2 half of both are wrong; elsewhere one rate is 0 or 1."""
    found = findings.Similarities(np.array([3.0, 1.0], np.float32), np.array([2.0, 0.0], np.float32))
    far, frr = findings.det(found) or (np.zeros(0), np.zeros(0))
    assert (far.tolist(), frr.tolist()) == ([0.5], [0.5])
    few = findings.Similarities(np.array([3.0], np.float32), np.array([4.0, 2.0, 1.0], np.float32))
    assert findings.det(few) is None  # with one pair of a class its rate is 0 or 1
