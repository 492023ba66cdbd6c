"""Shared by networks of other libraries: importing them, their preprocessing, pooling of features, and errors."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.extras import install_line
from likewise.models.pooling import POOLINGS
from likewise.spec import SpecError, near

__all__ = ["Makers", "brief", "checked", "close", "library", "summary", "unknown"]


class Makers(NamedTuple):
    """Published preprocessing of a network: mean, standard deviation and image size; None and 0 if unknown."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int = 0


def summary(features: Tensor, pooling: str, before: int) -> Tensor:
    """`[N, C]` of a map [N, C, H, W], or of tokens [N, T, C] whose first `before` tokens are not patches."""
    if pooling == "cls":
        if features.ndim != 3 or not before:
            raise SpecError("pooling='cls' takes the class token, and this network has none; take average or gem")
        return features[:, 0]
    if features.ndim == 3:
        features = features[:, before:].transpose(1, 2)[..., None]
    return POOLINGS[pooling](features)


def checked(pooling: str, *known: str) -> str:
    if pooling not in known:
        raise SpecError(f"no pooling named {pooling!r} here{near(pooling, known)}")
    return pooling


def library(name: str) -> ModuleType:
    """A module of an extra. Errors: SpecError with the install line."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"this network needs {error.name}, which is not installed; run: {install_line('images')}"
        ) from None
    except (ImportError, RuntimeError) as error:
        raise SpecError(
            f"{name} is installed but cannot be imported beside torch {torch.__version__}: {brief(error)}; "
            "install builds of torch and torchvision that belong together"
        ) from None


def unknown(source: str, name: str, known: Iterable[str]) -> SpecError:
    return SpecError(f"{source} has no network named {name!r}{close(name, known)}")


def close(word: str, known: Iterable[str]) -> str:
    """As `near`, but empty if nothing is near, since there may be a thousand names."""
    return near(word, difflib.get_close_matches(word, list(known), n=3, cutoff=0.5))


def brief(error: Exception) -> str:
    """The first line of another library's error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
