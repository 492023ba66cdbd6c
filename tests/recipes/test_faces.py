"""The recipe `faces`: ten folds over people, and on the real images people never seen in training."""

import numpy as np
import pytest
import torch

from likewise.data.arrays import from_arrays
from likewise.data.images import Images
from likewise.recipes.faces import faces, tenth


def people(n: int, each: int = 3) -> Images:
    labels = np.arange(n).repeat(each)
    return from_arrays(np.zeros((len(labels), 1, 4, 4), np.uint8), labels)


@pytest.mark.parametrize("n", [30, 37, 40])
def test_everyone_is_tested_once_and_never_by_a_model_that_saw_them(n: int):
    images, tested = people(n), []
    for at in range(10):
        parted = tenth(images, at=at, seed=at)
        train, val, test = (set(parted.labels[parted.split == part].tolist()) for part in range(3))
        assert len(train) + len(val) + len(test) == len(train | val | test)
        assert len(train | val | test) == n
        assert len(val) == round(0.1 * (n - len(test)))
        tested += test
    assert sorted(tested) == list(range(n))
    assert torch.equal(tenth(images, at=3).split, tenth(images, at=3).split)


@pytest.mark.parametrize(("n", "at"), [(40, 10), (40, -1), (29, 0)])
def test_a_fold_that_is_none_is_one_sentence(n: int, at: int):
    with pytest.raises(ValueError, match=f"one of ten folds, .* got at={at} and {n} classes"):
        tenth(people(n), at=at)


@pytest.mark.slow
def test_the_recipe_tells_people_that_it_never_saw(data_root, tmp_path):
    from likewise.experiment import train as launch

    data_root("att-faces")
    recipe = faces().replace(split="likewise.recipes.faces:tenth(at=0)", epochs=8)
    run, _ = launch.train(recipe, out=tmp_path, name="faces")
    held = run.metrics()
    assert held["open"]
    assert held["scores"]["pair_auc"]["value"] > 0.8
    assert {"tar@far=0.01", "tar@far=0.001", "tar@far=0.0001"} == set(held["left_out"])
