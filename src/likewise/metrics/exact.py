"""The exact binomial interval; without torch, since the gallery has none."""

__all__ = ["exact_interval"]

TAIL = 0.025  # on either side of a 95 % interval


def exact_interval(k: float, n: float, tail: float = TAIL) -> tuple[float, float]:
    """Clopper and Pearson's interval of a rate from k of n, of 95 % unless another tail is given.

    https://doi.org/10.1093/biomet/26.4.404, 1934.

    >>> low, high = exact_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.555, 0.997)
    """
    from scipy.stats import beta

    low = 0.0 if k <= 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k >= n else float(beta.ppf(1 - tail, k + 1, n - k))
    return low, high
