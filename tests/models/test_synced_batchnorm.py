"""Batch normalisation over all processes: values, gradients and running statistics of one process."""

import copy

import pytest
import torch
from torch import Tensor, nn

from likewise import distributed
from likewise.models.synced_batchnorm import SyncedBatchNorm, is_unsynced, synchronise

SIZES = {2: ((4, 4), (7, 1), (0, 8)), 4: ((2, 2, 2, 2), (0, 5, 1, 2))}
LAYERS = {
    "rows": (nn.BatchNorm1d(3), (8, 3)),
    "images": (nn.BatchNorm2d(3), (8, 3, 4, 5)),
    "plain": (nn.BatchNorm2d(3, affine=False), (8, 3, 2, 2)),
    "average of all": (nn.BatchNorm1d(3, momentum=None), (8, 3)),
    "no statistics": (nn.BatchNorm1d(3, track_running_stats=False), (8, 3)),
}


def stepped(name: str, sizes: tuple[int, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    """Output, gradients and state after two batches; rows of the output and its gradient are gathered."""
    plain, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = synchronise(copy.deepcopy(plain).to(dtype)).train()
    for p in layer.parameters():
        nn.init.normal_(p)
    found = {}
    for turn in range(2):
        whole, weight = torch.randn(shape, dtype=dtype) * 3 + 5, torch.randn(shape, dtype=dtype)
        start = sum(sizes[: distributed.rank()])
        own = slice(start, start + sizes[distributed.rank()])
        x = whole[own].clone().requires_grad_()
        out = layer(x)
        # the mean over processes of this is the sum over all rows
        ((out * weight[own]).sum() * distributed.world_size()).backward()
        found[f"out {turn}"] = distributed.gather(out.detach(), sizes)
        found[f"grad {turn}"] = distributed.gather(x.grad, sizes) / distributed.world_size()
    distributed.average_gradients(layer.parameters())
    found |= {f"grad {name}": p.grad for name, p in layer.named_parameters()}
    return found | {name: x.clone() for name, x in layer.state_dict().items()}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("sizes", SIZES[2], ids=str)
def test_two_processes_normalise_as_one(two, name, sizes):
    one = stepped(name, (8,), torch.float64)
    for found in two(stepped, name, sizes, torch.float64):
        torch.testing.assert_close(found, one, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("sizes", SIZES[4], ids=str)
def test_four_processes_normalise_as_one(four, name, sizes):
    one = stepped(name, (8,), torch.float32)
    for found in four(stepped, name, sizes, torch.float32):
        torch.testing.assert_close(found, one, rtol=1e-5, atol=2e-5)


def test_with_one_process_it_is_torchs_own():
    plain = nn.BatchNorm2d(3)
    synced = synchronise(copy.deepcopy(plain))
    x = torch.randn(4, 3, 5, 5)
    assert torch.equal(plain(x), synced(x))
    assert torch.equal(plain.eval()(x), synced.eval()(x))


def test_a_model_keeps_its_names_and_parameters():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(4)))
    before, weight = list(model.state_dict()), model[1].weight
    assert is_unsynced(model)
    synchronise(model)
    assert isinstance(model[1], SyncedBatchNorm)
    assert isinstance(model[2][0], SyncedBatchNorm)
    assert not is_unsynced(model)
    assert list(model.state_dict()) == before
    assert model[1].weight is weight


def by_differences(sizes: tuple[int, ...]) -> bool:
    """Whether the gradient of the layer is that of finite differences, for the rows of this process."""
    layer = synchronise(nn.BatchNorm1d(3, track_running_stats=False).double()).train()
    torch.manual_seed(0)
    whole, weight = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    start = sum(sizes[: distributed.rank()])
    own = slice(start, start + sizes[distributed.rank()])
    x = whole[own].clone().requires_grad_()
    (layer(x) * weight[own]).sum().backward()

    def value(of: Tensor) -> float:
        return float((nn.functional.batch_norm(of, None, None, layer.weight, layer.bias, True) * weight).sum())

    step = 1e-6
    for row in range(own.start, own.stop):
        for column in range(3):
            up, down = whole.clone(), whole.clone()
            up[row, column], down[row, column] = up[row, column] + step, down[row, column] - step
            slope = (value(up) - value(down)) / (2 * step)
            assert abs(slope - float(x.grad[row - own.start, column])) < 1e-7
    return True


def test_the_gradient_is_that_of_finite_differences(two):
    assert two(by_differences, (2, 3)) == [True, True]
