"""Samplers: what every one promises over any labels, then each one's own promise, and its speed."""

import time
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise import spec
from likewise.data import consecutive_sampler, hierarchical_sampler, samplers
from likewise.data.samplers import pairs, pk, shuffled, triplets
from likewise.training import embedding_samplers
from likewise.training.loop import partners_of

MODULES = (samplers, consecutive_sampler, hierarchical_sampler, embedding_samplers)

ALL = [getattr(samplers, name) for name in samplers.__all__]
RAGGED = st.lists(st.integers(0, 9), min_size=1, max_size=120).map(torch.tensor)
WITH_A_PAIR = (
    st.lists(st.integers(0, 9), min_size=3, max_size=120).filter(lambda x: 1 < len(set(x)) < len(x)).map(torch.tensor)
)
SMALL = st.integers(1, 9)


def numbers(sampler, a: int, b: int) -> dict:
    return {"classes": a, "images": b} if sampler is pk else {"batch": a * b}


def anchors(sampler, batch):
    return batch[: len(batch) // (1 + sampler.partners)]


def test_partners():
    assert [sampler.partners for sampler in (shuffled, pk, pairs, triplets)] == [0, 0, 1, 2]
    assert spec.bind("sampler", "pk(classes=3)").func.partners == 0


@pytest.mark.parametrize("sampler", ALL)
@given(labels=WITH_A_PAIR, a=SMALL, b=SMALL, seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_contract(sampler, labels, a, b, seed, epoch):
    """Every image that can be an anchor is one in every epoch; seed and epoch alone decide."""
    batches = sampler(labels, seed=seed, epoch=epoch, **numbers(sampler, a, b))
    assert all(batch.dtype == torch.int64 and len(batch) % (1 + sampler.partners) == 0 for batch in batches)
    seen = torch.cat([anchors(sampler, batch) for batch in batches])
    wanted = set(range(len(labels)))
    if sampler is triplets:
        wanted = {i for i in wanted if (labels == labels[i]).sum() > 1}
    assert set(seen.tolist()) == wanted
    if sampler is not pk:
        assert len(seen) == len(wanted), "once"
    again = sampler(labels, seed=seed, epoch=epoch, **numbers(sampler, a, b))
    assert all(torch.equal(x, y) for x, y in zip(batches, again, strict=True))


@pytest.mark.parametrize("sampler", ALL)
def test_epochs_and_seeds_differ(sampler):
    labels = torch.arange(100) % 10
    orders = {tuple(sampler(labels, seed=s, epoch=e)[0].tolist()) for s in range(3) for e in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize("sampler", ALL)
def test_labels_are_only_told_apart(sampler):
    labels = torch.tensor([0, 1, 0, 2, 1, 1, 0])
    one, two = (sampler(x, seed=0, epoch=0) for x in (labels, labels * 1000 - 5))
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize("sampler", ALL)
def test_wrong_numbers(sampler):
    labels = torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match="is 1 or more; got 0"):
        sampler(labels, seed=0, epoch=0, **numbers(sampler, 0, 1))
    with pytest.raises(ValueError, match="no image to draw batches from"):
        sampler(labels[:0], seed=0, epoch=0)


@pytest.mark.parametrize("classes", [10, 6000])
@pytest.mark.parametrize("sampler", ALL)
def test_speed(sampler, classes):
    """60,000 images in less than 0.2 s of processor time."""
    labels = torch.arange(60_000) % classes

    def seconds(epoch: int) -> float:
        start = time.process_time()
        sampler(labels, seed=0, epoch=epoch)
        return time.process_time() - start

    assert min(seconds(epoch) for epoch in range(4)) < 0.2


@given(labels=RAGGED, batch=st.integers(1, 50))
def test_shuffled_is_a_permutation_in_even_batches(labels, batch):
    batches = shuffled(labels, batch=batch, seed=0, epoch=0)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(labels)))
    sizes = [len(b) for b in batches]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_shuffled_leaves_no_small_last_batch():
    assert [len(b) for b in shuffled(torch.zeros(129), batch=128, seed=0, epoch=0)] == [65, 64]


@given(labels=RAGGED, classes=SMALL, images=SMALL, seed=st.integers(0, 5))
def test_pk_batches_are_p_classes_of_k(labels, classes, images, seed):
    """Every batch: exactly P classes (all when fewer), each with K images (all when fewer), none of them twice."""
    size = Counter(labels.tolist())
    batches = pk(labels, classes=classes, images=images, seed=seed, epoch=0)
    assert set(torch.cat(batches).tolist()) == set(range(len(labels)))
    for batch in batches:
        assert len(set(batch.tolist())) == len(batch)
        held = Counter(labels[batch].tolist())
        assert len(held) == min(classes, len(size))
        assert all(count == min(images, size[label]) for label, count in held.items())


@given(labels=RAGGED, classes=SMALL, images=SMALL)
def test_pk_epochs_are_as_short_as_they_can_be(labels, classes, images):
    size = Counter(labels.tolist())
    hands = {label: -(-n // min(images, n)) for label, n in size.items()}
    expected = max(-(-sum(hands.values()) // min(classes, len(size))), max(hands.values()))
    assert len(pk(labels, classes=classes, images=images, seed=0, epoch=0)) == expected


def test_pk_of_even_classes_visits_each_picture_once():
    labels = torch.arange(1000) % 10
    batches = pk(labels, classes=5, images=20, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [100] * 10
    assert sorted(torch.cat(batches).tolist()) == list(range(1000))


def test_pk_under_a_long_tail_shows_rare_classes_more_often():
    labels = torch.tensor([0] * 400 + [1] * 40 + [2] * 4 + [3])
    batches = pk(labels, classes=3, images=4, seed=0, epoch=0)
    seen = torch.cat(batches).bincount(minlength=len(labels))
    assert len(batches) == 100
    assert (seen[:400] == 1).all()
    assert seen[400:440].min() >= 1
    assert seen[440:444].min() >= 30, "of 100 batches with three classes"


def test_pk_revisits_in_new_company():
    labels = torch.tensor([0] * 64 + [1] * 8)
    batches = pk(labels, classes=2, images=4, seed=0, epoch=0)
    rare = {frozenset(i for i in batch.tolist() if i >= 64) for batch in batches}
    assert len(rare) > 4, "two hands again and again would be two"


def test_pk_mixes_classes_over_epochs():
    """Any two classes meet, and no batch of an epoch is bound to a fixed company."""
    labels = torch.arange(400) % 20
    met = Counter()
    for epoch in range(20):
        for batch in pk(labels, classes=4, images=5, seed=0, epoch=epoch):
            held = sorted(set(labels[batch].tolist()))
            met.update((a, b) for a in held for b in held if a < b)
    assert len(met) == 190
    # 20 epochs x 20 batches x 6 pairs over 190 pairs: 12.6 on average
    assert max(met.values()) < 40


def test_pk_with_one_class():
    batches = pk(torch.zeros(10), classes=4, images=4, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert set(torch.cat(batches).tolist()) == set(range(10))


@given(labels=WITH_A_PAIR, batch=st.integers(1, 40), seed=st.integers(0, 9))
def test_pairs_are_half_alike(labels, batch, seed):
    size = Counter(labels.tolist())
    for rows in pairs(labels, batch=batch, seed=seed, epoch=0):
        anchor, partner = rows.view(2, -1)
        assert (anchor != partner).all()
        alike = labels[anchor] == labels[partner]
        with_company = sum(size[label] > 1 for label in labels[anchor].tolist())
        assert alike.sum() == min(len(anchor) // 2, with_company)
        assert all(size[label] > 1 for label in labels[anchor][alike].tolist())


def test_pairs_are_half_alike_over_all():
    labels = torch.arange(1280) % 7
    rows = torch.cat([b.view(2, -1) for b in pairs(labels, batch=128, seed=0, epoch=0)], 1)
    assert (labels[rows[0]] == labels[rows[1]]).sum() == 640


def partners_drawn(sampler, labels, row, epochs):
    """How often each image is drawn as that partner of the anchor 0."""
    drawn = Counter()
    for epoch in range(epochs):
        for rows in sampler(labels, batch=len(labels), seed=0, epoch=epoch):
            rows = rows.view(1 + sampler.partners, -1)
            drawn.update(rows[row][rows[0] == 0].tolist())
    return drawn


@pytest.mark.parametrize(("sampler", "row"), [(pairs, 1), (triplets, 2)])
def test_negatives_are_uniform_over_classes(sampler, row):
    labels = torch.tensor([0, 0] + [1] * 30 + [2])
    drawn = partners_drawn(sampler, labels, row, 600)
    rare, common = drawn[32], sum(drawn[i] for i in range(2, 32))
    assert abs(rare / (rare + common) - 0.5) < 0.1
    assert all(drawn[i] for i in range(2, 32)), "every image of a class is drawn"


@pytest.mark.parametrize("sampler", [pairs, triplets])
def test_positives_are_uniform_over_the_class(sampler):
    labels = torch.tensor([0, 0, 0, 0, 1])
    drawn = partners_drawn(sampler, labels, 1, 600)
    assert drawn[0] == 0
    share = [drawn[i] / sum(drawn[j] for j in (1, 2, 3)) for i in (1, 2, 3)]
    assert all(abs(s - 1 / 3) < 0.07 for s in share)


@given(labels=WITH_A_PAIR, batch=st.integers(1, 40), seed=st.integers(0, 9))
def test_triplets_are_triplets(labels, batch, seed):
    for rows in triplets(labels, batch=batch, seed=seed, epoch=0):
        anchor, positive, negative = rows.view(3, -1)
        assert (anchor != positive).all()
        assert (labels[anchor] == labels[positive]).all()
        assert (labels[anchor] != labels[negative]).all()


@pytest.mark.parametrize("sampler", [pairs, triplets])
def test_one_class_has_no_different_picture(sampler):
    with pytest.raises(
        ValueError, match=rf"{sampler.__name__} draws images of different classes and needs two or more"
    ):
        sampler(torch.zeros(5), seed=0, epoch=0)


def test_triplets_of_singletons():
    with pytest.raises(ValueError, match="every class has one"):
        triplets(torch.arange(5), seed=0, epoch=0)
    assert all(torch.cat(pairs(torch.arange(5), seed=0, epoch=0)).bincount() >= 1)


def test_triplets_of_next_frames_against_the_last_class():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2])
    batches = triplets(labels, batch=3, positive="next", negative="last", seed=0, epoch=0)
    anchor, positive, negative = torch.cat([batch.view(3, -1) for batch in batches], 1)
    assert sorted(anchor.tolist()) == list(range(7)), "the last class has no anchors"
    after = {0: 1, 1: 2, 2: 1, 3: 4, 4: 5, 5: 6, 6: 5}
    assert [after[a] for a in anchor.tolist()] == positive.tolist()
    assert (labels[negative] == 2).all()
    with pytest.raises(ValueError, match="positive='random' or 'next'"):
        triplets(labels, positive="previous", seed=0, epoch=0)


@pytest.mark.parametrize("name", spec.names("sampler"))
def test_a_recipe_cannot_make_a_sampler_draw_a_share_of_the_data(name):
    """Ranks are a matter of the machine: `pk(ranks=2)` in a recipe once halved the data without a word."""
    with pytest.raises(spec.SpecError, match="takes no 'ranks'"):
        spec.bind("sampler", f"{name}(ranks=2)")


def test_partners_behind_each_anchor():
    behind = {name: partners_of(getattr(module, name)) for module in MODULES for name in module.__all__}
    with_partners = {name: count for name, count in behind.items() if count}
    assert with_partners == {"pairs": 1, "triplets": 2, "consecutive": 1}
