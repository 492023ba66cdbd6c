"""Every default that a user meets is written in defaults.txt: one that changes, changes what runs do, and the diff says so.

python tests/test_defaults.py    writes the file anew
"""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import torch
import typer

import likewise
from likewise import cli, spec
from likewise.cli.app import app
from likewise.cli.catalog import members
from likewise.data.options import LoadOptions
from likewise.experiment.recipe import Recipe
from likewise.gallery.gallery import Gallery
from likewise.models import embedding_heads
from likewise.training import optim

TABLE = Path(__file__).with_name("defaults.txt")


def lines() -> Iterator[str]:
    """`loss supcon temperature=0.1`, a line for every default of a member of a kind, a function or a command."""
    for kind in spec.HOMES:
        for name, member in members(kind).items():
            yield from (f"{kind} {name} {key}={value}" for key, value in member.keywords.items())
    public = {name: getattr(likewise, name) for name in sorted(likewise.__all__) if name != "SpecError"}
    for name, made in public.items():
        yield from of_signature(f"likewise.{name}", made)
    for name, method in inspect.getmembers(Gallery, callable):
        if not name.startswith("_"):
            yield from of_signature(f"Gallery.{name}", method)
    for made in (LoadOptions, Recipe):
        yield from (f"{made.__name__} {f.name}={plain(f.default)}" for f in dataclasses.fields(made))
    for module in pkgutil.iter_modules(cli.__path__):  # each registers its commands
        importlib.import_module(f"likewise.cli.{module.name}")
    yield from commands(typer.main.get_command(app), "likewise")


def of_signature(name: str, made: object) -> Iterator[str]:
    for p in inspect.signature(made).parameters.values():
        if p.default is not p.empty:
            yield f"{name} {p.name}={plain(p.default)}"


def plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    return repr(value) if isinstance(value, bool | int | float | str | tuple | None) else type(value).__name__


def commands(command: object, path: str) -> Iterator[str]:
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from commands(child, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield from (f"{path} {p.opts[0]}={plain(p.default)}" for p in command.params if p.default is not None)


def test_defaults_are_those_of_the_table():
    """What is new may be missing there; what is there is so."""
    changed = set(TABLE.read_text(encoding="utf-8").splitlines()) - set(lines())
    assert not changed, "run `python tests/test_defaults.py` where this is meant"


def test_what_the_defaults_of_optimizers_and_heads_make():
    """The table is of the source; these are the numbers that arrive in torch."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    decay = {name: getattr(optim, name)([{"params": [weight]}], 0.1) for name in optim.KINDS["optimizer"]}
    assert {name: made.param_groups[0]["weight_decay"] for name, made in decay.items()} == {
        "adamw": 0.01, "adam": 0.0, "sgd": 0.0, "radam": 0.0, "rmsprop": 0.0,
    }  # fmt: skip
    assert [decay[name].param_groups[0]["betas"] for name in ("adamw", "adam", "radam")] == [(0.9, 0.999)] * 3
    assert (decay["sgd"].param_groups[0]["momentum"], decay["sgd"].param_groups[0]["nesterov"]) == (0.9, True)
    assert (decay["rmsprop"].param_groups[0]["alpha"], decay["rmsprop"].param_groups[0]["momentum"]) == (0.9, 0)
    head = embedding_heads.projection(6, 4)
    assert (head["hidden"].out_features, head["dropout"].p, head["linear"].out_features) == (6, 0.0, 4)
    head = embedding_heads.projection(6, 4, hidden=9, dropout=0.5)
    assert (head["hidden"].out_features, head["dropout"].p) == (9, 0.5)


if __name__ == "__main__":
    TABLE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
