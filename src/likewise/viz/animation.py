"""Animates the embedding over training epochs, as GIF or MP4 with fixed axes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from likewise.atomic import replacing
from likewise.evaluate import Embeddings
from likewise.experiment.run import Run
from likewise.viz.pages.run_data import held_out, snapshots
from likewise.viz.plots.clouds import Cloud, frame, legend, limits, scatter
from likewise.viz.plots.style import GRID, PALETTE, class_key, quiet, sheet
from likewise.viz.projection import plane

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["animate"]

RATE = 25  # frames per second of a video
EPOCH_MS, STEP_MS, END_MS = 520, 40, 2_520  # whole frames: an epoch, an interpolated frame, the last epoch
SIDE, DPI = 5.2, 100  # inches, pixels per inch: an even number of pixels, which H.264 requires


class Frame(NamedTuple):
    """One frame: point coordinates, epoch, share of the training done, and duration."""

    xy: np.ndarray  # [N, 2]
    epoch: int
    share: float
    milliseconds: int


def animate(run: str | os.PathLike, *, mp4: bool = False, between: int = 0) -> Path:
    """Write latent.gif (or latent.mp4) into the run folder, from its snapshots. Returns the path.

    All frames share their axes; an embedding of more than two dimensions is projected to the PCA plane of the
    last epoch. between: interpolated frames between two epochs.
    Errors: ValueError for a run with fewer than two snapshots or with snapshots of different images, and for `mp4`
    without the program ffmpeg.
    """
    if between < 0:
        raise ValueError(f"between is the number of frames between two epochs, 0 or more, got {between}")
    if mp4 and not shutil.which("ffmpeg"):
        raise ValueError(
            "--mp4 needs the program ffmpeg, which is not on the PATH; install it, or leave --mp4 out for a GIF"
        )
    opened = Run.open(run)
    embeddings = _held_out_snapshots(opened)
    last = embeddings[max(embeddings)]
    to_plane = plane(last.vectors)
    moments = interpolated({epoch: to_plane(e.vectors) for epoch, e in embeddings.items()}, between)
    frames = draw(moments, last.labels.numpy(), last.classes)
    path = opened.path / ("latent.mp4" if mp4 else "latent.gif")
    with replacing(path) as temporary:
        (write_mp4 if mp4 else write_gif)(temporary, frames, [moment.milliseconds for moment in moments])
    return path


def _held_out_snapshots(run: Run) -> dict[int, Embeddings]:
    """Held-out embeddings by epoch. Errors: ValueError for fewer than two snapshots, or of different images."""
    embeddings = {epoch: held_out(e) or e for epoch, e in snapshots(run).items()}
    if len(embeddings) < 2:
        raise ValueError(
            f"{run.path} has {len(embeddings)} snapshot{'s' if len(embeddings) != 1 else ''} of its embedding, "
            "and an animation needs at least 2; train with snapshot_epochs=0,1,2,... to save more"
        )
    first, *others = embeddings.values()
    if any(e.ids != first.ids for e in others):
        raise ValueError(f"the snapshots of {run.path} are not of the same images, so that points cannot be followed")
    return embeddings


def interpolated(points: dict[int, np.ndarray], between: int) -> list[Frame]:
    """Frames in order: one per epoch, and `between` interpolated ones (smoothstep) before the next epoch."""
    epochs = list(points)
    first, last = epochs[0], epochs[-1]
    moments: list[Frame] = []
    for now, then in pairwise(epochs):
        for step in range(between + 1):
            t = step / (between + 1)
            eased = t * t * (3 - 2 * t)
            share = (now + t * (then - now) - first) / (last - first)
            xy_N2 = (1 - eased) * points[now] + eased * points[then]
            moments.append(Frame(xy_N2, now, share, STEP_MS if step else EPOCH_MS))
    return [*moments, Frame(points[last], last, 1.0, END_MS)]


def draw(moments: list[Frame], labels_N: np.ndarray, classes: tuple[str, ...]) -> "Iterator[Image]":
    """Render each frame. The figure is built once; only points, title and progress bar change."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    with quiet():
        figure, (ax,) = sheet(SIDE, SIDE + 0.8)
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(DPI)
        key = class_key(labels_N, len(classes))
        layers = scatter(ax, Cloud(moments[0].xy, labels_N, classes), key)
        frame(ax, limits([moment.xy for moment in moments]))
        legend(figure, key, classes)
        title = ax.set_title("epoch 0", fontsize=13)
        ax.plot([0, 1], [1, 1], transform=ax.transAxes, color=GRID, linewidth=3, clip_on=False)
        (bar,) = ax.plot([0, 0], [1, 1], transform=ax.transAxes, color=PALETTE[0], linewidth=3, clip_on=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for moment in moments:
        for at_P, points in layers:
            points.set_offsets(moment.xy[at_P])
        title.set_text("before training" if moment.epoch == 0 else f"epoch {moment.epoch}")
        bar.set_xdata([0, moment.share])
        with quiet():
            canvas.draw()
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def write_gif(path: Path, frames: "Iterator[Image]", milliseconds: list[int]) -> None:
    """Write a looping GIF. Each frame has its own palette of 256 colours: a shared one would turn white into grey."""
    from PIL import Image

    first, *others = (frame.quantize(256, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)


def write_mp4(path: Path, frames: "Iterator[Image]", milliseconds: list[int]) -> None:
    """Write H.264 with ffmpeg, which all browsers play. Errors: ValueError with ffmpeg's message."""
    first = next(frames)
    shape = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.width}x{first.height}", "-r", str(RATE), "-i", "-"]
    form = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    command = ["ffmpeg", "-y", "-loglevel", "error", *shape, *form]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        assert ffmpeg.stderr is not None
        with suppress(BrokenPipeError):  # ffmpeg exited; the reason is in its stderr
            for frame, ms in zip(chain([first], frames), milliseconds, strict=True):
                ffmpeg.stdin.write(frame.tobytes() * max(1, round(ms * RATE / 1000)))
            ffmpeg.stdin.close()
        reason = ffmpeg.stderr.read().decode(errors="replace").strip()
    if ffmpeg.returncode:
        raise ValueError(f"ffmpeg could not write {path.name}: {reason[-300:]}")
