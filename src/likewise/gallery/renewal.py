"""A gallery moves to another model: its images are embedded anew beside the old vectors, then all change at once.

New vectors are kept in the store by the content of their image, in pieces that each hold; a killed upgrade goes on
where it was. The gallery answers with the old model until one transaction replaces every vector, the fingerprint and
what depends on them. What was enrolled meanwhile is embedded before that.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.export.reading import files
from likewise.gallery import quality, transfer
from likewise.gallery.encoder import Encoder, open_encoder
from likewise.gallery.index import check_vectors
from likewise.gallery.opened import Opened
from likewise.gallery.store import LARGEST_DIM, DamagedError, Row, SqlStore, checksum

__all__ = ["Upgraded", "pending", "upgrade"]

PIECE = 64  # images embedded and kept together
AT_ONCE = 500  # rows replaced by one query
SHOWN = 5  # ids that an error names

Progress = Callable[[str, int, int], None]  # what is done, how many of how many


class Upgraded(NamedTuple):
    """What became of an upgrade."""

    items: int
    dropped: list[str]  # ids that could not follow
    fingerprint: str
    changed: bool  # False where the gallery had this model already


class Source(NamedTuple):
    """An enrolled item, and the file that its image is read from now."""

    id: str
    content: str
    path: str


def upgrade(
    gallery: Opened,
    model: str | os.PathLike | Encoder,
    *,
    images: Sequence[str | os.PathLike] = (),
    drop_missing: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Upgraded:
    """See `Gallery.upgrade`."""
    encoder = open_encoder(model) if isinstance(model, (str, os.PathLike)) else model
    store, report = gallery.store, progress or (lambda stage, done, total: None)
    old = gallery.state().fingerprint
    if encoder.fingerprint == old:
        return Upgraded(store.count(), [], old, False)
    if encoder.dim > (most := int(getattr(store, "largest_dim", LARGEST_DIM))):
        raise ValueError(f"the model's vectors are {encoder.dim:,} long and {store.url} holds {most:,}")
    if drop_missing is not None:
        _free(Path(drop_missing), old)
    _begin(store, encoder)
    elsewhere = _by_content(images, report)
    while True:
        todo, lost = _found(store, encoder.fingerprint, elsewhere, report)
        if not lost or drop_missing is not None:  # else the user hears of it before hours of embedding
            _embed(store, encoder, todo, lost, report)
        if lost and drop_missing is None:
            raise ValueError(_refusal(store, lost))
        if lost and drop_missing is not None:
            transfer.export(gallery, drop_missing, ids=lost.keys())
        with gallery.writing(old):
            if _ids_to_do(store, encoder.fingerprint) <= lost.keys():  # else something was enrolled meanwhile
                _switch(gallery, encoder, list(lost))
                break
    gallery.drop_index()
    gallery.follow()
    gallery.state()
    return Upgraded(store.count(), list(lost), encoder.fingerprint, True)


def _free(path: Path, fingerprint: str) -> None:
    """Errors: ValueError for a file that is there, and is not what an interrupted upgrade wrote."""
    if path.exists() and transfer.described(path).get("fingerprint") != fingerprint:
        raise ValueError(f"{path} exists; give another name for the images that are left out")


def _begin(store: SqlStore, encoder: Encoder) -> None:
    """Drop what upgrades to other models left, and vectors that are damaged."""
    rows = store.stream("SELECT content, vector, crc FROM renewed WHERE fingerprint = ?", (encoder.fingerprint,))
    broken = [content for content, vector, crc in rows if not _whole(vector, crc, encoder.dim)]
    with store.begin():
        store.run("DELETE FROM renewed WHERE fingerprint != ?", (encoder.fingerprint,))
        for content in broken:
            store.run("DELETE FROM renewed WHERE content = ?", (content,))


def _whole(vector: object, crc: int, dim: int) -> bool:
    return isinstance(vector, (bytes, memoryview)) and len(bytes(vector)) == 4 * dim and zlib.crc32(vector) == crc


def pending(store: SqlStore) -> dict[str, int]:
    """Images embedded by an upgrade that is under way or was interrupted, by the fingerprint of its model."""
    return dict(store.run("SELECT fingerprint, count(*) FROM renewed GROUP BY fingerprint ORDER BY fingerprint"))


TO_DO = (
    " FROM items WHERE NOT EXISTS (SELECT 1 FROM renewed WHERE renewed.content = items.content "
    "AND renewed.fingerprint = ?)"
)


def _ids_to_do(store: SqlStore, fingerprint: str) -> set[str]:
    return {id_ for (id_,) in store.run(f"SELECT id{TO_DO}", (fingerprint,))}


def _by_content(images: Sequence[str | os.PathLike], progress: Progress) -> dict[str, str]:
    """Where else an image may be, by the hash of its bytes."""
    paths = files([Path(path) for path in images]) if images else []
    path_of: dict[str, str] = {}
    for done, path in enumerate(paths, start=1):
        path_of.setdefault(quality.content_of(path), str(path))
        progress("reading images", done, len(paths))
    return path_of


def _found(
    store: SqlStore, fingerprint: str, elsewhere: dict[str, str], progress: Progress
) -> tuple[list[Source], dict[str, str]]:
    """The images that are to be embedded yet, and the ids of those that cannot follow, with the reason."""
    todo: list[Source] = []
    lost: dict[str, str] = {}
    rows = store.run(f"SELECT id, content, path{TO_DO} ORDER BY seq", (fingerprint,))
    for done, (id_, content, path) in enumerate(rows, start=1):
        source, reason = _source(content, path, elsewhere)
        if reason:
            lost[id_] = reason
        else:
            todo.append(Source(id_, content, source))
        progress("checking images", done, len(rows))
    return todo, lost


def _embed(store: SqlStore, encoder: Encoder, todo: Sequence[Source], lost: dict[str, str], progress: Progress) -> None:
    """Embed images and keep their vectors, piece by piece; one that this model cannot read is lost."""
    total = store.count()
    done = total - len(todo) - len(lost)
    for piece in _pieces(todo):
        vectors = _embedded(encoder, piece, lost)
        with store.begin():
            for one, vector in vectors:
                _keep(store, one.content, encoder.fingerprint, vector)
        done += len(piece)
        progress("embedding", done, total)


def _source(content: str, path: str, elsewhere: dict[str, str]) -> tuple[str, str]:
    """The file of an image, or why there is none."""
    reason = "no path of it is stored"
    for candidate in (path, elsewhere.get(content, "")):
        if not candidate:
            continue
        if not os.path.isfile(candidate):
            reason = f"there is no file {candidate} now"
            continue
        try:
            if quality.content_of(candidate) == content:
                return candidate, ""
            reason = f"{candidate} is another image now"
        except ValueError as error:
            reason = str(error)
    return "", reason


def _pieces(sources: Iterable[Source]) -> Iterator[list[Source]]:
    rest = iter(sources)
    while piece := list(islice(rest, PIECE)):
        yield piece


def _embedded(encoder: Encoder, piece: Sequence[Source], lost: dict[str, str]) -> list[tuple[Source, np.ndarray]]:
    """Vectors of a piece; an image that this model cannot read is lost, and the others are not."""
    try:
        vectors_ND = check_vectors(encoder.embed([one.path for one in piece]), encoder.dim)
    except ValueError as error:
        if len(piece) == 1:
            lost[piece[0].id] = str(error)
            return []
        return [pair for one in piece for pair in _embedded(encoder, [one], lost)]
    return list(zip(piece, vectors_ND, strict=True))


def _keep(store: SqlStore, content: str, fingerprint: str, vector_D: np.ndarray) -> None:
    binary = vector_D.astype("<f4").tobytes()
    store.run(
        "INSERT INTO renewed (content, fingerprint, vector, crc) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (content, fingerprint, binary, zlib.crc32(binary)),
    )


def _refusal(store: SqlStore, lost: dict[str, str]) -> str:
    named = "; ".join(f"{id_}: {reason}" for id_, reason in islice(lost.items(), SHOWN))
    more = f"; and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
    return (
        f"{len(lost):,} of {store.count():,} images of {store.url} cannot follow to the new model ({named}{more}); "
        "give the folder where they are now with --images, or --drop-missing FILE.parquet to write them there and "
        "leave them out"
    )


def _switch(gallery: Opened, encoder: Encoder, lost: Sequence[str]) -> None:
    """Replace every vector and what depends on it, inside a write transaction."""
    store = gallery.store
    store.delete(lost)
    store.drop_negatives(items=lost)
    last, count = 0, 0
    while rows := list(islice(store.scan(last), AT_ONCE)):  # each with its checksum, so that no damage is sealed
        _replace(store, rows, encoder)
        last, count = rows[-1].seq, count + len(rows)
    blank = np.zeros(encoder.dim, "<f4").tobytes()  # near copies of marked images are known by their look alone
    store.run("UPDATE negatives SET vector = ?", (blank,))
    store.set_meta(
        dim=encoder.dim,
        sim=encoder.sim,
        fingerprint=encoder.fingerprint,
        model=os.path.abspath(encoder.path),
        promise=None,
    )
    store.clear_steps()
    store.run("DELETE FROM renewed")
    store.run("DELETE FROM thumbnails WHERE content NOT IN (SELECT content FROM items)")
    store.touch()
    store.log("upgrade", count)


def _replace(store: SqlStore, rows: Sequence[Row], encoder: Encoder) -> None:
    contents = [row.content for row in rows]
    marks = ", ".join("?" * len(rows))
    replaced = store.run(
        f"SELECT content, vector, crc FROM renewed WHERE fingerprint = ? AND content IN ({marks})",
        (encoder.fingerprint, *contents),
    )
    renewed = {content: vector for content, vector, crc in replaced if _whole(vector, crc, encoder.dim)}
    for row in rows:
        if row.content not in renewed:
            raise DamagedError(f"{store.url}: a vector of the new model is damaged; run the upgrade again")
        vector_D = np.frombuffer(bytes(renewed[row.content]), "<f4")
        crc = checksum(row._replace(vector=vector_D.tobytes()))
        store.run("UPDATE items SET vector = ?, crc = ? WHERE seq = ?", (store.vector_in(vector_D), crc, row.seq))
