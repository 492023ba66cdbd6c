"""A loss whose relation reads more of a class than its number: its path down a hierarchy, or its tags."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from likewise.losses.terms import BatchContext

__all__ = ["ClassLabels", "paths", "tags"]


class ClassLabels(nn.Module):
    """Replaces each class number by its row of `table_CL` before the loss sees it; see `paths` and `tags`."""

    table: Tensor  # int64 [C, L]

    def __init__(self, loss: nn.Module, table_CL: Tensor):
        super().__init__()
        self.loss: Any = loss  # has at_collapse, which nn.Module does not declare
        self.register_buffer("table", table_CL, persistent=False)

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        return self.loss(emb_ND, self.table[labels_N], batch)

    def at_collapse(self, labels_N: Tensor | None = None) -> float | None:
        """The loss of a collapsed embedding on a batch of these classes, [N]; not known without one."""
        return None if labels_N is None else self.loss.at_collapse(self.table.cpu()[labels_N.cpu()])


def paths(classes: Sequence[str]) -> Tensor:
    """Class names such as `Fruit/Apple/Gala` as paths int64 [C, L]: equal numbers where names agree from the top down.

    A shorter path ends in numbers of its own, so that it agrees with no deeper one below its end.
    """
    split = [tuple(name.split("/")) for name in classes]
    depth = max(map(len, split), default=1)
    numbers: dict[tuple[str, ...], int] = {}
    full = [path + ("",) * (depth - len(path)) for path in split]
    rows = [[numbers.setdefault(path[: level + 1], len(numbers)) for level in range(depth)] for path in full]
    return torch.tensor(rows, dtype=torch.int64).view(len(classes), depth)


def tags(classes: Sequence[str]) -> Tensor:
    """Class names such as `red|round` as multi-hot rows, int64 [C, T]."""
    split = [[tag.strip() for tag in name.split("|")] for name in classes]
    place = {tag: i for i, tag in enumerate(sorted({tag for row in split for tag in row}))}
    table_CT = torch.zeros(len(classes), len(place), dtype=torch.int64)
    for row, names in enumerate(split):
        table_CT[row, [place[name] for name in names]] = 1
    return table_CT
