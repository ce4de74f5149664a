"""What a sentence-transformers model's tokens are called, and what its texts are wrapped in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lidiag.adapter import Label, Side
from lidiag.adapters._reading import Reader
from lidiag.measurement import Skip

# A word to see what a template puts around a text; no template contains it.
_PROBE = "lidiag"


def labels(reader: Reader, content: Any, side: Side, mask: Callable[[dict[str, Any]], Tensor]) -> list[Label]:
    """Name the tokens of one item that `mask` keeps; spans are within the item's text, without the prompt.

    Raises:
        Skip: a template writes the text in a way that its words cannot be found again.
    """
    plain = reader.plain and isinstance(content, str)
    features = reader.features([content], side, offsets=plain)
    if plain:
        named = _plain(reader, features, side)
    elif isinstance(content, str):
        named = _written(reader, features, content)
    else:
        named = _drawn(reader, features)
    return [label for label, kept in zip(named, mask(features)[0].tolist(), strict=True) if kept]


def prompts(reader: Reader) -> dict[str, str]:
    """Return what stands around the text on each side, as the network reads it, and how queries are lengthened."""
    if not reader.plain:
        return {"query": _wrapped(reader, "query", _PROBE), "document": _wrapped(reader, "document", _sample(reader))}
    expansion = reader.first.query_expansion
    if not expansion:
        return {**reader.prompts}
    tokenizer = reader.first.tokenizer
    token = expansion["token"] or tokenizer.mask_token or tokenizer.eos_token
    reach = "to" if expansion["strategy"] == "fixed" else "to at least"
    seen = "attended to" if expansion["attend"] else "not attended to"
    return {**reader.prompts, "query_augmentation": f"{token} {reach} {expansion['length']} tokens, {seen}"}


def _sample(reader: Reader) -> Any:
    if "image" not in reader.modalities():
        return _PROBE
    from PIL import Image  # noqa: PLC0415 - Pillow is not needed for text

    return {"image": Image.new("RGB", (64, 64), "white")}


def _wrapped(reader: Reader, side: Side, content: Any) -> str:
    ids = reader.features([content], side)["input_ids"][0].tolist()
    text: str = reader.first.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    image = reader.image_id()
    if not isinstance(content, str) and image is not None:
        text = re.sub(f"(?:{re.escape(reader.first.tokenizer.convert_ids_to_tokens(image))})+", "{page}", text)
    return text.replace(_PROBE, "{text}")


def _plain(reader: Reader, features: dict[str, Any], side: Side) -> list[Label]:
    """Name the tokens of prompt + text, by their offsets."""
    ids: list[int] = features["input_ids"][0].tolist()
    added: list[bool] = features.get("query_expansion_positions", torch.zeros(1, len(ids), dtype=torch.bool))[0].tolist()
    # Positions that the library appends after tokenizing have no offset of their own.
    offsets: list[list[int]] = (features["offset_mapping"][0].tolist() + [[0, 0]] * len(ids))[: len(ids)]
    special, prompt = reader.special_ids(), len(reader.prompts[side])
    found: list[Label] = []
    for token, piece, (start, end), new in zip(ids, reader.first.tokenizer.convert_ids_to_tokens(ids), offsets, added, strict=True):
        kind = "special" if token in special else "word"
        if new:
            found.append(Label("augmentation", piece))
        elif start == end:
            found.append(Label(kind, piece))
        elif end <= prompt:
            found.append(Label("prompt", piece))
        else:
            # A piece may begin with the prompt's last blank.
            found.append(Label(kind, piece, span=(max(start - prompt, 0), end - prompt)))
    return found


def _written(reader: Reader, features: dict[str, Any], content: str) -> list[Label]:
    """Name the tokens of a text within its template, by finding it there."""
    tokenizer, processor = reader.first.tokenizer, reader.first.processor
    ids: list[int] = features["input_ids"][0].tolist()
    whole: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    again = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    first = whole.rfind(content)
    last = first + len(content)
    if again["input_ids"] != ids or first < 0:
        raise Skip(f"the template of {type(processor).__name__} writes {content[:40]!r} so that its words cannot be told from its own")
    augmentation = getattr(processor, "query_augmentation_token", None)
    special = reader.special_ids()
    found: list[Label] = []
    for token, (start, end) in zip(ids, again["offset_mapping"], strict=True):
        piece: str = tokenizer.decode([token])
        if start >= last and piece == augmentation:
            found.append(Label("augmentation", piece))
        elif token in special:
            found.append(Label("special", piece))
        elif start >= last or end <= first:
            found.append(Label("prompt", piece))
        else:
            found.append(Label("word", piece, span=(max(start, first) - first, min(end, last) - first)))
    return found


def _drawn(reader: Reader, features: dict[str, Any]) -> list[Label]:
    """Name the tokens of a page within its template; where on the page a patch lies is not known here."""
    special, image = reader.special_ids(), reader.image_id()
    ids: list[int] = features["input_ids"][0].tolist()
    return [
        Label("patch") if token == image else Label("special" if token in special else "prompt", reader.first.tokenizer.decode([token]))
        for token in ids
    ]
