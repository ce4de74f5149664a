"""A report in other people's formats: CSV, LaTeX, Every Eval Ever."""

from __future__ import annotations

from typing import get_args

from lidiag.errors import unknown
from lidiag.export.every_eval_ever import Relationship, as_every_eval_ever
from lidiag.export.tables import as_csv, as_latex
from lidiag.report import Report

FORMATS = ("csv", "latex", "every-eval-ever")


def text(report: Report, to: str, organization: str = "", relationship: str = "other") -> str:
    """Return the report in one of FORMATS.

    Raises:
        LidiagError: there is no such format or relationship, or the format asks for what is not there.
    """
    match to:
        case "csv":
            return as_csv(report)
        case "latex":
            return as_latex(report)
        case "every-eval-ever":
            for known in get_args(Relationship):
                if known == relationship:
                    return as_every_eval_ever(report, organization, known)
            raise unknown("relationship", relationship, get_args(Relationship), "the help of --relationship")
        case _:
            raise unknown("format", to, FORMATS, "`lidiag export --help`")
