"""The mutants of a file: cosmic-ray's changes of one operator or number, less those that no test could tell."""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

# One or two changes of each kind. The others (`a << b` for `a + b`) mostly raise at once, and would only flatter the share killed.
_BINARY = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "Div_Mul", "FloorDiv_Mul", "FloorDiv_Div", "Mod_FloorDiv", "Pow_Mul"),
    *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitAnd", "RShift_LShift", "LShift_RShift"),
)
_COMPARISONS = (
    "Lt_LtE",
    "Lt_Gt",
    "LtE_Lt",
    "LtE_GtE",
    "Gt_GtE",
    "Gt_Lt",
    "GtE_Gt",
    "GtE_LtE",
    "Eq_NotEq",
    "NotEq_Eq",
    "Is_IsNot",
    "IsNot_Is",
)
OPERATORS = (
    *(f"core/ReplaceBinaryOperator_{change}" for change in _BINARY),
    *(f"core/ReplaceComparisonOperator_{change}" for change in _COMPARISONS),
    *(f"core/ReplaceUnaryOperator_{change}" for change in ("Delete_USub", "Delete_Not", "Delete_Invert")),
    *(f"core/Replace{change}" for change in ("TrueWithFalse", "FalseWithTrue", "AndWithOr", "OrWithAnd")),
    *(f"core/{change}" for change in ("AddNot", "ZeroIterationForLoop", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak")),
    *(f"core/{change}" for change in ("ExceptionReplacer", "NumberReplacer")),
)
_GUARDS = frozenset({"strict", "frozen", "copy", "slots", "kw_only"})  # keywords that change no value of a sound call

Place = tuple[int, int]  # line from 1, column from 0, in characters


@dataclass(frozen=True)
class Mutant:
    """A changed source; `before` and `after` are what differs, whole lines without their indentation."""

    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        return f"{self.line}:{self.before}>{self.after}"


def mutants(source: str) -> list[Mutant]:
    """Return the different mutants of a source that still compile, in the order of their lines."""
    skipped, kept = _skipped(source)
    found: dict[str, Mutant] = {}
    nodes = list(ast_nodes(get_ast(source)))
    for name in OPERATORS:
        operator = get_operator(name)()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, place in enumerate(places):
            if _within(place, skipped) and not _within(place, kept):
                continue
            changed = mutate_code(source, operator, occurrence)
            if changed is not None and changed != source and _compiles(changed):
                found.setdefault(changed, _mutant(source, changed))
    return sorted(found.values(), key=lambda mutant: (mutant.line, mutant.after))


def sample(found: list[Mutant], most: int, seed: str) -> list[Mutant]:
    """Return at most `most` of the mutants, drawn by `seed`, in the order of their lines."""
    if len(found) <= most:
        return found
    drawn = random.Random(seed).sample(range(len(found)), most)  # noqa: S311 - no secret is drawn
    return [found[index] for index in sorted(drawn)]


def _mutant(source: str, changed: str) -> Mutant:
    old, new = source.split("\n"), changed.split("\n")
    first = next(index for index, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1])
    behind = next(index for index, pair in enumerate(zip(reversed(old), reversed(new), strict=False)) if pair[0] != pair[1])
    before, after = (" ".join(line.strip() for line in lines[first : len(lines) - behind]) for lines in (old, new))
    return Mutant(first + 1, before, after, changed)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _skipped(source: str) -> tuple[list[tuple[Place, Place]], list[tuple[Place, Place]]]:
    """Return the spans where a change is no matter for tests, and those within them where it is (parameters' defaults)."""
    lines = source.split("\n")
    skipped: list[tuple[Place, Place]] = []
    kept: list[tuple[Place, Place]] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef():
                body = node.body[0]
                skipped.append((_place(lines, node.lineno, node.col_offset), _place(lines, body.lineno, body.col_offset)))
                kept += [_span(lines, default) for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
            case ast.ClassDef():  # a probe's name and version, and what a parameter is where none is given
                skipped += [_span(lines, field) for field in node.body if isinstance(field, ast.AnnAssign)]
            case ast.AnnAssign():
                skipped.append(_span(lines, node.annotation))
            case ast.keyword(arg=arg) if arg in _GUARDS:
                skipped.append(_span(lines, node.value))
            case ast.JoinedStr():
                skipped.append(_span(lines, node))
            case ast.Call(func=ast.Name(id="TypeVar" | "cast")):
                skipped.append(_span(lines, node))
            case _:
                pass
        skipped += [_span(lines, decorator) for decorator in getattr(node, "decorator_list", ())]
    return skipped, kept


def _span(lines: list[str], node: ast.expr | ast.stmt) -> tuple[Place, Place]:
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    return _place(lines, node.lineno, node.col_offset), _place(lines, end_line, end_column)


def _place(lines: list[str], line: int, offset: int) -> Place:
    """Return a place in characters: Python counts columns in bytes, parso in characters."""
    return line, len(lines[line - 1].encode()[:offset].decode())


def _within(place: Place, spans: list[tuple[Place, Place]]) -> bool:
    return any(start <= place < end for start, end in spans)
