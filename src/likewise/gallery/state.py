"""What a gallery keeps in memory to search: made from the store, brought up to date before every search."""

import zlib
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TypedDict

import numpy as np

from likewise.gallery import nearest
from likewise.gallery.filters import Condition
from likewise.gallery.index import ExactIndex, Found
from likewise.gallery.kinds import KINDS, MAPPED
from likewise.gallery.mapped import MappedRows
from likewise.gallery.store import LARGEST_DIM, DamagedError, LostError, Row, SqlStore, StoreError, Version
from likewise.safety import bounds
from likewise.safety.bounds import Record

__all__ = ["State", "described", "load"]


class State:
    """Rows of the store in order, their vectors indexed. Rows are only ever added; an edit makes a new State.

    kind: of the index; folder: where the vectors of a kind of codes are kept, else the system's for temporary files.
    """

    def __init__(self, dim: int, sim: str, fingerprint: str = "", kind: str = "hnsw", folder: Path | None = None):
        self.dim, self.sim, self.fingerprint, self.kind = dim, sim, fingerprint, kind
        self.version = Version(-1, -1)
        self.last = 0
        self.rows: list[Row] = []
        self.labels: list[str] = []
        self.place: dict[str, int] = {}
        self.index = ExactIndex(dim, sim, MappedRows(dim, folder) if kind in MAPPED else None)
        self.classes: set[str] = set()
        self.seqs = np.zeros(0, np.int64)
        self.crcs = np.zeros(0, np.uint32)  # of the stored vectors: with seqs, what a graph knows its nodes by
        self.view: nearest.View | None = None

    def add(self, rows: Sequence[Row]) -> None:
        """Errors: DamagedError for a vector of another length, or that is not finite; StoreError for a full disk."""
        if not rows:
            return
        if wrong := next((row for row in rows if len(row.vector) != 4 * self.dim), None):
            raise DamagedError(
                f"item {wrong.id!r} has a vector of {len(wrong.vector)} bytes, and {4 * self.dim} are right"
            )
        vectors_ND = np.frombuffer(b"".join(row.vector for row in rows), "<f4").reshape(len(rows), self.dim)
        if not np.isfinite(vectors_ND).all():
            raise DamagedError("the gallery holds vectors with NaN or infinity")
        try:
            self.index.reserve(len(rows))
        except OSError as error:  # nothing is added yet
            raise StoreError(
                f"there is no room on the disk for the vectors of this index ({error.strerror}): free some, or have "
                "another by `likewise gallery index GALLERY --kind hnsw`"
            ) from None
        first = len(self.rows)
        self.labels += [row.label for row in rows]
        self.rows += [row._replace(vector=b"") for row in rows]
        self.classes.update(row.label for row in rows)
        self.seqs = np.append(self.seqs, [row.seq for row in rows])
        self.crcs = np.append(self.crcs, np.array([zlib.crc32(row.vector) for row in rows], np.uint32))
        self.index.add(vectors_ND)  # behind what is known of its rows: a search in another thread may find them now
        self.place.update((row.id, first + i) for i, row in enumerate(rows))
        self.last = rows[-1].seq

    def search(
        self, query_QD: np.ndarray, k: int, conditions: Sequence[Condition] = (), hidden: Set[int] = frozenset()
    ) -> Found:
        """The k nearest rows that meet the conditions and are not hidden; by the graph where there is one."""
        seen, fetched = self.view, k + len(hidden)
        if conditions or (hidden and fetched > nearest.MOST):
            return self.index.search(query_QD, k, self.allowed(conditions, hidden))
        if seen is None or fetched > nearest.MOST:
            near = self.index.search(query_QD, fetched)
        else:
            near = nearest.search(seen, self.index, query_QD, fetched)
        return without(near, hidden, k) if hidden else near

    def facts(self, row: int) -> dict[str, object]:
        """Metadata with label and group, as conditions see them."""
        item = self.rows[row]
        return {
            **bounds.parsed_json(item.metadata, f"the metadata of {item.id}"),
            "label": item.label,
            "group": item.group,
            "id": item.id,
        }

    def allowed(self, conditions: Sequence[Condition], hidden: Set[int]) -> np.ndarray | None:
        """Rows that meet the conditions and are not hidden; None for all."""
        count = len(self.index)
        if not conditions and not hidden:
            return None
        allowed = [i for i in range(count) if i not in hidden and all(c(self.facts(i)) for c in conditions)]
        return np.asarray(allowed, np.int64)


def without(near: Found, hidden: Set[int], k: int) -> Found:
    """The first k of each query that are not hidden. near: k and as many more as are hidden."""
    gone_QK = np.isin(near.row, list(hidden))
    order_Qk = np.argsort(gone_QK, axis=1, kind="stable")[:, :k]
    sim_QK, row_QK = np.where(gone_QK, -np.inf, near.sim), np.where(gone_QK, -1, near.row)
    return Found(np.take_along_axis(sim_QK, order_Qk, 1), np.take_along_axis(row_QK, order_Qk, 1))


def load(store: SqlStore, state: State | None) -> State:
    """The state of the store now: additions are read alone, anything else anew. Errors: DamagedError."""
    if state is not None and state.version == store.version():
        return state
    try:
        return _read(store, state)
    except LostError:  # once more, over a new connection; what was read already is kept
        return _read(store, state)


def _read(store: SqlStore, state: State | None) -> State:
    with store.reading():
        version = store.version()
        fresh = state is None or state.version.edits != version.edits
        current = _empty(store) if fresh or state is None else state
        batch: list[Row] = []
        for row in store.scan(current.last):
            batch.append(row)
            if len(batch) >= 4096:
                current.add(batch)
                batch = []
        current.add(batch)
        current.version = version
    if fresh:
        current.index.settle()
    return current


def _empty(store: SqlStore) -> State:
    folder = None if store.path is None or store.read_only else store.path.absolute().parent
    return State(**described(store.meta(), store.url), folder=folder)


class Described(TypedDict):
    """What a gallery's vectors are."""

    dim: int
    sim: str
    fingerprint: str
    kind: str


def described(about: Record, url: str) -> Described:
    """Length, similarity, fingerprint and kind of index. Errors: DamagedError for values that none writes."""
    for key, kind in (("dim", int), ("sim", str), ("fingerprint", str)):
        if not isinstance(about.get(key), kind):
            raise DamagedError(f"{url}: its description has no {key}; it is damaged, restore an export")
    if not 1 <= about["dim"] <= LARGEST_DIM:
        raise DamagedError(f"{url}: vectors of length {about['dim']} are none; it is damaged, restore an export")
    kind = about.get("index", "hnsw")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        raise DamagedError(f"{url} has the index {str(kind)[:20]!r} and this version knows {known}; update likewise")
    return {"dim": about["dim"], "sim": about["sim"], "fingerprint": about["fingerprint"], "kind": kind}
