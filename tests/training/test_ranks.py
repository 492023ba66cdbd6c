"""The loop with several processes: the images of one process, and its weights."""

import pytest
import torch
from rank_runs import dropped, run, shown, varied

from likewise.experiment.recipe import Recipe
from likewise.training.ranks import sizes_of

BASE = Recipe(network="mlp(widths=(8,))", loss="supcon", sampler="pk(classes=4, images=3)", epochs=20, augment="")


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Of all weights as one vector, and of the losses."""
    assert a.keys() == b.keys()
    assert torch.equal(a["seen"], b["seen"])
    names = [name for name in a if name not in ("values", "seen")]
    pairs = [[torch.cat([x[name].flatten() for name in names]) for x in (a, b)], (a["values"], b["values"])]
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


TRAININGS = {
    "plain": BASE,
    "odd batches": BASE.replace(sampler="shuffled(batch=7)"),
    "an empty process": BASE.replace(sampler="shuffled(batch=1)", loss="softmax"),
    "proxies": BASE.replace(loss="proxy_anchor(alpha=4)"),
    "memory": BASE.replace(memory=20),
    "pairs of partners": BASE.replace(sampler="pairs(batch=5)", loss="contrastive(pos_at=1, neg_at=0)"),
    "triplets of partners": BASE.replace(sampler="triplets(batch=5)", loss="triplet"),
    "chunks": BASE.replace(accumulate=3, sampler="shuffled(batch=7)"),
    "images that look at the embeddings": BASE.replace(sampler="hard_classes(classes=3, images=2, groups=1)"),
    "augmented": BASE.replace(augment="handwriting"),
    "batch normalisation": BASE.replace(head="bnneck"),
    "batch normalisation in chunks": BASE.replace(head="bnneck", accumulate=2, sampler="shuffled(batch=15)"),
    "a random miner": BASE.replace(miner="distance_weighted(dim=4)", loss="margin"),
}
LOOSE = {"batch normalisation in chunks"}  # a chunk is of other rows: near, not the same


@pytest.mark.parametrize("name", ["plain", "odd batches", "augmented"])
def test_two_processes_end_in_the_weights_of_one(two, name):
    one = run(TRAININGS[name])
    for found in two(run, TRAININGS[name]):
        assert apart(found, one) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TRAININGS) - LOOSE))
def test_every_kind_of_training(two, name):
    one = run(TRAININGS[name])
    first, second = two(run, TRAININGS[name])
    assert apart(first, one) < 1e-6
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "an empty process", "augmented", "batch normalisation"])
def test_four_processes_end_in_the_weights_of_one(four, name):
    one = run(TRAININGS[name])
    assert max(apart(found, one) for found in four(run, TRAININGS[name])) < 1e-6


@pytest.mark.slow
def test_chunks_are_as_many_on_every_process(two):
    first, second = two(run, TRAININGS["batch normalisation in chunks"])
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_batch_normalisation_of_each_process_alone_is_another_training(two):
    recipe = TRAININGS["batch normalisation"].replace(sync_batchnorm=False)
    first, second = two(run, recipe)
    assert all(torch.equal(first[key], second[key]) for key in first)  # but its weights and statistics are one
    assert apart(first, run(recipe)) > 1e-4


@pytest.mark.parametrize("sampler", ["pk(classes=4, images=3)", "hierarchical_pk(superclasses=1, classes=3, images=2)"])
def test_a_class_sampler_draws_one_batch_that_the_processes_share(two, sampler):
    recipe = BASE.replace(sampler=sampler)
    for epoch in range(2):
        whole, parts = shown(recipe, epoch), two(shown, recipe, epoch)
        for batch, *own in zip(whole, *parts, strict=True):
            assert torch.equal(torch.cat([images for images, _, _ in own]), batch[0])
            assert torch.equal(torch.cat([labels for _, labels, _ in own]), batch[1])
            assert {part.start for _, _, places in own for part in places} == {0, len(own[0][1])}


def test_partners_stay_behind_their_anchors(two):
    recipe = BASE.replace(sampler="triplets(batch=5)")
    whole, parts = shown(recipe, 0), two(shown, recipe, 0)
    for (images, labels, _), *own in zip(whole, *parts, strict=True):
        blocks = [torch.cat([part[0].chunk(3)[block] for part in own]) for block in range(3)]
        assert torch.equal(torch.cat(blocks), images)
        assert sum(len(part[1]) for part in own) == len(labels)


@pytest.mark.parametrize("augment", ["strong", "handwriting", "chain(steps=['flip', 'noise', 'mix'])"], ids=str)
@pytest.mark.parametrize("size", [5, 16, 1])
def test_each_image_is_varied_as_in_the_whole_batch(two, augment, size):
    whole = varied(augment, (size,))
    for found in two(varied, augment, (size // 2, size - size // 2)):
        assert torch.equal(found, whole)


def test_dropout_differs_between_processes_and_the_shared_stream_goes_on(two):
    (first, after_first), (second, after_second) = two(dropped)
    assert not torch.equal(first, second)
    assert torch.equal(after_first, after_second)
    torch.manual_seed(0)
    assert torch.equal(after_first, torch.rand(3))


def test_rows_are_shared_out_evenly():
    for n in range(30):
        for ranks in range(1, 9):
            sizes = sizes_of(n, ranks)
            assert sum(sizes) == n
            assert max(sizes) - min(sizes) <= 1
