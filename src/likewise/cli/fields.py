"""The fields of a recipe by subject, and the hint for one that is written as an option (`--epochs 3`)."""

import dataclasses
import shlex
from collections.abc import Sequence

from likewise.experiment.recipe import Recipe

__all__ = ["GROUPS", "as_option", "grouped", "help_text"]

# each subject with its first field, in the order of Recipe
GROUPS = {"data": "data", "model": "network", "loss": "loss", "training": "epochs", "run": "seed"}


def grouped() -> dict[str, list[dataclasses.Field]]:
    """Every field of Recipe by subject."""
    first = {name: group for group, name in GROUPS.items()}
    groups: dict[str, list[dataclasses.Field]] = {group: [] for group in GROUPS}
    group = next(iter(GROUPS))
    for field in dataclasses.fields(Recipe):
        group = first.get(field.name, group)
        groups[group].append(field)
    return groups


def help_text() -> str:
    """The end of `likewise train --help`."""
    lines = [f"{group}: {', '.join(field.name for field in fields)}" for group, fields in grouped().items()]
    about = "Fields (`likewise list fields` says what each is, `likewise explain FIELD` more), for example epochs=3:"
    return "\n\n".join([about, *lines])


def as_option(option: str, words: Sequence[str] = ()) -> str:
    """The sentence for `--epochs`, which is a field and no option; empty if it is no field either.

    words: those of the call, in which the value is looked for.
    """
    option = option.partition("=")[0]
    name = option.lstrip("-").replace("-", "_")
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    if name not in known:
        return ""
    value = value_of(option, words)
    how = f"write {name}={value}" if value else f"write, for example, {name}={shlex.quote(str(known[name].default))}"
    return f"{option} is a field of the recipe, and fields are written without dashes: {how}"


def value_of(option: str, words: Sequence[str]) -> str:
    """`3` of `--epochs 3` or `--epochs=3`; empty where none follows."""
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        if word.startswith(f"{option}="):
            return shlex.quote(word.partition("=")[2])
        if (
            word == option
            and not following.startswith("-")
            and following.partition("=")[0] not in Recipe.__annotations__
        ):
            return shlex.quote(following)
    return ""
