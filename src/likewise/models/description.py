"""The fields of model.json, each checked for type and bounds before anything is built from them.

A model may come from an untrusted source. Its names pass `spec.from_file`, its numbers are bounded, and the network is
first built without memory (meta device) and compared with the shapes of the stored tensors, so that a small file cannot
request a large network.
"""

import math
from collections.abc import Callable, Mapping
from typing import NotRequired, TypedDict, TypeGuard, cast

from likewise import spec
from likewise.imaging.sizes import FITS
from likewise.safety import bounds

__all__ = ["Description", "ModelConfig", "checked_config", "checked_info"]

SIDE = 4096  # pixels
CHANNELS = 64
VALUES = 1_000_000  # of a vector that a model takes
DIM = 65_536
NAME = 4096  # characters of a class name
LAYERS = 1024  # largest number of layers or heads of a transformer
FIELDS = 1000  # of an architecture, nested ones included
TARGET = 200  # characters

Check = Callable[[object], bool]


class ModelConfig(TypedDict):
    """The keywords that an Embedder is built from."""

    network: str
    shape: list[int]
    dim: NotRequired[int]
    head: NotRequired[str]
    normalize: NotRequired[bool]
    sim: NotRequired[str]
    classes: NotRequired[list[str]]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    architecture: NotRequired[dict[str, object]]
    whitened: NotRequired[bool]
    fit: NotRequired[str]


class Description(TypedDict):
    """model.json. info: the extras of the user, and the threshold and calibration of a run."""

    format: int
    crc32: int
    config: ModelConfig
    info: bounds.Fields


def whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> bool:
    return is_number(value) and abs(value) < 2**63 and math.isfinite(value)


def text(longest: int) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= longest


def numbers(value: object) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= VALUES and all(map(number, value))


def shape(value: object) -> bool:
    """(C, H, W) of images, (C, T) of signals or (D,) of vectors."""
    if not isinstance(value, list) or not 1 <= len(value) <= 3:
        return False
    most = {1: (VALUES,), 2: bounds.SIGNAL_SHAPE, 3: (CHANNELS, SIDE, SIDE)}[len(value)]
    return all(whole(1, high)(n) for n, high in zip(value, most, strict=True))


def class_names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= bounds.CLASSES and all(map(text(NAME), value))


def flag(value: object) -> bool:
    return isinstance(value, bool)


# field: (check, accepted values). Fields without a default in Embedder are required.
CONFIG: dict[str, tuple[Check, str]] = {
    "network": (text(bounds.SPEC_CHARACTERS), "the name of a network"),
    "shape": (shape, f"[C, H, W] up to {CHANNELS} x {SIDE} x {SIDE}, [C, T], or [D] up to {VALUES:,}"),
    "dim": (whole(0, DIM), f"a whole number from 0 to {DIM:,}"),
    "head": (text(bounds.SPEC_CHARACTERS), "the name of a head"),
    "normalize": (flag, "true or false"),
    "sim": (text(bounds.SPEC_CHARACTERS), "the name of a similarity"),
    "classes": (class_names, f"a list of at most {bounds.CLASSES:,} names of at most {NAME:,} characters"),
    "mean": (numbers, "finite numbers"),
    "std": (numbers, "finite numbers above 0"),
    "whitened": (flag, "true or false"),
    "fit": (lambda value: value in FITS, f"one of {', '.join(FITS)}"),
    "architecture": (lambda value: isinstance(value, dict), "an object"),
}
NAMES = {"network": "network", "head": "head", "sim": "sim"}


def checked_config(config: object, where: object) -> ModelConfig:
    """The keywords of Embedder, safe to build from. Errors: ValueError that names the file and the field."""
    if not isinstance(config, dict):
        raise ValueError(f"{where}: config is an object of fields, got {type(config).__name__}")
    if "network" not in config or "shape" not in config:
        raise ValueError(f"{where}: config lacks network or shape; the model was not written by likewise")
    for name, value in config.items():
        if name not in CONFIG:
            raise ValueError(f"{where}: config has no field {name[:100]!r}{spec.near(name[:100], CONFIG)}")
        check, accepted = CONFIG[name]
        if not check(value):
            raise ValueError(f"{where}: {name} is {accepted}, got {value!r:.80}")
    for name, kind in NAMES.items():
        if name in config:
            spec.from_file(kind, config[name], where)
    if "architecture" in config:
        check_architecture(config["architecture"], where)
    elif config["network"].startswith("hf:") and not spec.trusted():
        raise ValueError(
            f"{where}: an hf: network comes with its architecture, and this model has none; export it anew"
        )
    return cast(ModelConfig, config)


def check_architecture(fields: Mapping[str, object], where: object) -> None:
    """Errors: ValueError for values that are not plain or too large, and for fields that load code."""
    if not isinstance(fields.get("model_type"), str):
        raise ValueError(f"{where}: architecture has no model_type")
    left: list[tuple[str, object]] = [("architecture", fields)]
    seen = 0
    while left:
        key, value = left.pop()
        seen += 1
        if seen > FIELDS:
            raise ValueError(f"{where}: architecture has more than {FIELDS} fields")
        if isinstance(value, Mapping):
            left += value.items()
        elif isinstance(value, list):
            left += [(key, one) for one in value]
        if key in ("auto_map", "trust_remote_code", "custom_pipelines", "_name_or_path"):
            raise ValueError(f"{where}: architecture names code to load ({key}), which is never run")
        most = LAYERS if "layers" in key or "heads" in key or "depth" in key else 2**20
        if is_number(value) and not (math.isfinite(value) and abs(value) <= most):
            raise ValueError(f"{where}: {key} of the architecture is {value!r:.40}, and at most {most:,} is accepted")
        if isinstance(value, str) and len(value) > NAME:
            raise ValueError(f"{where}: {key} of the architecture has more than {NAME:,} characters")


def checked_info(info: object, where: object) -> bounds.Fields:
    """The extras of a model: a threshold and a calibration have their numbers, the rest is free. Errors: ValueError."""
    if not isinstance(info, dict):
        raise ValueError(f"{where}: info is an object of fields, got {type(info).__name__}")
    threshold, calibration = info.get("threshold"), info.get("calibration")
    if isinstance(threshold, dict) and not (number(threshold.get("value")) and text(TARGET)(threshold.get("target"))):
        raise ValueError(f"{where}: threshold holds a finite value and the name of its target, got {threshold!r:.80}")
    if isinstance(calibration, dict):
        check_calibration(calibration, where)
    return info


def check_calibration(fit: Mapping[str, object], where: object) -> None:
    if not isinstance(fit.get("kind"), str):
        raise ValueError(f"{where}: calibration is an object with a kind, got {fit!r:.80}")
    for key, value in fit.items():
        if not (isinstance(value, str | bool) or value is None or number(value) or numbers(value)):
            raise ValueError(
                f"{where}: {key[:100]} of the calibration is a number or a list of them, got {value!r:.80}"
            )
