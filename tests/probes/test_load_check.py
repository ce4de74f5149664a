from __future__ import annotations

import itertools
import json
import zlib

import pytest
import torch

from lidiag import catalog
from lidiag.adapter import Label, LoadOptions
from lidiag.adapters import colpali
from lidiag.dataset import Dataset, Document, Query
from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors
from tests.probes.toy import ToyAdapter, measure, toy_bench
from tests.shared import SHARED, needs_shared
from tests.zoo_visual import Zoo, changed, document, page

WORDS = [f"word{i}" for i in range(60)]
TEXTS = [" ".join(WORDS[(7 * i + 11 * k) % 60] for k in range(3 + i)) for i in range(12)]
QUERIES = [f"{a} {b}" for a, b in itertools.pairwise(WORDS[:15])]


def word(text):
    vector = torch.randn(8, generator=torch.Generator().manual_seed(zlib.crc32(text.encode())))
    return vector / vector.norm()


def encode(text):
    return torch.stack([word(piece) for piece in text.split()])


class Model(ToyAdapter):
    """A healthy model, whose batches of either side go through `spoil` before they are packed."""

    def __init__(self, spoil=None, **card):
        super().__init__(encode, prompts={"query": "find: ", "document": ""} | card.pop("prompts", {}), **card)
        self.spoil = spoil

    def queries(self, texts):
        return self.packed([encode(f"find: {text}") for text in texts])

    def documents(self, documents):
        return self.packed([encode(item.text) for item in documents])

    def packed(self, items):
        return MultiVectors.pack(self.spoil(items) if self.spoil else items, cut=torch.zeros(len(items), dtype=torch.bool))

    def labels(self, side, item):
        text = item if isinstance(item, str) else item.text
        return [Label("prompt")] * (side == "query") + [Label("word")] * len(text.split())


def check(adapter, **parameters):
    healthy = Model()
    bench = toy_bench(
        list(healthy.queries(QUERIES)), [encode(text) for text in TEXTS], {i: {i % 12: 1} for i in range(len(QUERIES))},
        texts=TEXTS, query_texts=QUERIES, adapter=adapter,
    )  # fmt: skip
    return measure("load-check", bench, **parameters)


def faults(found):
    return {finding.name for finding in found.faults}


def value(found, name, **at):
    return found.get(name, at).value


def padded(items):
    longest = max(map(len, items))
    return [torch.cat((item, torch.zeros(longest - len(item), 8))) for item in items]


def with_nan(items):
    return [torch.cat((item[:1] * float("nan"), item[1:])) if len(item) > 13 else item for item in items]


def minus_mean(items):
    mean = torch.cat(items).mean(0)
    return [torch.nn.functional.normalize(item - 0.05 * mean, dim=1) for item in items]


def by_place(items):
    return [torch.nn.functional.normalize(item + 0.01 * i, dim=1) for i, item in enumerate(items)]


def by_longest(items, per_pad=0.01):
    longest = max(map(len, items))
    return [torch.nn.functional.normalize(item + per_pad * (longest - len(item)), dim=1) for item in items]


def with_dropout(items):
    return [torch.nn.functional.normalize(torch.nn.functional.dropout(item, 0.1), dim=1) for item in items]


def constant(items):
    return [torch.ones_like(item) / 8**0.5 for item in items]


def test_a_healthy_model_clears():
    found = check(Model())
    assert not [finding for finding in found.findings if finding.severity != "note"]
    assert value(found, "faults") == 0
    for side in ("query", "document"):
        for name in ("repeat", "batch", "order", "padding"):
            assert value(found, f"{name}_difference", side=side) == 0
        assert value(found, "distinct_share", side=side) == 1
        assert value(found, "zero_rows", side=side) == 0
    assert value(found, "score_change") == 0


@pytest.mark.parametrize(
    ("spoil", "fault", "spared"),
    [
        (padded, "zero_rows", "repeat_difference"),
        (with_nan, "non_finite", "zero_rows"),
        (minus_mean, "batch_difference", "repeat_difference"),
        (by_place, "order_difference", "repeat_difference"),
        (by_longest, "padding_difference", "repeat_difference"),
        (with_dropout, "repeat_difference", "distinct"),
        (constant, "distinct", "batch_difference"),
        (lambda items: [item * 1.01 for item in items], "unit_rows", "batch_difference"),
        (lambda items: [item[:, :7] for item in items], "dims", "zero_rows"),
    ],
)
def test_a_planted_fault_is_found_by_its_name(spoil, fault, spared):
    found = check(Model(spoil))
    assert fault in faults(found)
    assert spared not in faults(found)
    assert value(found, "faults") == len(found.faults)


def test_the_first_bad_item_is_named():
    text = next(finding.text for finding in check(Model(with_nan)).faults)
    assert "'d11'" in text  # the one document of more than 13 words


def test_noise_that_the_dtype_explains_is_measured_and_no_fault():
    found = check(Model(lambda items: by_longest(items, 0.002), dtype="bfloat16"))
    assert 0.01 < value(found, "padding_difference", side="document") < 0.2
    assert not faults(found)


@pytest.mark.parametrize(("per_pad", "large"), [(0.002, False), (0.005, True)])
def test_noise_as_large_as_the_gaps_between_scores_is_a_warning(per_pad, large):
    found = check(Model(lambda items: by_longest(items, per_pad), dtype="bfloat16"))
    assert (value(found, "score_change") > 1) == large
    assert ("score_change" in {finding.name for finding in found.findings if finding.severity == "warning"}) == large


def test_a_change_is_in_units_of_a_vectors_length():
    found = check(Model(lambda items: [item * 100 for item in by_place(items)], unit_rows=False))
    assert value(found, "order_difference", side="query") < 1


class TestWeights:
    def test_random_ones_are_a_fault(self):
        found = check(Model(randomly_initialised=("head.bias", "head.weight")))
        assert faults(found) == {"random_weights"}
        assert value(found, "randomly_initialised") == 2

    def test_what_loading_does_not_tell_is_said_to_be_undecided(self):
        found = check(Model(randomly_initialised=None))
        assert not faults(found)
        assert "random head is not ruled out" in next(f.text for f in found.findings if f.name == "randomly_initialised")
        with pytest.raises(KeyError):
            found.get("randomly_initialised", {})


class TestPrompts:
    def test_they_are_shown_with_what_a_text_became(self):
        text = next(finding.text for finding in check(Model()).findings if finding.name == "prompts")
        assert "query: 'find: '" in text
        assert "1 prompt, 2 word" in text

    def test_repeated_augmentation_tokens_are_counted(self):
        found = check(Model(prompts={"query": "find: {text}" + "<|end|>" * 10 + "\n"}))
        assert r"query: 'find: {text}<|end|> x 10\n'" in next(finding.text for finding in found.findings if finding.name == "prompts")

    def test_declared_but_not_in_effect_is_a_fault(self):
        model = Model()
        model.queries = lambda texts: model.packed([encode(text) for text in texts])
        assert faults(check(model)) == {"prompts", "labels"}

    def test_none_on_either_side_is_said_and_no_fault(self):
        model = Model(prompts={"query": ""})
        model.queries = lambda texts: model.packed([encode(text) for text in texts])
        model.labels = lambda _side, item: [Label("word")] * len((item if isinstance(item, str) else item.text).split())
        found = check(model)
        assert not faults(found)
        assert "if the model was trained with one, it has been lost" in next(f.text for f in found.findings if f.name == "symmetric")

    def test_golden_vectors_show_one_that_was_lost(self, tmp_path):
        file = tmp_path / "golden.safetensors"
        Model().queries(QUERIES).save(file, {"side": "query", "texts": json.dumps(QUERIES)})
        assert not faults(check(Model(), golden=str(file)))
        model = Model(prompts={"query": ""})
        model.queries = lambda texts: model.packed([encode(f"Find: {text}") for text in texts])
        found = check(model, golden=str(file))
        assert faults(found) == {"golden"}
        assert value(found, "golden_difference", side="query") > 0.1

    def test_a_file_that_holds_no_golden_vectors_is_refused(self, tmp_path):
        file = tmp_path / "golden.safetensors"
        Model().queries(QUERIES).save(file, {"side": "query", "texts": json.dumps(QUERIES[:2])})
        with pytest.raises(LidiagError, match="text by text"):
            check(Model(), golden=str(file))
        with pytest.raises(LidiagError, match="none cannot be read"):
            check(Model(), golden=str(tmp_path / "none"))


class TestLibraryScorers:
    @staticmethod
    def exact(queries, documents):
        return torch.tensor([[float((q @ d.T).amax(1).sum()) for d in documents] for q in queries])

    @staticmethod
    def padding(queries, documents):
        longest = int(documents.lengths.max())
        pads = [torch.cat((d, d.new_zeros(longest - len(d), d.shape[1]))) for d in documents]
        return TestLibraryScorers.exact(queries, pads)

    def scored(self, scorer):
        model = Model()
        model.library_scores = scorer
        found = check(model)
        return found, {finding.name for finding in found.findings if finding.severity == "warning"}

    def test_an_exact_one_clears(self):
        found, warnings = self.scored(self.exact)
        assert not warnings
        assert value(found, "scorer_difference") < 1e-6

    def test_one_that_pads_is_named_in_a_warning_and_is_no_fault(self):
        found, warnings = self.scored(self.padding)
        assert warnings == {"zero_padding"}
        assert not faults(found)
        assert value(found, "scorer_difference") > 0.01

    def test_one_that_is_wrong_otherwise_is_told_apart(self):
        _, warnings = self.scored(lambda q, d: self.exact(q, d) * 0.9)
        assert warnings == {"scorer"}


def test_cut_items_are_counted_over_the_whole_collection():
    bench = toy_bench(
        [encode(QUERIES[0])], [encode(text) for text in TEXTS], {0: {0: 1}}, texts=TEXTS, query_texts=QUERIES[:1], adapter=Model()
    )
    cut = MultiVectors(bench.documents.vectors, bench.documents.offsets, cut=torch.arange(12) % 4 == 0)
    object.__setattr__(bench, "documents", cut)
    found = measure("load-check", bench)
    assert value(found, "cut_share", side="document") == 0.25
    assert "3 of 12 documents are cut" in next(finding.text for finding in found.findings if finding.name == "cut")


QUESTIONS = ["cat", "what is the revenue?", "a question", "which page shows the longest table of all?"]


def visual(adapter):
    pages = [document(page(f"page {i}\n{'words ' * i}", (200 + 13 * i, 330 - 7 * i)), f"p{i}") for i in range(4)]
    dataset = Dataset("pages", [Query(f"q{i}", text) for i, text in enumerate(QUESTIONS)], pages, {f"q{i}": {f"p{i}": 1} for i in range(4)})
    bench = toy_bench([encode("a")], [encode("a")], {0: {0: 1}}, adapter=adapter)
    queries, documents = adapter.queries(QUESTIONS), adapter.documents(pages)
    for name, thing in {"dataset": dataset, "query_ids": list(dataset.relevance), "queries": queries, "documents": documents}.items():
        object.__setattr__(bench, name, thing)
    return measure("load-check", bench)


class TestVisualModels:
    def test_a_whole_one_clears_and_its_padding_scorer_is_a_warning(self, tmp_path):
        found = visual(colpali.load(str(Zoo(tmp_path)["colqwen2_5_lora"]), LoadOptions()))
        assert not faults(found)
        assert {finding.name for finding in found.findings if finding.severity == "warning"} == {"zero_padding"}
        assert "Describe the image." in next(finding.text for finding in found.findings if finding.name == "prompts")

    def test_a_missing_head_is_found(self, tmp_path):
        folder = Zoo(tmp_path)["colqwen2"]
        headless = changed(folder, tmp_path / "m", lambda w: {k: v for k, v in w.items() if "custom_text_proj" not in k})
        assert faults(visual(colpali.load(str(headless), LoadOptions()))) == {"random_weights"}

    def test_colpalis_queries_without_token_types_are_found_to_depend_on_the_batch(self, tmp_path):
        model = colpali.load(str(Zoo(tmp_path)["colpali"]), LoadOptions())
        model._query_batch = lambda texts: dict(model.processor.process_queries(list(texts)))
        assert {"batch_difference", "padding_difference"} <= faults(visual(model))


@needs_shared("models/minilm-colbert")
@needs_shared("data/cranfield")
def test_the_shared_colbert_clears_on_real_abstracts():
    model = catalog.model(str(SHARED / "models/minilm-colbert"), LoadOptions())
    with (SHARED / "data/cranfield/corpus.jsonl").open() as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, 4)]
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts)]
    bench = toy_bench(
        list(model.queries(QUERIES[:4])), list(model.documents(documents)), {i: {i: 1} for i in range(4)},
        texts=texts, query_texts=QUERIES[:4], adapter=model,
    )  # fmt: skip
    found = measure("load-check", bench)
    assert not faults(found)
    assert value(found, "batch_difference", side="document") < 1e-4
