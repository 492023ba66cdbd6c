"""What a run was started with, so that resuming notices when its recipe or its data have changed."""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from likewise.atomic import write_text
from likewise.data.images import Images
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.imaging.decode import ImageSource
from likewise.safety import bounds

__all__ = ["check_inputs", "write_inputs"]

NAME = "inputs.json"


def write_inputs(run: Run, recipe: Recipe, images: Images) -> None:
    """Keep the recipe's fields and a fingerprint of the data beside the run's checkpoints."""
    write_text(run.path / NAME, json.dumps({"recipe": recipe.to_dict(), "data": fingerprint(images)}, indent=1))


def check_inputs(run: Run, recipe: Recipe, images: Images) -> None:
    """Errors: ValueError naming what differs from what the run was started with; nothing for runs that kept nothing."""
    path = run.path / NAME
    if not path.is_file():
        return
    before = bounds.parsed_json(bounds.text(path, bounds.JSON_FILE, "what a run was started with"), str(path))
    changed = differences(before.get("recipe"), recipe.to_dict(), "the recipe's ")
    changed += differences(before.get("data"), fingerprint(images), "the data's ")
    if changed:
        raise ValueError(
            f"{run.path} was started with other inputs: {'; '.join(changed)}. Restore them, train again, or resume "
            "anyway with --force"
        )


def differences(before: object, now: dict[str, object], whose: str) -> list[str]:
    """What changed, field by field; of a checksum only that it did."""
    if not isinstance(before, dict):
        return []
    changed = [name for name, value in now.items() if name in before and before[name] != value]
    return [
        f"{whose}{name} changed"
        if name in CHECKSUMS
        else f"{whose}{name} was {before[name]!r:.60}, is {now[name]!r:.60}"
        for name in changed
    ]


CHECKSUMS = {"ids", "labels", "classes", "parts", "pixels"}


def fingerprint(images: Images) -> dict[str, object]:
    """How many images there are, and checksums of their ids, labels, classes, parts and pixels.

    Images in files count by size and time of change: reading them all would take as long as an epoch.
    """
    return {
        "images": len(images),
        "ids": checksum(name.encode() for name in images.ids),
        "labels": checksum([images.labels.cpu().numpy().tobytes()]),
        "classes": checksum(name.encode() for name in images.classes),
        "parts": checksum([images.split.cpu().numpy().tobytes()]),
        "pixels": pixels_checksum(images),
    }


def pixels_checksum(images: Images) -> int:
    if isinstance(images.pixels, Tensor):
        return checksum([images.pixels.cpu().contiguous().numpy().tobytes()])
    return checksum(file_state(source) for source in images.pixels.sources)


def file_state(source: ImageSource) -> bytes:
    """What tells a changed file; an image in memory is its own bytes."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Tensor):
        return source.numpy().tobytes()
    path, box = (source, None) if isinstance(source, Path) else source
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {box}".encode()


def checksum(parts: Iterable[bytes]) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), crc))
    return crc
