"""Effects of references on retrieval scores: by hand, against removing each image, and how often intervals hold."""

import math
from itertools import product

import pytest
import torch

from likewise.embeddings import Embeddings
from likewise.evaluate import difference, evaluate, measure, retrieve
from likewise.evaluate.resampling import image_weights, pair_weights, within_classes
from likewise.metrics import intervals, retrieval
from likewise.metrics.influence import Influence, limit, without
from likewise.metrics.retrieval import Ranked, Set
from likewise.metrics.sampled_pairs import Pairs

NAMES = [
    "recall@1",
    "recall@3",
    "cmc@2",
    "precision@3",
    "found@3",
    "r_precision",
    "map@r",
    "map",
    "map@3",
    "mrr",
    "mrr@2",
    "minp",
    "ndcg",
    "ndcg@3",
    "ndcg@1",
]


def embeddings(classes: int, size: int, seed: int, *, noise: float = 0.8, singles: int = 0, means=None) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, 8, generator=generator) if means is None else means
    labels = torch.cat([torch.arange(classes).repeat_interleave(size), classes + torch.arange(singles)])
    centres = torch.cat([means[labels[: classes * size]], torch.randn(singles, 8, generator=generator)])
    vectors = centres + noise * torch.randn(len(labels), 8, generator=generator)
    names = tuple(map(str, range(len(labels))))
    return Embeddings(vectors, labels, names, torch.full((len(labels),), 2, dtype=torch.uint8), names)


#        hits at ranks 1 3 of five, R = 3: one relevant reference was not ranked
HITS, RELEVANT = torch.tensor([[1, 0, 1, 0, 0]]).bool(), torch.tensor([3])
BY_HAND = {  # without the reference at rank 1, 2 ... 5, and without the one that was not ranked
    "r_precision": ([1 / 2, 2 / 3, 1 / 2, 2 / 3, 2 / 3], 1 / 2),
    "map@r": ([(1 / 2) / 2, (1 + 1) / 3, 1 / 2, (1 + 2 / 3) / 3, (1 + 2 / 3) / 3], 1 / 2),
    "recall@1": ([0, 1, 1, 1, 1], 1),
    "precision@2": ([1 / 2, 1, 1 / 2, 1 / 2, 1 / 2], 1 / 2),
    "mrr@2": ([1 / 2, 1, 1, 1, 1], 1),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_removals_by_hand(name: str):
    depth = min((limit(name) or 5) + 1, 5)
    found = without(name, HITS[:, :depth], RELEVANT)
    listed, beyond = BY_HAND[name]
    assert found.listed[0].tolist() == pytest.approx(listed[:depth])
    assert float(found.beyond) == pytest.approx(beyond)


def test_last_relevant_by_hand():
    """Hits at ranks 2 and 4 of five: 2 / 4, and 1 / 3, 1 / 3, 1 / 2 or the same without one."""
    found = without("minp", torch.tensor([[0, 1, 0, 1, 0]]).bool(), torch.tensor([2]))
    assert float(found.value) == 2 / 4
    assert found.listed[0].tolist() == pytest.approx([2 / 3, 1 / 3, 2 / 3, 1 / 2, 2 / 4])


@pytest.mark.parametrize("name", NAMES)
def test_removals_equal_a_loop(name: str):
    """Each of 12 images leaves every ranking in turn, and the metric is taken anew."""
    hits = torch.rand(30, 12, generator=torch.Generator().manual_seed(0)) < 0.35
    hits = hits[hits.any(1)]
    relevant = hits.sum(1)
    found = without(name, hits, relevant)
    metric = retrieval.metric(name)
    torch.testing.assert_close(found.value, metric(Ranked(hits, relevant)).double())
    for q in range(len(hits)):
        for at in range(12):
            rest = torch.cat([hits[q, :at], hits[q, at + 1 :]])[None]
            if rest.any():
                assert float(found.listed[q, at]) == pytest.approx(float(metric(Ranked(rest, rest.sum(1)))))
            else:
                assert found.listed[q, at].isnan()


@pytest.mark.parametrize("classes", [False, True])
def test_effects_sum_to_0_for_every_name(classes: bool):
    part = embeddings(6, 4, 0, singles=3)
    query = Set(part.vectors, part.labels)
    influence = Influence(part.labels, classes=classes)
    found = retrieval.measure(NAMES, query, influence=influence)
    for name in NAMES:
        over = intervals.mean(found.values[name], found.query, len(part)).over
        effect = influence.effect(name, over, retrieval.relevant(query))
        assert float(effect.abs().sum()) > 0 or name not in ("map@r", "map", "recall@1"), name
        assert float(effect.sum()) == pytest.approx(0, abs=1e-9), name


def test_effects_before_centring_are_what_removal_does_to_the_others():
    """Where classes are drawn, an image's effect is the loss of the queries of other classes without it, summed."""
    part = embeddings(5, 3, 1)
    query = Set(part.vectors, part.labels)
    influence = Influence(part.labels, classes=True)
    names = ["map@r", "recall@1"]
    whole = retrieval.measure(names, query, influence=influence).values
    for i in range(len(part)):
        rest = torch.arange(len(part)) != i
        less = retrieval.measure(names, Set(part.vectors[rest], part.labels[rest])).values
        others = part.labels != part.labels[i]
        for name in names:
            change = whole[name][others].sum() - less[name][others[rest]].sum()
            assert float(influence.effects[name][i]) == pytest.approx(float(change), abs=1e-9)


def test_a_paired_difference_is_that_of_the_values_where_images_have_no_positive():
    first, second = (embeddings(20, 5, 3, noise=noise, singles=40) for noise in (0.5, 0.7))
    one, other = measure(first, quick=True), measure(second, quick=True)
    found = difference(one, other)
    for name, ratio in one.ratios.items():
        apart = intervals.value(ratio) - intervals.value(other.ratios[name])
        assert found[name].difference == pytest.approx(apart, abs=1e-12)
        assert found[name].low < apart < found[name].high
        assert found[name].n == 100


def test_knn_1_of_an_open_set_is_recall_1():
    scores = evaluate(embeddings(20, 5, 0, singles=40), quick=True)
    assert list(vars(scores["knn@1"]).values()) == pytest.approx(list(vars(scores["recall@1"]).values()))


def test_every_name_has_an_interval_that_holds_its_value():
    scores, _ = retrieve(embeddings(10, 4, 0), None, NAMES)
    for score in scores.values():
        assert score.low < score.value < score.high
        assert not math.isnan(score.low)


def test_closed_set_intervals_hold_map_at_r():
    """10 classes x 10: 81 % held when each query was drawn by itself. 60 sets, so that 93 % are 56 of them."""
    means = torch.randn(10, 8, generator=torch.Generator().manual_seed(10_010))
    scores = []
    for seed in range(60):
        part = embeddings(10, 10, seed, means=means)
        query = Set(part.vectors, part.labels)
        influence = Influence(part.labels)
        found = retrieval.measure(["map@r"], query, influence=influence)
        ratio = intervals.mean(found.values["map@r"])
        effect = influence.effect("map@r", ratio.over, retrieval.relevant(query))
        scores.append(intervals.bootstrap({"": ratio._replace(effect=effect)}, resamples=300)[""])
    truth = sum(score.value for score in scores) / 60
    assert sum(score.low <= truth <= score.high for score in scores) >= 54
    spread = torch.tensor([score.value for score in scores]).std()
    width = sum(score.high - score.low for score in scores) / 60
    assert 0.85 < width / (3.92 * float(spread)) < 1.4


def test_bias_within_classes_equals_all_draws_of_three():
    """The 27 ways to draw three images of three: variance of a pair's count, less what one image keeps of its own."""
    counts = torch.tensor([[drawn.count(i) for i in range(3)] for drawn in product(range(3), repeat=3)]).double()
    pair = (counts[:, 0] * counts[:, 1]).var(unbiased=False)
    kept = counts[:, 0].var(unbiased=False)
    found = within_classes(3)
    assert found.surplus == pytest.approx(float(pair - kept))
    assert found.factor == pytest.approx(1 / float(kept))


def test_single_pairs_are_drawn_only_across_units():
    pairs = Pairs(torch.tensor([0, 2, 0, 1]), torch.tensor([1, 3, 2, 3]), torch.tensor([True, True, False, False]))
    classes = torch.tensor([0, 0, 1, 1])
    drawn = torch.cat(list(pair_weights(pairs, classes, resamples=50, seed=0)))
    assert (drawn[:, :2] == 1).all()
    assert (drawn[:, 2:].sum(1) == 2).all()
    images = torch.cat(list(image_weights(pairs, torch.arange(4), classes, resamples=50, seed=0)))
    assert set(images[:, 0].tolist()) == {0, 1}  # of two images drawn from two, both once or one twice
