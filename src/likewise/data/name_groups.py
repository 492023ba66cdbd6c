"""Groups (bursts, videos, writers, sessions) that file names tell, taken only where the images agree.

A name such as `video3_frame0012.png` ends in a sequence number, and what stands before it may name a group. Many names
only look so (`cat.12.jpg`, `IMG_0012.jpg`), hence two tests: counts (`is_plausible`), and whether images of one
proposed group are more alike than others of their class (`images_agree`).
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from likewise.data.images import Images
from likewise.data.scenes import coarse, colours, deviations, thumbs

__all__ = ["group_from_names", "images_agree", "is_plausible", "prefixes", "proposals"]

TEST = 2
LEVELS = 3  # numbers of a name, from its end, before which it is cut
NAMED = 0.9  # share of the images whose names must follow the pattern
LEAST_GROUPS = 5  # from which a tenth or a fifth can be held out in whole groups
SHARED = 0.5  # share of the images that must have another one in their group
LOOKED_AT = 1500  # images compared
SHUFFLES = 99  # random groups of the same sizes, all of which the proposed ones must surpass
AGREE = 0.6  # probability that an image is more like one of its group than like another of its class
LONGEST_PATTERN, SECONDS = 500, 10.0  # of a user's own pattern
COUNTER_WORD = re.compile(r"[_\-. (]+[^\W\d_]{1,12}$")  # `_frame` of `video3_frame`
# A process of its own, since the time of a regular expression has no other bound; it reads and writes JSON alone.
SEARCH = """import json, re, sys
pattern, names = json.load(sys.stdin)
found = (re.search(pattern, name) for name in names)
json.dump([one and one.group(1) for one in found], sys.stdout)"""


def prefixes(name: str) -> list[str]:
    """What a file name may say of its group, the shortest first: the text before each of its last three numbers.

    >>> prefixes("cats/video3_frame0012.png")
    ['video', 'video3']
    """
    stem = re.sub(r"\.[^\W\d_]\w{0,4}$", "", name.rpartition("/")[2][:255])
    starts = [number.start() for number in re.finditer(r"[0-9]+", stem)][-LEVELS:]
    cut = (stem[:start].rstrip("_-. (") for start in starts)
    texts = [COUNTER_WORD.sub("", text) if re.search("[0-9]", text) else text for text in cut]
    return list(dict.fromkeys(text.rstrip("_-. (") for text in texts))


def proposals(names: Sequence[str]) -> list[list[str]]:
    """Possible groups of each image, the coarsest first: folders, and prefixes that end before the same number.

    An image whose name does not follow the pattern has "".
    """
    folders = [name.rpartition("/")[0] for name in names]
    of_name = [prefixes(name) for name in names]
    levels = [[p[-level] if len(p) >= level else "" for p in of_name] for level in range(LEVELS, 0, -1)]
    return [folders, *levels]


def is_plausible(groups: Sequence[str], labels: Sequence[int]) -> bool:
    """Whether these can be groups: nearly every image has one, most share it, and they are not the classes.

    Groups over several classes (writers, sessions) must be five or more, none with half of the images; groups within
    classes (bursts, videos) five or more for the classes of half of the images.
    """
    sizes = Counter(group for group in groups if group)
    named = sum(sizes.values())
    if named < NAMED * len(groups) or sum(size for size in sizes.values() if size > 1) < SHARED * len(groups):
        return False
    if len(sizes) < LEAST_GROUPS or 2 * max(sizes.values()) > len(groups):
        return False
    classes_of = Counter(group for group, _ in {*zip(groups, labels, strict=True)} if group)
    groups_of = Counter(label for group, label in {*zip(groups, labels, strict=True)} if group)
    spread = sum(sizes[group] for group, count in classes_of.items() if count > 1)
    several = sum(groups_of[label] >= LEAST_GROUPS for label in labels)
    many = sum(groups_of[label] > 1 for label in labels)
    return 2 * many > len(labels) and (2 * several >= len(labels) or 2 * spread >= len(labels))


def images_agree(images: Images, groups: Sequence[str], *, seed: int = 0) -> bool:
    """Whether images of one group look more alike than other images of their class, by thumbnails.

    Compared are deviations from the class mean (grey 16 x 16, and colours), within classes; between classes where few
    images have another of their group and class. The difference must exceed that of 99 random groupings with the same
    sizes in each class, and an image be nearer to one of its group with a probability of 0.6. Time O(1500 ** 2).
    """
    if len(images.shape) != 3:
        return False
    rng = np.random.default_rng(seed)
    group_N = np.unique(np.array(groups), return_inverse=True)[1]
    at = np.concatenate([np.flatnonzero(group_N == g) for g in rng.permutation(group_N.max() + 1)])[:LOOKED_AT]
    sample, group_N = images.take(np.sort(at).tolist()), group_N[np.sort(at)]
    label_N = sample.labels.cpu().numpy()
    small_NCSS = thumbs(sample)
    if small_NCSS is None:
        return False
    signs = [deviations(coarse(small_NCSS), sample.labels.cpu())]
    if small_NCSS.shape[1] == 3:
        signs.append(deviations(colours(small_NCSS), sample.labels.cpu()))
    sim_NN = torch.stack([x_ND @ x_ND.mT for x_ND in signs]).mean(0).numpy()
    same_class_NN = label_N[:, None] == label_N
    same_group_NN = group_N[:, None] == group_N
    np.fill_diagonal(same_group_NN, False)
    has_mate_N = (same_class_NN & same_group_NN).any(1)
    compared_NN = same_class_NN if has_mate_N.mean() >= SHARED else ~same_class_NN
    np.fill_diagonal(compared_NN, False)
    mates_NN, others_NN = compared_NN & same_group_NN, compared_NN & ~same_group_NN
    if not mates_NN.any() or not others_NN.any():
        return False
    if _nearer(sim_NN, mates_NN, others_NN) < AGREE:
        return False
    measured = sim_NN[mates_NN].mean()
    return all(_shuffled(sim_NN, compared_NN, group_N, label_N, rng) < measured for _ in range(SHUFFLES))


def _nearer(sim_NN: np.ndarray, mates_NN: np.ndarray, others_NN: np.ndarray) -> float:
    """Probability that a mate of an image is more similar to it than another image; the mean over images with both."""
    shares = []
    for sim_N, mate_N, other_N in zip(sim_NN, mates_NN, others_NN, strict=True):
        if mate_N.any() and other_N.any():
            shares.append(np.searchsorted(np.sort(sim_N[other_N]), sim_N[mate_N]).mean() / other_N.sum())
    return float(np.mean(shares)) if shares else 0.0


def _shuffled(
    sim_NN: np.ndarray, compared_NN: np.ndarray, group_N: np.ndarray, label_N: np.ndarray, rng: np.random.Generator
) -> float:
    """Mean similarity within groups, when the groups of each class are dealt out at random."""
    dealt_N = np.empty_like(group_N)
    dealt_N[np.lexsort((rng.random(len(label_N)), label_N))] = group_N[np.argsort(label_N, kind="stable")]
    mates_NN = compared_NN & (dealt_N[:, None] == dealt_N)
    return float(sim_NN[mates_NN].mean()) if mates_NN.any() else -1.0


def group_from_names(images: Images, how: str, *, seed: int = 0) -> Images:
    """The same images with groups from their ids.

    how  auto: the coarsest proposal that is plausible and that the images confirm, if the source has no groups; test
         images of the source are neither counted nor compared, and the groups are those of all images.
         off: as they are. Else a regular expression with one capture group, such as `(video[0-9]+)_`, searched in the
         path of each image; an image without a match is a group of its own.
    Errors: ValueError for a pattern that is none, has not one capture group, takes too long, or matches no image.
    """
    if how not in ("auto", "off"):
        return _with_groups(images, _searched(how, images.ids), f"group_from={how!r}")
    if how == "off" or images.groups is not None or len(images.shape) != 3:
        return images
    own = (images.split != TEST).nonzero()[:, 0]
    labels = images.labels[own].tolist()
    known: Images | None = None
    for groups in proposals(images.ids):
        proposed = [groups[i] for i in own.tolist()]
        if is_plausible(proposed, labels):
            known = known or images.take(own)
            if images_agree(known, proposed, seed=seed):
                return _with_groups(images, groups, "file names")
    return images


def _with_groups(images: Images, groups: Sequence[str | None], source: str) -> Images:
    named = tuple(group or name for group, name in zip(groups, images.ids, strict=True))
    return replace(images, groups=named, groups_from=source)


def _searched(pattern: str, names: Sequence[str]) -> list[str | None]:
    """What the capture group of a user's pattern matched in each name. Errors: ValueError."""
    example = "give auto, off, or a regular expression with one capture group such as '(video[0-9]+)_'"
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"group_from has {len(pattern)} characters, at most {LONGEST_PATTERN} are read; {example}")
    try:
        count = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"group_from={pattern!r} is no regular expression ({error}); {example}") from None
    if count != 1:
        raise ValueError(f"group_from={pattern!r} has {count} capture groups; {example}")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", SEARCH],
            input=json.dumps([pattern, list(names)]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"group_from={pattern!r} took more than {SECONDS:g} seconds on {len(names):,} names; write it without "
            "repeats inside repeats, as in '(video[0-9]+)_'"
        ) from None
    matches: list[str | None] = json.loads(done.stdout)
    if not any(matches):
        raise ValueError(f"group_from={pattern!r} matches no image, for instance not {names[0]!r}; {example}")
    return matches
