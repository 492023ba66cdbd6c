"""Splits and filters over any labels: exact shares, no class in two parts, the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from likewise import spec
from likewise.data import split as splits
from likewise.data.filters import compact, narrow
from likewise.data.images import Images
from small_images import six

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=60)
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.4, 0.49])
TRAIN, VAL, TEST = range(3)


def of(labels, split=None, groups=None) -> Images:
    """Images with these labels, and pixels that say their own place."""
    n = len(labels)
    return Images(
        pixels=torch.arange(n).float()[:, None],
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=tuple(f"c{i}" for i in range(max(labels) + 1)),
        ids=tuple(str(i) for i in range(n)),
        split=torch.tensor(split if split is not None else [0] * n, dtype=torch.uint8),
        groups=groups and tuple(map(str, groups)),
        name="those",
    )


@pytest.mark.parametrize("name", splits.__all__)
@given(labels=LABELS, val=SHARES, test=SHARES, seed=st.integers(0, 99))
def test_contract(name, labels, val, test, seed):
    """Only the split changes, some of the images train, and the same seed gives the same parts."""
    images = of(labels, groups=[i // 2 for i in range(len(labels))])
    assume(name != "by_class" or len(set(labels)) >= 3)
    assume(name != "by_group" or len(labels) >= 3)
    parted = getattr(splits, name)(images, val=val, test=test, seed=seed)
    assert (parted.split == TRAIN).any()
    assert parted.split.dtype == torch.uint8
    assert parted.ids == images.ids
    assert torch.equal(parted.labels, images.labels)
    again = getattr(splits, name)(images, val=val, test=test, seed=seed)
    assert torch.equal(parted.split, again.split)
    assert spec.find("split", name) is getattr(splits, name)
    if val == 0:
        assert not (parted.split == VAL).any()
    if test == 0:
        assert not (parted.split == TEST).any()


@given(labels=LABELS, val=SHARES, test=SHARES)
def test_ratio_is_exact_in_every_class(labels, val, test):
    split = splits.ratio(of(labels), val=val, test=test).split.numpy()
    labels = np.array(labels)
    for label in set(labels.tolist()):
        mine = split[labels == label]
        n = len(mine)
        assert (mine == TRAIN).any()
        for part, share in ((VAL, val), (TEST, test)):
            assert (mine == part).sum() < n * share + 1
            assert (mine == part).sum() > n * share - 1 or (mine == TRAIN).sum() == 1
    assert (split == TEST).sum() <= round(len(labels) * test)
    assert (split == VAL).sum() <= round(len(labels) * val)


def test_ratio_meets_the_whole_share_even_when_every_class_is_small():
    split = splits.ratio(of([i // 3 for i in range(300)]), val=0.1, test=0.2).split
    assert split.bincount().tolist() == [210, 30, 60]


@pytest.mark.parametrize("seed", range(8))
def test_ratio_rounds_up_where_most_is_owed(seed):
    """0.9 of 9 images and 0.2 of 2 make 1.1: one image, of the class that is owed nearly one."""
    split = splits.ratio(of([0] * 9 + [1] * 2), val=0.1, test=0.0, seed=seed).split
    assert split[:9].sum() == VAL


def test_ratio_of_even_classes():
    split = splits.ratio(of([i % 2 for i in range(200)]), val=0.1, test=0.2).split
    assert split.view(100, 2)[:, 0].bincount().tolist() == [70, 10, 20]


def test_a_picture_alone_in_its_class_is_trained_on():
    split = splits.ratio(of([0] * 20 + [1, 2, 3]), val=0.3, test=0.3).split
    assert split[20:].tolist() == [0, 0, 0]


def test_seeds_differ():
    images = of([0] * 50)
    assert not torch.equal(splits.ratio(images, seed=0).split, splits.ratio(images, seed=1).split)


@given(labels=LABELS, val=SHARES, test=SHARES)
def test_by_class_parts_classes(labels, val, test):
    assume(len(set(labels)) >= 3)
    split = splits.by_class(of(labels), val=val, test=test).split.numpy()
    part_of = {}
    for label, part in zip(labels, split.tolist(), strict=True):
        assert part_of.setdefault(label, part) == part, "a class in two parts"
    counts = np.bincount(list(part_of.values()), minlength=3)
    assert counts[TRAIN] >= 1
    for part, share in ((VAL, val), (TEST, test)):
        assert (counts[part] > 0) == (share > 0)
        assert abs(counts[part] - len(part_of) * share) <= 1 or counts[part] == 2


def test_a_part_of_new_classes_has_two_of_them():
    """In a part of one class every neighbour is right, and no pair is different."""
    ten = splits.by_class(of(range(10)), val=0.1, test=0.1).split.bincount().tolist()
    assert ten == [6, 2, 2]
    assert splits.by_class(of(range(6)), val=0.1, test=0.2).split.bincount().tolist() == [2, 2, 2]
    assert splits.by_class(of(range(5)), val=0.1, test=0.2).split.bincount().tolist() == [3, 1, 1]
    assert splits.by_class(of(range(4)), val=0.0, test=0.2).split.bincount().tolist() == [2, 0, 2]


def test_by_class_needs_a_class_a_part():
    with pytest.raises(
        ValueError, match=r"by_class needs 3 classes or more, one for each part, and those has 2; use split='ratio'"
    ):
        splits.by_class(of([0, 1]))
    assert splits.by_class(of([0, 1]), val=0.0, test=0.5).open


@given(labels=LABELS, per=st.integers(1, 5), val=SHARES, test=SHARES)
def test_by_group_parts_groups(labels, per, val, test):
    groups = [i // per for i in range(len(labels))]
    assume(len(set(groups)) >= 2)
    split = splits.by_group(of(labels, groups=groups), val=val, test=test).split.numpy()
    part_of = {}
    for group, part in zip(groups, split.tolist(), strict=True):
        assert part_of.setdefault(group, part) == part, "a group in two parts"
    assert TRAIN in part_of.values()


def test_by_group_parts_alphabets_among_themselves():
    """30 alphabets of 2 characters each: 6 alphabets of 12 characters that training never sees."""
    labels = [i // 5 for i in range(300)]
    parted = splits.by_group(of(labels, groups=[label // 2 for label in labels]), val=0.2, test=0.0)
    assert parted.split.bincount().tolist() == [240, 60]
    assert parted.open


def test_by_group_parts_bursts_class_by_class():
    """Every class keeps a burst to train on, and gives one of its four."""
    labels = [i // 20 for i in range(200)]
    parted = splits.by_group(of(labels, groups=[i // 5 for i in range(200)]), val=0.25, test=0.0)
    assert parted.labels[parted.split == VAL].bincount().tolist() == [5] * 10
    alone = splits.by_group(of([0] * 5 + [1] * 10, groups=[0] * 5 + [1] * 5 + [2] * 5), val=0.5, test=0.0)
    assert alone.split[:5].tolist() == [TRAIN] * 5


def test_by_group_leaves_a_given_test_part():
    labels = [i // 10 for i in range(100)]
    images = of(labels, split=[0] * 80 + [2] * 20, groups=[i // 5 for i in range(100)])
    parted = splits.by_group(images, val=0.5, test=0.5)
    assert parted.split[80:].tolist() == [TEST] * 20
    assert parted.split[:80].bincount().tolist() == [40, 40]


def test_by_group_needs_groups():
    with pytest.raises(ValueError, match="those has no groups to split by"):
        splits.by_group(of([0, 1]))
    with pytest.raises(ValueError, match="those has 1 group to split, and by_group needs 2 or more"):
        splits.by_group(of([0, 1], groups=[0, 0]))


@pytest.mark.parametrize("name", ["ratio", "by_class"])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.0, 1.0), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_are_refused(name, shares):
    with pytest.raises(ValueError, match="val and test are shares"):
        getattr(splits, name)(of([0, 1, 2, 3]), val=shares[0], test=shares[1])


def test_given_leaves_whole_splits_alone():
    images = six()
    assert splits.given(images, val=0.5) is images
    nothing_to_train_on = six(split=torch.full((6,), TEST, dtype=torch.uint8))
    assert splits.given(nothing_to_train_on, val=0.5) is nothing_to_train_on


def test_given_without_parts_is_ratio():
    images = of([0, 1] * 50)
    assert torch.equal(
        splits.given(images, val=0.1, seed=3).split, splits.ratio(images, val=0.1, test=0.2, seed=3).split
    )


def test_given_takes_val_out_of_train_in_a_closed_set():
    images = of([0, 1, 2, 3] * 25, split=[0] * 80 + [2] * 20)
    parted = splits.given(images, val=0.25)
    assert parted.split[80:].tolist() == [2] * 20
    assert parted.labels[parted.split == VAL].bincount().tolist() == [5, 5, 5, 5]


def test_given_takes_classes_out_of_train_in_an_open_set():
    images = of([i // 10 for i in range(100)], split=[0] * 80 + [2] * 20)
    parted = splits.given(images, val=0.25)
    seen, held = (set(parted.labels[parted.split == part].tolist()) for part in (TRAIN, VAL))
    assert len(held) == 2
    assert seen.isdisjoint(held)
    assert parted.split[80:].tolist() == [2] * 20


def test_given_with_few_open_classes_takes_images():
    images = of([0] * 10 + [1] * 10 + [2] * 10, split=[0] * 20 + [2] * 10)
    parted = splits.given(images, val=0.2)
    assert parted.labels[parted.split == VAL].bincount().tolist() == [2, 2]


def test_given_measures_val_where_there_is_no_test():
    images = of([0, 1] * 50, split=[0] * 80 + [1] * 20)
    parted = splits.given(images, val=0.25)
    assert parted.split[80:].tolist() == [TEST] * 20
    assert (parted.split == VAL).sum() == 20


def test_given_val_0_takes_nothing():
    images = of([0, 1] * 50, split=[0] * 80 + [2] * 20)
    assert torch.equal(splits.given(images, val=0.0).split, images.split)


@given(
    labels=LABELS, least=st.integers(1, 5), most=st.integers(0, 5), classes=st.integers(0, 5), seed=st.integers(0, 9)
)
def test_narrow_keeps_what_it_says(labels, least, most, classes, seed):
    counts = np.bincount(labels)
    enough = int((counts >= least).sum())
    if not enough:
        with pytest.raises(ValueError, match="no class has min_per_class"):
            narrow(of(labels), min_per_class=least)
        return
    numbers = {"min_per_class": least, "max_per_class": most, "max_classes": classes, "seed": seed}
    kept = narrow(of(labels), **numbers)
    assert len(set(kept.labels.tolist())) == (min(enough, classes) if classes else enough)
    for name in {kept.classes[i] for i in kept.labels.tolist()}:
        before = counts[int(name[1:])]
        assert sum(kept.classes[i] == name for i in kept.labels.tolist()) == (min(before, most) if most else before)
        assert before >= least
    places = [int(i) for i in kept.ids]
    assert places == sorted(places)
    assert [f"c{labels[i]}" for i in places] == [kept.classes[i] for i in kept.labels.tolist()]
    assert kept.pixels.flatten().tolist() == places
    assert narrow(of(labels), **numbers).ids == kept.ids


def test_narrow_counts_in_each_part():
    images = of([0] * 20, split=[0] * 10 + [2] * 10)
    assert narrow(images, max_per_class=3).split.bincount().tolist() == [3, 0, 3]


def test_narrow_says_what_there_is():
    with pytest.raises(
        ValueError, match=r"no class has min_per_class=4 images: the largest, 'c1', has 3; ask for fewer"
    ):
        narrow(of([0, 1, 1, 1]), min_per_class=4)


def test_narrow_of_nothing_to_do_is_the_same():
    images = of([0, 1])
    assert narrow(images) is images


def test_compact_renumbers():
    images = compact(of([4, 2, 4]))
    assert images.classes == ("c2", "c4")
    assert images.labels.tolist() == [1, 0, 1]


def test_labels_and_split_stay_where_they_were():
    images = replace(of([0, 1] * 5), labels=torch.tensor([0, 1] * 5))
    assert splits.ratio(images).split.device == images.split.device


@pytest.mark.parametrize(
    ("ideal", "most", "want"),
    [
        ([0.6, 2.3, 4.1], [9, 9, 9], [1, 2, 4]),  # by the remainder, not by the size
        ([0.3, 0.3, 2.4], [9, 9, 9], [0, 0, 3]),
        ([1.5, 1.0, 0.9], [1, 9, 9], [1, 1, 1]),  # the first may have no more
        ([2.0, 3.0], [9, 2], [2, 2]),
        ([0.0, 0.0], [0, 0], [0, 0]),
    ],
)
def test_whole_numbers_by_the_largest_remainder(ideal, most, want):
    quota = splits._apportion(np.array(ideal), np.array(most), np.random.default_rng(0))
    assert quota.tolist() == want
