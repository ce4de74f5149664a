"""A short fine-tune: its parts by hand, what it must leave alone, and what it must find."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lidiag import catalog
from lidiag.adapter import LoadOptions
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.probes import _fine_tuning as training
from lidiag.probes import _learners as learners
from lidiag.probes import _pairs as pairs
from tests import zoo_text
from tests.probes.toy import gaussian, measure, toy_bench

DIM, TOPICS, QUERIES = 8, 12, 60
SMALL = {"steps": 6, "seeds": 2, "batch": 8, "poolings": ("maxsim", "topk(4)"), "learning_rates": (3e-3,)}


def hidden_bench(seed=0):
    """Queries and documents agree in the first half of the dimensions; the second half is loud and says nothing."""
    generator = torch.Generator().manual_seed(seed)
    topics = gaussian(generator, QUERIES, DIM // 2)

    def item(topic, tokens):
        signal = topics[topic] + 0.3 * torch.randn(tokens, DIM // 2, generator=generator)
        return nn.functional.normalize(torch.cat((signal, 2.0 * torch.randn(tokens, DIM // 2, generator=generator)), 1), dim=1)

    queries = [item(q, 4) for q in range(QUERIES)]
    documents = [item(q, 12) for q in range(QUERIES)]
    return toy_bench(queries, documents, {q: {q: 1} for q in range(QUERIES)}, seed=seed)


@pytest.fixture(scope="module")
def found():
    return measure("fine-tune", hidden_bench(), steps=60, seeds=2, poolings=("maxsim", "topk(4)"), learning_rates=(1e-3, 1e-2))


def change(found, name="nDCG@10_change", train="maxsim", read="maxsim"):
    return found.get(name, {"train_pooling": train, "eval_pooling": read})


def test_training_finds_the_half_that_matters(found):
    assert change(found).low > 0.02
    first, last = (found.get("loss_by_step", {"train_pooling": "maxsim", "step": step}) for step in (0, 60))
    assert last.value < first.value
    assert {f.data["verdict"] for f in found.findings if f.name == "change"} <= {"shown", "strong"}


def test_before_the_first_step_the_model_is_the_model(found):
    bench = hidden_bench()
    scores = np.array([[float((q @ d.T).max(1).values.sum()) for d in bench.documents] for q in bench.queries])
    held_out = pairs.split(bench).held_out
    hits = [scores[q][held_out.documents].argmax() == i for i, q in enumerate(held_out.queries)]
    at = {"train_pooling": "topk(4)", "eval_pooling": "maxsim", "step": 0}
    assert found.get("R@1_by_step", at).value == pytest.approx(np.mean(hits))
    ginis = measure("gradient-gini", bench, poolings=("maxsim",))
    held = next(row.values for row in ginis.per_query if row.name == "gini")
    assert found.get("gini_by_step", at).value == pytest.approx(held[list(held_out.queries)].mean(), abs=1e-6)


def test_changes_are_paired_and_the_table_is_full(found):
    for train in ("maxsim", "topk(4)"):
        for read in ("maxsim", "topk(4)"):
            at = {"train_pooling": train, "eval_pooling": read}
            first, last = (found.get("gini_by_step", at | {"step": step}).value for step in (0, 60))
            assert change(found, "gini_change", train, read).value == pytest.approx(last - first)
            assert found.get("nDCG@10_change_as_published", at).n == 18


def test_equal_initialisation_and_batches_for_every_operator():
    values = [measure("fine-tune", hidden_bench(), **SMALL | {"poolings": poolings}) for poolings in (("maxsim",), ("topk(4)", "maxsim"))]
    assert len({change(one, name).value for one in values for name in ["nDCG@10_change_as_published"]}) == 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again = (measure("fine-tune", hidden_bench(), **SMALL).measurements for _ in range(2))
    assert first == again
    assert measure("fine-tune", hidden_bench(seed=1), **SMALL).measurements != first


def test_scores_of_scale_one_have_standard_deviation_one():
    bench = hidden_bench()
    learner = learners.HeadLearner(bench.queries, bench.documents, learners.identity_head(DIM))
    part = pairs.split(bench).training
    recipe = training.Recipe(MaxSim(), 1e-3, steps=1, batch=len(part.queries))
    scale = training.matched_scale(learner, part, recipe, seed=0)
    scores = [[float((bench.queries[q] @ bench.documents[d].T).max(1).values.sum()) for d in part.documents] for q in part.queries]
    assert scale * np.std(scores, ddof=1) == pytest.approx(1, rel=1e-4)


def test_the_loss_of_a_batch_by_hand_leaves_other_relevant_documents_out():
    queries = [torch.eye(3)[:1], torch.eye(3)[1:2]]
    documents = [torch.eye(3)[:1], torch.eye(3)[1:2]]
    relevance = {0: {0: 2, 1: 1}, 1: {1: 1}}
    bench = toy_bench(queries, documents, relevance)
    part = pairs.Pairs(bench, (0, 1))
    learner = learners.HeadLearner(bench.queries, bench.documents, learners.identity_head(3))
    recipe = training.Recipe(MaxSim(), 1e-3, steps=1, batch=2, scale=2.0)
    loss = training.batch_loss(learner, learner.start(torch.Generator()), part, recipe, [0, 1])
    # Query 0 has no negative left: loss 0. Query 1: scores 0 and 1, times 2.
    assert float(loss.detach()) == pytest.approx(np.log(1 + np.exp(-2)) / 2)


def test_distillation_from_the_own_scores_has_no_loss_and_no_gradient():
    bench = hidden_bench()
    part = pairs.split(bench).training
    learner = learners.HeadLearner(bench.queries, bench.documents, learners.identity_head(DIM))
    rows = list(part.queries), part.documents
    teacher = training.batch_scores(bench.queries.select(rows[0]), bench.documents.select(rows[1]), MaxSim())
    network = learner.start(torch.Generator())
    recipe = training.Recipe(MaxSim(), 1e-3, steps=1, batch=8, teacher=teacher)
    loss = training.batch_loss(learner, network, part, recipe, [0, 3, 5, 1])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert float(next(network.parameters()).grad.abs().max()) == pytest.approx(0, abs=1e-4)


def test_facts_are_never_split():
    bench = toy_bench(
        [torch.eye(2)[:1]] * 90,
        [torch.eye(2)[:1]] * 30,
        {q: {q // 3: 1} for q in range(90)},
        groups={f"q{q}": f"fact {q // 3}" for q in range(90)},
    )
    parts = pairs.split(bench)
    facts = [{query // 3 for query in part.queries} for part in (parts.training, parts.validation, parts.held_out)]
    assert sum(map(len, facts)) == len(set.union(*facts)) == 30


def test_too_few_queries_are_a_reason_to_skip():
    bench = toy_bench([torch.eye(2)[:1]] * 12, [torch.eye(2)[:1]] * 12, {q: {q: 1} for q in range(12)})
    with pytest.raises(Skip, match="12 queries divide into"):
        measure("fine-tune", bench)


@pytest.mark.parametrize("wrong", [{"mode": "heads"}, {"poolings": ("single",)}, {"steps": 0}, {"batch": 1}, {"learning_rates": (0.0,)}])
def test_what_trains_nothing_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("fine-tune", wrong)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    model = zoo_text.native(folder / "model", zoo_text.bert(folder / "bert"))
    return model, catalog.model(f"sentence-transformers:{model}", LoadOptions())


def network_bench(adapter):
    words = ["alpha", "beta", "gamma", "delta", "lens", "mirror", "sound", "wing", "flow", "heat"]
    texts = [" ".join(words[(i * k + k) % 10] for k in range(3, 12)) + f" {i}" for i in range(40)]
    asked = [" ".join(text.split()[2:6]) for text in texts]
    made = [Document(f"d{i}", text) for i, text in enumerate(texts)]
    return toy_bench(
        list(adapter.queries(asked)), list(adapter.documents(made)), {q: {q: 1} for q in range(40)},
        texts=texts, query_texts=asked, adapter=adapter,
    )  # fmt: skip


def hashes(folder: Path):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_training_the_network_changes_no_byte_of_the_model(network, mode):
    folder, adapter = network
    bench, files = network_bench(adapter), hashes(folder)
    weights = {name: value.clone() for name, value in adapter.model.state_dict().items()}
    few = SMALL | {"steps": 3, "seeds": 1, "mode": mode, "learning_rates": (1e-2,), "poolings": ("maxsim",)}
    first, again = (measure("fine-tune", bench, **few) for _ in range(2))
    assert hashes(folder) == files
    assert all(torch.equal(weights[name], value) for name, value in adapter.model.state_dict().items())
    assert first.measurements == again.measurements
    losses = [first.get("loss_by_step_as_published", {"train_pooling": "maxsim", "step": step}).value for step in (0, 3)]
    assert losses[1] != losses[0], "something was trained"


def test_an_interrupt_leaves_the_model_as_it_was(network, monkeypatch):
    _, adapter = network
    bench = network_bench(adapter)
    weights = {name: value.clone() for name, value in adapter.model.state_dict().items()}
    grad = {name: value.requires_grad for name, value in adapter.model.named_parameters()}

    def interrupted(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure("fine-tune", bench, **SMALL | {"mode": "full"})
    assert all(torch.equal(weights[name], value) for name, value in adapter.model.state_dict().items())
    assert {name: value.requires_grad for name, value in adapter.model.named_parameters()} == grad


def test_low_rank_additions_begin_at_nothing_and_alone_are_trained(network):
    _, adapter = network
    learner = learners.NetworkLearner(network_bench(adapter), adapter, batch=4, rank=2)
    copy = learner.start(torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(learner.queries(copy, [0, 1]).vectors, adapter.queries(learner.bench.query_texts[:2]).vectors)
    trained = [name for name, value in copy.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_a_model_without_a_trainable_copy_is_skipped_with_the_reason():
    with pytest.raises(Skip, match="mode head fits every model"):
        measure("fine-tune", hidden_bench(), **SMALL | {"mode": "full"})


def test_heads_map_large_sets_in_pieces_without_a_change():
    generator = torch.Generator().manual_seed(0)
    items = MultiVectors.pack([gaussian(generator, n % 5 + 1, DIM) for n in range(200)])
    learner = learners.HeadLearner(items, items, learners.identity_head(DIM))
    network = learner.start(generator)
    with torch.no_grad():
        pieces = learner.documents(network, range(200))
    torch.testing.assert_close(pieces.vectors, learner.documents(network, range(200)).vectors.detach())
