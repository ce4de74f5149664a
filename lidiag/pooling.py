"""Pooling operators as mergeable states.

A pooling reduces the similarities of one query token to all tokens of a document to a small state. Two states of two
pieces of a document merge into the state of the whole, `merge(pool(A), pool(B)) == pool(A + B)`, so a length sweep, an
injection sweep, a split document and a stream over blocks are all one operation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from lidiag.errors import LidiagError

# Up to here k sweeps of `max` cost less than one `topk`, which partly sorts every row.
_SWEEPS = 8


@runtime_checkable
class State(Protocol):
    """What is left of the similarities of query tokens (...) to `n` document tokens."""

    n: Tensor

    def select(self, index: Tensor) -> State:
        """Take documents `index` (along the last axis of the (tokens, documents) layout)."""
        ...


@runtime_checkable
class Pooling(Protocol):
    """An operator from similarities to a score per query token, through a state that merges."""

    def pool(self, similarities: Tensor) -> Any:
        """Reduce (..., document_tokens) to a state of shape (...)."""
        ...

    def merge(self, a: Any, b: Any) -> Any:
        """Return the state of the document that is `a`'s tokens followed by `b`'s."""
        ...

    def score(self, state: Any) -> Tensor:
        """Return one value per query token, shape (...); -inf where the document is empty."""
        ...

    def share(self, original: Any, part: Any) -> Tensor:
        """Return the share of pooled weight that `part` takes when merged into `original`, in [0, 1]; ties stay with the original."""
        ...


@dataclass(frozen=True)
class MaxState:
    """Largest similarity, and its position where it was asked for."""

    n: Tensor
    maximum: Tensor
    argmax: Tensor | None = None

    def select(self, index: Tensor) -> MaxState:
        """Take documents `index` along the last axis."""
        argmax = None if self.argmax is None else self.argmax[..., index]
        return MaxState(_pick(self.n, index), self.maximum[..., index], argmax)


@dataclass(frozen=True)
class MaxSim:
    """phi = max_j s_j (ColBERT, arXiv 2004.12832).

    `argmax` keeps the position of the maximum too (the first one on ties; -1 for an empty document).
    """

    argmax: bool = False

    def __repr__(self) -> str:
        """Print as the report does."""
        return "maxsim"

    def pool(self, similarities: Tensor) -> MaxState:
        """Reduce (..., m) to its maximum; m may be 0."""
        n = _count(similarities)
        if similarities.shape[-1] == 0:
            empty = similarities.new_full(similarities.shape[:-1], -torch.inf)
            return MaxState(n, empty, torch.full_like(empty, -1, dtype=torch.long) if self.argmax else None)
        if self.argmax:
            maximum, argmax = similarities.max(-1)
            return MaxState(n, maximum, argmax)
        return MaxState(n, similarities.amax(-1))

    def merge(self, a: MaxState, b: MaxState) -> MaxState:
        """Keep the larger; a tie stays with `a`. `b`'s positions are shifted by `a.n`."""
        maximum = torch.maximum(a.maximum, b.maximum)
        argmax = None
        if a.argmax is not None and b.argmax is not None:
            argmax = torch.where(b.maximum > a.maximum, b.argmax + a.n, a.argmax)  # never that of an empty `b`
        return MaxState(a.n + b.n, maximum, argmax)

    def score(self, state: MaxState) -> Tensor:
        """Return the maximum."""
        return state.maximum

    def share(self, original: MaxState, part: MaxState) -> Tensor:
        """Return 1 where the part's maximum beats the original's, else 0."""
        return (part.maximum > original.maximum).to(part.maximum.dtype)


@dataclass(frozen=True)
class TopState:
    """The k largest similarities in falling order, -inf where there are fewer; shape (..., k)."""

    n: Tensor
    values: Tensor

    def select(self, index: Tensor) -> TopState:
        """Take documents `index` along the last document axis."""
        # The k values of a document lie far apart in memory: merging and scoring are then sums over long rows, 3 times as fast.
        return TopState(_pick(self.n, index), self.values.movedim(-1, 0)[..., index].movedim(0, -1))


@dataclass(frozen=True)
class TopK:
    """phi = mean of the min(k, m) largest similarities (Spike Hijacking, arXiv 2604.05253)."""

    k: int

    def __post_init__(self) -> None:
        """Refuse a k below 1."""
        if self.k < 1:
            raise LidiagError(f"topk({self.k}) keeps nothing: k must be at least 1.", "Write topk(4), for example.")

    def __repr__(self) -> str:
        """Print as the report does."""
        return f"topk({self.k})"

    def pool(self, similarities: Tensor) -> TopState:
        """Reduce (..., m) to (..., k)."""
        return TopState(_count(similarities), _largest(similarities, self.k))

    def merge(self, a: TopState, b: TopState) -> TopState:
        """Take the k largest of both."""
        return TopState(a.n + b.n, _sort_bitonic(torch.maximum(a.values, b.values.flip(-1))))

    def score(self, state: TopState) -> Tensor:
        """Return the mean of the values that exist."""
        kept = state.n.clamp(max=self.k)
        total = torch.where(state.values.isneginf(), 0, state.values).sum(-1)
        return torch.where(kept > 0, total / kept.clamp(min=1), -torch.inf)

    def share(self, original: TopState, part: TopState) -> Tensor:
        """Return the share of the merged top k that comes from the part."""
        # Of two falling rows the part gives its place j where it beats the original's place k - 1 - j; ties are the original's.
        taken = (part.values.flip(-1) > original.values).sum(-1, dtype=original.values.dtype)
        return taken / (original.n + part.n).clamp(min=1, max=self.k)


@dataclass(frozen=True)
class SoftState:
    """Running maximum m, sum of exp((s - m) / t) and sum of s * exp((s - m) / t)."""

    n: Tensor
    maximum: Tensor
    mass: Tensor
    weighted: Tensor

    def select(self, index: Tensor) -> SoftState:
        """Take documents `index` along the last axis."""
        return SoftState(_pick(self.n, index), self.maximum[..., index], self.mass[..., index], self.weighted[..., index])


@dataclass(frozen=True)
class Softmax:
    """phi = sum_j w_j s_j, w = softmax(s / t): a weighted average, not logsumexp (Spike Hijacking, arXiv 2604.05253)."""

    t: float

    def __post_init__(self) -> None:
        """Refuse a temperature that is not positive and finite."""
        if not 0 < self.t < float("inf"):
            raise LidiagError(f"softmax({self.t:g}): the temperature must be above 0.", "Write softmax(0.1), for example.")

    def __repr__(self) -> str:
        """Print as the report does."""
        return f"softmax({self.t:g})"

    def pool(self, similarities: Tensor) -> SoftState:
        """Reduce (..., m) to a shifted sum of exponentials."""
        n = _count(similarities)
        if similarities.shape[-1] == 0:
            zero = similarities.new_zeros(similarities.shape[:-1])
            return SoftState(n, torch.full_like(zero, -torch.inf), zero, zero)
        maximum = similarities.amax(-1)
        weights = ((similarities - maximum.unsqueeze(-1)) / self.t).exp_()
        mass = weights.sum(-1)
        # Not in place: the gradient needs the weights as they are.
        return SoftState(n, maximum, mass, (weights * similarities).sum(-1))

    def merge(self, a: SoftState, b: SoftState) -> SoftState:
        """Rescale both to the larger maximum and add."""
        maximum = torch.maximum(a.maximum, b.maximum)
        scale_a, scale_b = self._scale(a.maximum, maximum), self._scale(b.maximum, maximum)
        mass = a.mass * scale_a + b.mass * scale_b
        return SoftState(a.n + b.n, maximum, mass, a.weighted * scale_a + b.weighted * scale_b)

    def score(self, state: SoftState) -> Tensor:
        """Return the weighted average."""
        empty = state.mass == 0
        return torch.where(empty, -torch.inf, state.weighted / torch.where(empty, 1, state.mass))

    def share(self, original: SoftState, part: SoftState) -> Tensor:
        """Return the part's share of the softmax weight."""
        maximum = torch.maximum(original.maximum, part.maximum)
        own = part.mass * self._scale(part.maximum, maximum)
        total = original.mass * self._scale(original.maximum, maximum) + own
        return own / torch.where(total == 0, 1, total)

    def _scale(self, old: Tensor, new: Tensor) -> Tensor:
        # -inf minus -inf (both pieces empty) must give a factor, not NaN; the mass it scales is 0.
        return torch.where(old.isneginf(), 0.0, ((old - new) / self.t).exp())


@dataclass(frozen=True)
class MeanState:
    """Sum of the similarities."""

    n: Tensor
    total: Tensor

    def select(self, index: Tensor) -> MeanState:
        """Take documents `index` along the last axis."""
        return MeanState(_pick(self.n, index), self.total[..., index])


@dataclass(frozen=True)
class Mean:
    """phi = mean of all similarities: what is left when nothing is selected."""

    def __repr__(self) -> str:
        """Print as the report does."""
        return "mean"

    def pool(self, similarities: Tensor) -> MeanState:
        """Reduce (..., m) to its sum."""
        return MeanState(_count(similarities), similarities.sum(-1))

    def merge(self, a: MeanState, b: MeanState) -> MeanState:
        """Add the sums."""
        return MeanState(a.n + b.n, a.total + b.total)

    def score(self, state: MeanState) -> Tensor:
        """Return the mean."""
        return torch.where(state.n > 0, state.total / state.n.clamp(min=1), -torch.inf)

    def share(self, original: MeanState, part: MeanState) -> Tensor:
        """Return the part's share of the tokens."""
        share = part.n / (original.n + part.n).clamp(min=1)
        return share.to(part.total.dtype).expand(torch.broadcast_shapes(original.total.shape, part.total.shape))


@dataclass(frozen=True)
class Single:
    """The cosine of the pooled vectors: a single-vector model's own score (SMART, arXiv 2605.24938)."""

    def __repr__(self) -> str:
        """Print as the report does."""
        return "single"


@dataclass(frozen=True)
class Hybrid:
    """`single` times the pooled cosine plus `late` times the MEAN over query tokens of MaxSim (SMART, arXiv 2605.24938)."""

    single: float
    late: float

    def __repr__(self) -> str:
        """Print as the report does."""
        return f"hybrid({self.single:g},{self.late:g})"


Scoring: TypeAlias = Pooling | Single | Hybrid
"""What gives a document its score: a pooling of token similarities, or one that uses the pooled vectors too."""

_FORM = re.compile(r"\s*([a-z]+)\s*(?:\(([^()]*)\))?\s*", re.IGNORECASE)
_KNOWN = "maxsim, topk(K), softmax(T), mean, single, hybrid(A,B)"


def parse(text: str) -> Scoring:
    """Read a scoring from its printed form; `softmax(1)` and `softmax(1.0)` are the same.

    Raises:
        LidiagError: the text names none.
    """
    match = _FORM.fullmatch(text)
    wrong = LidiagError(f"There is no pooling named {text!r}.", f"Known: {_KNOWN}.")
    if not match:
        raise wrong
    name = match[1].lower()
    arguments = [part for part in (match[2] or "").split(",") if part.strip()]
    try:
        match name, arguments:
            case "maxsim", []:
                return MaxSim()
            case "topk", [k]:
                return TopK(int(k))
            case "softmax", [t]:
                return Softmax(float(t))
            case "mean", []:
                return Mean()
            case "single", []:
                return Single()
            case "hybrid", [single, late]:
                return Hybrid(float(single), float(late))
            case _:
                raise wrong
    except ValueError:
        raise wrong from None


def _largest(values: Tensor, k: int) -> Tensor:
    """Return the k largest of (..., m) in falling order, -inf beyond m."""
    m = values.shape[-1]
    kept = min(k, m)
    if k <= _SWEEPS < m:
        rest = values.clone(memory_format=torch.contiguous_format)
        columns: list[Tensor] = []
        for _ in range(kept):
            value, position = rest.max(-1, keepdim=True)
            columns.append(value)
            rest.scatter_(-1, position, -torch.inf)
        top = torch.cat(columns, -1)
    else:
        top = values.topk(kept, -1).values
    if kept < k:
        top = torch.nn.functional.pad(top, (0, k - kept), value=-torch.inf)
    return top


def _sort_bitonic(values: Tensor) -> Tensor:
    """Sort (..., k) in falling order; each row first falls and then rises, or the other way round (Batcher 1968)."""
    k = values.shape[-1]
    if k & (k - 1):
        return values.sort(-1, descending=True).values
    columns, half = list(values.unbind(-1)), k // 2
    while half:
        for i in range(k):
            if not i & half:
                a, b = columns[i], columns[i + half]
                columns[i], columns[i + half] = torch.maximum(a, b), torch.minimum(a, b)
        half //= 2
    return torch.stack(columns).movedim(0, -1)


def _count(similarities: Tensor) -> Tensor:
    return torch.tensor(similarities.shape[-1], device=similarities.device)


def _pick(n: Tensor, index: Tensor) -> Tensor:
    return n if n.ndim == 0 else n[..., index]
