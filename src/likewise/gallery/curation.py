"""Corrections of a gallery, each a step that can be undone; and forgetting, which cannot."""

import base64
from collections.abc import Sequence

import numpy as np

from likewise.gallery import attachments
from likewise.gallery.opened import Opened
from likewise.gallery.store import Item, Row
from likewise.gallery.texts import LONGEST_TEXT, storable
from likewise.safety import bounds

__all__ = ["drop", "erase", "forget", "merge", "remove", "rename", "split", "undo"]


def rename(gallery: Opened, old: str, new: str) -> int:
    """Errors: ValueError for a class that is not there, or a name that is taken."""
    with gallery.store.begin():
        if _ids(gallery, new):
            raise ValueError(f"there is a class {new!r} already; to put both together: likewise gallery merge")
        moved = _move(gallery, "rename", old, new)
        gallery.store.rename_negatives(old, new)
    gallery.state()
    return moved


def merge(gallery: Opened, source: str, target: str) -> int:
    """Errors: ValueError for a class that is not there."""
    if source == target:
        raise ValueError(f"{source!r} cannot be merged into itself")
    with gallery.store.begin():
        _present(gallery, target)
        moved = _move(gallery, "merge", source, target)
    gallery.state()
    return moved


def _move(gallery: Opened, verb: str, old: str, new: str) -> int:
    if not new.strip():
        raise ValueError("a label is text that is not empty")
    ids = _present(gallery, old)
    gallery.store.push_step(verb, {"relabel": dict.fromkeys(ids, old)})
    gallery.store.log(verb, len(ids), new)
    return gallery.store.relabel(ids, new)


def split(gallery: Opened, ids: Sequence[str], label: str) -> int:
    """Errors: ValueError for an id that is not there."""
    if not label.strip():
        raise ValueError("a label is text that is not empty")
    with gallery.store.begin():
        rows = _rows(gallery, ids)
        gallery.store.push_step("split", {"relabel": {row.id: row.label for row in rows}})
        gallery.store.log("split", len(rows), label)
        moved = gallery.store.relabel([row.id for row in rows], label)
    gallery.state()
    return moved


def remove(gallery: Opened, ids: Sequence[str]) -> int:
    """Errors: ValueError for an id that is not there; then none is removed."""
    with gallery.store.begin():
        rows = _rows(gallery, ids)
        gallery.store.push_step("remove", {"restore": [_packed(row) for row in rows]})
        gallery.store.log("remove", len(rows))
        removed = gallery.store.delete([row.id for row in rows])
    gallery.state()
    return removed


def forget(gallery: Opened, label: str) -> dict[str, object]:
    """Erase a class: its rows, marks that name it, its name in the audit log, the whole undo history, free pages, WAL.

    `erased` is False where another process was reading, so that old pages may be left until the next `vacuum`. `beyond`
    says where it may be left, out of the store's reach.
    """
    with gallery.store.begin():
        removed = drop(gallery, label)
    return {"removed": removed, "erased": erase(gallery), "beyond": gallery.store.beyond}


def drop(gallery: Opened, label: str) -> int:
    """Delete all that names a class, inside a write transaction; `erase` afterwards leaves nothing of it in the files.

    Errors: ValueError for a class that is not there.
    """
    store = gallery.store
    ids = _present(gallery, label)
    removed = store.delete(ids)
    store.drop_negatives(label=label, items=ids)
    store.clear_steps()
    store.redact(label)
    attachments.drop_unused(store)
    store.log("forget", removed)
    return removed


def erase(gallery: Opened) -> bool:
    """Leave nothing of what was deleted in files or memory; False where another process kept it from that."""
    gallery.drop_index()
    erased = gallery.store.erase()
    gallery.memory = None
    gallery.state()
    return erased


def undo(gallery: Opened) -> str:
    """Errors: ValueError where there is nothing to undo."""
    store = gallery.store
    with store.begin():
        step = store.last_step()
        if step is None:
            raise ValueError(f"there is nothing to undo in {store.url}")
        for id_, label in step.undo.get("relabel", {}).items():
            store.relabel([id_], label)
        store.delete(step.undo.get("remove", []))
        if mark := step.undo.get("unmark"):
            store.run("DELETE FROM negatives WHERE content = ? AND label = ? AND item = ?", mark)
        store.put([_unpacked(packed) for packed in step.undo.get("restore", [])])
        store.drop_step(step.seq)
        store.touch()
        store.log(f"undo {step.verb}", 0)
    gallery.state()
    return step.verb


def _ids(gallery: Opened, label: str) -> list[str]:
    storable(label, "a label", LONGEST_TEXT)
    return [row[0] for row in gallery.store.run("SELECT id FROM items WHERE label = ? ORDER BY seq", (label,))]


def _present(gallery: Opened, label: str) -> list[str]:
    ids = _ids(gallery, label)
    if not ids:
        raise ValueError(f"there is no class {label!r} in {gallery.store.url}")
    return ids


def _rows(gallery: Opened, ids: Sequence[str]) -> list[Row]:
    if not ids:
        raise ValueError("there are no ids; give one or more")
    rows = gallery.store.find("id", ids)
    if missing := [id_ for id_ in ids if id_ not in rows]:
        raise ValueError(f"there is no id {missing[0]!r} in {gallery.store.url}; nothing was changed")
    return list(rows.values())


def _packed(row: Row) -> dict[str, object]:
    binary = {"look": row.look, "vector": row.vector}
    return row._asdict() | {key: base64.b64encode(value).decode() for key, value in binary.items()}


def _unpacked(packed: bounds.Fields) -> Item:
    vector = np.frombuffer(base64.b64decode(packed["vector"]), "<f4")
    look = base64.b64decode(packed["look"])
    return Item(
        packed["id"], packed["content"], packed["label"], vector, packed["group"], packed["path"],
        bounds.parsed_json(packed["metadata"], "the last step"), look,
    )  # fmt: skip
