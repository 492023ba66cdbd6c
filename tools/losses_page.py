"""Writes docs/losses.md from the losses themselves: `python tools/losses_page.py`."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch

from likewise import losses, spec
from likewise.losses.build import family

PAGE = Path(__file__).parent.parent / "docs" / "losses.md"

INTRO = """\
# Losses

Every name below is a value of `loss=`, with its parameters in parentheses: `loss="triplet(margin=0.1, pick='hard')"`.
`likewise explain NAME` prints the same text. This page is generated from the functions: `python tools/losses_page.py`.
[What losses pull and push](loss-geometry.md) shows each family in figures.

- **pair**: a rule over the similarities of anchors to references, `rule(sim [N, M], pos [N, M], neg [N, M])`. It
  accepts any `sim`, `miner` and `memory`. Larger is closer: `euclidean` is minus the distance.
- **proxy**: the same over learned class proxies, `sim [N, C]`, with a geometry of its own. It needs training classes
  and also accepts `centres` (proxies per class) and `lr_scale` (learning rate of the proxies, as a multiple).
- **head**: a module with parameters of its own, or that needs more than similarities.
- **combination**: a loss made of other losses.

Regularizers (`koleo`, `uniformity`, `spherical`) and distillation (`rkd`, `mimic`, with the field `distill`) are heads
meant as parts of a `sum`: `loss="sum(losses=['supcon', 'koleo(same=False)'], weights=[1, 0.1])"`.

Each is called as `loss(emb [N, D], labels [N]) -> scalar`: the total of its terms divided by their number. The **loss
at collapse** is that of an embedding with all vectors equal, here at the default parameters for a batch of 10 classes
of 12 images (dim 64). A loss that stays there has learned nothing. The examples need `import torch` and
`from likewise import losses`.
"""

LABELS = torch.arange(10).repeat_interleave(12)
AROUND = {"dim": 64, "classes": 10, "counts": [12] * 10, "shape": (1, 28, 28), "width": 256, "teacher": 384}
GIVEN = ("make", "miner", "references", "sim")  # passed by build, not by users
EXAMPLES = {"sum": "sum(losses=['triplet', 'softmax'])", "matryoshka": "matryoshka(loss='ntxent', dims=[16, 64])"}


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([INTRO, *table(), "", *(line for home in spec.HOMES["loss"] for line in section(home))])


def table() -> Iterator[str]:
    """One line per loss."""
    yield "| name | kind | loss at collapse | |"
    yield "|---|---|---|---|"
    for name, loss in spec.homes("loss").items():
        yield f"| [{name}](#{name}) | {family(name)} | {chance(name)} | {escaped(headline(loss))} |"


def section(home: str) -> Iterator[str]:
    """The losses of one module."""
    module = importlib.import_module(f"likewise.{home}")
    title = re.split(r"[:;.]", module.__doc__ or home)[0]
    yield f"## {escaped(title)}\n"
    for name in module.__all__:
        yield from entry(name, getattr(module, name))


def entry(name: str, loss: Callable) -> Iterator[str]:
    """One loss: its call with defaults, and its docstring."""
    yield f"### {name}\n"
    yield f"{escaped(headline(loss))} Loss at collapse: {chance(name)}.\n"
    yield f"```python\n{written(name, loss)}\n```\n"
    rest = inspect.getdoc(loss).split("\n", 1)[1:]
    if rest and rest[0].strip():
        yield f"```text\n{rest[0].strip()}\n```\n"


def written(name: str, loss: Callable) -> str:
    """The name with every parameter that a user may set, at its default; an example for combinations."""
    if name in EXAMPLES:
        return EXAMPLES[name]
    parameters = inspect.signature(loss).parameters
    settable = [k for k in spec.keywords(loss) if k not in GIVEN]
    return f"{name}({', '.join(f'{k}={parameters[k].default!r}' for k in settable)})"


@cache
def chance(name: str) -> str:
    value = losses.build(EXAMPLES.get(name, name), **AROUND).at_collapse(LABELS)
    return "not known" if value is None else f"{value:.3g}"


def headline(loss: Callable) -> str:
    return inspect.getdoc(loss).split("\n")[0]


def escaped(text: str) -> str:
    """As Markdown prints it: no emphasis, no table cell, by accident."""
    for sign in "\\*_|<>[]":
        text = text.replace(sign, f"\\{sign}")
    return text


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
