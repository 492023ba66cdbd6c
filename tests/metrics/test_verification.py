"""Pairs, ROC, rates and thresholds: scikit-learn, torchmetrics, loops, and points worked by hand."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import geometry
from likewise.metrics import sampled_pairs as p
from likewise.metrics import verification as v

#                      scores   .9  .8  .8  .6  .5  .4  .4  .1
BY_HAND = torch.tensor([0.9, 0.8, 0.8, 0.6, 0.5, 0.4, 0.4, 0.1])
SAME = torch.tensor([1, 1, 0, 1, 0, 1, 0, 0]).bool()


def scored(seed: int, n: int = 300, share: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with many ties."""
    generator = torch.Generator().manual_seed(seed)
    same = torch.rand(n, generator=generator) < share
    return ((torch.randn(n, generator=generator) + same) * 4).round() / 4, same


scores = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=50).filter(
    lambda pairs: len({same for _, same in pairs}) == 2
)


def test_roc_by_hand():
    curve = v.roc(BY_HAND, SAME)
    assert curve.far.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.75, 1]
    assert curve.tar.tolist() == [0, 0.25, 0.5, 0.75, 0.75, 1, 1]
    assert curve.threshold[1:-1].tolist() == pytest.approx([0.85, 0.7, 0.55, 0.45, 0.25])


@settings(max_examples=60)
@given(scores)
def test_roc_and_auc_equal_scikit_learns(pairs):
    from sklearn.metrics import roc_auc_score, roc_curve

    score, same = torch.tensor([s for s, _ in pairs]) / 4, torch.tensor([is_same for _, is_same in pairs])
    far, tar, _ = roc_curve(same, score, drop_intermediate=False)
    curve = v.roc(score, same)
    torch.testing.assert_close(curve.far, torch.from_numpy(far))
    torch.testing.assert_close(curve.tar, torch.from_numpy(tar))
    assert float(v.auc(curve)) == pytest.approx(roc_auc_score(same, score), abs=1e-12)


@settings(max_examples=60)
@given(scores)
def test_auc_is_how_often_same_scores_higher(pairs):
    score, same = torch.tensor([float(s) for s, _ in pairs]), torch.tensor([is_same for _, is_same in pairs])
    wins = [(a > b) + (a == b) / 2 for a in score[same].tolist() for b in score[~same].tolist()]
    assert float(v.auc(v.roc(score, same))) == pytest.approx(sum(wins) / len(wins), abs=1e-12)


def eer_by_hand(score: torch.Tensor, same: torch.Tensor) -> float:
    """Where the line between two neighbouring points of the curve meets far = 1 - tar."""
    points = [(0.0, 0.0)]
    for at in score.unique().flip(0):
        points.append((float((score[~same] >= at).double().mean()), float((score[same] >= at).double().mean())))
    for (far_a, tar_a), (far_b, tar_b) in pairwise(points):
        a, b = far_a + tar_a - 1, far_b + tar_b - 1
        if a <= 0 <= b and a != b:
            return far_a + (far_b - far_a) * -a / (b - a)
    raise AssertionError


@settings(max_examples=60)
@given(scores)
def test_eer_equals_a_walk_along_the_curve(pairs):
    score, same = torch.tensor([float(s) for s, _ in pairs]), torch.tensor([is_same for _, is_same in pairs])
    assert float(v.eer(v.roc(score, same))) == pytest.approx(eer_by_hand(score, same), abs=1e-12)


def test_eer_of_the_clear_cases():
    same = torch.tensor([True, True, False, False])
    assert float(v.eer(v.roc(torch.tensor([4.0, 3, 2, 1]), same))) == 0
    assert float(v.eer(v.roc(torch.tensor([1.0, 2, 3, 4]), same))) == 1
    assert float(v.eer(v.roc(torch.ones(4), same))) == 0.5  # all alike is a coin
    assert float(v.eer(v.roc(BY_HAND, SAME))) == 0.25


def test_eer_is_near_torchmetrics(vision):
    """Theirs takes the nearer point of the curve instead of the line between two."""
    eer = pytest.importorskip("torchmetrics.functional.classification").binary_eer
    generator = torch.Generator().manual_seed(0)
    same = torch.rand(4000, generator=generator) < 0.5
    score = torch.sigmoid(torch.randn(4000, generator=generator) + same)
    assert float(v.eer(v.roc(score, same))) == pytest.approx(float(eer(score, same.int())), abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_auc_and_rates_equal_torchmetrics(vision, seed: int):
    from torchmetrics.functional import classification as theirs

    score, same = scored(seed)
    chance = (score - score.min()) / (score.max() - score.min())  # outside 0 to 1 they would squash it
    curve = v.roc(chance, same)
    assert float(v.auc(curve)) == pytest.approx(float(theirs.binary_auroc(chance, same.int())), abs=1e-6)
    for far in (0.05, 0.2, 0.5):
        tar, _ = theirs.binary_sensitivity_at_specificity(chance, same.int(), min_specificity=1 - far)
        assert float(v.tar_at_far(curve, far)) == pytest.approx(float(tar), abs=1e-6)


@pytest.mark.parametrize("far", [0.0, 0.01, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_tar_at_far_equals_a_search_of_all_thresholds(seed: int, far: float):
    score, same = scored(seed)
    best = 0.0
    for at in score.unique().tolist():
        if int((score[~same] >= at).sum()) / int((~same).sum()) <= far:
            best = max(best, int((score[same] >= at).sum()) / int(same.sum()))
    assert float(v.tar_at_far(v.roc(score, same), far)) == pytest.approx(best)


def test_a_rate_that_is_just_met_is_met():
    """One false accept of a hundred is a rate of 0.01."""
    same = torch.arange(200) < 100
    score = torch.where(same, 1.0, 0.0)
    score[150] = 2.0
    assert float(v.tar_at_far(v.roc(score, same), 0.01)) == 1
    assert float(v.tar_at_far(v.roc(score, same), 0.009)) == 0


def test_enough_is_thirty_expected_false_accepts():
    different = torch.zeros(3000, dtype=torch.bool)
    assert v.enough(different, 0.01)
    assert not v.enough(different[1:], 0.01)
    assert not v.enough(different, 1e-3)


def test_what_is_too_few_says_how_many_would_do():
    said = v.too_few(torch.zeros(2999, dtype=torch.bool), 0.01)
    assert said.startswith("too few pairs to say: of 2,999 pairs of two classes 30 would be accepted falsely")
    assert said.endswith("for FAR 0.01 on 3,000 pairs")
    assert "no number of them" in v.too_few(torch.zeros(10**6, dtype=torch.bool), 0)


def test_a_precision_that_no_threshold_has_accepts_nothing():
    same = torch.tensor([False, True, True, False])
    curve = v.roc(torch.tensor([4.0, 3, 2, 1]), same)
    assert v.reached(curve) == pytest.approx(2 / 3)
    assert float(v.threshold(curve, "precision=0.9")) > 4
    assert float(v.threshold(curve, "precision=0.66")) == 1.5


def test_ranked_once_is_every_curve():
    score, same = scored(1, 80)
    weight = torch.randint(0, 3, (4, 80), generator=torch.Generator().manual_seed(0))
    ranked = v.rank(score, same)
    for ours, alone in zip(v.curve(ranked, weight), v.roc(score, same, weight), strict=True):
        assert torch.equal(ours, alone)


def test_det_is_both_errors():
    curve = v.roc(BY_HAND, SAME)
    far, frr = v.det(curve)
    assert torch.equal(far, curve.far)
    assert torch.equal(frr, 1 - curve.tar)


def test_weights_are_repetitions():
    """A weight of 3 is the pair three times, 0 is no pair; leading dimensions are kept."""
    score, same = scored(0, 60)
    weight = torch.randint(0, 4, (5, 60), generator=torch.Generator().manual_seed(1))
    together = v.roc(score, same, weight)
    for b in range(5):
        alone = v.roc(score.repeat_interleave(weight[b]), same.repeat_interleave(weight[b]))
        for of in (v.auc, v.eer, lambda curve: v.tar_at_far(curve, 0.1)):
            assert float(of(together)[b]) == pytest.approx(float(of(alone)), abs=1e-12)


def test_one_kind_of_pair_or_nan_is_one_sentence():
    with pytest.raises(ValueError, match="all of the 3 pairs are of one kind"):
        v.roc(torch.rand(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="1 of 2 similarities are NaN"):
        v.roc(torch.tensor([0.1, torch.nan]), torch.tensor([True, False]))


@pytest.mark.parametrize("target", ["accuracy", "f1", "eer", "far=0.1", "far=0", "precision=0.8"])
@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_meets_its_target_better(seed: int, target: str):
    score, same = scored(seed, 200, share=0.5)
    share = float(same.double().mean())

    def merit(at: float) -> float:
        found = v.decide(score, same, at)
        right, wrong = share * found.recall, (1 - share) * found.far
        held = {"far=0.1": found.far <= 0.1, "far=0": found.far <= 0}
        held |= {"precision=0.8": right >= 0.8 * (right + wrong) > 0}
        wanted = {"accuracy": found.accuracy, "f1": found.f1, "eer": -abs(found.far - found.frr)}
        return wanted[target] if target in wanted else found.recall if held[target] else -1

    chosen = float(v.threshold(v.roc(score, same), target, share))
    others = [float(at) + shift for at in score.unique() for shift in (-1e-4, 1e-4)]
    assert merit(chosen) == pytest.approx(max(map(merit, others)), abs=1e-12)


def test_a_threshold_has_room_on_both_sides():
    same = torch.tensor([True, True, False, False])
    assert float(v.threshold(v.roc(torch.tensor([0.9, 0.8, 0.4, 0.1]), same))) == pytest.approx(0.6)


@pytest.mark.parametrize("target", ["acuracy", "far", "far=", "far=2", "far=x", "precision=2", "recall=1"])
def test_a_target_that_is_none_is_one_sentence(target: str):
    with pytest.raises(ValueError, match=r"far=0\.001"):
        v.threshold(v.roc(BY_HAND, SAME), target)


@settings(max_examples=40)
@given(scores, st.integers(-6, 6))
def test_decisions_equal_scikit_learns(pairs, at: int):
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    score, same = torch.tensor([float(s) for s, _ in pairs]), torch.tensor([is_same for _, is_same in pairs])
    found, accept = v.decide(score, same, at), score >= at
    assert found.accuracy == pytest.approx(accuracy_score(same, accept))
    assert found.precision == pytest.approx(precision_score(same, accept, zero_division=0))
    assert found.recall == pytest.approx(recall_score(same, accept))
    assert found.f1 == pytest.approx(f1_score(same, accept, zero_division=0))
    assert found.far == pytest.approx(float(accept[~same].double().mean()))
    assert found.frr == pytest.approx(1 - found.recall)


def test_each_fold_is_judged_by_the_others():
    """Fold 1's scores are all 10 higher: the threshold chosen on fold 0 accepts every pair of fold 1."""
    score = torch.tensor([0.9, 0.8, 0.2, 0.1, 10.9, 10.8, 10.2, 10.1])
    same = torch.tensor([1, 1, 0, 0] * 2).bool()
    fold = torch.tensor([0] * 4 + [1] * 4)
    assert v.fold_accuracy(score, same, fold).tolist() == [0.5, 0.5]
    assert v.fold_accuracy(score % 10, same, fold).tolist() == [1, 1]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 300), st.integers(0, 9))
def test_drawn_pairs_are_distinct_balanced_and_true(labels: list[int], n: int, seed: int):
    labels = torch.tensor(labels) + 2**24
    drawn = p.draw(labels, n, seed=seed)
    assert torch.equal(labels[drawn.first] == labels[drawn.second], drawn.same)
    assert (drawn.first != drawn.second).all()
    assert len({frozenset(pair) for pair in zip(drawn.first.tolist(), drawn.second.tolist(), strict=True)}) == len(
        drawn.same
    )
    assert 2 * int(drawn.same.sum()) == len(drawn.same) <= 2 * n
    assert all(torch.equal(a, b) for a, b in zip(drawn, p.draw(labels, n, seed=seed), strict=True))
    sizes = labels.unique(return_counts=True)[1]
    possible = min(
        int((sizes * (sizes - 1) // 2).sum()), math.comb(len(labels), 2) - int((sizes * (sizes - 1) // 2).sum())
    )
    assert (len(drawn.same) == 0) == (possible == 0)


def test_enough_pairs_are_found_where_they_exist():
    labels = torch.arange(2000) % 10
    drawn = p.draw(labels, 5000)
    assert len(drawn.same) == 10_000
    used = torch.cat([drawn.first, drawn.second]).bincount(minlength=2000)
    assert used.min() >= 4  # ten in the mean
    assert p.draw(torch.tensor([0, 0, 1, 1]), 50).same.tolist() == [True, True, False, False]


def test_every_pair_is_as_likely_as_any_other():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    seen = {}
    for seed in range(300):
        drawn = p.draw(labels, 1, seed=seed)
        for pair in zip(drawn.first.tolist(), drawn.second.tolist(), strict=True):
            seen[frozenset(pair)] = seen.get(frozenset(pair), 0) + 1
    assert len(seen) == 21  # 6 of one class, 15 of two
    assert all(25 < n < 80 for pair, n in seen.items() if len({int(labels[i]) for i in pair}) == 1)


def test_many_of_two_classes_beside_few_of_one():
    labels = torch.arange(300) % 10
    drawn = p.draw(labels, 100, different=2000)
    assert (int(drawn.same.sum()), len(drawn.same)) == (100, 2100)
    assert torch.equal(labels[drawn.first] == labels[drawn.second], drawn.same)
    every = p.draw(labels, 10**6, different=10**6)
    pairs = {frozenset(pair) for pair in zip(every.first.tolist(), every.second.tolist(), strict=True)}
    assert len(pairs) == len(every.same) == math.comb(300, 2)
    assert len(p.draw(torch.zeros(5).long(), 10, different=10).same) == 0


def test_even_is_all_of_the_scarcer_and_as_many_of_the_others():
    same = torch.tensor([0, 1, 0, 0, 1, 0, 0]).bool()
    assert p.even(same).tolist() == [1, 4, 0, 3]
    assert p.even(~same).tolist() == [0, 3, 1, 4]
    assert len(p.even(torch.ones(3).bool())) == 0


def test_pairs_of_a_fold_are_of_its_classes_only():
    labels = torch.arange(400) % 40
    drawn, fold = p.draw_folds(labels, 20)
    assert fold.bincount().tolist() == [40] * 10
    classes = [set(labels[torch.cat([drawn.first, drawn.second])[fold.repeat(2) == f]].tolist()) for f in range(10)]
    assert sum(map(len, classes)) == len(set.union(*classes)) == 40
    with pytest.raises(ValueError, match="10 folds need at least 20 classes"):
        p.draw_folds(torch.arange(100) % 19)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "sqeuclidean", "manhattan"])
def test_similarities_of_pairs_are_those_of_the_geometry(name: str):
    sim = getattr(geometry, name)
    x, y = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(0))
    drawn = p.Pairs(torch.arange(20), torch.arange(20).flip(0), torch.ones(20, dtype=torch.bool))
    torch.testing.assert_close(
        p.similarities(x, drawn, sim=sim, at_once=7), sim(x, x.flip(0)).diagonal(), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        p.similarities(x, drawn, sim=sim, other_MD=y), sim(x, y.flip(0)).diagonal(), atol=1e-5, rtol=1e-5
    )
