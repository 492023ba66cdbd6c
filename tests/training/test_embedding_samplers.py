"""Samplers that look at the last epoch's embedding: what they promise, what they find, and that going on is exact."""

import math
from collections import Counter
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from likewise import api, geometry, spec
from likewise.data.samplers import pk
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.callbacks import averaged
from likewise.experiment.checkpoint import load_checkpoint, save_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.train import train
from likewise.experiment.trial import loop
from likewise.training.embedding_samplers import (
    ASKED,
    WIDER,
    EpochEmbeddings,
    Hands,
    company,
    hard_classes,
    hard_negatives,
    hardest,
    in_any_order,
    unlike,
)
from likewise.training.loop import fit

LOOKING = [hard_classes, hard_negatives]
LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=80).map(torch.tensor)
SMALL = st.integers(1, 5)
SEEN = st.booleans()


def embedded(labels: torch.Tensor, *, spread: float = 0.7, dim: int = 5) -> EpochEmbeddings:
    """Classes that overlap."""
    drawn = torch.Generator().manual_seed(len(labels))
    centre = torch.randn(int(labels.max()) + 1, dim, generator=drawn)
    return EpochEmbeddings(centre[labels] + spread * torch.randn(len(labels), dim, generator=drawn))


def numbers(sampler, a: int, b: int) -> dict:
    if sampler is hard_classes:
        return {"classes": a, "images": b, "groups": 2}
    return {"images": a, "negatives": b, "batch": 2 * a * (1 + b), "depth": 3}


def drawn(sampler, labels, seen: bool, a: int = 2, b: int = 2, **how) -> list[torch.Tensor]:
    given = {"seed": 0, "epoch": 1, **numbers(sampler, a, b), **how}
    return sampler(labels, embeddings=embedded(labels) if seen else None, **given)


# --- what they promise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", LOOKING)
@given(labels=LABELS, a=SMALL, b=SMALL, seen=SEEN, epoch=st.integers(0, 9))
def test_contract(sampler, labels, a, b, seen, epoch):
    """Every image in every epoch, none twice in a batch; seed, epoch and what was seen alone decide."""
    batches = drawn(sampler, labels, seen, a, b, epoch=epoch)
    assert all(batch.dtype == torch.int64 and len(set(batch.tolist())) == len(batch) > 0 for batch in batches)
    assert set(torch.cat(batches).tolist()) == set(range(len(labels)))
    again = drawn(sampler, labels, seen, a, b, epoch=epoch)
    assert all(torch.equal(x, y) for x, y in zip(batches, again, strict=True))


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("sampler", LOOKING)
def test_epochs_and_seeds_differ_and_labels_are_only_told_apart(sampler, seen):
    labels = torch.arange(100) % 10
    orders = {tuple(drawn(sampler, labels, seen, seed=s, epoch=e)[0].tolist()) for s in range(3) for e in range(3)}
    assert len(orders) == 9
    looked = embedded(labels) if seen else None
    one, two = (sampler(x, seed=0, epoch=0, embeddings=looked) for x in (labels, labels * 1000 - 5))
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hard_clases()", "no sampler named 'hard_clases'; did you mean hard_classes"),
        ("hard_negative", "did you mean hard_negatives"),
        ("hard_classes(group=2)", "did you mean groups"),
        ("hard_negatives(negative=2)", "did you mean negatives"),
    ],
)
def test_a_wrong_name_is_said_before_data_are_read(text, said):
    with pytest.raises(spec.SpecError, match=said):
        Recipe(data="no-such-data", sampler=text)


def test_wrong_numbers():
    labels = torch.tensor([0, 0, 1, 1])
    for sampler in LOOKING:
        with pytest.raises(ValueError, match="images counts images or classes of a batch and is 1 or more; got 0"):
            sampler(labels, images=0, seed=0, epoch=0, embeddings=None)
        with pytest.raises(ValueError, match="no image to draw batches from"):
            sampler(labels[:0], seed=0, epoch=0, embeddings=None)
    with pytest.raises(ValueError, match="groups counts images or classes"):
        hard_classes(labels, groups=0, seed=0, epoch=0, embeddings=None)
    with pytest.raises(ValueError, match="a batch of 3 hands of 4 or more; got guard=1, batch=11"):
        hard_negatives(labels, batch=11, seed=0, epoch=0, embeddings=None)


# --- confusable classes ----------------------------------------------------------------------------------------------


@given(labels=LABELS, classes=SMALL, images=SMALL, groups=SMALL, seen=SEEN)
def test_hard_classes_are_p_classes_of_k_in_as_many_batches_as_pk(labels, classes, images, groups, seen):
    size = Counter(labels.tolist())
    given = {"classes": classes, "images": images, "seed": 0, "epoch": 0}
    batches = hard_classes(labels, groups=groups, embeddings=embedded(labels) if seen else None, **given)
    assert len(batches) == len(pk(labels, **given))
    for batch in batches:
        held = Counter(labels[batch].tolist())
        assert len(held) == min(classes, len(size))
        assert all(count == min(images, size[label]) for label, count in held.items())


def test_before_the_first_epoch_the_batches_are_those_of_pk():
    labels = torch.arange(60) % 6
    given = {"classes": 3, "images": 4, "seed": 3, "epoch": 0}
    one, two = pk(labels, **given), hard_classes(labels, embeddings=None, **given)
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


def test_confusable_classes_by_hand():
    """Six classes on a line at 0, 1, 10, 11, 20, 21: a batch is two neighbours, or two pairs of them."""
    labels = torch.tensor([0, 1, 2, 3, 4, 5] * 24)
    place = torch.tensor([0.0, 1.0, 10.0, 11.0, 20.0, 21.0])[labels]
    seen = EpochEmbeddings(place[:, None] + torch.tensor([-0.4, 0.4]).repeat(72)[:, None], geometry.euclidean)
    for epoch in range(5):
        given = {"images": 4, "seed": 0, "epoch": epoch, "embeddings": seen}
        pairs = [set(labels[batch].tolist()) for batch in hard_classes(labels, classes=2, groups=1, **given)]
        assert Counter(map(tuple, map(sorted, pairs))) == {(0, 1): 6, (2, 3): 6, (4, 5): 6}
        for batch in hard_classes(labels, classes=4, groups=2, **given):
            held = set(labels[batch].tolist())
            assert sum({c, c + 1} <= held for c in (0, 2, 4)) == 2


@given(st.integers(0, 1000), st.integers(1, 4))
def test_a_batch_is_what_explicit_loops_find(seed, groups):
    """A group begins with a class that is due, while there is one; then the most similar that is free and has room."""
    rng, p = default_rng(seed), 6
    sim_CC = rng.normal(size=(9, 9)).astype(np.float32)
    left_C = rng.integers(0, 4, 9)
    left_C[:6] += 1
    due = sorted(rng.permutation(np.flatnonzero(left_C))[: seed % 7].tolist())
    found = company(left_C, np.isin(np.arange(9), due), p, groups, lambda c: sim_CC[c], rng).tolist()
    assert set(due) <= set(found)
    chosen, waiting = [], list(due)
    for group in range(groups):
        for place in range(p // groups + (group < p % groups)):
            pick = found[len(chosen)]
            if place == 0:
                first = pick
                assert left_C[pick] > 0
                assert pick in waiting or not waiting
            else:
                free = [c for c in range(9) if left_C[c] and c not in chosen]
                free = waiting if len(waiting) == p - len(chosen) else free
                assert pick == max(free, key=sim_CC[first].__getitem__)
            chosen.append(pick)
            waiting = [c for c in waiting if c != pick]
    assert len(set(found)) == p


def test_confusable_classes_meet_more_often_than_by_chance():
    labels = torch.arange(20 * 30) % 20
    seen = EpochEmbeddings(
        torch.stack([(labels // 2).float() * 10 + labels % 2, torch.zeros(600)], 1), geometry.euclidean
    )

    def together(**how) -> float:
        held = [set(labels[b].tolist()) for b in hard_classes(labels, classes=4, images=5, seed=0, epoch=0, **how)]
        return sum(c ^ 1 in batch for batch in held for c in batch) / sum(map(len, held))

    assert together(embeddings=seen) > 0.8
    assert together(embeddings=None) < 0.4  # 3 of 19 others: 0.16


# --- hard negatives and their guard ----------------------------------------------------------------------------------


def test_hard_negatives_by_hand():
    """On a line: 0, 1, 2 of class 0; a wrong label at 1.5; its class 1 at 10, 11, 12; a class of one at 30.

    The wrong one is nearer to 1 and to 2 than their own next (too near); for 0 it is not, but of its three nearest all
    are of class 0 (doubted); so all three take the image at 10. To the wrong one all of class 0 are nearer than its
    own, 8.5 away, and the image at 30, alone in its class, has its nearest neighbour in class 1: nothing is left.
    """
    emb = torch.tensor([0.0, 1.0, 2.0, 1.5, 10.0, 11.0, 12.0, 30.0])[:, None]
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])
    seen = EpochEmbeddings(emb, geometry.euclidean)
    assert hardest(seen, labels, depth=1, guard=1).tolist() == [[4], [4], [4], [-1], [2], [2], [2], [6]]
    assert seen.notes == {"negatives": 7, "too_near": 5, "doubted": 2}
    assert hardest(seen, labels, depth=1, guard=0).tolist() == [[3], [3], [3], [1], [2], [2], [2], [6]]
    assert seen.notes == {"negatives": 8, "too_near": 0, "doubted": 0}
    hardest(seen, labels, depth=1, guard=2)
    assert seen.notes == {"negatives": 7, "too_near": 6, "doubted": 1}  # 1.5 is nearer to 0 than 2 is
    assert hardest(seen, labels, depth=9, guard=0)[7].tolist() == [6, 5, 4, 2, 3, 1, 0, -1]


@pytest.mark.parametrize("first", range(8))
def test_no_place_is_special(first):
    """The example by hand with another picture first, and so of place 0."""
    emb = torch.tensor([0.0, 1.0, 2.0, 1.5, 10.0, 11.0, 12.0, 30.0])[:, None].roll(-first, 0)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2]).roll(-first)
    seen = EpochEmbeddings(emb, geometry.euclidean)
    moved = torch.tensor([4, 4, 4, -1, 2, 2, 2, 6]).roll(-first)
    want = torch.where(moved < 0, -1, (moved - first) % 8)
    assert hardest(seen, labels, depth=1, guard=1)[:, 0].tolist() == want.tolist()
    assert seen.notes == {"negatives": 7, "too_near": 5, "doubted": 2}
    rows = in_any_order(want[:, None], default_rng(0))
    assert rows == [[place] if place >= 0 else [] for place in want.tolist()]


def test_the_first_picture_is_a_hard_negative_like_any_other():
    """Picture 0 is the only negative within reach, so every batch of the others' class holds it."""
    labels = torch.tensor([0, 1, 1, 1, 1, 2, 2])
    emb = torch.tensor([0.0, 1.0, 1.1, 1.2, 1.3, 50.0, 51.0])[:, None]
    seen = EpochEmbeddings(emb, geometry.euclidean)
    how = {"batch": 4, "images": 2, "negatives": 1, "depth": 1, "guard": 0}
    batches = [b for e in range(5) for b in hard_negatives(labels, seed=0, epoch=e, embeddings=seen, **how)]
    of_class_1 = [batch for batch in batches if set(labels[batch].tolist()) <= {0, 1}]
    assert len(of_class_1) >= 5
    assert all(0 in batch.tolist() for batch in of_class_1)


def test_a_negative_just_as_similar_as_the_nearest_positive_is_none_of_those_left_out():
    seen = EpochEmbeddings(torch.tensor([0.0, 2.0, -2.0, -3.0, 3.0])[:, None], geometry.euclidean)
    assert hardest(seen, torch.tensor([0, 0, 1, 1, 2]), depth=1, guard=1)[0].tolist() == [2]


def by_loops(emb, labels, depth: int, guard: int) -> tuple[list[list[int]], dict[str, int]]:
    """The same with nothing but loops."""
    n, sim = len(labels), geometry.cosine(emb, emb).tolist()
    size, found, counted = Counter(labels), [], Counter(negatives=0, too_near=0, doubted=0)

    def most_similar(i: int, wanted) -> list[int]:
        return sorted((j for j in range(n) if j != i and wanted(j)), key=lambda j: -sim[i][j])

    def doubted(j: int, label: int) -> bool:
        asked = most_similar(j, lambda _: True)[: min(ASKED, max(1, size[labels[j]] - 1))]
        return 2 * sum(labels[a] == label for a in asked) > len(asked)

    for i in range(n):
        row = []
        own = most_similar(i, lambda j: labels[j] == labels[i])  # noqa: B023 (used at once)
        bound = sim[i][own[min(guard, len(own)) - 1]] if own else math.inf
        for j in most_similar(i, lambda j: labels[j] != labels[i])[: WIDER * depth if guard else depth]:  # noqa: B023
            kind = "too_near" if guard and sim[i][j] > bound else ""
            kind = kind or ("doubted" if guard and doubted(j, labels[i]) else "negatives")
            if len(row) < depth:
                counted[kind] += 1
                row += [j] if kind == "negatives" else []
        found.append(row + [-1] * (min(depth, n) - len(row)))
    return found, dict(counted)


@pytest.mark.parametrize("guard", [0, 1, 3])
@pytest.mark.parametrize("spread", [0.3, 0.8])
@pytest.mark.parametrize("classes", [1, 4, 20])
def test_hard_negatives_are_what_explicit_loops_find(classes, spread, guard):
    labels = torch.randint(0, classes, (60,), generator=torch.Generator().manual_seed(1))
    labels = labels.unique(return_inverse=True)[1]
    seen = embedded(labels, spread=spread)
    labels[::9] = labels[::9].roll(1)  # some labels are wrong
    found, counted = by_loops(seen.emb, labels.tolist(), 7, guard)
    assert hardest(seen, labels, depth=7, guard=guard).tolist() == found
    assert seen.notes == counted
    if classes == 4 and guard:
        assert seen.notes["too_near"] > 0
        assert seen.notes["doubted"] > 0


@pytest.mark.parametrize("each", [20, 6])
def test_an_anchor_comes_with_its_hardest_and_every_hand_is_whole(each):
    """Two tight classes side by side, two far away: near ones are in one batch."""
    labels = torch.arange(4 * each) % 4
    centre = torch.tensor([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    seen = EpochEmbeddings(centre[labels] + 0.01 * torch.randn(4 * each, 2, generator=torch.Generator().manual_seed(0)))
    for batch in hard_negatives(labels, batch=8, images=4, negatives=1, depth=5, seed=0, epoch=1, embeddings=seen):
        assert sorted(labels[batch].tolist()) in ([0] * 4 + [1] * 4, [2] * 4 + [3] * 4)


@given(labels=LABELS, images=SMALL, negatives=st.integers(1, 3), seen=SEEN)
def test_batches_are_full_but_never_too_full(labels, images, negatives, seen):
    batch = 3 * images * (1 + negatives) + 1
    given = {"batch": batch, "images": images, "negatives": negatives, "seed": 0, "epoch": 0}
    batches = hard_negatives(labels, embeddings=embedded(labels) if seen else None, **given)
    assert max(map(len, batches)) <= batch
    full = batch - images * (1 + negatives) + 1
    assert all(len(rows) >= min(full, len(labels)) for rows in batches)


def test_a_batch_without_the_guard_holds_what_the_guard_left_out():
    labels = torch.tensor([0] * 20 + [1] * 20)
    emb = torch.cat([torch.randn(20, 3) * 0.01, torch.randn(20, 3) * 0.01 + 5])
    emb[20] = 0.0  # of class 1, and in the middle of class 0
    given = {"batch": 2, "images": 1, "negatives": 1, "depth": 1, "seed": 0, "epoch": 0}
    guarded, open_ = (
        hard_negatives(labels, guard=guard, embeddings=EpochEmbeddings(emb, geometry.euclidean), **given)
        for guard in (1, 0)
    )
    assert any(20 in batch and (batch < 20).any() for batch in open_)
    assert not any(20 in batch and (batch < 20).any() and len(batch) == 2 and batch[0] < 20 for batch in guarded)


# --- in a training ---------------------------------------------------------------------------------------------------

QUICK = (
    "network=mlp(widths=(16,), dropout=0.2)",
    "size=16",
    "max_per_class=12",
    "loss=sum(losses=['supcon()', 'normalized_softmax()'])",
    "ema=0.9",
    "epochs=4",
    "dim=8",
    "doctor=false",
)
SAMPLERS = ("hard_classes(classes=4, images=4)", "hard_negatives(batch=24, images=3, negatives=1, depth=5)")


def parts_of(sampler: str, *more: str):
    recipe = resolve_defaults(api.load_recipe("digits").override(*QUICK, f"sampler={sampler}", *more))
    return build(recipe, load_images(recipe))


def everything(state) -> list[torch.Tensor]:
    return [t for part in (state.model, state.loss_fn, state.average) for t in part.state_dict().values()]


@pytest.mark.parametrize("stop", ["middle", "end", "begin", "last"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_going_on_is_exact(sampler, stop, tmp_path):
    whole = parts_of(sampler)
    fit(loop(whole), [averaged(0.9)])
    first, average, path = parts_of(sampler), averaged(0.9), tmp_path / "last.safetensors"
    for state in loop(first):
        average(state)
        here = {
            "middle": state.batch_index == 2,
            "end": state.epoch_ended,
            "begin": state.batch_index == 1,
            "last": state.epoch == 3,
        }
        if state.epoch >= 1 and here[stop]:
            break
    save_checkpoint(path, first.state)
    torch.manual_seed(99)
    rest = parts_of(sampler)
    load_checkpoint(path, rest.state)
    going = loop(rest)
    rest.feed.embed_all = looked_at_once(rest.feed.embed_all, rest.state)
    fit(going, [averaged(0.9)])
    assert rest.state.step == whole.state.step
    assert all(torch.equal(a, b) for a, b in zip(everything(rest.state), everything(whole.state), strict=True))


def looked_at_once(look, state):
    """It is looked at the beginning of an epoch alone: in the middle of one the weights are others."""

    def call(model):
        assert state.batch_index == 0
        return look(model)

    return call


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_seen_is_the_training_part_by_the_average_after_each_epoch(sampler):
    parts, seen, models = parts_of(sampler), [], []
    look = parts.feed.embed_all

    def watched(model):
        models.append(model)
        seen.append(look(model))
        return seen[-1]

    parts.feed.embed_all = watched
    ends, steps = [], [0]
    for state in loop(parts):
        averaged(0.9)(state)
        if state.epoch_ended:
            ends.append(parts.state.average.eval()(parts.feed.images.pixels).detach())
            steps.append(state.step)
    assert len(seen) == 3, "not before the first epoch, of which nothing is known"
    assert all(model is parts.state.average for model in models)
    assert all(torch.equal(a.emb, b) for a, b in zip(seen, ends[:3], strict=True))
    assert len(parts.feed.images) == len(parts.images.part("train")) < len(parts.images)


def test_the_similarity_is_that_of_the_run_and_the_mining_is_logged(tmp_path):
    recipe = api.load_recipe("digits").override(*QUICK, f"sampler={SAMPLERS[1]}", "loss=contrastive(margin=1.0)")
    assert build(resolve_defaults(recipe), load_images(recipe)).feed.sim.func is geometry.euclidean
    run, _ = train(recipe, out=tmp_path, name="r")
    lines = [line for line in run.records() if line["kind"] == "draw"]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    trained_on = run.metrics()["data"]["train"]
    assert all(0 < line["negatives"] <= 5 * trained_on for line in lines)
    assert sum(line["too_near"] + line["doubted"] for line in lines) > 0


def test_half_precision_looks_in_half_precision(monkeypatch):
    parts = parts_of(SAMPLERS[0], "amp=always", "epochs=2")
    look, kinds = parts.feed.embed_all, []

    def watched(model):
        kinds.append(torch.is_autocast_enabled("cpu"))
        return look(model)

    parts.feed.embed_all = watched
    fit(loop(parts))
    assert kinds == [True]


def test_a_training_that_diverged_is_said():
    parts = parts_of(SAMPLERS[0])
    with torch.no_grad():
        next(parts.state.final.parameters()).fill_(torch.nan)
    with pytest.raises(geometry.DivergedError, match="vectors hold NaN or infinity: the training has diverged"):
        parts.feed.embed_all(parts.state.final)


def test_a_sampler_of_ones_own_may_look():
    def mine(labels, *, seed, epoch, embeddings):
        calls.append(embeddings)
        return [torch.arange(len(labels))]

    calls = []
    mine.needs_embeddings = True
    parts = parts_of(SAMPLERS[0])
    parts.feed.sampler, parts.feed.needs_embeddings = partial(mine), True
    fit(loop(parts))
    assert calls[0] is None
    assert all(len(seen.emb) == len(parts.feed.images) for seen in calls[1:])
    assert len(calls) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_on_a_gpu_it_finds_the_same_and_goes_on(sampler, tmp_path):
    labels = torch.arange(300) % 7
    here = embedded(labels)
    there = EpochEmbeddings(here.emb.cuda())
    found, found_there = (hardest(seen, labels, depth=5, guard=1) for seen in (here, there))
    assert (found == found_there).float().mean() > 0.99
    parts = parts_of(sampler, "device=cuda", "amp=gpu")
    fit(loop(parts), [averaged(0.9)])
    save_checkpoint(tmp_path / "last.safetensors", parts.state)
    rest = parts_of(sampler, "device=cuda")
    load_checkpoint(tmp_path / "last.safetensors", rest.state)
    assert all(torch.equal(a, b) for a, b in zip(rest.state.plan, parts.state.plan, strict=True))


def test_a_class_that_was_shown_whole_begins_again_with_what_came_first():
    """On the first round those not yet shown, then all in the same order."""
    hands = Hands(np.zeros(3, np.int64), 3, default_rng(0))
    a, b, c = hands.by_class
    hands.shown[c] = True
    assert list(islice(hands.others(0), 2)) == [a, b]
    hands.show(a), hands.show(b)
    hands.close()
    assert list(islice(hands.others(0), 2)) == [a, b]  # c is of the first round and was shown


def test_any_images_of_other_classes_and_a_mark_for_those_of_the_same():
    labels = torch.tensor([0, 0, 1, 2])
    drawn = default_rng(3).integers(0, 4, (4, 9))
    expected = [[-1 if labels[p] == labels[n] else p for p in row] for n, row in enumerate(drawn.tolist())]
    assert unlike(labels, 9, default_rng(3)).tolist() == expected
    assert any(-1 in row for row in expected)
