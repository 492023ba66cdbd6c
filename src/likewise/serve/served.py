"""Galleries that are open for as long as the service runs, each with the model that is loaded once."""

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from likewise.gallery import attachments
from likewise.gallery.encoder import RunEncoder, open_encoder
from likewise.gallery.gallery import Gallery
from likewise.gallery.state import State
from likewise.gallery.store import Version
from likewise.serve.batching import BatchingEncoder
from likewise.serve.problems import ProblemError
from likewise.serve.settings import Settings, named_galleries
from likewise.serve.telemetry import Telemetry

__all__ = ["Classes", "Served", "ServedGallery", "close_all", "open_all"]

MAP_POINTS = 20_000


class ServedGallery(Gallery):
    """A gallery whose images come from clients: they have no path that would be worth keeping."""

    def path_of(self, image: str | os.PathLike) -> str:
        return ""


class Classes(NamedTuple):
    """Classes by name, with their number of images and the id of the first."""

    names: list[str]
    images: Counter[str]
    example: dict[str, str]


Made = TypeVar("Made")


class Served:
    """A gallery with what is derived from it, computed once for each of its versions."""

    def __init__(self, name: str, gallery: Gallery):
        self.name, self.gallery = name, gallery
        self.lock = threading.Lock()
        self.key_locks = tuple(threading.Lock() for _ in range(64))
        self.derived: dict[str, tuple[Version, Any]] = {}  # Any: what its `compute` made

    def key_lock(self, key: str) -> threading.Lock:
        """One of 64 locks: writes of one key wait for one another."""
        return self.key_locks[hash(key) % len(self.key_locks)]

    def once(self, what: str, compute: Callable[[State], Made]) -> Made:
        state = self.gallery.state()
        with self.lock:
            cached = self.derived.get(what)
            if cached is None or cached[0] != state.version:
                self.derived[what] = cached = (state.version, compute(state))
        return cached[1]

    def classes(self) -> Classes:
        return self.once("classes", _classes)

    def map(self) -> dict[str, object]:
        return self.once("map", _map)

    def known_class(self, label: str) -> None:
        """Errors: Problem 404."""
        if label not in self.classes().images:
            raise ProblemError(404, f"there is no class {label!r} in the gallery {self.name}")

    def known_id(self, id: str) -> None:
        """Errors: Problem 404."""
        if id not in self.gallery.state().place:
            raise ProblemError(404, f"there is no id {id!r} in the gallery {self.name}")

    def thumbnails(self, contents: list[str]) -> set[str]:
        return attachments.with_thumbnail(self.gallery.store, contents)

    def plain(self, sentence: str) -> str:
        """A sentence of the gallery without paths of this machine."""
        sentence = sentence.replace(self.gallery.store.url, f"the gallery {self.name}")
        return re.sub(r"\S*likewise-[^/\s]+/(\d{3})\.\w+", lambda match: f"image {int(match[1]) + 1}", sentence)

    def ready(self) -> str:
        """Empty where store, index and model answer, else what does not."""
        try:
            state = self.gallery.state()
            if len(state.index) != self.gallery.store.count():
                return "the index and the store differ"
        except ValueError as error:
            return self.plain(str(error))
        encoder = self.gallery.encoder
        if isinstance(encoder, BatchingEncoder) and not encoder.alive():
            return "the model does not answer"
        return ""

    def close(self) -> None:
        self.gallery.close()


def open_all(settings: Settings, telemetry: Telemetry) -> dict[str, Served]:
    """Every gallery by name, its vectors read and its model loaded. Errors: ValueError."""
    opened: dict[str, Served] = {}
    encoders: dict[str, BatchingEncoder] = {}
    try:
        for name, url in named_galleries(settings.galleries):
            gallery = ServedGallery.open(url)
            opened[name] = Served(name, gallery)
            path = settings.model or str(gallery.about.get("model") or "")
            if path not in encoders:
                if not os.path.exists(path):
                    raise ValueError(f"the model of {gallery.store.url} is not at {path}; give it with --model RUN")
                encoder = open_encoder(path)
                if isinstance(encoder, RunEncoder):
                    encoder.load()  # with torch, seconds that the first client would wait for
                encoders[path] = BatchingEncoder(encoder, telemetry.batches.observe)
            gallery.pin(encoders[path])
            gallery.state()
    except BaseException:
        for served in opened.values():
            served.close()
        for encoder in encoders.values():
            encoder.close()
        raise
    return opened


def close_all(opened: Mapping[str, Served]) -> None:
    """Finish what the models have to embed, then close the galleries."""
    for encoder in {id(served.gallery.encoder): served.gallery.encoder for served in opened.values()}.values():
        getattr(encoder, "close", lambda: None)()
    for served in opened.values():
        served.close()


def _classes(state: State) -> Classes:
    example: dict[str, str] = {}
    for row, label in zip(state.rows, state.labels, strict=False):
        example.setdefault(label, row.id)
    count = Counter(state.labels[: len(state.rows)])
    return Classes(sorted(count), count, example)


def _map(state: State) -> dict[str, object]:
    """Two principal components of the vectors, of 20,000 spread over the gallery where there are more."""
    total = len(state.index)
    chosen = np.unique(np.linspace(0, max(total - 1, 0), min(total, MAP_POINTS)).astype(np.int64))
    x_ND = state.index.prepared[chosen].astype(np.float64) if total else np.zeros((0, state.dim))
    labels = [state.labels[i] for i in chosen.tolist()] if total else []
    ids = [state.rows[i].id for i in chosen.tolist()] if total else []
    points_N2 = np.zeros((len(x_ND), 2))
    if len(x_ND) > 1:
        x_ND = x_ND - x_ND.mean(0)
        _, axes_DD = np.linalg.eigh(x_ND.T @ x_ND)
        axes_D2 = axes_DD[:, ::-1][:, :2]
        axes_D2 = axes_D2 * np.sign(axes_D2[np.abs(axes_D2).argmax(0), range(axes_D2.shape[1])])
        points_N2[:, : axes_D2.shape[1]] = x_ND @ axes_D2
        points_N2 /= max(float(np.abs(points_N2).max()), 1e-12)
    classes = sorted(set(labels))
    number = {label: i for i, label in enumerate(classes)}
    points = [
        [round(x, 4), round(y, 4), number[label]] for (x, y), label in zip(points_N2.tolist(), labels, strict=True)
    ]
    return {"points": points, "ids": ids, "classes": classes, "total": total, "shown": len(points)}
