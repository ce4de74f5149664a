"""mteb's evaluation through lidiag's search against mteb's evaluation of the same vectors through its own encoder path."""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

datasets = pytest.importorskip("datasets")

import mteb  # noqa: E402 - after the skip
import torch  # noqa: E402
from mteb.results import TaskResult  # noqa: E402

from lidiag import battery, catalog, collections, run, work  # noqa: E402
from lidiag import report as reports  # noqa: E402
from lidiag.adapter import LoadOptions  # noqa: E402
from lidiag.dataset import DataOptions, Dataset, Query  # noqa: E402
from lidiag.datasets.official import Official, Search, meta_of  # noqa: E402
from lidiag.encoding import Encoder  # noqa: E402
from lidiag.pooling import MaxSim  # noqa: E402
from lidiag.request import Request  # noqa: E402
from lidiag.similarity import Needs, similarity_pass  # noqa: E402
from lidiag.store import Store  # noqa: E402
from lidiag.watch import Silent  # noqa: E402
from tests.datasets.local_tasks import Encoded, EncodedUnpadded, kept_by_query, task_of  # noqa: E402
from tests.datasets.test_mteb import CORPUS, QRELS, QUERIES, mirror, png  # noqa: E402
from tests.probes.toy import toy_bench  # noqa: E402
from tests.shared import SHARED, needs_shared  # noqa: E402

COLBERT = str(SHARED / "models" / "minilm-colbert")
REQUEST = Request(model="", suites=(), data=(), out=Path())
OURS = {"nDCG@10": "ndcg_cut_10", "R@1": "recall_1", "R@10": "recall_10", "R@100": "recall_100"}


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "lidiag"))


class Parity:
    """One model on one collection, counted in every way."""

    def __init__(self, model, dataset, folder):
        adapter = model if hasattr(model, "card") else catalog.model(model, LoadOptions())
        self.dataset = dataclasses.replace(dataset, benchmark=Official(task_of(dataset), "default", "test"))
        self.store = Store(folder)
        self.bench = work.bench_of(self.dataset, Encoder(adapter, self.store, 16, "cpu"), REQUEST, Silent())
        self.encoded = self.store.encoded
        probes = [catalog.probe("official-scores", {}), catalog.probe("retrieval", {"poolings": ["maxsim"]})]
        self.official, self.retrieval = (outcome.findings for outcome in battery.measure(probes, self.bench, Silent()))
        (found,) = [finding for finding in self.official.findings if finding.name == "verdict"]
        self.record = found.data["record"]
        self.queries = self.bench.encode_queries([query.text for query in self.dataset.queries])

    def by_mteb(self, kind):
        """Return what mteb counts by its own encoder path: by query, and as it rounds."""
        task = task_of(self.dataset)
        kept = kept_by_query(task)
        result = mteb.evaluate(kind(self.queries, self.bench.documents, self.bench.adapter.card), task, cache=None, show_progress_bar=False)
        return kept, result.task_results[0].scores["test"][0]

    def values(self, findings, name, at):
        (held,) = [item for item in findings.per_query if item.name == name and dict(item.at) == at]
        return dict(zip(self.bench.query_ids, held.values, strict=True))

    def near_ties(self, most=1e-5):
        """Return the queries with two documents of different grades in a row whose order rounding may decide."""
        tied = set()
        for block in similarity_pass(self.bench.queries, self.bench.documents, Needs((MaxSim(),))):
            for query, row in zip(block.queries, block.scores(MaxSim()), strict=True):
                scores, order = row.sort(descending=True)
                grades = torch.tensor([self.bench.grades[query].get(d, 0) for d in order.tolist()])
                if bool(((-scores.diff() < most) & (grades.diff() != 0)).any()):
                    tied.add(self.bench.query_ids[query])
        return tied

    def assert_equal(self, kept, queries):
        for query in queries:
            for metric in ("ndcg_at_1", "ndcg_at_10", "ndcg_at_100", "recall_at_10", "map_at_100"):
                theirs = kept[query][metric.replace("ndcg_at", "ndcg_cut").replace("map_at", "map_cut").replace("recall_at", "recall")]
                assert self.values(self.official, "score", {"metric": metric})[query] == pytest.approx(theirs, abs=1e-6)
            for ours, theirs in OURS.items():
                assert self.values(self.retrieval, ours, {"pooling": "maxsim"})[query] == pytest.approx(kept[query][theirs], abs=1e-6)


def few(dataset, queries):
    """Return the collection's first queries, and a few of its documents."""
    return collections.limited(dataset, dataclasses.replace(REQUEST, limit=queries))


def cranfield():
    return few(catalog.dataset(str(SHARED / "data" / "cranfield"), DataOptions()), 20)


def a_page_model(tmp_path_factory):
    from tests.zoo_visual import Zoo  # noqa: PLC0415 - makes checkpoints

    return f"colpali:{Zoo(tmp_path_factory.mktemp('zoo'))['colqwen2_5']}"


@pytest.fixture(scope="module", params=["lexical-facts", "lexical-cranfield", "colbert-cranfield", "lexical-pages", "visual-pages"])
def parity(request, tmp_path_factory):
    model, data = request.param.split("-")
    if data == "cranfield" and not (SHARED / "data" / "cranfield").exists():
        pytest.skip("../shared/data/cranfield is not here")
    if model == "colbert" and not (SHARED / "models" / "minilm-colbert").exists():
        pytest.skip("../shared/models/minilm-colbert is not here")
    collections = {
        "facts": lambda: few(catalog.dataset("builtin:facts", DataOptions()), 30),
        "cranfield": cranfield,
        "pages": lambda: catalog.dataset("builtin:pages" + ("?text=1" if model == "lexical" else ""), DataOptions()),
    }
    names = {"lexical": lambda: "builtin:lexical", "colbert": lambda: COLBERT, "visual": lambda: a_page_model(tmp_path_factory)}
    return Parity(names[model](), collections[data](), tmp_path_factory.mktemp("store"))


def test_our_search_and_mtebs_own_path_agree_by_query_where_nothing_is_padded_or_tied(parity):
    kept, rounded = parity.by_mteb(EncodedUnpadded)
    tied = parity.near_ties()
    free = [query for query in parity.bench.query_ids if query not in tied]
    assert len(free) > 0.8 * len(parity.bench)
    parity.assert_equal(kept, free)
    if not tied:
        scores = parity.record["scores"]
        assert {k: v for k, v in scores.items() if "_at_" in k and "nauc" not in k} == pytest.approx(
            {k: v for k, v in rounded.items() if "_at_" in k and "nauc" not in k}, abs=0.9e-5
        )


def test_our_probe_and_mteb_agree_in_every_query_and_to_its_five_decimals_through_the_search(parity):
    scores = parity.record["scores"]
    for ours, theirs in {"nDCG@10": "ndcg_at_10", "R@1": "recall_at_1", "R@10": "recall_at_10", "R@100": "recall_at_100"}.items():
        assert round(parity.retrieval.get(ours, {"pooling": "maxsim"}).value, 5) == pytest.approx(scores[theirs], abs=1e-9)
        mine = parity.values(parity.retrieval, ours, {"pooling": "maxsim"})
        official = parity.values(parity.official, "score", {"metric": theirs})
        assert max(abs(mine[query] - official[query]) for query in mine) < 1e-6
    assert round(parity.official.get("main_score", {}).value, 5) == scores["main_score"]


def test_nothing_is_encoded_again_to_be_counted(parity):
    assert parity.store.encoded == parity.encoded


def test_mtebs_padding_shows_where_a_maximum_is_negative_and_only_there(parity):
    """mteb pads documents with zeros up to the longest: a query token whose similarities are all negative then scores 0."""
    longest = int(parity.bench.documents.lengths.max())
    exact = max_by_token(parity.bench)
    padded = [torch.where(parity.bench.documents.lengths < longest, row.clamp(min=0), row).sum(0) for row in exact]
    theirs = Encoded(parity.queries, parity.bench.documents, parity.bench.adapter.card).similarity(
        list(parity.bench.queries), list(parity.bench.documents)
    )
    assert torch.stack(padded).numpy() == pytest.approx(theirs.numpy(), abs=1e-4)
    negative = any(bool(((row < 0) & (parity.bench.documents.lengths < longest)).any()) for row in exact)
    kept, _ = parity.by_mteb(Encoded)
    tied = parity.near_ties()
    if not negative:
        parity.assert_equal(kept, [query for query in parity.bench.query_ids if query not in tied])


def max_by_token(bench):
    """Return, for each query, the (query_tokens, documents) maxima, by a double loop."""
    documents = list(bench.documents)
    return [torch.stack([(query @ document.T).max(1).values for document in documents], dim=1) for query in bench.queries]


def test_a_zero_pad_turns_a_negative_maximum_into_a_win_for_the_shorter_document(tmp_path):
    """By hand: q.d0 = -0.6 (short, irrelevant), q.d1 = max(-0.1, -0.2) (long, relevant). Padded, d0 scores 0 and wins."""
    query, relevant = torch.tensor([[1.0, 0.0]]), torch.tensor([[-0.1, 0.99], [-0.2, 0.98]])
    bench = toy_bench([query], [torch.tensor([[-0.6, 0.8]]), relevant], {0: {1: 1}})
    bench = dataclasses.replace(
        bench, dataset=dataclasses.replace(bench.dataset, benchmark=Official(task_of(bench.dataset), "default", "test"))
    )
    (outcome,) = battery.measure([catalog.probe("official-scores", {})], bench, Silent())
    assert outcome.findings.get("score", {"metric": "ndcg_at_1"}).value == 1.0
    model = Encoded(bench.queries, bench.documents, bench.adapter.card)
    result = mteb.evaluate(model, task_of(bench.dataset), cache=None, show_progress_bar=False)
    assert result.task_results[0].scores["test"][0]["ndcg_at_1"] == 0.0


def test_equal_scores_are_ranked_by_falling_id_by_mteb_and_by_our_probe():
    same = torch.tensor([[1.0, 0.0]])
    bench = toy_bench([same, same], [same, same, same], {0: {0: 1}, 1: {2: 1}})
    bench = dataclasses.replace(
        bench, dataset=dataclasses.replace(bench.dataset, benchmark=Official(task_of(bench.dataset), "default", "test"))
    )
    outcomes = battery.measure(
        [catalog.probe("official-scores", {}), catalog.probe("retrieval", {"poolings": ["maxsim"]})], bench, Silent()
    )
    official = [item.values.tolist() for item in outcomes[0].findings.per_query if item.at == {"metric": "ndcg_at_10"}]
    ours = [item.values.tolist() for item in outcomes[1].findings.per_query if item.name == "nDCG@10"]
    assert ours == official == [[pytest.approx(0.5), 1.0]]  # d0 comes last of three: 1 / log2(4)


def test_a_query_that_only_mteb_counts_is_counted_by_mteb_and_said():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    bench = toy_bench([one, other], [one, other], {0: {0: 1}, 1: {1: 0}}, query_texts=["one", "other"])
    official = Official(task_of(bench.dataset), "default", "test")
    assert [query.id for query in official.queries] == ["q0", "q1"]
    bench = dataclasses.replace(
        bench,
        dataset=dataclasses.replace(bench.dataset, benchmark=official),
        encode_queries=lambda texts: bench.queries.select([0] * len(texts)),
    )
    (outcome,) = battery.measure([catalog.probe("official-scores", {})], bench, Silent())
    (said,) = [finding for finding in outcome.findings.findings if finding.name == "verdict"]
    assert "ndcg_at_10 = 0.50000 over 2 queries; 1 of them, without a relevant document" in said.text
    assert outcome.findings.get("main_score", {}).value == 1.0


def test_given_candidates_alone_are_ranked():
    vectors = [torch.nn.functional.normalize(torch.tensor([[1.0, x]])) for x in (0.0, 0.2, 0.4)]
    bench = toy_bench([vectors[0]], vectors, {0: {2: 1}})
    task = task_of(bench.dataset)
    task.dataset["default"]["test"]["top_ranked"] = {"q0": ["d2", "d1"]}
    bench = dataclasses.replace(bench, dataset=dataclasses.replace(bench.dataset, benchmark=Official(task, "default", "test")))
    (outcome,) = battery.measure([catalog.probe("official-scores", {})], bench, Silent())
    assert outcome.findings.get("score", {"metric": "ndcg_at_10"}).value == pytest.approx(1 / np.log2(3))


@pytest.mark.parametrize(
    ("rows", "said"),
    [({"q0": {"d9": 1.0}}, "documents that the task's corpus lacks"), ({}, "1 of 1 queries were not ranked")],
)
def test_a_run_that_is_not_of_the_task_is_refused(rows, said):
    one = torch.tensor([[1.0, 0.0]])
    bench = toy_bench([one], [one], {0: {0: 1}})
    with pytest.raises(ValueError, match=said):
        task_of(bench.dataset).evaluate(Search(rows, meta_of(bench.adapter.card)), "test", encode_kwargs={})


def test_a_collection_of_no_benchmark_is_skipped_and_so_is_a_limited_one():
    bench = toy_bench([torch.ones(1, 2)], [torch.ones(1, 2)], {0: {0: 1}})
    (outcome,) = battery.measure([catalog.probe("official-scores", {})], bench, Silent())
    assert (outcome.status, "no whole task" in outcome.reason) == ("skipped", True)
    one = Dataset(
        "d", [Query("q0", "a")], bench.dataset.documents, {"q0": {"d0": 1}}, benchmark=Official(task_of(bench.dataset), "default", "test")
    )
    assert few(one, 1).benchmark is None


@pytest.fixture
def ran(tmp_path):
    configs = {"default": datasets.Dataset.from_list(QRELS), "corpus": datasets.Dataset.from_list(CORPUS)}
    mirror(tmp_path / "mirror/mteb/NanoSciFactRetrieval", "train", configs | {"queries": datasets.Dataset.from_list(QUERIES)})
    request = Request(
        model="builtin:lexical",
        suites=("quality",),
        data=("mteb:NanoSciFactRetrieval",),
        out=tmp_path / "out",
        data_dir=tmp_path / "mirror",
    )
    return run.run(request, Silent()), tmp_path / "out"


def test_the_results_file_is_mtebs_own_and_read_back_without_a_warning(ran, caplog):
    report, out = ran
    folder = out / "mteb" / "results" / "lidiag__lexical" / report.model.revision
    assert sorted(path.name for path in folder.iterdir()) == ["NanoSciFactRetrieval.json", "model_meta.json", "run_settings.jsonl"]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        result = TaskResult.from_disk(folder / "NanoSciFactRetrieval.json", load_historic_data=False)
        cache = mteb.ResultCache(out / "mteb")
        loaded = cache.load_results(tasks=[mteb.get_task("NanoSciFactRetrieval")])
        again = cache.load_task_result("NanoSciFactRetrieval", meta_of(report.model))
        assert result.get_missing_evaluations(mteb.get_task("NanoSciFactRetrieval")) == {}
    assert not caplog.records
    assert result.dataset_revision == mteb.get_task("NanoSciFactRetrieval").metadata.dataset["revision"]
    # q1 finds its document at rank 1; q2 finds one of two, the other is not in the corpus: (1 + 1 / (1 + 1 / log2(3))) / 2.
    assert result.get_score() == pytest.approx((1 + 1 / (1 + 1 / np.log2(3))) / 2, abs=1e-5)
    assert again == result
    assert [one.task_results[0].get_score() for one in loaded.model_results] == [result.get_score()]
    settings = [json.loads(line) for line in (folder / "run_settings.jsonl").read_text().splitlines()]
    assert [(row["task"], row["subsets"], row["encode_kwargs"]["batch_size"]) for row in settings] == [
        ("NanoSciFactRetrieval", ["default"], 32)
    ]
    assert json.loads((folder / "model_meta.json").read_text())["name"] == "lidiag/lexical"


def test_the_hubs_entries_have_mtebs_task_ids_and_values(ran):
    import yaml  # noqa: PLC0415 - comes with the hub's client

    report, out = ran
    entries = yaml.safe_load((out / ".eval_results" / "NanoSciFactRetrieval.yaml").read_text())
    path = out / "mteb" / "results" / "lidiag__lexical" / report.model.revision / "NanoSciFactRetrieval.json"
    own = [entry.to_dict() for entry in TaskResult.from_disk(path)._to_hf_benchmark_result().root]
    assert [(e["dataset"], e["value"], e["date"], e["source"]["url"]) for e in entries] == [
        (e["dataset"], e["value"], e["date"], e["source"]["url"]) for e in own
    ]


def test_scores_by_query_are_kept_and_the_report_is_json_without_nan(ran):
    report, out = ran
    import pyarrow.parquet as pq  # noqa: PLC0415 - here alone

    rows = [
        row
        for row in pq.read_table(out / "values.parquet").to_pylist()
        if row["probe"] == "official-scores" and row["name"] == "main_score"
    ]
    assert sorted((row["query"], round(row["value"], 5)) for row in rows) == [("q1", 1.0), ("q2", 0.61315)]
    assert reports.read(out).to_json() == report.to_json()


def vidore_v2(folder):
    """Lay out a task of ViDoRe v2, two languages in one table of questions, as the hub has it."""
    pages = [{"corpus-id": i, "image": {"bytes": png(80 * i), "path": None}} for i in (1, 2)]
    asked = [{"query-id": i, "query": f"{word} {i}?", "language": word} for i, word in enumerate(("english", "french"))]
    judged = [{"query-id": i, "corpus-id": 1, "score": 1 + i} for i in range(2)]
    mirror(folder / "vidore/esg_reports_v2", "test", {
        "corpus": datasets.Dataset.from_list(pages).cast_column("image", datasets.Image()),
        "queries": datasets.Dataset.from_list(asked),
        "qrels": datasets.Dataset.from_list(judged),
    })  # fmt: skip


def test_a_page_tasks_languages_stand_in_one_results_file_by_a_model_of_pages(tmp_path, tmp_path_factory):
    vidore_v2(tmp_path / "mirror")
    (tmp_path / "own.toml").write_text('name = "own"\nversion = 1\ndescription = ""\n[[steps]]\nprobe = "official-scores"\n')
    name = "mteb:Vidore2ESGReportsRetrieval?subset="
    request = Request(
        model=a_page_model(tmp_path_factory), suites=(str(tmp_path / "own.toml"),), data=(f"{name}english", f"{name}french"),
        out=tmp_path / "out", data_dir=tmp_path / "mirror",
    )  # fmt: skip
    report = run.run(request, Silent())
    assert [(result.dataset, result.status) for result in report.results] == [(f"{name}english", "passed"), (f"{name}french", "passed")]
    (path,) = (tmp_path / "out" / "mteb").rglob("Vidore2ESGReportsRetrieval.json")
    result = TaskResult.from_disk(path, load_historic_data=False)
    assert {score["hf_subset"]: score["languages"] for score in result.scores["test"]} == {"english": ["eng-Latn"], "french": ["fra-Latn"]}
    values = {m.value for r in report.results for m in r.measurements if m.name == "main_score"}
    assert {score["ndcg_at_5"] for score in result.scores["test"]} == {round(value, 5) for value in values}
    entries = (tmp_path / "out" / ".eval_results" / "Vidore2ESGReportsRetrieval.yaml").read_text()
    assert "Vidore2ESGReportsRetrieval_english_test" in entries
    assert "task_id: Vidore2ESGReportsRetrieval\n" not in entries  # two of four languages are not the whole task


@needs_shared("models/minilm-colbert")
def test_a_model_of_mtebs_registry_is_described_as_there():
    known = mteb.get_model_meta("lightonai/GTE-ModernColBERT-v1")
    card = catalog.model(COLBERT, LoadOptions()).card.model_copy(update={"name": known.name, "revision": known.revision})
    assert meta_of(card) == known
