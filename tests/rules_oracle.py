"""Every pair rule again, term by term with explicit loops over anchors, positives and negatives: what the tests trust.

An oracle takes `s`, rows of scalar tensors, and for each anchor the lists of its positives and negatives, and yields
lists of terms; the loss is the sum over the lists of their mean.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Rows, Lists, Terms = list[list[Tensor]], list[list[int]], Iterator[list[Tensor]]


def loss(oracle: Callable, sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, **numbers) -> Tensor:
    s = [list(row.unbind()) for row in sim_NM.unbind()]
    lists = [[row.nonzero().flatten().tolist() for row in mask] for mask in (pos_NM, neg_NM)]
    means = [torch.stack(terms).sum() / weight(terms) for terms in oracle(s, *lists, **numbers) if terms]
    return sum(means, sim_NM.sum() * 0)


def weight(terms: list[Tensor]) -> int:
    """How many terms there are; one made by `several` counts for more than one."""
    return max(1, sum(getattr(t, "many", 1) for t in terms))


def several(term: Tensor, many: int) -> Tensor:
    term.many = many
    return term


def relu(x):
    return x.clamp(min=0) if x > 0 else x * 0


def log_sum_exp(xs: list[Tensor]) -> Tensor:
    top = max(x.item() for x in xs)
    return sum((x - top).exp() for x in xs).log() + top


def log1p_exp(x: Tensor) -> Tensor:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def mean(xs: list[Tensor]) -> Tensor:
    return sum(xs) / len(xs)


def anchors(pos: Lists, neg: Lists, *, negatives: bool = True) -> Iterator[int]:
    return (a for a in range(len(pos)) if pos[a] and (neg[a] or not negatives))


def contrastive(s, pos, neg, *, margin=None, pos_at=1.0, neg_at=0.0) -> Terms:
    pairs = [[(a, j) for a in range(len(s)) for j in lists[a]] for lists in (pos, neg)]
    if margin is None:
        yield [relu(pos_at - s[a][p]) for a, p in pairs[0]]
        yield [relu(s[a][n] - neg_at) for a, n in pairs[1]]
    else:
        yield [(-s[a][p]) ** 2 / 2 for a, p in pairs[0]]
        yield [relu(margin - (-s[a][n])) ** 2 / 2 for a, n in pairs[1]]


def triplet(s, pos, neg, *, margin=0.2, pick="all", soft=False, swap=False) -> Terms:
    terms = []
    for a in anchors(pos, neg):
        triples = [(s[a][p], nearer(s, a, p, n, swap)) for p in pos[a] for n in neg[a]]
        if pick == "hard":
            triples = [(torch.stack([s[a][p] for p in pos[a]]).amin(), torch.stack([s[a][n] for n in neg[a]]).amax())]
        elif pick == "easy-positive":
            triples = [(torch.stack([s[a][p] for p in pos[a]]).amax(), torch.stack([s[a][n] for n in neg[a]]).amax())]
        elif pick == "semihard":
            triples = [(p, n) for p, n in triples if p - margin < n < p]
        elif not soft:
            triples = [(p, n) for p, n in triples if n - p + margin > 0]
        terms += [log1p_exp(n - p) if soft else relu(n - p + margin) for p, n in triples]
    yield terms


def nearer(s, a, p, n, swap):
    return torch.stack([s[a][n], s[p][n]]).amax() if swap else s[a][n]


def ntxent(s, pos, neg, *, temperature=0.07) -> Terms:
    yield [
        log_sum_exp([s[a][p] / temperature, *(s[a][n] / temperature for n in neg[a])]) - s[a][p] / temperature
        for a in anchors(pos, neg)
        for p in pos[a]
    ]


def multi_ntxent(s, pos, neg, *, temperature=0.07, positives="out") -> Terms:
    terms = []
    for a in anchors(pos, neg):
        x_p, x_n = [s[a][p] / temperature for p in pos[a]], [s[a][n] / temperature for n in neg[a]]
        if positives == "out":
            terms.append(mean([log_sum_exp([x, *x_n]) - x for x in x_p]))
        else:
            terms.append(log_sum_exp(x_p + x_n) - log_sum_exp(x_p))
    yield terms


def supcon(s, pos, neg, *, temperature=0.1) -> Terms:
    terms = []
    for a in anchors(pos, neg):
        among = log_sum_exp([s[a][j] / temperature for j in pos[a] + neg[a]])
        terms.append(mean([among - s[a][p] / temperature for p in pos[a]]))
    yield terms


def decoupled(s, pos, neg, *, temperature=0.1) -> Terms:
    yield [
        log_sum_exp([s[a][n] / temperature for n in neg[a]]) - s[a][p] / temperature
        for a in anchors(pos, neg)
        for p in pos[a]
    ]


def siglip(s, pos, neg, *, scale=10.0, bias=-10.0) -> Terms:
    yield [
        sum(
            [log1p_exp(-(scale * s[a][p] + bias)) for p in pos[a]]
            + [log1p_exp(scale * s[a][n] + bias) for n in neg[a]],
            s[a][a] * 0,
        )
        for a in range(len(s))
    ]


def nca(s, pos, neg, *, scale=16.0) -> Terms:
    yield [
        log_sum_exp([scale * s[a][j] for j in pos[a] + neg[a]]) - log_sum_exp([scale * s[a][p] for p in pos[a]])
        for a in anchors(pos, neg)
    ]


def multi_similarity(s, pos, neg, *, alpha=2.0, beta=50.0, base=0.5) -> Terms:
    yield [
        (1 + sum((-alpha * (s[a][p] - base)).exp() for p in pos[a]) + s[a][a] * 0).log() / alpha
        + (1 + sum((beta * (s[a][n] - base)).exp() for n in neg[a]) + s[a][a] * 0).log() / beta
        for a in range(len(s))
    ]


def circle(s, pos, neg, *, margin=0.4, scale=80.0) -> Terms:
    terms = []
    for a in anchors(pos, neg):
        far = [-scale * relu(1 + margin - s[a][p].detach()) * (s[a][p] - (1 - margin)) for p in pos[a]]
        near = [scale * relu(s[a][n].detach() + margin) * (s[a][n] - margin) for n in neg[a]]
        terms.append(log1p_exp(log_sum_exp(far) + log_sum_exp(near)))
    yield terms


def margin(s, pos, neg, *, margin=0.2, beta=0.3) -> Terms:
    terms = []
    for a in anchors(pos, neg):
        for p in pos[a]:
            for n in neg[a]:
                halves = [relu(margin + beta - s[a][p]), relu(margin + s[a][n] - beta)]
                terms.append(several(sum(halves), sum(int(h > 0) for h in halves)))
    yield terms


def tuplet_margin(s, pos, neg, *, margin=0.1, scale=64.0) -> Terms:
    yield [
        (1 + sum((scale * (s[a][n] - (s[a][p].acos() - margin).cos())).exp() for n in neg[a])).log()
        for a in anchors(pos, neg)
        for p in pos[a]
    ]


def snr_contrastive(s, pos, neg, *, margin=1.0) -> Terms:
    yield [-s[a][p] for a in range(len(s)) for p in pos[a]]
    yield [relu(margin - (-s[a][n])) for a in range(len(s)) for n in neg[a]]


def threshold_consistent(s, pos, neg, *, pos_at=0.9, neg_at=0.5) -> Terms:
    yield [pos_at - s[a][p] for a in range(len(s)) for p in pos[a] if s[a][p] <= pos_at]
    yield [s[a][n] - neg_at for a in range(len(s)) for n in neg[a] if s[a][n] >= neg_at]


def lifted(s, pos, neg, *, margin=1.0) -> Terms:
    terms = []
    for a in anchors(pos, neg, negatives=False):
        for p in pos[a]:
            ends = [s[a][n] for n in neg[a]] + [s[i][p] for i in range(len(s)) if p in neg[i]]
            terms.append(relu(log_sum_exp([margin + x for x in ends]) - s[a][p]) ** 2 / 2 if ends else s[a][p] * 0)
    yield terms


def generalized_lifted(s, pos, neg, *, margin=1.0) -> Terms:
    yield [
        relu(log_sum_exp([-s[a][p] for p in pos[a]]) + log_sum_exp([margin + s[a][n] for n in neg[a]]))
        for a in anchors(pos, neg)
    ]


def npairs(s, pos, neg) -> Terms:
    first = [a for a in anchors(pos, neg, negatives=False) if min(pos[a]) > a]
    second = {a: min(pos[a]) for a in first}
    yield [
        log_sum_exp([s[a][second[b]] for b in first if b == a or second[b] in neg[a]]) - s[a][second[a]] for a in first
    ]


def angular(s, pos, neg, *, alpha=40.0) -> Terms:
    tan2 = math.tan(math.radians(alpha)) ** 2
    yield [
        (1 + sum((4 * tan2 * (s[a][n] + s[p][n]) - 2 * (1 + tan2) * s[a][p]).exp() for n in neg[a])).log()
        for a in anchors(pos, neg)
        for p in pos[a]
    ]


def intra_pair_variance(s, pos, neg, *, slack=0.01) -> Terms:
    near = [s[a][p] for a in range(len(s)) for p in pos[a]]
    far = [s[a][n] for a in range(len(s)) for n in neg[a]]
    yield [relu((1 - slack) * mean(near) - x) ** 2 for x in near]
    yield [relu(x - (1 + slack) * mean(far)) ** 2 for x in far]


def centroid_triplet(s, pos, neg, *, margin=0.2) -> Terms:
    terms = []
    for a in anchors(pos, neg):
        own = mean([s[a][p] for p in pos[a]])
        for group in {tuple(sorted([n, *pos[n]])) for n in neg[a]}:
            terms.append(relu(mean([s[a][n] for n in group]) - own + margin))
    yield [t for t in terms if t > 0]


def share(x: Tensor, bins: int) -> list[tuple[int, Tensor]]:
    """(centre, share) of the two centres on [-1, 1] that a similarity is split between."""
    place = (x + 1) * bins / 2
    left = min(int(place), bins - 1)
    return [(left, 1 - (place - left)), (left + 1, place - left)]


def fast_ap(s, pos, neg, *, bins=10) -> Terms:
    terms = []
    for a in anchors(pos, neg):
        h_pos, h_all = [s[a][a] * 0] * (bins + 1), [s[a][a] * 0] * (bins + 1)
        for j in pos[a] + neg[a]:
            for b, part in share(s[a][j], bins):
                h_all[b] = h_all[b] + part
                h_pos[b] = h_pos[b] + part * (j in pos[a])
        # From the nearest bin outwards.
        precision = [sum(h_pos[b:]) / sum(h_all[b:]) if sum(h_all[b:]) > 0 else h_all[b] * 0 for b in range(bins + 1)]
        terms.append(1 - sum(h * q for h, q in zip(h_pos, precision, strict=True)) / len(pos[a]))
    yield terms


def smooth_ap(s, pos, neg, *, temperature=0.01) -> Terms:
    def rank(a, p, among):
        return 1 + sum((((s[a][j] - s[a][p]) / temperature).sigmoid() for j in among if j != p), s[a][p] * 0)

    yield [1 - mean([rank(a, p, pos[a]) / rank(a, p, pos[a] + neg[a]) for p in pos[a]]) for a in anchors(pos, neg)]


def histogram(s, pos, neg, *, bins=100) -> Terms:
    sides = []
    for lists in (pos, neg):
        pairs = [s[a][j] for a in range(len(s)) for j in lists[a]]
        h = [s[0][0] * 0] * (bins + 1)
        for x in pairs:
            for b, part in share(x, bins):
                h[b] = h[b] + part / len(pairs)
        sides.append(h)
    yield [sum(sides[1][r] * sides[0][q] for r in range(bins + 1) for q in range(r + 1))]


def ranked_list(s, pos, neg, *, pos_at=0.7, neg_at=0.3, pos_scale=0.0, neg_scale=10.0, balance=0.5) -> Terms:
    def weighted(excess, scale):
        excess = [x for x in excess if x > 0]
        weights = [math.exp(scale * x.item()) for x in excess]
        return sum(w * x for w, x in zip(weights, excess, strict=True)) / sum(weights) if excess else 0.0

    yield [
        (1 - balance) * weighted([pos_at - s[a][p] for p in pos[a]], pos_scale)
        + balance * weighted([s[a][n] - neg_at for n in neg[a]], neg_scale)
        + s[a][a] * 0
        for a in range(len(s))
        if pos[a] or neg[a]
    ]
