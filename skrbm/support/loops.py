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


pointer_f4, _f8, _i8, _i4, pointer_i1, _u1, _u8 = map(
    _pointer_to, (types.float32, types.float64, types.int64, types.int32, types.int8, types.uint8, types.uint64)
)


@contracting
def f4(address, first, n):
    """`n` numbers of float32 from the one with number `first` behind an address on."""
    return carray(pointer_f4(address + 4 * first), n)


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
    return carray(pointer_i1(address + first), n)


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


@intrinsic
def _called(typing_context, function):
    """What a C function without arguments returns, whose address this is."""

    def generate(context, builder, signature, args):
        of_type = ir.FunctionType(ir.IntType(32), [])
        return builder.call(builder.inttoptr(args[0], of_type.as_pointer()), [])

    return types.int32(types.int64), generate


@contracting
def n_in_team(address):
    """How many threads run the loop; `address` is that of OpenMP's own function, or 0 where that isn't known."""
    return np.int64(_called(address)) if address else 1


@contracting
def wait_for_all(address):
    """Wait until all threads of the team are here; the address is 0 where there is one."""
    if address:
        _called(address)


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
def two_places(block, key0, key1):
    """Two random places in the table, of one block; see `Stream.places`."""
    word0, word1, _, _ = philox(np.uint64(block), key0, key1)
    return np.int64(word0 >> np.uint64(47)), np.int64(word1 >> np.uint64(47))


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
    _draw(a, pointer_f4(a[2]), pointer_f4(a[3]))


def draw_f4_i1(a):
    """States as int8 of probabilities in float32."""
    _draw(a, pointer_f4(a[2]), pointer_i1(a[3]))


def draw_f8_f8(a):
    """States as float64 of probabilities in float64."""
    _draw(a, _f8(a[2]), _f8(a[3]))


# -- functions ---------------------------------------------------------------------------------------------------------


@intrinsic
def bits_of(typing_context, x):
    """The 32 bits of a float32, as an integer."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def float_of(typing_context, bits):
    """The float32 whose 32 bits an integer has."""

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
def expm1(x):
    """exp(x) - 1 in float32 without its cancellation; |x| up to 1, where the series is cut off at 2e-8."""
    p = F(1 / 3628800) * x + F(1 / 362880)
    p = (((p * x + F(1 / 40320)) * x + F(1 / 5040)) * x + F(1 / 720)) * x + F(1 / 120)
    return ((((p * x + F(1 / 24)) * x + F(1 / 6)) * x + F(0.5)) * x + ONE) * x


@contracting
def expm1_of_any(x):
    """The same of any x that `exp` takes."""
    return expm1(x) if abs(x) <= ONE else exp(x) - ONE


@contracting
def sigmoid(x):
    """1 / (1 + exp(-x)) in float32."""
    return ONE / (ONE + exp(-x))


# -- products ----------------------------------------------------------------------------------------------------------

LANES = 16  # numbers that a vector has here; LLVM splits it where the processor's are shorter
_INT32, _FLOAT32 = ir.IntType(32), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT32, LANES)


def _number(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _at(builder: Any, address: Any, element: Any, index: Any) -> Any:
    """A pointer to an element of four bytes or a vector, `index` numbers behind an address."""
    return builder.inttoptr(builder.add(address, builder.mul(_number(4), index)), element.as_pointer())


def _in_all_lanes(builder: Any, value: Any) -> Any:
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))


class _Totals:
    """Vectors that are read, added to, and written back.

    In between they stay in registers, which LLVM makes of what looks like memory here.
    """

    def __init__(self, builder: Any, places: list[Any]) -> None:
        self._builder, self._places = builder, places
        self._totals = [cgutils.alloca_once(builder, _VECTOR) for _ in places]
        for place, total in zip(places, self._totals, strict=True):
            builder.store(builder.load(place, align=4), total)

    def add(self, i: int, factor: Any, vector: Any) -> None:
        """Add a product to one of them."""
        builder, total = self._builder, self._totals[i]
        product = builder.fmul(factor, vector, flags=["contract"])
        builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)

    def write(self) -> None:
        """Write them back."""
        for place, total in zip(self._places, self._totals, strict=True):
            self._builder.store(self._builder.load(total), place, align=4)


def _block(n_rows: int, n_vectors: int) -> Any:
    """What adds a block of a product: so many rows by so many vectors."""

    @intrinsic
    def add_block(typing_context, a, row_step, step, b, width, out, n):
        def generate(context, builder, signature, args):
            a, row_step, step, b, width, out, n = args
            block = [(i, j) for i in range(n_rows) for j in range(n_vectors)]
            ahead = [builder.add(builder.mul(_number(i), width), _number(LANES * j)) for i, j in block]
            totals = _Totals(builder, [_at(builder, out, _VECTOR, index) for index in ahead])
            with cgutils.for_range(builder, n) as loop:
                row = builder.mul(loop.index, width)
                vectors = [
                    builder.load(_at(builder, b, _VECTOR, builder.add(row, _number(LANES * j))), align=4)
                    for j in range(n_vectors)
                ]
                for i in range(n_rows):
                    place = builder.add(builder.mul(_number(i), row_step), builder.mul(loop.index, step))
                    factor = _in_all_lanes(builder, builder.load(_at(builder, a, _FLOAT32, place), align=4))
                    for j, vector in enumerate(vectors):
                        totals.add(i * n_vectors + j, factor, vector)
            totals.write()
            return context.get_dummy_value()

        return types.none(*[types.int64] * 7), generate

    return add_block


def _rows(n_vectors: int) -> Any:
    """What adds so many vectors of each of the rows that are named, times factors."""

    @intrinsic
    def add_rows(typing_context, which, factors, n, b, width, out):
        def generate(context, builder, signature, args):
            which, factors, n, b, width, out = args
            totals = _Totals(builder, [_at(builder, out, _VECTOR, _number(LANES * j)) for j in range(n_vectors)])
            with cgutils.for_range(builder, n) as loop:
                row = builder.sext(builder.load(_at(builder, which, _INT32, loop.index), align=4), _INT64)
                factor = _in_all_lanes(builder, builder.load(_at(builder, factors, _FLOAT32, loop.index), align=4))
                of_row = builder.mul(row, width)
                for j in range(n_vectors):
                    place = _at(builder, b, _VECTOR, builder.add(of_row, _number(LANES * j)))
                    totals.add(j, factor, builder.load(place, align=4))
            totals.write()
            return context.get_dummy_value()

        return types.none(*[types.int64] * 6), generate

    return add_rows


_block_4_2, _block_4_1, _block_1_2, _block_1_1 = _block(4, 2), _block(4, 1), _block(1, 2), _block(1, 1)
_rows_8, _rows_4, _rows_1 = _rows(8), _rows(4), _rows(1)


@contracting
def add_product(a, row_step, step, n_rows, n, b, width, out, n_columns):
    """Add a b to out (n_rows, n_columns), where b is (n, n_columns); a multiple of `LANES`.

    All are addresses of float32; a[i, j] is `i row_step + j step` numbers behind the first, and rows of b and of out
    are `width` numbers apart.
    """
    row = 0
    while row < n_rows:
        many = row + 4 <= n_rows
        of_a, of_out, column = a + 4 * row * row_step, out + 4 * row * width, 0
        while column < n_columns:
            wide = column + 2 * LANES <= n_columns
            if many and wide:
                _block_4_2(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, n)
            elif many:
                _block_4_1(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, n)
            elif wide:
                _block_1_2(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, n)
            else:
                _block_1_1(of_a, row_step, step, b + 4 * column, width, of_out + 4 * column, n)
            column += 2 * LANES if wide else LANES
        row += 4 if many else 1


@contracting
def gather(values, step, n, which, factors):
    """The numbers of those of `n` values that aren't 0, `step` apart, and these values; how many there are."""
    found = 0
    for i in range(n):
        value = values[i * step]
        which[found] = i
        factors[found] = value
        found += value != _NOTHING
    return found


_NOTHING = F(0)
DENSE = 0.4  # share of values that aren't 0, from which on the plain product is faster


@contracting
def add_rows(which, factors, n, b, width, out):
    """Add rows of b (…, width) that are named, times factors, to one at `out`."""
    column = 0
    while column < width:
        if column + 8 * LANES <= width:
            _rows_8(which, factors, n, b + 4 * column, width, out + 4 * column)
            column += 8 * LANES
        elif column + 4 * LANES <= width:
            _rows_4(which, factors, n, b + 4 * column, width, out + 4 * column)
            column += 4 * LANES
        else:
            _rows_1(which, factors, n, b + 4 * column, width, out + 4 * column)
            column += LANES


@contracting
def add_sparse_product(a, n_rows, n, b, width, out, which, factors, counts):
    """The same for rows (n_rows, n) most of which is 0; in other words for states of units, few of which are on.

    `which`, `factors` (n_rows, n) and `counts` (n_rows,) are memory. The columns are worked on in blocks, whose part of
    b stays in the processor's second cache while all rows pass by.
    """
    n_found, of_rows = 0, i8(counts, 0, n_rows)
    for row in range(n_rows):
        first = row * n
        of_rows[row] = gather(f4(a, first, n), 1, n, i4(which, first, n), f4(factors, first, n))
        n_found += of_rows[row]
    if n_found > DENSE * n_rows * n:
        add_product(a, n, 1, n_rows, n, b, width, out, width)
        return
    column = 0
    while column < width:
        n_columns = 8 * LANES if column + 8 * LANES <= width else (4 * LANES if column + 4 * LANES <= width else LANES)
        for row in range(n_rows):
            names, values, to = which + 4 * row * n, factors + 4 * row * n, out + 4 * (row * width + column)
            if n_columns == 8 * LANES:
                _rows_8(names, values, of_rows[row], b + 4 * column, width, to)
            elif n_columns == 4 * LANES:
                _rows_4(names, values, of_rows[row], b + 4 * column, width, to)
            else:
                _rows_1(names, values, of_rows[row], b + 4 * column, width, to)
        column += n_columns


@contracting
def padded(n):
    """The next multiple of `LANES`."""
    return (n + LANES - 1) // LANES * LANES


@contracting
def copy(values, out, n):
    """Copy `n` numbers."""
    for i in range(n):
        out[i] = values[i]


@contracting
def layer(states, width, matrix, n_units, bias, out, n_rows, room):
    """Inputs bias + states matrix of rows of states (n_rows, width): (n_rows, padded(n_units))."""
    which, factors, counts = room
    for row in range(n_rows):
        copy(f4(bias, 0, n_units), f4(out, row * padded(n_units), n_units), n_units)
    add_sparse_product(states, n_rows, width, matrix, padded(n_units), out, which, factors, counts)


@contracting
def draw_row(means, out, n_units, row, position, key0, key1, low, memory):
    """Draw the states of a row of means, which are `n_units` of a draw of all rows. All but numbers are addresses."""
    done = 0
    while done < n_units:
        element = row * n_units + done
        n = min(min(SEGMENT, n_units - done), TABLE - element % TABLE)
        bytes_, place = draw_bytes(memory, position, element, n, key0, key1)
        compare(u1(bytes_, 0, n), f4(low, place, n), f4(means, done, n), f4(out, done, n), n)
        done += n


@contracting
def sigmoid_of(x, n):
    """σ of each of `n` numbers, in their place."""
    for i in range(n):
        x[i] = sigmoid(x[i])


@contracting
def clear(values, n):
    """Set `n` numbers to 0."""
    for i in range(n):
        values[i] = _NOTHING


@contracting
def add(share, values, total, n):
    """total += share values."""
    for i in range(n):
        total[i] += share * values[i]


@contracting
def approach(goal, rate, values, n):
    """Move values towards a goal, by so much of the way."""
    for i in range(n):
        values[i] += rate * (goal[i] - values[i])


@contracting
def move(W, gradient, kept, rate, n):
    """W = kept W + rate gradient."""
    for i in range(n):
        W[i] = kept * W[i] + rate * gradient[i]
