"""Diagnostics for late-interaction retrievers."""

from pathlib import Path

__version__ = "0.1.0"

# A wheel carries probes/ and suites/ inside this package; a checkout keeps them beside it.
if not Path(__file__).with_name("probes").is_dir():
    __path__.append(str(Path(__file__).parents[1]))
