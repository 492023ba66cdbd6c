"""From similarities to an answer: rules by hand, unknown, probabilities that agree with the decision, the promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.gallery import calibrate as c
from likewise.gallery import decide as d

SIMS = [0.5, 0.9, 0.8, 0.7, 0.1]
LABELS = ["a", "b", "a", "a", "c"]
PLATT = {"kind": "platt", "slope": 10.0, "offset": -4.0, "n": 1000}
STEPS = {"kind": "isotonic", "scores": [0.0, 0.4, 0.6, 1.0], "probabilities": [0.0, 0.2, 0.2, 1.0], "n": 500}


@pytest.mark.parametrize(
    ("rule", "scores"),
    [
        ("nearest", {"b": 0.9, "a": 0.8, "c": 0.1}),
        ("vote(k=3)", {"a": 0.8, "b": 0.9}),
        ("vote(k=1)", {"b": 0.9}),
        ("vote(k=2)", {"b": 0.9, "a": 0.8}),
        ("best(n=2)", {"b": 0.9, "a": 0.75, "c": 0.1}),
    ],
)
def test_rules_by_hand(rule, scores):
    found = d.class_scores(np.array(SIMS), LABELS, rule)
    assert list(found) == list(scores)
    assert found == pytest.approx(scores)


def test_an_answer_names_its_margin_and_neighbours():
    answer = d.decide(SIMS, LABELS, "nearest", 0.85, PLATT, neighbours=2)
    assert (answer.label, answer.best, answer.runner_up) == ("b", "b", "a")
    assert answer.margin == pytest.approx(0.1)
    assert answer.neighbours == ((1, "b", 0.9, ""), (2, "a", 0.8, ""))
    assert answer.why == "b reaches the threshold: 0.9000 >= 0.8500; the runner-up is a"


def test_below_the_threshold_is_unknown():
    answer = d.decide(SIMS, LABELS, "nearest", 0.95)
    assert (answer.label, answer.best, answer.probability) == (None, "b", None)
    assert "stays below the threshold: 0.9000 < 0.9500" in answer.why
    assert d.decide([], []).label is None


@given(st.floats(-1, 1), st.floats(-1, 1), st.sampled_from([PLATT, STEPS, {**PLATT, "slope": -2.0}]))
def test_probability_and_decision_agree(similarity, threshold, calibration):
    found = d.same(similarity, threshold, calibration)
    assert found.same == (similarity >= threshold)
    assert found.probability >= 0.5 - 1e-9 if found.same else found.probability <= 0.5 + 1e-9
    assert 0 < found.probability < 1
    assert d.same(threshold, threshold, calibration).probability == pytest.approx(0.5)


def test_the_prior_is_the_share_for_which_the_threshold_is_the_best_cut():
    # p(0.7) = sigmoid(3) at even odds; where a share r of pairs is the same the posterior is 1/2 for r = sigmoid(-3)
    found = d.same(0.9, 0.7, PLATT)
    prior = 1 / (1 + np.exp(3))
    assert found.prior == pytest.approx(prior)
    even = 1 / (1 + np.exp(-5))
    odds = even / (1 - even) * prior / (1 - prior)
    assert found.probability == pytest.approx(odds / (1 + odds))
    assert d.probability(0.9, PLATT) == pytest.approx(even)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("nearst", "no rule named 'nearst'; did you mean nearest"),
        ("vote(n=3)", "rule vote takes no 'n'; did you mean"),
        ("vote(k=0)", "vote takes k as a whole number from 1, got 0"),
        ("best(n='2')", "best takes n as a whole number from 1, got '2'"),
    ],
)
def test_wrong_rules(rule, sentence):
    with pytest.raises(ValueError) as raised:
        d.find_rule(rule)
    assert sentence.rstrip() in str(raised.value) or sentence.split(";")[0] in str(raised.value)


def test_similarities_that_are_none_are_refused():
    with pytest.raises(ValueError, match="1 of 2 similarities are NaN"):
        d.decide([0.1, float("nan")], ["a", "b"])
    with pytest.raises(ValueError, match="each similarity has one label; got 1 and 2"):
        d.decide([0.1], ["a", "b"])


def test_the_promise_by_hand():
    scores = np.arange(1, 20) / 20  # 19 trials: (k + 1) / 20 <= 0.1 allows one
    assert c.promise(scores, 0.1) == pytest.approx((0.95 + 0.9) / 2)
    assert c.promise(scores, 0.05) == pytest.approx(0.95)
    assert c.promise(scores, 0.05) > 0.95
    with pytest.raises(
        ValueError, match=r"19 trials .* cannot promise a false-accept rate of 0\.04: it takes 24 or more"
    ):
        c.promise(scores, 0.04)
    with pytest.raises(ValueError, match="inside 0 and 1"):
        c.promise(scores, 1.0)
    assert c.promise(np.ones(30), 0.5) > 1


def test_the_promise_holds_on_average():
    rng = np.random.default_rng(0)
    rates = [float((rng.normal(size=400) >= c.promise(rng.normal(size=60), 0.1)).mean()) for _ in range(2000)]
    assert 0.075 < np.mean(rates) <= 0.1


@pytest.mark.parametrize("rule", ["nearest", "vote(k=3)", "best(n=2)", "centre"])
@pytest.mark.parametrize("same", [True, False])
def test_leaving_out_is_that_of_a_loop(rule, same):
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(24, 4)).astype(np.float32), [f"c{i % 5}" for i in range(24)]
    y, names = (x, labels) if same else (rng.normal(size=(20, 4)).astype(np.float32), [f"c{i % 4}" for i in range(20)])
    found = c.leave_out(x, labels, None if same else y, names, sim="cosine", rule=rule)
    unit = y / np.linalg.norm(y, axis=1, keepdims=True)
    impostor, genuine, right = [], [], []
    for q in range(24):
        for own_left_out in (True, False):
            keep = [n for n in range(len(y)) if not (same and n == q) and not (own_left_out and names[n] == labels[q])]
            if not own_left_out and not any(names[n] == labels[q] for n in keep):
                continue
            if rule == "centre":
                scores = {}
                for name in dict.fromkeys(names[n] for n in keep):
                    rows = [n for n in range(len(y)) if names[n] == name and (n in keep)]
                    centre = c.centres(unit[rows], [name] * len(rows), "cosine")[0][0]
                    scores[name] = float(centre @ x[q] / np.linalg.norm(centre) / np.linalg.norm(x[q]))
                best = max(scores, key=scores.get)
            else:
                sims = unit[keep] @ x[q] / np.linalg.norm(x[q])
                scores = d.class_scores(sims, [names[n] for n in keep], rule)
                best = next(iter(scores))
            if own_left_out:
                impostor.append(scores[best])
            else:
                genuine.append(scores[best])
                right.append(best == labels[q])
    assert found.impostor == pytest.approx(impostor, abs=1e-5)
    assert found.genuine == pytest.approx(genuine, abs=1e-5)
    assert found.right.tolist() == right


def test_centres_leave_outliers_out():
    x = np.array([[1, 0], [1, 0.01], [1, -0.01], [1, 0.02], [-1, 0.5]], np.float32)
    centre, names = c.centres(x, ["a"] * 5, "cosine")
    assert names == ["a"]
    assert centre[0] == pytest.approx(x[:4].mean(0), abs=1e-6)


def test_calibration_is_that_of_a_fit_by_hand():
    rng = np.random.default_rng(5)
    scores = np.concatenate([rng.normal(1, 1, 4000), rng.normal(-1, 1, 1000)])
    fit = c.platt(scores, np.arange(5000) < 4000)
    assert fit["slope"] == pytest.approx(2, abs=0.15)  # two normals of deviation 1, two apart: log odds 2 x
    assert fit["offset"] == pytest.approx(0, abs=0.15)
