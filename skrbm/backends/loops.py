"""The compiled loops of training: all that an update does beside its products, and whole updates of small machines.

Only `skrbm.support.compiled` imports this, as it needs numba; `training.compiled_updates` calls the loops. Sums over
rows go by pieces of `ROWS` rows, which are added up in their order: whoever takes a piece, the sums are the same.

The step is that of `training.update`, where `mu` are the offsets of the visible layer, and the directions are μ (if it
is centred) and those of the damping: what is summed of the rows beside Σ h v' is Σ s h and Σ s (d'v) h for each
direction d, with s = 1 / n_data for rows of the data and -1 / n_chains for chains.
"""

from __future__ import annotations

import numpy as np

from skrbm.support.loops import (
    DENSE,
    LANES,
    ONE,
    PER_BYTE,
    PIECE,
    SEGMENT,
    TABLE,
    F,
    add,
    add_product,
    add_rows,
    approach,
    as_float64,
    bits_of,
    clear,
    compare,
    contracting,
    copy,
    draw_bytes,
    draw_row,
    f4,
    gather,
    i1,
    i4,
    layer,
    move,
    next_piece,
    padded,
    part,
    pointer_f4,
    pointer_i1,
    room_for_bytes,
    room_for_floats,
    sigmoid,
    sigmoid_of,
    summing,
    two_places,
    u1,
)

ROWS = 8  # whose sums are added up first
_ROWS_OF_W = 4  # that are worked on at a time
_COLUMNS = 64  # the same
_ZERO, _MAGIC, _MAGNITUDE = F(0), F(1.5 * 2**23), np.int32(0x7FFFFFFF)  # see `backends.int8`


# -- arithmetic --------------------------------------------------------------------------------------------------------


@contracting
def _scale(share, values, out, n):
    for i in range(n):
        out[i] = share * values[i]


@summing
def _dot(v, direction, n):
    total = _ZERO
    for i in range(n):
        total += F(v[i]) * direction[i]
    return total


@contracting
def _means_of_sums(sums, unit, bias, means, n):
    for i in range(n):
        means[i] = sigmoid(F(sums[i]) * unit + bias[i])


@contracting
def _round(dither, means, level, sign, out, n):
    for i in range(n):
        out[i] = np.int8(np.int32(dither[i] + level * means[i]) * sign)


@contracting
def _segment(first, n_units, done):
    """How many units to take at a time: no more than there is room for, and within one piece of the table."""
    return min(min(SEGMENT, n_units - done), TABLE - (first + done) % TABLE)


@contracting
def _rows_of(piece, n_data, n_chains):
    """The rows of a piece: those of the data come first, and no piece has rows of both phases."""
    n_of_data = (n_data + ROWS - 1) // ROWS
    if piece < n_of_data:
        return piece * ROWS, min((piece + 1) * ROWS, n_data)
    start = n_data + (piece - n_of_data) * ROWS
    return start, min(start + ROWS, n_data + n_chains)


# -- rows --------------------------------------------------------------------------------------------------------------


@contracting
def _unpack(packed, out, n):
    for i in range(n):
        byte = packed[i // 8]
        out[i] = (byte >> np.uint8(7 - i % 8)) & np.uint8(1)


def unpack_i1(a):
    """Rows of bits (n, n_features) as int8 from eight to a byte, the first bit in front; a piece is a row."""
    packed, n_bytes, n_features, out = a[2], a[3], a[4], a[5]
    while True:
        row = next_piece(a)
        if row >= a[1]:
            break
        _unpack(u1(packed, row * n_bytes, n_bytes), i1(out, row * n_features, n_features), n_features)


def unpack_f4(a):
    """The same as float32."""
    packed, n_bytes, n_features, out = a[2], a[3], a[4], a[5]
    while True:
        row = next_piece(a)
        if row >= a[1]:
            break
        _unpack(u1(packed, row * n_bytes, n_bytes), f4(out, row * n_features, n_features), n_features)


@contracting
def _greys(codes, divisor, p, n):
    for i in range(n):
        p[i] = F(codes[i]) / divisor


@contracting
def _draw_greys(a, out):
    codes, divisor, n_all = a[2], F(as_float64(a[3])), a[5]
    key0, key1, position, low = np.uint64(a[6]), np.uint64(a[7]), a[8], a[9]
    memory, p = room_for_bytes(), f4(room_for_floats(), 0, SEGMENT)
    while True:
        first = next_piece(a) * PIECE
        if first >= n_all:
            break
        for start in range(first, min(first + PIECE, n_all), SEGMENT):
            n = min(SEGMENT, n_all - start)
            bytes_, place = draw_bytes(memory, position, start, n, key0, key1)
            _greys(u1(codes, start, n), divisor, p, n)
            compare(u1(bytes_, 0, n), f4(low, place, n), p, part(out, start, n), n)


def draw_greys_i1(a):
    """States as int8, drawn with probabilities that are bytes over a divisor."""
    _draw_greys(a, pointer_i1(a[4]))


def draw_greys_f4(a):
    """The same as float32."""
    _draw_greys(a, pointer_f4(a[4]))


# -- the two layers ----------------------------------------------------------------------------------------------------


@contracting
def _draw_sums(bytes_, low, sums, unit, bias, out, n):
    for i in range(n):
        out[i] = F(bytes_[i]) * PER_BYTE + low[i] < sigmoid(F(sums[i]) * unit + bias[i])


def draw_sums(a):
    """States (n, n_units) as int8 of inputs that are integer sums times a unit, plus a bias; a piece is a row."""
    sums, out, bias, n_units, unit = a[2], a[3], a[4], a[5], F(as_float64(a[6]))
    key0, key1, position, low = np.uint64(a[7]), np.uint64(a[8]), a[9], a[10]
    memory = room_for_bytes()
    while True:
        row = next_piece(a)
        if row >= a[1]:
            break
        first, done = row * n_units, 0
        while done < n_units:
            n = _segment(first, n_units, done)
            bytes_, at = draw_bytes(memory, position, first + done, n, key0, key1)
            of_sums, of_out, biases = i4(sums, first + done, n), i1(out, first + done, n), f4(bias, done, n)
            _draw_sums(u1(bytes_, 0, n), f4(low, at, n), of_sums, unit, biases, of_out, n)
            done += n


def hidden_int8(a):
    """P(h = 1 | v) of rows from integer sums: draws of h, means rounded for Σ h v', and the sums over rows.

    Written are, for the pieces from the first one on, h (n_drawn, n_hidden) of the rows that are drawn; the rounded
    means (n, n_hidden + 2), negative for chains, with a one behind in the column of the phase; and the totals of each
    piece (1 + n_directions, n_hidden).
    """
    first_piece, n_data, n_chains = a[2], a[4], a[5]
    sums, unit, bias, n_hidden, totals = a[6], F(as_float64(a[7])), a[8], a[9], a[10]
    v, n_features, directions, n_directions = a[11], a[12], a[13], a[14]
    rounded, dither, stride = a[15], a[16], a[17]
    level_of_data, level_of_chains = as_float64(a[18]), as_float64(a[19])
    h, first_drawn, end_drawn = a[20], a[21], a[22]
    key0, key1, position, low, position_of_places = np.uint64(a[23]), np.uint64(a[24]), a[25], a[26], a[27]
    place_of_data, place_of_chains = two_places(position_of_places, key0, key1)
    if stride == 0:
        place_of_chains = place_of_data
    memory, means = room_for_bytes(), f4(room_for_floats(), 0, SEGMENT)
    shares = f4(room_for_floats(), 0, 1 + n_directions)
    while True:
        piece = first_piece + next_piece(a)
        if piece >= first_piece + a[1]:
            break
        start, end = _rows_of(piece, n_data, n_chains)
        total = piece * (1 + n_directions) * n_hidden
        clear(f4(totals, total, (1 + n_directions) * n_hidden), (1 + n_directions) * n_hidden)
        for row in range(start, end):
            is_data = row < n_data
            shares[0] = F(1.0 / n_data) if is_data else F(-1.0 / n_chains)
            level = F(level_of_data) if is_data else F(level_of_chains)
            place = place_of_data + row * stride if is_data else place_of_chains + (row - n_data) * stride
            sign = np.int32(1) if is_data else np.int32(-1)
            row_v = i1(v, row * n_features, n_features)
            for d in range(n_directions):
                shares[1 + d] = shares[0] * _dot(row_v, f4(directions, d * n_features, n_features), n_features)
            is_drawn = first_drawn <= row < end_drawn
            first, out, done = (row - first_drawn) * n_hidden, row * (n_hidden + 2), 0
            while done < n_hidden:
                n = _segment(first, n_hidden, done) if is_drawn else min(SEGMENT, n_hidden - done)
                _means_of_sums(i4(sums, row * n_hidden + done, n), unit, f4(bias, done, n), means, n)
                if is_drawn:
                    bytes_, at = draw_bytes(memory, position, first + done, n, key0, key1)
                    compare(u1(bytes_, 0, n), f4(low, at, n), means, i1(h, first + done, n), n)
                _round(f4(dither, place % TABLE + done, n), means, level, sign, i1(rounded, out + done, n), n)
                for d in range(1 + n_directions):
                    add(shares[d], means, f4(totals, total + d * n_hidden + done, n), n)
                done += n
            ones = i1(rounded, out + n_hidden, 2)
            ones[0], ones[1] = np.int8(is_data), np.int8(not is_data)


def draw_layer(a):
    """States (n, n_units) in float32 given those of the other layer (n, width); a piece is `n_block` rows."""
    states, width, matrix, n_units, bias = a[2], a[3], a[4], a[5], a[6]
    out, n_rows, n_block, inputs, widest, most = a[7], a[8], a[9], a[10], a[11], a[12]
    which, factors, counts = a[13], a[14], a[15]
    key0, key1, position, low = np.uint64(a[16]), np.uint64(a[17]), a[18], a[19]
    memory, wide = room_for_bytes(), padded(n_units)
    while True:
        first = next_piece(a) * n_block
        if first >= n_rows:
            break
        n, x = min(n_block, n_rows - first), inputs + 4 * first * widest
        room = (which + 4 * first * most, factors + 4 * first * most, counts + 8 * first)
        layer(states + 4 * first * width, width, matrix, n_units, bias, x, n, room)
        for row in range(n):
            sigmoid_of(f4(x, row * wide, n_units), n_units)
            to = out + 4 * (first + row) * n_units
            draw_row(x + 4 * row * wide, to, n_units, first + row, position, key0, key1, low, memory)


def hidden_float32(a):
    """The same as `hidden_int8` in float32: draws of h, the means times s (n, padded), and the sums over rows.

    A piece is `n_block` of those that have their sums for themselves.
    """
    first_piece, end_piece, n_block, n_data, n_chains = a[2], a[3], a[4], a[5], a[6]
    v, n_features, W_t, n_hidden, c, means, totals = a[7], a[8], a[9], a[10], a[11], a[12], a[13]
    directions, n_directions, h, first_drawn, end_drawn, most = a[14], a[15], a[16], a[17], a[18], a[19]
    which, factors, counts = a[20], a[21], a[22]
    key0, key1, position, low = np.uint64(a[23]), np.uint64(a[24]), a[25], a[26]
    memory, wide = room_for_bytes(), padded(n_hidden)
    while True:
        piece = first_piece + next_piece(a) * n_block
        if piece >= end_piece:
            break
        last = min(piece + n_block, end_piece)
        start, _ = _rows_of(piece, n_data, n_chains)
        _, end = _rows_of(last - 1, n_data, n_chains)
        room = (which + 4 * start * most, factors + 4 * start * most, counts + 8 * start)
        x = means + 4 * start * wide
        layer(v + 4 * start * n_features, n_features, W_t, n_hidden, c, x, end - start, room)
        while piece < last:
            start, end = _rows_of(piece, n_data, n_chains)
            total = piece * (1 + n_directions) * n_hidden
            clear(f4(totals, total, (1 + n_directions) * n_hidden), (1 + n_directions) * n_hidden)
            for row in range(start, end):
                share = F(1.0 / n_data) if row < n_data else F(-1.0 / n_chains)
                x = means + 4 * row * wide
                of_row = f4(x, 0, n_hidden)
                sigmoid_of(of_row, n_hidden)
                if first_drawn <= row < end_drawn:
                    at = row - first_drawn
                    draw_row(x, h + 4 * at * n_hidden, n_hidden, at, position, key0, key1, low, memory)
                _scale(share, of_row, of_row, n_hidden)
                add(ONE, of_row, f4(totals, total, n_hidden), n_hidden)
                row_v = f4(v, row * n_features, n_features)
                for d in range(n_directions):
                    along = _dot(row_v, f4(directions, d * n_features, n_features), n_features)
                    add(along, of_row, f4(totals, total + (1 + d) * n_hidden, n_hidden), n_hidden)
            piece += 1


def column_means(a):
    """⟨v⟩ of the data and of the chains, (2, n_features), from rows in float32; a piece is `_COLUMNS` columns."""
    v, n_data, n_chains, n_features, out = a[2], a[3], a[4], a[5], a[6]
    while True:
        piece = next_piece(a)
        if piece >= a[1]:
            break
        first = piece * _COLUMNS
        n = min(_COLUMNS, n_features - first)
        data, model = f4(out, first, n), f4(out, n_features + first, n)
        clear(data, n)
        clear(model, n)
        for row in range(n_data):
            add(F(1.0 / n_data), f4(v, row * n_features + first, n), data, n)
        for row in range(n_data, n_data + n_chains):
            add(F(1.0 / n_chains), f4(v, row * n_features + first, n), model, n)


# -- the step ----------------------------------------------------------------------------------------------------------


@contracting
def _means_of_counts(counts, n_rows, out, n):
    for i in range(n):
        out[i] = F(counts[i]) / n_rows


def step_biases(a):
    """From the totals to the terms of low rank, and the step of the biases; one piece.

    `left` (n_directions, n_hidden) are what goes off Δ⟨h v'⟩, times the directions: Δ⟨h⟩ for μ, and what the damping
    takes of Δ⟨h (v - μ)'⟩. b moves by rate Δ⟨v⟩, c by rate (Δ⟨h⟩ - ΔW μ), and by what the decay of W μ is. Then μ moves
    towards ⟨v⟩ of the data, but not its copy among the directions. `means_v` are found from sums where there are any.
    """
    totals, n_pieces, n_hidden, n_features = a[2], a[3], a[4], a[5]
    directions, n_directions, is_centered, damping = a[6], a[7], a[8], a[9]
    left, counts, n_data, n_chains = a[10], a[11], a[12], a[13]
    b, c, means_v, mu, offset_rate = a[14], a[15], a[16], a[17], F(as_float64(a[18]))
    rate, decayed, W_mu, n_parts = F(as_float64(a[19])), F(as_float64(a[20])), a[21], a[22]
    while next_piece(a) < a[1]:
        data_v, model_v = f4(means_v, 0, n_features), f4(means_v, n_features, n_features)
        if counts != 0:
            _means_of_counts(i4(counts, 0, n_features), F(n_data), data_v, n_features)
            _means_of_counts(i4(counts, n_features, n_features), F(n_chains), model_v, n_features)
        size = (1 + n_directions) * n_hidden
        total = f4(totals, 0, size)
        for piece in range(1, n_pieces):
            add(ONE, f4(totals, piece * size, size), total, size)
        dh = f4(totals, 0, n_hidden)
        hidden_bias = f4(c, 0, n_hidden)
        add(rate, dh, hidden_bias, n_hidden)
        if is_centered:
            old_mu = f4(directions, 0, n_features)
            for d in range(n_directions):
                onto = _dot(f4(directions, d * n_features, n_features), old_mu, n_features)
                add(-onto, dh, f4(totals, (1 + d) * n_hidden, n_hidden), n_hidden)
            add(-rate, f4(totals, n_hidden, n_hidden), hidden_bias, n_hidden)
            copy(dh, f4(left, 0, n_hidden), n_hidden)
            approach(data_v, offset_rate, f4(mu, 0, n_features), n_features)
            if decayed != _ZERO:
                for part in range(n_parts):
                    add(decayed, f4(W_mu, part * n_hidden, n_hidden), hidden_bias, n_hidden)
        for d in range(is_centered, n_directions):
            share = f4(damping, d - is_centered, 1)[0]
            excess = f4(totals, (1 + d) * n_hidden, n_hidden)
            _scale(share, excess, f4(left, d * n_hidden, n_hidden), n_hidden)
            if is_centered:
                onto = _dot(f4(directions, d * n_features, n_features), f4(directions, 0, n_features), n_features)
                add(rate * share * onto, excess, hidden_bias, n_hidden)
        visible_bias = f4(b, 0, n_features)
        add(rate, data_v, visible_bias, n_features)
        add(-rate, model_v, visible_bias, n_features)


@contracting
def _descend(W, sums, kept, factor, weight, direction, n):
    for i in range(n):
        W[i] = kept * W[i] + factor * F(sums[i]) - weight * direction[i]


@contracting
def _narrow(W, per_unit, out, n):
    """Round, and return the bits of the largest magnitude."""
    largest = np.int32(0)
    for i in range(n):
        out[i] = np.int8(bits_of(W[i] * per_unit + _MAGIC))
        largest = max(largest, np.int32(bits_of(W[i]) & _MAGNITUDE))  # numba's integers grow
    return largest


def descend_int8(a):
    """W ← kept W + factor Σ h v' - rate left' directions, and its copy in int8; a piece is `_ROWS_OF_W` rows.

    Without any direction the first one has to be of zeros. `largest` is the largest magnitude of a weight by piece, and
    `W_mu` is Wμ after the step.
    """
    W, sums, n_hidden, n_features, W8, largest = a[2], a[3], a[4], a[5], a[6], a[7]
    left, directions, n_directions = a[8], a[9], a[10]
    kept, factor, rate, per_unit = (
        F(as_float64(a[11])),
        F(as_float64(a[12])),
        F(as_float64(a[13])),
        F(as_float64(a[14])),
    )
    mu, W_mu = a[15], a[16]
    while True:
        piece = next_piece(a)
        if piece >= a[1]:
            break
        found = np.int32(0)
        for j in range(piece * _ROWS_OF_W, min((piece + 1) * _ROWS_OF_W, n_hidden)):
            row, of_sums = f4(W, j * n_features, n_features), i4(sums, j * n_features, n_features)
            weight = rate * f4(left, j, 1)[0]
            _descend(row, of_sums, kept, factor, weight, f4(directions, 0, n_features), n_features)
            for d in range(1, n_directions):
                weight = rate * f4(left, d * n_hidden + j, 1)[0]
                add(-weight, f4(directions, d * n_features, n_features), row, n_features)
            found = max(found, _narrow(row, per_unit, i1(W8, j * n_features, n_features), n_features))
            if mu != 0:
                f4(W_mu, j, 1)[0] = _dot(row, f4(mu, 0, n_features), n_features)
        i4(largest, piece, 1)[0] = found


@contracting
def _write_columns(matrix, width, n_rows, n_columns, first, out, out_width):
    """Write rows of a matrix (…, width), from the first on, as columns of another."""
    for j in range(n_columns):
        to = f4(out, j * out_width + first, n_rows)
        for i in range(n_rows):
            to[i] = f4(matrix, (first + i) * width, n_columns)[j]


def descend_float32(a):
    """W ← kept W + rate (Σ h v' - left' directions) from rows v and means of h times s; a piece is `LANES` columns.

    W lies there transposed (n_features, padded), in rows of whole vectors, and as it is, of which both are written.
    `W_mu` (n_pieces, n_hidden) are the parts of Wμ after the step.
    """
    v, n, means, n_features, n_hidden = a[2], a[3], a[4], a[5], a[6]
    W, W_wide, W_t, gradient = a[7], a[8], a[9], a[10]
    left, directions, n_directions = a[11], a[12], a[13]
    kept, rate = F(as_float64(a[14])), F(as_float64(a[15]))
    which, factors, density, mu, W_mu = a[16], a[17], as_float64(a[18]), a[19], a[20]
    wide_v, wide_h = padded(n_features), padded(n_hidden)
    while True:
        piece = next_piece(a)
        if piece >= a[1]:
            break
        first = piece * LANES
        n_columns = min(LANES, n_features - first)
        of_piece, names = gradient + 4 * first * wide_h, which + 4 * first * n
        values = factors + 4 * first * n
        clear(f4(of_piece, 0, n_columns * wide_h), n_columns * wide_h)
        if density > DENSE:
            add_product(v + 4 * first, 1, n_features, n_columns, n, means, wide_h, of_piece, wide_h)
        else:
            for i in range(n_columns):
                n_found = gather(
                    f4(v, first + i, n * n_features - first - i), n_features, n, i4(names, 0, n), f4(values, 0, n)
                )
                add_rows(names, values, n_found, means, wide_h, of_piece + 4 * i * wide_h)
        for i in range(n_columns):
            of_gradient, of_W = f4(of_piece, i * wide_h, n_hidden), f4(W_t, (first + i) * wide_h, n_hidden)
            for d in range(n_directions):
                weight = f4(directions, d * n_features + first + i, 1)[0]
                add(-weight, f4(left, d * n_hidden, n_hidden), of_gradient, n_hidden)
            move(of_W, of_gradient, kept, rate, n_hidden)
        if mu != 0:
            part = f4(W_mu, piece * n_hidden, n_hidden)
            clear(part, n_hidden)
            for i in range(n_columns):
                add(f4(mu, first + i, 1)[0], f4(W_t, (first + i) * wide_h, n_hidden), part, n_hidden)
        _write_columns(W_t, wide_h, n_columns, n_hidden, first, W, n_features)
        if W_wide != W:
            _write_columns(W_t, wide_h, n_columns, n_hidden, first, W_wide, wide_v)


def inputs_float32(a):
    """Inputs c + W v of rows (n, padded), see `layer`; one piece."""
    v, n, n_features, W_t, n_hidden, c, out = a[2], a[3], a[4], a[5], a[6], a[7], a[8]
    while next_piece(a) < a[1]:
        layer(v, n_features, W_t, n_hidden, c, out, n, (a[9], a[10], a[11]))
