"""Decisions on single images, made while an audit was walked through: a CSV of file, label, decision and new label."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from likewise.data.filters import compact
from likewise.data.gather import plain
from likewise.data.images import Images
from likewise.data.options import as_path
from likewise.data.table_file import Row, text_rows
from likewise.imaging.find import legible
from likewise.safety.spreadsheets import restored
from likewise.spec import near

__all__ = ["ACTIONS", "Decision", "counted", "decided", "read_decisions"]

ACTIONS = ("keep", "relabel", "remove")
LARGEST = 64 << 20  # bytes of the file
COLUMNS = {
    "file": ("file", "id"),
    "label": ("label", "class"),
    "decision": ("decision",),
    "new label": ("new label", "new class"),
}


class Decision(NamedTuple):
    """What is to be done with one image; `where` names the line, `label` what the image was called then."""

    where: str
    file: str
    label: str
    action: str
    new: str


def read_decisions(path: str | os.PathLike) -> dict[str, Decision]:
    """The decisions of a CSV by file. Columns: file (or id), label (or class), decision, new label.

    A row whose decision is blank is not decided yet, and is left out; other columns are ignored.
    Errors: ValueError that names the line, for an unknown decision, a relabel without a label, or a file twice.
    """
    file = as_path(path)
    if not file.is_file():
        raise ValueError(f"there is no file of decisions {legible(file)}; save one on the audit page")
    rows = text_rows(file, most=LARGEST)
    if not rows:
        raise ValueError(f"{legible(file)} is empty; its first line is file,label,decision,new label")
    at = columns_of(rows[0], file)
    decisions: dict[str, Decision] = {}
    for row in rows[1:]:
        one = decision_of(row, at, file)
        if one is None:
            continue
        earlier = decisions.setdefault(one.file, one)
        if earlier._replace(where="") != one._replace(where=""):
            raise ValueError(
                f"{legible(file)}: {one.where} decides otherwise on {shown(one.file)} than {earlier.where}; keep one"
            )
    return decisions


def columns_of(first: Row, file: Path) -> dict[str, int]:
    """The place of each column. Errors: ValueError naming the one that is missing."""
    names = [" ".join(str(cell).replace("_", " ").split()).casefold() for cell in first.cells]
    places = {use: next((names.index(n) for n in known if n in names), -1) for use, known in COLUMNS.items()}
    for use in ("file", "label", "decision"):
        if places[use] < 0:
            raise ValueError(
                f"{legible(file)} has no column {use!r} and is no file of decisions; its first line is "
                f"file,label,decision,new label, and here it is {shown(','.join(names))}"
            )
    return places


def decision_of(row: Row, at: Mapping[str, int], file: Path) -> Decision | None:
    """The decision of a row; None where it is blank. Errors: ValueError."""
    cells = {use: restored(str(row.cells[n])) if 0 <= n < len(row.cells) else "" for use, n in at.items()}
    action = cells["decision"].strip().casefold()
    if not action:
        return None
    where = f"{legible(file)}, {row.where}"
    if action not in ACTIONS:
        raise ValueError(f"{where}: a decision is keep, relabel or remove, got {shown(action)}{near(action, ACTIONS)}")
    new = cells["new label"] if action == "relabel" else ""
    if action == "relabel" and not new.strip():
        raise ValueError(f"{where}: {shown(cells['file'])} is to be relabelled, and the column 'new label' is blank")
    return Decision(row.where, cells["file"], cells["label"], action, new)


def decided(images: Images, decisions: Mapping[str, Decision], where: object) -> Images:
    """The images without those removed, the relabelled ones under their new label; `decided` counts all three.

    where: the file, for errors. Errors: ValueError for a file that the images lack, or one that has another label now:
    such a decision was made on other data; for a new label that spells an existing class otherwise; and where no image
    is left.
    """
    at = {name: n for n, name in enumerate(images.ids)}
    check_files(images, decisions, at, where)
    names = list(images.classes)
    index = {name: n for n, name in enumerate(names)}
    spelled = {plain(name): name for name in names}
    labels, keep = images.labels.clone(), torch.ones(len(images), dtype=torch.bool)
    for file, one in decisions.items():
        if file not in at:  # it was left out anyway, since it could not be read
            continue
        keep[at[file]] = one.action != "remove"
        if one.action == "relabel":
            if one.new not in index:
                check_spelling(one, spelled, where)
                index[one.new] = len(names)
                spelled[plain(one.new)] = one.new
                names.append(one.new)
            labels[at[file]] = index[one.new]
    if not keep.any():
        raise ValueError(f"{where} removes every image of {images.name}; keep some")
    counts = Counter(one.action for one in decisions.values())
    changed = replace(images, labels=labels, classes=tuple(names))
    changed = changed.take(keep.nonzero()[:, 0]) if not keep.all() else changed
    return replace(compact(changed), decided=tuple((action, counts[action]) for action in ACTIONS))


def check_files(images: Images, decisions: Mapping[str, Decision], at: Mapping[str, int], where: object) -> None:
    """Errors: ValueError where a decision is of an image that is not there, or has another label."""
    skipped = {item.id for item in images.skipped}
    unknown = [one for file, one in decisions.items() if file not in at and file not in skipped]
    if unknown:
        raise ValueError(
            f"{where}: {len(unknown):,} of {len(decisions):,} decisions name no image of {images.name}; "
            f"{unknown[0].where} names {shown(unknown[0].file)}: they were made for other data, or files have moved"
        )
    for file, one in decisions.items():
        label = images.classes[int(images.labels[at[file]])] if file in at else one.label
        if label not in (one.label, one.new or one.label):
            raise ValueError(
                f"{where}, {one.where}: {shown(file)} was of class {shown(one.label)} when it was decided, and is of "
                f"{shown(label)} in {images.name}; it was made for other data, or the labels have changed since"
            )


def check_spelling(one: Decision, spelled: Mapping[str, str], where: object) -> None:
    """Errors: ValueError for a new label that is another spelling of a class."""
    twin = spelled.get(plain(one.new))
    if twin is not None:
        raise ValueError(
            f"{where}, {one.where}: the new label {shown(one.new)} spells the class {shown(twin)} otherwise; write "
            f"{shown(twin)}"
        )


def shown(text: str, most: int = 100) -> str:
    """A text of a stranger, quoted and cut."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def counted(record: Mapping[str, object]) -> str:
    """`3 removed, 2 relabelled, 5 kept` of counts by action; empty where there are none."""
    words = {"remove": "removed", "relabel": "relabelled", "keep": "kept"}
    return ", ".join(f"{record[action]:,} {word}" for action, word in words.items() if record.get(action))
