"""Noise in queries: by hand, harmless where a model does not see it, and costly where it does."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.probes.query_noise import NOISES
from tests.probes.toy import ToyAdapter, measure, toy_bench

DIM = 32
TOPICS = ["turbine", "glacier", "parrot", "violin", "harbour", "lantern", "meadow", "saddle", "walnut", "zeppelin", "pyramid", "compass"]


def vector(word):
    return torch.nn.functional.normalize(torch.randn(1, DIM, generator=torch.Generator().manual_seed(zlib.crc32(word.encode()))), dim=1)


def bench(see):
    """One document per topic; queries name it. `see` is what the model makes of a text before it reads words."""

    def encode(text):
        return torch.cat([vector(word) for word in see(text).split() or ["nothing"]])

    asked = [f"what is the {topic}" for topic in TOPICS]
    return toy_bench(
        [encode(text) for text in asked], [encode(topic) for topic in TOPICS], {i: {i: 1} for i in range(len(TOPICS))},
        texts=TOPICS, query_texts=asked, adapter=ToyAdapter(encode),
    )  # fmt: skip


def kept(found, noise):
    return found.get("ndcg_retained", {"noise": noise}).value


def verdict(found, noise):
    return next(f.data["verdict"] for f in found.findings if f.name == noise)


def test_capitals_cost_nothing_where_letters_are_made_small():
    found = measure("query-noise", bench(str.lower))
    assert kept(found, "case") == 1
    assert verdict(found, "case") == "none"
    assert found.get("ndcg_change", {"noise": "case"}).value == 0
    assert found.get("changed_share", {"noise": "case"}).value == 1


def test_capitals_cost_where_words_are_taken_as_they_stand():
    found = measure("query-noise", bench(lambda text: text))
    assert kept(found, "case") < 0.7
    assert verdict(found, "case") in {"shown", "strong"}
    assert kept(found, "paraphrase") > kept(found, "case"), "the words of content stay"


def test_typos_change_one_place_of_long_words_alone():
    rng = np.random.default_rng(0)
    for _ in range(200):
        noisy = NOISES["typos"]("to be aerodynamics or 1234567", rng).split()
        assert noisy[:2] + noisy[3:] == ["to", "be", "or", "1234567"]
        word = noisy[2]
        assert word[0] == "a"
        assert len(word) in {11, 12}
        if len(word) == 12:
            assert sorted(word) == sorted("aerodynamics")


def test_a_typo_comes_about_as_often_as_it_is_said():
    rng = np.random.default_rng(1)
    changed = sum(NOISES["typos"]("aerodynamics", rng) != "aerodynamics" for _ in range(2000))
    assert 0.25 < changed / 2000 < 0.35


def test_a_paraphrase_keeps_words_of_content():
    assert NOISES["paraphrase"]("What is the heat of turbines", np.random.default_rng(0)) == "Which was a heat for turbines"


def test_filler_stands_around_the_question():
    assert " the question " in NOISES["filler"]("the question", np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"noises": ()}, {"noises": ("rain",)}])
def test_unknown_noise_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("query-noise", wrong)
