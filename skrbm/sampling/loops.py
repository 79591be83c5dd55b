"""The compiled loops of sampling: Gibbs steps and annealing, chain by chain, products and draws in one.

Only `skrbm.support.compiled` imports this, as it needs numba; `sampling.compiled` calls the loops. A piece of the work
is a block of chains, which goes through all steps without waiting for the others. Weights lie there twice, as W
(n_hidden, wide_v) and transposed (n_features, wide_h), in rows whose widths are multiples of `LANES`; what lies between
is 0.
"""

from __future__ import annotations

import numpy as np

from skrbm.support.loops import (
    TABLE,
    F,
    contracting,
    draw_row,
    expm1,
    f4,
    f8,
    i8,
    layer,
    next_piece,
    padded,
    room_for_bytes,
    sigmoid,
    sigmoid_of,
    summing,
)


@contracting
def _blocks(n):
    """How many blocks of random words `n` draws take, see `randomness.Uniform`."""
    return (n + TABLE - 1) // TABLE + n // TABLE * (TABLE // 32) + (n % TABLE + 31) // 32


@contracting
def _add(values, total, n):
    for i in range(n):
        total[i] += values[i]


def gibbs(a):
    """Steps of block Gibbs sampling: v drawn given h, then h given v, in float32.

    h (n, n_hidden) is moved on, v (n, n_features) what the last step has drawn; P(v = 1 | h) of the last `n_late` steps
    is added to `total` (n, n_features).
    """
    n_chains, n_steps, n_late, n_block = a[2], a[3], a[4], a[5]
    n_features, n_hidden, W, W_t, b, c = a[6], a[7], a[8], a[9], a[10], a[11]
    h, v, total = a[12], a[13], a[14]
    inputs, which, factors, counts = a[15], a[16], a[17], a[18]
    key0, key1, position, low = np.uint64(a[19]), np.uint64(a[20]), a[21], a[22]
    memory, wide_v, wide_h = room_for_bytes(), padded(n_features), padded(n_hidden)
    widest, most = max(wide_v, wide_h), max(n_features, n_hidden)
    of_v, of_h = _blocks(n_chains * n_features), _blocks(n_chains * n_hidden)
    while True:
        first = next_piece(a) * n_block
        if first >= n_chains:
            break
        n = min(n_block, n_chains - first)
        x = inputs + 4 * first * widest
        room = (which + 4 * first * most, factors + 4 * first * most, counts + 8 * first)
        some_h, some_v = h + 4 * first * n_hidden, v + 4 * first * n_features
        for step in range(n_steps):
            at = position + step * (of_v + of_h)
            layer(some_h, n_hidden, W, n_features, b, x, n, room)
            for row in range(n):
                means = x + 4 * row * wide_v
                sigmoid_of(f4(means, 0, n_features), n_features)
                draw_row(means, some_v + 4 * row * n_features, n_features, first + row, at, key0, key1, low, memory)
                if step >= n_steps - n_late:
                    _add(f4(means, 0, n_features), f4(total, (first + row) * n_features, n_features), n_features)
            layer(some_v, n_features, W_t, n_hidden, c, x, n, room)
            for row in range(n):
                means = x + 4 * row * wide_h
                sigmoid_of(f4(means, 0, n_hidden), n_hidden)
                of_row = some_h + 4 * row * n_hidden
                draw_row(means, of_row, n_hidden, first + row, at + of_v, key0, key1, low, memory)


@summing
def _product_of_ratios(x, before, step, n):
    """Π (1 + σ(before x) (exp(step x) - 1)), by which the next bridge's sum over h is more than this one's."""
    product = 1.0
    for i in range(n):
        product *= 1.0 + np.float64(sigmoid(before * x[i]) * expm1(step * x[i]))
    return product


@summing
def _along(v, difference, n):
    total = F(0)
    for i in range(n):
        total += v[i] * difference[i]
    return total


@contracting
def _bridge_bias(base, b, beta, out, n):
    for i in range(n):
        out[i] = base[i] + beta * (b[i] - base[i])


@contracting
def _difference(b, base, out, n):
    for i in range(n):
        out[i] = b[i] - base[i]


@contracting
def _scaled_sigmoid(x, beta, n):
    for i in range(n):
        x[i] = sigmoid(beta * x[i])


@contracting
def _bridge_means(x, beta, bias, n):
    for i in range(n):
        x[i] = sigmoid(beta * x[i] + bias[i])


_FACTORS = 32  # whose product can't leave the range of float64: each lies between 1/e and e, see `sampling.compiled`


def anneal(a):
    """Annealing through bridges at the inverse temperatures `betas` (n_steps + 1,): see `likelihood.annealed`.

    v (n, n_features) is moved on by a Gibbs step under each bridge but, with `is_last`, the last. `increments`
    (n_steps, n) in float64 are what each step adds to the log-weights. `base` are visible biases of the machine without
    weights: of all chains, or `base_step` = n_features apart.
    """
    n_chains, n_steps, is_last, n_block = a[2], a[3], a[4], a[5]
    n_features, n_hidden, W, W_t, b, c = a[6], a[7], a[8], a[9], a[10], a[11]
    v, h, base, base_step, betas, increments = a[12], a[13], a[14], a[15], a[16], a[17]
    inputs, which, factors, counts, zeros, biases = a[18], a[19], a[20], a[21], a[22], a[23]
    key0, key1, position, low = np.uint64(a[24]), np.uint64(a[25]), a[26], a[27]
    memory, wide_v, wide_h = room_for_bytes(), padded(n_features), padded(n_hidden)
    widest, most = max(wide_v, wide_h), max(n_features, n_hidden)
    of_h, of_v = _blocks(n_chains * n_hidden), _blocks(n_chains * n_features)
    while True:
        first = next_piece(a) * n_block
        if first >= n_chains:
            break
        n = min(n_block, n_chains - first)
        x = inputs + 4 * first * widest
        room = (which + 4 * first * most, factors + 4 * first * most, counts + 8 * first)
        some_h, some_v = h + 4 * first * n_hidden, v + 4 * first * n_features
        bias = f4(biases, first * n_features, n_features)
        for step in range(n_steps):
            before, beta = f8(betas, step, 1)[0], f8(betas, step + 1, 1)[0]
            at = position + step * (of_h + of_v)
            is_over = is_last and step == n_steps - 1
            layer(some_v, n_features, W_t, n_hidden, c, x, n, room)
            for row in range(n):
                of_base = f4(base, (first + row) * base_step, n_features)
                of_row, of_x = f4(some_v, row * n_features, n_features), x + 4 * row * wide_h
                _difference(f4(b, 0, n_features), of_base, bias, n_features)
                increment = np.float64(_along(of_row, bias, n_features)) * (beta - before)
                for start in range(0, n_hidden, _FACTORS):
                    some = min(_FACTORS, n_hidden - start)
                    ratio = _product_of_ratios(f4(of_x, start, some), F(before), F(beta - before), some)
                    increment += np.log(ratio)
                f8(increments, step * n_chains + first + row, 1)[0] = increment
                if not is_over:
                    _scaled_sigmoid(f4(of_x, 0, n_hidden), F(beta), n_hidden)
                    to = some_h + 4 * row * n_hidden
                    draw_row(of_x, to, n_hidden, first + row, at, key0, key1, low, memory)
            if is_over:
                break
            layer(some_h, n_hidden, W, n_features, zeros, x, n, room)
            for row in range(n):
                of_base, of_x = f4(base, (first + row) * base_step, n_features), x + 4 * row * wide_v
                if base_step or row == 0:
                    _bridge_bias(of_base, f4(b, 0, n_features), F(beta), bias, n_features)
                _bridge_means(f4(of_x, 0, n_features), F(beta), bias, n_features)
                to = some_v + 4 * row * n_features
                draw_row(of_x, to, n_features, first + row, at + of_h, key0, key1, low, memory)


@contracting
def _add_scaled(x, row, factor, first, n):
    for i in range(n - first):
        x[first + i] += factor * row[first + i]


def sweep(a):
    """A Gibbs sweep over coupled units, chain by chain: a unit is on where its input exceeds its level.

    The inputs (n, n_units) are those of the states v (n, n_units) at first, and end as those at which each was drawn.
    R (n_units, n_units) are the couplings, `scales` (n,) factors on them.
    """
    n_chains, n_units, n_block, v, inputs, level, scales, R = a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    while True:
        first = next_piece(a) * n_block
        if first >= n_chains:
            break
        last = min(first + n_block, n_chains)
        for i in range(n_units):
            of_unit = f4(R, i * n_units, n_units)  # for all chains of the block, while it is near
            for row in range(first, last):
                states, x = f4(v, row * n_units, n_units), f4(inputs, row * n_units, n_units)
                drawn = F(1) if x[i] > f4(level, row * n_units + i, 1)[0] else F(0)
                if drawn != states[i]:
                    change = f4(scales, row, 1)[0] * (drawn - states[i])
                    states[i] = drawn
                    _add_scaled(x, of_unit, change, i + 1, n_units)


def sweep_of_graph(a):
    """A Gibbs sweep over units that are coupled with few others, chain by chain, in the order of `order` (n_units,).

    The inputs (n, n_units) of the states v (n, n_units) are without the couplings at first, and end as those at which
    each was drawn. Those of `neighbours` (n_units, n_most) have the couplings `weights`, of the same shape; `scales`
    (n,) are factors on them.
    """
    n_chains, n_units, n_block, v, inputs, level, scales = a[2], a[3], a[4], a[5], a[6], a[7], a[8]
    n_most, order, neighbours, weights = a[9], i8(a[10], 0, a[3]), i8(a[11], 0, a[3] * a[9]), f4(a[12], 0, a[3] * a[9])
    while True:
        first = next_piece(a) * n_block
        if first >= n_chains:
            break
        for row in range(first, min(first + n_block, n_chains)):
            states, x = f4(v, row * n_units, n_units), f4(inputs, row * n_units, n_units)
            limit, scale = f4(level, row * n_units, n_units), f4(scales, row, 1)[0]
            for place in range(n_units):
                i, field = order[place], F(0)
                for k in range(i * n_most, (i + 1) * n_most):
                    field += weights[k] * states[neighbours[k]]
                x[i] += scale * field
                states[i] = F(1) if x[i] > limit[i] else F(0)
