"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people; read from the zips as published."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from likewise.data.gather import Listed, gather
from likewise.data.images import Images
from likewise.data.options import LoadOptions
from likewise.imaging.find import natural
from likewise.safety import bounds
from likewise.spec import near

__all__ = ["omniglot"]

# set -> the zips it is made of, and the part each of them is (0 train, 2 test).
SETS = {
    "all": {"images_background": 0, "images_evaluation": 2},
    "background": {"images_background": 0},
    "evaluation": {"images_evaluation": 0},
    "small1": {"images_background_small1": 0},
    "small2": {"images_background_small2": 0},
}


def omniglot(options: LoadOptions, *, set: str = "all", ink: str = "bright") -> Images:
    """Omniglot, grey, 105 x 105, 20 drawings a character, from `omniglot/python/*.zip`.

    set  all: the 964 background characters are train and the 659 evaluation characters test (open set, no alphabet in
         common); background | evaluation | small1 | small2: one zip, for which split="by_class(...)" makes an open set
    ink  bright: strokes 255 on 0, as in MNIST, so that the zeros a convolution pads with look like paper;
         dark: strokes 0 on 255, as published

    A class is alphabet/character; groups are the alphabets. (Lake, Salakhutdinov, Tenenbaum, Science 350, 2015)
    """
    if set not in SETS:
        raise ValueError(f"omniglot has no set {set!r}{near(set, SETS)}")
    if ink not in ("bright", "dark"):
        raise ValueError(f"ink is bright or dark, not {ink!r}")
    zips = options.find("omniglot", [f"omniglot/python/{stem}.zip" for stem in SETS[set]])
    listed = [item for path, part in zip(zips, SETS[set].values(), strict=True) for item in _drawings(path, part)]
    return gather(listed, options, name="omniglot", where=zips[0].parent, invert=ink == "bright")


def _drawings(path: Path, part: int) -> Iterator[Listed]:
    """Every drawing of a zip, unread pixels in memory: all of Omniglot is 14 MB that way."""
    try:
        with zipfile.ZipFile(path) as file:
            bounds.expanded(sum(entry.file_size for entry in file.infolist()), path.stat().st_size, path)
            for name in sorted(file.namelist(), key=natural):
                if name.lower().endswith(".png") and len(PurePosixPath(name).parts) == 4:
                    _, alphabet, character, _ = PurePosixPath(name).parts
                    yield Listed(name, file.read(name), f"{alphabet}/{character}", part, alphabet)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError):
        raise ValueError(f"{path} is damaged or no zip; delete it and run `likewise data fetch omniglot`") from None
