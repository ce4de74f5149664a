"""`http:URL`: a server that returns token vectors, as vLLM's `/pooling` or an OpenAI-style embeddings endpoint.

`http://localhost:8000/pooling?model=org/name` and `https://host/v1/embeddings?model=org/name&key_env=MY_TOKEN` are names
of such models. Each request is `{"model", "input": [texts], "encoding_format": "float"}` and, where `?task=` is given, `task`
(vLLM: `token_embed`); each answer `{"data": [{"index", "data" | "embedding" | "embeddings": [[...], ...]}]}`, one list of
vectors per text.

A server does not say which weights it has: without `@REVISION` the revision is a hash of its vectors for three fixed texts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag.adapter import Label, LoadOptions, Side, read_parameters, text_of
from lidiag.adapters._endpoint import Endpoint
from lidiag.card import ModelCard
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

_GOLDEN = ("what is late interaction?", "A wing in the slipstream of a propeller.", "1")
_VECTORS = ("data", "embedding", "embeddings")
_UNIT = 1e-2


@dataclass(frozen=True)
class Settings:
    """What can be set: `http://localhost:8000/pooling?model=org/name&timeout=120`."""

    model: str = ""
    task: str = ""
    key_env: str = ""  # the environment variable that holds the key
    query_prompt: str = ""
    document_prompt: str = ""
    timeout: float = 60.0  # seconds for one answer
    attempts: int = 5
    items: int = 8  # texts in one request
    in_flight: int = 4  # requests at once

    def __post_init__(self) -> None:
        """Refuse numbers that ask for nothing."""
        for name, low, high in (("timeout", 0.001, 3600), ("attempts", 1, 20), ("items", 1, 4096), ("in_flight", 1, 64)):
            if not low <= getattr(self, name) <= high:
                raise LidiagError(f"?{name}={getattr(self, name):g} is out of range.", f"Choose {name} from {low:g} to {high:g}.")


def load(name: str, options: LoadOptions) -> HttpModel:
    """Ask the server for three fixed texts, and describe it by its answers.

    Raises:
        LidiagError: the address is not valid or does not answer, the run is offline, or the answers are no token vectors.
    """
    url = name if "://" in name else f"http:{name}"
    settings = read_parameters(Settings, options.parameters, f"http:{name}")
    endpoint = Endpoint(url, _secret(settings), settings.timeout, settings.attempts)
    if options.offline and not endpoint.local():
        raise LidiagError(f"This run is offline, and {url} is another machine.", "Run it without --offline.")
    model = HttpModel(endpoint, settings)
    model.card = _card(model, url, settings, options)
    return model


def _secret(settings: Settings) -> str:
    if not settings.key_env:
        return ""
    secret = os.environ.get(settings.key_env, "")
    if not secret or not secret.isascii() or not secret.isprintable():
        raise LidiagError(f"The environment variable {settings.key_env} holds no usable key.", "Set it, or leave ?key_env= out.")
    return secret


def _card(model: HttpModel, url: str, settings: Settings, options: LoadOptions) -> ModelCard:
    golden = MultiVectors.concat([model.queries([text]) for text in _GOLDEN])
    rounded = np.round(golden.vectors.numpy(), 4) + 0.0  # -0.0 and 0.0 are one number
    digest = hashlib.sha256(str(golden.lengths.tolist()).encode() + rounded.astype("<f4").tobytes())
    host = url.partition("://")[2].partition("/")[0]
    return ModelCard(
        name=f"http/{(settings.model or host).replace('/', '__')}",
        revision=options.revision or digest.hexdigest()[:40],
        adapter="http",
        reason=options.reason,
        family="endpoint",
        modalities=("text",),
        dim=golden.dim,
        dtype="unknown",
        unit_rows=bool(((golden.vectors.norm(dim=1) - 1).abs() < _UNIT).all()),
        prompts={"query": settings.query_prompt, "document": settings.document_prompt},
        parameters={"url": url, **options.parameters},
        randomly_initialised=None,
    )


class HttpModel:
    """Texts go out in small requests, a few at once; vectors come back in the texts' order."""

    card: ModelCard

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        """Nothing is asked yet; the card is set by who loads it."""
        self._endpoint = endpoint
        self._settings = settings

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries.

        Raises:
            LidiagError: the server does not answer, or not with token vectors.
        """
        return self._encode([self._settings.query_prompt + text for text in texts])

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of documents' texts.

        Raises:
            LidiagError: the server does not answer, or not with token vectors.
            Skip: a document is a page without text.
        """
        return self._encode([self._settings.document_prompt + text_of(document, self.card.name) for document in documents])

    def labels(self, side: Side, item: str | Document) -> list[Label]:  # noqa: ARG002 - the protocol's
        """Skip: a server does not say what its vectors stand for."""
        raise Skip(f"{self.card.name} is an endpoint, which does not say what token each {side} vector stands for")

    def _encode(self, texts: Sequence[str]) -> MultiVectors:
        if not texts:
            return MultiVectors(torch.zeros(0, self.card.dim), torch.zeros(1, dtype=torch.int64))
        size = self._settings.items
        requests = [texts[i : i + size] for i in range(0, len(texts), size)]
        with ThreadPoolExecutor(self._settings.in_flight) as pool:
            answers = list(pool.map(self._ask, requests))
        items = [item for answer in answers for item in answer]
        widths = {item.shape[1] for item in items if len(item)} or {0}
        if len(widths) > 1:
            raise LidiagError(f"{self._endpoint.url} answered with vectors of {sorted(widths)} dimensions.", "Ask for one model: ?model=.")
        return MultiVectors.pack([torch.from_numpy(item.reshape(len(item), *widths)) for item in items])

    def _ask(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        body: dict[str, Any] = {"input": list(texts), "encoding_format": "float"}
        body |= {"model": self._settings.model} if self._settings.model else {}
        body |= {"task": self._settings.task} if self._settings.task else {}
        answer = self._endpoint.ask(body)
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("index", 0), int) for row in rows):
            raise self._strange("no list of objects under data")
        places: dict[Any, dict[str, Any]] = {row.get("index", i): row for i, row in enumerate(rows)}
        if len(rows) != len(texts) or places.keys() != set(range(len(texts))):
            raise self._strange(f"{len(rows)} items for {len(texts)} texts, or not one for each")
        return [self._vectors(places[i]) for i in range(len(texts))]

    def _vectors(self, row: dict[str, Any]) -> NDArray[np.float32]:
        found = next((row[key] for key in _VECTORS if key in row), None)
        try:
            vectors = np.array(found, dtype=np.float32)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._strange(f"what is no rectangle of numbers ({error})") from error
        if vectors.ndim == 1 and vectors.size:
            raise self._strange("one vector per text, not one per token")
        if vectors.ndim not in (1, 2) or not np.isfinite(vectors).all():
            raise self._strange(f"an array of {vectors.ndim} dimensions, or numbers that are not finite")
        return vectors

    def _strange(self, what: str) -> LidiagError:
        return LidiagError(
            f"{self._endpoint.url} answered with {what}.", "Serve a multi-vector model, with vLLM for example ?task=token_embed."
        )
