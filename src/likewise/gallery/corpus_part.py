"""One part of a corpus: a few hundred images that one process embeds, in a file named by their content."""

import functools
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.atomic import replacing
from likewise.gallery.encoder import Encoder, RunEncoder, open_encoder
from likewise.imaging.find import legible
from likewise.spec import trusting

__all__ = ["LONGEST", "MEAN", "Embedded", "Part", "divide", "embed_part", "load", "prepare", "use"]

MEAN = 256  # images a part, on average
LONGEST = 4  # times that; a part ends here at the latest


@dataclass(frozen=True)
class Part:
    """Consecutive files of a corpus. name: 32 hexadecimal digits of the model and each file's path, size and time."""

    name: str
    paths: tuple[str, ...]

    def file(self, folder: Path) -> Path:
        return folder / f"{self.name}.parquet"


class Embedded(NamedTuple):
    """What a part's file holds."""

    ids: list[str]
    vectors: np.ndarray  # float32 [N, D]
    skipped: list[tuple[str, str]]  # file, and why it cannot be read


def divide(paths: Sequence[str], fingerprint: str, mean: int = MEAN) -> Iterator[Part]:
    """The parts of a corpus. A file ends its part by a checksum of its path, so that one more file changes one part."""
    start = 0
    for i, path in enumerate(paths):
        last = zlib.crc32(os.fsencode(path)) % mean == 0
        if last or i + 1 - start == LONGEST * mean or i + 1 == len(paths):
            yield Part(name_of(paths[start : i + 1], fingerprint), tuple(paths[start : i + 1]))
            start = i + 1


def name_of(paths: Sequence[str], fingerprint: str) -> str:
    digest = hashlib.sha256(fingerprint.encode())
    for path in paths:
        try:
            stat = os.stat(path)
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "gone"
        digest.update(b"\0".join((os.fsencode(path), state.encode(), b"")))
    return digest.hexdigest()[:32]


class Maker(NamedTuple):
    """The model that a process embeds with."""

    path: str
    trust_code: bool


_maker: Maker | None = None


def use(model: str, trust_code: bool) -> None:
    """In a new process: the model that its parts are embedded with, by one thread."""
    global _maker
    os.environ["OMP_NUM_THREADS"] = "1"
    _maker = Maker(model, trust_code)


def prepare(model: str, trust_code: bool) -> None:
    """In a new process: as `use`; it ends when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent stops the others
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent.join,), daemon=True).start()
    use(model, trust_code)


@functools.cache
def encoder_of(maker: Maker) -> Encoder:
    """The model, loaded once a process. Errors: ValueError for a damaged one."""
    with trusting(maker.trust_code):
        encoder = open_encoder(maker.path)
        if isinstance(encoder, RunEncoder):
            encoder.load()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return encoder


def end_with(join: Callable[[], object]) -> None:
    join()
    os._exit(1)


def embed_part(part: Part, folder: Path) -> None:
    """Embed a part and write its file, whole or not at all. Errors: OSError when it cannot be written."""
    assert _maker is not None, "use was not called"
    write(embedded(encoder_of(_maker), part.paths), part.file(folder))


def embedded(encoder: Encoder, paths: Sequence[str]) -> Embedded:
    """The vectors of all files that can be read: a sequence that cannot be is halved until the file is found."""
    try:
        return Embedded(list(map(legible, paths)), np.asarray(encoder.embed(paths), np.float32), [])
    except ValueError as error:
        if len(paths) == 1:
            return Embedded([], np.zeros((0, encoder.dim), np.float32), [(legible(paths[0]), legible(str(error)))])
    halves = [embedded(encoder, half) for half in (paths[: len(paths) // 2], paths[len(paths) // 2 :])]
    return Embedded(
        [name for half in halves for name in half.ids],
        np.concatenate([half.vectors for half in halves]),
        [pair for half in halves for pair in half.skipped],
    )


def checksum(embedded: Embedded) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(embedded.vectors).tobytes())
    for text in (*embedded.ids, *(text for pair in embedded.skipped for text in pair)):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def write(embedded: Embedded, path: Path) -> None:
    """Columns id, error and vector: a file that could not be read has an error, and a vector of zeros."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    dim = embedded.vectors.shape[1]
    zeros = np.zeros((len(embedded.skipped), dim), np.float32)
    flat = pa.array(np.concatenate([embedded.vectors, zeros]).ravel())
    columns = {
        "id": pa.array([*embedded.ids, *(name for name, _ in embedded.skipped)], pa.string()),
        "error": pa.array([None] * len(embedded.ids) + [why for _, why in embedded.skipped], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
    }
    table = pa.table(columns).replace_schema_metadata({"likewise_part": checksum(embedded)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="none")


def load(part: Part, folder: Path) -> Embedded | None:
    """A part that was embedded before; None where its file is missing or damaged."""
    from likewise.safety.parquet import read_table

    path = part.file(folder)
    if not path.is_file():
        return None
    try:
        table = read_table(path, "a part of a corpus")
        ids, errors = table["id"].to_pylist(), table["error"].to_pylist()
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors_ND = flat.astype(np.float32).reshape(len(ids), -1)
        count = errors.count(None)
        skipped = [(str(name), str(why)) for name, why in zip(ids[count:], errors[count:], strict=True)]
        embedded = Embedded(ids[:count], vectors_ND[:count], skipped)
        whole = checksum(embedded).encode() == (table.schema.metadata or {}).get(b"likewise_part")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return embedded if whole else None
