"""Numbers and vectors of arrays in LLVM's language, for what Numba's own has no word for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

FLOAT, WORD, INDEX, BYTE = ir.FloatType(), ir.IntType(64), ir.IntType(32), ir.IntType(8)


def word(number: int) -> Any:
    """Return a constant of 64 bits."""
    return ir.Constant(WORD, number)


@dataclass(frozen=True)
class Code:
    """The code of an intrinsic, as Numba asks for it."""

    context: Any
    builder: Any
    signature: Any
    arguments: Sequence[Any]

    def shape(self, argument: int) -> Any:
        """Return the shape of an array, one number for each axis."""
        array = self.context.make_array(self.signature.args[argument])(self.context, self.builder, self.arguments[argument])
        return [self.builder.extract_value(array.shape, axis) for axis in range(self.signature.args[argument].ndim)]

    def address(self, argument: int, *index: Any) -> Any:
        """Return the address of an array's element, by its row, where it has rows, and its place in the row."""
        kind, builder = self.signature.args[argument], self.builder
        array = self.context.make_array(kind)(self.context, builder, self.arguments[argument])
        address = builder.ptrtoint(array.data, WORD)
        if len(index) == 2:  # noqa: PLR2004 - rows and columns
            address = builder.add(address, builder.mul(index[0], builder.extract_value(array.strides, 0)))
        return builder.add(address, builder.mul(index[-1], word(kind.dtype.bitwidth // 8)))

    def load(self, address: Any, kind: Any) -> Any:
        """Return the number or vector of that kind at an address."""
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=1)

    def store(self, value: Any, address: Any) -> None:
        """Write a number or vector to an address."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=1)

    def shuffled(self, a: Any, b: Any, places: Sequence[int]) -> Any:
        """Return the numbers at these places of two vectors, one behind the other."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INDEX, len(places)), list(places)))

    def everywhere(self, number: Any, kind: Any) -> Any:
        """Return a vector of that kind with the same number everywhere."""
        nothing = ir.Constant(kind, ir.Undefined)
        return self.shuffled(self.builder.insert_element(nothing, number, ir.Constant(INDEX, 0)), nothing, [0] * kind.count)
