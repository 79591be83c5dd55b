"""What compiled loops share: addresses, random numbers by a counter, the exponential; and draws from probabilities.

Only `skrbm.support.compiled` imports this, as it needs numba. Written so that LLVM makes vector instructions of it:
arrays without slices, inner loops from 0, nothing that could raise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TABLE = 1 << 17  # as in `randomness`
SEGMENT = 1024  # elements whose bytes are drawn at a time

# What the compiler may do with sums: join a product and a sum, and for reductions change the order, which is then the
# same at every run on a processor.
summing = njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
contracting = njit(error_model="numpy", fastmath={"contract"})

_INT64 = ir.IntType(64)


def _pointer_to(element: Any) -> Any:
    @intrinsic
    def pointer(typing_context, address):
        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), generate

    return pointer


_f4, _f8, _i8, _i4, _i1, _u1, _u8 = map(
    _pointer_to, (types.float32, types.float64, types.int64, types.int32, types.int8, types.uint8, types.uint64)
)


@contracting
def f4(address, first, n):
    """`n` numbers of float32 from the one with number `first` behind an address on."""
    return carray(_f4(address + 4 * first), n)


@contracting
def f8(address, first, n):
    """The same of float64."""
    return carray(_f8(address + 8 * first), n)


@contracting
def i8(address, first, n):
    """The same of int64."""
    return carray(_i8(address + 8 * first), n)


@contracting
def i4(address, first, n):
    """The same of int32."""
    return carray(_i4(address + 4 * first), n)


@contracting
def i1(address, first, n):
    """The same of int8."""
    return carray(_i1(address + first), n)


@contracting
def u1(address, first, n):
    """The same of bytes."""
    return carray(_u1(address + first), n)


@contracting
def u8(address, first, n):
    """The same of uint64."""
    return carray(_u8(address + 8 * first), n)


@intrinsic
def _moved(typing_context, pointer, first):
    def generate(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), generate


@contracting
def part(pointer, first, n):
    """`n` elements behind a pointer, from the one with number `first` on."""
    return carray(_moved(pointer, first), n)


@intrinsic
def as_float64(typing_context, number):
    """The float64 whose 64 bits an integer has."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def next_piece(typing_context, arguments):
    """The number of the next piece of work, for whoever asks first."""

    def generate(context, builder, signature, args):
        return builder.atomic_rmw("add", args[0], ir.Constant(_INT64, 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), generate


def _room(n_words: int) -> Any:
    @intrinsic
    def room(typing_context):
        def generate(context, builder, signature, args):
            memory = cgutils.alloca_once(builder, _INT64, size=ir.Constant(_INT64, n_words))
            return builder.ptrtoint(memory, _INT64)

        return types.int64(), generate

    return room


room_for_bytes = _room(SEGMENT // 8 + 8)  # on the stack: the address of `SEGMENT` bytes, and a block at either end
room_for_floats = _room(SEGMENT // 2)  # of `SEGMENT` numbers of float32


# -- random numbers ----------------------------------------------------------------------------------------------------


@intrinsic
def _high(typing_context, a, b):
    """The upper 64 bits of a product of two numbers of 64."""

    def generate(context, builder, signature, args):
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _INT64)

    return types.uint64(types.uint64, types.uint64), generate


_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ZERO = np.uint64(0)


@contracting
def philox(block, key0, key1):
    """Four words: Philox4x64-10 as in numpy, whose first block is that of counter 1 (Salmon et al. 2011)."""
    x0, x1, x2, x3 = np.uint64(block + 1), _ZERO, _ZERO, _ZERO
    for _ in range(10):
        high0, low0, high1, low1 = _high(_M0, x0), _M0 * x0, _high(_M1, x2), _M1 * x2
        x0, x1, x2, x3 = high1 ^ x1 ^ key0, low1, high0 ^ x3 ^ key1, low0
        key0 += _W0
        key1 += _W1
    return x0, x1, x2, x3


@contracting
def fill(address, block, n_blocks, key0, key1):
    """Write the words of so many blocks from one on behind an address."""
    words = u8(address, 0, 4 * n_blocks)
    for i in range(n_blocks):
        words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3] = philox(np.uint64(block + i), key0, key1)


@contracting
def place_of_low(block, key0, key1):
    """Where in the table the low parts of a piece are read from, whose first block this is."""
    word, _, _, _ = philox(np.uint64(block), key0, key1)
    return np.int64(word >> np.uint64(47))


@contracting
def draw_bytes(address, position, element, n, key0, key1):
    """Write the bytes of `n` numbers from `element` on behind an address; where the first is, and the low part's.

    `n` is at most `SEGMENT`, and all lie in the same piece of `TABLE` numbers. See `randomness.Uniform`.
    """
    piece, within = element // TABLE, element % TABLE
    block = position + piece * (TABLE // 32 + 1)
    skipped = within % 32
    fill(address, block + 1 + within // 32, (skipped + n + 31) // 32, key0, key1)
    return address + skipped, place_of_low(block, key0, key1) + within


F = np.float32
ONE, PER_BYTE = F(1), F(1 / 256)


@contracting
def compare(bytes_, low, p, out, n):
    """Draw states: 1 where a number lies below a probability, else 0."""
    for i in range(n):
        out[i] = F(bytes_[i]) * PER_BYTE + low[i] < p[i]


@contracting
def _draw(a, p, out):
    # p, out, number of elements, key, position, low parts
    n_all, key0, key1, position, low = a[4], np.uint64(a[5]), np.uint64(a[6]), a[7], a[8]
    memory = room_for_bytes()
    while True:
        first = next_piece(a) * PIECE
        if first >= n_all:
            break
        for start in range(first, min(first + PIECE, n_all), SEGMENT):
            n = min(SEGMENT, n_all - start)
            bytes_, place = draw_bytes(memory, position, start, n, key0, key1)
            compare(u1(bytes_, 0, n), f4(low, place, n), part(p, start, n), part(out, start, n), n)


PIECE = 4096  # elements of a draw that one thread works on at a time


def draw_f4_f4(a):
    """States as float32 of probabilities in float32."""
    _draw(a, _f4(a[2]), _f4(a[3]))


def draw_f4_i1(a):
    """States as int8 of probabilities in float32."""
    _draw(a, _f4(a[2]), _i1(a[3]))


def draw_f8_f8(a):
    """States as float64 of probabilities in float64."""
    _draw(a, _f8(a[2]), _f8(a[3]))


# -- functions ---------------------------------------------------------------------------------------------------------


@intrinsic
def bits_of(typing_context, x):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def float_of(typing_context, bits):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


_MOST, _MAGIC, _LOG2E, _LN2_HIGH, _LN2_LOW = F(87), F(1.5 * 2**23), F(1.44269504), F(0.693359375), F(-2.12194440e-4)
_P2, _P3, _P4, _P5, _P6 = F(0.5), F(1.6666665e-1), F(4.1665795e-2), F(8.3334519e-3), F(1.3981999e-3)
_MANTISSA = np.int32(23)


@contracting
def exp(x):
    """exp(x) in float32, to 2e-7 of its value; |x| is cut at 87.

    x = n log 2 + r with |r| <= log(2) / 2, exp(r) by a polynomial, 2^n by the exponent's bits. LLVM has no vector
    instruction for it, and calls the C library's number by number.
    """
    x = min(max(x, -_MOST), _MOST)
    shifted = x * _LOG2E + _MAGIC  # its last bits are those of n
    n = shifted - _MAGIC
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = (((((_P6 * r + _P5) * r + _P4) * r + _P3) * r + _P2) * r + ONE) * r + ONE
    return float_of(bits_of(p) + (bits_of(shifted) << _MANTISSA))


@contracting
def sigmoid(x):
    """1 / (1 + exp(-x)) in float32."""
    return ONE / (ONE + exp(-x))


# -- products ----------------------------------------------------------------------------------------------------------

LANES = 16  # numbers that a vector has here; LLVM splits it where the processor's are shorter
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _block(n_rows: int, n_vectors: int) -> Any:
    """What adds a block of a product, so many rows by so many vectors, all of which stay in registers.

    LLVM makes no such code of loops by itself.
    """

    @intrinsic
    def add_block(typing_context, a, row_step, step, b, width, out, out_width, n):
        def generate(context, builder, signature, args):
            a, row_step, step, b, width, out, out_width, n = args
            number, places = (lambda value: ir.Constant(_INT64, value)), []

            def vector_at(address):
                return builder.inttoptr(address, _VECTOR.as_pointer())

            for i in range(n_rows):
                of_row = builder.add(out, builder.mul(number(4 * i), out_width))
                for j in range(n_vectors):
                    place = vector_at(builder.add(of_row, number(4 * LANES * j)))
                    total = cgutils.alloca_once(builder, _VECTOR)
                    builder.store(builder.load(place, align=4), total)
                    places.append((place, total))
            with cgutils.for_range(builder, n) as loop:
                of_b = builder.add(b, builder.mul(number(4), builder.mul(loop.index, width)))
                vectors = [
                    builder.load(vector_at(builder.add(of_b, number(4 * LANES * j))), align=4) for j in range(n_vectors)
                ]
                for i in range(n_rows):
                    place = builder.add(builder.mul(number(i), row_step), builder.mul(loop.index, step))
                    address = builder.add(a, builder.mul(number(4), place))
                    value = builder.load(builder.inttoptr(address, ir.FloatType().as_pointer()), align=4)
                    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
                    same = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                    factor = builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), same)
                    for j, vector in enumerate(vectors):
                        total = places[i * n_vectors + j][1]
                        product = builder.fmul(factor, vector, flags=["contract"])
                        builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
            for place, total in places:
                builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 8), generate

    return add_block


_block_4_2, _block_4_1, _block_1_2, _block_1_1 = _block(4, 2), _block(4, 1), _block(1, 2), _block(1, 1)


@contracting
def add_product(a, row_step, step, n_rows, n, b, width, out):
    """out += a b, where out is (n_rows, width), b (n, width), and width a multiple of `LANES`; a[i, j] is at
    i row_step + j step. All are addresses of float32.
    """
    row = 0
    while row < n_rows:
        many = row + 4 <= n_rows
        of_a, of_out, column = a + 4 * row * row_step, out + 4 * row * width, 0
        while column < width:
            wide = column + 2 * LANES <= width
            if many and wide:
                _block_4_2(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, width, n)
            elif many:
                _block_4_1(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, width, n)
            elif wide:
                _block_1_2(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, width, n)
            else:
                _block_1_1(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, width, n)
            column += 2 * LANES if wide else LANES
        row += 4 if many else 1
