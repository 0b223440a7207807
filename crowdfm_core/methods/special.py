"""Functions of the gamma family, compiled, so that no method needs scipy when it runs."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["chi_squared_quantile", "digamma", "digamma_and_log_gamma"]

_ASYMPTOTIC_FROM = 8.0
_MAX_STEPS = 200


@numba.njit(cache=True)
def digamma_and_log_gamma(x):  # pragma: no cover
    """Return the digamma function and the log of the gamma function of x > 0.

    Recurrence up to an argument from which the asymptotic series (Abramowitz and Stegun, 6.3.18
    and 6.1.41) is exact to 1e-11.
    """
    shift, product = 0.0, 1.0
    while x < _ASYMPTOTIC_FROM:
        shift -= 1.0 / x
        product *= x
        x += 1.0
    inverse = 1.0 / x
    square = inverse * inverse
    log_x = math.log(x)
    tail = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240))))
    digamma_value = shift + log_x - 0.5 * inverse - tail
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680))))
    log_gamma_value = (x - 0.5) * log_x - x + 0.9189385332046727 + series - math.log(product)
    return digamma_value, log_gamma_value


@numba.njit(cache=True)
def digamma(values):  # pragma: no cover
    """Return the digamma function of values > 0, elementwise."""
    out = np.empty(values.shape, np.float64)
    for i in range(values.size):
        out.flat[i] = digamma_and_log_gamma(values.flat[i])[0]
    return out


@numba.njit(cache=True)
def _log_lower_gamma(a, x):  # pragma: no cover
    """Return the log of the regularised lower incomplete gamma function by its series in x."""
    term = 1.0 / a
    total = term
    n = 0
    while term > 1e-16 * total:
        n += 1
        term *= x / (a + n)
        total += term
    return math.log(total) + a * math.log(x) - x - math.lgamma(a)


@numba.njit(cache=True)
def chi_squared_quantile(probability, degrees):  # pragma: no cover
    """Return the lower quantile of the chi-squared distribution for degrees [N] >= 1.

    Bisection on the log of the distribution function; meant for probabilities below 1/2.
    """
    out = np.empty(len(degrees), np.float64)
    for i in range(len(degrees)):
        shape = degrees[i] / 2.0
        low, high = -800.0, math.log(degrees[i])  # logs of the quantile; the median is below
        for _ in range(_MAX_STEPS):
            middle = 0.5 * (low + high)
            if _log_lower_gamma(shape, 0.5 * math.exp(middle)) < math.log(probability):
                low = middle
            else:
                high = middle
            if high - low < 1e-13 * max(1.0, abs(high)):
                break
        out[i] = math.exp(0.5 * (low + high))
    return out
