"""One-shot trials: classify a character, given one example of each of W: Omniglot's official runs, and similar ones."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from likewise.data.images import Images
from likewise.data.options import LoadOptions
from likewise.imaging.decode import decode
from likewise.safety import bounds

__all__ = ["OneShot", "omniglot_runs", "within_alphabet"]

RUNS = "omniglot/python/one-shot-classification/all_runs.zip"


@dataclass(frozen=True)
class OneShot:
    """A run of T trials that share their W support images. Each trial is judged alone: it sees one query.

    query uint8 [T,C,H,W], support uint8 [W,C,H,W], answer int64 [T]: the support image of the query's character.
    """

    name: str
    query: Tensor
    support: Tensor
    answer: Tensor


def omniglot_runs(options: LoadOptions | None = None, *, ink: str = "bright") -> tuple[OneShot, ...]:
    """The 20 official runs of 20 trials, 20 characters of one evaluation alphabet each, grey, 105 x 105.

    The queries of a run are drawn by one person and its support by another. ink: as in `omniglot`, and as the model was
    trained. (Lake, Salakhutdinov, Tenenbaum, Science 350, 2015) Errors: ValueError when the zip is absent or damaged.
    """
    if ink not in ("bright", "dark"):
        raise ValueError(f"ink is bright or dark, not {ink!r}")
    (path,) = (options or LoadOptions()).find("omniglot", [RUNS])
    try:
        with zipfile.ZipFile(path) as file:
            bounds.expanded(sum(entry.file_size for entry in file.infolist()), path.stat().st_size, path)
            names = sorted(n for n in file.namelist() if n.endswith("/class_labels.txt"))
            return tuple(read_run(file, PurePosixPath(name).parent, ink == "bright") for name in names)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run `likewise data fetch omniglot`") from None


def read_run(file: zipfile.ZipFile, folder: PurePosixPath, bright: bool) -> OneShot:
    """A run from its class_labels.txt: a line a trial, the query's path and that of its answer."""
    lines = file.read(f"{folder}/class_labels.txt").decode().split("\n")
    pairs = [line.split() for line in lines if line.strip()]
    support = sorted({answer for _, answer in pairs})
    answer = torch.tensor([support.index(right) for _, right in pairs])
    query, shown = (
        torch.stack([decode(file.read(n), invert=bright) for n in of]) for of in ([q for q, _ in pairs], support)
    )
    return OneShot(folder.name, query, shown, answer)


def within_alphabet(images: Images, *, runs: int = 20, way: int = 20, seed: int = 0) -> tuple[OneShot, ...]:
    """Runs made as the official ones, of any Omniglot images: for validation on alphabets that training left out.

    Each run takes the next alphabet that has `way` characters, `way` of them, and two people: one drew the queries, the
    other the support. Errors: ValueError when there is no such alphabet.
    """
    rng = default_rng(seed)
    alphabets = [places for places in drawings(images) if len(places) >= way and places.shape[1] > 1]
    if not alphabets:
        raise ValueError(f"{images.name or 'the data'} has no alphabet with {way} characters drawn whole by two people")
    return tuple(draw(images, alphabets[i % len(alphabets)], way, f"run{i + 1:02d}", rng) for i in range(runs))


def drawings(images: Images) -> list[np.ndarray]:
    """For each alphabet the places [characters, people] of its drawings, by the people who drew all of it."""
    if images.groups is None:
        raise ValueError(f"{images.name or 'the data'} has no alphabets (groups), within which trials could be drawn")
    by_alphabet: dict[str, dict[int, dict[str, int]]] = {}
    for place, (id, label, alphabet) in enumerate(zip(images.ids, images.labels.tolist(), images.groups, strict=True)):
        person = PurePosixPath(id).stem.rpartition("_")[2]
        by_alphabet.setdefault(alphabet, {}).setdefault(label, {})[person] = place
    return [table(characters) for _, characters in sorted(by_alphabet.items())]


def table(characters: dict[int, dict[str, int]]) -> np.ndarray:
    people = sorted(set.intersection(*(set(drawn) for drawn in characters.values())))
    return np.array([[drawn[person] for person in people] for _, drawn in sorted(characters.items())])


def draw(images: Images, places: np.ndarray, way: int, name: str, rng: Generator) -> OneShot:
    characters = rng.permutation(len(places))[:way]
    asks, shows = rng.permutation(places.shape[1])[:2]
    query = images.batch(torch.from_numpy(places[characters, asks]))
    support = images.batch(torch.from_numpy(places[characters, shows]))
    return OneShot(name, query, support, torch.arange(way))
