"""From a list of image files with their labels to Images: reading, class names and their spellings."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from likewise.data.files import read
from likewise.data.images import Images, Skipped
from likewise.data.options import LoadOptions
from likewise.imaging.decode import ImageSource
from likewise.imaging.find import natural
from likewise.spec import near

__all__ = ["SPELLINGS", "Listed", "gather", "number", "one_spelling", "split_of"]

SPELLINGS = ("error", "merge", "keep")

# What people call the three parts.
PARTS = {
    **dict.fromkeys(("train", "training", "trn"), 0),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), 1),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), 2),
}


class Listed(NamedTuple):
    """An image that a source has found, before it is read."""

    id: str
    source: ImageSource
    label: str
    split: int = 0
    group: str | None = None
    role: str = ""  # genuine or forged, where a table says it


def gather(
    listed: Sequence[Listed],
    options: LoadOptions,
    *,
    name: str,
    where: object,
    skipped: Iterable[Skipped] = (),
    spellings: str = "keep",
    invert: bool = False,
) -> Images:
    """Read the listed images. where: the name of the source in errors.

    Errors: ValueError when nothing can be read, or a class is spelled in two ways (see one_spelling).
    """
    spelled = one_spelling([item.label for item in listed], spellings)
    pixels, wrong = read([item.source for item in listed], options, invert=invert)
    left_out = (*skipped, *(Skipped(listed[i].id, why) for i, why in wrong.items()))
    readable = [i for i in range(len(listed)) if i not in wrong]
    if not readable:
        example = f", for instance {left_out[0].id}: {left_out[0].why}" if left_out else ""
        raise ValueError(f"{where} holds no image that can be read{example}")
    labels, classes = number([spelled[i] for i in readable])
    groups = tuple(listed[i].group or "" for i in readable)
    return Images(
        pixels=pixels,
        labels=labels,
        classes=classes,
        ids=tuple(listed[i].id for i in readable),
        split=torch.tensor([listed[i].split for i in readable], dtype=torch.uint8),
        groups=groups if any(groups) else None,
        skipped=left_out,
        name=name,
    )


def number(names: Sequence[str]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """int64 [N] labels, and the class names they index, in natural order (s2 before s10)."""
    classes = sorted(set(names), key=natural)
    index = {name: i for i, name in enumerate(classes)}
    return torch.tensor([index[name] for name in names], dtype=torch.int64), tuple(classes)


def one_spelling(names: Sequence[str], spellings: str = "error") -> list[str]:
    """The class names, with spellings such as `Cat`, `cat ` and another Unicode form of `é` merged or not.

    error  two spellings of one class are an error that names both
    merge  they become one class, under the spelling that most images have
    keep   they are different classes
    """
    if spellings not in SPELLINGS:
        raise ValueError(f"no spellings={spellings!r}{near(spellings, SPELLINGS)}")
    if spellings == "keep":
        return list(names)
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for name, count in Counter(names).items():
        forms[plain(name)][name] = count
    if spellings == "error":
        _refuse_twins(sorted(spellings_of_one) for spellings_of_one in forms.values())
    return [max(sorted(forms[plain(name)]), key=forms[plain(name)].__getitem__) for name in names]


def plain(name: str) -> str:
    """The normalised class name: one case, one Unicode composition, single spaces."""
    folded = unicodedata.normalize("NFC", name.casefold())
    return "/".join(" ".join(part.split()) for part in folded.split("/"))


def _refuse_twins(spelled: Iterable[list[str]]) -> None:
    for twins in spelled:
        if len(twins) > 1:
            raise ValueError(
                f"one class is spelled {' and '.join(map(repr, twins))}; rename one, or say spellings='merge' "
                "to take them as one class or spellings='keep' to take them as different ones"
            )


def split_of(word: str) -> int | None:
    """Index into SPLITS of a word for a part (train, training, val, valid, validation, dev, test, testing), or None."""
    return PARTS.get(word.strip().casefold())
