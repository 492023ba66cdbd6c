"""Which pairs are alike: one label, many, a path, a list, or anything callable."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.match import Refs, jaccard, level, listed, match, match_partners, same, shared


def refs(labels, offset=None) -> Refs:
    return Refs(torch.zeros(len(labels), 2), torch.as_tensor(labels), offset)


def test_masks_by_hand():
    pos, neg = match(torch.tensor([1, 2, 1]), refs([1, 2, 1], offset=0))
    assert pos.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    assert neg.tolist() == [[False, True, False], [True, False, True], [False, True, False]]


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.lists(st.integers(-3, 3), max_size=5), st.integers(0, 3)
)
def test_masks_are_what_labels_say(labels, more, before):
    """The anchors stand in the middle of the references."""
    all_labels = torch.tensor([*more[:before], *labels, *more[before:]])
    offset = len(more[:before])
    pos, neg = match(torch.tensor(labels), refs(all_labels, offset))
    for i, mine in enumerate(labels):
        for j, other in enumerate(all_labels.tolist()):
            itself = j == offset + i
            assert pos[i, j] == (mine == other and not itself)
            assert neg[i, j] == (mine != other)
    assert not (pos & neg).any()


@pytest.mark.parametrize("labels", [[2**24, 2**24 + 1, 2**24], [2**62, 2**62 + 1, 2**62], [-1, -2, -1]])
def test_any_whole_number_is_a_label(labels):
    pos, neg = match(torch.tensor(labels), refs(labels, offset=0))
    assert pos.nonzero().tolist() == [[0, 2], [2, 0]]
    assert neg.sum() == 4


MULTI = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_shared():
    pos, neg = match(MULTI, Refs(MULTI, MULTI, 0), shared)
    assert pos.nonzero().tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
    assert not neg.diagonal().any()


@pytest.mark.parametrize(
    ("at", "alike"),
    [
        (0.3, [(0, 1), (0, 2), (1, 2)]),
        (0.5, [(0, 2), (1, 2)]),
        (2 / 3, [(0, 2), (1, 2)]),
        (0.7, []),
        (0.0, [(0, 1), (0, 2), (1, 2)]),
    ],
)
def test_jaccard(at, alike):
    """Classes in both over classes in either: 1/3 for rows 0 and 1, 2/3 for row 2 with each."""
    pos, _ = match(MULTI, Refs(MULTI, MULTI, 0), partial(jaccard, at=at))
    assert {tuple(sorted(pair)) for pair in pos.nonzero().tolist()} == set(alike)


def test_level():
    paths = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 1, 1], [1, 0, 1]])
    for depth, alike in [(0, {(0, 1), (0, 2), (1, 2)}), (1, {(0, 1)}), (2, set())]:
        pos, _ = match(paths, Refs(paths, paths, 0), partial(level, depth=depth))
        assert {tuple(sorted(pair)) for pair in pos.nonzero().tolist()} == alike


def test_listed():
    items = torch.tensor([10, 11, 12, 13])
    alike, unlike = torch.tensor([[10, 11], [13, 12]]), torch.tensor([[12, 10]])
    pos, neg = match(items, Refs(items, items, 0), partial(listed, alike=alike))
    assert pos.nonzero().tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    assert neg.sum() == 8
    pos, neg = match(items, Refs(items, items, 0), partial(listed, alike=alike, unlike=unlike))
    assert pos.sum() == 4
    assert neg.nonzero().tolist() == [[0, 2], [2, 0]]


def test_a_callable_decides():
    pos, neg = match(torch.tensor([0, 10, 11]), refs([0, 10, 11], 0), lambda a, b: (a[:, None] - b).abs() < 2)
    assert pos.nonzero().tolist() == [[1, 2], [2, 1]]
    assert neg.nonzero().tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]


def test_partners_are_compared_row_by_row():
    pos, neg = match_partners(torch.tensor([1, 2, 3]), [torch.tensor([1, 2, 2]), torch.tensor([2, 2, 3])], same)
    assert pos.tolist() == [[True, False], [True, True], [False, True]]
    assert torch.equal(neg, ~pos)


def test_several_labels_ask_for_a_relation():
    with pytest.raises(ValueError, match=r"shape \(5, 4\).*choose the relation: .*shared.*jaccard.*level"):
        match(MULTI, Refs(MULTI, MULTI, 0))
