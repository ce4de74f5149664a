"""`python -m lidiag`."""

from lidiag.cli import main

main()
