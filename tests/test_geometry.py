"""Every geometry: one sign, its formula by loops, leading dimensions, and gradients where rows coincide."""

import math

import pytest
import torch
from torch import Tensor

from likewise import geometry

NAMES = geometry.__all__


def rows(n: int, dim: int = 5, dtype=torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def spread(x: list[float]) -> float:
    """Sum of squares about the mean."""
    return sum((v - sum(x) / len(x)) ** 2 for v in x)


FORMULAS = {
    "cosine": lambda x, y: (
        sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    ),
    "dot": lambda x, y: sum(a * b for a, b in zip(x, y, strict=True)),
    "euclidean": lambda x, y: -math.dist(x, y),
    "sqeuclidean": lambda x, y: -(math.dist(x, y) ** 2),
    "manhattan": lambda x, y: -sum(abs(a - b) for a, b in zip(x, y, strict=True)),
    "snr": lambda x, y: -spread([b - a for a, b in zip(x, y, strict=True)]) / spread(x),
}


def test_every_geometry_has_its_formula_here():
    assert set(FORMULAS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_formula(name):
    x, y = rows(4), rows(6, seed=1)
    want = torch.tensor([[FORMULAS[name](a, b) for b in y.tolist()] for a in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(getattr(geometry, name)(x, y), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_slope(name):
    x, y = rows(3).requires_grad_(), rows(4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(getattr(geometry, name), (x, y))


@pytest.mark.parametrize("name", NAMES)
def test_leading_dimensions_broadcast(name):
    sim = getattr(geometry, name)
    x, y = rows(4), rows(12, seed=1).view(4, 3, 5)
    want = torch.stack([sim(x[i : i + 1], y[i])[0] for i in range(4)])
    torch.testing.assert_close(sim(x[:, None], y)[:, 0], want)


@pytest.mark.parametrize("name", NAMES)
def test_larger_is_closer(name):
    near, far = torch.tensor([[1.0, 0.1, 0.0]]), torch.tensor([[0.1, 0.2, 2.0]])
    x = torch.tensor([[1.0, 0.0, 0.0]])
    assert getattr(geometry, name)(x, near) > getattr(geometry, name)(x, far)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["cosine", "euclidean", "sqeuclidean", "manhattan", "snr"])
def test_coinciding_rows_and_zeros_have_a_finite_gradient(name, dtype):
    x = torch.cat([rows(3, dtype=dtype), rows(3, dtype=dtype), torch.zeros(2, 5, dtype=dtype)]).requires_grad_()
    sim_NN = getattr(geometry, name)(x, x)
    sim_NN.sum().backward()
    assert sim_NN.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 64, 1024])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_euclidean_is_exactly_zero_where_rows_coincide(dim, offset, dtype):
    x = (rows(64, dim, dtype) + offset).requires_grad_()
    distance_N = geometry.euclidean(x, x.detach().clone()).diagonal()
    distance_N.sum().backward()
    assert (distance_N == 0).all()
    assert (x.grad == 0).all()


def test_euclidean_far_from_the_origin_keeps_its_digits():
    x = rows(32, 16, torch.float32) + 1000
    exact = -torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(geometry.euclidean(x, x), exact.float(), rtol=1e-5, atol=2e-2)
    off_N = ~torch.eye(32, dtype=torch.bool)
    torch.testing.assert_close(geometry.euclidean(x, x)[off_N], exact.float()[off_N], rtol=1e-5, atol=1e-5)


def test_cosine_of_a_zero_vector_is_zero():
    x = torch.zeros(1, 4, requires_grad=True)
    sim = geometry.cosine(x, torch.ones(2, 4))
    sim.sum().backward()
    assert sim.tolist() == [[0.0, 0.0]]
    assert x.grad.isfinite().all()


def test_snr_by_hand():
    """x = (1, -1): signal 2; y - x = (1, 3), about its mean (-1, 1): noise 2."""
    assert geometry.snr(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 2.0]])).item() == pytest.approx(-1.0)
