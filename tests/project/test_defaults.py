"""Every default of the package is written in defaults.txt, so that a changed one is seen in a diff.

python tests/project/test_defaults.py    writes the file anew
"""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch

import likewise
from likewise.models import embedding_heads
from likewise.training import optim

TABLE = Path(__file__).with_name("defaults.txt")


def lines() -> list[str]:
    """`triplet margin=0.2`: defaults of functions, methods and fields, wherever they are in the package, by name."""
    found: list[str] = []
    for path in Path(likewise.__file__).parent.rglob("*.py"):
        found += defaults(ast.parse(path.read_text(encoding="utf-8")), "")
    return sorted(found)


def defaults(node: ast.AST, within: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from defaults(child, f"{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (f"{within}{child.name} {key}={value}" for key, value in of_function(child.args))
        elif within and isinstance(child, ast.AnnAssign) and child.value is not None:
            yield f"{within[:-1]} {ast.unparse(child.target)}={ast.unparse(without_meaning(child.value))}"


def without_meaning(value: ast.expr) -> ast.expr:
    """The default in `documented(default, meaning)`: a reworded meaning changes no default."""
    return value.args[0] if isinstance(value, ast.Call) and ast.unparse(value.func) == "documented" else value


def of_function(arguments: ast.arguments) -> Iterator[tuple[str, str]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    last = positional[len(positional) - len(arguments.defaults) :]
    for argument, value in zip(last + arguments.kwonlyargs, arguments.defaults + arguments.kw_defaults, strict=True):
        if value is not None:
            yield argument.arg, ast.unparse(value)


def by_name(listed: list[str]) -> dict[str, Counter[str]]:
    """How often each value stands there: two functions of one name may have the same default."""
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for line in listed:
        key, _, value = line.partition("=")
        values[key][value] += 1
    return values


def changed(table: list[str], now: list[str]) -> set[str]:
    """Names with a value less and another one more. What is new may be missing, and what is gone may be left."""
    old, new = by_name(table), by_name(now)
    return {key for key in old.keys() & new if old[key] - new[key] and new[key] - old[key]}


def test_a_changed_default_is_seen_beside_another_of_its_name():
    table = ["nearest k=8", "nearest k=8", "draw seed=0"]
    assert changed(table, ["draw seed=0", "nearest k=8", "nearest k=9"]) == {"nearest k"}
    assert changed(table, ["draw seed=1", "nearest k=8"]) == {"draw seed"}
    assert not changed(table, ["draw seed=0", "draw size=2", "nearest k=8"])


def test_defaults_are_those_of_the_table():
    table, now = TABLE.read_text(encoding="utf-8").splitlines(), lines()
    assert not changed(table, now), "run `python tests/project/test_defaults.py` where this is meant"
    assert len(by_name(table).keys() & by_name(now)) > len(table) / 2


def test_what_the_defaults_of_optimizers_and_heads_make():
    """The table is of the source; these are the numbers that arrive in torch."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    made = {name: getattr(optim, name)([{"params": [weight]}], 0.1) for name in optim.KINDS["optimizer"]}
    assert {name: optimizer.param_groups[0]["weight_decay"] for name, optimizer in made.items()} == {
        "adamw": 0.01, "adam": 0.0, "sgd": 0.0, "radam": 0.0, "rmsprop": 0.0,
    }  # fmt: skip
    assert [made[name].param_groups[0]["betas"] for name in ("adamw", "adam", "radam")] == [(0.9, 0.999)] * 3
    assert (made["sgd"].param_groups[0]["momentum"], made["sgd"].param_groups[0]["nesterov"]) == (0.9, True)
    assert (made["rmsprop"].param_groups[0]["alpha"], made["rmsprop"].param_groups[0]["momentum"]) == (0.9, 0)
    head = embedding_heads.projection(6, 4)
    assert (head["hidden"].out_features, head["dropout"].p, head["linear"].out_features) == (6, 0.0, 4)
    head = embedding_heads.projection(6, 4, hidden=9, dropout=0.5)
    assert (head["hidden"].out_features, head["dropout"].p) == (9, 0.5)


if __name__ == "__main__":
    TABLE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
