"""`likewise explain NAME`: everything it says comes from the functions themselves."""

import dataclasses
import inspect

from likewise import spec
from likewise.cli.kinds import KINDS
from likewise.experiment.recipe import Recipe

__all__ = ["explanation"]


def explanation(name: str) -> str:
    """What a name is, over every kind and the recipe's fields. Errors: SpecError with the near names."""
    key = name.replace("-", "_")
    found = [text for kind in dict.fromkeys(KINDS.values()) if (text := of_kind(kind, key))]
    found += [field_text(f) for f in dataclasses.fields(Recipe) if f.name == key]
    if not found:
        known = {n for kind in KINDS.values() for n in spec.names(kind)} | {f.name for f in dataclasses.fields(Recipe)}
        raise spec.SpecError(f"nothing is named {name!r}{spec.near(key, sorted(known))}")
    return "\n\n".join(found)


def of_kind(kind: str, name: str) -> str:
    members = spec.homes(kind)
    if name not in members:
        return ""
    fn = members[name]
    return f"{kind}  {written(name, fn)}\n\n{inspect.cleandoc(fn.__doc__ or '')}"


def written(name: str, fn) -> str:
    """The call as a recipe writes it: `triplet(margin=0.2, pick='all')`."""
    parameters = inspect.signature(fn).parameters
    settings = (f"{key}={parameters[key].default!r}" for key in spec.keywords(fn))
    return f"{name}({', '.join(settings)})"


def field_text(field: dataclasses.Field) -> str:
    return f"recipe field  {field.name} = {field.default!r}\n\n{field.metadata['meaning']}"
