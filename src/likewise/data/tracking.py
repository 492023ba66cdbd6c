"""Video objects: crops of the objects that a tracking benchmark follows, one class per video."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from likewise.data.gather import Listed, gather
from likewise.data.images import Images, Skipped
from likewise.data.options import LoadOptions, as_path
from likewise.imaging.decode import Crop, Head, ImageError, head
from likewise.imaging.find import is_image_name, legible, natural
from likewise.safety import bounds
from likewise.spec import near

__all__ = ["tracking"]

BOXES = "groundtruth_rect.txt"
SIDE = 200  # of the crops, where no size is asked for
PARTS = ("temporal", "gap", "sequences")
TRAIN, TEST = 0, 2
TRIES = 200  # places looked at for a piece of background
HOW = (
    "unpack TLP (amoudgl.github.io/tlp) or OTB (cvlab.hanyang.ac.kr/tracker_benchmark) there, "
    f"as folders <sequence>/img with <sequence>/{BOXES}, or give path= a folder"
)
BACKGROUND = "background"


class Box(NamedTuple):
    """A rectangle in pixels counted from 0; `why` names the problem of an invalid one."""

    left: int
    top: int
    width: int
    height: int
    why: str = ""


@dataclass(frozen=True)
class Sequence:
    """A video: its frames by number, and the box in each."""

    name: str
    frames: dict[int, Path]
    boxes: dict[int, Box]


def tracking(
    options: LoadOptions,
    *,
    path: str = "",
    sequences: int = 0,
    every: int = 10,
    parts: str = "temporal",
    train: float = 0.9,
    gap: float = 0.1,
    background: bool = False,
) -> Images:
    """Crops of the followed object from TLP, TinyTLP or OTB sequences, 200 x 200 where no size is asked for.

    path        the folder of the sequences; else `tracking-otb` or `TLP` below the data root
    sequences   only this many, the first by name; 0 is all
    every       take one frame out of this many, counted by frame number
    parts       temporal: the first `train` of a video is train and the rest test, nearly the same images;
                gap: the same, with the last `gap` of the video before the test part left out;
                sequences: the last 1 - train of the sequences, one at least, are test and no other (open set)
    background  a piece of each training frame that does not touch the box is one more class, for training only

    A sequence is `<name>/img/00001.jpg ...` with `<name>/groundtruth_rect.txt`, lines `frame,x,y,w,h,lost` (TLP) or
    `x,y,w,h` counted from 1 (OTB), with commas, tabs or blanks between. A frame is found by its number, never by its
    place. Lost targets, empty boxes, boxes outside the frame and missing frames are listed as skipped.
    (Moudgil and Gandhi, ACCV 2018; Wu, Lim, Yang, TPAMI 2015) Errors: ValueError for a file of another form.
    """
    check(parts, every, train, gap)
    top = folder_of(options, path)
    videos = [read_sequence(here) for here in sorted(top.iterdir(), key=lambda p: natural(p.name)) if is_sequence(here)]
    videos = videos[: sequences or None]
    if not videos:
        raise ValueError(f"{legible(top)} holds no sequence, a folder img/ beside {BOXES}; {HOW}")
    skipped: list[Skipped] = []
    listed = [item for i, video in enumerate(videos) for item in crops(video, every, skipped)]
    listed = [*parted(listed, [video.name for video in videos], parts, train, gap)]
    if background:
        listed += [piece for item in listed if item.split == TRAIN for piece in pieces(item)]
    asked = replace(options, size=options.size or SIDE)
    images = gather(listed, asked, name="tracking", where=legible(top), skipped=skipped)
    return last_class(images, BACKGROUND) if background else images


def check(parts: str, every: int, train: float, gap: float) -> None:
    if parts not in PARTS:
        raise ValueError(f"no parts={parts!r}{near(parts, PARTS)}")
    if every < 1 or not 0 < train < 1 or not 0 <= gap < train:
        raise ValueError(
            f"every is 1 or more, train a share between 0 and 1, gap a share below it; "
            f"got every={every}, train={train}, gap={gap}"
        )


def folder_of(options: LoadOptions, path: str) -> Path:
    if path:
        if not as_path(path).is_dir():
            raise ValueError(f"{path} is no folder; give the folder that holds the sequences")
        return as_path(path)
    for name in ("tracking-otb", "TLP", "TinyTLP"):
        if (options.root / name).is_dir():
            return options.root / name
    (top,) = options.find("tracking", ["tracking-otb"], HOW)
    return top


def is_sequence(folder: Path) -> bool:
    return (folder / "img").is_dir() and (folder / BOXES).is_file()


def read_sequence(folder: Path) -> Sequence:
    """Frames by the number in their name, and boxes by the frame they are of."""
    frames = {
        int(digits[-1]): path
        for path in sorted((folder / "img").iterdir())
        if is_image_name(path) and (digits := re.findall(r"\d+", path.stem))
    }
    if not frames:
        raise ValueError(f"{legible(folder / 'img')} holds no numbered image, such as 00001.jpg")
    lines = bounds.text(folder / BOXES, kind="a ground truth file").splitlines()
    rows = [(n, numbers(line, folder, n)) for n, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise ValueError(f"{legible(folder / BOXES)} has no line; {EXPECTED}")
    if len({len(row) for _, row in rows}) != 1:
        raise ValueError(f"{legible(folder / BOXES)} has lines of different lengths; {EXPECTED}")
    if len(rows[0][1]) == 6:
        return Sequence(folder.name, frames, {int(row[0]): tlp(row) for _, row in rows})
    # Lines without a frame's number are of consecutive frames: from 1, unless the video has not so many lines.
    first = 1 if len(rows) >= max(frames) else min(frames)
    return Sequence(folder.name, frames, {first + i: otb(row) for i, (_, row) in enumerate(rows)})


EXPECTED = "expected frame,x,y,w,h,lost (TLP) or x,y,w,h (OTB) in every line"


def numbers(line: str, folder: Path, n: int) -> list[float]:
    """The numbers of a line, with commas, semicolons, tabs or blanks between them."""
    try:
        row = [float(cell) for cell in re.split(r"[,;\s]+", line.strip().rstrip(",;"))]
    except ValueError:
        row = []
    if len(row) not in (4, 6) or (len(row) == 6 and not 0 <= row[0] < 2**31):
        raise ValueError(f"line {n} of {legible(folder / BOXES)} is {line.strip()!r:.200}; {EXPECTED}")
    return row


def tlp(row: list[float]) -> Box:
    _, left, top, width, height, lost = row
    return sound(left, top, width, height, "the target is lost" if lost else "")


def otb(row: list[float]) -> Box:
    left, top, width, height = row
    return sound(left - 1, top - 1, width, height)


def sound(left: float, top: float, width: float, height: float, why: str = "") -> Box:
    """A box in whole pixels, or what is wrong with it."""
    if not all(abs(x) < 2**31 for x in (left, top, width, height)):
        return Box(0, 0, 0, 0, why or "the box is no number")
    if not why and (width < 1 or height < 1):
        why = "the box is empty"
    return Box(round(left), round(top), round(width), round(height), why)


def crops(video: Sequence, every: int, skipped: list[Skipped]) -> Iterator[Listed]:
    """Every so-manieth frame, cut to its box; the rest of those go to `skipped` with the reason."""
    size = size_of(video)
    for number in sorted(video.boxes):
        if (number - min(video.boxes)) % every:
            continue
        box, name = video.boxes[number], f"{video.name}/{number:05d}"
        corners = (max(box.left, 0), max(box.top, 0), *ends(box, size))
        outside = corners[0] >= corners[2] or corners[1] >= corners[3]
        why = box.why or ("the box lies outside the frame" if outside else "")
        if number not in video.frames:
            why = "there is no such frame"
        if why:
            skipped.append(Skipped(name, why))
        else:
            yield Listed(name, Crop(video.frames[number], corners), video.name)


def size_of(video: Sequence) -> Head:
    """Of the first frame that can be read; all frames of a video are alike."""
    for path in video.frames.values():
        try:
            return head(path)
        except ImageError:
            continue
    raise ValueError(f"no frame of {video.name} can be read")


def ends(box: Box, size: Head) -> tuple[int, int]:
    return min(box.left + box.width, size.width), min(box.top + box.height, size.height)


def parted(listed: list[Listed], names: list[str], parts: str, train: float, gap: float) -> Iterator[Listed]:
    """The same with their part; those in the gap are left out."""
    if parts == "sequences":
        if len(names) < 3:
            raise ValueError(
                f"parts='sequences' needs 3 sequences or more, 2 of them to train on; there are {len(names)}"
            )
        test = set(names[-min(max(round(len(names) * (1 - train)), 1), len(names) - 2) :])
        yield from (item._replace(split=TEST if item.label in test else TRAIN) for item in listed)
        return
    for name in names:
        mine = [item for item in listed if item.label == name]
        ends_at = int(len(mine) * train)
        stops_at = ends_at - int(len(mine) * gap) if parts == "gap" else ends_at
        yield from (item._replace(split=TRAIN) for item in mine[:stops_at])
        yield from (item._replace(split=TEST) for item in mine[ends_at:])


def pieces(item: Listed) -> Iterator[Listed]:
    """A piece of the frame of the box's size that does not touch the box, where there is room; the same every time."""
    assert isinstance(item.source, Crop)
    left, top, right, bottom = item.source.box
    size, rng = head(item.source.path), random.Random(item.id)
    width, height = right - left, bottom - top
    for _ in range(TRIES if width < size.width and height < size.height else 0):
        x, y = rng.randint(0, size.width - width), rng.randint(0, size.height - height)
        if x >= right or x + width <= left or y >= bottom or y + height <= top:
            box = (x, y, x + width, y + height)
            yield Listed(f"{item.id} {BACKGROUND}", Crop(item.source.path, box), BACKGROUND)
            return


def last_class(images: Images, name: str) -> Images:
    """The same with this class numbered last."""
    order = sorted(range(len(images.classes)), key=lambda i: (images.classes[i] == name, i))
    place = torch.empty(len(order), dtype=torch.int64)
    place[torch.tensor(order)] = torch.arange(len(order))
    return replace(images, classes=tuple(images.classes[i] for i in order), labels=place[images.labels])
