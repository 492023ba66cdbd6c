"""Probabilities of pairs: Platt and isotonic curves against scikit-learn's, and how far to believe them."""

import json
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.metrics import calibration as c


def scored(n: int = 400, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    same = torch.rand(n, generator=generator) < 0.4
    return (torch.randn(n, generator=generator) + 1.5 * same) * scale, same


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_platt_equals_a_logistic_regression_on_his_targets(scale: float):
    """Each pair counts twice, weighted by its target and by the rest of 1."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    score, same = scored(scale=scale)
    right, wrong = int(same.sum()), int((~same).sum())
    target = np.where(same, (right + 1) / (right + 2), 1 / (wrong + 2))
    x, y = np.tile(score.double().numpy() / scale, 2)[:, None], np.repeat([1, 0], len(same))
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y, np.r_[target, 1 - target])
    ours = c.platt(score, same)
    assert ours.slope * scale == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    assert ours.offset == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_platt_of_separable_scores_is_finite_and_sure():
    score, same = torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor([False, False, True, True])
    chance = c.platt(score, same)(score)
    assert chance.isfinite().all()
    assert ((chance > 0.5) == same).all()
    assert chance.max() < 0.9  # four pairs do not make certain
    flat = c.platt(torch.ones(4), same)
    assert flat(torch.ones(2)).tolist() == pytest.approx([0.5, 0.5])


def test_isotonic_equals_scikit_learns():
    from sklearn.isotonic import IsotonicRegression

    score, same = scored()
    curve = c.isotonic(score, same)
    seen = torch.linspace(-5, 6, 300)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score.double(), same.double())
    torch.testing.assert_close(curve(seen), torch.from_numpy(theirs.predict(seen.double())))
    assert (curve(seen).diff() >= 0).all()
    assert c.isotonic(torch.ones(4), torch.tensor([True, False, True, True]))(seen[:3]).tolist() == [0.75] * 3


def pooled(score: list[float], same: list[bool]) -> list[float]:
    """Neighbours that fall are pooled until none does; equal scores are one."""
    blocks: list[list[float]] = []
    for at in sorted(set(score)):
        mine = [s for x, s in zip(score, same, strict=True) if x == at]
        blocks.append([float(sum(mine)), float(len(mine)), 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return [right / n for right, n, scores in blocks for _ in range(int(scores))]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40))
def test_isotonic_pools_neighbours_that_fall(pairs):
    score, same = [s / 8 for s, _ in pairs], [is_same for _, is_same in pairs]
    if len(set(same)) == 2:
        curve = c.isotonic(torch.tensor(score), torch.tensor(same))
        assert curve(torch.tensor(sorted(set(score)))).tolist() == pytest.approx(pooled(score, same), abs=1e-6)


def test_calibrations_go_through_json():
    score, same = scored()
    platt, isotonic = c.platt(score, same), c.isotonic(score, same)
    assert c.Platt(**json.loads(json.dumps(asdict(platt)))) == platt
    again = c.Isotonic(**json.loads(json.dumps(asdict(isotonic))))
    assert torch.equal(again(score), isotonic(score))


def test_what_is_kept_is_restored_whatever_stands_beside_it():
    score, same = scored()
    for fit in (c.platt(score, same), c.isotonic(score, same)):
        told = json.loads(json.dumps(c.kept(fit) | {"n": 400}))
        assert c.restored(told) == fit


def test_the_curve_is_chosen_by_the_half_that_it_was_not_fitted_to():
    """Probabilities that rise, fall to a half and rise again are no logistic curve; few pairs choose none."""
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(8000, generator=generator)
    half = torch.arange(8000) % 2
    stepped = torch.rand(8000, generator=generator) < torch.where(
        score < 0.1, 0.05, torch.where(score < 0.9, 0.5, 0.95)
    )
    smooth = torch.rand(8000, generator=generator) < torch.sigmoid(6 * score - 3)
    assert isinstance(c.chosen(score, stepped, half), c.Isotonic)
    assert isinstance(c.chosen(score, smooth, half), c.Platt)
    assert c.chosen(score, stepped, half) == c.isotonic(score, stepped)
    assert isinstance(c.chosen(score[:1500], stepped[:1500], half[:1500]), c.Platt)
    assert isinstance(c.chosen(score, stepped, torch.full((8000,), -1)), c.Platt)


@pytest.mark.parametrize("fit", [c.platt, c.isotonic])
def test_one_kind_of_pair_is_one_sentence(fit):
    with pytest.raises(ValueError, match="calibration needs both kinds"):
        fit(torch.rand(3), torch.zeros(3, dtype=torch.bool))


def test_brier_equals_scikit_learns():
    from sklearn.metrics import brier_score_loss

    score, same = scored()
    chance = torch.sigmoid(score)
    assert float(c.brier(chance, same).mean()) == pytest.approx(brier_score_loss(same, chance), abs=1e-7)


def test_reliability_by_hand():
    table = c.reliability(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]), torch.tensor([0, 1, 1, 1, 1]).bool(), bins=2)
    assert table.pairs.tolist() == [2, 3]
    assert table.predicted.tolist() == pytest.approx([0.05, 0.8])
    assert table.observed.tolist() == pytest.approx([0.5, 1])
    assert len(c.reliability(torch.tensor([0.1, 0.95]), torch.tensor([True, False]), bins=10).pairs) == 2


@pytest.mark.slow
def test_ece_equals_torchmetrics(vision):
    from torchmetrics.functional.classification import binary_calibration_error

    score, same = scored()
    chance = torch.sigmoid(score)
    assert c.ece(chance, same) == pytest.approx(
        float(binary_calibration_error(chance, same.int(), n_bins=15)), abs=1e-5
    )
