"""What each token of a tokenized text is: a piece of the prompt, of the text, a special or an expansion token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lidiag.adapter import Label


def labels(tokenizer: Any, ids: Sequence[int], offsets: Sequence[tuple[int, int]], prompt: str, expansion: Sequence[bool]) -> list[Label]:
    """Return one label per token of `prompt + text`; spans are within the text, without the prompt.

    `ids` and `offsets` are one item's, padding left out; `expansion` says which positions were added to a query.
    """
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    found: list[Label] = []
    for token, piece, (start, end), added in zip(ids, pieces, offsets, expansion, strict=True):
        if added:
            found.append(Label("augmentation", piece))
        elif start == end:
            found.append(Label("special" if token in special else "word", piece))
        elif end <= len(prompt):
            found.append(Label("prompt", piece))
        else:
            # A piece may begin with the prompt's last blank.
            span = (max(start - len(prompt), 0), end - len(prompt))
            found.append(Label("special" if token in special else "word", piece, span=span))
    return found


def cut(tokenizer: Any, texts: Sequence[str], kept: Sequence[int]) -> list[bool]:
    """Say which texts have more tokens, special ones included, than the `kept` ones that the model read."""
    whole = tokenizer(list(texts), truncation=False, padding=False, verbose=False, return_attention_mask=False)["input_ids"]
    return [len(ids) > read for ids, read in zip(whole, kept, strict=True)]
