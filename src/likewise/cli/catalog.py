"""Members of a kind with their docstrings and defaults, read from the source: listing them imports no torch."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from likewise import spec

__all__ = ["Member", "members"]

PACKAGE = Path(spec.__file__).parent


class Member(NamedTuple):
    """A member of a kind as its source describes it."""

    doc: str
    keywords: dict[str, str]  # those a user may set, with their defaults as written

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]


@cache
def members(kind: str) -> dict[str, Member]:
    """The members of a kind by name, in the order of `spec.homes`. Errors: SpecError for an unknown kind."""
    if kind not in spec.HOMES:
        raise spec.SpecError(f"no kind of thing named {kind!r}{spec.near(kind, spec.HOMES)}")
    listed: dict[str, Member] = {}
    for module in spec.HOMES[kind]:
        listed |= of_module(PACKAGE.joinpath(*module.split(".")), kind)
    return listed


def of_module(path: Path, kind: str) -> dict[str, Member]:
    """The members that a module, or a package's `__init__`, lists in KINDS or `__all__`."""
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = assigned(tree, "KINDS", {}).get(kind) or assigned(tree, "__all__", [])
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    aliases = {a: v for a, v in names_of_names(tree) if v in defined}
    defined |= {alias: defined[name] for alias, name in aliases.items()}
    sources = {a.asname or a.name: n.module for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    return {name: described(name, defined, sources) for name in names}


def described(name: str, defined: dict[str, ast.FunctionDef | ast.ClassDef], sources: dict[str, str | None]) -> Member:
    """A member defined here, or in the module it is imported from."""
    node = defined.get(name) or imported(name, sources)
    return Member(inspect.cleandoc(ast.get_docstring(node) or ""), keywords(node))


def imported(name: str, sources: dict[str, str | None]) -> ast.FunctionDef | ast.ClassDef:
    path = PACKAGE.joinpath(*(sources[name] or "").split(".")[1:]).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name)


def assigned(tree: ast.Module, name: str, default):
    """The literal that a module assigns to a name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return default


def names_of_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Assignments such as `sum, matryoshka = Sum, Matryoshka`, a pair each."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            sides = [s.elts if isinstance(s, ast.Tuple) else [s] for s in (node.targets[0], node.value)]
            pairs = [
                (a.id, v.id)
                for a, v in zip(*sides, strict=False)
                if isinstance(a, ast.Name) and isinstance(v, ast.Name)
            ]
            yield from pairs


def keywords(node: ast.FunctionDef | ast.ClassDef) -> dict[str, str]:
    """Parameters that have a default; those of a class are its constructor's."""
    if isinstance(node, ast.ClassDef):
        inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        return keywords(inits[0]) if inits else {}
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = list(zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True))
    pairs += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None]
    return {a.arg: ast.unparse(d) for a, d in pairs if not a.arg.startswith("_")}
