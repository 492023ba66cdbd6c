"""Enrollment: what is new is embedded, looked over by the gate, and committed in pieces."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypedDict, Unpack

import numpy as np

from likewise.export.reading import sides
from likewise.gallery import attachments, quality
from likewise.gallery.index import check_vectors, prepare, similarities
from likewise.gallery.opened import Opened
from likewise.gallery.quality import Finding
from likewise.gallery.store import Item
from likewise.gallery.texts import LONGEST_NAME, storable

__all__ = ["Enrolled", "enroll", "enroll_vectors"]

PIECE = 256  # images embedded and committed together

Progress = Callable[[int, int], None]  # how many images are done, of how many


class Enrolled(NamedTuple):
    """What became of an enrollment."""

    added: list[str]
    unchanged: list[str]  # enrolled before: the same content
    findings: list[Finding]


class Lists(TypedDict):
    """What a caller may say of each image beside its label."""

    ids: Sequence[str] | None
    metadata: Sequence[Mapping[str, object]] | None
    groups: Sequence[str] | None


class Given(NamedTuple):
    """What a caller says of each image."""

    labels: list[str]
    ids: Sequence[str] | None
    metadata: Sequence[Mapping[str, object]] | None
    groups: Sequence[str] | None

    def item(
        self, i: int, content: str, vector: np.ndarray, *, path: str = "", look: bytes = b"", thumbnail: bytes = b""
    ) -> Item:
        return Item(
            id=self.ids[i] if self.ids else content[:32],
            content=content,
            label=self.labels[i],
            vector=vector,
            group=self.groups[i] if self.groups else "",
            metadata=dict(self.metadata[i]) if self.metadata else {},
            path=path,
            look=look,
            thumbnail=thumbnail,
        )


def enroll(
    gallery: Opened,
    images: Sequence[str | os.PathLike],
    labels: Sequence[str] | str,
    *,
    gate: str,
    progress: Progress | None = None,
    **given: Unpack[Lists],
) -> Enrolled:
    """See `Gallery.enroll`."""
    paths = [os.fspath(path) for path in images]
    checked = _checked(len(paths), labels, gate, **given)
    encoder, result = gallery.model(), Enrolled([], [], [])
    for start in range(0, len(paths), PIECE):
        sources: dict[str, str] = {}
        items = []
        for i in range(start, min(start + PIECE, len(paths))):
            if item := _readable(gallery, paths[i], i, checked, gate, result):
                sources.setdefault(item.content, paths[i])
                items.append(item)
        if fresh := _new(gallery, items, sources, result):
            vectors = check_vectors(encoder.embed([sources[item.content] for item in fresh]), encoder.dim)
            whole = [replace(item, vector=vector) for item, vector in zip(fresh, vectors, strict=True)]
            _write(gallery, whole, sources, gate, result, encoder.fingerprint)
        if progress:
            progress(min(start + PIECE, len(paths)), len(paths))
    return result


def _readable(gallery: Opened, path: str, i: int, checked: Given, gate: str, result: Enrolled) -> Item | None:
    """The image without its vector; None, with a finding, where it cannot be read or the gate keeps it out."""
    try:
        content, look = quality.content_of(path), quality.look_of(path)
        small = min(sides(path)) < quality.SMALLEST
        thumbnail = quality.thumbnail_of(path) if gallery.about.get("thumbnails") else b""
    except ValueError as error:
        result.findings.append(Finding(path, str(error), False))
        return None
    if small and gate != "off":
        result.findings.append(Finding(path, f"smaller than {quality.SMALLEST} pixels", gate == "warn"))
        if gate == "strict":
            return None
    stored = "" if gallery.about["private"] else gallery.path_of(path)
    return checked.item(i, content, np.zeros(0, np.float32), path=stored, look=look, thumbnail=thumbnail)


def enroll_vectors(
    gallery: Opened, vectors_ND: np.ndarray, labels: Sequence[str] | str, *, gate: str, **given: Unpack[Lists]
) -> Enrolled:
    """See `Gallery.enroll_vectors`."""
    vectors_ND = check_vectors(vectors_ND, gallery.dim)
    checked = _checked(len(vectors_ND), labels, gate, **given)
    hashes = [hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest() for vector in vectors_ND]
    items = [checked.item(i, content, vectors_ND[i]) for i, content in enumerate(hashes)]
    result, sources = Enrolled([], [], []), {item.content: item.id for item in items}
    _write(gallery, _new(gallery, items, sources, result), sources, gate, result, gallery.about["fingerprint"])
    return result


def _new(gallery: Opened, items: Sequence[Item], sources: Mapping[str, str], result: Enrolled) -> list[Item]:
    """Items that are not there yet; the others go into the result."""
    by_content = gallery.store.find("content", [item.content for item in items])
    by_id = gallery.store.find("id", [item.id for item in items])
    fresh: dict[str, Item] = {}
    ids: set[str] = set()
    for item in items:
        known = by_content.get(item.content) or fresh.get(item.content)
        if known is not None and known.label != item.label:
            reason = f"the same image is enrolled as {known.label}; it is not enrolled as {item.label} too"
            result.findings.append(Finding(sources[item.content], reason, False))
        elif known is not None:
            result.unchanged.append(known.id)
        elif item.id in by_id or item.id in ids:
            reason = f"the id {item.id!r} belongs to another image; remove that first, or choose another id"
            result.findings.append(Finding(sources[item.content], reason, False))
        else:
            fresh[item.content] = item
            ids.add(item.id)
    return list(fresh.values())


def _write(
    gallery: Opened, items: Sequence[Item], sources: Mapping[str, str], gate: str, result: Enrolled, fingerprint: str
) -> None:
    """Commit, then the index, then the answer."""
    written = list(items)
    gallery.same_model(gallery.state().fingerprint, fingerprint)
    if gate != "off":
        doubts = {item.content: doubt for item in items if (doubt := _doubt(gallery, item))}
        for content, doubt in doubts.items():
            result.findings.append(Finding(sources[content], doubt, gate == "warn"))
        written = [item for item in items if gate == "warn" or item.content not in doubts]
    with gallery.writing(fingerprint):
        added = gallery.store.put(written)
        if added:
            attachments.put_thumbnails(gallery.store, written)
            gallery.store.push_step("enroll", {"remove": added})
            gallery.store.log("enroll", len(added))
    gallery.state()
    result.added.extend(added)
    result.unchanged.extend(item.id for item in written if item.id not in set(added))


def _doubt(gallery: Opened, item: Item) -> str:
    """Why an item should be looked at; empty where nothing speaks against it."""
    state, sim = gallery.state(), gallery.sim
    count = len(state.index)
    if not count:
        return ""
    prepared_MD = state.index.prepared[:count]
    sim_M = similarities(item.vector[None], prepared_MD, sim, state.index.square[:count])[0]
    labels_M = np.asarray(state.labels[:count], dtype=object)
    looks = [row.look for row in state.rows[:count]]
    copy = quality.near_copy(item.look, item.vector, looks, prepared_MD) if item.look else None
    if copy is not None:
        return f"a near copy of {state.rows[copy].id}"
    own = np.flatnonzero(labels_M == item.label)[:200]
    within = None
    if len(own) >= quality.FEWEST:
        inside = similarities(prepared_MD[own], prepare(prepared_MD[own], sim), sim)
        within = inside[~np.eye(len(own), dtype=bool)]
    return quality.inspect(item.label, sim_M, labels_M, within)


def _checked(
    count: int,
    labels: Sequence[str] | str,
    gate: str,
    *,
    ids: Sequence[str] | None,
    metadata: Sequence[Mapping[str, object]] | None,
    groups: Sequence[str] | None,
) -> Given:
    """Errors: ValueError for lists of other lengths, a label or id that is no text, or an unknown gate."""
    names = [labels] * count if isinstance(labels, str) else list(labels)
    for name, given in (("labels", names), ("ids", ids), ("metadata", metadata), ("groups", groups)):
        if given is not None and len(given) != count:
            raise ValueError(f"each image has one of {name}: got {len(given)} for {count} images")
    for name, texts in (("label", names), ("id", ids or ())):
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"a {name} is text that is not empty, got {text!r}")
            storable(text, f"a {name}", LONGEST_NAME)
    if gate not in quality.GATES:
        raise ValueError(f"gate is {', '.join(quality.GATES)}; got {gate!r}")
    return Given(names, ids, metadata, groups)
