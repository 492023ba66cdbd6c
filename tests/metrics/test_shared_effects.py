"""What images do to few-shot accuracy and silhouettes of others, against leaving them out."""

import pytest
import torch

from likewise.metrics import few_shot
from likewise.metrics.clustering import silhouette, silhouette_effects
from likewise.metrics.intervals import bootstrap, value
from likewise.metrics.shared_effects import few_shot_ratio, silhouette_ratio


def drawn(classes, size, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(size)
    means = torch.randn(classes, 6, generator=generator)
    return means[labels] + noise * torch.randn(len(labels), 6, generator=generator), labels


def test_effects_on_silhouettes_are_those_of_leaving_an_image_out():
    vectors, labels = drawn(4, 25, 0.5)
    found = silhouette_effects(vectors, labels)
    torch.testing.assert_close(found.value, silhouette(vectors, labels))
    for j in (0, 30, 99):
        rest = torch.arange(100) != j
        lost = (found.value[rest] - silhouette(vectors[rest], labels[rest])).sum()
        assert float(found.effect[j]) == pytest.approx(float(lost), abs=0.004)  # first order in 1 / 25
    assert float(found.effect.abs().max()) > 0.05


@pytest.mark.parametrize("tile", [1, 300, 10_000])
def test_effects_on_silhouettes_do_not_depend_on_the_tile(tile):
    vectors, labels = drawn(3, 7, 0.8)
    whole, tiled = silhouette_effects(vectors, labels), silhouette_effects(vectors, labels, tile=tile)
    torch.testing.assert_close(whole.effect, tiled.effect)
    assert whole.squares == pytest.approx(tiled.squares)


def test_a_single_image_and_equal_images_have_finite_effects():
    vectors = torch.tensor([[0.0], [0.0], [5.0], [5.0], [9.0]])
    found = silhouette_effects(vectors, torch.tensor([0, 0, 1, 1, 2]))
    assert found.effect.isfinite().all()
    assert found.value[4] == 0


def test_an_outlier_makes_the_interval_of_the_silhouette_wider():
    vectors, labels = drawn(5, 8, 0.3)
    plain = silhouette_ratio(silhouette_effects(vectors, labels), labels)
    assert float(plain.effect.sum()) == pytest.approx(0, abs=1e-9)
    old, new = (bootstrap({"s": ratio})["s"] for ratio in (plain._replace(effect=None), plain))
    assert new.value == old.value == pytest.approx(value(plain))


def test_one_bad_example_is_seen_in_the_effects():
    """Image 0 lies in another class: episodes with it as an example go wrong."""
    vectors, labels = drawn(6, 10, 0.1)
    vectors[0] = vectors[15]
    episodes = few_shot.draw(labels, ways=5, shots=1, episodes=600)
    right = few_shot.right(vectors, episodes)
    ratio = few_shot_ratio(episodes, right, labels, classes=False)
    assert int(ratio.effect.argmin()) == 0
    assert float(ratio.effect.sum()) == pytest.approx(0, abs=1e-9)
    assert value(ratio) == pytest.approx(float(right.double().mean()))
    old, new = (bootstrap({"s": one})["s"] for one in (ratio._replace(effect=None), ratio))
    assert new.high - new.low > 1.2 * (old.high - old.low)


def test_several_examples_and_drawn_classes_have_no_effects():
    vectors, labels = drawn(6, 10, 0.5)
    for shots, classes in ((5, False), (1, True)):
        episodes = few_shot.draw(labels, ways=5, shots=shots, episodes=20)
        assert few_shot_ratio(episodes, few_shot.right(vectors, episodes), labels, classes=classes).effect is None
