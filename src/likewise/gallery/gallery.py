"""The gallery: enroll, search, identify or answer "unknown", verify, correct and forget.

Order of every write: commit to the store, then the index, then the answer. What was answered survives a crash.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from likewise.gallery import calibrate as calibration_of
from likewise.gallery import curation, enrollment, filters, quality
from likewise.gallery.decide import Answer, decide, find_rule, probability, same
from likewise.gallery.enrollment import Enrolled
from likewise.gallery.encoder import Encoder, open_encoder
from likewise.gallery.index import check_vectors, prepare, similarities
from likewise.gallery.sqlite import SqliteStore
from likewise.gallery.state import State, load
from likewise.gallery.store import LARGEST_DIM, DamagedError, Negative, SqlStore

__all__ = ["Enrolled", "Gallery", "Hit", "Query"]

Query = str | os.PathLike | np.ndarray


class Hit(NamedTuple):
    """An enrolled image that a search found."""

    id: str
    label: str
    similarity: float
    probability: float | None
    metadata: dict[str, Any]


class Gallery:
    """A gallery over a store, pinned to one model. Safe to share among threads; a context manager."""

    def __init__(self, store: SqlStore, encoder: Encoder | None = None):
        self.store, self.encoder = store, encoder
        self.lock = threading.RLock()
        self.memory: State | None = None
        try:
            self.about = _checked(store.meta(), store.url)
            if encoder is not None:
                self._pin(encoder)
        except BaseException:
            store.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        model: str | os.PathLike,
        *,
        private: bool = False,
        rule: str = "nearest",
    ) -> "Gallery":
        """An empty gallery for the vectors of a model. private: paths of the images are not stored either.

        Errors: ValueError where the file exists, or the model or rule is none.
        """
        encoder = open_encoder(model)
        find_rule(rule)
        dim = encoder.dim
        store = SqliteStore(path, create=True)
        try:
            with store.begin():
                store.set_meta(
                    dim=dim,
                    sim=encoder.sim,
                    fingerprint=encoder.fingerprint,
                    model=os.path.abspath(model),
                    private=private,
                    rule=rule,
                    revision=0,
                    edits=0,
                )
                store.log("create", 0)
        except BaseException:
            store.close()
            Path(path).unlink(missing_ok=True)
            raise
        return cls(store, encoder)

    @classmethod
    def open(cls, path: str | os.PathLike, model: str | os.PathLike | None = None) -> "Gallery":
        """An existing gallery. model: where its model is now; None looks where it was. Errors: ValueError."""
        return cls(SqliteStore(path), None if model is None else open_encoder(model))

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    def __len__(self) -> int:
        return self.store.count()

    @property
    def dim(self) -> int:
        return self.about["dim"]

    @property
    def sim(self) -> str:
        return self.about["sim"]

    def _pin(self, encoder: Encoder) -> None:
        if encoder.fingerprint != self.about["fingerprint"]:
            raise ValueError(
                f"{self.store.url} holds vectors of the model {self.about['fingerprint']}, and {encoder.path} is "
                f"{encoder.fingerprint}: give the model it was made with"
            )

    def model(self) -> Encoder:
        with self.lock:
            if self.encoder is None:
                stored = self.about.get("model")
                if not isinstance(stored, str) or not os.path.exists(stored):
                    raise ValueError(f"the model of {self.store.url} is not at {stored}; give it with --model RUN")
                encoder = open_encoder(stored)
                self._pin(encoder)
                self.encoder = encoder
            return self.encoder

    def state(self) -> State:
        """What is searched, as the store is now."""
        with self.lock:
            self.memory = load(self.store, self.memory, self.dim, self.sim)
            return self.memory

    # enroll

    def enroll(
        self,
        images: Sequence[str | os.PathLike],
        labels: Sequence[str] | str,
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        groups: Sequence[str] | None = None,
        gate: str = "warn",
    ) -> Enrolled:
        """Enroll image files; in pieces of 256, each of which holds once it is written.

        A file enrolled before (by its bytes) is not enrolled twice, so that a call may be repeated after a lost answer.
        ids: the client's own; without, 32 digits of the content's hash. gate: off, warn (doubtful images are enrolled
        and reported) or strict (they are not). Errors: ValueError for a call that is wrong, before anything is written.
        """
        return enrollment.enroll(self, images, labels, ids=ids, metadata=metadata, groups=groups, gate=gate)

    def enroll_vectors(
        self,
        vectors_ND: np.ndarray,
        labels: Sequence[str] | str,
        *,
        fingerprint: str,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        groups: Sequence[str] | None = None,
        gate: str = "warn",
    ) -> Enrolled:
        """Enroll vectors of the gallery's model, whose fingerprint is given with them, in one transaction."""
        if fingerprint != self.about["fingerprint"]:
            raise ValueError(
                f"the vectors are of the model {fingerprint} and the gallery holds those of {self.about['fingerprint']}"
            )
        given = {"ids": ids, "metadata": metadata, "groups": groups}
        return enrollment.enroll_vectors(self, vectors_ND, labels, gate=gate, **given)

    # ask

    def embed(self, query: Query | Sequence[Query]) -> np.ndarray:
        """float32 `[N, D]` of image files, or of vectors as they are."""
        if isinstance(query, np.ndarray):
            return check_vectors(np.atleast_2d(query), self.dim, "query vectors")
        many = [query] if isinstance(query, (str, os.PathLike)) else list(query)
        if not many:
            raise ValueError("there are no queries; give an image, several, or vectors")
        if all(isinstance(one, np.ndarray) for one in many):
            return check_vectors(np.stack(many), self.dim, "query vectors")
        return check_vectors(self.model().embed(many), self.dim)  # type: ignore[arg-type]

    def search(
        self,
        query: Query | None = None,
        k: int = 5,
        *,
        id: str = "",
        where: Sequence[str] = (),
    ) -> list[Hit]:
        """The k nearest enrolled images of one image or vector, or of an enrolled id ("more like this").

        where: conditions such as `label=heron`, `year>=2000` or `site in pond,lake`. Fewer come where fewer there are.
        Errors: ValueError for an id that is not there, a condition that is none, or k below 1.
        """
        if k < 1:
            raise ValueError(f"k is the number of results, from 1; got {k}")
        conditions, state = filters.parse(where), self.state()
        hidden: set[int] = set()
        if id:
            row = self._place(state, id)
            vector_1D, hidden = state.index.prepared[row : row + 1], {row}
        elif query is None:
            raise ValueError("search needs an image, a vector or an id")
        else:
            vector_1D = self.embed(query)[:1]
            hidden = self._rejected(state, query, vector_1D[0])
        found = state.index.search(vector_1D, k, state.allowed(conditions, hidden))
        promise = self.about_now().get("promise") or {}
        fit = promise.get("calibration")
        return [self._hit(state, int(r), float(s), fit) for s, r in zip(found.sim[0], found.row[0], strict=True) if r >= 0]

    def _hit(self, state: State, row: int, similarity: float, fit: Mapping[str, Any] | None) -> Hit:
        facts = state.facts(row)
        metadata = {key: value for key, value in facts.items() if key not in ("label", "group", "id")}
        return Hit(state.rows[row].id, state.labels[row], similarity, probability(similarity, fit), metadata)

    def _place(self, state: State, id: str) -> int:
        if id not in state.place:
            raise ValueError(f"there is no id {id!r} in {self.store.url}")
        return state.place[id]

    def about_now(self) -> dict[str, Any]:
        return self.store.meta()

    def identify(self, query: Query, *, far: float | None = None, where: Sequence[str] = ()) -> Answer:
        """The class of an image, or unknown (label None).

        far: the promised false-accept rate; None takes the gallery's stored threshold, or names the best class where
        it was never calibrated. Errors: ValueError where the gallery's images are too few for the rate.
        """
        state, about = self.state(), self.about_now()
        vector_1D = self.embed(query)[:1]
        promise = about.get("promise") if far is None else self.promise(far).as_json()
        rule = about["rule"] if promise is None else promise["rule"]
        rows = state.allowed(filters.parse(where), self._rejected(state, query, vector_1D[0]))
        sims, labels = self._candidates(state, vector_1D, rule, rows)
        threshold = promise["threshold"] if promise else None
        answer = decide(sims, labels, rule, threshold, promise["calibration"] if promise else None)
        note = self._outdated(about, state) if far is None else ""
        return replace(answer, why=answer.why + note)

    def _candidates(
        self, state: State, vector_1D: np.ndarray, rule: str, rows: np.ndarray | None
    ) -> tuple[np.ndarray, list[str]]:
        """Similarities and labels that a rule decides by: of the 64 nearest, or of the class centres."""
        if rule == "centre":
            chosen = np.arange(len(state.index)) if rows is None else rows
            labels = [state.labels[i] for i in chosen]
            centre_CD, names = calibration_of.centres(state.index.prepared[chosen], labels, self.sim)
            return similarities(vector_1D, prepare(centre_CD, self.sim), self.sim)[0], names
        found = state.index.search(vector_1D, calibration_of.CANDIDATES, rows)
        kept = found.row[0] >= 0
        return found.sim[0][kept], [state.labels[i] for i in found.row[0][kept]]

    def _outdated(self, about: Mapping[str, Any], state: State) -> str:
        promise, classes = about.get("promise"), len(set(state.labels))
        if promise and not 0.8 <= classes / max(promise["classes"], 1) <= 1.25:
            return f"; calibrated with {promise['classes']} classes, now {classes}: run `likewise gallery calibrate`"
        return ""

    def verify(self, query: Query, label: str, *, far: float | None = None) -> dict[str, Any]:
        """Whether an image shows a class: its similarity to the nearest image of it, against the same threshold."""
        state, about = self.state(), self.about_now()
        rows = np.asarray([i for i, name in enumerate(state.labels) if name == label], np.int64)
        if not len(rows):
            raise ValueError(f"there is no class {label!r} in {self.store.url}")
        promise = about.get("promise") if far is None else self.promise(far).as_json()
        if promise is None:
            raise ValueError(f"{self.store.url} has no threshold; give --far 0.01, or run `likewise gallery calibrate`")
        sims, labels = self._candidates(state, self.embed(query)[:1], promise["rule"], rows)
        score = decide(sims, labels, promise["rule"]).similarity
        return {
            **same(score, promise["threshold"], promise["calibration"])._asdict(),
            "label": label,
            "similarity": score,
            "threshold": promise["threshold"],
            "far": promise["far"],
            "far_interval": [promise["low"], promise["high"]],
        }

    def promise(self, far: float, rule: str = "") -> calibration_of.Promise:
        """The threshold of a false-accept rate, by leaving out each class of the gallery in turn."""
        rule, state = rule or self.about["rule"], self.state()
        count = len(state.index)
        if len(set(state.labels[:count])) < 2:
            raise ValueError("a threshold is found by leaving classes out, so that two are needed; enroll another class")
        trials = calibration_of.leave_out(
            state.index.prepared, state.labels[:count], None, state.labels[:count], sim=self.sim, rule=rule
        )
        return calibration_of.calibrate(trials, far, rule=rule, source="the gallery, each class left out")

    def calibrate(self, far: float = 0.01, rule: str = "") -> calibration_of.Promise:
        """Store the threshold for a false-accept rate; `identify` and `verify` use it from then on."""
        find_rule(rule or self.about["rule"])
        found = self.promise(far, rule)
        with self.store.begin():
            self.store.set_meta(promise=found.as_json())
            self.store.log("calibrate", found.trials)
        return found

    def reject(self, query: Query, *, label: str = "", id: str = "") -> None:
        """Mark "not this one": neither this image nor a near copy of it is given that class (or that item) again."""
        state = self.state()
        if bool(label) == bool(id):
            raise ValueError("say what the image is not: either a label or an id")
        if label and label not in state.labels:
            raise ValueError(f"there is no class {label!r} in {self.store.url}")
        if id:
            self._place(state, id)
        content, look = _identity(query)
        vector = self.embed(query)[0]
        with self.store.begin():
            self.store.add_negative(Negative(content, look, vector.astype("<f4").tobytes(), label, id))
            self.store.log("reject", 1, label)

    def _rejected(self, state: State, query: Query, vector_D: np.ndarray) -> set[int]:
        """Rows that marks of this image, or of a near copy, exclude."""
        marks = self.store.negatives()
        if not marks:
            return set()
        content, look = _identity(query)
        hidden: set[int] = set()
        for mark in marks:
            stored = np.frombuffer(mark.vector, "<f4")
            if mark.content != content and not (
                look and len(stored) == len(vector_D) and quality.near_copy(look, vector_D, [mark.look], stored[None]) == 0
            ):
                continue
            hidden |= {i for i, row in enumerate(state.rows) if row.id == mark.item or (mark.label and row.label == mark.label)}
        return hidden

    # curate

    def rename(self, old: str, new: str) -> int:
        """Give a class another name that no class has."""
        return curation.rename(self, old, new)

    def merge(self, source: str, target: str) -> int:
        """Move all of a class into another."""
        return curation.merge(self, source, target)

    def split(self, ids: Sequence[str], label: str) -> int:
        """Move items to a class, new or not."""
        return curation.split(self, ids, label)

    def remove(self, ids: Sequence[str]) -> int:
        """Take items out; `undo` brings them back until `forget` or `vacuum`."""
        return curation.remove(self, ids)

    def forget(self, label: str) -> dict[str, Any]:
        """Erase a class from file, WAL, undo history and audit log."""
        return curation.forget(self, label)

    def undo(self) -> str:
        """Undo the last enrollment or curation step; what it was."""
        return curation.undo(self)

    def vacuum(self) -> bool:
        """Drop the undo history and all that was removed; False where another process kept the WAL from being emptied."""
        with self.store.begin():
            self.store.clear_steps()
            self.store.log("vacuum", 0)
        return self.store.erase()

    # about

    def info(self) -> dict[str, Any]:
        """What the gallery is: model, sizes, threshold."""
        state, about = self.state(), self.about_now()
        return {
            "gallery": self.store.url,
            "items": len(state.index),
            "classes": len(set(state.labels)),
            "dim": self.dim,
            "sim": self.sim,
            "fingerprint": about["fingerprint"],
            "model": about.get("model"),
            "private": about["private"],
            "rule": about["rule"],
            "index": "exact",
            "bytes_per_vector": 4 * self.dim,
            "promise": about.get("promise"),
            "audit": self.store.audit(10),
        }

    def check(self) -> dict[str, Any]:
        """Every checksum, and SQLite's own integrity check."""
        wrong = [f"item {id_!r} is damaged" for id_ in self.store.damaged()]
        wrong += getattr(self.store, "integrity", list)()
        return {"gallery": self.store.url, "items": len(self), "sound": not wrong, "problems": wrong}

    def items(self) -> Iterator[dict[str, Any]]:
        """Every item without its vector."""
        for row in self.store.scan():
            yield {"id": row.id, "label": row.label, "group": row.group, "path": row.path, "metadata": row.metadata}


def _identity(query: Query) -> tuple[str, bytes]:
    """Content hash and perceptual hash of a query."""
    if isinstance(query, np.ndarray):
        return hashlib.sha256(np.asarray(query, "<f4").tobytes()).hexdigest(), b""
    return quality.content_of(query), quality.look_of(query)


def _checked(about: dict[str, Any], url: str) -> dict[str, Any]:
    """Errors: DamagedError for a description whose values no gallery writes."""
    right = {"dim": int, "sim": str, "fingerprint": str, "rule": str, "private": bool}
    for key, kind in right.items():
        if not isinstance(about.get(key), kind):
            raise DamagedError(f"{url}: its description has no {key}; it is damaged, restore an export")
    if not 1 <= about["dim"] <= LARGEST_DIM:
        raise DamagedError(f"{url}: vectors of length {about['dim']} are none; it is damaged, restore an export")
    return about
