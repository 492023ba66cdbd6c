"""The animation of the latent space: its frames, its axes, its errors."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from likewise.viz.animation import END_MS, EPOCH_MS, RATE, STEP_MS, animate, draw, interpolated
from report_run import clusters, keep, write_run

CLASSES = ["plain", "<b>bold</b>", "$x$"]


@pytest.fixture
def run(tmp_path) -> Path:
    """Three epochs of six points a class, which move apart."""
    folder = write_run(tmp_path / "run", None, epochs=0)
    held = clusters(CLASSES, dim=2)
    for epoch in range(3):
        keep(type(held)(**{**vars(held), "vectors": held.vectors * (1 + epoch)}), folder, epoch)
    return folder


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as opened:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(opened)]


def test_one_frame_an_epoch_on_axes_that_never_move(run):
    path = animate(run)
    assert path == run / "latent.gif"
    found = frames(path)
    assert len(found) == 3
    ink = [(frame < 200).all(-1) for frame in found]
    axis, legend = slice(530, 555), slice(560, 600)  # rows of the ticks and of the class names
    for mask in ink[1:]:
        np.testing.assert_array_equal(mask[axis], ink[0][axis])
        np.testing.assert_array_equal(mask[legend], ink[0][legend])
    assert ink[0][legend].sum() > 100
    assert all((a != b).any() for a, b in pairwise(ink))
    assert all((frame[0, 0] == 255).all() for frame in found)


def test_frames_in_between_and_how_long_each_stays(run):
    path = animate(run, between=3)
    with Image.open(path) as opened:
        lengths = [frame.info["duration"] for frame in ImageSequence.Iterator(opened)]
        assert opened.info["loop"] == 0
    assert lengths == [EPOCH_MS, STEP_MS, STEP_MS, STEP_MS, EPOCH_MS, STEP_MS, STEP_MS, STEP_MS, END_MS]


def test_points_ease_from_one_epoch_to_the_next():
    points = {0: np.zeros((1, 2)), 4: np.full((1, 2), 8.0)}
    frames = interpolated(points, between=3)
    assert [still.xy[0, 0] for still in frames] == pytest.approx([0, 8 * 5 / 32, 4, 8 * 27 / 32, 8])
    assert [still.epoch for still in frames] == [0, 0, 0, 0, 4]
    assert [still.share for still in frames] == [0, 0.25, 0.5, 0.75, 1]


def test_a_wide_embedding_is_seen_in_the_plane_of_the_last_epoch(tmp_path):
    folder = write_run(tmp_path / "run", None, epochs=0)
    held = clusters(CLASSES, dim=5)
    keep(held, folder, 0)
    keep(held, folder, 1)
    first, last = frames(animate(folder))
    points = slice(60, 520)
    np.testing.assert_allclose(first[points].astype(int), last[points], atol=40)  # 256 colours are not all there are


@pytest.mark.parametrize("classes", [1, 300])
def test_one_class_and_many_classes(classes):
    labels = np.arange(600) % classes
    frames = interpolated({0: np.random.default_rng(0).normal(size=(600, 2)), 1: np.zeros((600, 2))}, between=0)
    assert len(list(draw(frames, labels, tuple(f"class {c}" for c in range(classes))))) == 2


def test_what_cannot_be_animated_is_said_and_leaves_nothing(run, monkeypatch):
    before = sorted(run.rglob("*"))
    with pytest.raises(ValueError, match=r"between is .* got -1"):
        animate(run, between=-1)
    with pytest.raises(ValueError, match="is not a run"):
        animate(run / "snapshots")
    keep(clusters(["other"], dim=2), run, 2)
    with pytest.raises(ValueError, match="not of the same images"):
        animate(run)
    for epoch in (1, 2):
        (run / "snapshots" / f"epoch_{epoch:04d}.parquet").unlink()
    with pytest.raises(ValueError, match=r"has 1 snapshot of its embedding.*snapshot_epochs=0,1,2"):
        animate(run)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="needs the program ffmpeg"):
        animate(run, mp4=True)
    assert set(run.rglob("*")) < set(before)


def test_a_failed_video_leaves_the_old_one_and_says_why(run, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    (run / "latent.mp4").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"ffmpeg could not write .*: no such codec"):
        animate(run, mp4=True)
    assert (run / "latent.mp4").read_bytes() == b"old"
    assert not list(run.glob(".*"))


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("ffprobe"), reason="needs ffmpeg")
def test_a_video_that_plays(run):
    path = animate(run, mp4=True)
    asked = ["-v", "error", "-show_entries", "stream=codec_name,width,height,nb_frames", "-of", "csv=p=0", str(path)]
    said = subprocess.run(["ffprobe", *asked], capture_output=True, text=True, check=True).stdout.strip()
    assert said == f"h264,520,600,{(2 * EPOCH_MS + END_MS) * RATE // 1000}"
