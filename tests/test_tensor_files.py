from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lidiag import tensor_files
from lidiag.adapter import LoadOptions
from lidiag.checkpoint import find
from lidiag.errors import LidiagError


def framed(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(shape, start, end):
    return {"t": {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}}


def test_a_whole_files_header_is_returned(tmp_path):
    save_file({"a": torch.ones(2, 3), "empty": torch.ones(0, 3)}, tmp_path / "x.safetensors", {"format": "pt"})
    assert tensor_files.check_safetensors(tmp_path / "x.safetensors").keys() == {"a", "empty", "__metadata__"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (framed(b"", length=2**63), "claims 9,223,372,036,854,775,808 bytes"),
        (framed(b"{}", length=3), "claims 3 bytes, of 10 in the file"),
        (framed(b"[" * 10**5), "nested more than 64 deep"),
        (framed(b'{"a": 1, "a": 1}'), "stands twice"),
        (framed([]), "not an object"),
        (framed(entry([2], 0, 8), bytes(7)), "'t' does not lie within it"),
        (framed(entry([2**40, 2**40], 0, 8), bytes(8)), "'t' does not lie within it"),
        (framed(entry([-1], 0, 8), bytes(8)), "'t' does not lie within it"),
        (framed(entry([1], 8, 4), bytes(8)), "'t' does not lie within it"),
        (framed({"t": 3}), "'t' does not lie within it"),
        (b"", "of 0 in the file"),
    ],
)
def test_a_header_that_lies_is_refused_before_it_is_parsed(tmp_path, content, said):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(LidiagError, match=f"x.safetensors is not a whole safetensors file: .*{said}"):
        tensor_files.check_safetensors(tmp_path / "x.safetensors")


def test_a_header_beyond_16_mib_is_not_read(tmp_path):
    with (tmp_path / "x.safetensors").open("wb") as file:
        file.write((2**24 + 1).to_bytes(8, "little"))
        file.truncate(2**30)
    with pytest.raises(LidiagError, match="16,777,217 bytes, of 1,073,741,824 in the file and 16,777,216 allowed"):
        tensor_files.check_safetensors(tmp_path / "x.safetensors")


def test_a_checkpoints_weights_are_checked_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(framed(b"{}", length=2**40))
    with pytest.raises(LidiagError, match=r"model\.safetensors is not a whole safetensors file"):
        find(str(tmp_path), LoadOptions())


@pytest.mark.parametrize("version", [2, 3])
def test_an_arrays_header_is_bounded_before_numpy_reads_it(tmp_path, version):
    np.save(tmp_path / "x.npy", np.ones(3))
    tensor_files.check_array(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + (2**31).to_bytes(4, "little"))
    with pytest.raises(LidiagError, match="a header of 2,147,483,648 bytes, above the 10,000 allowed"):
        tensor_files.check_array(tmp_path / "x.npy")
