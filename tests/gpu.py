"""Where kernels for a GPU run in the tests."""

import pytest
import torch


def triton_device() -> str:
    """Return the GPU, or the processor where Triton's interpreter stands in for one; skip, with the reason, where there is neither."""
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    if torch.cuda.is_available():
        return "cuda"
    if not triton.knobs.runtime.interpret:
        pytest.skip("there is no GPU, and TRITON_INTERPRET=1 was not set before Triton was imported")
    return "cpu"
