"""Several processes that train one model: rank, world size, collectives. With one process each call does nothing.

torchrun starts the processes and tells each its rank by environment variables. Collectives must be called by every
process, in the same order. A loss is the same on every process, and its gradients are averaged over processes, as
DistributedDataParallel does: `gather` and `total` therefore add up the gradients of all processes in the backward pass.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar  # Any: the ctx of autograd, which takes any attribute

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "RankFailedError",
    "any_rank",
    "average_gradients",
    "barrier",
    "broadcast_tensors",
    "from_main",
    "gather",
    "gather_counts",
    "highest",
    "is_main",
    "is_shard",
    "joined",
    "launched_by",
    "local_rank",
    "main_first",
    "rank",
    "restarts",
    "total",
    "world_size",
]

PATIENCE = timedelta(hours=12)  # rank 0 may read images or compute scores for long while the others wait
BUCKET = 32 << 20  # bytes of gradients that are averaged in one call
STARTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells each process
FAILED = "likewise/failed"
# What gloo and nccl say when a process they are connected to has ended.
LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited")

Value = TypeVar("Value")
_store: "dist.Store | None" = None


class RankFailedError(ConnectionError):
    """This process ends because another one has; without a message where that one says why."""

    exit_code = 1


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _grouped() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _grouped() else 0


def is_main() -> bool:
    """Whether this process is rank 0, the one that writes files and messages."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process on its machine, and so of its GPU."""
    return int(os.environ.get("LOCAL_RANK", rank())) if _grouped() else 0


def restarts() -> int:
    """How often torchrun has started these processes anew after a failure (`--max-restarts`)."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(count) if count.isdigit() else 0


def launched_by() -> str:
    """What tells one call of torchrun from another, the same after restarts; empty without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{name} {os.getppid()}" if name == "none" else name  # without --rdzv-id; the parent is torchrun


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun started are one group; nothing for one process, or within a group.

    When processes fail, the first one raises its error and the others RankFailedError. Errors: ValueError for
    environment variables that are not torchrun's.
    """
    if _grouped() or os.environ.get("WORLD_SIZE", "1") in ("", "0", "1"):
        yield
        return
    for name in STARTED:
        value = os.environ.get(name, "")
        if not value or (name != "MASTER_ADDR" and not value.isdigit()):
            raise ValueError(
                f"WORLD_SIZE={os.environ['WORLD_SIZE']} with {name}={value!r}; start several processes with "
                "torchrun --nproc-per-node N -m likewise train ..., or unset WORLD_SIZE"
            )
    _join()
    try:
        yield
    except (Exception, SystemExit) as error:
        failure = _as_failure(error)
        if failure is error:
            raise
        raise failure from error
    finally:
        dist.destroy_process_group()


def _join() -> None:
    global _store
    from torch.distributed.rendezvous import rendezvous

    shared, number, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
    _store = dist.PrefixStore(f"likewise/{restarts()}", shared)  # one store for all restarts: what failed is in it
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", number)) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=PATIENCE)


def _as_failure(error: BaseException) -> BaseException:
    """The error of the first process that fails, marked; RankFailedError for those that fail because of it."""
    if isinstance(error, SystemExit):
        return error
    try:
        first = _store is None or _store.compare_set(FAILED, "", str(rank())) == str(rank()).encode()
    except RuntimeError:  # the store has ended with the process that held it
        first = False
    if not first:
        return RankFailedError()
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in LOST):
        error = RankFailedError(
            "another process of this training has ended without a message: it was killed, or its machine lacks memory; "
            "go on with: torchrun ... -m likewise train --resume RUN"
        )
    vars(error)["failed_first"] = True
    return error


def _control() -> torch.device:
    """The device of small tensors for control flow: the CPU, unless the group can only exchange tensors on GPUs."""
    only_gpu = "cpu" not in dist.get_backend_config() and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if only_gpu else torch.device("cpu")


def barrier() -> None:
    """Waits until every process has come here."""
    if world_size() > 1:
        dist.all_reduce(torch.zeros(1, device=_control()))


@contextmanager
def main_first() -> Iterator[None]:
    """The block is run by rank 0 first and then by the others, which find what it has cached."""
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def from_main(value: Value) -> Value:
    """The value of rank 0, on every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, device=_control())
    return values[0]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    if world_size() == 1:
        return flag
    flags = torch.tensor([int(flag)], device=_control())
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def gather_counts(count: int) -> tuple[int, ...]:
    """The counts of all processes, by rank."""
    if world_size() == 1:
        return (count,)
    parts = [torch.zeros(1, dtype=torch.int64, device=_control()) for _ in range(world_size())]
    dist.all_gather(parts, torch.tensor([count], device=_control()))
    return tuple(int(part) for part in parts)


def gather(x: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """The rows of all processes, [N, ...] -> [sum of N, ...], by rank; with gradient.

    counts: rows of each process, where they are known; any of them may be 0.
    """
    if world_size() == 1:
        return x
    counts = tuple(counts or gather_counts(len(x)))
    return _Gather.apply(x, counts) if x.is_floating_point() else _gathered(x, counts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        return _gathered(x, counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        added = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(added)
        return added.split(ctx.counts)[rank()].clone(), None


def _gathered(x: Tensor, counts: Sequence[int]) -> Tensor:
    padded = x.new_zeros(max(counts), *x.shape[1:])  # all_gather takes tensors of one shape
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def total(x: Tensor) -> Tensor:
    """The sum over processes, elementwise; with gradient."""
    return x if world_size() == 1 else _Total.apply(x)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _summed(grad)


def highest(x: Tensor) -> Tensor:
    """The largest value over processes, elementwise; without gradient."""
    result = x.detach().clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        dist.all_reduce(result, dist.ReduceOp.MAX)
    return result


def _summed(x: Tensor) -> Tensor:
    added = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(added)
    return added


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces every gradient by its mean over processes; a process without one counts as zero.

    A parameter without a gradient on any process keeps none, so that optimizers pass it over; one of which each process
    holds a part (`is_shard`) is left as it is.
    """
    if world_size() == 1:
        return
    for bucket in _buckets(parameters):
        sizes = [p.numel() for p in bucket]
        has = bucket[0].new_tensor([p.grad is not None for p in bucket])
        grads = [p.grad.reshape(-1) if p.grad is not None else p.new_zeros(p.numel()) for p in bucket]
        flat = torch.cat([*grads, has])
        dist.all_reduce(flat)
        *means, counts = (flat / world_size()).split([*sizes, len(bucket)])
        for p, mean, count in zip(bucket, means, counts.tolist(), strict=True):
            if p.grad is not None:
                p.grad.copy_(mean.view_as(p))
            elif count:
                p.grad = torch.empty_like(p).copy_(mean.view_as(p))


def is_shard(x: Tensor) -> bool:
    """Whether a parameter is marked (`shard = True`) as a part of one that is shared out over the processes."""
    return getattr(x, "shard", False)


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters of one type and device, at most BUCKET bytes of them or one."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for p in parameters:
        if p.requires_grad and not is_shard(p):
            kinds.setdefault((p.dtype, p.device), []).append(p)
    for members in kinds.values():
        bucket: list[Tensor] = []
        size = 0
        for p in members:
            if bucket and size + p.numel() * p.element_size() > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(p)
            size += p.numel() * p.element_size()
        yield bucket


@torch.no_grad()
def broadcast_tensors(module: nn.Module, *, buffers_only: bool = False) -> None:
    """Sets parameters and buffers of a module to those of rank 0."""
    if world_size() == 1:
        return
    for x in [*module.buffers(), *(() if buffers_only else module.parameters())]:
        if x.numel() and not is_shard(x):
            sent = x.detach().clone(memory_format=torch.contiguous_format)
            dist.broadcast(sent, src=0)
            x.copy_(sent)
