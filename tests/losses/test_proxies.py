"""Every rule over class proxies keeps the contract, equals a loop written here, and agrees with its peer."""

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as pml

from likewise import geometry, losses
from likewise.losses import ProxyLoss, angle, proxies
from likewise.losses.terms import BatchContext, Terms, reduce

N, D, C = 12, 6, 4
COUNTS = [40, 3, 1, 7]
LABELS = torch.arange(N) % C
NAMES = proxies.__all__


def build(text, classes=C, dim=D, **given):
    torch.manual_seed(3)
    return losses.build(text, classes=classes, dim=dim, counts=COUNTS[:classes], **given)


@pytest.fixture
def emb():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def gradients(loss, emb, labels=LABELS):
    value = loss(emb, labels)
    return value.detach(), *torch.autograd.grad(value, [emb, *loss.parameters()])


# The contract.


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_is_a_finite_scalar_that_moves_the_embedding_and_the_proxies(self, name, emb):
        value, *grads = gradients(build(name), emb)
        assert value.shape == ()
        assert value.isfinite()
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in grads)

    def test_order_of_the_batch_does_not_matter(self, name, emb):
        loss, order = build(name), torch.randperm(N)
        torch.testing.assert_close(loss(emb, LABELS), loss(emb[order], LABELS[order]))

    def test_names_of_the_classes_do_not_matter(self, name, emb):
        loss, new = build(name).double(), torch.tensor([2, 0, 3, 1])
        before = loss(emb, LABELS)
        with torch.no_grad():
            rows = loss.proxies.unflatten(0, (C, -1)).clone()
            loss.proxies.unflatten(0, (C, -1))[new] = rows
            if loss.counts is not None:
                loss.counts[new] = loss.counts.clone()
        torch.testing.assert_close(loss(emb, new[LABELS]), before)

    def test_it_falls_when_it_is_followed(self, name):
        loss = build(name)
        emb = torch.randn(N, D, generator=torch.Generator().manual_seed(4)).requires_grad_()
        optimizer = torch.optim.Adam([emb, *loss.parameters()], lr=0.05)
        values = []
        for _ in range(60):
            values.append(loss(emb, LABELS))
            optimizer.zero_grad()
            values[-1].backward()
            optimizer.step()
        assert values[-1] < values[0]
        if name != "center_loss":
            nearest = loss.sim(emb, loss.proxies).unflatten(1, (C, -1)).amax(-1).argmax(1)
            assert (nearest == LABELS).float().mean() > 0.9

    def test_several_proxies_a_class(self, name, emb):
        loss = build(f"{name}(centres=3)")
        assert loss.proxies.shape == (3 * C, D)
        value, *grads = gradients(loss, emb)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in grads)

    def test_one_hot_labels_are_labels(self, name, emb):
        loss = build(name)
        torch.testing.assert_close(loss(emb, F.one_hot(LABELS, C)), loss(emb, LABELS))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_takes_embeddings_of_lower_precision(self, name, dtype, emb):
        loss = build(name)
        low = emb.detach().to(dtype).requires_grad_()
        value = loss(low, LABELS)
        value.backward()
        torch.testing.assert_close(value.double(), loss(emb, LABELS), rtol=0.05, atol=0.05)
        assert low.grad.dtype == dtype
        assert low.grad.isfinite().all()

    def test_autocast_does_not_make_it_coarser(self, name, emb):
        loss, emb = build(name), emb.detach().float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(emb, LABELS)
        torch.testing.assert_close(value, loss(emb, LABELS), rtol=0, atol=0)

    def test_one_class_and_one_row_are_finite(self, name):
        loss, emb = build(name, classes=1), torch.ones(1, D, requires_grad=True)
        value, *grads = gradients(loss, emb, torch.zeros(1, dtype=torch.long))
        assert value.isfinite()
        assert all(g.isfinite().all() for g in grads)

    def test_rows_at_their_proxy_opposite_it_and_at_zero_have_a_finite_gradient(self, name):
        loss = build(name)
        rows = loss.proxies.detach()[: 3 * loss.centres : loss.centres]
        emb = torch.stack([rows[0], -rows[1], rows[2] * 0]).requires_grad_()
        value, *grads = gradients(loss, emb, torch.arange(3))
        assert value.isfinite()
        assert all(g.isfinite().all() for g in grads)

    def test_saved_state_brings_it_back(self, name, emb):
        loss = build(name)
        other = losses.build(name, classes=C, dim=D, counts=[1] * C)
        other.load_state_dict(loss.state_dict())
        torch.testing.assert_close(other(emb, LABELS), loss(emb, LABELS), rtol=0, atol=0)

    def test_its_parameters_are_the_optimizers_to_take(self, name):
        loss = build(f"{name}(lr_scale=100)")
        assert any(p is loss.proxies for p in loss.parameters())
        assert loss.lr_scale == 100

    def test_no_point_collapse_is_below_chance(self, name):
        loss = build(name)
        with torch.no_grad():
            loss.proxies.copy_(torch.ones_like(loss.proxies))
        collapsed = torch.ones(N, D)
        at_collapse = loss.at_collapse(LABELS)
        assert math.isfinite(at_collapse)
        assert loss(collapsed, LABELS) >= at_collapse - 1e-4 * max(1, abs(at_collapse))

    def test_leaves_notes_for_the_progress_line(self, name, emb):
        batch = BatchContext()
        build(name)(emb, LABELS, batch)
        assert set(batch.notes) == {"active", "empty"}
        assert batch.notes["empty"] == 0

    def test_a_wrong_width_names_both(self, name):
        with pytest.raises(ValueError, match=r"dim=6.*\[12, 5\]"):
            build(name)(torch.randn(N, 5), LABELS)

    @pytest.mark.parametrize(("label", "seen"), [(C, "0 to 4"), (-1, "-1 to 3")])
    def test_a_label_without_proxy_names_both(self, name, label, seen):
        labels = LABELS.clone()
        labels[5] = label
        with pytest.raises(ValueError, match=f"labels run from {seen}.*classes=4"):
            build(name)(torch.randn(N, D), labels)

    @pytest.mark.parametrize("missing", ["classes", "dim"])
    def test_a_forgotten_size_is_named(self, name, missing):
        with pytest.raises(ValueError, match=f"{missing}=None"):
            losses.build(name, **{"classes": C, "dim": D, missing: None})


def test_of_several_proxies_the_nearest_counts(emb):
    torch.testing.assert_close(build("arcface(centres=3)")(emb, LABELS), build("subcenter_arcface")(emb, LABELS))


def test_a_row_without_class_counts_for_nothing_where_labels_cannot_be_looked_at(emb, monkeypatch):
    loss = build("softmax")
    monkeypatch.setattr(loss, "check", lambda *_: None)
    labels = LABELS.clone()
    labels[5] = 99
    keep = torch.arange(N) != 5
    torch.testing.assert_close(loss(emb, labels), loss(emb[keep], labels[keep]))


def test_several_positive_classes_are_averaged(emb):
    several = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]])
    loss = build("softmax")
    alone = [loss(emb[[row]], torch.tensor([label])) for row, label in [(0, 0), (0, 1), (1, 3)]]
    torch.testing.assert_close(loss(emb[:2], several), sum(alone) / 3)


def test_multi_hot_labels_of_another_width_are_an_error(emb):
    with pytest.raises(ValueError, match=r"classes=4.*\[12, 5\]"):
        build("softmax")(emb, torch.ones(N, 5, dtype=torch.long))


def test_class_counts_are_asked_for():
    with pytest.raises(ValueError, match="classes=4; none were given"):
        losses.build("dynamic_arcface", classes=C, dim=D)
    with pytest.raises(ValueError, match="classes=4; 3 were given"):
        losses.build("dynamic_arcface", classes=C, dim=D, counts=[1, 2, 3])


def test_a_rule_over_pairs_is_none_over_proxies():
    def mine(sim_NM, pos_NM, neg_NM):
        return Terms(sim_NM.sum(-1), pos_NM.sum(-1))

    with pytest.raises(ValueError, match="mine is not a rule over class proxies"):
        ProxyLoss(mine, classes=C, dim=D)


def test_sphereface_multiplies_by_a_whole_number(emb):
    with pytest.raises(ValueError, match=r"margin=1\.5"):
        build("sphereface(margin=1.5)")(emb, LABELS)


# One value each, worked by hand: an embedding at a known angle to two or three proxies.

HALF, SIXTY = 0.5, math.pi / 3
SIM = torch.tensor([[HALF, 0.0]], dtype=torch.float64)
POS = torch.tensor([[True, False]])


def value(rule, sim=SIM, pos=POS, **given):
    result = rule(sim, pos, ~pos, **given)
    return reduce((result,) if isinstance(result, Terms) else result).item()


def two_way(target, other=0.0):
    return math.log(1 + math.exp(other - target))


BY_HAND = {
    "softmax": (proxies.softmax, {"bias_C": torch.tensor([0.0, 1.0])}, two_way(0.5, 1)),
    "normalized_softmax": (proxies.normalized_softmax, {"scale": 2.0}, two_way(1)),
    "cosface": (proxies.cosface, {"scale": 2.0, "margin": 0.25}, two_way(0.5)),
    "arcface": (proxies.arcface, {"scale": 2.0, "margin": math.pi / 6}, two_way(0)),
    "arcface-easy": (proxies.arcface, {"scale": 2.0, "margin": math.pi / 6, "easy": True}, two_way(0)),
    "arcface-beyond": (
        proxies.arcface,
        {"scale": 1.0, "margin": 5 * math.pi / 6},
        two_way(0.5 - 5 * math.pi / 6 * 0.5),
    ),
    "dynamic_arcface": (
        proxies.dynamic_arcface,
        {"counts_C": torch.tensor([16, 1]), "scale": 2.0, "a": 2 * (math.pi / 6 - 0.05), "b": 0.05},
        two_way(0),
    ),
    "sphereface": (proxies.sphereface, {"norm_N": torch.tensor([3.0]), "margin": 2}, two_way(-1.5)),
    "sphereface-4": (proxies.sphereface, {"norm_N": torch.tensor([2.0]), "margin": 4}, two_way(2 * (0.5 - 2))),
    "proxy_nca": (proxies.proxy_nca, {"scale": 3.0}, -3.0),
    "proxy_nca_pp": (proxies.proxy_nca_pp, {"temperature": 0.5}, two_way(2)),
    "center_loss": (proxies.center_loss, {}, -0.25),
    "p2sgrad": (proxies.p2sgrad, {}, 0.125),
    "proxy_anchor": (
        proxies.proxy_anchor,
        {"margin": 0.5, "alpha": 2.0},
        math.log(2) + (0 + math.log(1 + math.e)) / 2,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_value_worked_by_hand(name):
    rule, given, expected = BY_HAND[name]
    assert value(rule, **given) == pytest.approx(expected, abs=1e-7)


def test_subcenter_arcface_by_hand_takes_the_nearest():
    sim = torch.tensor([[-1.0, HALF, 0.0, -1.0]], dtype=torch.float64)
    pos = torch.tensor([[True, True, False, False]])
    assert value(proxies.subcenter_arcface, sim, pos, centres=2, scale=2.0, margin=math.pi / 6) == pytest.approx(
        two_way(0)
    )


def test_soft_triple_by_hand():
    # Proxies at 0.5 and 0.5: the mixture is 0.5. Two orthogonal unit proxies a class lie sqrt(2) apart, halved.
    sim = torch.tensor([[HALF, HALF, 0.0, 0.0]], dtype=torch.float64)
    pos = torch.tensor([[True, True, False, False]])
    weights = torch.eye(2, dtype=torch.float64).repeat(2, 1)
    got = value(proxies.soft_triple, sim, pos, proxies_MD=weights, centres=2, scale=2.0, margin=0.25, merge=0.2)
    assert got == pytest.approx(two_way(0.5) + 0.2 * math.sqrt(2) / 2)


# Explicit loops, in float64, of value and gradient.


def cos(a, b):
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()


def cross_entropy(logits, target):
    return -(logits[target].exp() / sum(x.exp() for x in logits)).log()


def turned(c, margin):
    at = c.acos()
    return (at + margin).cos() if at <= math.pi - margin else c - margin * math.sin(margin)


def loop_margin(loss, emb, change, scale):
    total = 0
    for e, y in zip(emb, LABELS.tolist(), strict=True):
        logits = [cos(e, w) for w in loss.proxies]
        logits[y] = change(logits[y], y)
        total = total + cross_entropy([scale * x for x in logits], y)
    return total / N


def loop_softmax(loss, emb):
    rows = [
        cross_entropy([(e * w).sum() + b for w, b in zip(loss.proxies, loss.bias, strict=True)], y)
        for e, y in zip(emb, LABELS.tolist(), strict=True)
    ]
    return sum(rows) / N


def loop_sphereface(loss, emb):
    total = 0
    for e, y in zip(emb, LABELS.tolist(), strict=True):
        logits = [cos(e, w) for w in loss.proxies]
        at = logits[y].acos()
        k = math.floor(4 * at.item() / math.pi)
        logits[y] = (-1) ** k * (4 * at).cos() - 2 * k
        total = total + cross_entropy([e.square().sum().sqrt() * x for x in logits], y)
    return total / N


def squared(e, w):
    return (e / e.norm() - w / w.norm()).square().sum()


def loop_proxy_nca(loss, emb, scale=8.0):
    total = 0
    for e, y in zip(emb, LABELS.tolist(), strict=True):
        near = [(-scale * squared(e, w)).exp() for w in loss.proxies]
        total = total - (near[y] / sum(x for c, x in enumerate(near) if c != y)).log()
    return total / N


def loop_proxy_nca_pp(loss, emb):
    rows = [
        cross_entropy([-9 * squared(e, w) for w in loss.proxies], y) for e, y in zip(emb, LABELS.tolist(), strict=True)
    ]
    return sum(rows) / N


def loop_proxy_anchor(loss, emb):
    pull, push = [], []
    for c, w in enumerate(loss.proxies):
        near = [(32 * (0.1 - cos(e, w))).exp() for e, y in zip(emb, LABELS.tolist(), strict=True) if y == c]
        far = [(32 * (0.1 + cos(e, w))).exp() for e, y in zip(emb, LABELS.tolist(), strict=True) if y != c]
        pull += [(1 + sum(near)).log()] if near else []
        push += [(1 + sum(far)).log()]
    return sum(pull) / len(pull) + sum(push) / len(push)


def loop_soft_triple(loss, emb):
    centres = loss.proxies.unflatten(0, (C, 10))
    total, spread = 0, 0
    for e, y in zip(emb, LABELS.tolist(), strict=True):
        logits = []
        for group in centres:
            near = [cos(e, w) for w in group]
            weights = [(x / 0.1).exp() for x in near]
            logits.append(sum(a * x for a, x in zip(weights, near, strict=True)) / sum(weights))
        logits[y] = logits[y] - 0.01
        total = total + cross_entropy([20 * x for x in logits], y)
    for group in centres:
        for s in range(10):
            for t in range(s):
                spread = spread + (2 - 2 * cos(group[s], group[t])).sqrt()
    return total / N + 0.2 * spread / (C * 10 * 9)


def loop_center_loss(loss, emb):
    return sum((e - loss.proxies[y]).square().sum() / 2 for e, y in zip(emb, LABELS.tolist(), strict=True)) / N


def loop_p2sgrad(loss, emb):
    return (
        sum(
            (cos(e, w) - float(c == y)) ** 2 / 2
            for e, y in zip(emb, LABELS.tolist(), strict=True)
            for c, w in enumerate(loss.proxies)
        )
        / N
    )


def loop_subcenter_arcface(loss, emb):
    total = 0
    for e, y in zip(emb, LABELS.tolist(), strict=True):
        logits = [max(cos(e, w) for w in group) for group in loss.proxies.unflatten(0, (C, 3))]
        logits[y] = turned(logits[y], 0.5)
        total = total + cross_entropy([64 * x for x in logits], y)
    return total / N


LOOPS = {
    "softmax": loop_softmax,
    "normalized_softmax": lambda loss, emb: loop_margin(loss, emb, lambda c, y: c, 20),
    "cosface": lambda loss, emb: loop_margin(loss, emb, lambda c, y: c - 0.35, 64),
    "arcface": lambda loss, emb: loop_margin(loss, emb, lambda c, y: turned(c, 0.5), 64),
    "arcface(margin=1.5)": lambda loss, emb: loop_margin(loss, emb, lambda c, y: turned(c, 1.5), 64),
    "arcface(easy=True)": lambda loss, emb: loop_margin(loss, emb, lambda c, y: turned(c, 0.5) if c > 0 else c, 64),
    "subcenter_arcface": loop_subcenter_arcface,
    "dynamic_arcface": lambda loss, emb: loop_margin(
        loss, emb, lambda c, y: turned(c, 0.5 / COUNTS[y] ** 0.25 + 0.05), 64
    ),
    "sphereface": loop_sphereface,
    "proxy_nca": loop_proxy_nca,
    "proxy_nca_pp": loop_proxy_nca_pp,
    "proxy_anchor": loop_proxy_anchor,
    "soft_triple": loop_soft_triple,
    "center_loss": loop_center_loss,
    "p2sgrad": loop_p2sgrad,
}


def test_every_rule_has_a_loop():
    assert {name.split("(")[0] for name in LOOPS} == set(NAMES)


@pytest.mark.parametrize("text", LOOPS)
def test_equals_the_loop(text, emb):
    loss = build(text).double()
    value, *grads = gradients(loss, emb)
    expected = LOOPS[text](loss, emb)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        tuple(grads), torch.autograd.grad(expected, [emb, *loss.parameters()]), rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("margin", [0.3, 2.0])
def test_arcface_gradient_is_the_true_one_at_every_angle(margin):
    at = torch.linspace(0.01, math.pi - 0.01, 40, dtype=torch.float64)
    cosine = at.cos().requires_grad_()
    widened = angle.widened(cosine, margin)
    (grad,) = torch.autograd.grad(widened.sum(), cosine)
    inside = at <= math.pi - margin
    torch.testing.assert_close(grad[inside], ((at + margin).sin() / at.sin())[inside])
    torch.testing.assert_close(grad[~inside], torch.ones_like(grad[~inside]))


def test_positives_are_changed_alike_by_list_and_by_mask():
    """The one is quick on a CPU; the other keeps a GPU from waiting."""
    sim, other = torch.randn(5, 4, dtype=torch.float64, requires_grad=True), torch.randn(5, 4, dtype=torch.float64)
    pos = other > 0.3

    def change(x, y):
        return x.square() * y

    ours, expected = angle.at_positives(change, sim, pos, other), torch.where(pos, change(sim, other), sim)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    weights = torch.randn_like(sim)
    grads = [torch.autograd.grad((x * weights).sum(), sim)[0] for x in (ours, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_multiplied_angles_only_go_downhill(m):
    at = torch.linspace(0, math.pi, 1001, dtype=torch.float64)
    target = angle.multiplied(at.cos(), m)
    assert (target.diff() <= 1e-12).all()
    torch.testing.assert_close(target[[0, -1]], torch.tensor([1.0, 1.0 - 2 * m], dtype=torch.float64))


def test_proxy_anchor_averages_its_pull_over_the_classes_in_the_batch(emb):
    loss, few = build("proxy_anchor").double(), LABELS < 2
    value = loss(emb[few], LABELS[few])
    sims = geometry.cosine(emb[few], loss.proxies)
    own = F.one_hot(LABELS[few], C).bool()
    pull = [(1 + (32 * (0.1 - sims[:, c][own[:, c]])).exp().sum()).log() for c in range(2)]
    push = [(1 + (32 * (0.1 + sims[:, c][~own[:, c]])).exp().sum()).log() for c in range(C)]
    torch.testing.assert_close(value, sum(pull) / 2 + sum(push) / C)


# pytorch-metric-learning 2.9: our text, their class and keywords, the name of its weights, whether these lie as [D, M]

DEGREES = math.degrees(0.5)
PEERS = [
    ("normalized_softmax", pml.NormalizedSoftmaxLoss, {}, "W", True),
    ("cosface", pml.CosFaceLoss, {}, "W", True),
    ("arcface", pml.ArcFaceLoss, {"margin": DEGREES}, "W", True),
    ("arcface(margin=1.5)", pml.ArcFaceLoss, {"margin": math.degrees(1.5)}, "W", True),
    ("subcenter_arcface", pml.SubCenterArcFaceLoss, {"margin": DEGREES}, "W", True),
    ("sphereface", pml.SphereFaceLoss, {}, "W", True),
    ("sphereface(margin=3, scale=2.0)", pml.SphereFaceLoss, {"margin": 3, "scale": 2.0}, "W", True),
    ("proxy_nca_pp", pml.ProxyNCALoss, {"softmax_scale": 9}, "proxies", False),
    ("proxy_anchor", pml.ProxyAnchorLoss, {}, "proxies", False),
    ("soft_triple(merge=0.0)", pml.SoftTripleLoss, {}, "fc", True),
]


# Their SphereFace calls scipy on a tensor, which NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array_wrap__")
@pytest.mark.parametrize(("text", "theirs", "given", "weights", "lying"), PEERS, ids=[p[0] for p in PEERS])
def test_agrees_with_pytorch_metric_learning(text, theirs, given, weights, lying, emb):
    ours = build(text).double()
    peer = theirs(num_classes=C, embedding_size=D, **given)
    rows = ours.proxies.detach()
    getattr(peer, weights).data = rows.T.clone() if lying else rows.clone()
    value, grad_emb, grad_rows = gradients(ours, emb)
    expected = peer(emb, LABELS)
    grads = torch.autograd.grad(expected, [emb, getattr(peer, weights)])
    torch.testing.assert_close(value, expected.detach(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(grad_emb, grads[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(grad_rows, grads[1].T if lying else grads[1], rtol=1e-8, atol=1e-8)


def test_p2sgrad_is_their_value_times_half_the_classes(emb):
    ours, peer = build("p2sgrad").double(), pml.P2SGradLoss(D, C)
    peer.weight.data = F.normalize(ours.proxies.detach(), dim=-1).T.clone()
    value, grad_emb, _ = gradients(ours, emb)
    theirs = peer(emb, LABELS) * C / 2
    # Theirs holds its weights at length 1 only to about 1e-6.
    torch.testing.assert_close(value, theirs.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad_emb, torch.autograd.grad(theirs, emb)[0], rtol=1e-4, atol=1e-4)
