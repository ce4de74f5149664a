"""Tiny text models with random weights, saved in every layout that real checkpoints come in. Under 0.2 MB each, seeded."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from tests import zoo_visual

WORDS = "the a of in is what where capital france paris berlin germany cat dog revenue total year report river rhine seine invoice".split()  # noqa: SIM905
QUERIES = ["what is the capital of france?", "where is the river rhine?", "cat"]
TEXTS = ["Paris is the capital of France.", "The Rhine is a river in Germany, and so is the Spree.", "", "dog"]
HIDDEN, DIM = 32, 16
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece of 135 pieces, with the markers that ColBERT puts before its texts."""
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[unused0]",
        "[unused1]",
        *string.ascii_lowercase,
        *string.digits,
        *string.punctuation,
    ]
    pieces += [f"##{c}" for c in string.ascii_lowercase + string.digits] + [w for w in WORDS if len(w) > 1]
    inner = Tokenizer(models.WordPiece(vocab={piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))  # noqa: S106 - a token, no password
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=128, **names)


def decoder_tokenizer() -> PreTrainedTokenizerFast:
    """Single bytes, left-padded, with an end token after the text: how Qwen3-Embedding reads."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, "<|endoftext|>"])}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.post_processor = processors.TemplateProcessing(single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", len(alphabet))])
    names = {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, padding_side="left", model_max_length=128, **names)


def bert(folder: Path, *, pooler: bool = True) -> Path:
    """A bare BERT."""
    return _save(BertModel(_seeded(BertConfig(**_sizes(), pad_token_id=0)), add_pooling_layer=pooler), tokenizer(), folder)


def modernbert(folder: Path) -> Path:
    """A bare ModernBERT."""
    return _save(
        ModernBertModel(_seeded(ModernBertConfig(**_sizes(), pad_token_id=0, bos_token_id=2, eos_token_id=3))), tokenizer(), folder
    )


def qwen3(folder: Path) -> Path:
    """A bare causal decoder."""
    config = Qwen3Config(
        **{**_sizes(), "vocab_size": len(decoder_tokenizer())}, num_key_value_heads=2, head_dim=16, eos_token_id=256, pad_token_id=None
    )
    return _save(Qwen3Model(_seeded(config)), decoder_tokenizer(), folder)


def qwen3_vl(folder: Path) -> Path:
    """A visual single-vector model in the manner of Qwen3-VL-Embedding: a chat template, the last token's vector."""
    words = zoo_visual._qwen_tokenizer()
    config = zoo_visual._qwen_config(
        transformers.Qwen3VLConfig, words, zoo_visual._QWEN3_VISION | {"deepstack_visual_indexes": [0]}, head_dim=16
    )
    torch.manual_seed(0)
    transformers.Qwen3VLModel(config).save_pretrained(folder / "backbone")
    transformers.Qwen3VLProcessor(
        image_processor=zoo_visual._qwen_images(16),
        tokenizer=words,
        video_processor=transformers.Qwen3VLVideoProcessor(),
        chat_template=_CHAT,
    ).save_pretrained(folder / "backbone")
    return single_vector(folder / "model", folder / "backbone", "lasttoken", {"query": "Find it.", "document": ""})


def native(folder: Path, backbone: Path, *, prompts: dict[str, str] | None = None, pooling: int = 1) -> Path:
    """What sentence-transformers saves."""
    torch.manual_seed(1)
    model = MultiVectorEncoder(str(backbone), device="cpu", prompts=prompts, local_files_only=True)
    if pooling > 1:
        model.append(HierarchicalTokenPooling(pool_factor=pooling))
    model.save_pretrained(str(folder))
    return folder


def pylate(folder: Path, backbone: Path, **settings: object) -> Path:
    """What PyLate saves: a Transformer and its own Dense; masking and normalising are its code, not modules."""
    _copy(backbone, folder)
    head = folder / "1_Dense"
    head.mkdir()
    torch.manual_seed(1)
    save_file({"linear.weight": torch.randn(DIM, HIDDEN)}, head / "model.safetensors")
    identity = "torch.nn.modules.linear.Identity"
    _json(head / "config.json", {"in_features": HIDDEN, "out_features": DIM, "bias": False, "activation_function": identity})
    _json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
    )
    _json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    _json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "ColBERT",
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[unused0] ",
            "document_prefix": "[unused1] ",
            "query_length": 16,
            "document_length": 24,
            "attend_to_expansion_tokens": False,
            "do_query_expansion": True,
            "skiplist_words": list(string.punctuation),
            **settings,
        },
    )
    return folder


def stanford(folder: Path, backbone: Path) -> Path:
    """What Stanford's ColBERT saves: backbone and projection in one file, and its settings in artifact.metadata."""
    _copy(backbone, folder)
    weights = {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(1)
    save_file({**weights, "linear.weight": torch.randn(DIM, HIDDEN)}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    _json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    settings = {"query_maxlen": 16, "doc_maxlen": 24, "query_token_id": "[unused0]", "doc_token_id": "[unused1]"}
    _json(folder / "artifact.metadata", {**settings, "mask_punctuation": True, "attend_to_mask_tokens": False, "dim": DIM})
    return folder


def single_vector(folder: Path, backbone: Path, pooling: str = "mean", prompts: dict[str, str] | None = None) -> Path:
    """A sentence-transformers model with one vector per text."""
    transformer = Transformer(str(backbone))
    modules = [transformer, Pooling(HIDDEN, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save_pretrained(str(folder))
    return folder


def _sizes() -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer()),
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
    }


def _seeded(config):
    torch.manual_seed(0)
    return config


def _save(model: torch.nn.Module, words: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
