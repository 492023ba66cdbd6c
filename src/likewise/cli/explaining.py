"""`likewise explain NAME`: everything it prints comes from the source of the functions."""

import dataclasses
import difflib

from likewise import spec
from likewise.cli.catalog import Member, members
from likewise.cli.kinds import KINDS
from likewise.experiment.recipe import Recipe

__all__ = ["explanation"]


def explanation(name: str) -> str:
    """Explain a name of any kind or a recipe field. Errors: SpecError with the near names."""
    key = name.replace("-", "_")
    texts = [text for kind in dict.fromkeys(KINDS.values()) if (text := of_kind(kind, key))]
    texts += [field_text(f) for f in dataclasses.fields(Recipe) if f.name == key]
    if not texts:
        from likewise.cli.metric_texts import explained_metric, metrics  # which import numpy

        if text := explained_metric(name):
            return text
        known = {n for kind in KINDS.values() for n in members(kind)} | {f.name for f in dataclasses.fields(Recipe)}
        close = difflib.get_close_matches(key, sorted({*known, *metrics()}), n=3, cutoff=0.5)
        lists = ", ".join(dict.fromkeys([*KINDS, "fields", "metrics"]))
        way_on = (
            f"did you mean {' or '.join(close)}?" if close else f"`likewise list KIND` has the names; KIND is {lists}"
        )
        raise spec.SpecError(f"nothing is named {name[:100]!r}; {way_on}")
    return "\n\n".join(texts)


def of_kind(kind: str, name: str) -> str:
    member = members(kind).get(name)
    return f"{kind}  {call(name, member)}\n\n{member.doc}" if member else ""


def call(name: str, member: Member) -> str:
    """The call as a recipe writes it: `triplet(margin=0.2, pick='all')`."""
    return f"{name}({', '.join(f'{key}={default}' for key, default in member.keywords.items())})"


def field_text(field: dataclasses.Field) -> str:
    return f"recipe field  {field.name} = {field.default!r}\n\n{field.metadata['meaning']}"
