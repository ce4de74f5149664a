"""Near-copies: found by their words, and told apart or not."""

from __future__ import annotations

import math

import pytest
import torch

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.probes.near_duplicates import near_copies
from tests.probes.toy import measure, toy_bench, unit

TEXT = "the flow of heat over a slender wing in a tunnel at high speed"
COPY = "the flow of heat over a slender wing in a tunnel at high altitude"
OTHER = "a recipe for bread with seeds and a little salt from the sea"


def bench(*scores, texts=(TEXT, COPY, OTHER), relevant=(0,)):
    """Queries (1, 0); document i has similarity scores[i]."""
    documents = [unit([s, (1 - s * s) ** 0.5]) for s in scores]
    return toy_bench([unit([1, 0])] * 2, documents, {q: dict.fromkeys(relevant, 1) for q in range(2)}, texts=texts)


def test_copies_are_those_that_have_the_same_words():
    found = near_copies(bench(0.9, 0.8, 0.7), 0.4)
    assert {document: near.tolist() for document, near in found.items()} == {0: [1]}
    assert near_copies(bench(0.9, 0.8, 0.7, texts=(TEXT, TEXT, COPY)), 1.0)[0].tolist() == [1]
    # Three documents of two words each: the shared word is in all (weight 1), the others in one (weight 1 + ln 2).
    few = bench(0.9, 0.8, 0.7, texts=("same aa", "same bb", "same cc"))
    cosine = 1 / (1 + (1 + math.log(4 / 2)) ** 2)
    assert near_copies(few, cosine - 0.001)[0].tolist() == [1, 2]
    assert near_copies(few, cosine + 0.001)[0].tolist() == []


@pytest.mark.parametrize(("scores", "first"), [((0.9, 0.8, 0.95), 1.0), ((0.8, 0.9, 0.1), 0.0), ((0.8, 0.8, 0.1), 0.5)])
def test_only_copies_compete_and_ties_share(scores, first):
    found = measure("near-duplicates", bench(*scores), poolings=("maxsim",))
    at = {"pooling": "maxsim"}
    assert found.get("own_first", at).value == first
    assert found.get("chance_own_first", at).value == 0.5
    assert found.get("own_first_excess", at).value == first - 0.5


def test_a_copy_that_is_judged_relevant_is_no_rival():
    found = measure("near-duplicates", bench(0.8, 0.9, 0.1, relevant=(0, 1)), poolings=("maxsim",))
    assert any("own_first" in f.text and "was not measured" in f.text for f in found.findings)


def test_what_unjudged_copies_cost_recall():
    low = [0.5 + 0.01 * i for i in range(11)]
    texts = [TEXT, COPY, *(f"{OTHER} number {i} {i * 7} {i * 13}" for i in range(11))]
    found = measure("near-duplicates", bench(0.1, 0.9, *low, texts=texts), poolings=("maxsim",))
    assert found.get("R@10_with_copies", {"pooling": "maxsim"}).value == 1
    assert found.get("copies_gain", {"pooling": "maxsim"}).value == 1


def test_pages_without_words_are_skipped():
    with pytest.raises(Skip, match="no document has a text"):
        near_copies(toy_bench([unit([1, 0])], [torch.eye(2)[:1]], {0: {0: 1}}, texts=[""]), 0.4)


def test_a_likeness_that_is_none_is_refused():
    with pytest.raises(LidiagError, match="likeness"):
        catalog.probe("near-duplicates", {"likeness": 0})
