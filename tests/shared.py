"""Where real collections and models lie, for the tests that use them: `../shared`, seen from the repository's root."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def needs_shared(path: str) -> pytest.MarkDecorator:
    """Skip, with the reason, where `../shared/<path>` is absent."""
    return pytest.mark.skipif(not (SHARED / path).exists(), reason=f"../shared/{path} is not here")
