"""Faults of numbers that were seen once, each with its right value; the kind is looked for over every member."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from likewise import geometry, losses, spec
from likewise.embeddings import Embeddings
from likewise.evaluate import evaluate
from likewise.metrics import classification, clustering, verification
from likewise.metrics import neighbours as N
from likewise.viz import projection


def angular_by_loops(x_ND: torch.Tensor, labels_N: torch.Tensor, alpha: float) -> torch.Tensor:
    tan2, sim_NN = math.tan(math.radians(alpha)) ** 2, x_ND @ x_ND.T
    terms = []
    for a in range(len(x_ND)):
        other = labels_N != labels_N[a]
        for p in range(len(x_ND)):
            if a != p and labels_N[a] == labels_N[p]:
                far = (4 * tan2 * (sim_NN[a, other] + sim_NN[p, other])).logsumexp(0)
                terms.append(F.softplus(far - 2 * (1 + tan2) * sim_NN[a, p]))
    return torch.stack(terms).mean()


@pytest.mark.parametrize(
    ("alpha", "length"), [(40.0, 0.0), (40.0, 1.0), (40.0, 6.0), (55.0, 0.0), (75.0, 1.0), (80.0, 1.0)]
)
def test_angular_is_the_loop_whatever_the_lengths(alpha, length):
    """length 0: as drawn, from N(0, 1) in 64 dimensions, where products of exponentials underflow."""
    x = torch.randn(12, 64, generator=torch.Generator().manual_seed(0))
    x = F.normalize(x) * length if length else x
    labels = torch.arange(6).repeat_interleave(2)
    ours, loops = (x.clone().requires_grad_() for _ in range(2))
    value = losses.build(f"angular(alpha={alpha})", sim="dot")(ours, labels)
    wanted = angular_by_loops(loops.double(), labels, alpha)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-4)
    value.backward()
    wanted.backward()
    torch.testing.assert_close(ours.grad, loops.grad.float(), rtol=1e-3, atol=1e-4 * float(loops.grad.abs().max()))


def test_angular_of_one_class_is_nothing():
    x = torch.randn(12, 64, requires_grad=True)
    value = losses.build("angular", sim="dot")(x, torch.zeros(12, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert not x.grad.any()


@pytest.mark.parametrize("sim", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize(
    "name", [n for n in spec.names("loss") if losses.build and n not in ("vae", "sum", "matryoshka")]
)
def test_long_vectors_have_a_finite_gradient(name, sim):
    """The kind of the angular loss: an exponential of what a mask leaves out."""
    x = (100 * torch.randn(12, 8, generator=torch.Generator().manual_seed(1))).requires_grad_()
    settings = {"dim": 8, "classes": 6, "shape": (1, 4, 4), "width": 8, "counts": [2] * 6, "teacher": 8}
    batch = losses.BatchContext(partners=int(name in ("barlow", "vicreg", "siamese_bce")), teacher=x.detach().sin())
    loss = losses.build(name, sim=sim, **settings)
    value = loss(x, torch.arange(6).repeat(2), batch)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


COSINE = ["supcon", "ntxent", "triplet", "multi_similarity", "normalized_softmax", "arcface", "proxy_anchor", "circle"]


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-15])
@pytest.mark.parametrize("name", COSINE)
def test_a_zero_vector_takes_no_gradient_and_leaves_the_others_alone(name, length):
    torch.manual_seed(0)
    emb = torch.randn(8, 6)
    emb[0] = length
    emb.requires_grad_()
    losses.build(name, dim=6, classes=4)(emb, torch.arange(8) % 4).backward()
    assert not emb.grad[0].any()
    assert emb.grad.abs().max() < 1e3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_of_a_zero_vector_is_0_without_gradient(dtype):
    x = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    sim = geometry.cosine(x, torch.eye(3, dtype=dtype))
    sim.sum().backward()
    assert not sim.any()
    assert not x.grad.any()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["accuracy", "f1", "far=0.1", "precision=0.8"])
def test_of_equally_good_thresholds_the_strictest_is_taken(target):
    """Counted in whole numbers, so that rounding decides nothing."""
    for seed in range(300):
        g = torch.Generator().manual_seed(seed)
        n = int(torch.randint(4, 60, (1,), generator=g))
        same = torch.rand(n, generator=g) < 0.5
        same[0], same[1] = True, False
        score = (torch.rand(n, generator=g) + 0.4 * same).round(decimals=1 + seed % 3)
        curve = verification.roc(score, same)
        at = float(verification.threshold(curve, target, float(same.double().mean())))
        assert at == strictest(score, same, curve.threshold.tolist(), target), seed


def strictest(score, same, thresholds, target):
    def merit(at):
        accepted = score >= at
        right, wrong = int((accepted & same).sum()), int((accepted & ~same).sum())
        positives, negatives = int(same.sum()), int((~same).sum())
        if target == "accuracy":
            return right + negatives - wrong
        if target == "f1":  # exact: as a fraction, scaled by what all share
            return 2 * right / (right + wrong + positives)
        if target == "far=0.1":
            return right if 10 * wrong <= negatives else -1
        return right if 10 * right >= 8 * (right + wrong) and right + wrong else -1

    best = max(map(merit, thresholds))
    return max(at for at in thresholds if merit(at) == pytest.approx(best, abs=1e-12))


@pytest.mark.parametrize("sim", [geometry.cosine, geometry.euclidean, geometry.dot, geometry.manhattan])
def test_equal_references_tie_whatever_the_tile(sim):
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        y = torch.randn(8, 32, generator=g)[torch.randint(8, (90,), generator=g)]
        x = torch.randn(3, 32, generator=g)
        near = N.nearest(x, y, 90, sim=sim)
        for tile in (7, 64, 100):
            assert torch.equal(near.place, N.nearest(x, y, 90, sim=sim, tile=tile).place)
        for row, sims in zip(near.place, near.sim, strict=True):
            for a, b, s, t in zip(row, row[1:], sims, sims[1:], strict=False):
                assert not torch.equal(y[a], y[b]) or (s == t and a < b)


def test_davies_bouldin_of_many_classes_is_scikit_learns_without_their_square():
    from sklearn.metrics import davies_bouldin_score

    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 37
    x = torch.randn(37, 5, generator=g)[labels] + 0.3 * torch.randn(400, 5, generator=g)
    for tile in (10, 1000, 2**21):
        ours = clustering.davies_bouldin(x, labels, tile=tile)
        assert ours == pytest.approx(davies_bouldin_score(x.double().numpy(), labels.numpy()), rel=1e-9)
    assert clustering.davies_bouldin(torch.ones(6, 3), torch.arange(6) % 3) == 0


def test_the_probe_sees_every_class():
    g = torch.Generator().manual_seed(4)
    labels = torch.zeros(20_000, dtype=torch.long)
    labels[[17, 9000, 15000]] = 1
    x = torch.randn(20_000, 4, generator=g) + 3 * labels[:, None]
    assert classification.probe(x, labels).classes_.tolist() == [0, 1]
    parts = (torch.full((20,), 2, dtype=torch.uint8), torch.zeros(20_000, dtype=torch.uint8))
    query = Embeddings(
        torch.randn(20, 4, generator=g), torch.arange(20) % 2, tuple(map(str, range(20))), parts[0], ("a", "b")
    )
    reference = Embeddings(x, labels, tuple(f"t{i}" for i in range(20_000)), parts[1], ("a", "b"))
    assert "probe" in evaluate(query, reference)


@pytest.mark.slow
@pytest.mark.parametrize("vectors", ["np.ones((40, 10))", "np.tile(np.arange(64.), (90, 1))"])
@pytest.mark.parametrize("method", ["tsne", "umap", "pca"])
def test_a_collapsed_embedding_has_a_map(method, vectors):
    """In a process of its own, which it once killed."""
    script = (
        "import numpy as np\nfrom likewise.viz.projection import METHODS\n"
        f"x = METHODS[{method!r}]({vectors})\nassert x.shape[1] == 2 and np.isfinite(x).all()\n"
        "assert not np.ptp(x, 0).any()"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_nearly_all_the_same_has_a_map_too():
    x = np.ones((40, 10))
    x[3] += 1e-9
    assert np.isfinite(projection.tsne(x)).all()
