"""Files of pairs: those of a run, kept as Parquet so that anyone can score the same ones, and those of others."""

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from likewise.atomic import replacing
from likewise.data.images import SPLITS
from likewise.embeddings import Embeddings
from likewise.evaluate.pair_list import DIFFERENT, SAME, Named, named
from likewise.imaging.find import SUFFIXES
from likewise.metrics.sampled_pairs import Pairs
from likewise.safety import bounds
from likewise.safety.parquet import read_table

__all__ = ["Files", "found_at", "part", "read", "save", "with_suffix"]

COLUMNS = ("id_a", "id_b", "same")


def save(path: str | os.PathLike, parts: Mapping[str, tuple[Embeddings, Pairs]]) -> None:
    """Write the pairs of each part by the ids of their images, whole or not at all: id_a, id_b, same, split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for split, (seen, pairs) in parts.items():
        ids = pa.array(seen.ids, pa.string())
        a, b = (ids.take(pa.array(side.numpy())) for side in (pairs.first, pairs.second))
        same, in_split = pa.array(pairs.same.numpy()), pa.array([split] * len(pairs.same), pa.string())
        tables.append(pa.table({"id_a": a, "id_b": b, "same": same, "split": in_split}))
    with replacing(Path(path)) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)


def read(path: str | os.PathLike, known: Iterable[str] = ()) -> Named:
    """The pairs of a file: Parquet with the columns id_a, id_b and same, or lines as `pair_list.named` reads them.

    known: names of images, by which a heading is told from a pair. Errors: ValueError.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file of pairs {path}; give a .csv, a .parquet, or a pairs.txt as LFW has it")
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    try:
        bounds.size(path, bounds.TEXT_FILE, "a file of pairs")
        return named(path.read_text(encoding="utf-8-sig").splitlines(), known)
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is not text in UTF-8; pairs come as .csv, .parquet, or a pairs.txt as LFW has it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parquet(path: Path) -> Named:
    table = read_table(path, "pairs", (*COLUMNS, "fold", "split"))
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
    if not len(table):
        raise ValueError(f"{path} holds no pairs")
    column = {name: table[name].to_pylist() for name in table.column_names if name in (*COLUMNS, "fold", "split")}
    fold = {name: i for i, name in enumerate(dict.fromkeys(column.get("fold", ())))}
    same = [_same(value, row, path) for row, value in enumerate(column["same"], start=1)]
    return Named(
        _ids(column["id_a"], "id_a", path),
        _ids(column["id_b"], "id_b", path),
        torch.tensor(same, dtype=torch.bool),
        torch.tensor([fold[x] for x in column["fold"]]) if fold else None,
        tuple(map(str, column["split"])) if "split" in column else None,
    )


def _ids(values: Sequence[object], name: str, path: Path) -> tuple[str, ...]:
    if None in values:
        raise ValueError(f"{path}: row {values.index(None) + 1} of the pairs has no {name}; give both images of a pair")
    return tuple(map(str, values))


def _same(value: object, row: int, path: Path) -> bool:
    """Truth values, 1 and 0, and the words that a CSV takes. Errors: ValueError naming the row."""
    word = value.strip().lower() if isinstance(value, str) else value
    if word in SAME or word in (1, True):
        return True
    if word in DIFFERENT or word in (0, False):
        return False
    raise ValueError(f"{path}: row {row} of the pairs has same={value!r:.200}; write 1 or true (same), 0 or false")


def part(pairs: Named, split: str = "") -> Named:
    """The pairs of one part; without a name those of the test, else of the validation part. All, if none is said."""
    if pairs.split is None:
        return pairs
    wanted = split or next((name for name in reversed(SPLITS) if name in pairs.split), "")
    return pairs.take(torch.tensor([name == wanted for name in pairs.split]).nonzero()[:, 0]) if wanted else pairs


def with_suffix(names: Sequence[str], known: Container[str]) -> dict[str, str]:
    """The names by which images are known that a list calls .jpg, as LFW's does, and that are kept in another format.

    known: names, or anything else that can be asked whether it has one. A name that is known stays, and so does one of
    which no suffix is: .jpg comes first, and .png before the rarer ones.
    """
    suffixes = sorted(SUFFIXES, key=lambda suffix: (suffix not in (".jpg", ".jpeg"), suffix != ".png", suffix))
    found = {}
    for name in names:
        stem = name.removesuffix(".jpg")
        others = (stem + ending for suffix in suffixes for ending in (suffix, suffix.upper()))
        found[name] = name if name in known else next((other for other in others if other in known), name)
    return found


class Files:
    """Whether a name is of a file below one of these folders: what `with_suffix` can ask."""

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders

    def __contains__(self, name: object) -> bool:
        return any((folder / str(name)).is_file() for folder in self.folders)


def found_at(names: Sequence[str], folders: Sequence[Path], file: Path) -> list[Path]:
    """Where the images of these names lie, in the first of the folders that has them.

    Errors: ValueError with the first that is nowhere, and how many are.
    """
    paths = [next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names]
    if missing := [name for name, path in zip(names, paths, strict=True) if path is None]:
        are = f"{len(missing):,} images that {file} names are" if len(missing) > 1 else f"1 image that {file} names is"
        raise ValueError(
            f"{are} not there; the first is {missing[0]!r}: give ids of the run's images, or paths from the folder "
            f"that --images names (without it, from the file's own)"
        )
    return [path for path in paths if path is not None]
