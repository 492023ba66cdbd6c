"""Bounds of everything that is read from files: checked before memory is allocated, and named in the error.

A file may come from an untrusted source. The sizes that it announces (pixels, rows, labels, lengths) are compared with
a fixed bound and, if the content may be compressed, with the length of the file. Nothing is executed: JSON, TOML,
safetensors, plain arrays and Parquet only. docs/security.md lists the same bounds for users.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

__all__ = [
    "CLASSES",
    "IMAGE_PIXELS",
    "PAIRS",
    "SPEC_CHARACTERS",
    "expanded",
    "largest",
    "read_json",
    "read_toml",
    "rows",
    "size",
    "text",
]

Parsed = TypeVar("Parsed")
Fields = dict[str, Any]  # of a parsed file: of any type until its reader has checked them
Record = Mapping[str, Any]  # the same, or what is written as such, where it is only read

MiB = 1 << 20
IMAGE_PIXELS = 100_000_000  # pixels of one image: 300 MB in colour; the largest camera files are about 100 megapixels
IMAGE_PIXELS_A_BYTE = 2_000  # and of one above 16 megapixels for each byte of its file; a blank PNG has about 1,000
IMAGE_SMALL = 16_000_000  # pixels up to which a file may be as short as it likes
IMAGE_FILE = 1 << 30  # bytes of one image file
TEXT_FILE = 256 * MiB  # bytes of a CSV, pairs.txt, metrics.jsonl or ground truth file
JSON_FILE = 64 * MiB  # bytes of model.json, metrics.json and other JSON; class names are most of it
RECIPE_FILE = 1 * MiB  # bytes of a recipe or of a YAML configuration
JSON_LINE = 1 * MiB  # bytes of one line of metrics.jsonl
SAFETENSORS_HEADER = 64 * MiB  # bytes of the header of a .safetensors file
SPEC_CHARACTERS = 10_000  # length of a name with its keywords
SPEC_DEPTH = 20  # names inside names, as in sum(losses=[...])
SPEC_ITEMS = 64  # entries of a list that a model or run file gives as a keyword
SPEC_NUMBER = 65_536  # largest whole number that a model file may give as a keyword: a width, a kernel, a count
YAML_NODES = 100_000  # values of a YAML document after its aliases are expanded
CLASSES = 10_000_000  # names of classes
SIGNAL_SHAPE = (1024, 1_000_000)  # channels and samples of a signal
LABEL = 1_000_000  # largest label of embeddings with fewer rows; each number up to it is a class with a name
FOLDS = 100_000  # of a pairs.txt
IMAGES_IN_ARCHIVE = 2_000_000  # entries of a zip
PAIRS = 50_000_000  # pairs of one file
ROWS = 1_000_000  # rows of a Parquet file that is shorter than a byte a row
EXPANDED = 256 * MiB  # what any compressed file may expand to
RATIO = 100  # and as a multiple of the length of the file, where that is more


def human(count: float) -> str:
    """Bytes in the largest unit that leaves at least 1: `1.5 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def largest(value: float, bound: float, what: str) -> None:
    """Errors: ValueError when `value` is above `bound`; `what` begins the sentence, e.g. 'x.png announces pixels'."""
    if value > bound:
        raise ValueError(f"{what}: {value:,}, and at most {bound:,} are accepted")


def size(path: str | os.PathLike, bound: int, kind: str) -> int:
    """Length of a file in bytes. Errors: ValueError when it is longer than `bound`; OSError when it is not there."""
    length = os.stat(path).st_size
    if length > bound:
        raise ValueError(f"{os.fspath(path)} is {human(length)} long, and {kind} may have at most {human(bound)}")
    return length


def expanded(announced: int, length: int, path: object) -> int:
    """The announced size of compressed content. Errors: ValueError beyond 256 MiB and 100 times the file's length."""
    bound = max(EXPANDED, RATIO * length)
    if announced > bound:
        raise ValueError(
            f"{path} is {human(length)} long and announces {human(announced)} of content; at most {human(bound)} are "
            f"accepted ({human(EXPANDED)}, or {RATIO} times the length of the file)"
        )
    return announced


def image_size(width: int, height: int, length: int) -> None:
    """The announced sides of an image in a file of `length` bytes. Errors: ValueError beyond the bounds."""
    bound = min(IMAGE_PIXELS, max(IMAGE_SMALL, IMAGE_PIXELS_A_BYTE * length))
    if width * height > bound:
        raise ValueError(
            f"it announces {width:,} x {height:,} pixels in {human(length)}, and at most {bound:,} are decoded "
            f"({IMAGE_PIXELS:,}, and {IMAGE_PIXELS_A_BYTE:,} for each byte of the file); make it smaller"
        )


def rows(count: int, length: int, path: object) -> int:
    """The announced rows of a table. Errors: ValueError beyond a million and a row for each byte of the file."""
    bound = max(ROWS, length)
    if count > bound:
        raise ValueError(f"{path} is {human(length)} long and announces {count:,} rows; at most {bound:,} are accepted")
    return count


def text(path: str | os.PathLike, bound: int = TEXT_FILE, kind: str = "a text file") -> str:
    """Content of a UTF-8 file, without a byte order mark. Errors: ValueError that names the file; FileNotFoundError."""
    size(path, bound, kind)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)} is not UTF-8 text: {error.reason} at byte {error.start}") from None


@overload
def parsed_json(content: str | bytes, where: object) -> Fields: ...
@overload
def parsed_json(content: str | bytes, where: object, kind: type[Parsed]) -> Parsed: ...
def parsed_json(content: str | bytes, where: object, kind: type = dict) -> object:
    """A JSON value of the given type. Errors: ValueError that begins with `where`."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{where} does not read as JSON: {reason}") from None
    if not isinstance(parsed, kind):
        wanted = "an object of fields" if kind is dict else f"a {kind.__name__}"
        raise ValueError(f"{where} is {wanted}, not {type(parsed).__name__}")
    return parsed


def read_json(path: str | os.PathLike) -> Fields:
    """The fields of a JSON file. Errors: ValueError that names the file; FileNotFoundError."""
    return parsed_json(text(path, JSON_FILE, "a JSON file"), os.fspath(path))


def parsed_toml(content: str, where: object) -> Fields:
    """Errors: ValueError that begins with `where`."""
    try:
        return tomllib.loads(content)
    except (ValueError, RecursionError, OverflowError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{where} does not read as TOML: {reason}") from None


def read_toml(path: str | os.PathLike) -> Fields:
    """The fields of a TOML file. Errors: ValueError that names the file; FileNotFoundError."""
    return parsed_toml(text(path, RECIPE_FILE, "a recipe"), os.fspath(path))
