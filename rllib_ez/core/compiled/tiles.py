"""The inner loop of a matrix product: a tile of rows times one packed panel, as LLVM code."""

from __future__ import annotations

from typing import Any

from numba import types

from rllib_ez.core.compiled.lanes import (
    I64,
    LANES,
    LANES_F32,
    Code,
    broadcast,
    call_fma,
    element,
    has_avx512,
    operation,
)

PANEL = LANES * (4 if has_avx512() else 2)  # columns of a packed panel
TILE_ROWS = 6  # with a panel's vectors they fill the registers: 24 of 32, or 12 of 16


class _Product:
    """Emits the product of some rows with one panel, sums kept in registers throughout."""

    def __init__(self, builder: Code, rows: int) -> None:
        self.builder, self.rows, self.vectors = builder, rows, PANEL // LANES

    def vectors_at(self, row: Code) -> list[Code]:
        """Pointers to the vectors of a panel's width that starts at `row`."""
        b = self.builder
        starts = [b.gep(row, [I64(v * LANES)]) for v in range(self.vectors)]
        return [b.bitcast(start, LANES_F32.as_pointer()) for start in starts]

    def multiply(self, x: list[Code], weight: Code, size: Code, out: list[Code]) -> None:
        """out[r] += x[r, :size] @ weight, one fma at a time, k ascending."""
        b = self.builder
        places = [place for row in out for place in self.vectors_at(row)]
        start = [b.load(place, align=4) for place in places]
        before, body, done = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(body)
        b.position_at_end(body)
        k = b.phi(I64)
        sums = [b.phi(LANES_F32) for _ in places]
        row = self.vectors_at(b.gep(weight, [b.mul(k, I64(PANEL))]))
        panel = [b.load(place, align=4) for place in row]
        numbers = [broadcast(b, b.load(b.gep(x_row, [k])), LANES_F32) for x_row in x]
        pairs = [(number, vector) for number in numbers for vector in panel]
        new = [call_fma(b, *pair, s) for pair, s in zip(pairs, sums, strict=True)]
        after = b.add(k, I64(1))
        for phi, first, following in zip([k, *sums], [I64(0), *start], [after, *new], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", after, size), body, done)
        b.position_at_end(done)
        for value, place in zip(new, places, strict=True):
            b.store(value, place, align=4)


def tile_of(rows: int) -> Any:
    """Compiled `out[r, :PANEL] += x[r, :] @ weight[panel]` for so many rows.

    x and out are (array, start, stride): a C-contiguous f32 array, the flat index of row 0, and
    how many numbers lie from row to row.
    """

    @operation
    def tile(typing: Code, x: Code, weight: Code, panel: Code, out: Code) -> Code:
        def addresses(context: Code, builder: Code, kind: Code, place: Code) -> list[Code]:
            array, start, stride = (builder.extract_value(place, part) for part in range(3))
            first = element(context, builder, kind[0], array, start)
            return [builder.gep(first, [builder.mul(stride, I64(row))]) for row in range(rows)]

        def lower(context: Code, builder: Code, sig: Code, arguments: Code) -> Code:
            x, weight, panel, out = arguments
            packed = context.make_array(sig.args[1])(context, builder, weight)
            size = builder.extract_value(packed.shape, 1)
            start = builder.mul(builder.mul(panel, size), I64(PANEL))
            _Product(builder, rows).multiply(
                addresses(context, builder, sig.args[0], x),
                builder.gep(packed.data, [start]),
                size,
                addresses(context, builder, sig.args[3], out),
            )
            return context.get_dummy_value()

        return types.void(x, weight, types.intp, out), lower

    return tile
