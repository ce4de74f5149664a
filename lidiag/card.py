"""Who a model is. No torch here: reports carry it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ModelCard(BaseModel):
    """Who the model is and how it was loaded; it goes into the report as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # org/name as on the hub, or local/<folder>
    revision: str  # a 40-hex commit, or the first 40 hex digits of the SHA-256 of a local folder's content
    adapter: str  # the file in lidiag/adapters that loaded it
    reason: str  # why this adapter: "asked for", or what in the checkpoint's files decided it
    family: str  # the class that was loaded
    modalities: tuple[Literal["text", "image"], ...]  # what documents may be
    dim: int
    dtype: str
    attention: Literal["causal", "bidirectional", "unknown"] = "unknown"
    similarity: str = "maxsim"
    query_length: int | None = None  # maximum tokens; null where there is no limit
    document_length: int | None = None
    unit_rows: bool = True  # whether token vectors are promised to have length 1
    prompts: dict[str, str] = {}  # what is put before or after the text, in effect, by side
    parameters: dict[str, str] = {}  # what the user set: "?key=value" of the model's name
    remote_code: bool = False
    randomly_initialised: tuple[str, ...] | None = ()  # weights that the checkpoint lacked; null where loading does not tell
    versions: dict[str, str] = {}
