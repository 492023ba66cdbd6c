"""Verification protocols: which pairs are drawn, how many, and that the seed decides which."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluate.protocol import Sample, draw_protocol, is_forged

# Two writers, two genuine signatures on each of two media, and one forgery of the first on paper.
HAND = [
    *(
        Sample(f"{who}-{medium}{n}", who, medium)
        for who in ("ann", "bo")
        for medium in ("paper", "pad")
        for n in (1, 2)
    ),
    Sample("ann-forged", "ann", "paper", True),
]


def pairs_of(samples, **how) -> dict[str, set[frozenset[str]]]:
    drawn = draw_protocol(samples, **how)
    assert drawn.role is not None
    assert [role == "genuine" for role in drawn.role] == drawn.same.tolist()
    found: dict[str, set[frozenset[str]]] = {"genuine": set(), "random": set(), "skilled": set()}
    for a, b, role in zip(drawn.first, drawn.second, drawn.role, strict=True):
        assert frozenset((a, b)) not in found[role]
        found[role].add(frozenset((a, b)))
    return found


@pytest.mark.parametrize(
    ("groups", "genuine", "random", "skilled"),
    # a writer's 4 images: 6 pairs, of which 2 within a medium; 4 x 4 of two writers, half within a medium
    [("any", 12, 16, 4), ("within", 4, 8, 2), ("across", 8, 8, 2)],
)
def test_every_pair_by_hand_where_more_are_asked_for(groups, genuine, random, skilled):
    drawn = pairs_of(HAND, groups=groups)
    assert [len(drawn[role]) for role in ("genuine", "random", "skilled")] == [genuine, random, skilled]
    assert all("ann-forged" in pair for pair in drawn["skilled"])
    assert not any("ann-forged" in pair for pair in drawn["genuine"] | drawn["random"])


def test_the_group_of_a_pair_is_that_of_both_or_of_two():
    drawn = draw_protocol(HAND)
    assert set(drawn.group or ()) == {"paper", "pad", "pad + paper"}
    assert set(draw_protocol(HAND, groups="within").group or ()) == {"paper", "pad"}
    writers = [sample._replace(group=sample.label) for sample in HAND]
    claimed = draw_protocol(writers)
    assert claimed.group == tuple(name.split("-")[0] for name in claimed.first)
    assert draw_protocol([sample._replace(group="") for sample in HAND]).group is None


def test_a_few_pairs_of_each_class_and_another_seed_draws_others():
    drawn = draw_protocol(HAND, per_class=2)
    assert Counter(drawn.role)["genuine"] == 4
    assert Counter(name.split("-")[0] for name in drawn.first[:4]) == {"ann": 2, "bo": 2}
    assert draw_protocol(HAND[::-1], per_class=2).first == drawn.first  # the order of the list does not count
    assert draw_protocol(HAND, per_class=2, seed=1).first != drawn.first
    further = [*HAND, Sample("cy-1", "cy", "paper"), Sample("cy-2", "cy", "paper")]
    assert draw_protocol(further, per_class=2).first[:4] == drawn.first[:4]


samples_of = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "x", "y", "z"]), st.booleans()), max_size=14
).map(lambda rows: [Sample(f"{i}", *row) for i, row in enumerate(rows)])


@given(samples_of, st.sampled_from(["any", "within", "across"]))
def test_all_pairs_are_those_that_loops_over_all_images_find(samples, groups):
    def wanted(a: Sample, b: Sample) -> str:
        if groups != "any" and (not a.group or not b.group or (a.group == b.group) != (groups == "within")):
            return ""
        if a.forged and b.forged:
            return ""
        if a.forged or b.forged:
            return "skilled" if a.label == b.label else ""
        return "genuine" if a.label == b.label else "random"

    expected = {
        role: {frozenset((a.id, b.id)) for a, b in combinations(samples, 2) if wanted(a, b) == role}
        for role in ("genuine", "random", "skilled")
    }
    known = groups == "any" or any(sample.group for sample in samples)
    if known and expected["genuine"] and (expected["random"] or expected["skilled"]):
        assert pairs_of(samples, groups=groups) == expected
    else:
        with pytest.raises(ValueError, match="pair"):
            draw_protocol(samples, groups=groups)


@pytest.mark.parametrize(
    ("samples", "how", "sentence"),
    [
        (HAND, {"groups": "withn"}, "no groups='withn'; did you mean"),
        (HAND, {"per_class": 0}, "the number of pairs per class is 1 or more, got 0"),
        (HAND, {"per_class": 10**6}, "may be 6,000,000, and a file holds at most 2,000,000; ask for 333,333 per class"),
        ([s._replace(group="") for s in HAND], {"groups": "across"}, "need the group of each image: give a table"),
        (HAND[:1], {}, "no class has two genuine images, so that there is no genuine pair"),
        (HAND[:4], {}, "there is no pair of two classes and none with a forgery: give two classes or more"),
        ([Sample(str(i), str(i % 2), str(i)) for i in range(1001)], {"groups": "across"}, "there are 1,001 groups"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(samples, how, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw_protocol(samples, **how)


def test_words_for_roles():
    assert [is_forged(word) for word in ("genuine", "Original", " bona_fide ")] == [False] * 3
    assert [is_forged(word) for word in ("Forgery", "SKILLED-FORGERY", "fake")] == [True] * 3
    assert is_forged("maybe") is None


def test_a_class_of_very_many_images_is_not_listed_pair_by_pair():
    many = [Sample(f"{label}{i}", label) for label in "ab" for i in range(20_000)]
    drawn = draw_protocol(many, per_class=5)
    assert Counter(drawn.role) == {"genuine": 10, "random": 10}
