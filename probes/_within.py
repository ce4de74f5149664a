"""Telling the relevant documents of a query from the others of its pool, judged on other queries than it was learned on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lidiag import stats

Array = NDArray[np.float64]


def folds(groups: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each query's fold; queries of one group share it."""
    fold_of = rng.permutation(int(groups.max()) + 1) % count
    return fold_of[groups]


def centred(features: Array) -> Array:
    """Subtract each feature's mean over a query's (p, f) documents; what is missing (NaN) lies at the mean."""
    there = np.isfinite(features)
    mean = np.where(there, features, 0).sum(0) / np.maximum(there.sum(0), 1)
    return np.where(there, features - mean, 0.0)


def held_out_auc(features: Sequence[Array], relevant: Sequence[NDArray[np.bool_]], fold: NDArray[np.int64]) -> Array:
    """Return each query's AUC under a logistic regression that was fitted to the queries of the other folds.

    `features` are centred (p, f) by query. Features are scaled to unit spread; the weights are held by the usual ridge
    (C = 1), which only a separable collection feels.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - looks for libraries, of which there are more by now

    found = np.full(len(features), np.nan)
    for number in np.unique(fold):
        train = [query for query in range(len(features)) if fold[query] != number]
        x, y = np.concatenate([features[q] for q in train]), np.concatenate([relevant[q] for q in train])
        spread = x.std(0)
        scale = np.where(spread > 0, spread, 1.0)
        with threadpool_limits(1):  # on matrices as small as these, threads cost more than they save
            model = LogisticRegression(max_iter=1000).fit(x / scale, y)
        weights = model.coef_.ravel() / scale
        for query in np.flatnonzero(fold == number).tolist():
            found[query] = stats.auc(features[query] @ weights, relevant[query])
    return found


def best_weight(quality: Array, grid: Array) -> NDArray[np.int64]:
    """Return, for (..., weights) mean qualities, the place of the weight with the highest; of equal ones, the weight nearest 0."""
    # Means of equal values, added up in another order, may differ in the last places.
    tied = quality >= quality.max(-1, keepdims=True) - 1e-12
    return np.where(tied, np.abs(grid), np.inf).argmin(-1)


def drawn_again(groups: NDArray[np.int64], draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (draws, queries): how often each query is there when as many groups are drawn with replacement."""
    count = int(groups.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, groups]


def left_out(change: Array, chosen: NDArray[np.int64], times: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return each query's (queries,) mean change over the draws without it, and how far each draw (draws,) pulls the mean of these.

    `change` is (queries, weights), `chosen` (draws,) the weight that a draw chose, `times` (draws, queries) how often it has a query:
    cross-validation smoothed over splits, the leave-one-out bootstrap of Efron and Tibshirani (1997, JASA 92(438)).
    """
    without = times == 0
    gains = change[:, chosen].T
    share = without / without.sum(0)
    held = (gains * share).sum(0)
    return held, (share * (gains - held)).mean(1)


def with_choice(held: Array, pull: Array, times: NDArray[np.int64], groups: NDArray[np.int64]) -> Array:
    """Return (queries,) values with the mean of `held`, whose spread over groups is that of other groups choosing anew, too.

    A group adds its own queries' values, and it moves the others' by its part in the choice: the derivative of the mean with respect to
    the group's probability of being drawn, as in Efron (2014, JASA 109(507)). What so few draws add to that spread by chance is
    taken off (Wager, Hastie and Efron 2014, JMLR 15), down to that of `held` alone.
    """
    _, first, seats, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    count, mean = len(first), held.mean()
    moved = count * pull @ (times[:, first] - 1)
    own = np.bincount(seats, held - mean) * count / len(held)
    noise = count * (count - 1) * (pull**2).sum()
    spread = (own + moved).var(ddof=1)
    kept = max(own.var(ddof=1), spread - noise) / spread if spread > 0 else 1.0
    return mean + np.sqrt(kept) * (held - mean + (moved / size)[seats] * len(held) / count)
