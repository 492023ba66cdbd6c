"""Open-set identification: values worked by hand, and loops over every threshold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import geometry
from likewise.evaluate import Embeddings
from likewise.evaluate.identification import identify, identify_left_out, trials, trials_left_out
from likewise.metrics import identification as i
from likewise.metrics.retrieval import Ranked, Set, inverse_negative_penalty, measure
from likewise.metrics.verification import roc

#                     known: .9 right, .7 wrong, .6 right, .2 right; unknown: .8, .5, .4, .1
SCORE = torch.tensor([0.9, 0.7, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1])
KNOWN = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
RIGHT = torch.tensor([1, 0, 1, 1, 0, 0, 0, 0]).bool()

trial = st.tuples(st.integers(-4, 4), st.booleans(), st.booleans())
some = st.lists(trial, min_size=2, max_size=40).filter(lambda rows: len({known for _, known, _ in rows}) == 2)


def test_the_curve_by_hand():
    curve = i.identification(SCORE, KNOWN, RIGHT)
    assert curve.dir.tolist() == [0, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75]
    assert curve.far.tolist() == [0, 0, 0.25, 0.25, 0.25, 0.5, 0.75, 0.75, 1]
    assert float(i.dir_at_far(curve, 0.0)) == 0.25
    assert float(i.dir_at_far(curve, 0.25)) == 0.5
    assert float(i.threshold_at_far(curve, 0.25)) == pytest.approx(0.6)
    # .25 * .25 + .5 * .25 + .5 * .25 + .75 * .25
    assert float(i.oscr(curve)) == pytest.approx(0.25 * (0.25 + 0.5 + 0.5 + 0.75))


@settings(max_examples=80)
@given(some, st.sampled_from([0.0, 0.1, 0.3, 1.0]))
def test_rates_are_those_of_a_loop_over_thresholds(rows, far):
    score = torch.tensor([float(s) for s, _, _ in rows])
    known = torch.tensor([k for _, k, _ in rows])
    right = torch.tensor([r and k for _, k, r in rows])
    curve = i.identification(score, known, right)
    best, at = 0.0, float("inf")
    for t in sorted({float(s) for s in score} | {float("inf")}, reverse=True):
        named = [s >= t for s in score.tolist()]
        fpir = sum(n for n, k in zip(named, known.tolist(), strict=True) if not k) / int((~known).sum())
        hit = sum(n and r for n, r in zip(named, right.tolist(), strict=True)) / int(known.sum())
        if fpir <= far:
            best, at = max(best, hit), min(at, t)
    assert float(i.dir_at_far(curve, far)) == pytest.approx(best)
    threshold = float(i.threshold_at_far(curve, far))
    assert (score >= threshold).tolist() == (score >= at).tolist()


def test_weights_count_trials_as_often_as_they_say():
    weight = torch.tensor([[2, 1, 0, 3, 1, 2, 1, 0]])
    times = weight[0].tolist()
    repeated = [x.repeat_interleave(torch.tensor(times)) for x in (SCORE, KNOWN, RIGHT)]
    for rate in (0.0, 0.3, 0.8):
        theirs = i.dir_at_far(i.identification(SCORE, KNOWN, RIGHT, weight), rate)
        assert float(theirs) == pytest.approx(float(i.dir_at_far(i.identification(*repeated), rate)))
    assert float(i.oscr(i.identification(SCORE, KNOWN, RIGHT, weight))) == pytest.approx(
        float(i.oscr(i.identification(*repeated)))
    )


def test_ideal_and_hopeless_embeddings():
    ideal = i.identification(
        torch.tensor([0.9, 0.8, 0.1]), torch.tensor([1, 1, 0]).bool(), torch.tensor([1, 1, 0]).bool()
    )
    assert float(i.oscr(ideal)) == 1
    assert float(i.dir_at_far(ideal, 0.0)) == 1
    flat = i.identification(torch.ones(4), torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 1, 0, 0]).bool())
    assert float(i.oscr(flat)) == 0.5


def test_min_dcf_by_hand():
    curve = roc(torch.tensor([0.9, 0.6, 0.7, 0.1]), torch.tensor([1, 1, 0, 0]).bool())
    # accept .9 only: miss 1/2, FAR 0 -> 0.5 * 0.1 / 0.1; at .6: FAR 1/2 -> 0.45 / 0.1
    assert float(i.min_dcf(curve, p_same=0.1)) == pytest.approx(0.5)
    assert float(i.min_dcf(curve, p_same=0.9)) == pytest.approx(0.5)
    assert float(i.min_dcf(curve, p_same=0.5, miss_cost=10)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="p_same is a share inside 0 and 1"):
        i.min_dcf(curve, p_same=1.0)


def test_false_accepts_by_group():
    group = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    assert i.far_by_group(SCORE, KNOWN, group, 0.45) == {0: (2, 2), 1: (0, 2)}
    assert i.far_by_group(SCORE, KNOWN, group, 0.4) == {0: (2, 2), 1: (1, 2)}


def test_wrong_trials_are_refused():
    with pytest.raises(ValueError, match="all of the 8 queries are known"):
        i.identification(SCORE, torch.ones(8).bool(), RIGHT)
    with pytest.raises(ValueError, match="1 of 8 similarities are NaN"):
        i.identification(SCORE.index_fill(0, torch.tensor([2]), torch.nan), KNOWN, RIGHT)
    with pytest.raises(ValueError, match="cannot be named rightly"):
        i.identification(SCORE, KNOWN, ~KNOWN)


def test_minp_by_hand():
    ranked = Ranked(torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]]).bool(), torch.tensor([2, 1, 2]))
    assert inverse_negative_penalty(ranked).tolist() == pytest.approx([2 / 3, 1 / 4, 1.0])
    with pytest.raises(ValueError, match="whole ranking"):
        inverse_negative_penalty(Ranked(ranked.hits[:, :2], ranked.relevant))


def test_minp_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(30, 5, generator=generator), torch.arange(30) % 7
    values = measure(["minp"], Set(x, labels)).values["minp"]
    sim = geometry.cosine(x, x)
    for q in range(30):
        others = sorted((n for n in range(30) if n != q), key=lambda n: -float(sim[q, n]))
        ranks = [rank for rank, n in enumerate(others, 1) if labels[n] == labels[q]]
        assert float(values[q]) == pytest.approx(len(ranks) / max(ranks))


def part(vectors: torch.Tensor, labels: torch.Tensor) -> Embeddings:
    n = len(labels)
    names = tuple(map(str, range(n)))
    return Embeddings(vectors, labels, names, torch.full((n,), 2).byte(), tuple("abcdefgh"))


@pytest.mark.parametrize("closed", [False, True])
def test_trials_are_those_of_a_loop(closed):
    generator = torch.Generator().manual_seed(1)
    query = part(torch.randn(20, 4, generator=generator), torch.arange(20) % 6)
    reference = part(torch.randn(15, 4, generator=generator), torch.arange(15) % 5) if closed else None
    found = trials(query, reference, sim=geometry.cosine)
    refs = reference or query
    sim = geometry.cosine(query.vectors, refs.vectors)
    rows = []
    for unknown in (False, True):
        for q in range(20):
            seen = [n for n in range(len(refs)) if closed or n != q]
            match = any(refs.labels[n] == query.labels[q] for n in seen)
            if unknown:
                seen = [n for n in seen if refs.labels[n] != query.labels[q]]
            elif not match:
                continue
            top = max(seen, key=lambda n: float(sim[q, n]))
            rows.append((float(sim[q, top]), not unknown, bool(refs.labels[top] == query.labels[q]), q))
    score, known, right, at = zip(*rows, strict=True)
    assert found.score.tolist() == pytest.approx(list(score), abs=1e-6)
    assert (found.known.tolist(), found.right.tolist(), found.query.tolist()) == (list(known), list(right), list(at))


def test_scores_have_intervals_and_rates_without_trials_are_left_out():
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(60) % 6
    query = part(torch.eye(6)[labels] * 2 + torch.randn(60, 6, generator=generator), labels)
    scores = identify(query, None, sim=geometry.cosine)
    assert list(scores) == ["dir@far=0.1", "oscr"]
    for score in scores.values():
        assert 0 <= score.low <= score.value <= score.high <= 1
    assert identify(query.take([0, 1, 2]), None, sim=geometry.cosine) == {}


def fold(train, val, test) -> Embeddings:
    """Unit vectors at angles in degrees, `(angle, class)` of each part."""
    every = [*train, *val, *test]
    angle = torch.tensor([float(a) for a, _ in every]).deg2rad()
    which = torch.tensor([0] * len(train) + [1] * len(val) + [2] * len(test)).byte()
    labels = torch.tensor([label for _, label in every])
    vectors = torch.stack([angle.cos(), angle.sin()], 1)
    return Embeddings(vectors, labels, tuple(map(str, range(len(every)))), which, tuple("abcdefgh"))


def test_scores_of_classes_left_out_by_hand():
    """Two models; known queries at 5 and 20 degrees from their class, one nearer to another; unknown at 10 and 60."""
    folds = [
        fold(train=[(0, 0), (90, 1)], val=[(5, 0), (70, 1)], test=[(10, 2)]),
        fold(train=[(0, 1), (90, 2)], val=[(31, 2)], test=[(60, 0), (120, 0)]),
    ]
    found, label = trials_left_out(folds, sim=geometry.cosine)
    cosines = torch.tensor([5.0, 20.0, 31.0, 10.0, 30.0, 30.0]).deg2rad().cos()
    assert torch.allclose(found.score, cosines, atol=1e-6)
    assert found.known.tolist() == [True] * 3 + [False] * 3
    assert found.right.tolist() == [True, True, False, False, False, False]
    assert label.tolist() == [0, 1, 2, 2, 0, 0]
    # named at 5 degrees before any unknown one; at 20 once a third of them is named; the other is never right
    curve = i.identification(found.score, found.known, found.right)
    assert float(i.dir_at_far(curve, 0.1)) == pytest.approx(1 / 3)
    scores = identify_left_out(folds, sim=geometry.cosine)
    assert list(scores) == ["oscr"]  # a tenth of three unknown queries is none
    assert scores["oscr"].value == pytest.approx(1 / 3 * 1 / 3 + 2 / 3 * 2 / 3)
    assert scores["oscr"].n == 3


def test_left_out_classes_without_known_or_unknown_queries_have_no_scores():
    train = [(0, 0), (90, 1)]
    assert identify_left_out([], sim=geometry.cosine) == {}
    assert identify_left_out([fold(train, [], [(10, 2)])], sim=geometry.cosine) == {}
    assert identify_left_out([fold(train, [(10, 0)], [])], sim=geometry.cosine) == {}
