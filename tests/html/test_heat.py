"""Heat maps: a cell for every pair of coordinates, the number on it, and its depth in order."""

from __future__ import annotations

import re

from lidiag.html import heat
from lidiag.measurement import Measurement
from lidiag.report import Result


def result(**values):
    made = tuple(
        Measurement(name="nDCG@10_change", at={"train_pooling": train, "eval_pooling": read}, value=value, n=9)
        for (train, read), value in values["cells"].items()
    )
    return Result(
        probe="fine-tune", version=1, question="", primary="", parameters={}, dataset="d", status="passed", seconds=0, measurements=made
    )


CELLS = {("maxsim", "maxsim"): 0.1, ("maxsim", "topk(4)"): -0.2, ("topk(4)", "maxsim"): 0.3, ("topk(4)", "topk(4)"): 0.05}


def test_every_cell_has_its_number_and_the_largest_is_the_deepest():
    ((caption, drawn),) = heat.maps(result(cells=CELLS), "x")
    assert caption == "Change of nDCG@10 by training"
    for value in ("0.1", "-0.2", "0.3", "0.05"):
        assert value in drawn.replace("\N{MINUS SIGN}", "-")
    depths = sorted(float(found) for found in re.findall(r'opacity="([0-9.]+)"', drawn) if float(found) < 1)
    assert len(depths) >= 4
    assert max(depths) == heat._DARKEST
    assert "topk(4), maxsim: 0.3" in drawn, "the description tells it to who cannot see it"


def test_one_cell_is_no_map():
    assert not list(heat.maps(result(cells={("maxsim", "maxsim"): 0.1}), "x"))


def test_equal_cells_are_drawn():
    ((_, drawn),) = heat.maps(result(cells=dict.fromkeys(CELLS, 0.0)), "x")
    assert drawn.startswith("<svg")
