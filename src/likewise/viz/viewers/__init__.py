"""A run's embedding as other viewers read it: embedding-atlas, TensorBoard's projector, FiftyOne."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from likewise import spec
from likewise.data.images import Images
from likewise.experiment.run import Run
from likewise.viz.viewers.atlas import write_atlas
from likewise.viz.viewers.fiftyone import check_images, write_fiftyone
from likewise.viz.viewers.points import Points, points
from likewise.viz.viewers.projector import write_projector

__all__ = ["VIEWERS", "Viewer", "Written", "write_for"]


class Viewer(NamedTuple):
    """What is written for a viewer, and how much of a run at most."""

    write: Callable[[Points, Path], None]
    opens: Callable[[Path, Points], list[str]]  # the commands that open the folder
    images: int  # at most
    numbers: int  # images times dimensions, at most
    needs: Callable[[Images | None], None] = lambda images: None


class Written(NamedTuple):
    """The folder that was written, how many images of how many it holds, its bytes, and the commands that open it."""

    folder: Path
    images: int
    of: int
    bytes: int
    commands: list[str]


def write_for(viewer: str, run: Run, images: Images | None, folder: Path, *, method: str = "tsne") -> Written:
    """Write a new folder for one of VIEWERS, whole or not at all.

    method: the projection whose coordinates are written. Where a run has more images than a viewer takes, evenly
    spaced ones are written. Errors: ValueError for an unknown viewer or method, a folder that is not empty, a run
    without embeddings, and images that a viewer needs and that are gone.
    """
    if viewer not in VIEWERS:
        raise ValueError(f"no viewer is named {viewer!r}{spec.near(viewer, VIEWERS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and is not an empty folder; give another -o FOLDER, or remove it")
    form = VIEWERS[viewer]
    form.needs(images)
    cloud = points(run, images, method=method, most=form.images, numbers=form.numbers)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        form.write(cloud, made)
        made.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Written(folder, len(cloud.embeddings), cloud.of, size, form.opens(folder, cloud))


def quoted(path: Path) -> str:
    """A path as an argument to type."""
    text = str(path)
    return f'"{text}"' if set(text) - SAFE else text


SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:~+@%\\" + os.sep)


def atlas_commands(folder: Path, cloud: Points) -> list[str]:
    image = " --image image" if cloud.images is not None else ""
    return [
        f"embedding-atlas {quoted(folder / 'images.parquet')} --x map_x --y map_y --neighbors neighbours{image} "
        f"--labels {quoted(folder / 'classes.parquet')}"
    ]


def projector_commands(folder: Path, cloud: Points) -> list[str]:
    return [f"tensorboard --logdir {quoted(folder)}"]


def fiftyone_commands(folder: Path, cloud: Points) -> list[str]:
    name = quoted(Path(cloud.name))
    create = f"fiftyone datasets create --name {name} --dataset-dir {quoted(folder)}"
    return [f"{create} --type fiftyone.types.FiftyOneDataset", f"fiftyone app launch {name}"]


# Bounds: the browsers of all three hold every point; the projector also parses its numbers as text.
VIEWERS = {
    "atlas": Viewer(write_atlas, atlas_commands, images=100_000, numbers=2**40),
    "projector": Viewer(write_projector, projector_commands, images=100_000, numbers=5_000_000),
    "fiftyone": Viewer(write_fiftyone, fiftyone_commands, images=100_000, numbers=20_000_000, needs=check_images),
}
