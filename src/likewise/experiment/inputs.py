"""What a run was started with, so that resuming notices when its recipe or its data have changed."""

import itertools
import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from likewise import distributed
from likewise.atomic import write_text
from likewise.data.images import Images
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.imaging.decode import ImageSource
from likewise.safety import bounds

__all__ = ["begun_before", "check_inputs", "write_inputs"]

NAME = "inputs.json"


def write_inputs(run: Run, recipe: Recipe, images: Images) -> None:
    """Keep the recipe's fields, a fingerprint of the data and torchrun's name beside the run's checkpoints."""
    record: dict[str, object] = {"recipe": recipe.to_dict(), "data": fingerprint(images)}
    if launch := distributed.launched_by():
        record["launch"] = launch
    write_text(run.path / NAME, json.dumps(record, indent=1))


def begun_before(path: Path, recipe: Recipe) -> Run | None:
    """The run `path`, `path-2` or so on that this call of torchrun has begun: of that recipe, else the last unfinished.

    A plan of one's own data may have measured another number of epochs the second time.
    """
    launch, fields = distributed.launched_by(), recipe.to_dict()
    begun: list[tuple[bool, Run]] = []
    for attempt in itertools.count(1):
        run = Run(path if attempt == 1 else path.with_name(f"{path.name}-{attempt}"))
        if not run.path.exists():
            break
        with suppress(ValueError):  # another run's file, damaged
            saved = kept_inputs(run)
            if run.recipe_file.exists() and launch and saved.get("launch") == launch:
                begun.append((differences(saved.get("recipe"), fields, "") == [], run))
    unfinished = [run for _, run in reversed(begun) if not run.report.exists()]
    return next((run for same, run in begun if same), next(iter(unfinished), None))


def check_inputs(run: Run, recipe: Recipe, images: Images) -> None:
    """Errors: ValueError naming what differs from what the run was started with; nothing for runs that kept nothing."""
    before = kept_inputs(run)
    changed = differences(before.get("recipe"), recipe.to_dict(), "the recipe's ")
    changed += differences(before.get("data"), fingerprint(images), "the data's ")
    if changed:
        raise ValueError(
            f"{run.path} was started with other inputs: {'; '.join(changed)}. Restore them, train again, or resume "
            "anyway with --force"
        )


def kept_inputs(run: Run) -> bounds.Fields:
    """What `write_inputs` has kept; nothing for a run that kept nothing. Errors: ValueError for a damaged file."""
    path = run.path / NAME
    if not path.is_file():
        return {}
    return bounds.parsed_json(bounds.text(path, bounds.JSON_FILE, "what a run was started with"), str(path))


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
