"""Same or different: scores of pairs with their intervals; what validation pairs choose, threshold and probability."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import spec
from likewise.embeddings import Embeddings, check
from likewise.evaluate.resampling import Bias, image_weights, pair_weights, units, within_classes
from likewise.metrics import calibration, intervals, verification
from likewise.metrics.calibration import Calibration
from likewise.metrics.intervals import Paired, Score
from likewise.metrics.neighbours import Sim
from likewise.metrics.sampled_pairs import Pairs, draw, even, similarities

__all__ = [
    "CURVED",
    "Folded",
    "Resampled",
    "Threshold",
    "draw_pairs",
    "folded",
    "pairs_apart",
    "pick_calibration",
    "pick_threshold",
    "resampled",
    "too_few",
    "verify",
]

SAME = 10_000  # pairs of one class
DIFFERENT = 300_000  # pairs of two: as many as speak of the lowest of RATES
RATES = (1e-1, 1e-2, 1e-3, 1e-4)
CURVES = 400  # resamples of the ROC curve
NOISE = 100  # resamples of single pairs: for a variance
CURVED: dict[str, Callable[[verification.Roc], Tensor]] = {"pair_auc": verification.auc, "eer": verification.eer}
RULE_OF_3 = 3.0  # n trials without an error bound its rate by 3 / n at 95 % (Hanley and Lippman-Hand, 1983)


def draw_pairs(labels_N: Tensor, *, seed: int = 0) -> Pairs:
    """The pairs of a part: at most 10,000 of one class, and 300,000 of two, since low rates rest on those."""
    return draw(labels_N, SAME, different=DIFFERENT, seed=seed)


def too_few(same_T: Tensor) -> dict[str, str]:
    """The rates that the pairs cannot tell, by the score's name: why not."""
    notes = {f"tar@far={rate:g}": verification.too_few(same_T, rate) for rate in RATES}
    return {name: why for name, why in notes.items() if why}


class Threshold(NamedTuple):
    """Pairs whose similarity reaches `value` count as one class; the interval is how well the pairs determine it."""

    value: float
    low: float
    high: float
    target: str
    n: int


def pick_threshold(
    val: Embeddings,
    *,
    sim: str | Sim = "cosine",
    target: str = "accuracy",
    open_set: bool = False,
    pairs: Pairs | None = None,
    seed: int = 0,
) -> Threshold:
    """The threshold that meets a target best on pairs of the validation part.

    target: accuracy, f1, eer, far=0.001 or precision=0.99, where either kind of pair counts the same in the whole.
    open_set: draw classes, not images, for the interval. pairs: of `val`; otherwise they are drawn.
    Errors: ValueError where there are no pairs of both kinds, or where they cannot tell or reach the target.
    """
    kind, _ = verification.aim(target)
    pairs, score_T = _scored(val, pairs, sim, seed)
    if kind not in ("far", "eer"):  # it depends on the mix
        pairs, score_T = _take(pairs, score_T, even(pairs.same))
    ranked = verification.rank(score_T, pairs.same)
    curve = verification.curve(ranked)
    _within_reach(target, curve, score_T, pairs.same)
    weights = image_weights(pairs, units(val.labels, open_set), resamples=CURVES, seed=seed)
    seen_B = torch.cat([verification.threshold(verification.curve(ranked, w_BT), target) for w_BT in weights])
    value = float(verification.threshold(curve, target))
    low, high = intervals.percentiles(seen_B)
    return Threshold(value, min(low, value), max(high, value), target, len(score_T))


def _within_reach(target: str, curve: verification.Roc, score_T: Tensor, same_T: Tensor) -> None:
    """Errors: ValueError where the pairs are too few for the rate asked of them, or nothing reaches it."""
    kind, rate = verification.aim(target)
    if kind == "far" and (why := verification.too_few(same_T, rate)):
        least = ceil(1e4 * verification.RULE_OF_30 / max(int((~same_T).sum()), 1)) / 1e4
        raise ValueError(f"no threshold for {target}: {why}; these validation pairs tell far={least:g} or more")
    if kind != "precision":
        return
    if (best := verification.reached(curve)) < rate:
        raise ValueError(f"no threshold reaches {target} on the validation pairs; the best has {best:.4f}")
    accepted = int((score_T.double() >= verification.threshold(curve, target)).sum())
    if accepted * (1 - rate) < RULE_OF_3:
        raise ValueError(
            f"no threshold for {target}: too few pairs to say: it rests on {accepted:,} accepted validation pairs, "
            f"which even without an error show no more than {max(1 - RULE_OF_3 / accepted, 0):.4f}"
        )


def pick_calibration(
    val: Embeddings,
    *,
    sim: str | Sim = "cosine",
    open_set: bool = False,
    pairs: Pairs | None = None,
    seed: int = 0,
) -> Calibration:
    """From a similarity to the probability of one class, on pairs of the validation part, as many of either kind.

    Platt's curve or the isotonic one, whichever is nearer to the truth on the pairs of the other half of the classes
    (open_set) or images. Errors: ValueError where there are no pairs of both kinds.
    """
    pairs, score_T = _scored(val, pairs, sim, seed)
    at_E = even(pairs.same)
    units_N = units(val.labels, open_set)
    side_U = torch.randperm(int(units_N.max()) + 1, generator=torch.Generator().manual_seed(seed)) % 2
    a_E, b_E = (side_U[units_N[side[at_E]]] for side in (pairs.first, pairs.second))
    return calibration.chosen(score_T[at_E], pairs.same[at_E], torch.where(a_E == b_E, a_E, -1))


class Resampled(NamedTuple):
    """A score of pairs with its values under the resamples of its interval; runs on the same pairs share these."""

    value: float
    seen: Tensor  # [B] float64, drawing images (or classes)
    n: int
    noise: Tensor  # [B'] float64, drawing single pairs of two units: what `seen` counts several times
    units: int  # how many images (or classes) the same pairs rest on
    bias: Bias = Bias()  # of the variance of `seen`

    @property
    def variable(self) -> Tensor:
        """`seen` with the variance that the score has."""
        return intervals.without_pair_noise(self.value, self.seen, self.noise, *self.bias)


def verify(
    pairs: Pairs,
    score_T: Tensor,
    units_N: Tensor,
    *,
    strata_N: Tensor | None = None,
    threshold: float | None = None,
    fit: Calibration | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Every score of pairs that these can tell, with its interval.

    Rates (pair_auc, eer, tar@far) are of all pairs; what depends on the mix (accuracy, precision, F1 at `threshold`;
    Brier and ECE of `fit`) is of as many pairs of one kind as of the other.
    units_N: what is drawn together, int64 `[N]` for the N images, such as their classes.
    strata_N: the class of each, where images are drawn and how many a class has is not.
    """
    left_out = too_few(pairs.same)
    rates = {f"tar@far={rate:g}": partial(verification.tar_at_far, far=rate) for rate in RATES}
    curves = CURVED | {name: of for name, of in rates.items() if name not in left_out}
    drawn = resampled(
        pairs, score_T, units_N, strata_N=strata_N, curves=curves, threshold=threshold, fit=fit, seed=seed
    )
    return {name: intervals.interval(x.value, x.variable, n=x.n, units=x.units) for name, x in drawn.items()}


def resampled(
    pairs: Pairs,
    score_T: Tensor,
    units_N: Tensor,
    *,
    strata_N: Tensor | None = None,
    curves: Mapping[str, Callable[[verification.Roc], Tensor]],
    threshold: float | None = None,
    fit: Calibration | None = None,
    seed: int = 0,
) -> dict[str, Resampled]:
    """What `verify` makes intervals of: scores read off the ROC curve by `curves`, and those at a threshold.

    Precision is left out where nothing is accepted.
    """
    order_T = score_T.argsort(descending=True, stable=True)
    at_E = order_T.argsort()[even(pairs.same)]
    pairs, score_T = _take(pairs, score_T, order_T)  # so that a curve reads its weights in the order they lie in
    ranked = verification.rank(score_T, pairs.same)
    judged = _judging(score_T[at_E], pairs.same[at_E], threshold, fit)

    def under(weights: Iterable[Tensor]) -> dict[str, Tensor]:
        seen: dict[str, list[Tensor]] = {}
        for weight_BT in weights:
            curve = verification.curve(ranked, weight_BT)
            values = {name: of(curve) for name, of in curves.items()} | judged(weight_BT[:, at_E])
            for name, value_B in values.items():
                seen.setdefault(name, []).append(value_B)
        return {name: torch.cat(parts) for name, parts in seen.items()}

    values, seen = (
        under([torch.ones(1, len(score_T))]),
        under(image_weights(pairs, units_N, strata_N, resamples=CURVES, seed=seed)),
    )
    noise = under(pair_weights(pairs, units_N, strata_N, resamples=NOISE, seed=seed))
    units = len(units_N[torch.cat([pairs.first[pairs.same], pairs.second[pairs.same]])].unique())
    bias = Bias() if strata_N is None else within_classes(len(strata_N) / len(strata_N.unique()))
    return {
        name: Resampled(float(x), seen[name], len(score_T) if name in curves else len(at_E), noise[name], units, bias)
        for name, x in values.items()
        if x.isfinite().all()
    }


def pairs_apart(first: Resampled, second: Resampled) -> Paired:
    """First less second, of two runs scored on the same pairs under the same draws of images (or classes).

    The interval is the bootstrap's; p is twice the share of resamples in which the difference has the other sign or is
    none, never below 2 / (resamples + 1): pairs share images, so that runs cannot be exchanged pair by pair.
    """
    difference = first.value - second.value
    apart_B = intervals.without_pair_noise(
        difference, first.seen - second.seen, first.noise - second.noise, *first.bias
    )
    apart_B = apart_B[apart_B.isfinite()]
    other = 1 + min(int((apart_B <= 0).sum()), int((apart_B >= 0).sum()))
    p = min(1.0, 2 * other / (len(apart_B) + 1))
    return Paired(difference, *intervals.ends(apart_B, first.units), p, first.n)


def _judging(
    score_E: Tensor, same_E: Tensor, at: float | None, fit: Calibration | None
) -> Callable[[Tensor], dict[str, Tensor]]:
    """What is right at a threshold, and how far probabilities are off, under weights `[B, E]`: ratios of sums."""
    columns = {"same": same_E}
    if at is not None:
        accept_E = score_E.double() >= at
        columns |= {"right": accept_E & same_E, "wrong": accept_E & ~same_E}
    if fit is not None:
        chance_E = fit(score_E)
        columns |= {"off": calibration.brier(chance_E, same_E)}
        columns |= {f"bin {b}": row_E for b, row_E in enumerate(calibration.excess(chance_E, same_E))}
    sums_EK = torch.stack([column.double() for column in columns.values()], dim=1)

    def judged(weight_BE: Tensor) -> dict[str, Tensor]:
        weight_BE = weight_BE.double()
        all_B, sums = weight_BE.sum(-1), dict(zip(columns, (weight_BE @ sums_EK).unbind(-1), strict=True))
        values: dict[str, Tensor] = {}
        if at is not None:
            same, right, wrong = sums["same"], sums["right"], sums["wrong"]
            values["pair_accuracy"] = (right + all_B - same - wrong) / all_B
            values["pair_precision"] = right / (right + wrong)
            values["pair_recall"] = right / same
            values["pair_f1"] = 2 * right / (right + wrong + same)
        if fit is not None:
            values["brier"] = sums["off"] / all_B
            values["ece"] = torch.stack([sum_B.abs() for name, sum_B in sums.items() if "bin" in name]).sum(0) / all_B
        return values

    return judged


class Folded(NamedTuple):
    """Accuracy by folds: the mean with its 95 % interval (Student's), its standard error, and each fold's."""

    score: Score
    error: float
    accuracy: tuple[float, ...]


def folded(pairs: Pairs, score_T: Tensor, fold_T: Tensor) -> Folded:
    """LFW's protocol: the threshold from all folds but one, the accuracy on that one, for each in turn.

    Of each fold as many pairs of one kind as of the other, as LFW has them, so that 0.5 is guessing.
    Errors: ValueError for fewer than two folds with pairs of both kinds.
    """
    from scipy.stats import t

    places = ((fold_T == fold).nonzero()[:, 0] for fold in fold_T.unique())
    at_E = torch.cat([place[even(pairs.same[place])] for place in places])
    (pairs, score_T), fold_T = _take(pairs, score_T, at_E), fold_T[at_E]
    folds = len(fold_T.unique())
    if folds < 2:
        raise ValueError(f"the threshold of a fold comes from the others, so 2 folds are needed; there is {folds}")
    accuracy_F = verification.fold_accuracy(score_T, pairs.same, fold_T)
    mean, error = float(accuracy_F.mean()), float(accuracy_F.std()) / folds**0.5
    reach = float(t.ppf(1 - intervals.TAIL, folds - 1)) * error
    score = Score(mean, max(mean - reach, 0.0), min(mean + reach, 1.0), len(score_T))
    return Folded(score, error, tuple(accuracy_F.tolist()))


def _scored(part: Embeddings, pairs: Pairs | None, sim: str | Sim, seed: int) -> tuple[Pairs, Tensor]:
    check(part)
    pairs = draw_pairs(part.labels, seed=seed) if pairs is None else pairs
    return pairs, similarities(part.vectors, pairs, sim=spec.bind("sim", sim) if isinstance(sim, str) else sim)


def _take(pairs: Pairs, score_T: Tensor, places_T: Tensor) -> tuple[Pairs, Tensor]:
    return Pairs(*(column[places_T] for column in pairs)), score_T[places_T]
