from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Mean, Softmax, TopK
from lidiag.probes import _injection
from lidiag.probes._distractors import RANDOM, TARGETED, Source
from lidiag.probes._injection import BEFORE, Sweep
from lidiag.probes._nearest import first_look
from lidiag.similarity import Needs, Tiling, similarity_pass
from tests.probes.toy import ToyAdapter, gaussian, measure, toy_bench, unit

POOLINGS = (MaxSim(), TopK(4), Softmax(0.1), Mean())
QUERY = unit([1, 0, 0])


def at(similarity: float) -> torch.Tensor:
    """One vector with that similarity to QUERY."""
    return torch.tensor([[similarity, (1 - similarity**2) ** 0.5, 0.0]])


def hijacking(bench, distractor, k=(1,), poolings=("maxsim",), **more):
    return measure("distractor-hijacking", bench, poolings=poolings, distractors=(distractor,), k=k, echo=0, **more)


def value(found, name, distractor, k=1, pooling="maxsim"):
    return found.get(name, {"pooling": pooling, "k": k, "distractor": distractor}).value


def random_bench(seed=0, queries=4, documents=30, **more):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (queries + documents,), generator=generator).tolist()
    items = [gaussian(generator, size, 6) for size in sizes]
    relevance = {q: {3 * q: 2, 3 * q + 1: 1, 3 * q + 2: 0} for q in range(queries)}
    return toy_bench(items[:queries], items[queries:], relevance, **more)


def test_the_hijack_rate_is_1_where_the_set_beats_every_document():
    # The spike of a query of one token is that token: similarity 1, against 0.5 and 0.8.
    found = hijacking(toy_bench([QUERY], [at(0.9), at(0.5), at(0.8)], {0: {0: 1}}), "spike")
    assert value(found, "hijack_rate", "spike") == 1


def test_the_hijack_rate_is_0_where_every_document_has_as_good_a_vector():
    # The nearest foreign vector only ties with what each document has, and a tie stays with the original.
    found = hijacking(toy_bench([QUERY], [at(0.9), at(0.5), at(0.5)], {0: {0: 1}}), "targeted")
    assert value(found, "hijack_rate", "targeted") == 0


def test_the_hijack_rate_is_a_half_where_the_set_beats_one_document_of_two():
    found = hijacking(toy_bench([QUERY], [at(0.9), at(0.5), at(0.8)], {0: {0: 1}}), "targeted")
    assert value(found, "hijack_rate", "targeted") == 0.5


def test_the_hijack_rate_of_topk_is_the_share_of_places_taken():
    # Of the 4 best of 5, with the set's 0.9: one is injected; a document of one token merges to two, half injected.
    documents = [at(0.1), torch.cat([at(0.5)] * 4), at(0.9), at(0.2)]
    found = hijacking(toy_bench([QUERY], documents, {0: {0: 1}}), "targeted", poolings=("topk(4)",))
    assert value(found, "hijack_rate", "targeted", pooling="topk(4)") == pytest.approx((1 / 4 + 1 / 2 + 1 / 2) / 3)


@pytest.mark.parametrize("k", [10, 30, 90])
def test_exchangeable_vectors_take_the_share_that_they_are_of_all_vectors(k):
    generator = torch.Generator().manual_seed(1)
    tokens = 30
    queries, documents = ([gaussian(generator, size, 16) for _ in range(n)] for size, n in ((8, 20), (tokens, 100)))
    bench = toy_bench(queries, documents, {q: {q: 1} for q in range(len(queries))})
    measured = hijacking(bench, "gaussian", k=(k,)).get("hijack_rate", {"pooling": "maxsim", "k": k, "distractor": "gaussian"})
    # Five sigma of the draws: 20 x 8 tokens x 5 draws, each of which meets all documents.
    assert measured.value == pytest.approx(k / (k + tokens), abs=5 * 0.5 / (20 * 8 * 5) ** 0.5)
    assert measured.low < k / (k + tokens) < measured.high


def test_damage_by_hand():
    # 1 relevant document at 0.9, 11 others at 0.5; the set is at 1: all others pass the relevant one.
    found = hijacking(toy_bench([QUERY], [at(0.9)] + [at(0.5)] * 11, {0: {0: 1}}), "spike", k=(0, 1))
    assert value(found, "hijack_gain", "spike") == pytest.approx((1 - 0.5) / (0.9 - 0.5), rel=1e-5)
    assert value(found, "outbid_rate", "spike") == 1
    assert value(found, "takeover@10", "spike") == 1
    assert value(found, "recall_retained", "spike") == 0
    assert value(found, "ndcg_retained", "spike") == 0
    assert [value(found, name, "spike", k=0) for name in ("hijack_rate", "hijack_gain", "takeover@10", "recall_retained")] == [0, 0, 0, 1]


def test_the_gain_is_a_ratio_of_means_over_queries():
    documents = [torch.tensor([[a, (1 - a * a - b * b) ** 0.5, b]]) for a, b in ((0.8, 0.5), (0.5, 0.6), (0.3, 0.3))]
    bench = toy_bench([unit([1, 0, 0]), unit([0, 0, 1])], documents, {0: {0: 1}, 1: {1: 1}})
    # Of query 0 the two others gain 0.5 and 0.7 over a gap of 0.8 - 0.4, of query 1 the same over 0.6 - 0.4; the mean of the ratios is 2.25.
    gain = hijacking(bench, "spike").get("hijack_gain", {"pooling": "maxsim", "k": 1, "distractor": "spike"})
    assert (gain.value, gain.n, gain.aggregate) == (pytest.approx((0.6 + 0.6) / (0.4 + 0.2), rel=1e-5), 2, "ratio")


def test_merging_gives_what_scoring_the_longer_documents_gives():
    bench = random_bench()
    k = (1, 3, 20)
    sweep = Sweep(bench, POOLINGS, ("targeted_pooled",), k, draws=1)
    for block in similarity_pass(bench.queries, bench.documents, Needs(POOLINGS, tokens=True)):
        sweep.fold(block, lambda *_: None)
    for query, nearest in enumerate(first_look(bench, 20)):
        for p, pooling in enumerate(POOLINGS):
            assert sweep.before[query, p, BEFORE.index("gap")] == pytest.approx(_gap(bench, query, pooling), abs=1e-5)
        for i, size in enumerate(k):
            injected = bench.documents.vectors[torch.from_numpy(nearest.pooled[:size])]
            relevant = set(bench.relevant[query].tolist())
            longer = [d if j in relevant else torch.cat((d, injected)) for j, d in enumerate(bench.documents)]
            for p, pooling in enumerate(POOLINGS):
                expected = _rescored(bench, query, pooling, longer, injected)
                np.testing.assert_allclose(sweep.effects[query, p, 0, i], expected, rtol=1e-4, atol=1e-5)


def _gap(bench, query, pooling):
    scores = np.array([pooling.score(pooling.pool(bench.queries[query].double() @ d.double().T)).sum() for d in bench.documents])
    relevant = np.isin(np.arange(len(scores)), bench.relevant[query])
    return scores[relevant].max() - np.median(scores[~relevant])


def _rescored(bench, query, pooling, longer, injected):
    """EFFECTS in float64, from the definitions: every document is scored anew, with the set's vectors in it."""
    tokens = bench.queries[query].double()
    phi, after = (torch.stack([pooling.score(pooling.pool(tokens @ d.double().T)) for d in docs], 1) for docs in (bench.documents, longer))
    parts = pooling.pool(tokens @ injected.double().T)
    share = torch.stack([pooling.share(pooling.pool(tokens @ d.double().T), parts) for d in bench.documents], 1)
    relevant = torch.zeros(len(bench.documents), dtype=torch.bool)
    relevant[bench.relevant[query]] = True
    before, now = phi.sum(0), after.sum(0)
    gain = (after - phi).clamp(min=0).sum(0)[~relevant].mean()
    first = set(before.topk(10).indices.tolist())
    bar = before.topk(10).values[-1]
    takes = [bool(now[d] > bar) for d in range(len(now)) if d not in first and not relevant[d]]
    ranking = now.argsort(descending=True)[:10].tolist()
    grades = bench.grades[query]
    ideal = sorted((max(0, g) for g in grades.values()), reverse=True)
    dcg, best = (sum(g / np.log2(r + 2) for r, g in enumerate(gains)) for gains in ([max(0, grades.get(d, 0)) for d in ranking], ideal))
    recall = len(set(ranking) & set(bench.relevant[query].tolist())) / len(bench.relevant[query])
    rates = (share[:, ~relevant].mean(), gain, share[:, relevant].mean())
    return [*(float(rate) for rate in rates), float(np.mean(takes)), recall, dcg / best]


def test_every_kind_has_the_figures_that_it_has_alone():
    kinds = ("targeted", "spike", "random")
    found = measure("distractor-hijacking", random_bench(), poolings=("maxsim",), distractors=kinds, k=(1, 3), draws=3, echo=0)
    for kind in kinds:
        alone = hijacking(random_bench(), kind, k=(1, 3), draws=3)
        for name, k in (("hijack_rate", 1), ("hijack_rate", 3), ("takeover@10", 3)):
            assert value(found, name, kind, k) == value(alone, name, kind, k)
    assert len({value(found, "hijack_rate", kind, 3) for kind in kinds}) == 3


def test_nothing_is_looked_for_where_no_set_is_made_of_what_is_near(monkeypatch):
    monkeypatch.setattr(_injection, "first_look", lambda *_: pytest.fail("looked"))
    assert value(hijacking(random_bench(), "spike"), "hijack_rate", "spike") > 0


def test_a_tie_is_one_within_a_millionth_of_the_vectors_lengths():
    # Lengths 100 and 10, so that the products are below 1000 and lose a thousandth.
    documents = [100 * gaussian(torch.Generator().manual_seed(d), 2, 4) for d in range(3)]
    bench = toy_bench([10 * unit([1, 2, 3, 4])], documents, {0: {0: 1}})
    found = Sweep(bench, (MaxSim(),), ("targeted",), (4,), draws=1)._similarities(0)[0, 0]
    products = (bench.queries[0].double() @ torch.cat(documents[1:]).double().T)[0].sort(descending=True).values
    np.testing.assert_allclose(found.double(), products - 1e-3, atol=2e-4)


def test_a_query_whose_relevant_document_is_empty_has_no_gap_and_none_to_outbid():
    bench = toy_bench([QUERY, QUERY], [at(0.9), torch.empty(0, 3), at(0.5)], {0: {0: 1}, 1: {1: 1}})
    found = hijacking(bench, "spike")
    assert found.get("hijack_rate", {"pooling": "maxsim", "k": 1, "distractor": "spike"}).n == 2
    assert found.get("hijack_gain", {"pooling": "maxsim", "k": 1, "distractor": "spike"}).n == 1


def test_the_share_of_tokens_that_pooled_targets_are_near():
    # All the nearest vectors belong to the first token of two.
    query = unit([1, 0, 0], [0, 0, 1])
    found = hijacking(toy_bench([query], [at(0.9), at(0.8), at(0.7), at(0.6)], {0: {0: 1}}), "targeted_pooled", k=(2,))
    assert found.get("query_tokens_covered", {"k": 2, "distractor": "targeted_pooled"}).value == 0.5


def test_matched_gaussians_lie_where_the_corpus_lies():
    generator = torch.Generator().manual_seed(5)
    rows = torch.nn.functional.normalize(
        torch.randn(4000, 4, generator=generator) * torch.tensor([1, 0.5, 0.2, 0.1]) + torch.tensor([0.8, 0, 0, 0.6]), dim=1
    )
    source = Source(MultiVectors.pack([rows]))
    torch.testing.assert_close(source.moments.mean, rows.mean(0))
    torch.testing.assert_close(source.moments.root @ source.moments.root.T, rows.T.cov(correction=0))
    drawn = source.draw("gaussian_matched", rows[:1], 4000, np.random.default_rng(0))
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(4000))
    # Setting the length to 1 moves the moments a little; an isotropic draw would miss the mean by 0.5.
    torch.testing.assert_close(drawn.mean(0), rows.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), rows.T.cov(), atol=0.1, rtol=0)


def test_a_spike_is_the_normalised_mean_of_four_different_tokens():
    query = torch.eye(6)
    drawn = Source(MultiVectors.pack([query])).draw("spike", query, 50, np.random.default_rng(0))
    assert (drawn > 0).sum(1).tolist() == [4] * 50
    torch.testing.assert_close(drawn.max(1).values, torch.full((50,), 0.5))


def test_a_passage_is_one_stretch_of_the_corpus_and_random_vectors_are_distinct():
    rows = torch.arange(40.0).unsqueeze(1)
    source, rng = Source(MultiVectors.pack([rows[:15], rows[15:]])), np.random.default_rng(0)
    passage, random = (source.draw(kind, rows[:1], 20, rng)[:, 0] for kind in ("passage", "random"))
    assert passage.diff().tolist() == [1] * 19
    assert len(random.unique()) == 20


def test_a_passage_starts_at_any_place_that_leaves_room_for_it():
    rows = torch.arange(5.0).unsqueeze(1)
    source, rng = Source(MultiVectors.pack([rows])), np.random.default_rng(0)
    assert {float(source.draw("passage", rows[:1], 3, rng)[0]) for _ in range(60)} == {0, 1, 2}
    assert source.draw("passage", rows[:1], 5, rng)[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["spike", "gaussian", "gaussian_matched"])
def test_what_is_made_up_is_as_long_as_the_corpus_vectors_are_on_average(kind):
    rows = gaussian(torch.Generator().manual_seed(3), 60, 4) * torch.tensor([2.0, 4.0]).repeat(30).unsqueeze(1)
    drawn = Source(MultiVectors.pack([rows])).draw(kind, rows[:6], 20, np.random.default_rng(0))
    torch.testing.assert_close(drawn.norm(dim=1), torch.full((20,), 3.0))


@pytest.mark.parametrize("kind", [*TARGETED, *RANDOM])
def test_neither_blocks_nor_a_smaller_sweep_change_the_sets(kind):
    whole = hijacking(random_bench(), kind, k=(2, 5))
    cut = hijacking(random_bench(tiling=Tiling(query_tokens=1)), kind, k=(2, 5))
    for name in ("hijack_rate", "hijack_gain", "recall_retained"):
        assert value(cut, name, kind, k=2) == pytest.approx(value(whole, name, kind, k=2), abs=1e-6)


def test_the_number_of_threads_changes_no_byte():
    before, said = torch.get_num_threads(), []
    adapter = ToyAdapter(lambda text: torch.nn.functional.one_hot(torch.tensor([len(word) % 6 for word in text.split()]), 6).float())
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            said.append(measure("distractor-hijacking", random_bench(queries=9, adapter=adapter), k=(2, 5)))
    finally:
        torch.set_num_threads(before)
    assert said[0].measurements == said[1].measurements
    assert said[0].findings == said[1].findings


def test_empty_documents_get_no_vectors_and_stay_last():
    found = hijacking(toy_bench([QUERY], [at(0.9), torch.empty(0, 3), at(0.5)], {0: {0: 1}}), "spike")
    assert value(found, "hijack_rate", "spike") == 1
    assert value(found, "hijack_gain", "spike") == pytest.approx(0.5 / 0.4, rel=1e-5)


def test_a_query_whose_relevant_document_lies_below_the_others_is_left_out_of_the_gain_and_counted():
    bench = toy_bench([QUERY, QUERY], [at(0.9), at(0.5), at(0.1)], {0: {0: 1}, 1: {2: 1}})
    found = hijacking(bench, "spike")
    assert found.get("hijack_gain", {"pooling": "maxsim", "k": 1, "distractor": "spike"}).n == 1
    assert "1 for maxsim of 2" in next(f.text for f in found.findings if f.name == "hijack_gain")


def test_what_is_nothing_is_not_retained():
    documents = [at(0.1), *(at(0.5 + i / 100) for i in range(12))]
    found = hijacking(toy_bench([QUERY], documents, {0: {0: 1}}), "spike")
    assert not [m for m in found.measurements if m.name == "recall_retained"]
    assert any(f.name == "recall_retained" and "nothing to lose" in f.text for f in found.findings)


def test_a_corpus_too_small_for_k_is_said():
    bench = toy_bench([QUERY], [at(0.9), at(0.5), at(0.4)], {0: {0: 1}})
    found = hijacking(bench, "targeted", k=(2, 25))
    assert {m.at["k"] for m in found.measurements if "k" in m.at} == {2}
    assert "k = [25], as only 2" in next(f.text for f in found.findings if f.name == "k")
    with pytest.raises(Skip, match="only 2 document vectors"):
        hijacking(bench, "targeted", k=(25,))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"distractors": ("tarjeted",)}, "Did you mean targeted"),
        ({"poolings": ("single",)}, "single pools no token similarities"),
        ({"poolings": ("max",)}, "no pooling named 'max'"),
        ({"k": (0,)}, "injects nothing"),
        ({"draws": 0}, "draws = 0"),
    ],
)
def test_what_cannot_be_injected_is_refused(parameters, message):
    with pytest.raises(LidiagError, match=message):
        catalog.probe("distractor-hijacking", parameters)


def test_every_measurement_has_its_formula():
    adapter = ToyAdapter(lambda text: torch.rand(len(text.split()), 6))
    found = measure("distractor-hijacking", random_bench(adapter=adapter), k=(0, 5, 10), draws=2)
    assert {m.name for m in found.measurements} == set(catalog.probe_class("distractor-hijacking").formulas)


def words(text: str) -> torch.Tensor:
    """One vector per word, its own axis; front matter makes no difference."""
    places = {"query": 0, "term": 1, "fact": 2, "other": 3}
    rows = torch.full((len(text.split()), 6), 0.0)
    for row, word in enumerate(text.lower().split()):
        rows[row, places.get(word, 5)] = 1
    return rows


def echo_bench(**more):
    texts = ["query term fact", *["query other other"] * 12, *["other other"] * 3]
    return toy_bench(
        [words("query term")], [words(text) for text in texts], {0: {0: 1}}, texts=texts, query_texts=["query term"], **more
    )  # fmt: skip


def test_an_echo_of_the_query_reaches_the_top_and_neutral_text_does_not():
    found = measure("distractor-hijacking", echo_bench(adapter=ToyAdapter(words)), poolings=("maxsim",), k=(1,), draws=1)
    # All of the query's words: as good as the relevant document, and a tie does not beat it.
    assert [found.get("echo@10", {"pooling": "maxsim", "place": place}).value for place in ("front", "end", "neutral")] == [1, 1, 0]
    assert [found.get("echo@1", {"pooling": "maxsim", "place": place}).value for place in ("front", "end", "neutral")] == [0, 0, 0]


def test_words_that_the_model_cut_off_are_no_echo():
    class Short(ToyAdapter):
        def documents(self, documents):
            return dataclasses.replace(super().documents(documents), cut=torch.tensor([len(d.text.split()) > 4 for d in documents]))

    found = measure("distractor-hijacking", echo_bench(adapter=Short(words)), poolings=("maxsim",), k=(1,), draws=1)
    at = {"pooling": "maxsim", "place": "front"}
    assert found.get("echo@10", at).value == 1
    # "query other other" and two words more are five.
    assert not [m for m in found.measurements if m.at == at | {"place": "end"}]
    assert "1 of 1 documents are left out" in next(f.text for f in found.findings if f.name == "echo")


def test_an_echo_that_cannot_be_encoded_is_said_and_the_rest_stands():
    class Fixed(ToyAdapter):
        def documents(self, documents):
            raise Skip("these vectors come from a file")

    found = measure("distractor-hijacking", echo_bench(adapter=Fixed(words)), poolings=("maxsim",), k=(1,), draws=1)
    assert next(f.text for f in found.findings if f.name == "echo") == "Not measured: these vectors come from a file."
    assert value(found, "hijack_rate", "targeted") >= 0
