"""Data: `load("mnist")`, `load("path/to/folder")`, `load("table(path='birds.csv', label='species')")` give Images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from likewise import spec
from likewise.data.arrays import from_arrays
from likewise.data.decisions import decided, read_decisions
from likewise.data.files import Files, conform
from likewise.data.filters import narrow
from likewise.data.formats import refused
from likewise.data.images import SPLITS, Images, Skipped
from likewise.data.name_groups import group_from_names
from likewise.data.options import AbsentError, LoadOptions, as_path, data_home
from likewise.data.split import draws_groups
from likewise.imaging.find import legible

__all__ = [
    "SPLITS",
    "AbsentError",
    "Files",
    "Images",
    "Skipped",
    "LoadOptions",
    "data_home",
    "from_arrays",
    "load",
    "read",
]

ENDINGS = dict.fromkeys((".csv", ".tsv", ".parquet", ".pq"), "table") | {".npz": "arrays"}


def load(
    source: str,
    *,
    root: str | Path | None = None,
    split: str = "given",
    val: float = 0.1,
    group_from: str = "auto",
    seed: int = 0,
    size: int | str = 0,
    channels: int = 0,
    fit: str = "stretch",
    min_per_class: int = 1,
    max_per_class: int = 0,
    max_classes: int = 0,
    strict: bool = False,
    decisions: str | Path = "",
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Read a source, filter its classes, part it into train, val and test.

    source    a name (mnist), name(keyword=value), or the path of a folder, a .csv, .tsv, .parquet or .npz
    root      where the sources lie; LIKEWISE_DATA, else the user's cache folder
    split     given | auto | ratio(val=..., test=...) | by_class | by_group | by_scene
    val       the validation share of a split that does not say its own
    group_from  auto (file names, for split=auto and by_group) | off | a regular expression: see group_from_names
    size, channels, fit   see LoadOptions;  min_per_class, max_per_class, max_classes   see narrow
    strict    an image that cannot be read is an error, not a line in `skipped`
    decisions a CSV that removes and relabels single images before all that, see read_decisions
    progress  called with (done, total) while images are read
    Errors: SpecError for an unknown name or keyword, before anything is read; ValueError for what cannot be read.
    """
    read_source, divide = _source(source), spec.bind("split", split)
    options = LoadOptions(as_path(root) if root else data_home(), size, channels, fit, progress=progress)
    chosen = read_decisions(decisions) if decisions else {}
    images: Images = read_source(options)
    if strict and images.skipped:
        first = images.skipped[0]
        raise ValueError(
            f"{source}: {len(images.skipped)} images cannot be used, and strict=True makes that an error; "
            f"the first is {first.id}: {first.why}"
        )
    if isinstance(images.pixels, Tensor):
        images = replace(images, pixels=conform(images.pixels, options))
    if decisions:
        images = decided(images, chosen, legible(as_path(decisions)))
    images = narrow(
        images, min_per_class=min_per_class, max_per_class=max_per_class, max_classes=max_classes, seed=seed
    )
    if group_from != "auto" or draws_groups(images, spec.parse(split)[0]):
        images = group_from_names(images, group_from, seed=seed)
    return divide(images, **{"val": val, "seed": seed} | getattr(divide, "keywords", {}))


def read(source: str, options: LoadOptions) -> Images:
    """A source as it is, neither filtered nor split further. Errors: as in load."""
    images: Images = _source(source)(options)
    return replace(images, pixels=conform(images.pixels, options)) if isinstance(images.pixels, Tensor) else images


def _source(text: str) -> Callable[[LoadOptions], Images]:
    """The function behind a source's name, or behind a path that is there. Errors: SpecError."""
    path = as_path(text)
    try:
        return spec.bind("data", text)
    except spec.SpecError as error:
        if text.strip() and path.is_dir():
            return spec.bind("data", f"folder(path={str(path)!r})")
        if path.suffix.lower() in ENDINGS:
            return spec.bind("data", f"{ENDINGS[path.suffix.lower()]}(path={str(path)!r})")
        if "(" in text:
            raise
        if why := refused(path):
            raise spec.SpecError(why) from None
        raise spec.SpecError(f"{error}; nor is there a folder {text!r}") from None
