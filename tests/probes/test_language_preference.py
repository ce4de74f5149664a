"""Same-language preference: by hand, planted, and absent."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lidiag.measurement import Skip
from tests.probes.toy import measure, toy_bench, unit

TOPICS, LANGUAGES = 12, ("en", "de", "zh")


def bench(pull):
    """Every topic in three languages; `pull` is how much of a vector is the language's own direction."""
    generator = torch.Generator().manual_seed(0)
    topics = torch.nn.functional.normalize(torch.randn(TOPICS, 24, generator=generator), dim=1)
    tongues = torch.nn.functional.normalize(torch.randn(3, 24, generator=generator), dim=1)

    def item(topic, language):
        noise = 0.3 * torch.randn(2, 24, generator=generator)
        return torch.nn.functional.normalize(topics[topic] + pull * tongues[language] + noise, dim=1)

    places = [(topic, language) for language in range(3) for topic in range(TOPICS)]
    made = toy_bench(
        [item(*place) for place in places], [item(*place) for place in places],
        {q: {d: 1 for d, (topic, _) in enumerate(places) if topic == places[q][0]} for q in range(len(places))},
    )  # fmt: skip
    facets = {
        f"{side}{i}": {"part": LANGUAGES[language], "original": f"t{topic}"} for side in "qd" for i, (topic, language) in enumerate(places)
    }
    return dataclasses.replace(made, dataset=dataclasses.replace(made.dataset, facets=facets))


def test_a_model_that_sees_languages_is_found():
    found = measure("language-preference", bench(pull=3.0))
    assert found.get("same_language_preference", {}).value == pytest.approx(1 - 1 / 3, abs=0.02)
    assert found.get("same_language_first", {}).value > 0.9
    assert {f.data["verdict"] for f in found.findings if f.name == "language"} == {"strong"}


def test_a_model_that_sees_topics_alone_is_cleared():
    found = measure("language-preference", bench(pull=0.0))
    assert abs(found.get("same_language_preference", {}).value) < 0.1
    first, chance = found.get("same_language_first", {}), found.get("chance_same_language_first", {})
    assert chance.value == pytest.approx(1 / 3)
    assert first.low < chance.value < first.high
    across = found.get("RR@10_by_languages", {"query_language": "en", "document_language": "zh"})
    assert across.value > 0.8
    assert across.n == TOPICS


def test_a_tie_is_no_preference():
    made = toy_bench([unit([1, 0])] * 2, [unit([1, 0])] * 2, {0: {0: 1, 1: 1}, 1: {0: 1, 1: 1}})
    facets = {name: {"part": part, "original": "a"} for name, part in (("q0", "en"), ("q1", "de"), ("d0", "en"), ("d1", "de"))}
    found = measure("language-preference", dataclasses.replace(made, dataset=dataclasses.replace(made.dataset, facets=facets)))
    assert found.get("same_language_first", {}).value == 0
    assert any("same_language_preference" in f.text and "was not measured" in f.text for f in found.findings)


def test_a_collection_that_names_no_language_is_skipped():
    with pytest.raises(Skip, match="mixed:"):
        measure("language-preference", toy_bench([unit([1, 0])], [unit([1, 0])], {0: {0: 1}}))
