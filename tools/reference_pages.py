"""Writes the reference of Python names from their source and docstrings, for the site: see tools/build_site.py."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

import likewise
from likewise import spec
from likewise.evaluate.measure import evaluate
from likewise.experiment.recipe import Recipe

SOURCE = Path(__file__).parent.parent / "src"
WIDE = 88  # a longer signature has one parameter a line
SCORES = (
    *("retrieval", "classification", "clustering", "verification", "identification"),
    *("few_shot", "calibration", "health", "neighbours", "intervals"),
)

# file: title, what it holds, modules whose `__all__` it lists
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "commands": ("Commands as functions", "What each command calls.", ("api",)),
    "data": (
        "Images and sources",
        "Reading and splitting labelled images.",
        ("data.images", "data.sources", "data.split"),
    ),
    "sampling": (
        "Samplers and augmentations",
        "How batches are drawn and varied: `sampler=` and `augment=` in a recipe.",
        (*spec.HOMES["sampler"], "data.augment"),
    ),
    "networks": (
        "Networks and heads",
        "Backbones and heads, `network=` and `head=` in a recipe, and the Embedder that holds them.",
        ("models.embedder", *spec.HOMES["network"], *spec.HOMES["head"]),
    ),
    "similarities": (
        "Similarities and relations",
        "How vectors are compared, `sim=` in a recipe, and which labels match, `relation=`.",
        ("geometry", "match"),
    ),
    "loss_modules": (
        "Loss modules and miners",
        "The modules around a loss, and the miners, `miner=` in a recipe. [Losses](../losses.md) lists the losses.",
        (
            "losses.terms",
            "losses.pair",
            "losses.proxy",
            "losses.build",
            "losses.memory",
            "losses.cached",
            "losses.mining",
        ),
    ),
    "training": (
        "Training and comparison",
        "The training loop, optimizers, schedules, and comparisons of recipes.",
        ("training.loop", "training.optim", "experiment.run", "experiment.compare"),
    ),
    "metrics": (
        "Metric functions",
        "Pure functions, mostly with one value for each query. [Metrics](../metrics.md) defines the scores.",
        tuple(f"metrics.{name}" for name in SCORES),
    ),
    "evaluation": (
        "Embedding and evaluation",
        "Embedding images, scoring them, pair files and one-shot trials.",
        ("embeddings", "evaluate.measure", "evaluate.pair_files", "evaluate.one_shot", "evaluate.error_rates"),
    ),
    "gallery": (
        "Gallery and client",
        "Enroll, search, identify and verify, in the process or over HTTP.",
        ("gallery.gallery", "gallery.decide", "client"),
    ),
}

PUBLIC = "What `import likewise` offers. Each name is loaded when it is first used."
FIELDS = """\
# Recipe fields

Each is a keyword of `likewise.Recipe`, a line of a TOML file, and `field=value` on the command line.

| field | meaning | default | type |
|---|---|---|---|"""


CALLED = (griffe.Function, griffe.Class, griffe.Alias)  # constants and types of annotations are left out


def write(folder: Path) -> list[str]:
    """Write the pages, and return their file names in reading order."""
    package = griffe.load("likewise", search_paths=[str(SOURCE)])
    homes = {name: defined(getattr(likewise, name)) for name in likewise.__all__}
    public = [(name, package[home]) for name, home in homes.items()]
    pages = {"public": ("The public names", PUBLIC, public)}
    for page, (title, text, modules) in PAGES.items():
        members = [(name, package[home].members.get(name)) for home in modules for name in package[home].exports]
        pages[page] = (title, text, [(name, member) for name, member in members if isinstance(member, CALLED)])
    folder.mkdir(parents=True)
    for page, (title, text, members) in pages.items():
        lines = [f"# {title}", "", text, ""]
        for name, member in members:
            lines += entry(name, member.final_target if member.is_alias else member)
        write_lines(folder / f"{page}.md", lines)
    write_lines(folder / "recipe.md", recipe_fields())
    return [f"{page}.md" for page in (*list(pages)[:1], "recipe", *list(pages)[1:])]


def defined(member: object) -> str:
    """Where a function or class stands, below the package; `likewise.evaluate` is a package that can be called."""
    called = evaluate if inspect.ismodule(member) else inspect.unwrap(member)
    return f"{called.__module__}.{called.__qualname__}".removeprefix("likewise.")


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe_fields() -> list[str]:
    """The table of the recipe's fields."""
    rows = []
    for field in dataclasses.fields(Recipe):
        kind = str(getattr(field.type, "__name__", field.type))
        cells = (f"`{field.name}`", escaped(field.metadata["meaning"]), f"`{field.default!r}`", escaped(kind))
        rows.append(f"| {' | '.join(cells)} |")
    return [*FIELDS.splitlines(), *rows]


def entry(name: str, member: griffe.Object) -> Iterator[str]:
    """One function or class, and a class's own methods and properties."""
    module = member.canonical_path.rpartition(".")[0]
    yield from (f"## `{name}`", "", f"```python\n{signature(member, name)}\n```", "")
    yield from described(member)
    yield from (f"Defined in `{module}`.", "")
    if not isinstance(member, griffe.Class):
        return
    for inner in member.members.values():
        if inner.name.startswith("_") or inner.is_alias or not inner.docstring:
            continue
        head = f"{name}.{inner.name}"
        yield from (f"### `{head}`", "", f"```python\n{signature(inner, head)}\n```", "")
        yield from described(inner)


def signature(member: griffe.Object, name: str) -> str:
    """The call as it is written; a class by its constructor, a property by its type."""
    if isinstance(member, griffe.Attribute):
        return f"{name}: {member.annotation}" if member.annotation else name
    call = member.members.get("__init__", member) if isinstance(member, griffe.Class) else member
    shown, star = [], False
    for parameter in [*call.parameters] or fields(member):
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not star:
            shown.append("*")
        star = star or parameter.kind in (griffe.ParameterKind.keyword_only, griffe.ParameterKind.var_positional)
        shown.append(written(parameter))
    if any(str(mark.value) == "trusts" for mark in member.decorators):
        shown += ([] if star else ["*"]) + ["trust_code: bool = False"]
    returns = f" -> {member.returns}" if isinstance(member, griffe.Function) and member.returns else ""
    line = f"{name}({', '.join(shown)}){returns}"
    return line if len(line) <= WIDE else f"{name}(\n    " + ",\n    ".join(shown) + f",\n){returns}"


def fields(member: griffe.Object) -> Iterator[griffe.Parameter]:
    """What a class without a constructor of its own takes, such as a NamedTuple."""
    for inner in member.members.values() if isinstance(member, griffe.Class) else ():
        if isinstance(inner, griffe.Attribute) and inner.annotation and "property" not in inner.labels:
            kind = griffe.ParameterKind.positional_or_keyword
            yield griffe.Parameter(inner.name, annotation=inner.annotation, default=inner.value, kind=kind)


STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


def written(parameter: griffe.Parameter) -> str:
    """A parameter with its type and default, as PEP 8 spaces them."""
    star = STARS.get(parameter.kind, "")
    kind = f": {parameter.annotation}" if parameter.annotation else ""
    if parameter.default is None or star:
        return f"{star}{parameter.name}{kind}"
    return f"{parameter.name}{kind}{' = ' if kind else '='}{default(str(parameter.default))}"


def default(text: str) -> str:
    """A recipe's fields are written `documented(default, meaning)`."""
    return re.sub(r"^documented\((.+?), ['\"].*\)$", r"\1", text, flags=re.DOTALL)


def described(member: griffe.Object) -> Iterator[str]:
    """The docstring as Markdown: text, a list of parameters, tables and examples as they stand."""
    text = member.docstring.value if member.docstring else ""
    names = [p.name for p in getattr(member, "parameters", [])] + [m for m in member.members if m[0] != "_"]
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        if not lines:
            continue
        if lines[0].startswith(">>>"):
            yield f"```pycon\n{block}\n```"
        elif any(re.search(r"\S {2,}\S", line) for line in lines):
            yield f"```text\n{block}\n```"
        else:
            yield "\n".join(items(" ".join(line.strip() for line in lines), names))
        yield ""


def items(text: str, names: list[str]) -> Iterator[str]:
    """A sentence or more, then each `name: meaning` in it as a point of a list."""
    word = "|".join(map(re.escape, [*names, "Errors"]))
    parts = re.split(rf"(?:^|(?<=[.;)] ))((?:{word})(?:, (?:{word}))*): ", text)
    if parts[0].strip():
        yield escaped(parts[0].strip())
        if len(parts) > 1:
            yield ""
    for name, meaning in zip(parts[1::2], parts[2::2], strict=True):
        label = "Errors" if name == "Errors" else ", ".join(f"`{one}`" for one in name.split(", "))
        yield f"- {label}: {escaped(meaning.strip())}"


def escaped(text: str) -> str:
    """As Markdown prints it; what stands in backquotes is code and stays."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_|<>\[\]#])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    write(SOURCE.parent / "build" / "reference")
