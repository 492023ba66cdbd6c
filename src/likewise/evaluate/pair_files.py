"""Files of pairs by the names of their images: CSV, Parquet, or the pairs.txt of Labeled Faces in the Wild."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.atomic import replacing, write_text
from likewise.data.images import SPLITS
from likewise.embeddings import Embeddings
from likewise.imaging.find import is_image_name
from likewise.metrics.sampled_pairs import Pairs
from likewise.safety import bounds
from likewise.safety.parquet import read_table
from likewise.safety.spreadsheets import csv_text, harmless, restored

__all__ = ["GENUINE", "IMPOSTORS", "Named", "listed", "named", "part", "placed", "read", "save", "write"]

SAME, DIFFERENT = ("1", "true", "same", "yes"), ("0", "false", "different", "no")
# what people call the two columns of images
HEADING = re.compile(
    r"((id|image|img|image|pic|photo|file|filename|path|name|item)s?)?[ _-]?(a|b|1|2|left|right|first|second|x|y)?"
)
WRITE = "write id, id, and 1 (same) or 0 (different)"
GENUINE, IMPOSTORS = "genuine", ("random", "skilled")  # roles whose pairs are all same, or all different
FURTHER = ("fold", "split", "role", "group")  # columns that a file may have
KINDS = 1_000  # different roles, or groups, in one file


class Named(NamedTuple):
    """T pairs by the names of their images."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    same: Tensor  # [T] bool
    fold: Tensor | None = None  # [T] int64
    split: tuple[str, ...] | None = None
    person: Mapping[str, str] = {}  # whose an image is, where the list says it
    role: tuple[str, ...] | None = None  # genuine; random, skilled ...: what kind of impostor
    group: tuple[str, ...] | None = None  # medium, camera, writer ...

    def names(self) -> tuple[str, ...]:
        """Every image once, in the order of the list."""
        return tuple(dict.fromkeys(chain.from_iterable(zip(self.first, self.second, strict=True))))

    def take(self, places_T: Tensor) -> "Named":
        """The pairs at these places."""
        rows = places_T.tolist()
        return self._replace(
            first=tuple(self.first[i] for i in rows),
            second=tuple(self.second[i] for i in rows),
            same=self.same[places_T],
            fold=None if self.fold is None else self.fold[places_T],
            split=self.split and tuple(self.split[i] for i in rows),
            role=self.role and tuple(self.role[i] for i in rows),
            group=self.group and tuple(self.group[i] for i in rows),
        )


def named(lines: Iterable[str], known: Iterable[str] = ()) -> Named:
    """Pairs from the lines of a file. Errors: ValueError naming the line that does not read.

    CSV: two names and 1 (same) or 0 (different), and behind them, where the heading calls them so, fold, split, role
        and group. `known` are names of images: a first line that holds one of them is no heading.
    LFW's: a first line of numbers, `10 300` or `1100`, then `name 1 4` (one person) and `name 1 other 2` (two); the
        images are name/name_0001.jpg and so on. Huang et al., 2007.
    """
    numbered = [(number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise ValueError("the list of pairs is empty: write one pair a line as id, id, and 1 (same) or 0 (different)")
    bounds.largest(len(numbered), bounds.PAIRS, "the list of pairs has more lines than are read")
    if all(word.isascii() and word.isdigit() for word in numbered[0][1].split()):
        return _lfw(numbered)
    return _csv(numbered, set(known))


def _csv(numbered: Sequence[tuple[int, str]], known: set[str]) -> Named:
    cells = csv.reader((line for _, line in numbered), skipinitialspace=True)
    try:
        rows = [(numbered[cells.line_num - 1][0], [cell.strip() for cell in row]) for row in cells]
    except csv.Error as error:
        raise ValueError(
            f"line {numbered[max(cells.line_num - 1, 0)][0]} of the pairs does not read as CSV: {error}"
        ) from None
    heading = [cell.lower() for cell in rows.pop(0)[1]] if _heading(rows, known) else []
    if not rows:
        raise ValueError("the list of pairs is empty: write one pair a line as id, id, and 1 (same) or 0 (different)")
    further = {name: heading.index(name, 3) for name in FURTHER if name in heading[3:]}
    width = max([3, *(place + 1 for place in further.values())])
    for number, row in rows:
        if len(row) < width or row[2].lower() not in SAME + DIFFERENT:
            raise ValueError(f"line {number} of the pairs reads {','.join(row)!r:.200}; {WRITE}")
    first, second = (tuple(restored(row[side]) for _, row in rows) for side in (0, 1))
    column = {name: tuple(restored(row[place]) for _, row in rows) for name, place in further.items()}
    same = [row[2].lower() in SAME for _, row in rows]
    column |= {"role": tuple(map(str.lower, column["role"]))} if "role" in column else {}
    _check_kinds(column, same, lambda i: f"line {rows[i][0]} of the pairs")
    fold = _numbered(column["fold"]) if "fold" in column else None
    return Named(
        first, second, _bools(same), fold, column.get("split"), role=column.get("role"), group=column.get("group")
    )


def _check_kinds(column: Mapping[str, Sequence[str]], same: Sequence[bool], where: Callable[[int], str]) -> None:
    """Errors: ValueError for a role that is empty or contradicts `same`, or for too many roles or groups."""
    for name in ("role", "group"):
        kinds = len(set(column.get(name, ())))
        bounds.largest(kinds, KINDS, f"the column {name} of the pairs has more values than are read")
    for i, (role, one) in enumerate(zip(column.get("role", ()), same, strict=False)):
        if not role:
            raise ValueError(
                f"{where(i)} has no role; write {GENUINE}, {' or '.join(IMPOSTORS)}, or leave out the column"
            )
        if (role == GENUINE and not one) or (role in IMPOSTORS and one):
            kind = "same" if one else "different"
            raise ValueError(f"{where(i)} is {role} and {kind}; {GENUINE} pairs are same, those of impostors are not")


def _heading(rows: Sequence[tuple[int, Sequence[str]]], known: set[str]) -> bool:
    """Whether the first line names the columns. Errors: ValueError for `a,b,same`, where it may be a pair as well."""
    (number, row), *others = rows
    values = {*SAME, *DIFFERENT} - {"same"}  # a column may well be called so
    if any(cell in known or cell.lower() in values for cell in row):
        return False
    names = row[:2]
    elsewhere = {cell for _, other in others for cell in other[:2]}
    if any(cell in elsewhere or is_image_name(cell) or "/" in cell or "\\" in cell for cell in names):
        return False
    third = {other[2].lower() for _, other in others if len(other) > 2}
    if "same" not in [cell.lower() for cell in row] or not third & {"same", "different"}:
        return True
    if all(HEADING.fullmatch(cell.lower()) for cell in names):
        return True
    raise ValueError(
        f"line {number} of the pairs reads {','.join(row)!r:.200}, a heading or a pair; head the file with "
        "id_a,id_b,same, or write 1 and 0 for same and different"
    )


def _numbered(names: Sequence[str]) -> Tensor:
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([place[name] for name in names], dtype=torch.int64)


def _bools(values: Iterable[bool]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.bool)


def _lfw(numbered: Sequence[tuple[int, str]]) -> Named:
    """`10 300` is ten folds, each of 300 pairs of one person, then 300 of two; `1100` is one such set."""
    words = numbered[0][1].split()
    numbers = [int(word) for word in words if len(word) < 16]
    folds, each = numbers if len(numbers) == 2 else (1, numbers[0] if numbers else 0)
    announced, follow = 2 * folds * each, len(numbered) - 1
    if len(words) > 2 or len(numbers) < len(words) or announced != follow or not follow:
        prefix = f"the first line of the pairs reads {numbered[0][1]!r:.80}, which announces {announced:,} pairs"
        raise ValueError(f"{prefix}, and {follow:,} lines follow; `10 300` is ten times 300 same and 300 different")
    rows = [_lfw_pair(number, line) for number, line in numbered[1:]]
    same_T = torch.arange(announced) // each % 2 == 0
    for (number, line), (a, b), same in zip(numbered[1:], rows, same_T.tolist(), strict=True):
        if (a[0] == b[0]) != same:
            raise ValueError(
                f"line {number} of the pairs reads {line!r} where the first line announces a pair of "
                f"{'one person' if same else 'two people'}"
            )
    first, second = (tuple(_lfw_image(*row[side]) for row in rows) for side in (0, 1))
    fold_T = torch.arange(folds).repeat_interleave(2 * each) if len(numbers) == 2 else None
    person = {_lfw_image(*image): image[0] for row in rows for image in row}
    return Named(first, second, same_T, fold_T, person=person)


def _lfw_pair(number: int, line: str) -> tuple[tuple[str, int], tuple[str, int]]:
    words = [word.strip() for word in (line.split("\t") if "\t" in line else line.split())]
    try:
        if len(words) == 3:
            return (words[0], int(words[1])), (words[0], int(words[2]))
        name, n, other, m = words
        return (name, int(n)), (other, int(m))
    except ValueError:
        raise ValueError(
            f"line {number} of the pairs reads {line!r:.200}; write `name 1 4` for one person, `name 1 other 2` for two"
        ) from None


def _lfw_image(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def placed(pairs_by_name: Named, ids: Sequence[str]) -> Pairs:
    """The same pairs by the places of their images among `ids`.

    Errors: ValueError with the first image that is not among them, and how many are not.
    """
    place = {name: i for i, name in enumerate(ids)}
    if missing := [name for name in pairs_by_name.names() if name not in place]:
        are = f"{len(missing):,} images of the pairs are" if len(missing) > 1 else "1 image of the pairs is"
        raise ValueError(f"{are} not among the {len(place):,} embedded ones; the first is {missing[0]!r}")
    first, second = (torch.tensor([place[name] for name in side], dtype=torch.int64) for side in pairs_by_name[:2])
    return Pairs(first, second, pairs_by_name.same)


def listed(lines: Iterable[str], ids: Sequence[str]) -> Pairs:
    """Pairs from the lines of a file, by the places of their images. Errors: as in `named` and `placed`."""
    return placed(named(lines, ids), ids)


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


def write(path: str | os.PathLike, pairs: Named) -> None:
    """Write pairs as CSV, or as Parquet by the suffix, whole or not at all: id_a, id_b, same, and role, group if known.

    Errors: ValueError for a name that CSV cannot hold.
    """
    path = Path(path)
    column: dict[str, Sequence[object]] = {"id_a": pairs.first, "id_b": pairs.second, "same": pairs.same.int().tolist()}
    column |= {name: values for name, values in (("role", pairs.role), ("group", pairs.group)) if values is not None}
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        with replacing(path) as temporary:
            pq.write_table(pa.table({name: list(values) for name, values in column.items()}), temporary)
        return
    texts = chain.from_iterable(values for name, values in column.items() if name != "same")
    if lost := next((x for x in dict.fromkeys(map(str, texts)) if not _kept_by_csv(x)), None):
        raise ValueError(f"the name {lost!r:.200} would not be read back from {path}; write a .parquet")
    write_text(path, csv_text([tuple(column), *zip(*column.values(), strict=True)], lineterminator="\n"))


def _kept_by_csv(name: str) -> bool:
    one_line = len(name.splitlines()) < 2 and not name.endswith(("\n", "\r"))
    return one_line and name.isprintable() and restored(str(harmless(name)).strip()) == name


def read(path: str | os.PathLike, known: Iterable[str] = ()) -> Named:
    """The pairs of a file: Parquet with the columns id_a, id_b and same, or lines as `named` reads them.

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
    table = read_table(path, "pairs", (*COLUMNS, *FURTHER))
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
    if not len(table):
        raise ValueError(f"{path} holds no pairs")
    column = {name: table[name].to_pylist() for name in table.column_names if name in (*COLUMNS, *FURTHER)}
    text = {name: tuple("" if x is None else str(x) for x in column[name]) for name in FURTHER[1:] if name in column}
    fold = {name: i for i, name in enumerate(dict.fromkeys(column.get("fold", ())))}
    same = [_same(value, row, path) for row, value in enumerate(column["same"], start=1)]
    text |= {"role": tuple(map(str.lower, text["role"]))} if "role" in text else {}
    _check_kinds(text, same, lambda i: f"{path}: row {i + 1} of the pairs")
    return Named(
        _ids(column["id_a"], "id_a", path),
        _ids(column["id_b"], "id_b", path),
        torch.tensor(same, dtype=torch.bool),
        torch.tensor([fold[x] for x in column["fold"]]) if fold else None,
        text.get("split"),
        role=text.get("role"),
        group=text.get("group"),
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
