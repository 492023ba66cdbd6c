"""The gallery: enroll, search, identify or answer "unknown", verify, correct and forget.

Order of every write: commit to the store, then the index, then the answer. What was answered survives a crash.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from likewise.gallery import attachments, curation, enrollment, listing, naming, negatives, renewal, report, searching
from likewise.gallery import suggest as suggestions
from likewise.gallery.calibrate import Promise
from likewise.gallery.decide import Answer, Calibration, find_rule, probability
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
    metadata: dict[str, object]


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
        index: str = "hnsw",
    ) -> "Gallery":
        """An empty gallery for the vectors of a model.

        private: nothing of an image but its vector and hashes is stored, no path and no thumbnail.
        thumbnails: store a JPEG of 160 pixels of each image; None does so unless the gallery is private.
        index: hnsw, int8 or ivfpq, see `reindex`.

        path: a file, or postgresql://USER@HOST/DATABASE?gallery=NAME. Errors: ValueError where it exists, or the model
        or rule is none.
        """
        encoder = open_encoder(model)
        find_rule(rule)
        report.check_index(index)
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
                    index=index,
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
        metadata: Sequence[Mapping[str, object]] | None = None,
        groups: Sequence[str] | None = None,
        gate: str = "warn",
        progress: enrollment.Progress | None = None,
    ) -> Enrolled:
        """Enroll image files; in pieces of 256, each of which holds once it is written.

        A file enrolled before (by its bytes) is not enrolled twice, so that a call may be repeated after a lost answer.
        ids: the client's own; without, 32 digits of the content's hash. gate: off, warn (doubtful images are enrolled
        and reported) or strict (they are not). Errors: ValueError for a call that is wrong, before anything is written.
        """
        given: enrollment.Lists = {"ids": ids, "metadata": metadata, "groups": groups}
        return enrollment.enroll(self, images, labels, gate=gate, progress=progress, **given)

    def enroll_vectors(
        self,
        vectors_ND: np.ndarray,
        labels: Sequence[str] | str,
        *,
        fingerprint: str,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, object]] | None = None,
        groups: Sequence[str] | None = None,
        gate: str = "warn",
    ) -> Enrolled:
        """Enroll vectors of the gallery's model, whose fingerprint is given with them, in one transaction."""
        if fingerprint != (now := self.state().fingerprint):
            raise ValueError(f"the vectors are of the model {fingerprint} and the gallery holds those of {now}")
        given: enrollment.Lists = {"ids": ids, "metadata": metadata, "groups": groups}
        return enrollment.enroll_vectors(self, vectors_ND, labels, gate=gate, **given)

    def enroll_listed(
        self,
        path: str | os.PathLike,
        *,
        label: str = "",
        made_by: str | os.PathLike | None = None,
        gate: str = "warn",
        progress: enrollment.Progress | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> Enrolled:
        """Enroll what a file lists: CSV, TSV or Parquet of images, or .npz or Parquet of vectors.

        label: one for all; without, each row's. made_by: the model that made the vectors, a run or model.onnx.
        columns: the names of the columns of image, label, id and group; without, the usual names. Other columns become
        metadata. Errors: ValueError for a file, column or model that is wrong, before anything is written.
        """
        listed = listing.read(path, label=label, columns=columns or {})
        given: enrollment.Lists = {"ids": listed.ids, "metadata": listed.metadata, "groups": listed.groups}
        if listed.vectors is None:
            enrolled = self.enroll(listed.images, listed.labels, gate=gate, progress=progress, **given)
        else:
            made = listing.fingerprint(path, made_by)
            enrolled = self.enroll_vectors(listed.vectors, listed.labels, fingerprint=made, gate=gate, **given)
        return enrolled._replace(findings=listed.findings + enrolled.findings)

    # ask

    def search(
        self,
        query: Query | Sequence[Query] | None = None,
        k: int = 5,
        *,
        id: str = "",
        where: Sequence[str] = (),
        together: str = "mean",
        rerank: str = "",
    ) -> list[Hit]:
        """The k nearest enrolled images of an image or vector, or of an enrolled id ("more like this").

        query: one, or several images (or vectors) of one object, which `together` makes one query: by their mean
        vector, or by the best similarity of any. rerank: order the 1,000 nearest anew, by k-reciprocal or
        query-expansion; similarities stay as they are. where: conditions such as `label=heron`, `year>=2000` or
        `site in pond,lake`. Fewer come where fewer there are.
        Errors: ValueError for an id that is not there, a condition that is none, or k below 1.
        """
        near = searching.search(self, query, k, id=id, where=where, together=together, rerank=rerank)
        fit = (self.about_now().get("promise") or {}).get("calibration")
        return [
            self._hit(near.state, row, similarity, fit) for row, similarity in zip(near.rows, near.sims, strict=True)
        ]

    def _hit(self, state: State, row: int, similarity: float, fit: Calibration | None) -> Hit:
        facts = state.facts(row)
        metadata = {key: value for key, value in facts.items() if key not in ("label", "group", "id")}
        return Hit(state.rows[row].id, state.labels[row], similarity, probability(similarity, fit), metadata)

    def identify(
        self,
        query: Query | Sequence[Query],
        *,
        far: float | None = None,
        where: Sequence[str] = (),
        together: str = "mean",
    ) -> Answer:
        """The class of an image, or of one object in several images, or unknown (label None).

        together: several images by their mean vector, or by the best similarity of any (mean, best).
        far: the promised false-accept rate; None takes the gallery's stored threshold, or names the best class where
        it was never calibrated. Errors: ValueError where the gallery's images are too few for the rate.
        """
        return naming.identify(self, searching.as_many(query), far=far, where=where, together=together)[0]

    def identify_all(
        self, queries: Sequence[Query], *, far: float | None = None, where: Sequence[str] = ()
    ) -> list[Answer]:
        """The class of each of several images, or unknown; embedded together. See `identify`."""
        return naming.identify(self, queries, far=far, where=where)

    def compare(self, a: Query, b: Query) -> dict[str, object]:
        """Whether two images show the same class, at the threshold that the model's validation pairs chose.

        Errors: ValueError where the model has no threshold.
        """
        return naming.compare(self, a, b)

    def verify(self, query: Query, label: str, *, far: float | None = None) -> dict[str, object]:
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
        state = self.state()
        promised = naming.promise(self, far, rule, state)
        with self.writing(state.fingerprint):
            self.store.set_meta(promise=promised.as_json())
            self.store.log("calibrate", promised.trials)
        return promised

    def reject(self, query: Query, *, label: str = "", id: str = "") -> None:
        """Mark "not this one": neither this image nor a near copy of it is given that class (or that item) again."""
        negatives.reject(self, query, label=label, id=id)

    def suggest(
        self,
        images: Sequence[str | os.PathLike],
        *,
        far: float | None = None,
        smallest: int = 2,
        enroll: bool = False,
    ) -> suggestions.Suggested:
        """Clusters of images that the gallery does not know, proposed as new classes, the largest first.

        far: the rate whose threshold tells unknown from known and cuts the clusters; None takes the stored one.
        smallest: images of a cluster. enroll: enroll them at once under the proposed names.
        Errors: ValueError without a threshold, or for more than 10,000 images.
        """
        return suggestions.suggest(self, images, far=far, smallest=smallest, enroll=enroll)

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

    def forget(self, label: str) -> dict[str, object]:
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

    def upgrade(
        self,
        model: str | os.PathLike,
        *,
        images: Sequence[str | os.PathLike] = (),
        drop_missing: str | os.PathLike | None = None,
        progress: renewal.Progress | None = None,
    ) -> renewal.Upgraded:
        """Move to another model: embed every image anew, and replace all vectors at once when that is done.

        Until then the gallery answers with its old model, also in other processes. A call that was interrupted goes on
        when it is repeated. The calibration and the undo history end with the old model.

        images: files or folders where images may be that are not at their stored paths; known by their content.
        drop_missing: a Parquet file to which items are written whose image is gone or changed; they then leave the
        gallery. Without it, such items are a ValueError that names them, and nothing changes.
        """
        return renewal.upgrade(self, model, images=images, drop_missing=drop_missing, progress=progress)

    def reindex(self, kind: str) -> None:
        """Have another kind of index from now on; of a large gallery it is built before this returns.

        hnsw: a graph over the vectors, which are in memory twice. int8, ivfpq: codes of a fourth, or a sixteenth of
        their bytes are in memory, and the vectors in a file that the best candidates are compared from, exactly.
        Errors: ValueError for a kind that is none, or without FAISS.
        """
        report.reindex(self, kind)

    # about

    def info(self) -> dict[str, object]:
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
            "upgrading": renewal.pending(self.store),
            "audit": self.store.audit(10),
        }

    def check(self) -> report.Checked:
        """Every checksum, and SQLite's own integrity check; the index of a large gallery is built where it lacks."""
        return report.check(self)

    def items(self) -> Iterator[dict[str, object]]:
        """Every item without its vector."""
        for row in self.store.scan():
            yield {"id": row.id, "label": row.label, "group": row.group, "path": row.path, "metadata": row.metadata}
