"""A vector of f32 numbers as a type of compiled code: loads, stores, arithmetic, sums.

Every operation rounds as IEEE 754 says and sums have one fixed order, so that a number's bits do
not depend on the lane it stands in.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils, codegen, config
from numba.core.typing import templates
from numba.extending import intrinsic, lower_builtin, models, register_model

Vector: TypeAlias = Any  # LANES f32 numbers; lives in compiled code only
Code: TypeAlias = Any  # a value, a builder or a context of the code generator
# numba's inner modules and decorators are typed in part only, and not alike in its versions.
_settings: Any = config
_codegen: Any = codegen
_cgutils: Any = cgutils
_templates: Any = templates
_types: Any = types
_models: Any = models
_lower_builtin: Any = lower_builtin
operation: Any = intrinsic


def has_avx512() -> bool:
    """Whether the code that numba makes may use AVX-512 (numba's own settings decide)."""
    features = _settings.CPU_FEATURES
    flags = _codegen.get_host_cpu_features() if features is None else features
    return "+avx512f" in flags.split(",")


LANES = 16 if has_avx512() else 8
F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
LANES_F32, LANES_I32 = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
LANES_I1 = ir.VectorType(ir.IntType(1), LANES)


class VectorType(_types.Type):  # type: ignore[misc]
    """The type as numba sees it."""

    def __init__(self) -> None:
        super().__init__(name=f"f32x{LANES}")


@register_model(VectorType)
class VectorModel(_models.PrimitiveModel):  # type: ignore[misc]
    """It travels as one LLVM vector."""

    def __init__(self, manager: Code, numba_type: Code) -> None:
        super().__init__(manager, numba_type, LANES_F32)


VECTOR = VectorType()


def splatted(context: Code, builder: Code, kind: Code, value: Code) -> Code:
    """Every operand may be a vector, or a number that then fills all lanes."""
    if isinstance(kind, VectorType):
        return value
    number = context.cast(builder, value, kind, _types.float32)
    return broadcast(builder, number, LANES_F32)


def broadcast(builder: Code, number: Code, kind: Code) -> Code:
    """An LLVM vector with `number` in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(LANES_I32, [0] * LANES))


def element(context: Code, builder: Code, kind: Code, array: Code, offset: Code) -> Code:
    """The address of a flat f32 array's element."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def llvm_function(builder: Code, name: str, result: Code, *arguments: Code) -> Code:
    """One of LLVM's own functions, by its full name."""
    return _cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, arguments), f"llvm.{name}"
    )


def lanewise(build: Callable[..., Code]) -> Callable[[Code, Code, Code, Code], Code]:
    """What numba calls to lower an operation: splats the operands, then `build`s."""

    def lower(context: Code, builder: Code, sig: Code, arguments: Code) -> Code:
        pairs = zip(sig.args, arguments, strict=True)
        return build(builder, *(splatted(context, builder, k, v) for k, v in pairs))

    return lower


def _operate(symbol: Callable[..., Any], build: Callable[..., Code]) -> None:
    """Gives vectors one of Python's operators."""
    numbers = (VECTOR, _types.float64, _types.float32)
    pairs = [(VECTOR, right) for right in numbers] + [(left, VECTOR) for left in numbers[1:]]

    class Template(_templates.ConcreteTemplate):  # type: ignore[misc]
        cases = [_templates.signature(VECTOR, *pair) for pair in pairs]

    _templates.infer_global(symbol)(Template)
    for pair in pairs:
        _lower_builtin(symbol, *pair)(lanewise(build))


_operate(operator.add, lambda builder, a, b: builder.fadd(a, b))
_operate(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_operate(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_operate(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))


def call_fma(builder: Code, a: Code, b: Code, c: Code) -> Code:
    """a * b + c, rounded once."""
    fma = llvm_function(builder, f"fma.v{LANES}f32", LANES_F32, *[LANES_F32] * 3)
    return builder.call(fma, [a, b, c])


@operation
def fma(typing: Code, a: Code, b: Code, c: Code) -> Code:
    """a * b + c, rounded once."""
    return VECTOR(a, b, c), lanewise(call_fma)


@operation
def where_less(typing: Code, a: Code, b: Code, yes: Code, no: Code) -> Code:
    """`yes` in lanes where a < b, `no` elsewhere, also where a or b is no number."""

    def build(builder: Code, a: Code, b: Code, yes: Code, no: Code) -> Code:
        return builder.select(builder.fcmp_ordered("<", a, b), yes, no)

    return VECTOR(a, b, yes, no), lanewise(build)


@operation
def with_sign(typing: Code, size: Code, sign: Code) -> Code:
    """|size| with the sign of `sign`."""

    def build(builder: Code, size: Code, sign: Code) -> Code:
        name = f"copysign.v{LANES}f32"
        return builder.call(llvm_function(builder, name, LANES_F32, *[LANES_F32] * 2), [size, sign])

    return VECTOR(size, sign), lanewise(build)


@operation
def times_power_of_two(typing: Code, x: Code, shifted: Code) -> Code:
    """x * 2**n, where shifted = 1.5 * 2**23 + n in f32, n from -252 to 254.

    In two factors, since 2**128 alone is no f32.
    """

    def build(builder: Code, x: Code, shifted: Code) -> Code:
        def every(number: int) -> Code:
            return ir.Constant(LANES_I32, [number] * LANES)

        def power(n: Code) -> Code:
            return builder.bitcast(builder.shl(builder.add(n, every(127)), every(23)), LANES_F32)

        n = builder.sub(builder.bitcast(shifted, LANES_I32), every(0x4B400000))
        half = builder.ashr(n, every(1))
        return builder.fmul(builder.fmul(x, power(half)), power(builder.sub(n, half)))

    return VECTOR(x, shifted), lanewise(build)


@operation
def counting(typing: Code) -> Code:
    """0, 1, 2 ... in the lanes."""
    return VECTOR(), lambda *_: ir.Constant(LANES_F32, [float(lane) for lane in range(LANES)])


def _first(builder: Code, count: Code) -> Code:
    """A mask of the first `count` lanes, [LANES] i1."""
    capped = builder.select(builder.icmp_signed("<", count, I64(LANES)), count, I64(LANES))
    limit = broadcast(builder, builder.trunc(capped, I32), LANES_I32)
    return builder.icmp_signed("<", ir.Constant(LANES_I32, list(range(LANES))), limit)


@operation
def load_vector(typing: Code, x: Code, offset: Code, count: Code, fill: Code) -> Code:
    """x[offset : offset + min(count, LANES)] of a flat array, then `fill`; reads no further."""

    def lower(context: Code, builder: Code, sig: Code, arguments: Code) -> Code:
        array, offset, count, fill = arguments
        address = element(context, builder, sig.args[0], array, offset)
        pointer = builder.bitcast(address, LANES_F32.as_pointer())
        rest = splatted(context, builder, sig.args[3], fill)
        kinds = (pointer.type, I32, LANES_I1, LANES_F32)
        masked = llvm_function(builder, f"masked.load.v{LANES}f32.p0", LANES_F32, *kinds)
        return builder.call(masked, [pointer, I32(4), _first(builder, count), rest])

    return VECTOR(x, _types.intp, _types.intp, fill), lower


@operation
def store_vector(typing: Code, x: Code, offset: Code, count: Code, value: Code) -> Code:
    """Writes the first min(count, LANES) lanes to x[offset:] of a flat array; nothing behind."""

    def lower(context: Code, builder: Code, sig: Code, arguments: Code) -> Code:
        array, offset, count, value = arguments
        address = element(context, builder, sig.args[0], array, offset)
        pointer = builder.bitcast(address, LANES_F32.as_pointer())
        numbers = splatted(context, builder, sig.args[3], value)
        kinds = (LANES_F32, pointer.type, I32, LANES_I1)
        masked = llvm_function(builder, f"masked.store.v{LANES}f32.p0", ir.VoidType(), *kinds)
        builder.call(masked, [numbers, pointer, I32(4), _first(builder, count)])
        return context.get_dummy_value()

    return _types.void(x, _types.intp, _types.intp, value), lower


def _folded(
    combine: Callable[[Code, Code, Code], Code],
) -> Callable[[Code, Code, Code, Code], Code]:
    """Lowers a vector to a number by halving it, always in the same order."""

    def lower(context: Code, builder: Code, sig: Code, arguments: Code) -> Code:
        (vector,) = arguments
        half = LANES // 2
        while half >= 1:
            order = [(lane + half) % LANES for lane in range(LANES)]
            other = builder.shuffle_vector(vector, vector, ir.Constant(LANES_I32, order))
            vector = combine(builder, vector, other)
            half //= 2
        return builder.extract_element(vector, I32(0))

    return lower


@operation
def total(typing: Code, vector: Code) -> Code:
    """The sum of the lanes, f32."""
    return _types.float32(vector), _folded(lambda builder, a, b: builder.fadd(a, b))


@operation
def highest(typing: Code, vector: Code) -> Code:
    """The largest of the lanes, f32."""

    def larger(builder: Code, a: Code, b: Code) -> Code:
        return builder.select(builder.fcmp_ordered("<", a, b), b, a)

    return _types.float32(vector), _folded(larger)
