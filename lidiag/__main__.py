"""`python -m lidiag`."""

from lidiag.cli import command

command()
