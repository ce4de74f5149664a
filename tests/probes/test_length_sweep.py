from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pytest
import torch

from lidiag import catalog
from lidiag.dataset import Page
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.probes._growth import Filler
from lidiag.probes.length_sweep import GROWN, _say_loss, _variants
from lidiag.similarity import Tiling
from tests.probes.toy import ToyAdapter, gaussian, measure, toy_bench

GROWTH = (1, 2, 4, 8)
DIM = 8


def ragged(documents=24):
    generator = torch.Generator().manual_seed(11)
    queries = [gaussian(generator, 1 + i % 4, DIM) for i in range(6)]
    made = [gaussian(generator, 1 + i * 5 % 13, DIM) for i in range(documents)]
    return toy_bench(queries, made, {q: {q: 2, q + 6: 1} for q in range(6)})


def at(pooling="maxsim", growth=8, grown="non-relevant", filler="documents"):
    return {"pooling": pooling, "growth": growth, "grown": grown, "filler": filler}


def said(found, name):
    return [finding for finding in found.findings if finding.name == name]


def test_fillers_that_are_relevant_for_want_of_others_are_said():
    some, most = (measure("length-sweep", with_relevant(n), poolings=["maxsim"], fillers=["documents"], texts=0) for n in (3, 20))
    assert not said(some, "relevant fillers")
    assert said(most, "relevant fillers")[0].severity == "warning"


def with_relevant(count):
    bench = ragged()
    return toy_bench(list(bench.queries), list(bench.documents), {0: dict.fromkeys(range(count), 1)})


@pytest.mark.parametrize("kind", ["documents", "gaussian"])
def test_fillers_are_distinct_and_of_nearly_the_same_length(kind):
    generator = torch.Generator().manual_seed(2)
    bench = toy_bench([gaussian(generator, 2, DIM)], [gaussian(generator, 1 + i, DIM) for i in range(300)], {0: {0: 1}})
    filler = Filler.of(kind, bench, 7)
    taken = filler.chosen(np.array([0]), 7, np.random.default_rng(0))
    assert all(len(set(row)) == 7 for row in taken.tolist())
    near = np.abs(filler.lengths(bench)[taken] - bench.lengths[:, None])
    if kind == "documents":
        assert near.max() <= 32
        assert not (taken == np.arange(300)[:, None]).any()
    else:
        assert near.max() <= 1  # of 300 lengths fillers have 256


@pytest.mark.parametrize(
    ("kind", "most", "drawn"), [("documents", 3, 32), ("documents", 20, 40), ("gaussian", 3, 16), ("gaussian", 40, 40)]
)
def test_twice_as_many_of_the_collection_are_drawn_as_are_taken(kind, most, drawn):
    # Half of them may be relevant to a query; rows of Gaussian numbers never are. 32 and 16 are drawn at least.
    bench = toy_bench([torch.ones(1, 2)], [torch.ones(1 + i % 5, 2) for i in range(120)], {0: {0: 1}})
    assert Filler.of(kind, bench, most).candidates.shape == (120, drawn)


def test_fillers_are_as_often_shorter_as_longer():
    bench = toy_bench([torch.ones(1, 2)], [torch.ones(1 + i, 2) for i in range(120)], {0: {0: 1}})
    off = Filler.of("documents", bench, 16).candidates - np.arange(120)[:, None]
    assert (off[16:104].min(), off[16:104].max()) == (-16, 16)  # all around it but itself


def test_a_document_grows_by_no_more_others_than_there_are():
    bench = toy_bench([torch.ones(1, 2)], [torch.empty(0, 2), *[torch.ones(1, 2)] * 4], {0: {1: 1}})
    assert Filler.of("documents", bench, 3).candidates.shape == (4, 3)
    with pytest.raises(Skip, match="4 others needs more than the 4"):
        Filler.of("documents", bench, 4)


def test_of_few_documents_all_others_are_drawn():
    bench = toy_bench([torch.ones(1, 2)], [torch.ones(1, 2)] * 8, {0: {0: 1}})
    drawn = np.sort(Filler.of("documents", bench, 7).candidates).tolist()
    assert drawn == [[d for d in range(8) if d != host] for host in range(8)]


def test_fillers_of_the_collection_may_be_answers_and_gaussian_ones_are_none():
    bench, relevant = ragged(), np.array([2, 3])
    own, made = (Filler.of(kind, bench, 7) for kind in ("documents", "gaussian"))
    taken = np.argsort(own.hosts)[[[1, 2], [2, 3]]]  # hosts stand by length
    assert [filler.answers(taken, relevant) for filler in (own, made)] == [3, 0]


def test_growth_is_told_from_what_was_before_and_in_lengths():
    # All documents have three vectors, so that eight times as long is exactly that; the answer is what the queries ask for.
    generator = torch.Generator().manual_seed(8)
    asked = gaussian(generator, 1, DIM)
    documents = [asked.repeat(3, 1), *(gaussian(generator, 3, DIM) for _ in range(40))]
    found = measure("length-sweep", toy_bench([asked] * 2, documents, {0: {0: 1}, 1: {0: 1}}), poolings=["mean"], growth=[8], texts=0)
    assert said(found, "growth")[0].data["reached"] == {"documents": 8, "gaussian": 8}
    assert {m.at["growth"] for m in found.measurements if m.name == "ndcg_retained"} == {1, 8}
    assert [found.get("ndcg_retained", at("mean", growth=1, filler=filler)).value for filler in ("documents", "gaussian")] == [1, 1]


def test_a_filler_brings_no_answer_along():
    bench = ragged()
    filler = Filler.of("documents", bench, 7)
    relevant = np.array([1, 4, 9, 16])
    for seed in range(20):
        assert np.isin(filler.hosts[filler.chosen(relevant[:0], 7, np.random.default_rng(seed))], relevant).any()
        assert not np.isin(filler.hosts[filler.chosen(relevant, 7, np.random.default_rng(seed))], relevant).any()


def test_every_query_draws_fillers_of_its_own():
    # Equal queries: were the fillers the same for all, so were the rankings, and nothing would show what their draw is worth.
    generator = torch.Generator().manual_seed(4)
    asked = gaussian(generator, 3, DIM)
    answers = [torch.nn.functional.normalize(asked + 0.8 * gaussian(generator, 3, DIM)) for _ in range(3)]
    bench = toy_bench([asked] * 12, answers + [gaussian(generator, 5, DIM) for _ in range(60)], {q: {q % 3: 1} for q in range(12)})
    for filler in ("documents", "gaussian"):
        found = measure("length-sweep", bench, poolings=["maxsim"], fillers=[filler], growth=[1, 2], texts=0)
        held = {item.at["growth"]: item.values for item in found.per_query if item.name == "ndcg_retained" and item.at["grown"] == "all"}
        assert len(set(held[1])) <= 3
        assert len(set(held[2])) > 3


def test_documents_grow_by_as_many_gaussian_rows_as_they_have():
    bench = ragged()
    filler = Filler.of("gaussian", bench, 7)
    taken = filler.chosen(np.array([0]), 7, np.random.default_rng(0))
    assert (filler.lengths(bench)[taken] == bench.lengths[filler.hosts][:, None]).all()
    found = measure("length-sweep", bench, poolings=["maxsim"], fillers=["gaussian"], texts=0)
    assert said(found, "growth")[0].data["reached"] == {"gaussian": 8}


def scored(*pairs):
    """Documents of one vector with these similarities to the two tokens of TWO."""
    return [torch.tensor([[a, b, 0.0]]) for a, b in pairs]


TWO = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def test_growth_that_changes_nothing():
    # All but the relevant document have the same similarities, so more of them change no maximum.
    bench = toy_bench([TWO, TWO], scored((0.9, 0.1), *[(0.5, 0.1)] * 19), {0: {0: 1}, 1: {0: 1}})
    found = measure("length-sweep", bench, poolings=["maxsim"], fillers=["documents"], texts=0)
    for growth in GROWTH:
        for who in ("all", "non-relevant", "relevant"):
            assert found.get("ndcg_retained", at(growth=growth, grown=who)).value == 1
            assert found.get("recall_retained", at(growth=growth, grown=who)).value == 1
    assert found.get("slope", {"pooling": "maxsim", "grown": "all", "filler": "documents"}).value == 0
    assert said(found, "growth")[0].data["reached"] == {"documents": 8}


def test_growth_that_takes_the_ranking_over():
    # Half of the others match one token and half the other: together they pass the relevant one, 0.8 + 0.8 > 0.5 + 0.5.
    bench = toy_bench([TWO], scored((0.5, 0.5), *[(0.8, 0.0)] * 12, *[(0.0, 0.8)] * 12), {0: {0: 1}})
    found = measure("length-sweep", bench, poolings=["maxsim"], fillers=["documents"], texts=0)
    assert found.get("ndcg_retained", at(grown="non-relevant")).value == 0
    assert found.get("recall_retained", at(grown="non-relevant")).value == 0
    assert found.get("ndcg_retained", at(grown="relevant")).value == 1
    assert found.get("ndcg_retained", at(growth=1)).value == 1
    assert "no logarithm" in said(found, "slope")[0].text
    # It exists or not by the draw of fillers, so no baseline may judge it; the curve below it is judged.
    assert {m.better for m in found.measurements if m.name == "slope"} == {"neither"}
    assert {m.better for m in found.measurements if m.name == "ndcg_retained"} == {"higher"}
    loss = said(found, "loss")[0]
    assert loss.data == {"verdict": "cannot tell", "at": at()}  # one query
    assert "by documents, 1.000 [" in loss.text


def test_the_documents_that_grow_are_all_the_others_or_the_relevant():
    (relevant,) = toy_bench([TWO], scored(*[(0.5, 0.5)] * 4), {0: {0: 2, 1: 0, 3: 1}}).relevant
    before, after = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]
    found = _variants(torch.tensor([before, after]), relevant)
    assert GROWN == ("all", "non-relevant", "relevant")
    torch.testing.assert_close(found[0], torch.tensor([before] * 3))
    torch.testing.assert_close(found[1], torch.tensor([after, [0.1, 2.0, 3.0, 0.4], [1.0, 0.2, 0.3, 4.0]]))


@pytest.mark.parametrize(
    ("low", "high", "word", "lost"),
    [
        (0.6, 0.7, "strong", "0.350 [0.300, 0.400] of"),
        (0.7, 0.9, "shown", "0.200 [0.100, 0.300] of"),
        (0.96, 1.02, "none", "0.010 [-0.020, 0.040] of"),
        (0.96, 1.4, "none", "-0.180 [-0.400, 0.040] of"),  # a gain is no loss
        (0.8, 1.0, "cannot tell", "0.100 [0.000, 0.200] of"),
        (None, None, "cannot tell", "0.100 of"),
    ],
)
def test_a_loss_has_its_word_and_its_interval(low, high, word, lost):
    found = toy_bench([TWO], scored((0.5, 0.5)), {0: {0: 1}}).findings()
    others = {"n": 20, "unit_of_n": "queries", "low": 0, "high": 1}
    found.number("recall_retained", at(), 0.5, **others)
    found.number("ndcg_retained", at(growth=2), 0.5, **others)
    value, why = (0.9, "one unit shows no spread") if low is None else ((low + high) / 2, None)
    found.number("ndcg_retained", at(), value, **others | {"low": low, "high": high}, no_interval=why)
    _say_loss(found, at())
    assert said(found, "loss")[0].data == {"verdict": word, "at": at()}
    assert f"8 times as long, by documents, {lost} nDCG@10 is lost: {word}" in said(found, "loss")[0].text
    _say_loss(found, at(growth=4))
    assert len(said(found, "loss")) == 1


def test_relevant_documents_can_only_gain_by_growing_under_maxsim():
    found = measure("length-sweep", ragged(), texts=0)
    for filler in ("documents", "gaussian"):
        assert found.get("ndcg_retained", at(grown="relevant", filler=filler)).value >= 1


def test_the_slope_is_that_of_the_logarithm_of_the_curve():
    found = measure("length-sweep", ragged(), poolings=["maxsim"], fillers=["gaussian"], texts=0)
    for who in ("all", "relevant"):
        curve = [found.get("ndcg_retained", at(growth=g, grown=who, filler="gaussian")).value for g in GROWTH]
        slope = found.get("slope", {"pooling": "maxsim", "grown": who, "filler": "gaussian"})
        assert slope.value == pytest.approx(np.polyfit(np.log2(GROWTH), np.log(curve), 1)[0], abs=1e-9)
        assert slope.low is None or slope.low <= slope.value <= slope.high


def test_blocks_of_queries_change_no_value():
    whole = measure("length-sweep", ragged(), texts=0)
    blocks = measure("length-sweep", dataclasses.replace(ragged(), tiling=Tiling(query_tokens=4)), texts=0)
    assert [(m.name, m.at, m.value) for m in whole.measurements] == [(m.name, m.at, m.value) for m in blocks.measurements]


def test_an_empty_document_stays_empty():
    bench = ragged()
    more = MultiVectors.pack([*bench.documents, torch.zeros(0, DIM)])
    documents = [*bench.dataset.documents, dataclasses.replace(bench.dataset.documents[0], id="d99")]
    with_empty = dataclasses.replace(bench, documents=more, dataset=dataclasses.replace(bench.dataset, documents=documents))
    plain, found = (measure("length-sweep", b, texts=0, poolings=["maxsim", "softmax(1)"]) for b in (bench, with_empty))
    assert [(m.name, m.at, m.value) for m in found.measurements] == [(m.name, m.at, m.value) for m in plain.measurements]


def test_too_few_documents_to_grow_by_are_skipped():
    with pytest.raises(Skip, match="7 others needs more than the 3"):
        measure("length-sweep", toy_bench([TWO], scored((1, 0), (0, 1), (0, 0)), {0: {0: 1}}))


def word(text):
    return gaussian(torch.Generator().manual_seed(zlib.crc32(text.encode())), 1, DIM)


def causal(text):
    """Every word is mixed with the words before it."""
    words = torch.cat([word(w) for w in text.split() or [""]])
    before = words.cumsum(0) / torch.arange(1, len(words) + 1).unsqueeze(1)
    return torch.nn.functional.normalize(words + before)


def bidirectional(text):
    """Every word is mixed with all words."""
    words = torch.cat([word(w) for w in text.split() or [""]])
    return torch.nn.functional.normalize(words + 0.2 * words.mean(0))


def text_bench(encode, **card):
    texts = [" ".join(f"w{(7 * d + 3 * i) % 101}" for i in range(4 + d % 9)) for d in range(30)]
    asked = [f"w{q} w{q + 40}" for q in range(6)]
    adapter = ToyAdapter(encode, **card)
    return toy_bench(
        [encode(text) for text in asked], [encode(text) for text in texts], {q: {q: 1} for q in range(6)}, texts=texts, adapter=adapter
    )


def by_text(found, name, filler, pooling="maxsim"):
    return found.get(name, {"pooling": pooling, "filler": filler})


@pytest.mark.parametrize("filler", ["neutral", "document"])
def test_a_causal_encoder_is_found_and_maxsim_never_falls(filler):
    found = measure("length-sweep", text_bench(causal), texts=20)
    assert said(found, "attention")[0].data["inferred"] == "causal"
    assert by_text(found, "fall_share", filler).value == 0
    assert by_text(found, "rise_share", filler).value > 0.5
    assert by_text(found, "recontextualisation", filler).value == pytest.approx(0, abs=1e-6)


def test_a_bidirectional_encoder_is_found_and_maxsim_may_fall():
    found = measure("length-sweep", text_bench(bidirectional), texts=20)
    assert said(found, "attention")[0].data["inferred"] == "bidirectional"
    assert by_text(found, "fall_share", "neutral").value > 0


@pytest.mark.parametrize("encode", [causal, bidirectional])
@pytest.mark.parametrize("pooling", ["maxsim", "topk(4)", "softmax(0.1)", "softmax(1)"])
def test_recontextualisation_and_draws_add_up_to_the_change(encode, pooling):
    found = measure("length-sweep", text_bench(encode), texts=20)
    for filler in ("neutral", "document"):
        change, own, new = (by_text(found, name, filler, pooling).value for name in ("score_change", "recontextualisation", "draws"))
        assert change == pytest.approx(own + new, abs=1e-9)
        if pooling == "maxsim":
            assert new >= 0


def test_topk_falls_for_a_causal_encoder_where_a_document_has_fewer_vectors_than_k():
    bench = text_bench(causal)
    found = measure("length-sweep", bench, texts=20, poolings=["maxsim", "topk(12)"])
    assert by_text(found, "fall_share", "neutral", "topk(12)").value > 0
    assert by_text(found, "fall_share", "neutral").value == 0


def test_a_small_change_of_context_is_still_no_causal_encoder():
    # Prefix vectors with a cosine of more than 0.999: a loose tolerance would call it causal.
    def nearly(text):
        words = torch.cat([word(w) for w in text.split() or [""]])
        return torch.nn.functional.normalize(words + 0.02 * words.mean(0))

    assert said(measure("length-sweep", text_bench(nearly), texts=20), "attention")[0].data["inferred"] == "bidirectional"


def test_special_vectors_at_the_end_do_not_hide_a_causal_encoder():
    def with_end(text):
        return torch.cat([causal(text), torch.nn.functional.normalize(causal(text).mean(0, keepdim=True))])

    class Ended(ToyAdapter):
        def labels(self, side, item):
            *words, end = super().labels(side, item)
            return [*words, dataclasses.replace(end, type="special", text="[END]")]

    bench = text_bench(with_end)
    adapter = Ended(with_end)
    bench = dataclasses.replace(bench, adapter=adapter, encode_documents=adapter.documents)
    found = measure("length-sweep", bench, texts=20)
    assert said(found, "attention")[0].data["inferred"] == "causal"


def test_a_configuration_that_says_otherwise_is_a_warning():
    (finding,) = said(measure("length-sweep", text_bench(causal, attention="bidirectional"), texts=20), "attention")
    assert finding.severity == "warning"
    assert "Its configuration says bidirectional" in finding.text


def test_noise_of_batches_that_hides_the_answer_is_said():
    class Noisy(ToyAdapter):
        def documents(self, documents):
            vectors = super().documents(documents)
            return dataclasses.replace(vectors, vectors=vectors.vectors + 0.02 * (len(documents) > 1))

    bench = text_bench(causal)
    bench = dataclasses.replace(bench, adapter=Noisy(causal))
    (finding,) = said(measure("length-sweep", bench, texts=20), "attention")
    assert finding.data["inferred"] == "cannot tell"


def test_documents_without_room_and_longer_texts_that_were_cut_are_left_out():
    limit = 16

    def short(text):
        return causal(text)[:limit]

    found = measure("length-sweep", text_bench(short, document_length=limit), texts=30)
    # Of thirty documents of 4 to 12 words those of up to 7 leave room for as much again.
    assert found.get("prefix_change", {}).n <= 2 * 16
    assert said(found, "attention")[0].data["inferred"] == "causal"


def test_documents_whose_tokens_change_at_the_seam_are_left_out():
    class Fused(ToyAdapter):
        def labels(self, side, item):
            labels = super().labels(side, item)
            return (
                [dataclasses.replace(labels[0], text="fused"), *labels[1:]]
                if " + " in getattr(item, "id", "") and "w7" in item.text
                else labels
            )

    bench = text_bench(causal)
    found = measure("length-sweep", dataclasses.replace(bench, adapter=Fused(causal)), texts=30)
    assert {finding.data["filler"] for finding in said(found, "left out")} == {"neutral", "document"}
    assert all(0 < finding.data["left_out"] < 30 for finding in said(found, "left out"))


def test_pages_have_no_text_space():
    bench = ragged()
    pages = [dataclasses.replace(document, page=Page(b"")) for document in bench.dataset.documents]
    found = measure("length-sweep", dataclasses.replace(bench, dataset=dataclasses.replace(bench.dataset, documents=pages)))
    assert "page image" in said(found, "text space")[0].text
    assert not any(m.name == "draws" for m in found.measurements)


def test_a_model_that_is_not_at_hand_has_no_text_space():
    def refuse(documents):
        raise Skip(f"no model to encode {len(documents)} documents")

    found = measure("length-sweep", dataclasses.replace(text_bench(causal), encode_documents=refuse), texts=20)
    assert "no model to encode 20 documents" in said(found, "text space")[0].text


def test_two_queries_and_one_doubling_are_enough():
    assert catalog.probe("length-sweep", {"growth": [2], "text_queries": 2})
    assert catalog.probe("length-sweep", {"texts": 0, "text_queries": 0})


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"poolings": ["single"]}, "single"),
        ({"growth": [1]}, "grows nothing"),
        ({"growth": [0, 2]}, "grows nothing"),
        ({"growth": []}, "grows nothing"),
        ({"poolings": []}, "grows nothing"),
        ({"fillers": []}, "grows nothing"),
        ({"texts": -1}, "-1 texts"),
        ({"fillers": ["water"]}, "water"),
        ({"text_queries": 1}, "1 queries"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters, why):
    with pytest.raises(LidiagError, match=why):
        catalog.probe("length-sweep", parameters)


def test_every_measurement_has_its_formula():
    found = measure("length-sweep", text_bench(causal), texts=20)
    assert {m.name for m in found.measurements} == set(catalog.probe_class("length-sweep").formulas)
