"""The collectives: with one process nothing, with several the sum, the rows and the gradients that they promise."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from likewise import distributed
from ranks import environment, free_port


def test_with_one_process_everything_is_as_it_is():
    x = torch.randn(3, 2, requires_grad=True)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather(x) is x
    assert distributed.total(x) is x
    assert distributed.from_main("a") == "a"
    assert distributed.any_rank(True)
    assert distributed.gather_counts(5) == (5,)
    with distributed.joined(), distributed.main_first():
        distributed.barrier()
    distributed.average_gradients([x])
    assert x.grad is None


def gathered(counts: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    rank = distributed.rank()
    x = (torch.arange(counts[rank] * 2.0).view(-1, 2) + 100 * rank).requires_grad_()
    rows = distributed.gather(x)
    weight = torch.arange(rows.numel() * 1.0).view_as(rows) * (rank + 1)
    (rows * weight).sum().backward()
    assert torch.equal(distributed.gather(x[:, 0].long(), counts), rows[:, 0].long())
    return rows.detach(), x.grad


@pytest.mark.parametrize("counts", [(2, 2), (3, 1), (0, 2)], ids=str)
def test_gather_joins_rows_by_rank_and_adds_up_their_gradients(two, counts):
    found = two(gathered, counts)
    rows = torch.cat([torch.arange(n * 2.0).view(-1, 2) + 100 * r for r, n in enumerate(counts)])
    gradient = torch.arange(rows.numel() * 1.0).view_as(rows) * (1 + 2)
    for (whole, own), wanted in zip(found, gradient.split(counts), strict=True):
        assert torch.equal(whole, rows)
        assert torch.equal(own, wanted)


def summed() -> tuple[float, float]:
    x = torch.tensor([1.0 + distributed.rank()], requires_grad=True)
    out = distributed.total(x)
    (out * (1 + distributed.rank())).backward()
    return float(out.detach()), float(x.grad)


def test_total_adds_up_values_and_gradients(two):
    assert two(summed) == [(3.0, 3.0), (3.0, 3.0)]


def averaged() -> list[list[float] | None]:
    rank = distributed.rank()
    params = [nn.Parameter(torch.zeros(2, dtype=kind)) for kind in (torch.float32, torch.float64, torch.float32)]
    params += [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1), requires_grad=False)]
    for p in params[:2]:
        p.grad = torch.full_like(p, 1.0 + rank)
    if rank:
        params[2].grad = torch.full_like(params[2], 4.0)
    distributed.average_gradients(params)
    return [None if p.grad is None else p.grad.tolist() for p in params]


def test_gradients_are_averaged_and_a_missing_one_counts_as_zero(two):
    assert two(averaged) == [[[1.5, 1.5], [1.5, 1.5], [2.0, 2.0], None, None]] * 2


def buckets_of_one() -> list[float]:
    bucket, distributed.BUCKET = distributed.BUCKET, 1
    params = [nn.Parameter(torch.zeros(3)) for _ in range(3)]
    for i, p in enumerate(params):
        p.grad = torch.full_like(p, float(i + distributed.rank()))
    distributed.average_gradients(params)
    distributed.BUCKET = bucket
    return [float(p.grad[0]) for p in params]


def test_gradients_of_any_size_go_in_buckets(two):
    assert two(buckets_of_one) == [[0.5, 1.5, 2.5]] * 2


def agreed() -> tuple:
    rank = distributed.rank()
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(memory_format=torch.contiguous_format)
    nn.init.constant_(model[0].weight, rank)
    model[1].running_mean.fill_(rank)
    distributed.broadcast_tensors(model)
    order = []
    with distributed.main_first():
        order.append(rank)
    found = float(model[0].weight.detach().sum()), float(model[1].running_mean.sum())
    return found, distributed.from_main({"rank": rank}), distributed.any_rank(rank == 1), distributed.any_rank(False)


def test_processes_agree(two):
    assert two(agreed) == [((0.0, 0.0), {"rank": 0}, True, False)] * 2


FAILING = """
import os, sys, time
from likewise import distributed
try:
    with distributed.joined():
        distributed.barrier()
        if distributed.rank() == 1:
            {fault}
        distributed.barrier()
except Exception as error:
    print(type(error).__name__, error, getattr(error, "failed_first", False))
"""


def fail(fault: str) -> list[str]:
    """What each of two processes prints when the second one fails so."""
    port, code = free_port(), FAILING.format(fault=fault)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | environment(rank, 2, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=60)[0].strip() for process in processes]


@pytest.mark.slow
def test_the_first_to_fail_says_why_and_the_others_are_silent():
    assert fail("raise ValueError('no such loss')") == ["RankFailedError  False", "ValueError no such loss True"]


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_of_by_another():
    first, second = fail("os.kill(os.getpid(), 9)")
    assert first.startswith("RankFailedError another process of this training has ended without a message")
    assert not second


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("RANK", "", "WORLD_SIZE=2 with RANK=''"), ("MASTER_PORT", "no", "WORLD_SIZE=2 with MASTER_PORT='no'")],
)
def test_variables_that_are_not_torchruns_are_an_error(monkeypatch, name, value, message):
    for key, told in (environment(0, 2, 1) | {name: value}).items():
        monkeypatch.setenv(key, told)
    with pytest.raises(ValueError, match=message), distributed.joined():
        pass
