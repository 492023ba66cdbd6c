"""Episodes, one-shot trials, and the published baseline of Omniglot's official runs from its description."""

import pytest
import torch

from likewise import geometry
from likewise.metrics import few_shot as f
from likewise.metrics.hausdorff import modified_hausdorff, points


def test_episodes_are_drawn_without_replacement_from_classes_that_are_large_enough():
    labels = torch.cat([torch.arange(30).repeat(4), torch.arange(30, 50)])[torch.randperm(140)] * 3 + 2**24
    episodes = f.draw(labels, ways=20, shots=2, queries=2, episodes=50)
    assert episodes.support.shape == (50, 20, 2)
    assert episodes.query.shape == (50, 20, 2)
    drawn = torch.cat([episodes.support, episodes.query], dim=-1)
    for task in drawn:
        assert len(task.unique()) == 80
        assert (labels[task] == labels[task[:, :1]]).all()
        assert len(labels[task[:, 0]].unique()) == 20
    assert len(labels[drawn].unique()) == 30
    assert torch.equal(f.draw(labels, shots=2, queries=2, episodes=50).query, episodes.query)
    assert not torch.equal(f.draw(labels, shots=2, queries=2, episodes=50, seed=1).query, episodes.query)


def test_too_few_classes_is_one_sentence():
    with pytest.raises(
        ValueError, match="20-way 1-shot episodes need 20 classes of 2 images or more, and there are 19"
    ):
        f.draw(torch.arange(19).repeat(3))


@pytest.mark.parametrize("sim", [geometry.cosine, geometry.euclidean])
@pytest.mark.parametrize("classify", [f.by_nearest, f.by_prototype])
def test_equals_a_loop(classify, sim):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 6
    x = torch.randn(6, 4, generator=generator)[labels] + torch.randn(60, 4, generator=generator)
    episodes = f.draw(labels, ways=5, shots=3, queries=2, episodes=20)
    right = f.right(x, episodes, sim=sim, classify=classify, at_once=7)
    for e in range(20):
        for w in range(5):
            for q in range(2):
                picture = x[episodes.query[e, w, q]][None]
                examples = [x[rows] for rows in episodes.support[e]]
                if classify is f.by_prototype:
                    examples = [rows.mean(0, keepdim=True) for rows in examples]
                best = [float(sim(picture, rows).max()) for rows in examples]
                assert bool(right[e, w, q]) == (best.index(max(best)) == w)


def test_what_is_told_apart_is_always_right_and_what_is_not_is_chance():
    labels = torch.arange(60) % 20
    episodes = f.draw(labels, episodes=200)
    assert f.right(torch.eye(20)[labels], episodes).all()
    noise = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    assert f.right(noise, episodes).double().mean() == pytest.approx(1 / 20, abs=0.02)


def test_one_shot_error_by_hand():
    sim = torch.tensor([[0.1, 0.9], [0.7, 0.2], [0.5, 0.5], [0.5, 0.5]])
    assert f.one_shot_error(sim, torch.tensor([1, 1, 0, 1])).tolist() == [0, 1, 0, 1]


def test_modified_hausdorff_by_hand():
    """From {(0,0), (0,3)} to {(0,0)}: mean of 0 and 3; back: 0. The larger counts."""
    a, b = torch.tensor([[0.0, 0], [0, 3]]).double(), torch.zeros(1, 2).double()
    assert modified_hausdorff(a, b) == modified_hausdorff(b, a) == 1.5
    assert modified_hausdorff(a, a) == 0


def test_modified_hausdorff_equals_a_loop():
    a, b = torch.randn(9, 2).double(), torch.randn(5, 2).double()
    there = sum(min(float((p - q).norm()) for q in b) for p in a) / 9
    back = sum(min(float((p - q).norm()) for p in a) for q in b) / 5
    assert modified_hausdorff(a, b) == pytest.approx(max(there, back))


def test_points_are_about_their_mean():
    ink = torch.zeros(5, 5, dtype=torch.bool)
    ink[1, 2] = ink[3, 2] = True
    assert points(ink).tolist() == [[-1, 0], [1, 0]]
    with pytest.raises(ValueError, match="the drawing is empty"):
        points(torch.zeros(3, 3))
