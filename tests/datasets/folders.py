"""A small sound folder in the BEIR layout, and ways to spoil it."""

from __future__ import annotations

import gzip
from pathlib import Path

CORPUS = '{"_id": "d1", "title": "Wings", "text": "lift"}\n{"_id": "d2", "text": "drag"}\n{"_id": "d3", "title": "", "text": ""}\n'
QUERIES = '{"_id": "q1", "text": "what lifts"}\n{"_id": "q2", "text": "what drags"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq2\td1\t0\n"


def write(folder: Path, files: dict[str, str | bytes] | None = None, *, without: tuple[str, ...] = ()) -> Path:
    """Write the sound files, with `files` in place of some or beside them; a name in .gz is compressed if its content is text."""
    sound: dict[str, str | bytes] = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.tsv": QRELS}
    for name, content in (sound | (files or {})).items():
        if name in without:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") and isinstance(content, str) else raw)
    return folder
