"""Inference with an exported model: images to vectors with ONNX Runtime, saved as Parquet; never imports torch."""

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
BYTES = "uint8 [N, H, W, C]"  # decoded images


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
    """A model.onnx that `likewise export` wrote. `about` is its metadata: shape, dim, sim, threshold ...

    Errors: ValueError for a missing file, one not written by Likewise, or a checksum mismatch.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0):
        runtime = extra("onnxruntime")
        self.path = Path(path)
        check(self.path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or processors()
        try:
            self.inner = runtime.InferenceSession(self.path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many exception types
            raise ValueError(f"{self.path} does not load as ONNX: {str(error).splitlines()[0]}") from None
        metadata = self.inner.get_modelmeta().custom_metadata_map.get("likewise")
        if metadata is None:
            raise ValueError(f"{self.path} has no metadata on its preprocessing; give one that `likewise export` wrote")
        self.about: dict[str, Any] = json.loads(metadata)
        self.name: str = self.inner.get_inputs()[0].name

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the input images, or (D,) of input vectors."""
        return tuple(self.about["shape"])

    def __call__(self, given: np.ndarray) -> np.ndarray:
        """float32 `[N, dim]` of uint8 `[N, H, W, C]`, or of the format in `about["input"]`."""
        return self.inner.run(None, {self.name: given})[0]

    def embed(self, paths: Sequence[str | os.PathLike], batch: int = BATCH) -> np.ndarray:
        """float32 `[N, dim]` of image files. Errors: ValueError naming an unreadable file."""
        if self.about["input"] != BYTES:
            raise ValueError(f"{self.path} takes {self.about['input']}, not image files; run it with onnxruntime")
        shape: Any = self.shape
        with ThreadPoolExecutor(processors()) as pool:  # Pillow releases the interpreter lock while it decodes
            runs = (paths[at : at + batch] for at in range(0, len(paths), batch))
            parts = [self(np.stack(list(pool.map(lambda path: pixels(path, shape), part)))) for part in runs]
        return np.concatenate(parts)


def exported(run: str | os.PathLike) -> Path | None:
    """RUN/export/model.onnx if it has the run's current weights and onnxruntime is installed, else None."""
    path, described = Path(run) / "export" / "model.onnx", Path(run) / "model" / "model.json"
    if not (path.is_file() and described.is_file() and find_spec("onnxruntime")):
        return None
    crc32 = json.loads(described.read_text(encoding="utf-8")).get("crc32")
    session = Session(path)
    fits = session.about["crc32"] == crc32 and session.about["input"] == BYTES
    return path if fits else None


def embed_files(model: str | os.PathLike, images: Sequence[str | os.PathLike], output: Path) -> tuple[int, int]:
    """Embed images (folders are searched) and write Parquet with columns id, label, class, split, vector.

    Returns the number of images and the vector length. Errors: ValueError.
    """
    paths, session = files(images), Session(model)
    vectors = session.embed(paths)
    write(output, [str(path) for path in paths], vectors)
    return len(vectors), vectors.shape[1]


def write(output: Path, ids: Sequence[str], vectors_ND: np.ndarray) -> None:
    """The columns of `Embeddings.save`, for images without a class."""
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
    """Verify the checksum. Errors: ValueError for a missing file or a mismatch with SHA256SUMS."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; `likewise export RUN --to onnx` writes RUN/export/model.onnx")
    sums = path.parent / SUMS
    for line in sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []:
        digest, _, name = line.partition("  ")
        if name == path.name and digest != sha256(path):
            raise ValueError(
                f"{path} does not match its checksum in {sums}: it is damaged or was changed; copy it again"
            )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processors() -> int:
    """Number of usable cores, or OMP_NUM_THREADS."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads):
        return int(threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
