"""A recipe: one flat, frozen dataclass that says everything a training depends on; TOML and JSON in and out."""

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from likewise import spec
from likewise.safety import bounds
from likewise.spec import SpecError, near

__all__ = ["Recipe", "read_fields"]


def documented(default: Any, meaning: str) -> Any:
    """A field with its default and its meaning, which the help, the docs and the errors print."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on. `Recipe(data="mnist", dim=2)`; a wrong field or name fails here."""

    # data
    data: str = documented("digits", "source: a name, name(keyword=value), a folder, a .csv or an .npz")
    split: str = documented("given", "how pictures are parted: given | ratio(...) | by_class(...)")
    val: float = documented(0.1, "share of the training part kept for validation, where the source has none")
    size: int = documented(
        0,
        "side of the square that pictures are resized to, in pixels; 0 is as timm: and the like ask, or as it is, "
        "enlarged where the network takes no such small ones",
    )
    channels: int = documented(0, "1 grey, 3 colour, 0 as most pictures are, and 3 for timm: and the like")
    min_per_class: int = documented(1, "classes with fewer pictures are left out")
    max_per_class: int = documented(0, "at most this many pictures a class; 0 is all")
    max_classes: int = documented(0, "at most this many classes; 0 is all")
    rotations: int = documented(1, "each class turned by 90, 180, 270 degrees is a further training class: 1, 2 or 4")
    mirror: bool = documented(False, "each class mirrored is a further training class")
    augment: str = documented(
        "", "how training pictures are varied, e.g. light, photo, handwriting; empty is not at all"
    )
    strict: bool = documented(False, "a broken picture is an error, not a line in skipped.csv")
    # model
    network: str = documented("convnet", "backbone: a name, timm:NAME, torchvision:NAME or hf:NAME_OR_FOLDER")
    weights: str = documented(
        "", "first weights: a file, a folder or a run; published; none; empty is published for timm: and the like"
    )
    head: str = documented("linear", "from features to the embedding: linear | bnneck | projection(hidden=...)")
    dim: int = documented(64, "length of the embedding; 0 takes the network's features as they are")
    normalize: bool | None = documented(None, "scale every embedding to length 1; auto is as the loss prefers")
    sim: str = documented("", "similarity shared by loss, miner, evaluation and gallery; empty is as the loss prefers")
    # loss
    loss: str = documented("supcon(temperature=0.1)", "what is minimised")
    miner: str = documented("", "narrows the pairs before the loss; empty is none")
    relation: str = documented(
        "", "which classes are alike: level(depth=0) of names such as Fruit/Apple, shared or jaccard(at=0.5) of a|b"
    )
    balanced: bool = documented(False, "every class of a batch weighs the same, however many images of it are there")
    tile: int = documented(0, "rows of the similarity matrix worked on at once; 0 is as many as fit")
    memory: int = documented(0, "cross-batch memory, in embeddings; 0 is none")
    sampler: str = documented(
        "pk(classes=10, images=12)", "how a batch is drawn: pk | shuffled | hard_classes | pairs ..."
    )
    # training
    epochs: int = documented(10, "passes over the training part")
    pretrain_epochs: int = documented(0, "epochs before them in which the network is trained as a classifier (softmax)")
    max_seconds: float = documented(
        0.0, "training time after which it ends, the schedule run to its end; 0 is no limit"
    )
    optimizer: str = documented("adamw", "optimizer")
    lr: float = documented(1e-3, "peak learning rate")
    schedule: str = documented(
        "one_cycle", "learning rate over the training: constant | step | plateau | cosine | one_cycle"
    )
    proxy_lr: float = documented(
        0.0, "learning rate of what the loss learns, as a multiple of lr; 0 is the loss's own choice"
    )
    backbone_lr: float = documented(1.0, "learning rate of the backbone, as a multiple of lr")
    layer_decay: float = documented(
        1.0, "learning rate of each block of the backbone, as a multiple of the next block's"
    )
    frozen_epochs: int = documented(0, "epochs at the start in which the backbone is not trained; -1 is always")
    unfreeze_epochs: int = documented(
        0, "epochs over which its blocks then join, the last ones first; 0 is all at once"
    )
    accumulate: int = documented(
        1, "parts in which a batch passes the network, to save memory; the loss is the whole one's"
    )
    clip: float = documented(0.0, "largest gradient norm; 0 is no limit")
    ema: float = documented(0.0, "decay of the weights' moving average, e.g. 0.999; 0 is none")
    whiten: float = documented(
        0.0,
        "after training, the embedding is whitened by what varies within training classes, shrunk by so much; 0 is not",
    )
    amp: str = documented("gpu", "bfloat16 in the network while training: gpu (where there is one) | always | never")
    patience: int = documented(
        0, "stop after this many validations without a better score and keep the best; 0 is never"
    )
    monitor: str = documented("knn@1", "the validation score that decides what is best")
    eval_every_epochs: int = documented(1, "validate after every so many epochs; 0 is never")
    snapshot_epochs: str = documented(
        "", "epochs after which the embedding is kept, e.g. 0,1,2,5,10; empty is 0 and the last"
    )
    doctor: bool = documented(True, "watch for collapse and say in one sentence what to change")
    # the run
    seed: int = documented(0, "of the weights and the order")
    split_seed: int = documented(
        0, "of the split, the class filters and the intervals; the same for all that are compared"
    )
    device: str = documented("auto", "cpu | cuda | cuda:1 | mps | auto")

    def __new__(cls, *args: Any, **fields: Any) -> "Recipe":
        """Errors: SpecError for an unknown field, with the near names, where Python would say TypeError."""
        for name in fields:
            known(name)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, typed(f.name, getattr(self, f.name)))
        check(self)

    def replace(self, **changes: Any) -> "Recipe":
        """The same recipe with some fields changed. Errors: SpecError for an unknown field or a wrong type."""
        for name in changes:
            known(name)
        return dataclasses.replace(self, **changes)

    def override(self, *settings: str) -> "Recipe":
        """The same recipe with `field=value` texts applied, as on the command line."""
        return self.replace(**dict(setting(text) for text in settings))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """Every field, a line each, its meaning behind it."""
        lines = {k: f"{k} = {literal(v)}" for k, v in self.to_dict().items() if v is not None}
        width = min(44, max(map(len, lines.values())))
        return "".join(f"{text.ljust(width)}  # {meaning(name)}\n" for name, text in lines.items())

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Fields of earlier versions are still read. Errors: SpecError for an unknown field, with the nearest name."""
        return cls().replace(**{current(name): value for name, value in values.items()})

    @classmethod
    def from_toml(cls, text: str, where: str = "the recipe") -> "Recipe":
        """From the text of a file; see `load`."""
        return cls.from_dict(checked_names(as_spec_error(bounds.parsed_toml, text, where), where))

    @classmethod
    def from_json(cls, text: str, where: str = "the recipe") -> "Recipe":
        """From the text of a file; see `load`."""
        return cls.from_dict(checked_names(as_spec_error(bounds.parsed_json, text, where), where))

    @classmethod
    def load(cls, path: str | os.PathLike, *, trust_code: bool = False) -> "Recipe":
        """From a .toml or .json file. It names members of the package only, unless `trust_code`. Errors: SpecError."""
        path = Path(path)
        if path.suffix.lower() not in {".toml", ".json"}:
            raise SpecError(f"a recipe file ends in .toml or .json, not {path.suffix or 'nothing'!r}: {path}")
        try:
            text = as_spec_error(bounds.text, path, bounds.RECIPE_FILE, "a recipe")
        except OSError as error:
            raise SpecError(f"cannot read the recipe {path}: {error.strerror}") from None
        with spec.trusting(trust_code):
            return (cls.from_toml if path.suffix.lower() == ".toml" else cls.from_json)(text, where=str(path))


TYPES = get_type_hints(Recipe)
YES_NO_AUTO = bool | None


def as_spec_error(read: Callable[..., Any], *given: Any) -> Any:
    """What `read` gives; its ValueError as a SpecError."""
    try:
        return read(*given)
    except ValueError as error:
        raise SpecError(str(error)) from None


def read_fields(path: Path) -> dict[str, Any]:
    """The fields that a recipe file gives, each of its type, its names safe to bind; ranges are not checked.

    For pages and the doctor, which show a run that this version could not train. Errors: SpecError.
    """
    values = checked_names(as_spec_error(bounds.read_toml, path), str(path))
    return {known(current(name)): typed(current(name), value) for name, value in values.items()}


def checked_names(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The fields of a recipe file, each name safe to bind. Errors: SpecError that names the file and the module."""
    for name, value in values.items():
        if isinstance(value, str) and len(value) > bounds.SPEC_CHARACTERS:
            raise SpecError(f"{where}: {name[:100]} has more than {bounds.SPEC_CHARACTERS:,} characters")
        if value and (kind := {**NAMED, "data": "data"}.get(EARLIER.get(name, name))):
            spec.from_file(kind, value, where)
    return values


# Which fields are names, and of what kind.
NAMED = {name: name for name in ("split", "network", "head", "sim", "sampler", "optimizer", "schedule")}
NAMED |= {name: name for name in ("loss", "miner", "relation", "augment")}

# Fields that were renamed.
EARLIER = {"turns": "rotations"}

AMP = ("gpu", "always", "never")

# field: (lowest, highest) accepted value.
RANGES: dict[str, tuple[float, float]] = {
    "val": (0, 0.9),
    "size": (0, 4096),
    "channels": (0, 3),
    "min_per_class": (1, 2**31),
    "max_per_class": (0, 2**31),
    "max_classes": (0, 2**31),
    "rotations": (1, 4),
    "dim": (0, 65536),
    "memory": (0, 2**31),
    "tile": (0, 2**31),
    "epochs": (1, 1_000_000),
    "pretrain_epochs": (0, 1_000_000),
    "max_seconds": (0, 1e9),
    "lr": (0, 1e6),
    "proxy_lr": (0, 1e9),
    "backbone_lr": (0, 1e6),
    "layer_decay": (0, 1),
    "frozen_epochs": (-1, 1_000_000),
    "unfreeze_epochs": (0, 1_000_000),
    "accumulate": (1, 1_000_000),
    "clip": (0, 1e12),
    "ema": (0, 0.9999999),
    "whiten": (0, 1e6),
    "patience": (0, 1_000_000),
    "eval_every_epochs": (0, 1_000_000),
    "seed": (0, 2**32 - 1),
    "split_seed": (0, 2**32 - 1),
}


def meaning(name: str) -> str:
    return next(f.metadata["meaning"] for f in dataclasses.fields(Recipe) if f.name == name)


def known(name: str) -> str:
    """The field's name. Errors: SpecError with the near names."""
    if name not in TYPES:
        raise SpecError(f"a recipe has no field {name!r}{near(name, TYPES)}")
    return name


def typed(name: str, value: Any) -> Any:
    """The value in its field's type; a whole number is a float too, nothing else is converted."""
    wanted = TYPES[name]
    if wanted is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if not isinstance(value, wanted) or (type(value) is bool and wanted is int):
        raise SpecError(f"{name} is {meaning(name)}: expected {a(wanted)}, got {a(type(value))} {value!r:.200}")
    return value


def a(kind: type) -> str:
    words = {
        str: "a text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        YES_NO_AUTO: "true, false or auto",
    }
    return words.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def current(name: str) -> str:
    """A field's name today, with a notice where it was renamed."""
    if name not in EARLIER:
        return name
    warnings.warn(f"the field {name} of a recipe is now called {EARLIER[name]}", FutureWarning, stacklevel=2)
    return EARLIER[name]


def setting(text: str) -> tuple[str, Any]:
    """`'dim=2'` -> `('dim', 2)`, read in the type of the field."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SpecError(f"{text!r} is not field=value; write for instance epochs=10")
    name = known(current(name))
    return name, read(name, value)


def read(name: str, value: str) -> Any:
    """The text of a value in the type of its field."""
    wanted = TYPES[name]
    if wanted is str:
        return value
    if wanted in (bool, YES_NO_AUTO):
        return read_bool(name, value.lower())
    try:
        return wanted(value)
    except ValueError:
        raise SpecError(f"{name} is {meaning(name)}: expected {a(wanted)}, got {value!r}") from None


def read_bool(name: str, value: str) -> bool | None:
    words: dict[str, bool | None] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    words |= {"auto": None} if TYPES[name] == YES_NO_AUTO else {}
    if value not in words:
        raise SpecError(f"{name} is {meaning(name)}: expected {a(TYPES[name])}, got {value!r}")
    return words[value]


def literal(value: Any) -> str:
    """A value as TOML writes it; JSON's texts, numbers and booleans are TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def check(recipe: Recipe) -> None:
    """Everything that can be known to be wrong before data is read. Errors: SpecError."""
    for name, (low, high) in RANGES.items():
        value = getattr(recipe, name)
        if not low <= value <= high:
            raise SpecError(f"{name} is {meaning(name)}: expected {low} to {high}, got {value}")
    if recipe.channels == 2:
        raise SpecError("channels is 1 (grey), 3 (colour) or 0 (as most pictures are), got 2")
    if recipe.amp not in AMP:
        raise SpecError(f"no amp={recipe.amp!r}{near(recipe.amp, AMP)}")
    for name, kind in NAMED.items():
        if getattr(recipe, name) and not getattr(recipe, name).startswith("pml:"):
            spec.bind(kind, getattr(recipe, name))
    epochs_of(recipe.snapshot_epochs, recipe.epochs)


def epochs_of(text: str, last: int) -> list[int]:
    """`'0,1,2,5'` -> the epochs after which a snapshot is kept; empty is before and after. Errors: SpecError."""
    try:
        wanted = {int(part) for part in text.split(",") if part.strip()} if text.strip() else {0, last}
    except ValueError:
        raise SpecError(f"snapshot_epochs is a list such as 0,1,2,5,10, got {text!r}") from None
    if any(epoch < 0 for epoch in wanted):
        raise SpecError(f"snapshot_epochs counts from 0 (before training), got {text!r}")
    return sorted(epoch for epoch in wanted if epoch <= last)
