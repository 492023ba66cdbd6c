"""The sampler of neighbouring classes: coverage, neighbourhood, sizes, and seeds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.data.hierarchical_sampler import hierarchical_pk


def gaps(classes, total):
    """Steps between neighbouring classes of a run, once around."""
    here = sorted(classes)
    return [(b - a) % total for a, b in zip(here, [*here[1:], here[0]], strict=True)]


def test_every_picture_once_an_epoch_and_batches_of_the_size_asked():
    labels = torch.arange(64).repeat_interleave(4)
    batches = hierarchical_pk(labels, superclasses=2, classes=8, images=2, seed=0, epoch=0)
    assert sorted(torch.cat(batches).tolist()) == list(range(256))
    assert [len(batch) for batch in batches] == [2 * 8 * 2] * 8


def test_a_batch_is_runs_of_neighbours():
    labels = torch.arange(60).repeat_interleave(3)[torch.randperm(180, generator=torch.Generator().manual_seed(0))]
    for batch in hierarchical_pk(labels, superclasses=1, classes=10, images=3, seed=0, epoch=0):
        drawn = labels[batch]
        assert drawn.unique(return_counts=True)[1].tolist() == [3] * 10
        assert sorted(gaps(set(drawn.tolist()), 60))[:-1] == [1] * 9, "one gap closes the ring, all others are steps"


def test_the_runs_of_a_batch_are_from_anywhere_and_begin_anywhere():
    labels = torch.arange(100).repeat_interleave(2)
    begins = set()
    for epoch in range(10):
        for batch in hierarchical_pk(labels, superclasses=2, classes=10, images=2, seed=0, epoch=epoch):
            begins |= {c for c in set(labels[batch].tolist()) if (c - 1) % 100 not in labels[batch].tolist()}
    assert len(begins) > 50


def test_small_classes_take_part_with_the_hands_they_have():
    labels = torch.tensor([0] * 7 + [1] * 1 + [2] * 4)
    drawn = torch.cat(hierarchical_pk(labels, superclasses=1, classes=2, images=2, seed=0, epoch=0))
    assert labels[drawn].bincount().tolist() == [6, 1, 4]
    assert len(set(drawn.tolist())) == 11


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(lambda sizes: max(sizes) >= 2),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 2),
    st.integers(0, 99),
)
def test_no_picture_twice_whole_hands_and_short_ones_of_small_classes(sizes, superclasses, classes, images, seed):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    batches = hierarchical_pk(labels, superclasses=superclasses, classes=classes, images=images, seed=seed, epoch=1)
    drawn = torch.cat(batches)
    assert len(drawn) == len(drawn.unique()) == sum(size // images * images or size for size in sizes)
    for batch in batches:
        for label, count in zip(*labels[batch].unique(return_counts=True), strict=True):
            assert not count % images or count == sizes[label] < images
    again = hierarchical_pk(labels, superclasses=superclasses, classes=classes, images=images, seed=seed, epoch=1)
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ():
    labels = torch.arange(40).repeat_interleave(4)
    first, epoch, seed = (torch.cat(hierarchical_pk(labels, seed=s, epoch=e)) for s, e in ((0, 0), (0, 1), (1, 0)))
    assert not torch.equal(first, epoch)
    assert not torch.equal(first, seed)


def test_too_many_pictures_of_a_class_are_refused():
    with pytest.raises(ValueError, match=r"images=3 .* no class has so many"):
        hierarchical_pk(torch.arange(5).repeat_interleave(2), images=3, seed=0, epoch=0)
