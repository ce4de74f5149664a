"""The gradient of a pair's score with respect to the document's vectors, from the similarities alone."""

from __future__ import annotations

import torch
from torch import Tensor

from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK


def weights(pooling: Pooling, similarities: Tensor) -> Tensor:
    """Return d phi_i / d s_ij (..., tokens, m) of pairs' similarities (..., tokens, m); m must be at least 1.

    MaxSim: 1 for the maximum (the first one on ties). TopK: 1 / min(k, m) for each of the k largest. Softmax, with weights
    w_j: w_j (1 + (s_j - phi) / t). Mean: 1 / m. Source: derivatives of the poolings of arXiv 2604.05253; ours.
    """
    match pooling:
        case MaxSim():
            return torch.zeros_like(similarities).scatter_(-1, similarities.argmax(-1, keepdim=True), 1.0)
        case TopK(k):
            kept = min(k, similarities.shape[-1])
            return torch.zeros_like(similarities).scatter_(-1, similarities.topk(kept, -1).indices, 1 / kept)
        case Softmax(t):
            share = (similarities / t).softmax(-1)
            phi = (share * similarities).sum(-1, keepdim=True)
            return share * (1 + (similarities - phi) / t)
        case Mean():
            return torch.full_like(similarities, 1 / similarities.shape[-1])
        case _:
            raise TypeError(f"{pooling!r} has no derivative written down")


def document_gradients(pooling: Pooling, query: Tensor, document: Tensor) -> Tensor:
    """Return the gradient of S(q, d) with respect to each of the document's vectors, (m, dim).

    The gradient is that of free vectors: before it is projected on the tangent of the sphere they lie on.
    """
    return weights(pooling, query @ document.T).T @ query


def on_tangent(gradients: Tensor, document: Tensor) -> Tensor:
    """Return what is left of (m, dim) gradients when vectors of length 1 keep it: g - (g . d) d."""
    unit = torch.nn.functional.normalize(document, dim=1)
    return gradients - (gradients * unit).sum(1, keepdim=True) * unit
