"""The rate that further classes will show, from the trials of those left out; numpy only.

Images of one class are no independent trials, and the classes that resemble each other are accepted in pairs: each for
the other. So the class is what is drawn again. In each of 2,000 draws a third of as many classes finds the threshold
anew, and as many classes as there are show a rate at it; the interval holds the middle 95 % of those rates (a class
bootstrap of both sides; Efron and Tibshirani, 1993, chapter 8). A third, because a pair of alike classes counts twice
where the threshold is found and once where it is used. The share was chosen on simulated classes
(benchmarks/promise.py --simulated). The interval contains the exact binomial one at a third of the effective number of
trials (Kish, 1965), which counts where classes are few or none was accepted.
"""

import numpy as np

from likewise.metrics.exact import exact_interval

__all__ = ["design_effect", "further_interval", "support"]

DRAWS = 2000
SHARE = 1 / 3  # of the classes, drawn to find the threshold; of the effective trials, in the exact interval
TILE = 100  # draws at once
FEW = 20  # classes
WIDE = 3.0  # times the promised rate: an upper end above that is not supported by the calibration


def design_effect(accepted_U: np.ndarray, class_U: np.ndarray) -> float:
    """How many trials of these classes are worth one independent trial, from 1 on. Kish, 1965."""
    n, k = len(accepted_U), int(accepted_U.sum())
    sizes = np.bincount(class_U)
    hits = np.bincount(class_U, weights=accepted_U)[sizes > 0]
    sizes = sizes[sizes > 0]
    rate, groups = k / n, len(sizes)
    binomial = rate * (1 - rate) / n
    if binomial == 0:
        return n / groups  # nothing was accepted, or all: as many trials as classes is all that is sure
    if groups == 1:
        return float(n)  # how much classes differ is not to be seen
    between = groups / (groups - 1) * float(((hits - rate * sizes) ** 2).sum()) / n**2
    return max(between / binomial, 1.0)


def further_interval(impostor_U: np.ndarray, class_U: np.ndarray, threshold: float) -> tuple[float, float]:
    """95 % interval of the share of scores at the threshold or above that as many further classes will show.

    impostor_U: scores of trials with their class left out; class_U: int64, that class.
    """
    accepted_U = impostor_U >= threshold
    n, k, effect = len(impostor_U), int(accepted_U.sum()), design_effect(accepted_U, class_U) / SHARE
    low, high = exact_interval(k / effect, n / effect)
    rate_B = drawn_rates(impostor_U, class_U, k / n)
    return min(low, float(np.quantile(rate_B, 0.025))), max(high, float(np.quantile(rate_B, 0.975)))


def drawn_rates(impostor_U: np.ndarray, class_U: np.ndarray, rate: float, *, seed: int = 0) -> np.ndarray:
    """The rates `[2000]` of drawn classes at the threshold that other drawn classes put at a rate."""
    order_U = np.argsort(-impostor_U, kind="stable")
    place_U = np.unique(class_U[order_U], return_inverse=True)[1]
    size_C = np.bincount(place_U)
    count, rng = len(size_C), np.random.default_rng(seed)
    even_C = np.full(count, 1 / count)
    finds_BC = rng.multinomial(max(2, round(count * SHARE)), even_C, size=DRAWS)
    shows_BC = rng.multinomial(count, even_C, size=DRAWS)
    return np.concatenate(
        [
            _rates(finds_BC[start : start + TILE], shows_BC[start : start + TILE], place_U, size_C, rate)
            for start in range(0, DRAWS, TILE)
        ]
    )


def _rates(
    finds_BC: np.ndarray, shows_BC: np.ndarray, place_U: np.ndarray, size_C: np.ndarray, rate: float
) -> np.ndarray:
    """place_U: the class of each trial, the highest score first."""
    found_BU = np.cumsum(finds_BC[:, place_U], axis=1) / (finds_BC @ size_C)[:, None]
    reached_B = (found_BU <= rate * (1 + 1e-12)).sum(1)
    shown_BU = np.cumsum(shows_BC[:, place_U], axis=1) / (shows_BC @ size_C)[:, None]
    rate_B = shown_BU[np.arange(len(reached_B)), np.maximum(reached_B - 1, 0)]
    return np.where(reached_B > 0, rate_B, 0.0)


def support(far: float, high: float, trials: int, effective: float, classes: int) -> str:
    """A sentence where the calibration does not support a rate, with the reason; else empty."""
    if high <= WIDE * far:
        return ""
    reason = (
        f"{classes} class{'es are' if classes > 1 else ' is'} few"
        if classes < FEW
        else f"{classes} classes differ so much that {trials:,} trials are worth {effective:,.0f} independent ones"
    )
    return (
        f"this calibration does not support FAR {far:g}: further classes may show up to {high:.2g}, since {reason}; "
        "enroll more classes, or take a higher --far"
    )
