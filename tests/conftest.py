"""What every test runs under; it stands here because torch, the hub's client and mteb read it when they are imported."""

import os
import tempfile

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MTEB_CACHE", os.path.join(tempfile.gettempdir(), "lidiag-tests-mteb"))  # noqa: PTH118 - a string is wanted
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A machine that does other work too draws examples slowly: that is no fault of what is tested.
settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

import torch  # noqa: E402 - it reads what is set above

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels for a GPU are tried on the processor; Triton reads it when it is imported
