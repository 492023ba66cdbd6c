"""The interval of a false-accept rate on further classes: against loops and by hand, and its sentence."""

import numpy as np
import pytest

from colours import make
from likewise.gallery import calibrate as c
from likewise.gallery import further
from likewise.metrics.exact import exact_interval

CLASSES = np.repeat(np.arange(10), 10)
SPREAD = np.arange(100) % 10 == 0  # one accept in each class
CLUMPED = CLASSES == 0  # ten accepts, all of one class


def test_exact_intervals_by_hand():
    assert exact_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert exact_interval(5, 10) == pytest.approx((0.18709, 0.81291), abs=1e-5)


def test_design_effects_by_hand():
    assert further.design_effect(SPREAD, CLASSES) == 1
    # between: 10/9 * (9^2 + 9 * 1^2) / 100^2 = 0.01; binomial: 0.1 * 0.9 / 100 = 0.0009
    assert further.design_effect(CLUMPED, CLASSES) == pytest.approx(0.01 / 0.0009)
    assert further.design_effect(np.zeros(100, bool), CLASSES) == 10
    assert further.design_effect(np.array([True, False]), np.array([3, 3])) == 2


def test_drawn_rates_are_those_of_a_loop(monkeypatch):
    monkeypatch.setattr(further, "DRAWS", 40)
    monkeypatch.setattr(further, "TILE", 7)
    rng = np.random.default_rng(1)
    scores, classes = rng.normal(size=60), rng.integers(0, 9, 60)
    found = further.drawn_rates(scores, classes, 0.1, seed=4)
    present = np.unique(classes)
    again = np.random.default_rng(4)
    even = np.full(len(present), 1 / len(present))
    finds = again.multinomial(max(2, round(len(present) / 3)), even, size=40)
    shows = again.multinomial(len(present), even, size=40)
    for b in range(40):
        order = sorted(range(60), key=lambda i: -scores[i])
        weight = {one: int(w) for one, w in zip(present, finds[b], strict=True)}
        total, passed, threshold = sum(weight[x] for x in classes), 0, np.inf
        for i in order:
            passed += weight[classes[i]]
            if passed > 0.1 * total:
                break
            threshold = scores[i]
        shown = {one: int(w) for one, w in zip(present, shows[b], strict=True)}
        reached = sum(shown[classes[i]] for i in range(60) if scores[i] >= threshold)
        assert found[b] == pytest.approx(reached / sum(shown[x] for x in classes))


def test_the_interval_is_wider_where_classes_differ_and_the_same_each_time():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(40), 20)
    alike = rng.normal(size=800)
    unlike = alike + 2 * rng.normal(size=40)[classes]
    told = []
    for scores in (alike, unlike):
        low, high = further.further_interval(scores, classes, float(np.quantile(scores, 0.9)))
        assert low <= 0.1 <= high
        assert further.further_interval(scores, classes, float(np.quantile(scores, 0.9))) == (low, high)
        told.append(high - low)
    assert told[1] > 2 * told[0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_classes_and_no_accepts_have_wide_intervals(count):
    classes = np.arange(50) % count
    scores = np.random.default_rng(0).normal(size=50)
    low, high = further.further_interval(scores, classes, np.inf)
    assert low == 0
    assert high >= exact_interval(0, count)[1]
    low, high = further.further_interval(scores, classes, -np.inf)
    assert high == 1


@pytest.mark.slow
def test_the_stated_interval_holds_further_classes():
    """Classes in alike pairs, each of its own difficulty: at least 90 % of 150 trials lie inside."""
    inside = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        hard = 1.5 * rng.normal(size=80)
        classes = np.repeat(np.arange(40), 25)
        mine = rng.normal(size=1000) + hard[classes]
        theirs = rng.normal(size=1000) + hard[40 + classes]
        threshold = c.promise(mine, 0.05)
        low, high = further.further_interval(mine, classes, threshold)
        inside += low <= (theirs >= threshold).mean() <= high
    assert inside >= 135


def test_an_unsupported_rate_is_one_sentence():
    assert further.support(0.1, 0.3, 500, 40.0, 40) == ""
    assert further.support(0.01, 0.06, 1444, 73.4, 40) == (
        "this calibration does not support FAR 0.01: further classes may show up to 0.06, since 40 classes differ so "
        "much that 1,444 trials are worth 73 independent ones; enroll more classes, or take a higher --far"
    )
    assert "since 3 classes are few" in further.support(0.01, 0.6, 300, 3.0, 3)


def test_a_promise_says_what_its_trials_are_worth():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), 30)
    scores = rng.normal(size=300) + 3 * (classes == 0)
    found = c.calibrate(c.Trials(scores, classes, scores + 5, np.ones(300, bool), classes), 0.05)
    assert found.effective < 60
    assert "does not support FAR 0.05" in found.note
    assert found.as_json()["note"] == found.note


def test_answers_and_the_gallery_say_that_a_rate_is_not_supported(tmp_path):
    rng = np.random.default_rng(0)
    with make(tmp_path / "g") as gallery:
        vectors = rng.normal(size=(60, 3))
        gallery.enroll_vectors(vectors, [f"c{i % 3}" for i in range(60)], fingerprint="c0ffee", gate="off")
        answer = gallery.identify(vectors[0].astype(np.float32), far=0.05)
        assert "; this calibration does not support FAR 0.05: " in answer.why
        gallery.calibrate(0.05)
        assert gallery.info()["promise"]["note"].endswith(
            "since 3 classes are few; enroll more classes, or take a higher --far"
        )
