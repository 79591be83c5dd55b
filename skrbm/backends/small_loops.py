"""The compiled loop of small machines: whole updates in a row, their products with the weights among them.

Only `skrbm.support.compiled` imports this, as it needs numba; `backends.compiled.SmallMachine` calls it. Arrays are
addresses of float32, unless something else is said. Rows of the weights W (n_hidden, wide_v), of their transpose W_t
(n_features, wide_h), and of all that comes of them have widths that are multiples of `LANES`; what lies between is 0 in
the weights, and doesn't matter elsewhere.
"""

from __future__ import annotations

import numpy as np

from skrbm.support.loops import (
    LANES,
    ONE,
    F,
    add,
    add_product,
    approach,
    as_float64,
    clear,
    compare,
    contracting,
    copy,
    expm1_of_any,
    f4,
    f8,
    fill,
    i8,
    move,
    next_piece,
    padded,
    place_of_low,
    sigmoid,
    sigmoid_of,
    summing,
    u1,
)

_ZERO = F(0)


# -- arithmetic --------------------------------------------------------------------------------------------------------


@contracting
def _scale(share, values, n):
    for i in range(n):
        values[i] *= share


@summing
def _dot(v, direction, n):
    total = _ZERO
    for i in range(n):
        total += v[i] * direction[i]
    return total


@contracting
def _transpose(matrix, n_rows, n_columns, width, out, out_width):
    """Write the transpose of a matrix (n_rows, n_columns), whose rows are `width` apart."""
    for first in range(0, n_rows, LANES):
        n = min(LANES, n_rows - first)
        for i in range(n_columns):
            to = f4(out, i * out_width + first, n)
            for j in range(n):
                to[j] = f4(matrix, (first + j) * width, n_columns)[i]


# -- the two phases ----------------------------------------------------------------------------------------------------


@contracting
def _inputs(states, width, matrix, n_out, bias, out, n_rows):
    """bias + states matrix of rows of states (n_rows, width): (n_rows, padded(n_out))."""
    wide = padded(n_out)
    for row in range(n_rows):
        copy(f4(bias, 0, n_out), f4(out, row * wide, n_out), n_out)
    add_product(states, width, 1, n_rows, width, matrix, wide, out)


@contracting
def _means(states, width, matrix, n_out, bias, out, n_rows):
    """σ of the same."""
    _inputs(states, width, matrix, n_out, bias, out, n_rows)
    for row in range(n_rows):
        sigmoid_of(f4(out, row * padded(n_out), n_out), n_out)


@contracting
def _draw(means, wide, out, n_rows, n, position, draws):
    """Draw rows of `n` states, at most `TABLE` in all; the position behind."""
    key0, key1, low, memory = draws
    n_blocks = (n_rows * n + 31) // 32
    fill(memory, position + 1, n_blocks, key0, key1)
    place = place_of_low(position, key0, key1)
    for row in range(n_rows):
        first = row * n
        compare(u1(memory, first, n), f4(low, place + first, n), f4(means, row * wide, n), f4(out, first, n), n)
    return position + 1 + n_blocks


@contracting
def _run_phases(sizes, states, weights, k, is_contrastive, position, draws):
    """k Gibbs steps, of the chains or from the data, and P(h = 1 | v) of all rows; the position behind."""
    n_data, n_chains, n_features, n_hidden = sizes
    v, h, means, means_v = states
    W, W_t, b, c = weights
    wide_v, wide_h = padded(n_features), padded(n_hidden)
    chains, of_chains = v + 4 * n_data * n_features, means + 4 * n_data * wide_h
    _means(v, n_features, W_t, n_hidden, c, means, n_data)
    if is_contrastive:
        position = _draw(means, wide_h, h, n_chains, n_hidden, position, draws)
    for step in range(k):
        _means(h, n_hidden, W, n_features, b, means_v, n_chains)
        position = _draw(means_v, wide_v, chains, n_chains, n_features, position, draws)
        _means(chains, n_features, W_t, n_hidden, c, of_chains, n_chains)
        if not is_contrastive or step < k - 1:
            position = _draw(of_chains, wide_h, h, n_chains, n_hidden, position, draws)
    return position


# -- the step ----------------------------------------------------------------------------------------------------------


@contracting
def _sum_rows(sizes, v, means, dh, data_v, model_v):
    """Δ⟨h⟩, and ⟨v⟩ of the data and of the chains. The means become means times s, see `backends.loops`."""
    n_data, n_chains, n_features, n_hidden = sizes
    clear(dh, n_hidden)
    clear(data_v, n_features)
    clear(model_v, n_features)
    for row in range(n_data + n_chains):
        of_h, of_v = f4(means, row * padded(n_hidden), n_hidden), f4(v, row * n_features, n_features)
        if row < n_data:
            _scale(F(1.0 / n_data), of_h, n_hidden)
            add(F(1.0 / n_data), of_v, data_v, n_features)
        else:
            _scale(F(-1.0 / n_chains), of_h, n_hidden)
            add(F(1.0 / n_chains), of_v, model_v, n_features)
        add(ONE, of_h, dh, n_hidden)


@contracting
def _find_gradient(sizes, v, means, dh, gradient, mu, damping):
    """Δ⟨(v - μ) h'⟩ (n_features, wide_h), less what the damping takes."""
    n_data, n_chains, n_features, n_hidden = sizes
    directions, n_damped, excess = damping
    n, wide = n_data + n_chains, padded(n_hidden)
    clear(f4(gradient, 0, n_features * wide), n_features * wide)
    add_product(v, 1, n_features, n_features, n, means, wide, gradient)
    if mu != 0:
        for i in range(n_features):
            add(-f4(mu, i, 1)[0], dh, f4(gradient, i * wide, n_hidden), n_hidden)
    if n_damped:
        clear(f4(excess, 0, n_damped * wide), n_damped * wide)
        add_product(directions, n_features, 1, n_damped, n_features, gradient, wide, excess)
        for d in range(n_damped):
            _scale(-f4(directions, n_damped * n_features + d, 1)[0], f4(excess, d * wide, n_hidden), n_hidden)
        add_product(directions, 1, n_features, n_features, n_damped, excess, wide, gradient)


@contracting
def _step(sizes, weights, gradient, dh, mu, rate, kept):
    """The step of W and of c: c + Wμ, the hidden bias of the centred machine, isn't moved by the decay."""
    _, _, n_features, n_hidden = sizes
    W, W_t, _, c = weights
    wide, hidden_bias = padded(n_hidden), f4(c, 0, n_hidden)
    add(rate, dh, hidden_bias, n_hidden)
    for i in range(n_features):
        of_W, of_gradient = f4(W_t, i * wide, n_hidden), f4(gradient, i * wide, n_hidden)
        if mu != 0:
            offset = f4(mu, i, 1)[0]
            add((ONE - kept) * offset, of_W, hidden_bias, n_hidden)
            add(-rate * offset, of_gradient, hidden_bias, n_hidden)
        move(of_W, of_gradient, kept, rate, n_hidden)
    _transpose(W_t, n_features, n_hidden, wide, W, padded(n_features))


# -- looks -------------------------------------------------------------------------------------------------------------


@summing
def _product_of_ratios(x, new_x, n):
    """Π (1 + e^new_x) / (1 + e^x), as Π (1 + σ(x) (exp(new_x - x) - 1))."""
    product = 1.0
    for i in range(n):
        product *= 1.0 + np.float64(sigmoid(x[i]) * expm1_of_any(new_x[i] - x[i]))
    return product


@contracting
def _compare_energies(sizes, chains, rate, data_v, model_v, looks):
    """By how much the free energies of some chains have changed, as b has by rate Δ⟨v⟩."""
    _, _, n_features, n_hidden = sizes
    changes, n_looked_at, inputs, new_inputs = looks
    for row in range(n_looked_at):
        of_v = f4(chains, row * n_features, n_features)
        change = -np.float64(rate) * np.float64(_dot(of_v, data_v, n_features) - _dot(of_v, model_v, n_features))
        for start in range(0, n_hidden, LANES):
            n, first = min(LANES, n_hidden - start), row * padded(n_hidden) + start
            change -= np.log(_product_of_ratios(f4(inputs, first, n), f4(new_inputs, first, n), n))
        f8(changes, row, 1)[0] = change


@contracting
def _follow(sizes, weights, mean, rate):
    """Move the mean of the parameters towards them."""
    _, _, n_features, n_hidden = sizes
    W, _, b, c = weights
    mean_W, mean_b, mean_c = mean
    for j in range(n_hidden):
        of_row = f4(W, j * padded(n_features), n_features)
        approach(of_row, rate, f4(mean_W, j * n_features, n_features), n_features)
    approach(f4(b, 0, n_features), rate, f4(mean_b, 0, n_features), n_features)
    approach(f4(c, 0, n_hidden), rate, f4(mean_c, 0, n_hidden), n_hidden)


# -- all of it ---------------------------------------------------------------------------------------------------------


def updates_of_small(a):
    """Updates in a row, each of which is that of `training.update`: PCD-k or CD-k, in float32, on one thread.

    `positions` (pixels, chains) are where the draws begin, and where they have ended. A mean of the parameters follows,
    once every `every` updates, first after `until_look`: see `observers.Average`. Of the last update `changes`, in
    float64, are by how much the free energies of the first chains change, if they are asked for.
    """
    n_updates, rows, k, is_contrastive, is_drawn = a[2], a[3], a[8], a[9], a[10]
    sizes = n_data, _, n_features, n_hidden = a[4], a[5], a[6], a[7]
    states = v, _, means, gradient = a[11], a[12], a[13], a[14]
    damping, vectors, params_W = (a[24], a[25], a[15]), a[16], a[18]
    weights = W, W_t, b, c = a[19], a[20], a[21], a[22]
    mu, rate, kept, offset_rate = a[23], F(as_float64(a[26])), F(as_float64(a[27])), F(as_float64(a[28]))
    positions, of_pixels = i8(a[33], 0, 2), (np.uint64(a[29]), np.uint64(a[30]), a[34], a[17])
    of_chains = (np.uint64(a[31]), np.uint64(a[32]), a[34], a[17])
    mean, every, until_look, n_looks, share = (a[35], a[36], a[37]), a[38], a[39], a[40], as_float64(a[41])
    looks = _, n_looked_at, inputs, new_inputs = a[42], a[43], a[44], a[45]
    wide_v, n, chains = padded(n_features), n_data * n_features, v + 4 * n_data * n_features
    dh, data_v = f4(vectors, 0, n_hidden), f4(vectors, n_hidden, n_features)
    model_v, visible_bias = f4(vectors, n_hidden + n_features, n_features), f4(b, 0, n_features)
    while next_piece(a) < a[1]:
        for j in range(n_hidden):
            copy(f4(params_W, j * n_features, n_features), f4(W, j * wide_v, n_features), n_features)
        _transpose(W, n_hidden, n_features, wide_v, W_t, padded(n_hidden))
        for update in range(n_updates):
            batch = rows + 4 * update * n
            if is_drawn:
                positions[0] = _draw(batch, n_features, v, n_data, n_features, positions[0], of_pixels)
            else:
                copy(f4(batch, 0, n), f4(v, 0, n), n)
            positions[1] = _run_phases(sizes, states, weights, k, is_contrastive, positions[1], of_chains)
            _sum_rows(sizes, v, means, dh, data_v, model_v)
            _find_gradient(sizes, v, means, dh, gradient, mu, damping)
            is_looked_at = n_looked_at > 0 and update == n_updates - 1
            if is_looked_at:
                _inputs(chains, n_features, W_t, n_hidden, c, inputs, n_looked_at)
            _step(sizes, weights, gradient, dh, mu, rate, kept)
            add(rate, data_v, visible_bias, n_features)
            add(-rate, model_v, visible_bias, n_features)
            if mu != 0:
                approach(data_v, offset_rate, f4(mu, 0, n_features), n_features)
            if is_looked_at:
                _inputs(chains, n_features, W_t, n_hidden, c, new_inputs, n_looked_at)
                _compare_energies(sizes, chains, rate, data_v, model_v, looks)
            if every and update + 1 >= until_look and (update + 1 - until_look) % every == 0:
                n_looks += 1
                _follow(sizes, weights, mean, F(min(1.0, share / (n_looks + share - 1.0))))
        for j in range(n_hidden):
            copy(f4(W, j * wide_v, n_features), f4(params_W, j * n_features, n_features), n_features)
