"""A recipe: a flat, frozen dataclass with everything a training depends on; reads and writes TOML and JSON."""

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

from likewise import spec
from likewise.experiment.ranges import AMP, RANGES
from likewise.imaging.sizes import FITS, plain_size
from likewise.safety import bounds
from likewise.spec import SpecError, near

__all__ = ["Recipe", "read_fields"]

Default = TypeVar("Default")
Read = TypeVar("Read")
Given = ParamSpec("Given")


def documented(default: Default, meaning: str) -> Default:
    """A field with its default and its meaning, shown in help, docs and error messages."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on. `Recipe(data="mnist", dim=2)`; a wrong field or name fails here."""

    # data
    data: str = documented("digits", "source: a name, name(keyword=value), a folder, a .csv or an .npz")
    split: str = documented("given", "how images are split: given | auto | ratio | by_class | by_group | by_scene")
    val: float = documented(0.1, "share of the training part used for validation if the source has no validation part")
    group_from: str = documented(
        "auto",
        "groups for split=auto and by_group if the source has none: auto (from file names, if the images agree) | off "
        "| a regular expression with one capture group, searched in each path",
    )
    size: int | str = documented(
        0,
        "side of the square that images are brought to, in pixels, or height and width such as 40x64; 0 is the size "
        "of the pretrained network, else the image's own, enlarged if the network needs larger ones",
    )
    fit: str = documented("stretch", "images of another aspect: stretch | pad (in the border's colour) | crop")
    channels: int = documented(0, "1 grey, 3 colour, 0 as most images are, and 3 for pretrained networks (timm: ...)")
    min_per_class: int = documented(1, "classes with fewer images are left out")
    max_per_class: int = documented(0, "maximum number of images per class; 0 is all")
    max_classes: int = documented(0, "maximum number of classes; 0 is all")
    rotations: int = documented(
        1, "each class rotated by multiples of 90 degrees adds training classes: 1 (none), 2 or 4"
    )
    mirror: bool = documented(False, "each class mirrored adds a training class")
    augment: str = documented("", "augmentation of training images, e.g. light, photo, handwriting; empty is none")
    strict: bool = documented(False, "a broken image is an error, not a line in skipped.csv")
    decisions: str = documented("", "CSV of decisions of the audit page (keep, relabel, remove); empty is none")
    # model
    network: str = documented("convnet", "backbone: a name, timm:NAME, torchvision:NAME or hf:NAME_OR_FOLDER")
    weights: str = documented(
        "",
        "initial weights: a file, a folder or a run; published; none; empty is published for timm: and the like",
    )
    head: str = documented("linear", "layers from features to the embedding: linear | bnneck | projection(hidden=...)")
    adapter: str = documented("", "trains small matrices beside frozen layers, e.g. lora(rank=8); empty is the layers")
    dim: int = documented(64, "dimension of the embedding; 0 uses the network's features directly")
    normalize: bool | None = documented(None, "L2-normalise every embedding; auto is the default of the loss")
    sim: str = documented("", "similarity of loss, miner, evaluation and gallery; empty is the default of the loss")
    # loss
    loss: str = documented("supcon(temperature=0.1)", "loss function")
    miner: str = documented("", "selects pairs before the loss; empty is none")
    relation: str = documented(
        "", "which labels match: level(depth=0) of names such as Fruit/Apple, shared or jaccard(at=0.5) of a|b"
    )
    balanced: bool = documented(False, "every class of a batch has the same weight, however many images it has")
    tile: int = documented(0, "rows of the similarity matrix computed at once; 0 is as many as fit")
    memory: int = documented(0, "size of the cross-batch memory, in embeddings; 0 is none")
    sampler: str = documented(
        "pk(classes=10, images=12)", "how batches are drawn: pk | shuffled | hard_classes | pairs ..."
    )
    distill: str = documented("", "teacher of a distillation loss: a .parquet of embeddings, a run or its model folder")
    # training
    epochs: int = documented(10, "passes over the training part")
    pretrain_epochs: int = documented(0, "epochs of softmax classification before them")
    max_seconds: float = documented(0.0, "training time limit; the schedule is scaled to it; 0 is no limit")
    optimizer: str = documented("adamw", "optimizer")
    lr: float = documented(1e-3, "peak learning rate")
    schedule: str = documented("one_cycle", "learning rate schedule: constant | step | plateau | cosine | one_cycle")
    proxy_lr: float = documented(
        0.0, "learning rate of the loss's own parameters, as a multiple of lr; 0 is the default of the loss"
    )
    proxy_share: float = documented(0.0, "share of the proxies, sharded over processes, to compare with; 0: unsharded")
    backbone_lr: float = documented(1.0, "learning rate of the backbone, as a multiple of lr")
    layer_decay: float = documented(
        1.0, "learning rate of each block of the backbone, as a multiple of the next block's"
    )
    frozen_epochs: int = documented(0, "epochs at the start with a frozen backbone; -1 is always")
    unfreeze_epochs: int = documented(
        0, "epochs over which its blocks are then unfrozen, last ones first; 0 is all at once"
    )
    accumulate: int = documented(1, "GradCache chunks per batch, to save memory; the loss is that of the whole batch")
    clip: float = documented(0.0, "maximum gradient norm; 0 is no limit")
    ema: float = documented(0.0, "decay of the moving average of the weights, e.g. 0.999; 0 is none")
    wise: float = documented(
        0.0, "share of the trained weights in a mean with the initial ones; -1 is chosen by validation; 0 is no mean"
    )
    whiten: float = documented(
        0.0,
        "whitens the embedding by the within-class covariance after training, with this shrinkage; 0 is none",
    )
    sync_batchnorm: bool = documented(
        True, "batch normalisation over the whole batch, if several processes train; false: over each one's rows"
    )
    amp: str = documented("gpu", "bfloat16 while training: gpu (if there is one) | always | never | auto (measured)")
    patience: int = documented(0, "stop after this many validations without improvement and keep the best; 0 is never")
    monitor: str = documented("knn@1", "validation score that decides which epoch is best")
    eval_every_epochs: int = documented(1, "epochs between validations; 0 is never")
    snapshot_epochs: str = documented(
        "", "epochs after which the embedding is saved, e.g. 0,1,2,5,10; empty is 0 and the last"
    )
    doctor: bool = documented(True, "diagnose the training, and say in one sentence what to change")
    # the run
    seed: int = documented(0, "seed of the weights and the order of images")
    split_seed: int = documented(
        0, "seed of the split, the class filters and the intervals; the same for all runs that are compared"
    )
    device: str = documented("auto", "device: cpu | cuda | cuda:1 | mps | auto")

    def __new__(cls, *args: object, **fields: object) -> "Recipe":
        """Errors: SpecError for an unknown field, with the nearest names, instead of TypeError."""
        for name in fields:
            known(name)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, typed(f.name, getattr(self, f.name)))
        check(self)

    def replace(self, **changes: Any) -> "Recipe":  # Any: each is checked against the type of its field
        """The same recipe with some fields changed. Errors: SpecError for an unknown field or a wrong type."""
        for name in changes:
            known(name)
        return dataclasses.replace(self, **changes)

    def override(self, *settings: str) -> "Recipe":
        """The same recipe with `field=value` texts applied, as on the command line."""
        return self.replace(**dict(setting(text) for text in settings))

    def to_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """Every field on a line with its meaning as a comment."""
        lines = {k: f"{k} = {literal(v)}" for k, v in self.to_dict().items() if v is not None}
        width = min(44, max(map(len, lines.values())))
        return "".join(f"{text.ljust(width)}  # {meaning(name)}\n" for name, text in lines.items())

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "Recipe":
        """Fields of earlier versions are still read. Errors: SpecError for an unknown field, with the nearest name."""
        return cls().replace(**{current(name): value for name, value in values.items()})

    @classmethod
    def from_toml(cls, text: str, where: str = "the recipe") -> "Recipe":
        """From the text of a TOML file; see `load`."""
        return cls.from_dict(checked_names(as_spec_error(bounds.parsed_toml, text, where), where))

    @classmethod
    def from_json(cls, text: str, where: str = "the recipe") -> "Recipe":
        """From the text of a JSON file; see `load`."""
        return cls.from_dict(checked_names(as_spec_error(bounds.parsed_json, text, where), where))

    @classmethod
    def load(cls, path: str | os.PathLike, *, trust_code: bool = False) -> "Recipe":
        """From a .toml or .json file, naming only members of the package unless `trust_code`. Errors: SpecError."""
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


def as_spec_error(read: Callable[Given, Read], *given: Given.args, **named: Given.kwargs) -> Read:
    """The result of `read`; its ValueError becomes a SpecError."""
    try:
        return read(*given, **named)
    except ValueError as error:
        raise SpecError(str(error)) from None


def read_fields(path: Path) -> dict[str, object]:
    """The fields of a recipe file, with types and names checked but not ranges.

    For pages and the doctor, which also show runs that this version could not train. Errors: SpecError.
    """
    values = checked_names(as_spec_error(bounds.read_toml, path), str(path))
    return {known(current(name)): typed(current(name), value) for name, value in values.items()}


def checked_names(values: Mapping[str, object], where: str) -> Mapping[str, object]:
    """The fields of a recipe file, with safe names. Errors: SpecError that names the file and the module."""
    for name, value in values.items():
        if isinstance(value, str) and len(value) > bounds.SPEC_CHARACTERS:
            raise SpecError(f"{where}: {name[:100]} has more than {bounds.SPEC_CHARACTERS:,} characters")
        if value and (kind := {**NAMED, "data": "data"}.get(EARLIER.get(name, name))):
            spec.from_file(kind, value, where)
    return values


# Fields that contain names, with their kinds.
NAMED = {name: name for name in ("split", "network", "head", "sim", "sampler", "optimizer", "schedule")}
NAMED |= {name: name for name in ("adapter", "loss", "miner", "relation", "augment")}

# Fields that were renamed.
EARLIER = {"turns": "rotations"}


def meaning(name: str) -> str:
    return next(f.metadata["meaning"] for f in dataclasses.fields(Recipe) if f.name == name)


def known(name: str) -> str:
    """Checks the name of a field. Errors: SpecError with the nearest names."""
    if name not in TYPES:
        raise SpecError(f"a recipe has no field {name!r}{near(name, TYPES)}")
    return name


def typed(name: str, value: object) -> object:
    """The value in the type of its field; integers become floats where needed, nothing else is converted."""
    wanted = TYPES[name]
    if name == "size" and isinstance(value, int | str) and not isinstance(value, bool):
        return as_spec_error(plain_size, value)
    if wanted is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if not isinstance(value, wanted) or (type(value) is bool and wanted in (int, int | str)):
        raise SpecError(f"{name} is {meaning(name)}: expected {a(wanted)}, got {a(type(value))} {value!r:.200}")
    return value


def a(kind: type) -> str:
    words = {
        str: "a string", int: "a whole number", float: "a number", bool: "true or false",
        YES_NO_AUTO: "true, false or auto", int | str: "a whole number or height x width",
    }  # fmt: skip
    return words.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def current(name: str) -> str:
    """The current name of a field, with a warning if it was renamed."""
    if name not in EARLIER:
        return name
    warnings.warn(f"the field {name} of a recipe is now called {EARLIER[name]}", FutureWarning, stacklevel=2)
    return EARLIER[name]


def setting(text: str) -> tuple[str, Any]:  # Any: the type of its field
    """`'dim=2'` -> `('dim', 2)`, parsed by the type of the field."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SpecError(f"{text!r} is not field=value; write, for example, epochs=10")
    name = known(current(name))
    return name, read(name, value)


def read(name: str, value: str) -> Any:  # Any: the type of its field
    """Parses a value by the type of its field."""
    wanted = TYPES[name]
    if wanted is str or name == "size":
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


def literal(value: object) -> str:
    """A value in TOML; strings, numbers and booleans are written as in JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def check(recipe: Recipe) -> None:
    """Checks everything that can be checked before data are read. Errors: SpecError."""
    for name, (low, high) in RANGES.items():
        value = getattr(recipe, name)
        if not low <= value <= high:
            raise SpecError(f"{name} is {meaning(name)}: expected {low} to {high}, got {value}")
    if recipe.channels == 2:
        raise SpecError("channels is 1 (grey), 3 (colour) or 0 (as most images are), got 2")
    if recipe.wise < 0 and recipe.wise != -1:
        raise SpecError(f"wise is {meaning('wise')}: expected 0 to 1, or -1, got {recipe.wise}")
    for name, known_words in (("fit", FITS), ("amp", AMP)):
        if (word := getattr(recipe, name)) not in known_words:
            raise SpecError(f"no {name}={word!r}{near(word, known_words)}")
    for name, kind in NAMED.items():
        if getattr(recipe, name) and not getattr(recipe, name).startswith("pml:"):
            spec.bind(kind, getattr(recipe, name))
    epochs_of(recipe.snapshot_epochs, recipe.epochs)


def epochs_of(text: str, last: int) -> list[int]:
    """`'0,1,2,5'` -> epochs after which a snapshot is saved; empty is before and after training. Errors: SpecError."""
    try:
        wanted = {int(part) for part in text.split(",") if part.strip()} if text.strip() else {0, last}
    except ValueError:
        raise SpecError(f"snapshot_epochs is a list such as 0,1,2,5,10, got {text!r}") from None
    if any(epoch < 0 for epoch in wanted):
        raise SpecError(f"snapshot_epochs counts from 0 (before training), got {text!r}")
    return sorted(epoch for epoch in wanted if epoch <= last)
