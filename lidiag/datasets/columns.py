"""Collections that `datasets` holds as columns: ids, texts and images become documents and queries, images undecoded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lidiag.dataset import Document, Page, Query
from lidiag.errors import LidiagError


def documents(corpus: Any, seen: frozenset[str], name: str) -> dict[str, Document]:
    """Read a corpus with `id` and, of what a model may see (`text`, `image`), the columns that it has.

    Text is `title + " " + text`, stripped, as mteb joins them. Images stay encoded where the corpus has them, on disk.

    Raises:
        LidiagError: it has none of these columns, or an id stands twice.
    """
    texts = _texts(corpus) if "text" in seen and "text" in corpus.column_names else None
    pages = _pages(corpus) if "image" in seen and "image" in corpus.column_names else None
    if texts is None and pages is None:
        raise LidiagError(
            f"The corpus of {name} has no {' or '.join(sorted(seen))}, but {', '.join(corpus.column_names)}.", "Mend its data."
        )
    ids = [str(id_) for id_ in corpus["id"]]
    found = {id_: Document(id_, texts[i] if texts else "", pages[i] if pages else None) for i, id_ in enumerate(ids)}
    if len(found) < len(ids):
        raise LidiagError(f"{len(ids) - len(found):,} documents of {name} have an id that another has.", "Mend its data.")
    return found


def _texts(corpus: Any) -> list[str]:
    titles = corpus["title"] if "title" in corpus.column_names else [""] * len(corpus)
    return [f"{title or ''} {text or ''}".strip() for title, text in zip(titles, corpus["text"], strict=True)]


def _pages(corpus: Any) -> list[Page]:
    from datasets import Image  # noqa: PLC0415 - whoever has a corpus has it loaded

    encoded = corpus.select_columns(["image"]).cast_column("image", Image(decode=False))
    return [Page(partial(_encoded, encoded, i)) for i in range(len(encoded))]


def _encoded(images: Any, index: int) -> bytes:
    image = images[index]["image"]
    return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()


def queries(rows: Any, judged: Mapping[str, object], name: str) -> list[Query]:
    """Read the judged queries, each followed by its instruction where it has one, as mteb joins them.

    Raises:
        LidiagError: queries are no texts, but conversations or images.
    """
    if "text" not in rows.column_names or any(not isinstance(text, str) for text in rows[:1]["text"]):
        raise LidiagError(f"The queries of {name} are no plain texts.", "Choose a task of single questions in words.")
    instructions = rows["instruction"] if "instruction" in rows.column_names else [None] * len(rows)
    whole = zip(rows["id"], rows["text"], instructions, strict=True)
    return [Query(str(id_), f"{text} {more}" if more is not None else text) for id_, text, more in whole if str(id_) in judged]
