from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lidiag.probes._spectrum import peak, spectrum


class Square(nn.Module):
    """Its Jacobian at x is diag(2 x)."""

    def forward(self, x):
        return x**2


def of_squares(squares):
    p = np.array(squares) / np.sum(squares)
    p = p[p > 0]
    return {"effective_rank": pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5), "sigma_1_share": pytest.approx(p.max(), rel=1e-5)}


@pytest.mark.parametrize(("states", "step"), [(1, 1), (63, 1), (100, 1), (128, 2), (200, 3)])
def test_the_spectrum_of_a_bent_head_is_that_of_its_mean_square_jacobian(states, step):
    x = torch.randn(states, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.0, 3.0])
    # at 64 of the states, evenly spread over them
    taken = x[::step][:64].double()
    assert spectrum(Square(), x) == of_squares((4 * taken**2).mean(0).numpy())


def test_equal_directions_count_in_full_and_one_alone_as_one():
    line = nn.Linear(3, 3, bias=False)
    for matrix, rank, share in ((torch.eye(3), 3, 1 / 3), (torch.ones(3, 3), 1, 1)):
        line.weight.data = matrix
        found = spectrum(line, torch.randn(5, 3))
        assert (found["effective_rank"], found["sigma_1_share"]) == (pytest.approx(rank, rel=1e-4), pytest.approx(share, rel=1e-5))


def test_a_peak_is_the_mean_over_query_tokens_of_its_height_in_standard_deviations():
    query, document = torch.eye(2), torch.tensor([[0.9, 0.1], [0.5, 0.2], [0.1, 0.9]])
    heights = [(column.max() - column.mean()) / column.std(ddof=1) for column in document.double().numpy().T]
    assert peak(query, document) == pytest.approx(np.mean(heights), rel=1e-5)
    assert peak(query, document[:2]) == pytest.approx(0.5**0.5, rel=1e-5)
    assert peak(query, document[:1].expand(4, -1)) == 0
    assert np.isnan(peak(query, document[:1]))
