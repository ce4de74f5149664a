"""What a head does to directions: the singular values of its Jacobian, and how peaked the similarities are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_STATES = 64  # at which the Jacobian of a non-linear head is taken


def spectrum(network: nn.Module, states: Tensor) -> dict[str, float]:
    """Return `effective_rank` = exp(H(p)) and `sigma_1_share` = p_1, p_i = sigma_i^2 / sum, over a head's Jacobians at (n, d) states.

    sigma_i^2 are the eigenvalues of the mean of J^T J; of a linear head they are those of its matrix. Source: Roy and Vetterli
    2007 for the effective rank; the rest ours.
    """
    points = states[: _STATES * max(1, len(states) // _STATES) : max(1, len(states) // _STATES)]
    jacobians: Tensor = torch.func.vmap(torch.func.jacrev(network))(points)  # pyright: ignore[reportAssignmentType, reportArgumentType] - a module is callable
    squares = torch.linalg.eigvalsh((jacobians.mT @ jacobians).detach().mean(0).double()).clamp(min=0).numpy()
    p = np.sort(squares / squares.sum())[::-1]
    there = p[p > 0]
    return {"effective_rank": float(np.exp(-(there * np.log(there)).sum())), "sigma_1_share": float(p[0])}


def peak(query: Tensor, document: Tensor) -> float:
    """Return the mean over query tokens of (largest - mean) / sd of the similarities to a document's vectors; NaN for one vector."""
    similarities = query @ document.T
    if similarities.shape[1] < 2:  # noqa: PLR2004 - a spread takes two
        return float("nan")
    height = similarities.amax(1) - similarities.mean(1)
    return float((height / similarities.std(1).clamp(min=1e-9)).mean())
