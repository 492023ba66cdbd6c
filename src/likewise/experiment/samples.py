"""A verification protocol from the rows of a table, a folder of classes, or a run's own images, as a file of pairs."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from likewise.data.folder import list_labelled
from likewise.data.gather import Listed, one_spelling
from likewise.data.images import SPLITS, Skipped
from likewise.data.options import LoadOptions
from likewise.data.table import list_rows
from likewise.embeddings import Embeddings
from likewise.evaluate import pair_files
from likewise.evaluate.protocol import Sample, draw_protocol, is_forged
from likewise.experiment.run import Run
from likewise.spec import near

__all__ = ["Found", "make_pairs", "samples_of"]

TABLES = {".csv", ".tsv", ".parquet", ".pq"}


class Found(NamedTuple):
    """Images of classes, the folder that their ids start from ("" for a run's), and what was left out."""

    samples: list[Sample]
    folder: str
    skipped: tuple[Skipped, ...]


class Written(TypedDict):
    """What was written: the file, its pairs by role, and the images and classes they are of."""

    pairs: str
    roles: dict[str, int]
    images: int
    classes: int
    groups: list[str]
    folder: str
    skipped: list[dict[str, object]]


def make_pairs(
    what: str | os.PathLike,
    file: str | os.PathLike,
    *,
    groups: str = "any",
    part: str = "",
    per_class: int = 100,
    seed: int = 0,
    image: str = "",
    label: str = "",
    split: str = "",
    group: str = "",
    role: str = "",
) -> Written:
    """Write genuine, random impostor and skilled forgery pairs of a table, folder or run; returns what was written.

    file: .csv, .txt or .parquet, which `evaluate --pairs` reads. groups: any | within | across. image, label, split,
    group, role: columns of a table. See `evaluate.protocol.draw_protocol` and `samples_of`. Errors: ValueError.
    """
    samples = samples_of(what, image=image, label=label, split=split, group=group, role=role, part=part)
    drawn = draw_protocol(samples.samples, per_class=per_class, groups=groups, seed=seed)
    pair_files.write(file, drawn)
    return {
        "pairs": os.fspath(file),
        "roles": dict(Counter(drawn.role or ())),
        "images": len(drawn.names()),
        "classes": len({sample.label for sample in samples.samples}),
        "groups": sorted(set(drawn.group or ())),
        "folder": samples.folder,
        "skipped": [skip._asdict() for skip in samples.skipped],
    }


def samples_of(
    what: str | os.PathLike,
    *,
    image: str = "",
    label: str = "",
    split: str = "",
    group: str = "",
    role: str = "",
    part: str = "",
) -> Found:
    """Images with their classes, and groups and roles where they are known; no image is read.

    what: a table (.csv, .tsv, .parquet), a folder of class folders, or a run. image, label, split, group, role: columns
    of a table. part: train, val or test; empty takes all, of a run the test part (validation, where there is none).
    Errors: ValueError for anything else, a column that is not there, an unknown role, or a part without images.
    """
    path, columns = Path(what), {"image": image, "label": label, "split": split, "group": group}
    if part and part not in SPLITS:
        raise ValueError(f"no part named {part!r}{near(part, SPLITS)}")
    is_table = path.suffix.lower() in TABLES and not path.is_dir()
    if not is_table and (named := [use for use, column in {**columns, "role": role}.items() if column]):
        raise ValueError(f"--{named[0]} names a column of a table, and {path} is none; give a .csv, .tsv or .parquet")
    if (path / "recipe.toml").is_file():
        return of_run(path, part)
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a table (.csv, .tsv, .parquet), a folder of classes, or a run")
    skipped: list[Skipped] = []
    if is_table:
        listed = present(rows_of(path, columns, role, skipped), skipped)
        folder = path.parent
    elif path.is_dir():
        listed, folder = list_labelled(os.fspath(path), skipped), path
    else:
        raise ValueError(f"{path} is no table (.csv, .tsv, .parquet), folder of classes, or run; give one of these")
    labels = one_spelling([one.label for one in listed])
    wanted = SPLITS.index(part) if part else None
    samples = [
        Sample(one.id, name, one.group or "", forged(one, path))
        for one, name in zip(listed, labels, strict=True)
        if wanted in (None, one.split)
    ]
    if not samples:
        raise ValueError(f"{path} has no image in the part {part}" if part else f"{path} names no image that is there")
    return Found(samples, os.fspath(folder), tuple(skipped))


def rows_of(path: Path, columns: dict[str, str], role: str, skipped: list[Skipped]) -> list[Listed]:
    asked: dict[str, str | int] = {**columns, "role": role}
    try:
        return list_rows(LoadOptions(), os.fspath(path), asked, skipped)
    except ValueError as error:
        raise ValueError(str(error).replace("Type: likewise train ", "Type: likewise pairs ")) from None


def present(listed: Sequence[Listed], skipped: list[Skipped]) -> list[Listed]:
    """Those whose file is there. Errors: ValueError for a table that holds images instead of their paths."""
    if listed and isinstance(listed[0].source, bytes):
        raise ValueError("a file of pairs names images by their paths, and this table holds the images themselves")
    absent = {one.id for one in listed if not Path(os.fspath(one.source)).is_file()}  # type: ignore[arg-type]
    skipped += [Skipped(name, "there is no such file") for name in sorted(absent)]
    return [one for one in listed if one.id not in absent]


def forged(one: Listed, path: Path) -> bool:
    """Errors: ValueError for a role that is neither genuine nor forged."""
    if not one.role:
        return False
    if (answer := is_forged(one.role)) is None:
        raise ValueError(
            f"{path}: the role of {one.id} is {one.role!r:.100}; write genuine (or original), or forgery (or skilled)"
        )
    return answer


def of_run(path: Path, part: str) -> Found:
    """A part of a run's images."""
    run = Run.open(path)
    if not run.embeddings.exists():
        raise ValueError(f"{path} has no embeddings yet; run `likewise evaluate {path}`")
    known = Embeddings.load(run.embeddings)
    chosen = known.part(part or run.metrics()["split"])
    if not len(chosen):
        raise ValueError(f"{path} has no image in the part {part}")
    groups = chosen.groups or ("",) * len(chosen)
    labels = [chosen.classes[i] for i in chosen.labels.tolist()]
    return Found([Sample(*row) for row in zip(chosen.ids, labels, groups, strict=True)], "", ())
