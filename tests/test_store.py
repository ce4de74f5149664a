import dataclasses
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file

from lidiag import catalog
from lidiag.adapter import LoadOptions
from lidiag.card import ModelCard
from lidiag.dataset import DataOptions
from lidiag.encoding import Encoder
from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.request import Shard
from lidiag.similarity import Needs, similarity_pass
from lidiag.store import Job, Store, check

CARD = ModelCard(
    name="org/m", revision="0" * 40, adapter="toy", reason="asked for", family="Toy", modalities=("text",), dim=4, dtype="float32"
)  # fmt: skip


class Model:
    """Encodes a text to one unit vector per character, and counts what it was asked."""

    def __init__(self):
        self.batches = []

    def __call__(self, texts):
        self.batches.append(list(texts))
        return MultiVectors.pack([self.one(text) for text in texts])

    def one(self, text):
        rows = [torch.eye(4)[ord(character) % 4] for character in text]
        return torch.stack(rows) if rows else torch.empty(0, 4)


def job(texts, model, batch_size=2, card=CARD):
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    return Job(card, "document", texts, texts, digests, [len(text) for text in texts], model, batch_size, "cpu")


TEXTS = ["abc", "", "a", "abc", "dd", "bcda", "c"]


def same(a, b):
    return torch.equal(a.vectors, b.vectors) and torch.equal(a.offsets, b.offsets)


def test_vectors_come_back_in_the_order_of_the_items(tmp_path):
    model = Model()
    vectors = Store(tmp_path).fetch(job(TEXTS, model))
    assert all(torch.equal(vectors[i], model.one(text)) for i, text in enumerate(TEXTS))


def test_equal_items_are_encoded_once_and_a_second_run_encodes_nothing(tmp_path):
    first, second = Model(), Model()
    before = Store(tmp_path).fetch(job(TEXTS, first))
    store = Store(tmp_path)
    after = store.fetch(job(TEXTS, second))
    assert sorted(text for batch in first.batches for text in batch) == sorted(set(TEXTS))
    assert second.batches == []
    assert store.encoded == 0
    assert same(before, after)


@pytest.mark.parametrize(
    "change", [{"revision": "1" * 40}, {"dtype": "bfloat16"}, {"prompts": {"query": "Q: "}}, {"parameters": {"layer": "1"}}]
)
def test_another_revision_or_setting_is_encoded_anew(tmp_path, change):
    Store(tmp_path).fetch(job(TEXTS, Model()))
    again = Model()
    Store(tmp_path).fetch(job(TEXTS, again, card=CARD.model_copy(update=change)))
    assert again.batches


def test_queries_and_documents_of_the_same_text_are_not_mixed_up(tmp_path):
    Store(tmp_path).fetch(job(TEXTS, Model()))
    again = Model()
    Store(tmp_path).fetch(dataclasses.replace(job(TEXTS, again), side="query"))
    assert again.batches


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "sidecar"])
def test_damaged_vectors_are_noticed_and_encoded_again(tmp_path, damage):
    before = Store(tmp_path).fetch(job(TEXTS, Model()))
    before = MultiVectors(before.vectors.clone(), before.offsets.clone())
    (file,) = tmp_path.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "remove":
        file.unlink()
    else:
        file.with_suffix(".json").write_text("{")
    store, again = Store(tmp_path), Model()
    assert same(store.fetch(job(TEXTS, again)), before)
    assert again.batches
    assert "damaged" in store.repairs[0]


def test_an_interrupted_run_goes_on_with_the_batches_of_the_plan(tmp_path):
    texts = [f"{'x' * n}{n}" for n in range(1, 60)]
    whole = Model()
    Store(tmp_path / "a").fetch(job(texts, whole))
    stopped, resumed = Model(), Model()

    def stop_late(items):
        if len(stopped.batches) == 20:
            raise KeyboardInterrupt
        return stopped(items)

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path / "b").fetch(job(texts, stop_late))
    Store(tmp_path / "b").fetch(job(texts, resumed))
    assert 0 < len(resumed.batches) < len(whole.batches)
    assert resumed.batches == whole.batches[-len(resumed.batches) :]
    assert not list((tmp_path / "b").rglob("*.parts"))


def test_a_batch_that_does_not_fit_is_halved_and_that_is_noted(tmp_path):
    model = Model()

    def small(items):
        if len(items) > 1:
            raise torch.OutOfMemoryError
        return model(items)

    store = Store(tmp_path)
    vectors = store.fetch(job(TEXTS, small))
    assert all(torch.equal(vectors[i], model.one(text)) for i, text in enumerate(TEXTS))
    assert "halved" in store.notes[0]


def test_one_item_that_does_not_fit_is_named(tmp_path):
    def never(items):
        raise torch.OutOfMemoryError

    with pytest.raises(LidiagError, match="'bcda'"):
        Store(tmp_path).fetch(job(TEXTS, never))


UNIT = torch.eye(4)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([UNIT[:2]], "1 items for a batch of 2"),
        ([torch.eye(3), torch.eye(3)], "3 dimensions.*card says 4"),
        ([UNIT[:2], torch.tensor([[1.0, 0, 0, 0], [float("nan"), 0, 0, 0]])], "not finite in token vector 1 of the document 'two'"),
        ([torch.empty(0, 4), torch.tensor([[float("inf"), 0, 0, 0]])], "not finite in token vector 0 of the document 'two'"),
        ([UNIT[:1], torch.zeros(1, 4)], "number 0 of the document 'two' has length 0"),
        ([UNIT[:1] * 2, UNIT[:1]], "number 0 of the document 'one' has length 2"),
    ],
)
def test_vectors_that_cannot_be_right_are_refused_by_the_name_of_the_first_bad_item(items, said):
    with pytest.raises(LidiagError, match=said):
        check(MultiVectors.pack(items), CARD, "document", ["one", "two"])


def test_rows_need_not_be_unit_where_the_model_does_not_promise_it():
    check(MultiVectors.pack([UNIT * 2, UNIT]), CARD.model_copy(update={"unit_rows": False}), "document", ["one", "two"])


def test_pooled_vectors_and_cuts_are_kept_beside_the_tokens(tmp_path):
    model = Model()

    def encode(texts):
        tokens = model(texts)
        pooled = torch.tensor([[float(len(text)), 1.0] for text in texts])
        return MultiVectors(tokens.vectors, tokens.offsets, pooled, torch.tensor([len(text) > 3 for text in texts]))

    for _ in range(2):
        vectors = Store(tmp_path).fetch(job(TEXTS, encode))
        assert vectors.pooled[:, 0].tolist() == [len(text) for text in TEXTS]
        assert vectors.cut.tolist() == [len(text) > 3 for text in TEXTS]


def test_a_packed_file_is_a_safetensors_file_like_any_other(tmp_path):
    Store(tmp_path).fetch(job(TEXTS, Model()))
    (file,) = tmp_path.rglob("*.safetensors")
    tensors = load_file(file)
    assert torch.equal(tensors["vectors"], torch.cat([Model().one(text) for text in TEXTS]))
    assert tensors["offsets"].tolist() == [0, 3, 3, 4, 7, 9, 13, 14]


def test_a_store_of_16_bits_halves_the_file_and_rounds_every_number_to_11_bits(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(400, 4, generator=generator), dim=1)

    def encode(texts):
        return MultiVectors.pack([rows[:100] if text == "first" else rows[100:] for text in texts])

    made = job(["first", "second"], encode)
    whole, half = Store(tmp_path).fetch(made), Store(tmp_path, "float16").fetch(made)
    files = sorted(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert files[1] - files[0] == pytest.approx(400 * 4 * 2, abs=16)
    assert half.vectors.dtype == torch.float16
    assert half[0].dtype == half.select([1]).vectors.dtype == torch.float32
    # Below 2^-14 numbers of 16 bits are 2^-24 apart, above it neighbours differ by 2^-10 of themselves at most.
    assert bool(((half[1] - whole[1]).abs() <= whole[1].abs() * 2**-11 + 2**-25).all())
    assert float((half.vectors.float().norm(dim=1) - 1).abs().max()) < 1e-3


def test_a_store_of_16_bits_refuses_what_16_bits_do_not_hold(tmp_path):
    def encode(texts):
        return MultiVectors.pack([torch.full((1, 4), 1e5 if text == "huge" else 1.0) for text in texts])

    card = CARD.model_copy(update={"unit_rows": False})
    with pytest.raises(LidiagError, match="1e\\+05 in a token vector of the document 'huge'"):
        Store(tmp_path, "float16").fetch(job(["small", "huge"], encode, card=card))
    assert Store(tmp_path).fetch(job(["small", "huge"], encode, card=card)).vectors.max() == 1e5


def test_16_bits_change_a_score_by_their_rounding_at_most_and_swap_near_ties_only(tmp_path):
    adapter, facts = catalog.model("builtin:lexical", LoadOptions()), catalog.dataset("builtin:facts", DataOptions())
    scores, encoded = [], None
    for dtype in ("float32", "float16"):
        encoder = Encoder(adapter, Store(tmp_path, dtype), 32, "cpu")
        encoded = encoder.queries([query.text for query in facts.queries[:20]])
        (block,) = similarity_pass(encoded, encoder.documents(facts.documents[:200]), Needs((MaxSim(),)))
        scores.append(block.scores(MaxSim()))
    exact, rounded = scores
    # Both rows are unit and each number is off by 2^-11 of itself: a similarity by 2^-10, a score by that per query token.
    bound = encoded.lengths.unsqueeze(1) * (2**-10 + 2**-20)
    assert float((exact - rounded).abs().max()) > 0
    assert bool(((exact - rounded).abs() <= bound).all())
    apart, after = (each.unsqueeze(2) - each.unsqueeze(1) for each in scores)
    assert bool((apart.abs() <= 2 * bound.unsqueeze(2))[apart * after < 0].all())


def test_what_was_halved_is_said_again_by_whoever_reads_the_vectors_later(tmp_path):
    class Small(Model):
        def __call__(self, texts):
            if len(texts) > 1:
                raise torch.OutOfMemoryError
            return super().__call__(texts)

    first, later = Store(tmp_path), Store(tmp_path)
    first.fetch(job(TEXTS, Small()))
    later.fetch(job(TEXTS, Model()))
    assert later.encoded == 0
    assert set(later.notes) == set(first.notes) == {"a batch of 2 document items did not fit into memory and was halved"}


def test_memory_that_runs_out_on_the_processor_halves_a_batch_too_and_other_errors_are_not_swallowed(tmp_path):
    class Small(Model):
        says = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."

        def __call__(self, texts):
            if len(texts) > 1:
                raise RuntimeError(self.says)
            return super().__call__(texts)

    store = Store(tmp_path)
    assert same(store.fetch(job(TEXTS, Small())), Store(tmp_path / "other").fetch(job(TEXTS, Model())))
    assert store.notes
    Small.says = "mat1 and mat2 shapes cannot be multiplied"
    with pytest.raises(RuntimeError, match="shapes"):
        Store(tmp_path / "third").fetch(job(TEXTS, Small()))


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_set_is_encoded_again(tmp_path, suffix):
    before = Store(tmp_path).fetch(job(TEXTS, Model()))
    copy = MultiVectors(before.vectors.clone(), before.offsets.clone())
    (path,) = tmp_path.rglob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:-4])
    store = Store(tmp_path)
    assert same(store.fetch(job(TEXTS, Model())), copy)
    assert store.encoded == len(set(TEXTS))
    assert len(store.repairs) == 1


@pytest.mark.parametrize("workers", [2, 5])
def test_several_at_one_set_share_the_work_and_do_none_of_it_twice(tmp_path, workers):
    texts = [f"{'abcd' * (i % 7)}{i}" for i in range(200)]
    alone = Store(tmp_path / "alone").fetch(job(texts, Model()))
    stores = [Store(tmp_path / "together", shard=Shard(number + 1, workers)) for number in range(workers)]

    class Leisurely(Model):
        def __call__(self, batch):
            time.sleep(0.002)  # so that all of them have begun before the first has finished
            return super().__call__(batch)

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda store: store.fetch(job(texts, Leisurely())), stores))
    assert all(same(vectors, alone) for vectors in found)
    assert sum(store.encoded for store in stores) == len(texts)
    assert sum(store.encoded > 0 for store in stores) > 1
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".lock", ".tmp", ".parts"}]
