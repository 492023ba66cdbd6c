"""Inference with an exported model: images to vectors with ONNX Runtime, saved as Parquet; never imports torch."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NotRequired, TypedDict, cast

import numpy as np

from likewise.atomic import replacing
from likewise.export.reading import files, pixels
from likewise.extras import install_line
from likewise.imaging.sizes import FITS
from likewise.safety import bounds

__all__ = ["BYTES", "SUMS", "Session", "embed_files", "exported", "extra", "sha256"]

SUMS = "SHA256SUMS"
BATCH = 64
SIDE = 4096  # pixels of an image that an exported model takes
BYTES = "uint8 [N, H, W, C]"  # decoded images


class Metadata(TypedDict):
    """The metadata of an exported model.onnx."""

    run: NotRequired[str]
    shape: list[int]
    dim: NotRequired[int]
    sim: NotRequired[str]
    classes: NotRequired[list[str]]
    threshold: NotRequired[bounds.Fields | None]
    calibration: NotRequired[bounds.Fields | None]
    input: str
    fit: NotRequired[str]
    crc32: NotRequired[int]


def extra(name: str) -> ModuleType:
    """A package of the extra `export`. Errors: ModuleNotFoundError with the install line."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(f"{name} is not installed; run: {install_line('export')}") from None


class Session:
    """A model.onnx that `likewise export` wrote. `about` is its metadata: shape, dim, sim, threshold ...

    say: called with a sentence where there is no checksum to compare the file with.
    Errors: ValueError for a missing file, one not written by Likewise, or a checksum mismatch.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0, say: Callable[[str], None] | None = None):
        runtime = extra("onnxruntime")
        self.path = Path(path)
        if not check(self.path):
            (say or on_stderr)(
                f"{self.path} has no checksum in {SUMS} beside it, so nobody can tell whether it is the file that was "
                "exported; export it again, or copy the whole folder"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or processors()
        # threads that spin while they wait take the cores from whatever decodes or answers beside them
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.inner = runtime.InferenceSession(self.path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many exception types
            raise ValueError(f"{self.path} does not load as ONNX: {str(error).splitlines()[0]}") from None
        metadata = self.inner.get_modelmeta().custom_metadata_map.get("likewise")
        if metadata is None:
            raise ValueError(f"{self.path} has no metadata on its preprocessing; give one that `likewise export` wrote")
        self.about = checked_about(metadata, self.path)
        self.name: str = self.inner.get_inputs()[0].name

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the input images, (C, T) of signals, or (D,) of vectors."""
        return tuple(self.about["shape"])

    @property
    def fit(self) -> str:
        """stretch, pad or crop: how images of another aspect are brought to `shape`."""
        return self.about.get("fit", "stretch")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 `[N, dim]` of uint8 `[N, H, W, C]`, or of the format in `about["input"]`."""
        return self.inner.run(None, {self.name: images})[0]

    def embed(self, paths: Sequence[str | os.PathLike], batch: int = BATCH) -> np.ndarray:
        """float32 `[N, dim]` of image files. Errors: ValueError naming an unreadable file."""
        if self.about["input"] != BYTES:
            raise ValueError(f"{self.path} takes {self.about['input']}, not image files; run it with onnxruntime")
        channels, height, width = self.shape
        read = partial(pixels, shape=(channels, height, width), fit=self.fit)
        with ThreadPoolExecutor(processors()) as pool:  # Pillow releases the interpreter lock while it decodes
            runs = (paths[at : at + batch] for at in range(0, len(paths), batch))
            parts = [self(np.stack(list(pool.map(read, part)))) for part in runs]
        return np.concatenate(parts)


def exported(run: str | os.PathLike) -> Path | None:
    """RUN/export/model.onnx if it has the run's current weights and onnxruntime is installed, else None."""
    path, described = Path(run) / "export" / "model.onnx", Path(run) / "model" / "model.json"
    if not (path.is_file() and described.is_file() and find_spec("onnxruntime")):
        return None
    crc32 = bounds.read_json(described).get("crc32")
    session = Session(path)
    fits = session.about.get("crc32") == crc32 and session.about["input"] == BYTES
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


def on_stderr(sentence: str) -> None:
    print(f"likewise: {sentence}", file=sys.stderr, flush=True)


def checked_about(text: str, path: Path) -> Metadata:
    """The metadata of a file, typed and bounded. Errors: ValueError that names the field."""
    about = bounds.parsed_json(text, f"the metadata of {path}")
    classes = about.get("classes", [])
    shape = about.get("shape")
    if not is_shape(shape):
        raise ValueError(f"{path}: shape is [1 or 3, H, W] with sides up to {SIDE:,}, [C, T] or [D], got {shape!r:.80}")
    if not isinstance(about.get("input"), str) or not isinstance(about.get("sim", ""), str):
        raise ValueError(
            f"{path}: input and sim are texts, got {about.get('input')!r:.80} and {about.get('sim')!r:.80}"
        )
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{path}: classes is a list of names, got {classes!r:.80}")
    if about.get("fit", "stretch") not in FITS:
        raise ValueError(f"{path}: fit is {', '.join(FITS)}, got {about['fit']!r:.80}")
    return cast(Metadata, about)


def is_shape(value: object) -> bool:
    """[C, H, W] with 1 or 3 channels and sides up to SIDE, [C, T] or [D]."""
    if not isinstance(value, list) or not 1 <= len(value) <= 3:
        return False
    whole = all(type(n) is int and 0 < n <= 2**20 for n in value)
    return whole and (len(value) < 3 or (value[0] in (1, 3) and max(value[1:]) <= SIDE))


def check(path: Path) -> bool:
    """Whether SHA256SUMS has the checksum of this file.

    Errors: ValueError for a missing file, or a checksum of another content.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}; `likewise export RUN --to onnx` writes RUN/export/model.onnx")
    sums = path.parent / SUMS
    compared = False
    for line in bounds.text(sums).splitlines() if sums.is_file() else []:
        digest, _, name = line.partition("  ")
        if name == path.name and digest != sha256(path):
            raise ValueError(
                f"{path} does not match its checksum in {sums}: it is damaged or was changed; copy it again"
            )
        compared = compared or name == path.name
    return compared


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processors() -> int:
    """Number of usable cores, or OMP_NUM_THREADS."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads):
        return int(threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
