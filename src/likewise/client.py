"""A client of `likewise serve`: the gallery's own verbs and types over HTTP, without torch in the process."""

import json
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

import numpy as np

from likewise.extras import install_line
from likewise.gallery.decide import Answer, Neighbour
from likewise.gallery.enrollment import Enrolled
from likewise.gallery.gallery import Hit
from likewise.gallery.quality import Finding
from likewise.safety.bounds import Fields

if TYPE_CHECKING:
    import httpx2

__all__ = ["Client", "Image", "ServiceError"]

Image = str | os.PathLike | bytes
Params = Mapping[str, str | int]
Files = list[tuple[str, tuple[str, bytes, str]]]
AGAIN = (429, 503)  # answers after which the same request may succeed
PIECE = 32  # images in one request
LONGEST_WAIT = 30.0  # seconds


class Sent(TypedDict, total=False):
    """The body of a request."""

    files: Files
    data: Mapping[str, object]
    json: Mapping[str, object]


class ServiceError(ValueError):
    """What the service answered instead: its sentence, the status, and the request's id in the server's log."""

    def __init__(self, detail: str, status: int = 0, request_id: str = ""):
        super().__init__(detail)
        self.status, self.request_id = status, request_id
        self.exit_code = 2 if 400 <= status < 500 else 1


class Client:
    """A gallery behind a URL. Safe to share among threads; a context manager.

    url: such as http://127.0.0.1:8000. token: of the service's token file. gallery: its name, where several are served.
    timeout: seconds for one attempt. retries: further attempts after 429, 503 or a broken connection; a write is
    repeated under the same key, so that it is done once.
    Errors: ServiceError, a ValueError, for whatever the service does not answer with a result.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        gallery: str = "",
        timeout: float = 60.0,
        retries: int = 5,
        transport: "httpx2.BaseTransport | None" = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        try:
            import httpx2
        except ModuleNotFoundError:
            raise ModuleNotFoundError(f"the client needs httpx2; run: {install_line('serve')}") from None
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"a service's URL begins with http:// or https://, such as http://127.0.0.1:8000; got {url!r}"
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url, self.retries, self.sleep = url.rstrip("/"), retries, sleep
        self.broken = httpx2.TransportError
        self.query = {"gallery": gallery} if gallery else {}
        self.http = httpx2.Client(
            base_url=f"{self.url}/v1/", headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    # ask

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """float32 `[N, D]`."""
        parts = [self._post("embed", files=_files(part))["vectors"] for part in _pieces(images)]
        return np.asarray([vector for part in parts for vector in part], np.float32)

    def search(self, image: Image | None = None, k: int = 5, *, id: str = "", where: Sequence[str] = ()) -> list[Hit]:
        """The k nearest enrolled images of an image, or of an enrolled id."""
        data = {"k": k, "where": list(where), **({"id": id} if id else {})}
        answer = self._post("search", files=_files([image] if image is not None else []), data=data)
        return [Hit(*(hit[name] for name in Hit._fields)) for hit in answer["hits"]]

    def identify(self, image: Image, *, far: float | None = None, where: Sequence[str] = ()) -> Answer:
        """The class of an image, or unknown (label None)."""
        return self.identify_all([image], far=far, where=where)[0]

    def identify_all(
        self, images: Sequence[Image], *, far: float | None = None, where: Sequence[str] = ()
    ) -> list[Answer]:
        """The class of each image, or unknown."""
        data = {"where": list(where), **({} if far is None else {"far": far})}
        return [
            _answer(one)
            for part in _pieces(images)
            for one in self._post("identify", files=_files(part), data=data)["answers"]
        ]

    def verify(self, image: Image, label: str, *, far: float | None = None) -> dict[str, object]:
        """Whether an image shows a class."""
        data = {"label": label, **({} if far is None else {"far": far})}
        return self._post("verify", files=_files([image]), data=data)

    def compare(self, a: Image, b: Image) -> dict[str, object]:
        """Whether two images show the same class."""
        return self._post("verify", files=_files([a, b]))

    # write

    def enroll(
        self,
        images: Sequence[Image],
        labels: Sequence[str] | str,
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, object]] | None = None,
        gate: str = "warn",
    ) -> Enrolled:
        """Enroll images, 32 a request; a repeated call enrolls nothing twice."""
        images, result = list(images), Enrolled([], [], [])
        names = [labels] * len(images) if isinstance(labels, str) else list(labels)
        for name, given in (("labels", names), ("ids", ids), ("metadata", metadata)):
            if given is not None and len(given) != len(images):
                raise ValueError(f"each image has one of {name}: got {len(given)} for {len(images)} images")
        for at in range(0, len(images), PIECE):
            end = at + PIECE
            data: dict[str, object] = {"label": names[at:end], "gate": gate}
            if ids is not None:
                data["id"] = list(ids[at:end])
            if metadata is not None:
                data["metadata"] = [json.dumps(dict(one)) for one in metadata[at:end]]
            answer = self._write("enroll", files=_files(images[at:end]), data=data)
            result.added.extend(answer["added"])
            result.unchanged.extend(answer["unchanged"])
            for one in answer["findings"]:
                source = images[at + one["image"]]
                name = f"image {at + one['image']}" if isinstance(source, bytes) else os.fspath(source)
                result.findings.append(Finding(name, one["reason"], one["enrolled"]))
        return result

    def reject(self, image: Image, *, label: str = "", id: str = "") -> None:
        """Mark "not this one": an image is not of a class, or not an enrolled id."""
        data = {key: value for key, value in (("label", label), ("id", id)) if value}
        self._write("feedback", files=_files([image]), data=data)

    def rename(self, old: str, new: str) -> int:
        return self._write("classes/rename", json={"label": old, "to": new})["moved"]

    def merge(self, source: str, target: str) -> int:
        return self._write("classes/merge", json={"label": source, "into": target})["moved"]

    def split(self, ids: Sequence[str], label: str) -> int:
        """Move images to a class, new or not."""
        return self._write("images/move", json={"ids": list(ids), "label": label})["moved"]

    def remove(self, ids: Sequence[str]) -> int:
        """Remove images; `undo` brings them back."""
        return self._write("images/remove", json={"ids": list(ids)})["removed"]

    def forget(self, label: str) -> dict[str, object]:
        """Erase a class for good."""
        return self._write("classes/forget", json={"label": label})

    def undo(self) -> str:
        return self._write("undo")["undone"]

    def calibrate(self, far: float = 0.01) -> dict[str, object]:
        """Store the threshold for a false-accept rate."""
        return self._write("calibrate", json={"far": far})

    def vacuum(self) -> bool:
        return self._write("vacuum")["erased"]

    # about

    def info(self) -> dict[str, object]:
        return self._call("GET", "info").json()

    def classes(self) -> Iterator[dict[str, object]]:
        """Each class with its number of images, in the order of their names."""
        return self._pages("classes", {})

    def images(self, label: str = "") -> Iterator[Fields]:
        """Each enrolled image, in the order of enrollment."""
        return self._pages("images", {"label": label} if label else {})

    def thumbnail(self, id: str) -> bytes:
        """A JPEG of at most 160 pixels a side."""
        return self._call("GET", "images/thumbnail", params={"id": id}).content

    def health(self) -> Fields:
        return self._call("GET", "health").json()

    # how

    def _pages(self, path: str, params: Params) -> Iterator[Fields]:
        cursor: str | None = ""
        while cursor is not None:
            page = self._call("GET", path, params={**params, "limit": 500, "cursor": cursor}).json()
            yield from page[path]
            cursor = page["next"]

    def _write(self, path: str, **given: Unpack[Sent]) -> Fields:
        return self._call("POST", path, key=uuid.uuid4().hex, **given).json()

    def _post(self, path: str, **given: Unpack[Sent]) -> Fields:
        return self._call("POST", path, **given).json()

    def _call(
        self, method: str, path: str, params: Params | None = None, key: str = "", **given: Unpack[Sent]
    ) -> "httpx2.Response":
        """The answer to a request, tried again where that may help."""
        headers = {"Idempotency-Key": key} if key else None
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                answer = self.http.request(
                    method, path, params={**self.query, **(params or {})}, headers=headers, **given
                )
            except self.broken as error:
                if last:
                    raise ServiceError(f"{self.url} does not answer: {error or type(error).__name__}") from None
                self.sleep(_pause(attempt))
                continue
            if answer.is_success:
                return answer
            if answer.status_code in AGAIN and not last:
                self.sleep(_pause(attempt, answer.headers.get("retry-after", "")))
                continue
            raise _error(answer)
        raise AssertionError("the last attempt returns or raises")


def _pause(attempt: int, asked: str = "") -> float:
    """Seconds to wait: what the service asked for, else doubling from a quarter, half of it by chance."""
    if asked.isdecimal():
        return min(float(asked), LONGEST_WAIT)
    return min(0.25 * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)


def _error(answer: "httpx2.Response") -> ServiceError:
    try:
        problem = answer.json()
        return ServiceError(str(problem["detail"]), answer.status_code, str(problem.get("request_id", "")))
    except (ValueError, KeyError, TypeError):
        return ServiceError(
            f"{answer.request.url} answered {answer.status_code} {answer.reason_phrase}, not as likewise serve does",
            answer.status_code,
        )


def _pieces(images: Sequence[Image]) -> list[Sequence[Image]]:
    return [images[at : at + PIECE] for at in range(0, len(images), PIECE)]


def _files(images: Sequence[Image]) -> Files:
    """Uploads under neutral names. Errors: ValueError for a file that cannot be read."""
    return [("image", ("image", _content(image), "application/octet-stream")) for image in images]


def _content(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {os.fspath(image)}: {error.strerror}") from None


def _answer(one: Fields) -> Answer:
    near = tuple(Neighbour(i, n["label"], n["similarity"], n["id"]) for i, n in enumerate(one["neighbours"]))
    similarity = float("-inf") if one["similarity"] is None else one["similarity"]
    return Answer(
        label=one["label"],
        similarity=similarity,
        probability=one["probability"],
        neighbours=near,
        why=one["why"],
        best=one["best"],
        runner_up=one["runner_up"],
        margin=one["margin"],
        threshold=one["threshold"],
    )
