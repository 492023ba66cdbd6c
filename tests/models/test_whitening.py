"""Whitening: the layer by hand and by loops, and how a model and a recipe take it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.experiment import train as launch
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.models import Embedder
from likewise.models.whitening import relevant
from likewise.spec import SpecError

DIGITS = ["epochs=1", "max_per_class=12", "network=mlp(widths=(16,))", "dim=6", "doctor=false", "augment="]


def test_two_classes_by_hand():
    """Class 0 at x = 0, y = -3 and 3; class 1 at x = 2, the same: variances within 0 and 9, their mean 4.5."""
    emb = torch.tensor([[0.0, -3.0], [0.0, 3.0], [2.0, -3.0], [2.0, 3.0]])
    layer = relevant(emb, torch.tensor([0, 0, 1, 1]), shrink=1.0)
    expected = torch.tensor([[-1.0, -3 / math.sqrt(3)], [-1.0, 3 / math.sqrt(3)]])  # 9 / 4.5 + 1 = 3, 0 / 4.5 + 1 = 1
    torch.testing.assert_close(layer(emb)[:2], expected)
    torch.testing.assert_close(layer(emb)[2:], -expected.flip(0))
    assert not any(p.requires_grad for p in layer.parameters())


@given(seed=st.integers(0, 10_000), shrink=st.sampled_from([1e-6, 0.1, 1.0, 30.0]))
def test_what_comes_out_is_centred_and_has_the_spread_that_the_formula_says(seed, shrink):
    g = torch.Generator().manual_seed(seed)
    emb = torch.randn(40, 5, generator=g) @ torch.randn(5, 5, generator=g) + 3
    labels = torch.randint(0, 7, (40,), generator=g) * 11
    out = relevant(emb, labels, shrink=shrink)(emb).double().detach()
    torch.testing.assert_close(out.mean(0), torch.zeros(5).double(), atol=2e-4, rtol=0)

    def within(x):
        rows = []
        for c in sorted(set(labels.tolist())):
            own = x[labels == c]
            rows += [row - own.mean(0) for row in own]
        return sum(torch.outer(row, row) for row in rows) / len(rows)

    before = torch.linalg.eigvalsh(within(emb.double()))
    scaled = before / before.mean()
    expected = (before / (scaled + shrink)).sort().values
    torch.testing.assert_close(
        torch.linalg.eigvalsh(within(out)), expected, atol=1e-3 * float(before.mean()), rtol=1e-2
    )


def test_no_shrinking_to_speak_of_makes_the_spread_within_classes_alike_in_all_directions():
    emb = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 5.0, 20.0])
    out = relevant(emb, torch.arange(300) % 3, shrink=1e-9)(emb)
    std = torch.stack([out[k::3] - out[k::3].mean(0) for k in range(3)]).flatten(0, 1).std(0)
    torch.testing.assert_close(std / std.mean(), torch.ones(4), atol=1e-3, rtol=0)


def test_where_nothing_varies_within_classes_it_only_centres():
    emb = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 0.0]])
    torch.testing.assert_close(relevant(emb, torch.tensor([0, 0, 1]))(emb), emb - emb.mean(0))


def test_what_cannot_be_whitened_is_told():
    emb = torch.randn(3, 2)
    with pytest.raises(ValueError, match=r"usually by 0\.3 to 3; got shrink=0"):
        relevant(emb, torch.tensor([0, 0, 1]), shrink=0)
    with pytest.raises(ValueError, match="needs a class with two images or more"):
        relevant(emb, torch.arange(3))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("head", "dim"), [("linear", 3), ("linear", 0), ("bnneck", 3)])
def test_a_model_is_whitened_before_the_length_of_1_saved_and_loaded(head, dim, normalize, tmp_path):
    torch.manual_seed(0)
    model = Embedder("mlp(widths=(8,))", shape=(5,), dim=dim, head=head, normalize=normalize).eval()
    x, labels = torch.randn(30, 5), torch.arange(30) % 4
    bare = torch.nn.Sequential(*[m for name, m in model.head.named_children() if name != "unit"])
    raw = bare(model.features(x)).detach()
    model.whiten(x, labels, shrink=0.5)
    expected = relevant(raw, labels, shrink=0.5)(raw)
    torch.testing.assert_close(
        model.embed(x), torch.nn.functional.normalize(expected, dim=1) if normalize else expected
    )
    model.save(tmp_path)
    again = Embedder.load(tmp_path)
    assert torch.equal(again.embed(x), model.embed(x))
    assert again.config == model.config
    once = model.embed(x)
    model.whiten(x, labels, shrink=0.5)
    torch.testing.assert_close(model.embed(x), once)  # the earlier layer is replaced


def test_a_model_that_cannot_be_whitened_stays_as_it_was():
    model = Embedder("identity", shape=(5,), dim=3)
    x = torch.randn(4, 5)
    before = model.embed(x)
    with pytest.raises(ValueError, match="needs a class"):
        model.whiten(x, torch.arange(4))
    assert torch.equal(model.embed(x), before)
    assert "whitened" not in model.config


@pytest.mark.slow
def test_a_recipe_whitens_after_training_and_on_resuming_to_the_same(tmp_path):
    plain, _ = launch.train(Recipe().override(*DIGITS), out=tmp_path, name="plain")
    white, images = launch.train(Recipe().override(*DIGITS, "whiten=1"), out=tmp_path, name="white")
    train = images.part("train")
    expected = Embedder.load(plain.path)
    expected.whiten(train, train.labels, shrink=1.0)
    got = Embedder.load(white.path)
    torch.testing.assert_close(got.embed(train), expected.embed(train))
    assert plain.metrics()["scores"] != white.metrics()["scores"]
    again, _ = launch.resume(white.path)
    assert torch.equal(Embedder.load(again.path).embed(train), got.embed(train))


def test_what_a_recipe_cannot_whiten_is_told_before_training():
    with pytest.raises(SpecError, match=r"whiten .*got -1"):
        Recipe(whiten=-1)
    recipe = resolve_defaults(
        Recipe().override(*DIGITS, "max_per_class=1", "val=0", "loss=softmax", "sampler=shuffled", "whiten=1")
    )

    with pytest.raises(ValueError, match="no class of digits has two training images; give whiten=0"):
        build(recipe, load_images(recipe))
