"""The gallery: enroll, search, identify or answer "unknown", verify, correct and forget.

Order of every write: commit to the store, then the index, then the answer. What was answered survives a crash.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from likewise.gallery import attachments, curation, enrollment, filters, naming, negatives, report
from likewise.gallery.calibrate import Promise
from likewise.gallery.decide import Answer, find_rule, probability
from likewise.gallery.encoder import open_encoder
from likewise.gallery.enrollment import Enrolled
from likewise.gallery.opened import Opened, Query
from likewise.gallery.state import State
from likewise.gallery.stores import open_store

__all__ = ["Enrolled", "Gallery", "Hit", "Query"]

UNBUILT = "exact, until `likewise gallery check` has built a graph"


class Hit(NamedTuple):
    """An enrolled image that a search found."""

    id: str
    label: str
    similarity: float
    probability: float | None
    metadata: dict[str, Any]


class Gallery(Opened):
    """A gallery over a store, pinned to one model. Safe to share among threads; a context manager."""

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        model: str | os.PathLike,
        *,
        private: bool = False,
        thumbnails: bool | None = None,
        rule: str = "nearest",
    ) -> "Gallery":
        """An empty gallery for the vectors of a model.

        private: nothing of an image but its vector and hashes is stored, no path and no thumbnail.
        thumbnails: store a JPEG of 160 pixels of each image; None does so unless the gallery is private.

        path: a file, or postgresql://USER@HOST/DATABASE?gallery=NAME. Errors: ValueError where it exists, or the model
        or rule is none.
        """
        encoder = open_encoder(model)
        find_rule(rule)
        dim = encoder.dim
        store = open_store(path, create=True)
        try:
            if dim > store.largest_dim:
                raise ValueError(f"the model's vectors are {dim:,} long and {store.url} holds {store.largest_dim:,}")
            with store.begin():
                store.set_meta(
                    dim=dim,
                    sim=encoder.sim,
                    fingerprint=encoder.fingerprint,
                    model=os.path.abspath(model),
                    private=private,
                    thumbnails=not private if thumbnails is None else thumbnails,
                    rule=rule,
                    revision=0,
                    edits=0,
                )
                store.log("create", 0)
        except BaseException:
            store.discard()
            raise
        return cls(store, encoder)

    @classmethod
    def open(cls, path: str | os.PathLike, model: str | os.PathLike | None = None) -> "Gallery":
        """An existing gallery. model: where its model is now; None looks where it was. Errors: ValueError."""
        return cls(open_store(path), None if model is None else open_encoder(model))

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
            row = self.place(state, id)
            vector_1D, hidden = state.index.prepared[row : row + 1], {row}
        elif query is None:
            raise ValueError("search needs an image, a vector or an id")
        else:
            vector_1D = self.embed(query)[:1]
            hidden = negatives.hidden(self, state, query, vector_1D[0])
        found = state.search(vector_1D, k, conditions, hidden)
        promise = self.about_now().get("promise") or {}
        fit = promise.get("calibration")
        return [
            self._hit(state, int(r), float(s), fit) for s, r in zip(found.sim[0], found.row[0], strict=True) if r >= 0
        ]

    def _hit(self, state: State, row: int, similarity: float, fit: Mapping[str, Any] | None) -> Hit:
        facts = state.facts(row)
        metadata = {key: value for key, value in facts.items() if key not in ("label", "group", "id")}
        return Hit(state.rows[row].id, state.labels[row], similarity, probability(similarity, fit), metadata)

    def identify(self, query: Query, *, far: float | None = None, where: Sequence[str] = ()) -> Answer:
        """The class of an image, or unknown (label None).

        far: the promised false-accept rate; None takes the gallery's stored threshold, or names the best class where
        it was never calibrated. Errors: ValueError where the gallery's images are too few for the rate.
        """
        return naming.identify(self, [query], far=far, where=where)[0]

    def identify_all(
        self, queries: Sequence[Query], *, far: float | None = None, where: Sequence[str] = ()
    ) -> list[Answer]:
        """The class of each of several images, or unknown; embedded together. See `identify`."""
        return naming.identify(self, queries, far=far, where=where)

    def compare(self, a: Query, b: Query) -> dict[str, Any]:
        """Whether two images show the same class, at the threshold that the model's validation pairs chose.

        Errors: ValueError where the model has no threshold.
        """
        return naming.compare(self, a, b)

    def verify(self, query: Query, label: str, *, far: float | None = None) -> dict[str, Any]:
        """Whether an image shows a class: its similarity to that class by the gallery's rule, at the same threshold.

        Errors: ValueError for a class that is not there, or without a threshold.
        """
        return naming.verify(self, query, label, far=far)

    def promise(self, far: float, rule: str = "") -> Promise:
        """The threshold of a false-accept rate, by leaving out each class of the gallery in turn."""
        return naming.promise(self, far, rule)

    def calibrate(self, far: float = 0.01, rule: str = "") -> Promise:
        """Store the threshold for a false-accept rate; `identify` and `verify` use it from then on."""
        find_rule(rule or self.about["rule"])
        found = naming.promise(self, far, rule)
        with self.store.begin():
            self.store.set_meta(promise=found.as_json())
            self.store.log("calibrate", found.trials)
        return found

    def reject(self, query: Query, *, label: str = "", id: str = "") -> None:
        """Mark "not this one": neither this image nor a near copy of it is given that class (or that item) again."""
        negatives.reject(self, query, label=label, id=id)

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
        """Drop the undo history and all that was removed; False where another process kept it from that."""
        with self.store.begin():
            self.store.clear_steps()
            attachments.drop_unused(self.store)
            self.store.log("vacuum", 0)
        self.drop_index()
        return self.store.erase()

    # about

    def info(self) -> dict[str, Any]:
        """What the gallery is: model, sizes, threshold, and its index with measured recall@10 and time of a search."""
        state, about = self.state(), self.about_now()
        return {
            "gallery": self.store.url,
            "items": len(state.index),
            "classes": len(state.classes),
            "dim": self.dim,
            "sim": self.sim,
            "fingerprint": about["fingerprint"],
            "model": about.get("model"),
            "private": about["private"],
            "thumbnails": bool(about.get("thumbnails")),
            "rule": about["rule"],
            **report.describe(state),
            **({"index": UNBUILT} if state.view is None and self.upkeep.needed(state) else {}),
            "promise": about.get("promise"),
            "audit": self.store.audit(10),
        }

    def check(self) -> dict[str, Any]:
        """Every checksum, and SQLite's own integrity check; the index of a large gallery is built where it lacks."""
        wrong = [f"item {id_!r} is damaged" for id_ in self.store.damaged()]
        wrong += [
            f"the thumbnail of the content {content[:16]} is damaged" for content in attachments.damaged(self.store)
        ]
        wrong += getattr(self.store, "integrity", list)()
        told = {"gallery": self.store.url, "items": len(self), "sound": not wrong, "problems": wrong}
        if not wrong:
            told["index"] = self._index_checked()
        return told

    def _index_checked(self) -> str:
        if not self.upkeep.needed(self.state()):
            return "none, and none is needed"
        if (why := self.upkeep.fault()) and self.upkeep.graph is not None:  # damaged after it was read
            self.drop_index()
        sound, why = self.upkeep.graph is not None, why or self.upkeep.why
        made = self.ready().view is not None
        return "sound" if sound else f"made anew ({why or 'it was missing'})" if made else f"none: {self.upkeep.why}"

    def items(self) -> Iterator[dict[str, Any]]:
        """Every item without its vector."""
        for row in self.store.scan():
            yield {"id": row.id, "label": row.label, "group": row.group, "path": row.path, "metadata": row.metadata}
