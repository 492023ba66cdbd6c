"""A step over the rows of a sparse gradient: those rows move as in a small parameter, the others do not."""

import pytest
import torch
import torch.nn.functional as F

from likewise.training import optim, sparse_rows
from likewise.training.ranks import clip_gradients

OPTIMIZERS = {name: getattr(optim, name) for name in optim.KINDS["optimizer"]}


def after(name: str, drawn: list[list[int]], *, sparse: bool) -> tuple[torch.Tensor, dict]:
    """A parameter of 6 rows after a step for each list of rows; sparse: only these rows are seen."""
    rows = torch.nn.Parameter(torch.arange(18.0).view(6, 3) / 10)
    optimizer = OPTIMIZERS[name]([{"params": [rows], "weight_decay": 0.0}], 0.1)
    for kept in drawn:
        F.embedding(torch.tensor(kept), rows, sparse=sparse).square().sum().backward()
        sparse_rows.step(optimizer)
        optimizer.zero_grad()
    return rows.detach(), optimizer.state[rows]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_every_row_it_is_the_optimizer_s_own_step(name):
    every = [[0, 1, 2, 3, 4, 5]] * 3
    torch.testing.assert_close(after(name, every, sparse=True)[0], after(name, every, sparse=False)[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_other_rows_keep_weights_and_moments(name):
    once, moments = after(name, [[1, 4]], sparse=True)
    more, later = after(name, [[1, 4], [0, 4]], sparse=True)
    start = torch.arange(18.0).view(6, 3) / 10
    assert torch.equal(once[[0, 2, 3, 5]], start[[0, 2, 3, 5]])
    assert torch.equal(more[1], once[1])
    assert not torch.equal(more[4], once[4])
    for key, value in moments.items():
        if isinstance(value, torch.Tensor) and value.shape == start.shape:
            assert torch.equal(value[1], later[key][1])
            assert not value[[0, 2, 3, 5]].any()


def test_momentum_by_hand():
    """SGD, lr 0.1, momentum 0.9, plain: gradients 2x of row 0 = (1, 1) give 0.8, then 0.8 - 0.1 * (0.9 * 2 + 1.6)."""
    rows = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.SGD([rows], 0.1, momentum=0.9)
    for _ in range(2):
        F.embedding(torch.tensor([0]), rows, sparse=True).square().sum().backward()
        sparse_rows.step(optimizer)
        optimizer.zero_grad()
    torch.testing.assert_close(rows.detach(), torch.tensor([[0.46, 0.46], [1.0, 1.0]]))


def test_clipping_sees_shards_and_sparse_gradients():
    whole, shard = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(3, 2))
    vars(shard)["shard"] = True
    whole.grad = torch.tensor([3.0])
    F.embedding(torch.tensor([1, 1]), shard, sparse=True)[:, 0].sum().mul(2).backward()  # row 1 is (4, 0)
    clip_gradients([whole, shard], 2.5)
    torch.testing.assert_close(whole.grad, torch.tensor([1.5]))
    torch.testing.assert_close(shard.grad.to_dense()[1], torch.tensor([2.0, 0.0]))
