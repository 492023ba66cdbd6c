"""Relations in a recipe: classes are alike by their place in a hierarchy, or by the tags they share."""

import warnings

import pytest
import torch

from likewise import losses, match, spec
from likewise.data import from_arrays
from likewise.experiment.build import build, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import trial
from likewise.losses.class_labels import ClassLabels, paths, tags

CLASSES = ("Fruit/Apple/Gala", "Fruit/Apple/Pink", "Fruit/Pear", "Milk")


def test_paths_by_hand():
    table = paths(CLASSES)
    assert table.shape == (4, 3)
    assert match.level(table, table, depth=0).tolist() == [
        [True, True, True, False],
        [True, True, True, False],
        [True, True, True, False],
        [False, False, False, True],
    ]
    assert match.level(table, table, depth=1).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert match.level(table, table, depth=2).int().tolist() == torch.eye(4).int().tolist()


def test_tags_by_hand():
    assert tags(("red|round", "red", "square | red")).tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 1]]


def test_the_loss_reads_rows_of_the_table():
    emb, labels = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    plain = losses.build("supcon()", relation="level(depth=0)")
    loss = ClassLabels(plain, paths(CLASSES))
    assert loss(emb, labels) == plain(emb, paths(CLASSES)[labels])
    assert loss(emb, labels) == losses.build("supcon()")(emb, torch.tensor([0, 0, 0, 1])[labels])
    assert loss.at_collapse(labels) == pytest.approx(plain.at_collapse(paths(CLASSES)[labels]))


@pytest.mark.parametrize("relation", ["level(depth=0)", "shared", "jaccard(at=0.5)"])
def test_a_recipe_trains_with_a_relation(relation):
    sign = "/" if relation.startswith("level") else "|"
    names = [f"{kind}{sign}{i}" for kind in "ab" for i in range(3)]
    labels = torch.arange(48) % 6
    images = from_arrays(torch.randn(48, 10), [names[i] for i in labels.tolist()])
    recipe = resolve_defaults(Recipe(relation=relation, network="mlp", sampler="pk(classes=6, images=4)", epochs=1))
    parts = trial(build(recipe, images))
    assert isinstance(parts.state.loss_fn, ClassLabels)
    assert parts.state.loss is not None


@pytest.mark.parametrize("loss", ["softmax", "siamese_bce"])
def test_a_loss_without_pairs_takes_no_relation(loss):
    recipe = resolve_defaults(Recipe(loss=loss, relation="level", network="mlp", sampler="shuffled(batch=16)"))
    images = from_arrays(torch.randn(16, 10), [f"a/{i % 2}" for i in range(16)])
    with pytest.raises(ValueError, match="takes no relation"):
        build(recipe, images)


def test_balanced_and_tile_reach_the_loss():
    recipe = resolve_defaults(Recipe(balanced=True, tile=7, network="mlp"))
    loss = build(recipe, from_arrays(torch.randn(40, 10), [str(i % 4) for i in range(40)])).state.loss_fn
    assert (loss.balanced, loss.tile) == (True, 7)


def test_names_of_earlier_versions_are_read_with_a_notice():
    with pytest.warns(FutureWarning, match="the field turns of a recipe is now called rotations"):
        assert Recipe.from_toml("turns = 4").rotations == 4
    with pytest.warns(FutureWarning, match="sampler 'kin' is now called 'hierarchical_pk'"):
        sampler = spec.bind("sampler", "kin(families=3)")
    assert sampler.keywords == {"superclasses": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Recipe(rotations=4).rotations == 4
