"""Parameters that are shared out over processes, in a checkpoint that any number of processes reads.

The states of loss and optimizer are gathered before they are saved, and each process takes its rows of them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from likewise import distributed
from likewise.safety.bounds import Fields

__all__ = ["gathered_states", "has_shards", "own_states"]


def has_shards(loss_fn: nn.Module) -> bool:
    """Whether the processes hold different parts of the loss, so that each of them is needed for a checkpoint."""
    return distributed.world_size() > 1 and any(distributed.is_shard(p) for p in loss_fn.parameters())


def gathered_states(loss_fn: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Fields, Fields]:
    """The state_dict of each, as with one process. Every process must call it where there are shards."""
    loss: Fields = dict(loss_fn.state_dict())
    state = optimizer.state_dict()
    if not has_shards(loss_fn):
        return loss, state
    for name, shard in shards_of(loss_fn):
        loss[name] = distributed.gather(shard.detach())
    states = dict(state["state"])
    for number, p in numbered(optimizer):
        if distributed.is_shard(p) and number in states:
            states[number] = {
                key: distributed.gather(value) if is_of_rows(value, p.shape) else value
                for key, value in sorted(states[number].items())
            }
    return loss, state | {"state": states}


def own_states(
    loss_fn: nn.Module, optimizer: torch.optim.Optimizer, loss: Fields, state: Fields
) -> tuple[Fields, Fields]:
    """The rows of this process, of states that `gathered_states` gave. Errors: ValueError for other sizes."""
    if not has_shards(loss_fn):
        return loss, state
    own: dict[torch.Tensor, tuple[slice, int]] = {p: rows_of(p) for _, p in shards_of(loss_fn)}
    loss, states = dict(loss), dict(state["state"])
    for name, shard in shards_of(loss_fn):
        rows, total = own[shard]
        if len(loss[name]) != total:
            raise ValueError(f"{name} has {len(loss[name])} rows, and this training has {total}")
        loss[name] = loss[name][rows]
    for number, p in numbered(optimizer):
        if p in own and number in states:
            rows, total = own[p]
            whole = (total, *p.shape[1:])
            states[number] = {k: v[rows].clone() if is_of_rows(v, whole) else v for k, v in states[number].items()}
    return loss, state | {"state": states}


def shards_of(loss_fn: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, p) for name, p in loss_fn.named_parameters() if distributed.is_shard(p))


def numbered(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, Tensor]]:
    """The parameters by their numbers in the optimizer's state_dict."""
    return enumerate(p for group in optimizer.param_groups for p in group["params"])


def rows_of(p: Tensor) -> tuple[slice, int]:
    """Which rows of a parameter this process holds, and how many all have."""
    counts = distributed.gather_counts(len(p))
    start = sum(counts[: distributed.rank()])
    return slice(start, start + len(p)), sum(counts)


def is_of_rows(value: object, shape: tuple[int, ...]) -> bool:
    """Whether a value of the optimizer, such as a moment, has one for each number of the parameter."""
    return isinstance(value, Tensor) and tuple(value.shape) == tuple(shape)
