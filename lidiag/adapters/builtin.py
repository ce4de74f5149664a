"""`builtin:lexical`: a late-interaction model that needs no download and really retrieves.

Every word that is no stop word becomes one token vector: the sum of fixed Gaussian vectors, one per hashed character
3-, 4- and 5-gram of `<word>`, mixed with a share of both neighbours, of length 1; the mean of an item's vectors, at length 1,
stands beside them as its single vector. Ours; the subword hashing is that of fastText (arXiv 1607.04606).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag.adapter import Label, LoadOptions, Side, read_parameters, text_of
from lidiag.adapters._ailments import Ailments, Planted, means
from lidiag.card import ModelCard
from lidiag.dataset import Document
from lidiag.errors import LidiagError, unknown
from lidiag.multivector import MultiVectors

_BUCKETS = 2**16
# Chinese characters are words of their own, as no spaces part them.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
_STOP_WORDS = frozenset(
    """a about above after again all am an and any are as at be because been before being below between both but by can
    could did do does doing down during each few for from further had has have having he her here hers him his how i if in
    into is it its just may me might more most must my no nor not of off on once only or other our out over own same shall
    she should so some such than that the their them then there these they this those through to too under until up upon
    us very was we were what when where which while who whom whose why will with would you your""".split()  # noqa: SIM905 - read as prose, not as 140 lines
)


def names() -> list[str]:
    """Return what `builtin:` knows."""
    return ["lexical"]


def load(name: str, options: LoadOptions) -> Lexical:
    """Make the built-in model.

    Raises:
        LidiagError: the name or a parameter is unknown, or a parameter is out of its range.
    """
    if name not in names():
        raise unknown("built-in model", name, names(), "`lidiag list models`")
    return Lexical(read_parameters(Settings, options.parameters, f"builtin:{name}"), options)


@dataclass(frozen=True)
class Settings(Ailments):
    """What can be set: `builtin:lexical?context=0.5`, and a strength for each ailment."""

    context: float = 0.3  # the share of each neighbour that is mixed into a word
    dim: int = 128
    seed: int = 0  # of the Gaussian vectors

    def __post_init__(self) -> None:
        """Refuse what gives no model."""
        super().__post_init__()
        for field, low, high in (("context", 0, 1), ("dim", 2, 4096), ("seed", 0, 2**32 - 1)):
            value = getattr(self, field)
            if not low <= value <= high:
                raise LidiagError(f"builtin:lexical?{field}={value:g} is out of range.", f"Choose {field} from {low} to {high}.")

    def suffix(self) -> str:
        """Return what differs from the defaults, as it stands in the model's name: `.context-0.5`."""
        return "".join(
            f".{field.name}-{getattr(self, field.name):g}" for field in fields(self) if getattr(self, field.name) != field.default
        )


class Lexical:
    """Hashed subword vectors in context."""

    def __init__(self, settings: Settings, options: LoadOptions) -> None:
        """Draw the Gaussian vectors; `options.dtype` rounds the finished token vectors."""
        self._settings = settings
        self._dtype = getattr(torch, options.dtype)
        generator = np.random.default_rng(settings.seed)
        self._grams = generator.standard_normal((_BUCKETS, settings.dim), dtype=np.float32)
        self._planted = Planted(settings, settings.dim, settings.seed)
        self._word = lru_cache(maxsize=_BUCKETS)(self._word_vector)
        self.card = ModelCard(
            name=f"lidiag/lexical{settings.suffix()}",
            revision=self._revision(),
            adapter="builtin",
            reason="asked for",
            family="Lexical",
            modalities=("text",),
            dim=settings.dim,
            dtype=options.dtype,
            attention="causal" if settings.causal == 1 else "bidirectional",
            unit_rows=not settings.pad_rows,
            randomly_initialised=("head.weight",) if settings.random_head else (),
            prompts={"query": "", "document": ""},
            parameters=dict(options.parameters),
            versions={"numpy": np.__version__},
        )

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode queries; a text without words, or of stop words only, has no vectors, and a pooled vector of zeros."""
        return self._finished(self._planted.in_queries(self._unit(texts)))

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode the documents' texts; a healthy model reads them as it reads queries."""
        texts = [text_of(document, self.card.name) for document in documents]
        return self._finished(self._planted.in_documents(self._unit(texts), texts))

    def labels(self, side: Side, item: str | Document) -> list[Label]:  # noqa: ARG002 - both sides read alike
        """Return the word behind each vector, as it stands in the text."""
        text = item if isinstance(item, str) else text_of(item, self.card.name)
        words = [Label("word", match[0], span=match.span()) for match in _words(text)]
        return words + [Label("padding")] * self._settings.pad_rows

    def query_states(self, texts: Sequence[str], layer: int = -1) -> MultiVectors:
        """Return word vectors out of context (layer 0), or mixed and not yet of length 1 (layer 1, the last)."""
        if layer not in (-2, -1, 0, 1):
            raise LidiagError(f"{self.card.name} has layers 0 and 1, not {layer}.", "Choose one of them.")
        return self._states(texts, layer % 2)

    def document_states(self, documents: Sequence[Document], layer: int = -1) -> MultiVectors:
        """Return the documents' states, as for queries."""
        return self.query_states([text_of(document, self.card.name) for document in documents], layer)

    def _unit(self, texts: Sequence[str]) -> MultiVectors:
        mixed = self._states(texts, 1)
        return MultiVectors(torch.nn.functional.normalize(mixed.vectors, dim=1), mixed.offsets)

    def _finished(self, vectors: MultiVectors) -> MultiVectors:
        rows, none_cut = vectors.vectors.to(self._dtype).float(), torch.zeros(len(vectors), dtype=torch.bool)
        return MultiVectors(rows, vectors.offsets, means(vectors), none_cut)

    def _states(self, texts: Sequence[str], layer: int) -> MultiVectors:
        words = [[match[0].casefold() for match in _words(text)] for text in texts]
        offsets = torch.tensor([0, *(len(item) for item in words)]).cumsum(0)
        rows = [self._word(word) for item in words for word in item]
        plain = np.stack(rows) if rows else np.zeros((0, self._settings.dim), dtype=np.float32)
        return MultiVectors(torch.from_numpy(self._mix(plain, offsets) if layer else plain), offsets)

    def _mix(self, words: NDArray[np.float32], offsets: torch.Tensor) -> NDArray[np.float32]:
        starts = np.zeros(len(words) + 1, dtype=bool)
        starts[offsets.numpy()] = True
        share = np.where(starts[1:-1], 0, self._settings.context).astype(np.float32)[:, None]
        mixed = words.copy()
        mixed[1:] += share * words[:-1]
        mixed[:-1] += (1 - self._settings.causal) * share * words[1:]
        return mixed

    def _word_vector(self, word: str) -> NDArray[np.float32]:
        marked = f"<{word}>"
        grams = {marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)}
        # crc32 and not hash(), which differs from one process to the next; sorted, so that the sum rounds alike.
        vector = self._grams[sorted(zlib.crc32(gram.encode()) % _BUCKETS for gram in grams)].sum(0)
        return vector / np.linalg.norm(vector)

    def _revision(self) -> str:
        recipe = f"lexical 2 {asdict(self._settings)} {_WORD.pattern} {sorted(_STOP_WORDS)}"
        return hashlib.sha256(recipe.encode() + self._grams.tobytes()).hexdigest()[:40]


def _words(text: str) -> list[re.Match[str]]:
    return [match for match in _WORD.finditer(text) if match[0].casefold() not in _STOP_WORDS]
