from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors, blocks

LENGTHS = (3, 0, 2, 5)


@pytest.fixture
def items():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 4, generator=generator) for n in LENGTHS]


@pytest.fixture
def packed(items):
    return MultiVectors.pack(items, pooled=torch.arange(8.0).view(4, 2), cut=torch.tensor([True, False, False, True]))


def same(a: MultiVectors, b: MultiVectors):
    for name in ("vectors", "offsets", "pooled", "cut"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        assert x is None or torch.equal(x, y), name


def test_items_come_back_as_they_went_in_the_empty_one_included(items, packed):
    assert packed.lengths.tolist() == list(LENGTHS)
    assert packed.dim == 4
    assert len(packed) == 4
    for i, item in enumerate(items):
        assert torch.equal(packed[i], item)
    assert all(torch.equal(a, b) for a, b in zip(packed, items, strict=True))
    assert torch.equal(packed[-1], items[-1])
    assert packed[3].data_ptr() != items[3].data_ptr()
    with pytest.raises(IndexError):
        packed[4]


def test_a_saved_file_loads_byte_for_byte(tmp_path, packed):
    packed.save(tmp_path / "x.safetensors", {"side": "document"})
    same(MultiVectors.load(tmp_path / "x.safetensors"), packed)
    bare = MultiVectors(packed.vectors.half(), packed.offsets)
    bare.save(tmp_path / "y.safetensors")
    same(MultiVectors.load(tmp_path / "y.safetensors"), bare)


def test_select_takes_items_in_the_order_asked_for(items, packed):
    chosen = packed.select([3, 1, 0, 3])
    same(chosen, MultiVectors.pack([items[3], items[1], items[0], items[3]], packed.pooled[[3, 1, 0, 3]], packed.cut[[3, 1, 0, 3]]))
    assert len(packed.select([])) == 0
    same(packed.select(torch.arange(4)), packed)


def test_concat_undoes_a_split(packed):
    same(MultiVectors.concat([packed.select([0, 1]), packed.select([]), packed.select([2, 3])]), packed)


def test_concat_refuses_parts_of_which_only_some_have_pooled_vectors(packed):
    with pytest.raises(ValueError, match="pooled is there for 1 of 2 parts"):
        MultiVectors.concat([packed, MultiVectors(packed.vectors, packed.offsets)])


def test_concat_of_parts_without_side_tables_has_none(items, packed):
    bare = MultiVectors.pack(items)
    same(MultiVectors.concat([bare.select([0, 1]), bare.select([2, 3])]), bare)


def test_what_a_mask_keeps_of_a_padded_batch_is_packed_item_by_item():
    batch = torch.arange(18.0).view(3, 3, 2)
    found = MultiVectors.unpad(batch.half(), torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 1]]))
    same(found, MultiVectors.pack([batch[0, :2], batch[1, :0], batch[2, [0, 2]]]))
    assert MultiVectors.unpad(batch.requires_grad_(), torch.ones(3, 3)).vectors.requires_grad


@pytest.mark.parametrize(
    ("lengths", "limit", "ranges"),
    [
        ([2, 3, 1, 4], 5, [(0, 2), (2, 4)]),  # 2 + 3 and 1 + 4 fill a block
        ([2, 4, 1, 4], 5, [(0, 1), (1, 3), (3, 4)]),
        ([2, 2, 1], 2, [(0, 1), (1, 2), (2, 3)]),  # every block counts anew
        ([9, 1, 1], 5, [(0, 1), (1, 3)]),  # one item with more
        ([1, 9, 9], 5, [(0, 1), (1, 2), (2, 3)]),
        ([0, 0, 3], 2, [(0, 2), (2, 3)]),
        ([3], 5, [(0, 1)]),
        ([], 5, []),
    ],
)
def test_blocks_hold_whole_items_up_to_the_limit(lengths, limit, ranges):
    assert blocks(torch.tensor(lengths), limit) == ranges


def test_heads_keep_the_first_vectors_of_every_item(items, packed):
    heads = packed.heads(2)
    assert heads.lengths.tolist() == [2, 0, 2, 2]
    assert all(torch.equal(head, item[:2]) for head, item in zip(heads, items, strict=True))
    assert len(packed.select([]).heads(2)) == 0


@pytest.mark.parametrize(
    "offsets",
    [
        torch.tensor([0, 3, 9]),  # ends before the tokens do
        torch.tensor([1, 10]),  # does not start at 0
        torch.tensor([0, 6, 4, 10]),  # falls
        torch.tensor([0, 10], dtype=torch.int32),
        torch.tensor([], dtype=torch.int64),
    ],
)
def test_offsets_that_do_not_fit_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets"):
        MultiVectors(torch.zeros(10, 4), offsets)


@pytest.mark.parametrize(
    ("vectors", "offsets", "shapes"),
    [
        (torch.zeros(10), torch.tensor([0, 10]), r"\(10,\) and \(2,\)"),
        (torch.zeros(10, 4), torch.tensor([[0, 10]]), r"\(10, 4\) and \(1, 2\)"),
    ],
)
def test_parts_of_another_number_of_axes_are_refused(vectors, offsets, shapes):
    with pytest.raises(ValueError, match=shapes):
        MultiVectors(vectors, offsets)


def test_a_folder_that_is_not_there_is_an_error_of_the_disk(tmp_path, packed):
    with pytest.raises(OSError, match="No such file"):
        packed.save(tmp_path / "absent" / "file.safetensors")


def test_a_side_table_of_another_length_is_refused(packed):
    with pytest.raises(ValueError, match="pooled has 3 rows for 4 items"):
        MultiVectors(packed.vectors, packed.offsets, pooled=torch.zeros(3, 2))


def test_a_corrupt_file_is_named_with_the_next_step(tmp_path, packed):
    whole, damaged = tmp_path / "whole.safetensors", tmp_path / "damaged.safetensors"
    packed.save(whole)
    content = whole.read_bytes()
    for fault in (content[: len(content) // 2], b"", b"not safetensors at all", content[:-3]):
        damaged.write_bytes(fault)
        with pytest.raises(LidiagError, match=r"damaged\.safetensors is not a whole safetensors file.*save it again"):
            MultiVectors.load(damaged)
    with pytest.raises(LidiagError, match="absent"):
        MultiVectors.load(tmp_path / "absent.safetensors")


def test_a_file_with_other_tensors_or_offsets_that_do_not_fit_is_refused(tmp_path):
    save_file({"weights": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(LidiagError, match="vectors"):
        MultiVectors.load(tmp_path / "model.safetensors")
    save_file({"vectors": torch.zeros(2, 2), "offsets": torch.tensor([0, 3])}, tmp_path / "model.safetensors")
    with pytest.raises(LidiagError, match="offsets must rise"):
        MultiVectors.load(tmp_path / "model.safetensors")
