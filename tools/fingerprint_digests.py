"""Hashes of results, and names that were changed: shared by the parts of tools/fingerprint.py."""

import contextlib
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

# Names that were changed: the first one that exists is measured, under the label on the left.
ALIASES: dict[str, tuple[str, ...]] = {
    "turns": ("turns", "rotations"),
    "kin(families=2, classes=3, images=4)": (
        "kin(families=2, classes=3, images=4)",
        "hierarchical_pk(superclasses=2, classes=3, images=4)",
    ),
    "kin": ("kin", "hierarchical_pk"),
    "chance": ("chance", "at_collapse"),
    "metrics.pairs": ("metrics.pairs", "metrics.sampled_pairs"),
    "metrics.clustering.commonest": ("commonest", "most_frequent"),
    "metrics.retrieval.found": ("found", "hit"),
}
# Keys of metrics.json that were renamed: their first names.
FIRST_NAMES = {"loss_at_collapse": "chance", "queries_without_positives": "lone"}
TIMES = re.compile(r"seconds|images_per_s|time|_s$|version|date|host|threads|peak|bytes")


def attempt(part: Callable[[], Any]) -> Any:
    """The part's value, or how it failed: the same failure in both versions is the same behaviour."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return part()
    except Exception as error:
        return f"failed: {type(error).__name__}"


def sha(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


def digest(value: Any) -> Any:
    """Numbers as they are, tensors as shape and hash, tuples by place (field names may change)."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous()
        if value.ndim == 0:
            return value.item()
        return f"{list(value.shape)} {value.dtype} {sha(value.numpy().tobytes())}"
    if isinstance(value, np.ndarray):
        return digest(torch.from_numpy(value))
    if isinstance(value, Mapping):
        return {str(k): digest(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [digest(v) for v in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if hasattr(value, "__dataclass_fields__"):
        return [digest(getattr(value, name)) for name in value.__dataclass_fields__]
    return type(value).__name__


def found_module(module: str) -> str:
    for candidate in ALIASES.get(module, ()):
        with contextlib.suppress(ModuleNotFoundError):
            import_module(f"likewise.{candidate}")
            return candidate
    return module


def public(module: str, name: str) -> Callable:
    """A function of a module of likewise, under its name here or one it was given since."""
    home = import_module(f"likewise.{found_module(module)}")
    for candidate in ALIASES.get(f"{module}.{name}", (name,)):
        if hasattr(home, candidate):
            return getattr(home, candidate)
    raise LookupError(f"{module}.{name}")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(inner, f"{path} / {key}" if path else str(key))
    else:
        yield path, value


def scores(value: Any) -> Iterator[tuple[str, Any]]:
    """Every number and truth value of metrics.json but times."""
    for path, inner in flat(value):
        if isinstance(inner, int | float) and not TIMES.search(path.split(" / ")[-1]):
            yield path, "nan" if isinstance(inner, float) and math.isnan(inner) else inner


def numbers_of(value: Any) -> str:
    return sha(json.dumps([number for _, number in scores(value)]))
