"""An exported model at work: pictures to vectors with ONNX Runtime, Parquet out; torch is never imported."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from likewise.atomic import replacing
from likewise.export.reading import files, pixels

__all__ = ["BYTES", "INSTALL", "SUMS", "Session", "embed_files", "exported", "extra", "sha256"]

SUMS = "SHA256SUMS"
INSTALL = "pip install 'likewise[export]'"
BATCH = 64
BYTES = "uint8 [N, H, W, C]"  # pictures as every decoder gives them


def extra(name: str) -> Any:
    """A package of the extra `export`. Errors: ModuleNotFoundError with the install line."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(f"{name} is not installed; run {INSTALL}") from None


class Session:
    """A model.onnx that `likewise export` wrote. `about` is what it says of itself: shape, dim, sim, threshold ...

    Errors: ValueError where there is no file, it is not one of ours, or not the one its SHA256SUMS tells of.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0):
        runtime = extra("onnxruntime")
        self.path = Path(path)
        check(self.path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or processors()
        try:
            self.inner = runtime.InferenceSession(self.path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a kind of its own for each reason
            raise ValueError(f"{self.path} does not load as ONNX: {str(error).splitlines()[0]}") from None
        said = self.inner.get_modelmeta().custom_metadata_map.get("likewise")
        if said is None:
            raise ValueError(f"{self.path} says nothing of its preprocessing; give one that `likewise export` wrote")
        self.about: dict[str, Any] = json.loads(said)
        self.name: str = self.inner.get_inputs()[0].name

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the pictures, or (D,) of the vectors, that it takes."""
        return tuple(self.about["shape"])

    def __call__(self, given: np.ndarray) -> np.ndarray:
        """float32 `[N, dim]` of uint8 `[N, H, W, C]`, or of what `about["input"]` says instead."""
        return self.inner.run(None, {self.name: given})[0]

    def embed(self, paths: Sequence[str | os.PathLike], batch: int = BATCH) -> np.ndarray:
        """float32 `[N, dim]` of picture files. Errors: ValueError naming what cannot be read."""
        if self.about["input"] != BYTES:
            raise ValueError(f"{self.path} takes {self.about['input']}, not picture files; run it with onnxruntime")
        shape: Any = self.shape
        with ThreadPoolExecutor(processors()) as pool:  # Pillow lets go of the interpreter while it decodes
            runs = (paths[at : at + batch] for at in range(0, len(paths), batch))
            parts = [self(np.stack(list(pool.map(lambda path: pixels(path, shape), part)))) for part in runs]
        return np.concatenate(parts)


def exported(run: str | os.PathLike) -> Path | None:
    """RUN/export/model.onnx, where it holds the weights that the run has now and can be run here."""
    path, described = Path(run) / "export" / "model.onnx", Path(run) / "model" / "model.json"
    if not (path.is_file() and described.is_file() and find_spec("onnxruntime")):
        return None
    crc32 = json.loads(described.read_text(encoding="utf-8")).get("crc32")
    session = Session(path)
    fits = session.about["crc32"] == crc32 and session.about["input"] == BYTES
    return path if fits else None


def embed_files(model: str | os.PathLike, images: Sequence[str | os.PathLike], output: Path) -> tuple[int, int]:
    """Embed pictures (folders are searched) and write Parquet: columns id, label, class, split, vector, as a run's.

    Returns how many, and how long each is. Errors: ValueError.
    """
    paths, session = files(images), Session(model)
    vectors = session.embed(paths)
    write(output, [str(path) for path in paths], vectors)
    return len(vectors), vectors.shape[1]


def write(output: Path, ids: Sequence[str], vectors_ND: np.ndarray) -> None:
    """The columns of `Embeddings.save`, for pictures without a class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(ids)
    columns = {
        "id": pa.array(ids, pa.string()),
        "label": pa.array(np.zeros(n, np.int64)),
        "class": pa.array([""] * n, pa.string()),
        "split": pa.array(["test"] * n, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(vectors_ND.astype(np.float32).ravel()), vectors_ND.shape[1]
        ),
    }
    table = pa.table(columns).replace_schema_metadata({"likewise": json.dumps({"classes": [""]})})
    with replacing(output) as temporary:
        pq.write_table(table, temporary)


def check(path: Path) -> None:
    """Errors: ValueError where there is no such file, or the SHA256SUMS beside it tells of another."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; `likewise export RUN --to onnx` writes RUN/export/model.onnx")
    sums = path.parent / SUMS
    for line in sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []:
        told, _, name = line.partition("  ")
        if name == path.name and told != sha256(path):
            raise ValueError(
                f"{path} is not the file that {sums} tells of: it is damaged or was changed; copy it again"
            )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processors() -> int:
    """The cores this process may use; OMP_NUM_THREADS says fewer."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
