from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, Gemma3TextConfig, GPT2Config, ModernBertConfig, PreTrainedModel, Qwen2Config, Qwen3Config

from lidiag import loading
from lidiag.adapter import LoadOptions
from lidiag.errors import LidiagError


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BertConfig(), "bidirectional"),
        (ModernBertConfig(), "bidirectional"),
        (BertConfig(is_decoder=True), "causal"),
        (GPT2Config(), "causal"),
        (Qwen3Config(), "causal"),
        (Qwen2Config(is_causal=False), "unknown"),
        (Gemma3TextConfig(use_bidirectional_attention=True), "unknown"),
    ],
)
def test_attention_is_told_only_where_the_config_leaves_no_doubt(config, kind):
    assert loading.attention(config) == kind


def test_a_random_weight_matters_only_where_vectors_depend_on_it():
    network = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    for parameter in network.parameters():
        parameter.requires_grad = False
    missing = {"used.weight", "unused.weight", "renamed.buffer"}
    found = loading.that_matter(missing, network, lambda: network["used"](torch.ones(1, 2)))
    assert found == ("renamed.buffer", "used.weight")
    assert loading.that_matter(set(), network, lambda: torch.zeros(1)) == ()


def fail_to_load(before):
    with loading.explained("org/x"), loading.missing_weights():
        assert PreTrainedModel.__dict__["from_pretrained"] is not before
        raise OSError("no such\n\n thing")


def test_transformers_is_left_as_it_was_after_a_failed_load():
    before = PreTrainedModel.__dict__["from_pretrained"]
    with pytest.raises(LidiagError, match="org/x cannot be loaded: OSError: no such thing"):
        fail_to_load(before)
    assert PreTrainedModel.__dict__["from_pretrained"] is before


def test_a_dtype_is_read_by_its_name():
    assert loading.dtype(LoadOptions(dtype="bfloat16")) == torch.bfloat16
    with pytest.raises(LidiagError, match="Did you mean float16"):
        loading.dtype(LoadOptions(dtype="float61"))
