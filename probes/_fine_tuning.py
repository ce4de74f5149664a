"""A short fine-tune by in-batch contrast, or by distillation from a teacher's scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lidiag.pooling import Pooling

from ._batch_scores import batch_scores
from ._learners import Learner
from ._pairs import Pairs


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Scores are sums over query tokens, or their means with `per_token`, times `scale`. `teacher` (training pairs, training
    pairs) holds the scores to be met, by Kullback-Leibler divergence over the batch; without it the own document is to win
    (InfoNCE). AdamW; the rate rises over the first `warm_up` of the steps, then stays, or falls to 0.
    """

    pooling: Pooling
    learning_rate: float
    steps: int
    batch: int
    scale: float = 1.0
    per_token: bool = False
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warm_up: float = 0.0
    teacher: Tensor | None = None


def fine_tune(
    learner: Learner, pairs: Pairs, recipe: Recipe, seed: int, after: Callable[[int, nn.Module], None] = lambda _, __: None
) -> nn.Module:
    """Train and return the network; the seed decides its first state and the batches.

    `after` is called with the number of steps made, from 0, and the network as it is then. Another document of the batch that
    is relevant to a query is none of its negatives.
    """
    generator = torch.Generator().manual_seed(seed)
    network = learner.start(generator)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(recipe, step))
    with torch.no_grad():
        after(0, network)
    for step, chosen in enumerate(_batches(len(pairs.queries), recipe, generator), start=1):
        loss = batch_loss(learner, network, pairs, recipe, chosen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        with torch.no_grad():
            after(step, network)
    return network


def batch_loss(learner: Learner, network: nn.Module, pairs: Pairs, recipe: Recipe, chosen: Sequence[int]) -> Tensor:
    """Return the mean loss of the pairs at `chosen`, each query against all their documents."""
    documents = [pairs.documents[i] for i in chosen]
    queries = learner.queries(network, [pairs.queries[i] for i in chosen])
    scores = batch_scores(queries, learner.documents(network, documents), recipe.pooling)
    lengths = queries.lengths.unsqueeze(1).to(scores.device) if recipe.per_token else 1
    logits = scores / lengths * recipe.scale
    if recipe.teacher is not None:
        told = recipe.teacher[list(chosen)][:, list(chosen)].to(logits.device)
        return nn.functional.kl_div(logits.log_softmax(1), told.log_softmax(1), log_target=True, reduction="batchmean")
    logits = logits.masked_fill(~pairs.foreign(chosen, documents).to(logits.device), -torch.inf)
    return nn.functional.cross_entropy(logits, torch.arange(len(chosen), device=logits.device))


@torch.no_grad()
def matched_scale(learner: Learner, pairs: Pairs, recipe: Recipe, seed: int) -> float:
    """Return the scale at which the scores of the first batch have standard deviation 1 before training; ours."""
    generator = torch.Generator().manual_seed(seed)
    network = learner.start(generator)
    chosen = next(_batches(len(pairs.queries), recipe, generator))
    queries = learner.queries(network, [pairs.queries[i] for i in chosen])
    scores = batch_scores(queries, learner.documents(network, [pairs.documents[i] for i in chosen]), recipe.pooling)
    return 1 / float(scores.std().clamp(min=1e-6))


def _batches(n: int, recipe: Recipe, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield the pairs of every step: all of them in a random order, again and again; a batch has at least two."""
    size, left = min(n, recipe.batch), recipe.steps
    while left:
        for chosen in torch.randperm(n, generator=generator).split(size):
            if len(chosen) == size and left:
                left -= 1
                yield [int(i) for i in chosen]


def _rate(recipe: Recipe, step: int) -> float:
    rise = math.ceil(recipe.warm_up * recipe.steps)
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, recipe.steps - rise)
    match recipe.schedule:
        case "constant":
            return 1.0
        case "linear":
            return max(0.0, 1 - done)
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
