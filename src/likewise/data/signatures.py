"""Cross-media signatures: 93 writers who signed 40 times each, on paper, on a tablet and on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path

from likewise.data.folder import list_images
from likewise.data.gather import Listed, gather
from likewise.data.images import Images, Skipped
from likewise.data.options import LoadOptions
from likewise.imaging.find import legible

__all__ = ["MEDIA", "signatures"]

MEDIA = ("paper", "tablet", "phone-hand", "phone-table")
EACH = 10  # signatures of a writer on one medium
HOW = (
    "put bin/1/1.png to bin/93/40.png there, from the folder experiment/ of github.com/dishangti/Cross-media-Signatures"
)


def signatures(options: LoadOptions) -> Images:
    """Genuine signatures on four media: 93 writers, 40 each, binarised, 224 x 224; a class a writer, a group a medium.

    From `cross-media-signatures/bin/WRITER/K.png`: K is 1 to 10 on paper, then tablet, phone in hand, phone on a table.
    The set has no forgeries by hand: pairs of two writers are random impostors. The publication gives the order of the
    media, and nothing in the files confirms it. (Luo et al., Advanced Intelligent Systems 5, 2023, 2300439)
    """
    (top,) = options.find("signatures", ["cross-media-signatures/bin"], HOW)
    skipped: list[Skipped] = []
    return gather(list(_signed(top, skipped)), options, name="signatures", where=legible(top), skipped=skipped)


def _signed(top: Path, skipped: list[Skipped]) -> Iterator[Listed]:
    for path, folders in list_images(top, skipped):
        if len(folders) == 1 and re.fullmatch(r"[1-9]\d?", path.stem) and int(path.stem) <= EACH * len(MEDIA):
            yield Listed(f"bin/{folders[0]}/{path.name}", path, folders[0], 0, MEDIA[(int(path.stem) - 1) // EACH])
