"""Whether keyword values fit the annotations of a function: `margin=0.2` for `float`, `widths=(64, 64)` for a list."""

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints  # Any: the hint that takes everything

__all__ = ["check_types", "fits"]

PLAIN = (bool, int, float, str)
WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", type(None): "None"}


def check_types(fn: Callable, settings: Mapping[str, object]) -> str:
    """A sentence on the first keyword whose value does not fit its annotation; empty if all fit."""
    hints = _hints(fn) if settings else {}
    for key, value in settings.items():
        if key in hints and not fits(value, hints[key]):
            return f"{key} is {_words(hints[key])}, got {type(value).__name__} {value!r:.80}"
    return ""


def fits(value: object, hint: object) -> bool:
    """Whether a Python literal fits an annotation; other types than those of literals accept nothing."""
    if hint in (Any, inspect.Parameter.empty):
        return True
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        inner = (get_args(hint) or (Any,))[0]
        return isinstance(value, list | tuple) and all(fits(one, inner) for one in value)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else False


def _hints(fn: Callable) -> dict[str, object]:
    try:
        return get_type_hints(fn.__init__ if inspect.isclass(fn) else fn)
    except (NameError, TypeError, AttributeError):  # names that exist for the type checker only
        return {}


def _words(hint: object) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in get_args(hint)))
    if hint in WORDS:
        return WORDS[hint]
    origin = get_origin(hint)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list ({_words((get_args(hint) or (Any,))[0])} each)"
    return f"a {getattr(hint, '__name__', hint)}"
