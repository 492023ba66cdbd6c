"""Embedding a corpus with several processes: parts that are named by content, so that a stopped job goes on."""

import csv
import errno
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from likewise.atomic import replacing, write_text
from likewise.experiment.lock import try_lock
from likewise.gallery.corpus_part import MEAN, Embedded, Part, divide, embed_part, load, prepare
from likewise.gallery.corpus_ray import by_ray
from likewise.gallery.encoder import open_encoder
from likewise.imaging.find import image_files, legible
from likewise.spec import near, trusted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Corpus", "CorpusError", "embed_corpus"]

PARTS = "parts"
RESULT = "embeddings.parquet"
SKIPPED = "skipped.csv"
FULL = (errno.ENOSPC, errno.EDQUOT)


class CorpusError(ValueError):
    """The job has stopped on the way; called again, it goes on."""

    exit_code = 1


class Corpus(NamedTuple):
    """The file that was written, and what it holds."""

    file: Path
    images: int
    dim: int
    parts: int
    reused: int  # parts that were there before
    skipped: list[tuple[str, str]]  # files that cannot be read, and why


def embed_corpus(
    model: str | os.PathLike,
    images: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    workers: int = 1,
    engine: str = "processes",
    by_folder: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    mean: int = MEAN,
) -> Corpus:
    """Embed images (folders are searched) with `workers` processes of one thread each, and write Parquet.

    engine: `processes` on this machine; or `ray`, the cluster that RAY_ADDRESS names, whose machines share the files,
    or one that is started here. With ray workers=0 takes every core, and a worker that is killed is replaced.

    output: FILE.parquet, beside which the parts are kept until it is whole; or a folder, which keeps them, so that a
    later call embeds only what is new. The columns are those of `likewise embed`, rows in the order of the files,
    whatever the number of workers. by_folder: each image's class is the folder it lies in. Files that cannot be read
    are left out, and listed in skipped.csv beside the result. mean: images a part, on average.
    Errors: ValueError for a wrong call; CorpusError, after which another call goes on.
    """
    if engine not in ENGINES:
        raise ValueError(f"no engine {engine!r}{near(engine, ENGINES)}; there are {' and '.join(ENGINES)}")
    if workers < (engine != "ray"):
        raise ValueError(f"workers is the number of processes, 1 or more, got {workers}")
    file, folder, skipped_file = places(Path(output))
    encoder = open_encoder(model)
    parts = list(divide([os.fspath(path) for path in image_files(images)], encoder.fingerprint, mean))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with try_lock(folder) as mine:
            if not mine:
                raise ValueError(f"{folder} is in use: another process embeds into it; wait until it has ended")
            there = {part.name for part in parts if load(part, folder) is not None}
            embed_missing(os.fspath(model), parts, there, folder, workers, engine, progress)
            made = join(parts, folder, file, by_folder)
            write_skipped(skipped_file, made.skipped)
            tidy(folder, {part.name for part in parts} if Path(output).suffix.lower() != ".parquet" else set())
    except OSError as error:
        raise stopped(error, folder) from error
    with suppress(OSError):
        folder.rmdir()  # where nothing is left in it
    return made._replace(reused=len(there))


def places(output: Path) -> tuple[Path, Path, Path]:
    """The result, the folder of parts and the list of what was left out. Errors: ValueError for a folder of others."""
    if output.suffix.lower() == ".parquet":
        return output, output.with_name(f"{output.name}.{PARTS}"), output.with_suffix(f".{SKIPPED}")
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; give -o a folder, or a file that ends in .parquet")
    if output.is_dir() and any(output.iterdir()) and not (output / PARTS).is_dir():
        raise ValueError(f"{output} holds files of something else; give -o a new folder, or a FILE.parquet")
    return output / RESULT, output / PARTS, output / SKIPPED


def embed_missing(
    model: str,
    parts: Sequence[Part],
    there: set[str],
    folder: Path,
    workers: int,
    engine: str,
    progress: Callable[[int, int], None],
) -> None:
    """Embed the parts that are not there. Errors: CorpusError when a worker was killed; what a worker raises."""
    missing = [part for part in parts if part.name not in there]
    total = sum(len(part.paths) for part in parts)
    done = total - sum(len(part.paths) for part in missing)
    progress(done, total)
    if not missing:
        return
    try:
        for part in ENGINES[engine](model, missing, folder, workers):
            done += len(part.paths)
            progress(done, total)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted after {done:,} of {total:,} images; call again to resume") from None
    except BrokenProcessPool:
        raise CorpusError(
            f"a worker has ended without a result after {done:,} of {total:,} images: it was killed, or memory is "
            "short; call again with fewer --workers to resume"
        ) from None


def by_processes(model: str, parts: Sequence[Part], folder: Path, workers: int) -> Iterator[Part]:
    """Embed parts with processes on this machine; yields each when its file is written."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(parts)), context, initializer=prepare, initargs=(model, trusted()))
    try:
        futures = {pool.submit(embed_part, part, folder): part for part in parts}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(cancel_futures=True)


ENGINES: dict[str, Callable[[str, Sequence[Part], Path, int], Iterator[Part]]] = {
    "processes": by_processes,
    "ray": by_ray,
}


def join(parts: Sequence[Part], folder: Path, file: Path, by_folder: bool) -> Corpus:
    """One Parquet file of all parts, a row group each. Errors: ValueError when no image could be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = loaded(parts[0], folder)
    dim = first.vectors.shape[1]
    classes = sorted({class_of(path) for part in parts for path in part.paths}) if by_folder else [""]
    number = {name: i for i, name in enumerate(classes)}
    count, skipped = 0, []
    vector = pa.list_(pa.float32(), dim)
    columns = [("id", pa.string()), ("label", pa.int64()), ("class", pa.string()), ("split", pa.string())]
    schema = pa.schema([*columns, ("vector", vector)], {"likewise": json.dumps({"classes": classes})})
    with replacing(file) as temporary:
        with pq.ParquetWriter(temporary, schema) as writer:
            for part in parts:
                embedded = loaded(part, folder)
                names = [class_of(path) if by_folder else "" for path in embedded.ids]
                writer.write_table(
                    rows(embedded.ids, names, [number[name] for name in names], embedded.vectors, schema)
                )
                count += len(embedded.ids)
                skipped += embedded.skipped
        if not count:
            raise ValueError(f"none of {len(skipped):,} files can be read; the first: {skipped[0][1]}")
    return Corpus(file, count, dim, len(parts), 0, skipped)


def loaded(part: Part, folder: Path) -> Embedded:
    embedded = load(part, folder)
    if embedded is None:
        raise CorpusError(f"{part.file(folder)} has been removed or damaged meanwhile; call again to resume")
    return embedded


def class_of(path: str) -> str:
    """The name of the folder that an image lies in."""
    return os.path.basename(os.path.dirname(os.path.abspath(legible(path))))


def rows(
    ids: Sequence[str], names: Sequence[str], labels: Sequence[int], vectors_ND: np.ndarray, schema: "pa.Schema"
) -> "pa.Table":
    import pyarrow as pa

    dim = vectors_ND.shape[1]
    flat = pa.array(np.ascontiguousarray(vectors_ND).ravel())
    texts = pa.array(ids, pa.string()), pa.array(labels, pa.int64()), pa.array(names, pa.string())
    split = pa.array(["test"] * len(ids), pa.string())
    return pa.Table.from_arrays([*texts, split, pa.FixedSizeListArray.from_arrays(flat, dim)], schema=schema)


def write_skipped(file: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """One line for each file that could not be read; no list where all could."""
    if not skipped:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image", "reason"), *skipped])
    write_text(file, text.getvalue())


def tidy(folder: Path, keep: set[str]) -> None:
    """Remove the parts of files and models that are no longer those of the corpus."""
    for path in folder.glob("*.parquet"):
        if path.stem not in keep and len(path.stem) == 32:
            path.unlink(missing_ok=True)


def stopped(error: OSError, folder: Path) -> CorpusError:
    """One sentence for what the system refuses."""
    if error.errno in FULL:
        return CorpusError(
            f"{folder}: the disk is full; free some space and call again to resume with the parts that are there"
        )
    return CorpusError(f"{folder}: {error.strerror or error}; fix that and call again to resume")
