"""The AT&T (Olivetti Research Laboratory) faces: 40 people, 10 photographs of 92 x 112 pixels each."""

import re
from collections.abc import Iterator
from pathlib import Path

from likewise.data.folder import list_images
from likewise.data.gather import Listed, gather, split_of
from likewise.data.images import Images, Skipped
from likewise.data.options import LoadOptions
from likewise.imaging.find import legible

__all__ = ["faces"]

HELD_OUT = {"s5", "s6", "s7"}
HOW = "unpack the AT&T Database of Faces there (cam-orl.co.uk/facedatabase.html), folders s1 to s40"


def faces(options: LoadOptions) -> Images:
    """AT&T faces: 40 people, 10 images each, grey, 112 high and 92 wide, open set.

    From `att-faces/data/faces/{training,testing}/sN/K.pgm`, where the people of testing/ are the test part, or from
    `att-faces/sN/K.pgm`, where s5, s6 and s7 are, as in the other layout. (Samaria and Harter, WACV 1994)
    """
    (top,) = options.find("faces", ["att-faces"], HOW)
    skipped: list[Skipped] = []
    return gather(list(_people(top, skipped)), options, name="faces", where=legible(top), skipped=skipped)


def _people(top: Path, skipped: list[Skipped]) -> Iterator[Listed]:
    for path, folders in list_images(top, skipped):
        if path.suffix.lower() != ".pgm" or not folders or not re.fullmatch(r"s\d+", folders[-1]):
            continue
        split = split_of(folders[-2]) if len(folders) > 1 else None
        if split is None:
            split = 2 if folders[-1] in HELD_OUT else 0
        yield Listed("/".join((*folders, path.name)), path, folders[-1], split)
