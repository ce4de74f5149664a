"""Minimal pairs: what the templates promise, encoders that are blind, and one that reads."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
import torch

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.probes._pair_templates import KINDS, pairs
from tests.probes.toy import ToyAdapter, measure, toy_bench, unit

DIM = 64


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def vector(word):
    return torch.nn.functional.normalize(torch.randn(1, DIM, generator=torch.Generator().manual_seed(zlib.crc32(word.encode()))), dim=1)


def bag(text):
    """Every word is a vector of its own, wherever it stands."""
    return torch.cat([vector(word) for word in words(text)])


def reader(text):
    """Every word is read with the two words before it and behind it."""
    padded = ["", "", *words(text), "", ""]
    mixed = [
        sum(0.6 ** abs(d) * (1 if d == 0 else 0.8) * vector(f"{padded[i + d]}{d or ''}") for d in (-2, -1, 0, 1, 2))
        for i in range(2, len(padded) - 2)
    ]
    return torch.nn.functional.normalize(torch.cat(mixed), dim=1)


def bench(encode, **card):
    return toy_bench([unit([1] + [0] * (DIM - 1))], [unit([1] + [0] * (DIM - 1))], {0: {0: 1}}, adapter=ToyAdapter(encode, **card))


def wins(found):
    return {m.at["kind"]: m for m in found.measurements if m.name == "right_wins"}


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_many_different_and_fair(kind):
    made = pairs(kind, 160, np.random.default_rng(0))
    assert len({(pair.query, pair.right, pair.wrong) for pair in made}) == 160
    assert len({pair.template for pair in made}) == 5
    for pair in made:
        assert pair.right != pair.wrong
        asked = set(words(pair.query))
        assert asked & set(words(pair.wrong)) <= asked & set(words(pair.right)), (
            "the wrong sentence echoes no word that the right one lacks"
        )
        assert not re.search(r"[{}]", pair.query + pair.right + pair.wrong)
    assert made == pairs(kind, 160, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["role-swap", "attribute-binding"])
def test_swapped_words_stay_the_same_words(kind):
    for pair in pairs(kind, 50, np.random.default_rng(1)):
        assert sorted(words(pair.right)) == sorted(words(pair.wrong))


def test_the_directions_of_negation_ask_for_opposite_sentences():
    affirmed, denied = (pairs(f"negation-{how}", 50, np.random.default_rng(2)) for how in ("affirmed", "denied"))
    denials = {"never", "not", "no"}
    assert all(denials & set(words(pair.wrong)) and not denials & set(words(pair.right)) for pair in affirmed)
    assert all(denials & set(words(pair.right)) and not denials & set(words(pair.wrong)) for pair in denied)


def test_a_bag_of_words_is_blind_to_order_and_sees_words():
    found = measure("minimal-pairs", bench(bag))
    for kind in ("role-swap", "attribute-binding"):
        assert wins(found)[kind].value == 0, "equal scores are no win"
    for kind in ("entity", "number", "date"):
        assert wins(found)[kind].low > 0.9
    summary = next(f for f in found.findings if f.name == "pairs")
    assert summary.data["verdict"] == "blind"
    assert summary.data["words"]["role-swap"] == "blind"
    assert summary.data["words"]["entity"] == "reads"


def test_blindness_to_negation_is_found():
    def deaf(text):
        return bag(re.sub(r"\b(never|not|no|always|often|still|certainly|do)\b", "", text.lower()))

    found = measure("minimal-pairs", bench(deaf))
    said = next(f for f in found.findings if f.name == "negation")
    assert said.data["verdict"] == "blind"


def test_an_encoder_that_reads_neighbours_is_cleared_of_swaps():
    found = measure("minimal-pairs", bench(reader), kinds=("role-swap", "attribute-binding"))
    for kind in ("role-swap", "attribute-binding"):
        assert wins(found)[kind].low > 0.8
    assert next(f for f in found.findings if f.name == "pairs").data["verdict"] == "none"


def test_a_model_of_pages_alone_is_skipped():
    with pytest.raises(Skip, match="reads no text"):
        measure("minimal-pairs", bench(bag, modalities=("image",)))


@pytest.mark.parametrize("wrong", [{"kinds": ("x",)}, {"pairs": 3}, {"kinds": ()}])
def test_what_measures_nothing_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("minimal-pairs", wrong)
