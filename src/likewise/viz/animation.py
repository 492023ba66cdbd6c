"""The embedding while it learns: one frame an epoch kept, as GIF or MP4, on axes that never move."""

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
HOLD, STEP, END = 520, 40, 2_520  # milliseconds (whole frames): an epoch, a frame in between, the last epoch
SIDE, DPI = 5.2, 100  # inches and pixels per inch: even numbers of pixels, as video needs


class Still(NamedTuple):
    """A moment of the animation: where the points are, the epoch it shows, how far it is, and for how long it stays."""

    xy: np.ndarray  # [N, 2]
    epoch: int
    share: float
    milliseconds: int


def animate(run: str | os.PathLike, *, mp4: bool = False, between: int = 0) -> Path:
    """Write latent.gif (or latent.mp4) into the run folder, from its snapshots. Returns the path.

    Every frame has the same axes; an embedding of more than two dimensions is seen in the plane of the last epoch.
    `between` frames move smoothly from one epoch to the next.
    Errors: ValueError for a run with fewer than two snapshots or with snapshots of different pictures, and for `mp4`
    where the program ffmpeg is missing.
    """
    if between < 0:
        raise ValueError(f"between is the number of frames between two epochs, 0 or more, got {between}")
    if mp4 and not shutil.which("ffmpeg"):
        raise ValueError(
            "--mp4 needs the program ffmpeg, which is not on the PATH; install it, or leave --mp4 out for a GIF"
        )
    opened = Run.open(run)
    kept = _kept(opened)
    last = kept[max(kept)]
    to_plane = plane(last.vectors)
    moments = stills({epoch: to_plane(e.vectors) for epoch, e in kept.items()}, between)
    frames = draw(moments, last.labels.numpy(), last.classes)
    path = opened.path / ("latent.mp4" if mp4 else "latent.gif")
    with replacing(path) as temporary:
        (write_mp4 if mp4 else write_gif)(temporary, frames, [still.milliseconds for still in moments])
    return path


def _kept(run: Run) -> dict[int, Embeddings]:
    """The held-out pictures of each snapshot. Errors: ValueError when there is nothing to animate."""
    kept = {epoch: held_out(e) or e for epoch, e in snapshots(run).items()}
    if len(kept) < 2:
        raise ValueError(
            f"{run.path} keeps {len(kept)} snapshot{'s' if len(kept) != 1 else ''} of its embedding, and an animation "
            "needs at least 2; train with snapshot_epochs=0,1,2,... to keep more"
        )
    first, *others = kept.values()
    if any(e.ids != first.ids for e in others):
        raise ValueError(f"the snapshots of {run.path} are not of the same pictures, so that points cannot be followed")
    return kept


def stills(points: dict[int, np.ndarray], between: int) -> list[Still]:
    """The moments in order: each epoch, and `between` moments on the way to the next, slow at both ends."""
    epochs = list(points)
    first, last = epochs[0], epochs[-1]
    told: list[Still] = []
    for now, then in pairwise(epochs):
        for step in range(between + 1):
            t = step / (between + 1)
            eased = t * t * (3 - 2 * t)
            share = (now + t * (then - now) - first) / (last - first)
            xy_N2 = (1 - eased) * points[now] + eased * points[then]
            told.append(Still(xy_N2, now, share, STEP if step else HOLD))
    return [*told, Still(points[last], last, 1.0, END)]


def draw(moments: list[Still], labels_N: np.ndarray, classes: tuple[str, ...]) -> "Iterator[Image]":
    """A picture of each moment. The figure is built once; only points, epoch and progress change."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    with quiet():
        figure, (ax,) = sheet(SIDE, SIDE + 0.8)
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(DPI)
        key = class_key(labels_N, len(classes))
        layers = scatter(ax, Cloud(moments[0].xy, labels_N, classes), key)
        frame(ax, limits([still.xy for still in moments]))
        legend(figure, key, classes)
        title = ax.set_title("epoch 0", fontsize=13)
        ax.plot([0, 1], [1, 1], transform=ax.transAxes, color=GRID, linewidth=3, clip_on=False)
        (bar,) = ax.plot([0, 0], [1, 1], transform=ax.transAxes, color=PALETTE[0], linewidth=3, clip_on=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for still in moments:
        for at_P, points in layers:
            points.set_offsets(still.xy[at_P])
        title.set_text("before training" if still.epoch == 0 else f"epoch {still.epoch}")
        bar.set_xdata([0, still.share])
        with quiet():
            canvas.draw()
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def write_gif(path: Path, frames: "Iterator[Image]", milliseconds: list[int]) -> None:
    """Each frame in its own 256 colours, since those of another turn white paper grey; it starts again at its end."""
    from PIL import Image

    first, *others = (frame.quantize(256, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)


def write_mp4(path: Path, frames: "Iterator[Image]", milliseconds: list[int]) -> None:
    """H.264 by ffmpeg, as every browser plays it. Errors: ValueError with what ffmpeg said."""
    first = next(frames)
    shape = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.width}x{first.height}", "-r", str(RATE), "-i", "-"]
    form = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    command = ["ffmpeg", "-y", "-loglevel", "error", *shape, *form]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        assert ffmpeg.stderr is not None
        with suppress(BrokenPipeError):  # it gave up; the reason is in its stderr
            for frame, ms in zip(chain([first], frames), milliseconds, strict=True):
                ffmpeg.stdin.write(frame.tobytes() * max(1, round(ms * RATE / 1000)))
            ffmpeg.stdin.close()
        reason = ffmpeg.stderr.read().decode(errors="replace").strip()
    if ffmpeg.returncode:
        raise ValueError(f"ffmpeg could not write {path.name}: {reason[-300:]}")
