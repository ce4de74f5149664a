"""`smart:NAME`: a single-vector model read as multi-vectors, from its frozen token states (SMART, arXiv 2605.24938).

Every token that is kept gives its state after the final norm, at full width and of length 1. Kept are the tokens of the
attention mask without special tokens; the words of a prompt and the patches of a page stay. An item of special tokens only
has its pooled vector for its one token. The model's own single vector stands beside the tokens, so that the poolings
`single`, `maxsim` and `hybrid(1,1)` come from one encoding. This adapter is used when it is asked for, never by itself.

`?layer=N` takes the states of another layer, 0 being the embeddings; those before the last are raw, before the norm.
`?pooling=mean`, `last` or `cls` says how a folder that does not know it makes its single vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lidiag import checkpoint, loading
from lidiag.adapter import Label, LoadOptions, Side, read_parameters
from lidiag.adapters import _naming
from lidiag.adapters._reading import Reader, apart, chosen, packed
from lidiag.adapters._training import trainable
from lidiag.card import ModelCard
from lidiag.checkpoint import Checkpoint
from lidiag.dataset import Document
from lidiag.errors import LidiagError, unknown
from lidiag.multivector import MultiVectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_POOLINGS = {"mean": "mean", "last": "lasttoken", "cls": "cls"}


@dataclass(frozen=True)
class Settings:
    """What can be set: `smart:NAME?layer=20&pooling=last`."""

    layer: int = -1
    pooling: str = ""

    def __post_init__(self) -> None:
        """Refuse a pooling that does not exist."""
        if self.pooling and self.pooling not in _POOLINGS:
            raise unknown("pooling of a single vector", self.pooling, _POOLINGS, "the help of `smart:`")


def load(name: str, options: LoadOptions) -> SmartModel:
    """Load a single-vector model: a sentence-transformers folder, or one of transformers with `?pooling=`.

    Raises:
        LidiagError: it is not there, is a multi-vector model, does not say how it pools, or cannot be read.
    """
    settings = read_parameters(Settings, options.parameters, f"smart:{name}")
    found = checkpoint.find(name, options)
    _refuse_what_is_not_single(found, settings, options)
    with loading.explained(found.name), loading.missing_weights() as missing:
        model = _model(found, settings, options)
    smart = SmartModel(model.eval(), settings, found.name)
    smart.card = _card(smart, found, options, missing)
    return smart


def _refuse_what_is_not_single(found: Checkpoint, settings: Settings, options: LoadOptions) -> None:
    kind = checkpoint.config(found.folder, "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    modules = [module["type"] for module in checkpoint.modules(found.folder)]
    if kind != "SentenceTransformer" or any(name.endswith((".MultiVectorMask", ".SpladePooling")) for name in modules):
        raise LidiagError(f"{found.name} is a {kind}, not a single-vector model.", f"Name it without smart: - {found.asked}.")
    for name in modules:
        if not name.startswith("sentence_transformers.") and not options.trust_remote_code:
            raise LidiagError(
                f"{found.name} needs the code of {name}, which is not part of sentence-transformers.",
                "Read it, then allow it with --trust-remote-code at a pinned commit.",
            )
    if bool(modules) == bool(settings.pooling):
        raise LidiagError(
            f"{found.name} {'says in modules.json' if modules else 'does not say'} how it makes its single vector.",
            "Leave ?pooling= out." if modules else f"Say it: smart:{found.asked}?pooling=mean, last or cls.",
        )


def _model(found: Checkpoint, settings: Settings, options: LoadOptions) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - seconds to import
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer  # noqa: PLC0415 - likewise

    arguments: dict[str, Any] = {"dtype": loading.dtype(options), "use_safetensors": True}
    if checkpoint.modules(found.folder):
        return SentenceTransformer(
            str(found.folder),
            device=options.device,
            trust_remote_code=options.trust_remote_code,
            local_files_only=True,
            model_kwargs=arguments,
        )
    shared: dict[str, Any] = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
    transformer = Transformer(str(found.folder), model_kwargs=arguments | shared, processor_kwargs=shared, config_kwargs=shared)
    pooling: Any = _POOLINGS[settings.pooling]
    return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), pooling)], device=options.device)


def _card(smart: SmartModel, found: Checkpoint, options: LoadOptions, missing: set[str]) -> ModelCard:
    network = smart.reader.first.model
    return ModelCard(
        name=found.name,
        revision=found.revision,
        adapter="smart",
        reason=options.reason,
        family=f"SentenceTransformer({type(network).__name__})",
        modalities=smart.reader.modalities(),
        dim=smart.dim,
        dtype=options.dtype,
        attention=loading.attention(network.config),
        query_length=smart.reader.length("query"),
        document_length=smart.reader.length("document"),
        prompts=_naming.prompts(smart.reader),
        parameters=dict(options.parameters),
        remote_code=options.trust_remote_code,
        randomly_initialised=loading.that_matter(missing, network, smart.probe),
        versions=loading.versions("sentence-transformers", "tokenizers"),
    )


class SmartModel:
    """Token states as multi-vectors, and the pooled vector beside them."""

    card: ModelCard

    def __init__(self, model: SentenceTransformer, settings: Settings, name: str) -> None:
        """Take a loaded model in evaluation mode; the card is set by who loads it."""
        self.model = model
        self.reader = Reader(model)
        self._layer = settings.layer
        self._name = name
        states, _ = self._run(["a"], "query", settings.layer)
        self.dim = states.vectors.shape[1]

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries in one forward pass."""
        return self._encode(texts, "query")

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of documents in one forward pass; a model that reads pages reads them, not the text beside.

        Raises:
            Skip: a document is a page and the model reads text only.
        """
        return apart(self._contents(documents), lambda items: self._encode(items, "document"))

    def query_states(self, texts: Sequence[str], layer: int = -1) -> MultiVectors:
        """Return the states behind `queries`, of any layer, not normalised."""
        return self._run(texts, "query", layer)[0]

    def document_states(self, documents: Sequence[Document], layer: int = -1) -> MultiVectors:
        """Return the states behind `documents`, of any layer, not normalised."""
        return apart(self._contents(documents), lambda items: self._run(items, "document", layer)[0])

    def labels(self, side: Side, item: str | Document) -> list[Label]:
        """Say what each vector of one item stands for; the pooled vector of an item without tokens is `special`."""
        content = self._contents([item])[0] if isinstance(item, Document) else item
        return _naming.labels(self.reader, content, side, self._kept) or [Label("special", "pooled")]

    def probe(self) -> Tensor:
        """Return the states and the pooled vector of one short query, with gradients."""
        output = self.model(self.reader.to_device(self.reader.features(["a"], "query")))
        return torch.cat((output["token_embeddings"].flatten(), output["sentence_embedding"].flatten()))

    def copy(self) -> nn.Module:
        """Return a copy of the whole model, every weight of it trainable, without dropout."""
        return trainable(self.model)

    def encode(self, copy: nn.Module, side: Side, items: Sequence[str | Document]) -> MultiVectors:
        """Encode one batch with gradients through `copy`: states of the last layer at length 1, pooled vectors beside them.

        Raises:
            LidiagError: another layer than the last was asked for.
        """
        if self._layer != -1:
            raise LidiagError(f"{self._name} is read at layer {self._layer}; only the last one, -1, is trained.", "Leave ?layer= out.")
        contents = [self.reader.content(item, self._name) if isinstance(item, Document) else item for item in items]
        features = self.reader.features(contents, side)
        output = copy(self.reader.to_device(features))
        states = MultiVectors.unpad(output["token_embeddings"], self._kept(features))
        unit = torch.nn.functional.normalize(states.vectors, dim=1)
        return _with_fallback(MultiVectors(unit, states.offsets), output["sentence_embedding"][:, : self.model.truncate_dim].float())

    def _contents(self, documents: Sequence[Document]) -> list[Any]:
        return [self.reader.content(document, self._name) for document in documents]

    def _encode(self, items: Sequence[Any], side: Side) -> MultiVectors:
        states, cut = self._run(items, side, self._layer)
        unit = torch.nn.functional.normalize(states.vectors, dim=1)
        return MultiVectors(unit, states.offsets, states.pooled, cut)

    def _run(self, items: Sequence[Any], side: Side, layer: int) -> tuple[MultiVectors, Tensor | None]:
        if not items:
            return MultiVectors(torch.zeros(0, self.dim), torch.zeros(1, dtype=torch.int64), torch.zeros(0, self.dim)), None
        features = self.reader.features(items, side)
        cut = self.reader.cut(items, features, side)
        kept = self._kept(features)
        output, layers = self.reader.run(features, side, self._name)
        pooled = output["sentence_embedding"][:, : self.model.truncate_dim].float().cpu()
        states = chosen(layers, layer, self._name)
        return _with_fallback(packed(states, kept.to(states.device)), pooled), cut

    def _kept(self, features: dict[str, Any]) -> Tensor:
        ids = features["input_ids"]
        return features["attention_mask"].bool() & ~torch.isin(ids, torch.tensor(sorted(self.reader.special_ids())))


def _with_fallback(found: MultiVectors, pooled: Tensor) -> MultiVectors:
    """Give an item without a kept token its pooled vector, if that is as wide as a token's."""
    if found.dim != pooled.shape[1] or bool((found.lengths > 0).all()):
        return MultiVectors(found.vectors, found.offsets, pooled)
    rows = [item if len(item) else single.unsqueeze(0) for item, single in zip(found, pooled, strict=True)]
    return MultiVectors.pack(rows, pooled)
