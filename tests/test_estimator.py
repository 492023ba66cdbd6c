"""MetricLearner meets scikit-learn's own checks, and does its work in a Pipeline and a GridSearchCV."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from likewise import MetricLearner

SMALL = MetricLearner(network="mlp(widths=(8,))", dim=3, epochs=2)


# Rows come in tiny numbers there, and a class with one row has no positive: such batches are counted, not an error.
@parametrize_with_checks([SMALL])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_it_learns_to_tell_flowers_apart():
    X, y = load_iris(return_X_y=True)
    train, test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    learner = MetricLearner(dim=2, epochs=10).fit(train, y_train)
    assert learner.transform(test).shape == (len(test), 2)
    assert learner.score(test, y_test) >= 0.9


def test_pictures_are_taken_as_bytes():
    digits = load_digits()
    pictures = (digits.images * 15).astype(np.uint8)[:300]
    learner = MetricLearner(network="small_resnet", dim=8, epochs=1).fit(pictures, digits.target[:300])
    assert learner.transform(pictures[:5]).shape == (5, 8)


def test_in_a_pipeline_and_a_grid_search():
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(make_pipeline(StandardScaler(), clone(SMALL)), {"metriclearner__dim": [2, 4]}, cv=2)
    search.fit(X, np.array(["a", "b", "c"])[y])
    results = search.cv_results_
    assert list(results["param_metriclearner__dim"]) == [2, 4]
    assert search.best_params_["metriclearner__dim"] == [2, 4][results["mean_test_score"].argmax()]
    assert search.best_estimator_.transform(X).shape == (150, search.best_params_["metriclearner__dim"])
    assert min(results["mean_test_score"]) > 0.5


def test_two_fits_with_one_seed_are_the_same():
    X, y = load_iris(return_X_y=True)
    a, b = (clone(SMALL).fit(X, y).transform(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="only one class; learning what is alike needs rows of at least 2 classes"):
        SMALL.fit(np.random.default_rng(0).normal(size=(10, 3)), np.zeros(10))
