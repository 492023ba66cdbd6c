"""Crops of tracked objects: both formats, frames by number, what is dropped, the parts, and a faithful TLP set."""

import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise import data
from likewise.data import tracking as source
from likewise.data.options import LoadOptions
from likewise.data.tracking import numbers, read_sequence, tracking
from likewise.imaging.decode import Crop, decode

FRAMES, SIDES = 20, (40, 30)


def place(n: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the square in frame n, counted from 0."""
    return n, 5, 8, 10


def video(top, name="Car", frames=range(1, FRAMES + 1), digits=4, lines=None, sides=SIDES) -> None:
    """Frames whose red says their number, with a white square; lines as OTB has them unless others are given."""
    (top / name / "img").mkdir(parents=True)
    for n in frames:
        frame = Image.new("RGB", sides, (n, 0, 0))
        left, up, wide, high = place(n)
        frame.paste((n, 255, 255), (left, up, left + wide, up + high))
        frame.save(top / name / "img" / f"{n:0{digits}d}.png")
    if lines is None:
        lines = [",".join(map(str, (left + 1, up + 1, wide, high))) for left, up, wide, high in map(place, frames)]
    (top / name / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")


def tlp_lines(frames=range(1, FRAMES + 1), lost=()) -> list[str]:
    return [",".join(map(str, (n, *place(n), int(n in lost)))) for n in frames]


def read(top, **settings):
    return tracking(LoadOptions(top, size=10), **{"path": str(top), "every": 1} | settings)


def shown(images) -> list[int]:
    """The frame that each crop comes from; every pixel of it must be of the square."""
    assert (images.pixels[:, 1] == 255).all(), "nothing but the square, to the pixel"
    return images.pixels[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", ";"])
def test_otb_counts_from_one(tmp_path, separator):
    lines = [separator.join(map(str, (n + 1, 6, 8, 10))) for n in range(1, FRAMES + 1)]
    video(tmp_path, lines=lines)
    images = read(tmp_path)
    assert shown(images) == list(range(1, FRAMES + 1))
    assert images.classes == ("Car",)
    assert images.shape == (3, 10, 10)
    assert images.ids[0] == "Car/00001"


def test_tlp_counts_from_zero_and_says_what_is_lost(tmp_path):
    video(tmp_path, digits=5, lines=tlp_lines(lost=(3, 4)))
    images = read(tmp_path)
    assert shown(images) == [1, 2, *range(5, FRAMES + 1)]
    assert [(s.id, s.why) for s in images.skipped] == [(f"Car/0000{n}", "the target is lost") for n in (3, 4)]


def test_frames_are_found_by_their_number(tmp_path):
    """With a frame gone, and lines in another order, every box still goes to its own frame."""
    video(tmp_path, digits=5, lines=tlp_lines()[::-1])
    (tmp_path / "Car" / "img" / "00007.png").unlink()
    images = read(tmp_path)
    assert shown(images) == [n for n in range(1, FRAMES + 1) if n != 7]
    assert images.skipped == (("Car/00007", "there is no such frame"),)


def test_a_video_that_starts_late(tmp_path):
    """OTB's David begins with frame 300: as many lines as frames, and the first is of the first frame."""
    video(tmp_path, frames=range(11, 21))
    assert shown(read(tmp_path)) == list(range(11, 21))


def test_what_no_crop_can_be_made_of_is_dropped_and_counted(tmp_path):
    lines = tlp_lines()
    lines[0], lines[1] = "1,5,5,0,10,0", "2,5,5,8,-1,0"
    lines[2], lines[3] = "3,40,5,8,10,0", "4,-9,-20,8,10,0"
    lines[4] = "5,nan,5,8,10,0"
    video(tmp_path, lines=lines)
    found = read(tmp_path)
    assert [s.why for s in found.skipped] == [
        *["the box is empty"] * 2,
        *["the box lies outside the frame"] * 2,
        "the box is no number",
    ]
    assert len(found) == FRAMES - 5


def test_a_box_half_outside_is_cut_at_the_edge(tmp_path):
    video(tmp_path, lines=[f"{n},-5,-5,25,25,0" for n in range(1, 3)], frames=range(1, 3))
    (crop,) = source.crops(read_sequence(tmp_path / "Car"), 2, [])
    assert crop.source == Crop(tmp_path / "Car" / "img" / "0001.png", (0, 0, 20, 20))
    assert decode(crop.source).shape == (3, 20, 20)


def test_every_so_many_counts_frames_not_lines(tmp_path):
    video(tmp_path, lines=tlp_lines(lost=(2, 3)))
    assert shown(read(tmp_path, every=5)) == [1, 6, 11, 16]


def test_parts_in_time(tmp_path):
    video(tmp_path)
    parted = read(tmp_path)
    assert shown(parted.part("train")) == list(range(1, 19))
    assert shown(parted.part("test")) == [19, 20]
    apart = read(tmp_path, parts="gap", train=0.8, gap=0.2)
    assert shown(apart.part("train")) == list(range(1, 13))
    assert shown(apart.part("test")) == [17, 18, 19, 20]


def test_parts_by_sequence(tmp_path):
    for name in ("b", "a", "c10", "c9"):
        video(tmp_path, name)
    images = read(tmp_path, parts="sequences", train=0.7)
    assert images.classes == ("a", "b", "c9", "c10")
    assert images.open
    assert set(images.part("test").labels.tolist()) == {3}
    assert read(tmp_path, sequences=2).classes == ("a", "b")
    with pytest.raises(ValueError, match="needs 3 sequences or more"):
        read(tmp_path, parts="sequences", sequences=2)


def test_background_does_not_touch_the_box(tmp_path):
    for name in ("a", "z"):
        video(tmp_path, name)
    images = read(tmp_path, background=True)
    assert images.classes == ("a", "z", "background")
    pieces = images.take(torch.nonzero(images.labels == 2).flatten())
    assert (pieces.pixels[:, 1] == 0).all(), "nothing of the square"
    assert len(pieces) == 36
    assert (pieces.split == 0).all(), "for training only"
    assert torch.equal(pieces.pixels, read(tmp_path, background=True).pixels[images.labels == 2])


def test_a_box_that_fills_the_frame_leaves_no_background(tmp_path):
    video(tmp_path, lines=[f"{n},0,0,40,30,0" for n in range(1, FRAMES + 1)])
    assert read(tmp_path, background=True).classes == ("Car",)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1,2,3", r"line 1 of .* is '1,2,3'; expected frame,x,y,w,h,lost"),
        ("a,b,c,d", "line 1 of"),
        ("1,2,3,4\n1,2,3,4,5,6", "lines of different lengths"),
        ("", "has no line"),
    ],
)
def test_a_file_of_another_form_is_said(tmp_path, line, sentence):
    video(tmp_path, lines=line.split("\n"))
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path)


def test_no_sequences_are_said(tmp_path):
    with pytest.raises(data.AbsentError, match="tracking is not here"):
        tracking(LoadOptions(tmp_path))
    with pytest.raises(ValueError, match="holds no sequence"):
        read(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        read(tmp_path / "nothing")
    with pytest.raises(ValueError, match="did you mean temporal"):
        read(tmp_path, parts="temporel")
    with pytest.raises(ValueError, match="every is 1 or more"):
        read(tmp_path, every=0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), st.sampled_from([",", "\t", "  ", " , "]))
def test_any_four_numbers_are_read_back(values, separator):
    from pathlib import Path

    assert numbers(separator.join(map(repr, values)), Path("x"), 1) == values


@pytest.mark.slow
def test_otbs_sequences_and_the_same_as_tlp(data_root, tmp_path):
    """A faithful TLP set made of OTB's frames: frames of five digits, boxes from 0, some targets lost."""
    top = data_root("tracking-otb")
    want = LoadOptions(top.parent, size=32)
    otb = tracking(want, every=1)
    assert otb.classes == ("Crossing", "DragonBaby", "Human3")
    assert len(otb) == 120 + 113 + 199
    assert not otb.skipped
    lost = {5, 6, 7}
    for name in otb.classes:
        folder = tmp_path / "TLP" / name / "img"
        folder.mkdir(parents=True)
        rows = [numbers(line, top, 1) for line in (top / name / "groundtruth_rect.txt").read_text().splitlines()]
        lines = [f"{n},{r[0] - 1:g},{r[1] - 1:g},{r[2]:g},{r[3]:g},{int(n in lost)}" for n, r in enumerate(rows, 1)]
        (folder.parent / "groundtruth_rect.txt").write_text("\n".join(lines))
        for n in range(1, len(rows) + 1):
            shutil.copy(top / name / "img" / f"{n:04d}.jpg", folder / f"{n:05d}.jpg")
    tlp = tracking(LoadOptions(tmp_path, size=32), every=1)
    kept = [i for i, name in enumerate(otb.ids) if int(name[-5:]) not in lost]
    assert tlp.ids == tuple(otb.ids[i] for i in kept)
    assert torch.equal(tlp.pixels, otb.pixels[kept])
    assert len(tlp.skipped) == 9
