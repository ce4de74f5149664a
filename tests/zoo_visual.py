"""Tiny random checkpoints of every visual late-interaction family, saved as their own libraries save them.

Each is under 1 MB, seeded, and goes through the real `save_pretrained`, so that loading one is loading in earnest.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lidiag.dataset import Document, Page

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

WIDTH = 32
_QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
_IDEFICS_TOKENS = [
    "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|im_start|>", "<|begin_of_text|>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
]  # fmt: skip

Parts = tuple[transformers.PreTrainedModel, object]


class Zoo:
    """Checkpoints under one folder, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, family: str) -> Path:
        folder = self.root / family
        if not folder.exists():
            _MAKERS[family](folder)
        return folder


def page(text: str = "", size: tuple[int, int] = (220, 300), colour: str = "white") -> Image.Image:
    """Draw a page."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).multiline_text((10, 10), text, fill="black")
    return image


def document(image: Image.Image, name: str = "d") -> Document:
    """Make a document of a page."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Document(name, page=Page(buffer.getvalue()))


def changed(folder: Path, copy: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """Copy a checkpoint with its weights edited."""
    shutil.copytree(folder, copy)
    path = next(copy.glob("*model.safetensors"))
    weights = {name: tensor.clone().contiguous() for name, tensor in edit(load_file(path)).items()}
    path.unlink()
    save_file(weights, path, {"format": "pt"})
    return copy


def rewritten(folder: Path, file: str, **values: object) -> Path:
    """Set values of a JSON file."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def byte_tokenizer(special: list[str], pad: str, bos: str | None = None, eos: str | None = None) -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer whose words are bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=bos, eos_token=eos, additional_special_tokens=special
    )


def _saved(make: Callable[[], Parts]) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        torch.manual_seed(0)
        model, processor = make()
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    return save


def _qwen_tokenizer() -> transformers.PreTrainedTokenizerFast:
    return byte_tokenizer(_QWEN_TOKENS, "<|endoftext|>", eos="<|im_end|>")


def _qwen_config(kind: type, tokenizer: transformers.PreTrainedTokenizerFast, vision: dict, **text: object) -> object:
    number = tokenizer.convert_tokens_to_ids
    # No pad_token_id: nn.Embedding would zero that row, and a zero vector divided by its length is NaN.
    language = {
        "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096,
        "bos_token_id": None, "eos_token_id": number("<|im_end|>"),
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    return kind(
        text_config=language | text, vision_config=vision, image_token_id=number("<|image_pad|>"), video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"), vision_end_token_id=number("<|vision_end|>"),
    )  # fmt: skip


def _qwen_images(patch: int = 14) -> object:
    side = 2 * patch  # four patches become one token
    return transformers.Qwen2VLImageProcessor(size={"shortest_edge": 4 * side**2, "longest_edge": 64 * side**2}, patch_size=patch)


_QWEN2_VISION = {
    "depth": 2, "embed_dim": WIDTH, "hidden_size": WIDTH, "mlp_ratio": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}  # fmt: skip
_QWEN25_VISION = {
    "depth": 2, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_heads": 2, "out_hidden_size": WIDTH, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [1],
}  # fmt: skip
_QWEN3_VISION = {
    "depth": 2, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_heads": 2, "out_hidden_size": WIDTH, "patch_size": 16,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
}  # fmt: skip


def _colqwen2() -> Parts:
    from colpali_engine.models import ColQwen2, ColQwen2Processor  # noqa: PLC0415 - the family's library is slow to import

    tokenizer = _qwen_tokenizer()
    config = _qwen_config(transformers.Qwen2VLConfig, tokenizer, _QWEN2_VISION)
    video = transformers.Qwen2VLVideoProcessor()
    return ColQwen2(config), ColQwen2Processor(image_processor=_qwen_images(), tokenizer=tokenizer, video_processor=video)


def _colqwen2_5() -> Parts:
    from colpali_engine.models import ColQwen2_5, ColQwen2_5_Processor  # noqa: PLC0415

    tokenizer = _qwen_tokenizer()
    config = _qwen_config(transformers.Qwen2_5_VLConfig, tokenizer, _QWEN25_VISION)
    video = transformers.Qwen2VLVideoProcessor()
    return ColQwen2_5(config), ColQwen2_5_Processor(image_processor=_qwen_images(), tokenizer=tokenizer, video_processor=video)


def _colqwen3() -> Parts:
    from colpali_engine.models import ColQwen3, ColQwen3Processor  # noqa: PLC0415

    tokenizer = _qwen_tokenizer()
    config = _qwen_config(transformers.Qwen3VLConfig, tokenizer, _QWEN3_VISION | {"deepstack_visual_indexes": [0]}, head_dim=16)
    video = transformers.Qwen3VLVideoProcessor()
    return ColQwen3(config), ColQwen3Processor(image_processor=_qwen_images(16), tokenizer=tokenizer, video_processor=video)


def _colqwen3_5() -> Parts:
    from colpali_engine.models import ColQwen3_5, ColQwen3_5Processor  # noqa: PLC0415

    tokenizer = _qwen_tokenizer()
    # One layer of linear attention and one of full attention, as in the large ones.
    mixed = {
        "head_dim": 16, "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "partial_rotary_factor": 1.0,
    }  # fmt: skip
    config = _qwen_config(transformers.Qwen3_5Config, tokenizer, _QWEN3_VISION, **mixed)
    video = transformers.Qwen3VLVideoProcessor()
    return ColQwen3_5(config), ColQwen3_5Processor(image_processor=_qwen_images(16), tokenizer=tokenizer, video_processor=video)


def _colqwen2_5_lora(folder: Path) -> None:
    """Write an adapter on the tiny ColQwen2.5 beside it, in the shape of vidore/colqwen2.5-v0.2."""
    from colpali_engine.models import ColQwen2_5, ColQwen2_5_Processor  # noqa: PLC0415
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415

    base = Zoo(folder.parent)["colqwen2_5"]
    torch.manual_seed(1)
    layers = r"(.*(language_model).*(down_proj|gate_proj|up_proj|k_proj|q_proj|v_proj|o_proj).*$|.*(custom_text_proj).*$)"
    # Gaussian, not zero: an untrained adapter would equal its base, and a test could not tell them apart.
    config = LoraConfig(r=2, lora_alpha=4, target_modules=layers, init_lora_weights=False, task_type="FEATURE_EXTRACTION")
    get_peft_model(ColQwen2_5.from_pretrained(base, dtype=torch.float32), config).save_pretrained(folder)
    ColQwen2_5_Processor.from_pretrained(base).save_pretrained(folder)


def _paligemma_parts() -> tuple[transformers.PreTrainedTokenizerFast, object]:
    images = transformers.SiglipImageProcessor(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    return byte_tokenizer(["<image>"], "<pad>", bos="<bos>", eos="<eos>"), images


def _siglip_vision() -> dict:
    return {
        "model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 56, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip


def _paligemma_config(tokenizer: transformers.PreTrainedTokenizerFast) -> transformers.PaliGemmaConfig:
    words = len(tokenizer)  # the processor has added its own 1,152 by now
    language = {
        "model_type": "gemma", "vocab_size": words, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    return transformers.PaliGemmaConfig(
        vision_config=_siglip_vision(), text_config=language, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=WIDTH, hidden_size=WIDTH, vocab_size=words,
    )  # fmt: skip


def _colpali() -> Parts:
    from colpali_engine.models import ColPali, ColPaliProcessor  # noqa: PLC0415

    tokenizer, images = _paligemma_parts()
    processor = ColPaliProcessor(image_processor=images, tokenizer=tokenizer)
    return ColPali(_paligemma_config(tokenizer)), processor


def _idefics_parts() -> tuple[transformers.PreTrainedTokenizerFast, object]:
    images = transformers.Idefics3ImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    return byte_tokenizer(_IDEFICS_TOKENS, "<pad>", bos="<bos>", eos="<eos>"), images


def _colidefics3() -> Parts:
    from colpali_engine.models import ColIdefics3, ColIdefics3Processor  # noqa: PLC0415

    tokenizer, images = _idefics_parts()
    processor = ColIdefics3Processor(image_processor=images, tokenizer=tokenizer, image_seq_len=4)
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56,
        "patch_size": 14,
    }  # fmt: skip
    language = {
        "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.Idefics3Config(image_token_id=image, scale_factor=2, vision_config=vision, text_config=language)
    return ColIdefics3(config), processor


def _modernvbert_config(tokenizer: transformers.PreTrainedTokenizerFast) -> transformers.ModernVBertConfig:
    language = {
        "model_type": "modernbert", "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "cls_token_id": tokenizer.bos_token_id, "sep_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    return transformers.ModernVBertConfig(
        image_token_id=image, pixel_shuffle_factor=2, vision_config=_siglip_vision(), text_config=language
    )  # fmt: skip


def _colmodernvbert() -> Parts:
    from colpali_engine.models import ColModernVBert, ColModernVBertProcessor  # noqa: PLC0415

    tokenizer, images = _idefics_parts()
    processor = ColModernVBertProcessor(image_processor=images, tokenizer=tokenizer, image_seq_len=4)
    return ColModernVBert(_modernvbert_config(tokenizer)), processor


def _native_colpali() -> Parts:
    tokenizer, images = _paligemma_parts()
    processor = transformers.ColPaliProcessor(image_processor=images, tokenizer=tokenizer)
    config = transformers.ColPaliConfig(vlm_config=_paligemma_config(tokenizer).to_dict(), embedding_dim=16)
    return transformers.ColPaliForRetrieval(config), processor


def _native_colqwen2() -> Parts:
    tokenizer = _qwen_tokenizer()
    vlm = _qwen_config(transformers.Qwen2VLConfig, tokenizer, _QWEN2_VISION)
    processor = transformers.ColQwen2Processor(image_processor=_qwen_images(), tokenizer=tokenizer)
    return transformers.ColQwen2ForRetrieval(transformers.ColQwen2Config(vlm_config=vlm.to_dict(), embedding_dim=16)), processor


def _native_colmodernvbert() -> Parts:
    tokenizer, images = _idefics_parts()
    processor = transformers.ColModernVBertProcessor(image_processor=images, tokenizer=tokenizer, image_seq_len=4)
    config = transformers.ColModernVBertConfig(vlm_config=_modernvbert_config(tokenizer).to_dict(), embedding_dim=16)
    return transformers.ColModernVBertForRetrieval(config), processor


_MAKERS: dict[str, Callable[[Path], None]] = {
    "colpali": _saved(_colpali),
    "colqwen2": _saved(_colqwen2),
    "colqwen2_5": _saved(_colqwen2_5),
    "colqwen2_5_lora": _colqwen2_5_lora,
    "colqwen3": _saved(_colqwen3),
    "colqwen3_5": _saved(_colqwen3_5),
    "colidefics3": _saved(_colidefics3),
    "colmodernvbert": _saved(_colmodernvbert),
    "native_colpali": _saved(_native_colpali),
    "native_colqwen2": _saved(_native_colqwen2),
    "native_colmodernvbert": _saved(_native_colmodernvbert),
}
ENGINE = ("colpali", "colqwen2", "colqwen2_5", "colqwen2_5_lora", "colqwen3", "colqwen3_5", "colidefics3", "colmodernvbert")
NATIVE = ("native_colpali", "native_colqwen2", "native_colmodernvbert")
