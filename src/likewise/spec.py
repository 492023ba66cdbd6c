"""Names to objects: `triplet(margin=0.1)` is the function `triplet` of `losses/rules.py` with one keyword bound.

A name is a Python name; one outside the package is written `my_pkg.my_loss:focal(gamma=2)`. Values are Python literals,
read with `ast.literal_eval` and never evaluated. `-` and `_` are the same in a name. Whatever is unknown fails here,
before any data is read, and the message offers the nearest name.

Trust: a name that was typed may lie in any module. One that was read from a file (a model, a run, a recipe, a gallery,
an export) passes `from_file` first, which refuses `module:function` unless code is trusted (`--trust-code`), and bounds
its keywords. Whoever reads a name from disk calls it; tests/safety/test_trust.py holds every reader to that.
"""

import ast
import difflib
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from likewise.safety import bounds
from likewise.safety.annotations import check_types

__all__ = [
    "HOMES",
    "SpecError",
    "bind",
    "find",
    "from_file",
    "homes",
    "keywords",
    "names",
    "near",
    "parse",
    "trusted",
    "trusting",
]

Keywords = dict[str, Any]  # Python literals; the annotations of the function that they are bound to check them

# Where the members of each kind live: a module's `__all__` is the list.
HOMES: dict[str, tuple[str, ...]] = {
    "loss": (
        "losses.rules",
        "losses.margins",
        "losses.batchwise",
        "losses.listwise",
        "losses.proxies",
        "losses.heads",
        "losses.spread",
        "losses.distill",
        "losses.combine",
    ),
    "miner": ("losses.mining",),
    "relation": ("match",),
    "sim": ("geometry",),
    "network": ("models.networks", "models.strokes", "models.mobilenet", "models.efficientnet", "models.pretrained"),
    "head": ("models.embedding_heads",),
    "adapter": ("models.adapters",),
    "data": ("data.sources",),
    "split": ("data.split",),
    "sampler": (
        "data.samplers",
        "data.hierarchical_sampler",
        "data.consecutive_sampler",
        "training.embedding_samplers",
    ),
    "augment": ("data.augment",),
    "optimizer": ("training.optim",),
    "schedule": ("training.optim",),
    "recipe": ("recipes",),
}

# Members that name one of many things elsewhere: `timm:resnet18(pooling='gem')` is timm with name='resnet18'.
PREFIXES: dict[str, tuple[str, ...]] = {"network": ("timm", "torchvision", "hf")}


# Names of earlier versions, still read with a notice: (kind, name) -> today's name, and its renamed keywords.
EARLIER: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("sampler", "kin"): ("hierarchical_pk", {"families": "superclasses"}),
}

# Kinds whose keywords hold further names of the same kind: sum(losses=[...]), chain(steps=[...]).
NESTED = ("loss", "augment", "miner")
# Members outside the registries that shipped recipes name.
SHIPPED = {"split": ("likewise.recipes.faces:tenth",), "loss": ("likewise.recipes.video_objects:own_positive",)}
LIBRARIES = {"loss": ("pml",), "miner": ("pml",)}  # read by losses/interop.py: classes of that library and no other
SIZED = ("network", "head", "adapter", "loss", "miner", "augment")  # kinds whose whole numbers become sizes in memory

TYPED: set[tuple[str, str]] = set()  # (kind, module:function) that this process was given by its user
TRUST: ContextVar[bool] = ContextVar("likewise_trust_code", default=False)


class SpecError(ValueError):
    """An unknown name, or a keyword that it does not take."""


def trusted() -> bool:
    """Whether files that are read now may name code outside the package."""
    return TRUST.get()


@contextmanager
def trusting(code: bool = True) -> Iterator[None]:
    """Inside, files may name code outside the package (`module:function`), if `code`; False changes nothing."""
    token = TRUST.set(code or TRUST.get())
    try:
        yield
    finally:
        TRUST.reset(token)


def from_file(kind: str, text: object, where: object, *, depth: int = 0) -> str:
    """The same text, once it is safe to bind. `where`: the file it was read from, which begins the error.

    It may name members of the package only, unless `trusted()`, with keywords of the right type and within `bounds`.
    Errors: SpecError.
    """
    if not isinstance(text, str):
        raise SpecError(f"{where}: {kind} is a name such as 'triplet(margin=0.1)', got {type(text).__name__}")
    if len(text) > bounds.SPEC_CHARACTERS or depth > bounds.SPEC_DEPTH:
        raise SpecError(
            f"{where}: the name of a {kind} has at most {bounds.SPEC_CHARACTERS:,} characters and names inside names "
            f"go {bounds.SPEC_DEPTH} deep; it begins {text[:40]!r}"
        )
    try:
        name, settings = _parsed(kind, text)
    except SpecError:
        if kind == "data":  # a path
            return text
        raise SpecError(f"{where}: {kind} {text[:200]!r} is not a name with keywords") from None
    module = name.partition(":")[0] if ":" in name and name not in SHIPPED.get(kind, ()) else ""
    if module and module not in LIBRARIES.get(kind, ()):
        if not trusted() and (kind, name) not in TYPED:
            raise SpecError(
                f"{where} names code outside likewise: {kind} {name[:200]!r} of the module {module[:100]!r}; code of "
                "others may do anything, so give --trust-code (in Python: trust_code=True) if you trust its author"
            )
        return text
    for key, value in settings.items():
        _check_read_value(kind, f"{where}: {kind} {name[:100]}", key, value, depth)
    if not module and not (kind == "data" and "(" not in text):  # a path is no name
        bind(kind, text)
    return text


def _check_read_value(kind: str, where: str, key: str, value: object, depth: int) -> None:
    """Errors: SpecError for a keyword beyond the bounds, or one that holds a name which may not be read."""
    if isinstance(value, str):
        if kind in NESTED and (":" in value or "(" in value):
            from_file(kind, value, where, depth=depth + 1)
        elif len(value) > bounds.SPEC_CHARACTERS:
            raise SpecError(f"{where}: {key} has more than {bounds.SPEC_CHARACTERS:,} characters")
    elif isinstance(value, list | tuple | set | dict):
        if len(value) > bounds.SPEC_ITEMS:
            raise SpecError(f"{where}: {key} has {len(value):,} entries, and at most {bounds.SPEC_ITEMS} are accepted")
        for one in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_read_value(kind, where, key, one, depth)
    elif isinstance(value, int | float):
        most = bounds.SPEC_NUMBER if kind in SIZED and isinstance(value, int) else 2**32
        if not -most <= value <= most:
            raise SpecError(f"{where}: {key} is {value!r:.40}, and numbers from {-most:,} to {most:,} are accepted")
    elif value is not None:
        raise SpecError(f"{where}: {key} is a number, a text, True, None or a list of them; got {type(value).__name__}")


def parse(text: str) -> tuple[str, Keywords]:
    """Split `'name(a=1)'` into `('name', {'a': 1})`; values are Python literals. Errors: SpecError."""
    if not isinstance(text, str):
        raise SpecError(f"expected a name such as 'triplet(margin=0.1)', got {type(text).__name__} {text!r}")
    name, paren, rest = text.strip().partition("(")
    name = name.strip()
    if not name or not all(part.isidentifier() for part in name.replace("-", "_").replace(":", ".").split(".")):
        raise SpecError(f"{text!r} is not a name; write name or name(keyword=value, ...)")
    return (name, _keywords_of(text, f"_({rest}")) if paren else (name, {})


def _parsed(kind: str, text: str) -> tuple[str, Keywords]:
    """`parse`, for kinds that know prefixes too; what follows one may hold any sign, such as a folder's name."""
    prefix, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not colon or prefix not in PREFIXES.get(kind, ()):
        return parse(text)
    name, paren, settings = rest.partition("(")
    if not name.strip():
        raise SpecError(f"{text!r} names nothing; write {prefix}:NAME")
    return prefix, {"name": name.strip()} | (_keywords_of(text, f"_({settings}") if paren else {})


def _keywords_of(text: str, call: str) -> Keywords:
    try:
        node = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise SpecError(f"{text!r} does not read as name(keyword=value, ...): {_reason(error)}") from None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args or None in _args(node):
        raise SpecError(f"{text!r}: write every argument by name, as in name(keyword=value)")
    try:
        return {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise SpecError(f"{text!r}: values are Python literals (numbers, 'text', True, None, lists)") from None


def _args(node: ast.Call) -> list[str | None]:
    return [k.arg for k in node.keywords]


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else type(error).__name__


def near(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: `; did you mean a or b?`, or what there is when nothing is near."""
    known, word = list(known), word[:100]
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else ""


def homes(kind: str) -> dict[str, Callable]:
    """Every public member of a kind by name, in its modules' order. Errors: SpecError for an unknown kind."""
    if kind not in HOMES:
        raise SpecError(f"no kind of thing named {kind!r}{near(kind, HOMES)}")
    members: dict[str, Callable] = {}
    for home in HOMES[kind]:
        module = importlib.import_module(f"likewise.{home}")
        listed = getattr(module, "KINDS", {}).get(kind, module.__all__)
        members |= {name: getattr(module, name) for name in listed}
    return members


def names(kind: str) -> list[str]:
    """The names of a kind, as `likewise list` prints them."""
    return list(homes(kind))


def _current(kind: str, name: str, settings: Keywords) -> tuple[str, Keywords]:
    """A name and its keywords as they are called today."""
    earlier = (kind, name.replace("-", "_"))
    if earlier not in EARLIER:
        return name, settings
    current, renamed = EARLIER[earlier]
    warnings.warn(f"{kind} {name!r} is now called {current!r}", FutureWarning, stacklevel=3)
    return current, {renamed.get(k, k): v for k, v in settings.items()}


def find(kind: str, name: str) -> Callable:
    """The object behind a name; `module:attribute` looks outside the package. Errors: SpecError with the near names."""
    if ":" in name:
        return _outside(kind, name)
    members = homes(kind)
    key = name.replace("-", "_")
    if key not in members:
        raise SpecError(f"no {kind} named {name!r}{near(key, members)}")
    return members[key]


def _outside(kind: str, name: str) -> Callable:
    module, _, attribute = name.partition(":")
    try:
        member = getattr(importlib.import_module(module), attribute)
        TYPED.add((kind, name))
        return member
    except (ImportError, ValueError) as error:
        raise SpecError(f"{kind} {name!r}: cannot import {module!r} ({error})") from None
    except AttributeError:
        raise SpecError(f"{kind} {name!r}: {module!r} has no {attribute!r}") from None


def keywords(fn: Callable) -> list[str]:
    """The keywords a user may set: every parameter that has a default."""
    parameters = inspect.signature(fn).parameters.values()
    return [p.name for p in parameters if p.default is not p.empty and not p.name.startswith("_")]


def bind(kind: str, text: str, **given: object) -> Callable:
    """The named function with its keywords (and `given`) bound. Errors: SpecError for an unknown name or keyword."""
    name, settings = _current(kind, *_parsed(kind, text))
    fn = find(kind, name)
    parameters = inspect.signature(fn).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    required = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    takes = [k for k in [*keywords(fn), *required] if k not in given]
    for key in settings:
        if key not in takes and not open_ended:
            raise SpecError(f"{kind} {name} takes no {key!r}{near(key, takes) if takes else '; it takes no keywords'}")
    if ":" not in name and (wrong := check_types(fn, settings)):
        raise SpecError(f"{kind} {name}: {wrong}")
    return partial(fn, **settings, **given)
