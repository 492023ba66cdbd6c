"""A verification protocol: genuine pairs, random impostors and skilled forgeries, drawn from a list of images."""

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

import torch

from likewise.evaluate.pair_files import GENUINE, Named
from likewise.imaging.find import natural
from likewise.spec import near

__all__ = ["GROUPS", "Sample", "draw_protocol", "group_names", "is_forged"]

GROUPS = ("any", "within", "across")
RANDOM, SKILLED = "random", "skilled"
MOST_PAIRS = 2_000_000  # of one file
MOST_GROUPS = 1_000  # across which random impostors are drawn
JOIN = " + "  # between the groups of a pair across two

WORDS = {
    **dict.fromkeys(("genuine", "original", "authentic", "real", "bona fide", "g"), False),
    **dict.fromkeys(("forgery", "forged", "skilled", "skilled forgery", "fake", "imitation", "f"), True),
}

Ranges = Sequence[range]  # places in a list of partners
Key = TypeVar("Key")


class Sample(NamedTuple):
    """An image of a class; `forged`: by somebody else, in imitation of that class."""

    id: str
    label: str
    group: str = ""
    forged: bool = False


def is_forged(word: str) -> bool | None:
    """Whether a word of the column of roles is one for forgeries; None for a word that is not known."""
    return WORDS.get(" ".join(word.casefold().replace("_", " ").replace("-", " ").split()))


def draw_protocol(samples: Sequence[Sample], *, per_class: int = 100, groups: str = "any", seed: int = 0) -> Named:
    """At most `per_class` pairs of each role for every class, without repetition; equal for an equal list and seed.

    genuine  two genuine images of the class
    random   a genuine image of the class and one of another class
    skilled  a genuine image of the class and a forgery of it

    Each pair that a class has is equally likely to be drawn, and what a class draws does not depend on the others'
    genuine pairs. The first image is of the class whose identity is claimed.
    groups: within | across draws only pairs of the same group, or of two groups; images without one are left out.
        The group of a pair is theirs, or `a + b`; where every group holds one class only (writers, people), it is the
        first image's.
    Errors: ValueError for numbers out of range, or where there are no genuine, or no different pairs.
    """
    _check(samples, per_class, groups)
    samples = [sample for sample in samples if groups == "any" or sample.group]
    kinds: dict[str, list[tuple[Sample, Sample]]] = {
        GENUINE: _genuine(samples, per_class, groups, seed),
        RANDOM: _impostors(samples, per_class, groups, seed),
        SKILLED: _forgeries(samples, per_class, groups, seed),
    }
    limit = "" if groups == "any" else f" {groups} groups"
    if not kinds[GENUINE]:
        raise ValueError(f"no class has two genuine images{limit}, so that there is no genuine pair")
    if not kinds[RANDOM] and not kinds[SKILLED]:
        raise ValueError(f"there is no pair of two classes and none with a forgery{limit}: give two classes or more")
    rows = [(a, b, role) for role, pairs in kinds.items() for a, b in pairs]
    return Named(
        tuple(a.id for a, _, _ in rows),
        tuple(b.id for _, b, _ in rows),
        torch.tensor([role == GENUINE for *_, role in rows], dtype=torch.bool),
        role=tuple(role for *_, role in rows),
        group=group_names(samples, [(a, b) for a, b, _ in rows]),
    )


def _check(samples: Sequence[Sample], per_class: int, groups: str) -> None:
    if groups not in GROUPS:
        raise ValueError(f"no groups={groups!r}{near(groups, GROUPS)}")
    if per_class < 1:
        raise ValueError(f"the number of pairs per class is 1 or more, got {per_class}")
    classes = len({sample.label for sample in samples})
    if (most := classes * per_class * 3) > MOST_PAIRS:
        raise ValueError(
            f"{per_class:,} pairs of each role for {classes:,} classes may be {most:,}, and a file holds at most "
            f"{MOST_PAIRS:,}; ask for {max(MOST_PAIRS // (3 * classes), 1):,} per class or fewer"
        )
    known = {sample.group for sample in samples}
    if groups != "any" and known <= {""}:
        raise ValueError(
            f"pairs {groups} groups need the group of each image: give a table and the column (--group), "
            "or a run whose data have groups"
        )
    if groups == "across" and len(known) > MOST_GROUPS:
        raise ValueError(
            f"there are {len(known):,} groups, and pairs across at most {MOST_GROUPS:,} are drawn; "
            "leave out --across, or name a column with fewer groups"
        )


def group_names(samples: Sequence[Sample], pairs: Iterable[tuple[Sample, Sample]]) -> tuple[str, ...] | None:
    """The group of each pair, "" where one image has none; None where no group is known. See `draw_protocol`."""
    classes: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        classes[sample.group].add(sample.label)
    if set(classes) <= {""}:
        return None
    if all(len(labels) == 1 for labels in classes.values()):
        return tuple(a.group for a, _ in pairs)
    return tuple(JOIN.join(sorted({a.group, b.group}, key=natural)) if a.group and b.group else "" for a, b in pairs)


def _genuine(samples: Sequence[Sample], n: int, groups: str, seed: int) -> list[tuple[Sample, Sample]]:
    pairs = []
    for label, images in _by_class([s for s in samples if not s.forged]).items():
        span = _spans([sample.group for sample in images])

        def later(i: int, images: list[Sample] = images, span: dict[str, range] = span) -> Ranges:
            stop = span[images[i].group].stop
            return {"any": [range(i + 1, len(images))], "within": [range(i + 1, stop)]}.get(
                groups, [range(stop, len(images))]
            )

        pairs += _drawn(images, images, later, n, f"{seed} {GENUINE} {label}")
    return pairs


def _forgeries(samples: Sequence[Sample], n: int, groups: str, seed: int) -> list[tuple[Sample, Sample]]:
    genuine, pairs = _by_class([s for s in samples if not s.forged]), []
    for label, forged in _by_class([s for s in samples if s.forged]).items():
        images, span = genuine.get(label, []), _spans([sample.group for sample in forged])

        def partners(i: int, images: list[Sample] = images, span: dict[str, range] = span) -> Ranges:
            own = span.get(images[i].group, range(0))
            return _chosen(groups, own, sum(map(len, span.values())))

        pairs += _drawn(images, forged, partners, n, f"{seed} {SKILLED} {label}")
    return pairs


def _impostors(samples: Sequence[Sample], n: int, groups: str, seed: int) -> list[tuple[Sample, Sample]]:
    """Pairs of two classes; one that two classes draw, either way round, is kept once."""
    genuine = [s for s in samples if not s.forged]
    others = sorted(genuine, key=lambda s: ("" if groups == "any" else s.group, s.label, s.id))
    blocks = _spans([("" if groups == "any" else s.group, s.label) for s in others])
    span = _spans(["" if groups == "any" else s.group for s in others])
    impostors: dict[frozenset[str], tuple[Sample, Sample]] = {}
    for label, images in _by_class(genuine).items():
        own = [blocks[key] for key in ((group, label) for group in span) if key in blocks]
        allowed = {group: _without(_chosen(groups, where, len(others)), own) for group, where in span.items()}

        def partners(i: int, images: list[Sample] = images, allowed: dict[str, Ranges] = allowed) -> Ranges:
            return allowed["" if groups == "any" else images[i].group]

        for a, b in _drawn(images, others, partners, n, f"{seed} {RANDOM} {label}"):
            impostors.setdefault(frozenset((a.id, b.id)), (a, b))
    return list(impostors.values())


def _chosen(groups: str, own: range, total: int) -> Ranges:
    """Places of partners in a list in which those of the same group lie at `own`."""
    if groups == "any":
        return [range(total)]
    return [own] if groups == "within" else [range(own.start), range(own.stop, total)]


def _without(ranges: Ranges, blocks: Sequence[range]) -> Ranges:
    """The ranges less some blocks, which are in order and apart."""
    left = []
    for whole in ranges:
        start = whole.start
        for block in blocks:
            if block.start < whole.stop and block.stop > start:
                left.append(range(start, max(block.start, start)))
                start = block.stop
        left.append(range(start, max(whole.stop, start)))
    return [part for part in left if len(part)]


def _drawn(
    firsts: Sequence[Sample], seconds: Sequence[Sample], partners: Callable[[int], Ranges], n: int, seed: str
) -> list[tuple[Sample, Sample]]:
    """At most n of the pairs of a first image with one of its partners, each equally likely, without listing them."""
    ranges = [partners(i) for i in range(len(firsts))]
    ends = list(accumulate(sum(map(len, parts)) for parts in ranges))
    total = ends[-1] if ends else 0
    pairs = []
    for at in sorted(random.Random(seed).sample(range(total), min(n, total))):
        i = bisect_right(ends, at)
        left = at - (ends[i - 1] if i else 0)
        for part in ranges[i]:
            if left < len(part):
                pairs.append((firsts[i], seconds[part[left]]))
                break
            left -= len(part)
    return pairs


def _by_class(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The images of each class, classes in natural order and images by group and id, whatever order the list has."""
    by_class: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda s: (natural(s.label), s.label, s.group, s.id)):
        by_class[sample.label].append(sample)
    return dict(by_class)


def _spans(keys: Sequence[Key]) -> dict[Key, range]:
    """Where each key lies in a list in which equal ones lie together."""
    spans: dict[Key, range] = {}
    for place, key in enumerate(keys):
        spans[key] = range(spans[key].start if key in spans else place, place + 1)
    return spans
