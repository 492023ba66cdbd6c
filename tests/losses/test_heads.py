"""The heads: contract over every one, a value worked by hand and a loop each, and VICReg against its peer."""

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import VICRegLoss

from likewise import losses
from likewise.losses import PairLoss
from likewise.losses.heads import WeightedL1, logistic
from likewise.losses.heads import __all__ as NAMES
from likewise.losses.memory import Memory
from likewise.losses.terms import BatchContext

N, D, WIDTH, SHAPE = 8, 5, 7, (1, 3, 4)
LABELS = torch.arange(N // 2).repeat(2)  # two views of each image


def build(text):
    torch.manual_seed(3)
    loss = losses.build(text, dim=D, shape=SHAPE, width=WIDTH).double().eval()
    with torch.no_grad():  # away from the symmetric start, so that every parameter has a part to play
        for parameter in loss.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return loss


@pytest.fixture
def emb():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (N, *SHAPE), generator=generator, dtype=torch.uint8)
    return BatchContext(images=images, features=torch.randn(N, WIDTH, generator=generator, dtype=torch.float64))


# The contract.


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_is_a_finite_scalar_with_a_gradient_for_all_there_is(self, name, emb, batch):
        loss = build(name)
        value = loss(emb, LABELS, batch)
        value.backward()
        assert value.shape == ()
        assert value.isfinite()
        for moved in (emb, *loss.parameters()):
            assert moved.grad.isfinite().all()
            assert moved.grad.abs().sum() > 0

    def test_order_of_the_images_does_not_matter(self, name, emb, batch):
        half = torch.randperm(N // 2)
        order = torch.cat([half, half + N // 2])
        moved = BatchContext(images=batch.images[order], features=batch.features[order])
        loss = build(name)
        torch.testing.assert_close(loss(emb[order], LABELS[order], moved), loss(emb, LABELS, batch))

    def test_names_of_the_labels_do_not_matter(self, name, emb, batch):
        loss = build(name)
        torch.testing.assert_close(loss(emb, 10**9 - 7 * LABELS, batch), loss(emb, LABELS, batch))

    def test_a_point_is_finite(self, name, batch):
        emb = torch.ones(N, D, dtype=torch.float64, requires_grad=True)
        value = build(name)(emb, LABELS, batch)
        value.backward()
        assert value.isfinite()
        assert emb.grad.isfinite().all()

    def test_one_image_is_finite(self, name, batch):
        emb = torch.ones(2, D, dtype=torch.float64, requires_grad=True)
        few = BatchContext(images=batch.images[:2], features=batch.features[:2])
        value = build(name)(emb, torch.zeros(2, dtype=torch.long), few)
        value.backward()
        assert value.isfinite()
        assert emb.grad.isfinite().all()

    def test_takes_bfloat16(self, name, emb, batch):
        torch.manual_seed(0)
        loss, low = build(name).float(), emb.detach().bfloat16().requires_grad_()
        few = BatchContext(images=batch.images, features=batch.features.bfloat16())
        loss(low, LABELS, few).backward()
        assert low.grad.isfinite().all()

    def test_saved_state_brings_it_back(self, name, emb, batch):
        loss = build(name)
        other = losses.build(name, dim=D, shape=SHAPE, width=WIDTH).double().eval()
        other.load_state_dict(loss.state_dict())
        torch.testing.assert_close(other(emb, LABELS, batch), loss(emb, LABELS, batch), rtol=0, atol=0)

    def test_chance_is_a_number_or_unknown(self, name):
        chance = build(name).at_collapse()
        assert chance is None or (math.isfinite(chance) and chance > 0)


@pytest.mark.parametrize("name", ["siamese_bce", "vae"])
def test_another_width_names_both(name, emb, batch):
    with pytest.raises(ValueError, match=rf"{name} was built with dim=5, the embedding is \[8, 1\]"):
        build(name)(emb[:, :1], LABELS, batch)


# The siamese network.


def loop_siamese(loss, emb):
    weight, bias = loss.sim.weight, loss.sim.bias
    same, other = [], []
    for i in range(N):
        for j in range(N):
            if i == j:
                continue
            p = torch.sigmoid((weight * (emb[i] - emb[j]).abs()).sum() + bias)
            if LABELS[i] == LABELS[j]:
                same.append(-p.log())
            else:
                other.append(-(1 - p).log())
    return (sum(same) / len(same) + sum(other) / len(other)) / 2


def assert_same(ours, expected, moved):
    torch.testing.assert_close(ours.detach(), expected.detach(), rtol=1e-10, atol=1e-12)
    grads = torch.autograd.grad(ours, moved), torch.autograd.grad(expected, moved)
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_siamese_equals_the_loop_over_pairs(emb):
    loss = build("siamese_bce")
    loss.sim.weight.data[0] = 0.3  # a weight of either sign
    assert_same(loss(emb, LABELS), loop_siamese(loss, emb), [emb, *loss.parameters()])


def test_siamese_by_hand():
    loss = losses.build("siamese_bce", dim=2)
    with torch.no_grad():
        loss.sim.weight.copy_(torch.tensor([-1.0, 2.0]))
        loss.sim.bias.fill_(0.5)
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 2.0]])  # -1 * 3 + 2 * 1 + 0.5
    assert loss.probability(a, b).item() == pytest.approx(1 / (1 + math.exp(0.5)))
    value = loss(torch.cat([a, b]), torch.tensor([4, 4])).item()
    assert value == pytest.approx(math.log(1 + math.exp(0.5)) / 2)


def test_siamese_starts_where_each_difference_lowers_the_similarity():
    """-1/4 of each of 16 differences, and no bias: an image and itself are as probable as not."""
    fresh = WeightedL1(16)
    x_D = torch.arange(16.0)
    assert fresh(x_D[None], torch.stack([x_D, x_D + 1, -x_D])).tolist() == [[0.0, -4.0, -60.0]]


def test_siamese_is_symmetric(emb):
    loss = build("siamese_bce")
    a, b = emb[: N // 2], emb[N // 2 :]
    torch.testing.assert_close(loss.probability(a, b), loss.probability(b, a), rtol=0, atol=1e-15)
    like = loss.sim(emb, emb)
    torch.testing.assert_close(like, like.T, rtol=0, atol=1e-14)


def test_siamese_probability_is_what_it_was_trained_on(emb):
    loss = build("siamese_bce")
    for same in (0, 1):  # of these two rows, either the same label or not
        p = loss.probability(emb[:1], emb[1:2])
        expected = -(p if same else 1 - p).log() / 2
        torch.testing.assert_close(loss(emb[:2], torch.tensor([0, 1 - same])), expected[0])


def test_siamese_partners_are_compared_with_their_anchor_only(emb):
    loss = build("siamese_bce")
    labels = torch.tensor([0, 1, 2, 3, 0, 9, 2, 9])
    p = loss.probability(emb[:4], emb[4:])
    expected = (-(p[[0, 2]].log().mean()) - (1 - p[[1, 3]]).log().mean()) / 2
    assert_same(loss(emb, labels, BatchContext(partners=1)), expected, [emb, *loss.parameters()])


def test_siamese_tiles_and_remembers(emb):
    loss = build("siamese_bce")
    tiled = PairLoss(logistic, sim=loss.sim, tile=3)
    assert_same(tiled(emb, LABELS), loss(emb, LABELS), [emb, *loss.parameters()])
    remembering = losses.build("siamese_bce", dim=D, memory=16)
    assert isinstance(remembering.references, Memory)


def test_siamese_chance_is_where_the_head_knows_nothing(emb):
    loss = build("siamese_bce")
    with torch.no_grad():
        loss.sim.weight.zero_()
        loss.sim.bias.zero_()
    assert loss(emb, LABELS).item() == pytest.approx(loss.at_collapse()) == pytest.approx(math.log(2))


def test_siamese_learns_what_tells_labels_apart():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    emb = torch.randn(40, 6, generator=generator)
    emb[:, 0] = labels.float() * 2
    loss = losses.build("siamese_bce", dim=6)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.2)
    for _ in range(80):
        optimizer.zero_grad()
        value = loss(emb, labels)
        value.backward()
        optimizer.step()
    assert value < 0.1
    assert loss.sim.weight[0] == loss.sim.weight.min()


# The variational autoencoder.


def test_vae_equals_the_bound_written_with_distributions(emb, batch):
    loss = build("vae(beta=0.7)")
    variance = loss.log_variance(batch.features).exp()
    posterior = torch.distributions.Normal(emb, variance.sqrt())
    prior = torch.distributions.Normal(torch.zeros_like(emb), 1.0)
    kl = torch.distributions.kl_divergence(posterior, prior).sum()
    drawn = torch.distributions.Bernoulli(logits=loss.decoder(emb), validate_args=False)
    likelihood = drawn.log_prob(batch.images.flatten(1).double() / 255).sum()
    assert_same(loss(emb, LABELS, batch), (0.7 * kl - likelihood) / N, [emb, *loss.parameters()])


def test_vae_by_hand():
    loss = losses.build("vae(likelihood='gaussian')", dim=1, shape=(1, 1, 2), width=1).eval()
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.zero_()
        loss.decoder[-1].bias.copy_(torch.tensor([1.0, 2.0]))
        loss.log_variance.bias.fill_(math.log(4))
    batch = BatchContext(images=torch.tensor([[[[3.0, 2.0]]]]), features=torch.ones(1, 1))
    # half of (1 - 3)^2, and half of 3^2 + 4 - 1 - ln 4
    assert loss(torch.tensor([[3.0]]), LABELS[:1], batch).item() == pytest.approx(2 + (12 - math.log(4)) / 2)
    assert batch.notes["reconstruction"].item() == pytest.approx(2)


def test_vae_draws_around_the_mean_in_training_with_the_learned_spread(batch):
    loss = build("vae").train()
    with torch.no_grad():
        loss.log_variance.weight.zero_()
        loss.log_variance.bias.fill_(math.log(0.25))
    seen = []
    loss.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    mean = torch.full((N, D), 3.0, dtype=torch.float64)
    for _ in range(200):
        loss(mean, LABELS, batch)
    drawn = torch.cat(seen)
    assert drawn.mean().item() == pytest.approx(3, abs=0.05)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.05)


def test_vae_decodes_to_pictures(emb):
    pictures = build("vae").decode(emb)
    assert pictures.shape == (N, *SHAPE)
    assert ((pictures > 0) & (pictures < 1)).all()


def test_vae_says_what_it_lacks(emb, batch):
    loss = build("vae")
    with pytest.raises(ValueError, match="needs the images and the features"):
        loss(emb, LABELS)
    with pytest.raises(ValueError, match=r"\(1, 3, 4\).*\(1, 4, 3\)"):
        loss(emb, LABELS, BatchContext(images=batch.images.mT, features=batch.features))
    with pytest.raises(ValueError, match=r"pixels in \[0, 1\]"):
        loss(emb, LABELS, BatchContext(images=batch.images.double() - 1, features=batch.features))
    with pytest.raises(ValueError, match="got 'poisson'"):
        losses.build("vae(likelihood='poisson')", dim=D, shape=SHAPE, width=WIDTH)
    with pytest.raises(ValueError, match="vae needs shape: give it to build"):
        losses.build("vae", dim=D, width=WIDTH)


# Two views, no negatives.


def loop_vicreg(a, b):
    n, d = a.shape
    total = 25 * sum((a[i, k] - b[i, k]) ** 2 for i in range(n) for k in range(d)) / (n * d)
    for view in (a, b):
        mean = [sum(view[i, k] for i in range(n)) / n for k in range(d)]
        for k in range(d):
            for m in range(d):
                cov = sum((view[i, k] - mean[k]) * (view[i, m] - mean[m]) for i in range(n)) / (n - 1)
                missing = 25 * torch.relu(1 - (cov + 1e-4).sqrt()) / 2
                total = total + (missing if k == m else cov**2) / d
    return total


def loop_barlow(a, b):
    n, d = a.shape
    total = 0
    for k in range(d):
        for m in range(d):
            x, y = a[:, k] - a[:, k].mean(), b[:, m] - b[:, m].mean()
            corr = sum(x[i] * y[i] for i in range(n)) / n
            corr = corr / (((x**2).mean() + 1e-5) * ((y**2).mean() + 1e-5)).sqrt()
            total = total + ((1 - corr) ** 2 if k == m else 0.0051 * corr**2)
    return total


@pytest.mark.parametrize(("name", "loop"), [("vicreg", loop_vicreg), ("barlow", loop_barlow)])
def test_two_views_equal_the_loop(name, loop, emb):
    assert_same(build(name)(emb, LABELS), loop(emb[: N // 2], emb[N // 2 :]), [emb])


def test_vicreg_agrees_with_pytorch_metric_learning(emb):
    theirs = VICRegLoss()(emb[: N // 2], ref_emb=emb[N // 2 :])
    assert_same(build("vicreg")(emb, LABELS), theirs, [emb])


def test_vicreg_by_hand():
    # Both views (0, 0) and (2, 2): no variance missing (std sqrt(2)), covariance 2 off the diagonal, twice, over D = 2.
    emb = torch.tensor([[0.0, 0.0], [2.0, 2.0]]).repeat(2, 1)
    assert losses.build("vicreg")(emb, torch.tensor([0, 1, 0, 1])).item() == pytest.approx(2 * (2 * 4 / 2))


def test_barlow_by_hand():
    # One dimension twice: every correlation is 1, so only the two off the diagonal cost.
    emb = torch.tensor([[-9.0, -9.0], [9.0, 9.0]]).repeat(2, 1)
    value = losses.build("barlow(redundancy=0.1)", dim=2)(emb, torch.tensor([0, 1, 0, 1])).item()
    assert value == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("name", ["vicreg", "barlow"])
def test_views_that_collapse_stand_at_chance(name):
    loss = build(name)
    assert loss(torch.ones(N, D), LABELS).item() == pytest.approx(loss.at_collapse(), rel=1e-5)


@pytest.mark.parametrize("name", ["vicreg", "barlow"])
def test_partners_are_views(name, emb):
    labels = torch.arange(N // 2).repeat(2)
    loss = build(name)
    torch.testing.assert_close(loss(emb, labels, BatchContext(partners=1)), loss(emb, labels))


@pytest.mark.parametrize(
    ("labels", "partners"),
    [(torch.arange(N), 0), (torch.zeros(7, dtype=torch.long), 0), (torch.zeros(6, dtype=torch.long), 2)],
    ids=["other labels", "odd", "triplets"],
)
@pytest.mark.parametrize("name", ["vicreg", "barlow"])
def test_what_is_not_two_views_is_an_error(name, labels, partners, emb):
    with pytest.raises(ValueError, match=f"batch of {len(labels)} with partners={partners}"):
        build(name)(emb[: len(labels)], labels, BatchContext(partners=partners))


def test_softplus_of_the_logistic_rule_is_exact_far_out():
    sim = torch.tensor([[25.0, -25.0]], dtype=torch.float64)
    pull, push = logistic(sim, sim > 0, sim < 0)
    assert pull.total.item() == push.total.item() == pytest.approx(0.5 * math.log1p(math.exp(-25)), rel=1e-12)
    assert F.softplus(torch.tensor(25.0)).item() == 25.0
