"""Conditions on label, group and metadata: `site=pond`, `year>=2000`, `label in heron,coot`; never evaluated."""

import re
from collections.abc import Callable, Sequence
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

__all__ = ["Condition", "parse", "value_of"]

FORM = re.compile(r"^\s*([\w.-]+)\s*(!=|>=|<=|=|>|<|\bin\b)\s*(.+?)\s*$", re.DOTALL)
NUMBER = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?", re.ASCII)
ORDER: dict[str, Callable[[Any, Any], object]] = {  # two numbers, or two texts
    ">=": ge,
    "<=": le,
    ">": gt,
    "<": lt,
}
Value = bool | int | float | str


class Condition(NamedTuple):
    """One condition; an item without the key meets only `!=`."""

    key: str
    operator: str
    value: Value | list[Value]

    def __call__(self, facts: dict[str, object]) -> bool:
        if self.key not in facts:
            return self.operator == "!="
        came = facts[self.key]
        if self.operator == "=":
            return _same(came, self.value)
        if self.operator == "!=":
            return not _same(came, self.value)
        if self.operator == "in":
            return isinstance(self.value, list) and any(_same(came, value) for value in self.value)
        numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (came, self.value))
        texts = isinstance(came, str) and isinstance(self.value, str)
        return (numbers or texts) and bool(ORDER[self.operator](came, self.value))


def parse(expressions: Sequence[str]) -> list[Condition]:
    """Conditions that an item meets together. Errors: ValueError for what does not read as one."""
    return [_one(text) for text in expressions]


def _one(text: str) -> Condition:
    match = FORM.match(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a condition; write KEY=VALUE, KEY!=VALUE, KEY>=NUMBER or 'KEY in A,B', as in year>=2000"
        )
    key, operator, value = match.groups()
    if operator == "in":
        return Condition(key, operator, [value_of(part.strip()) for part in value.split(",")])
    return Condition(key, operator, value_of(value))


def value_of(text: str) -> Value:
    """A number where it reads as one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    return (float(text) if set(text) & set(".eE") else int(text)) if NUMBER.fullmatch(text) else text


def _same(came: object, wanted: object) -> bool:
    return came == wanted or str(came) == str(wanted)
