"""An open gallery: its store, its model, and what is searched. The verbs are functions over it."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np

from likewise.gallery.encoder import Encoder, open_encoder
from likewise.gallery.index import check_vectors
from likewise.gallery.state import State, described, load
from likewise.gallery.store import DamagedError, SqlStore, StoreError, Version
from likewise.gallery.unseen import Basis
from likewise.gallery.upkeep import Upkeep
from likewise.safety import bounds

__all__ = ["Opened", "Query"]

Query = str | os.PathLike | np.ndarray


class Asked(NamedTuple):
    """What is searched, and by what: all of one model."""

    state: State
    vectors: np.ndarray  # float32 [N, D]
    about: bounds.Fields


class Opened:
    """A store, pinned to one model. Safe to share among threads; a context manager."""

    def __init__(self, store: SqlStore, encoder: Encoder | None = None):
        self.store = store
        self.encoder: Encoder | None = None
        self.lock = threading.RLock()
        self.memory: State | None = None
        self.trials: dict[tuple[Version, str, int], Basis] = {}
        try:
            self.about = _checked(store.meta(), store.url)
            if encoder is not None:
                self.pin(encoder)
            self.upkeep = Upkeep(store, self.dim, self.sim)
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        with self.lock:
            self.upkeep.close()
        self.store.close()

    def __len__(self) -> int:
        return self.store.count()

    @property
    def dim(self) -> int:
        return self.about["dim"]

    @property
    def sim(self) -> str:
        return self.about["sim"]

    def pin(self, encoder: Encoder) -> None:
        """Use this model. Errors: ValueError for another than the gallery was made with."""
        if encoder.fingerprint != self.about["fingerprint"]:
            raise ValueError(
                f"{self.store.url} holds vectors of the model {self.about['fingerprint']}, and {encoder.path} is "
                f"{encoder.fingerprint}: give the model it was made with"
            )
        self.encoder = encoder

    def model(self) -> Encoder:
        with self.lock:
            if self.encoder is None:
                stored = self.about.get("model")
                if not isinstance(stored, str) or not os.path.exists(stored):
                    raise ValueError(f"the model of {self.store.url} is not at {stored}; give it with --model RUN")
                encoder = open_encoder(stored)
                self.pin(encoder)
                return encoder
            return self.encoder

    def state(self) -> State:
        """What is searched, as the store is now; inside a write transaction, as it was when that began."""
        if self.store.writing() and self.memory is not None:
            # what is not committed may yet be rolled back; and a thread that has the lock may wait for this transaction
            return self.memory
        with self.lock:
            self.memory = load(self.store, self.memory)
            if self.memory.fingerprint != self.about["fingerprint"]:
                self.follow()
            self.upkeep.refresh(self.memory)
            return self.memory

    def ready(self) -> State:
        """As `state`, once the index of a large gallery is there whole; building it takes minutes for a million."""
        while True:
            with self.lock:
                state = self.state()
                self.upkeep.refresh(state, now=True)
                if not self.upkeep.working:
                    return state
            self.upkeep.wait()

    def drop_index(self) -> None:
        """Erase the index and its file, and with them every trace of what was removed."""
        with self.lock:
            self.upkeep.forget()

    def follow(self) -> None:
        """Take the model that the gallery has been upgraded to, by this process or another."""
        with self.lock:
            about = _checked(self.store.meta(), self.store.url)
            if about["fingerprint"] != self.about["fingerprint"]:
                self.about, self.encoder, self.trials = about, None, {}
                self.upkeep.close()
                self.upkeep = Upkeep(self.store, self.dim, self.sim)

    @contextmanager
    def writing(self, fingerprint: str) -> Iterator[None]:
        """A write transaction for vectors of this model. Errors: StoreError where the gallery has another by now."""
        with self.store.begin():
            self.same_model(self.store.meta().get("fingerprint"), fingerprint)
            yield

    def same_model(self, now: object, fingerprint: str) -> None:
        if now != fingerprint:
            raise StoreError(f"{self.store.url} was upgraded to another model during this call; repeat it")

    def asked(self, queries: "Query | Sequence[Query]") -> Asked:
        """Queries embedded by the model whose vectors are searched, with the threshold of that model."""
        while True:
            state, about = self.state(), self.about_now()
            if about.get("fingerprint") == state.fingerprint == self.about["fingerprint"]:
                vectors_ND = self.embed(queries)
                if state.fingerprint == self.about["fingerprint"]:  # no other thread has followed an upgrade meanwhile
                    return Asked(state, vectors_ND, about)

    def embed(self, query: Query | Sequence[Query]) -> np.ndarray:
        """float32 `[N, D]` of image files, or of vectors as they are."""
        if isinstance(query, np.ndarray):
            return check_vectors(np.atleast_2d(query), self.dim, "query vectors")
        many: list[Any]  # all files, or all vectors
        many = [query] if isinstance(query, (str, os.PathLike)) else list(query)
        if not many:
            raise ValueError("there are no queries; give an image, several, or vectors")
        if all(isinstance(one, np.ndarray) for one in many):
            return check_vectors(np.stack(many), self.dim, "query vectors")
        encoder = self.model()
        return check_vectors(encoder.embed(many), encoder.dim)  # another thread may follow an upgrade meanwhile

    def path_of(self, image: str | os.PathLike) -> str:
        """What is stored as the place of an enrolled image file."""
        return os.path.abspath(image)

    def place(self, state: State, id: str) -> int:
        if id not in state.place:
            raise ValueError(f"there is no id {id!r} in {self.store.url}")
        return state.place[id]

    def about_now(self) -> bounds.Fields:
        return self.store.meta()


def _checked(about: bounds.Fields, url: str) -> bounds.Fields:
    """Errors: DamagedError for a description whose values no gallery writes."""
    described(about, url)
    for key, kind in (("rule", str), ("private", bool)):
        if not isinstance(about.get(key), kind):
            raise DamagedError(f"{url}: its description has no {key}; it is damaged, restore an export")
    return about
