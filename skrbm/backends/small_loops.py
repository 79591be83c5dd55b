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
    n_in_team,
    next_piece,
    padded,
    place_of_low,
    sigmoid,
    sigmoid_of,
    summing,
    u1,
    wait_for_all,
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


# -- threads -----------------------------------------------------------------------------------------------------------


@contracting
def _part(n, unit, team):
    """Which of `n` things are a thread's: the first, and how many. Borders are multiples of `unit`."""
    thread, n_threads = team
    units = (n + unit - 1) // unit
    first, end = min(n, thread * units // n_threads * unit), min(n, (thread + 1) * units // n_threads * unit)
    return first, end - first


# -- the two phases ----------------------------------------------------------------------------------------------------


@contracting
def _inputs(states, width, matrix, n_out, bias, out, n_rows):
    """bias + states matrix of rows of states (n_rows, width): (n_rows, padded(n_out))."""
    wide = padded(n_out)
    for row in range(n_rows):
        copy(f4(bias, 0, n_out), f4(out, row * wide, n_out), n_out)
    add_product(states, width, 1, n_rows, width, matrix, wide, out, wide)


@contracting
def _means(states, width, matrix, n_out, bias, out, n_rows):
    """σ of the same."""
    _inputs(states, width, matrix, n_out, bias, out, n_rows)
    for row in range(n_rows):
        sigmoid_of(f4(out, row * padded(n_out), n_out), n_out)


@contracting
def _draw(means, out, n_all, n, position, draws, team):
    """Draw a thread's rows of `n_all` rows of `n` states, at most `TABLE` in all; the position behind."""
    key0, key1, low, memory = draws
    first, n_rows = _part(n_all, 4, team)
    block, end = first * n // 32, ((first + n_rows) * n + 31) // 32
    fill(memory + 32 * block, position + 1 + block, end - block, key0, key1)
    place = place_of_low(position, key0, key1)
    for row in range(first, first + n_rows):
        at = row * n
        compare(u1(memory, at, n), f4(low, place + at, n), f4(means, row * padded(n), n), f4(out, at, n), n)
    return position + 1 + (n_all * n + 31) // 32


@contracting
def _draw_pixels(batch, out, n_all, n, position, draws, team):
    """The same of rows that aren't padded."""
    key0, key1, low, memory = draws
    first, n_rows = _part(n_all, 4, team)
    block, end = first * n // 32, ((first + n_rows) * n + 31) // 32
    at, n_mine = first * n, n_rows * n
    fill(memory + 32 * block, position + 1 + block, end - block, key0, key1)
    place = place_of_low(position, key0, key1)
    compare(u1(memory, at, n_mine), f4(low, place + at, n_mine), f4(batch, at, n_mine), f4(out, at, n_mine), n_mine)
    return position + 1 + (n_all * n + 31) // 32


@contracting
def _run_phases(sizes, states, weights, k, is_contrastive, position, draws, team):
    """k Gibbs steps, of the chains or from the data, and P(h = 1 | v) of a thread's rows; the position behind."""
    n_data, n_chains, n_features, n_hidden = sizes
    v, h, means, means_v = states
    W, W_t, b, c = weights
    wide_v, wide_h = padded(n_features), padded(n_hidden)
    chains, of_chains = v + 4 * n_data * n_features, means + 4 * n_data * wide_h
    first, n = _part(n_data, 4, team)
    _means(v + 4 * first * n_features, n_features, W_t, n_hidden, c, means + 4 * first * wide_h, n)
    if is_contrastive:
        position = _draw(means, h, n_chains, n_hidden, position, draws, team)
    first, n = _part(n_chains, 4, team)
    my_h, my_v = h + 4 * first * n_hidden, chains + 4 * first * n_features
    for step in range(k):
        _means(my_h, n_hidden, W, n_features, b, means_v + 4 * first * wide_v, n)
        position = _draw(means_v, chains, n_chains, n_features, position, draws, team)
        _means(my_v, n_features, W_t, n_hidden, c, of_chains + 4 * first * wide_h, n)
        if not is_contrastive or step < k - 1:
            position = _draw(of_chains, h, n_chains, n_hidden, position, draws, team)
    return position


@contracting
def _weigh(sizes, means, team):
    """Means of a thread's rows become means times s, see `backends.loops`."""
    n_data, n_chains, _, n_hidden = sizes
    first, n = _part(n_data, 4, team)
    for row in range(first, first + n):
        _scale(F(1.0 / n_data), f4(means, row * padded(n_hidden), n_hidden), n_hidden)
    first, n = _part(n_chains, 4, team)
    for row in range(n_data + first, n_data + first + n):
        _scale(F(-1.0 / n_chains), f4(means, row * padded(n_hidden), n_hidden), n_hidden)


# -- the step: a thread's hidden units, and its columns of v -----------------------------------------------------------


@contracting
def _sum_rows(sizes, v, means, dh, data_v, model_v, team):
    """Δ⟨h⟩, and ⟨v⟩ of the data and of the chains."""
    n_data, n_chains, n_features, n_hidden = sizes
    j, n_h = _part(n_hidden, LANES, team)
    i, n_v = _part(n_features, LANES, team)
    clear(f4(dh, j, n_h), n_h)
    clear(f4(data_v, i, n_v), n_v)
    clear(f4(model_v, i, n_v), n_v)
    for row in range(n_data + n_chains):
        of_v = f4(v, row * n_features + i, n_v)
        if row < n_data:
            add(F(1.0 / n_data), of_v, f4(data_v, i, n_v), n_v)
        else:
            add(F(1.0 / n_chains), of_v, f4(model_v, i, n_v), n_v)
        add(ONE, f4(means, row * padded(n_hidden) + j, n_h), f4(dh, j, n_h), n_h)


@contracting
def _find_gradient(sizes, v, means, dh, gradient, mu, damping, team):
    """Δ⟨(v - μ) h'⟩ (n_features, wide_h), less what the damping takes."""
    n_data, n_chains, n_features, n_hidden = sizes
    directions, n_damped, excess = damping
    n, wide = n_data + n_chains, padded(n_hidden)
    j, n_h = _part(n_hidden, LANES, team)
    if n_h == 0:
        return
    my_gradient, my_excess, n_columns = gradient + 4 * j, excess + 4 * j, padded(n_h)
    for i in range(n_features):
        clear(f4(my_gradient, i * wide, n_columns), n_columns)
    add_product(v, 1, n_features, n_features, n, means + 4 * j, wide, my_gradient, n_columns)
    if mu != 0:
        for i in range(n_features):
            add(-f4(mu, i, 1)[0], f4(dh, j, n_h), f4(my_gradient, i * wide, n_h), n_h)
    if n_damped:
        for d in range(n_damped):
            clear(f4(my_excess, d * wide, n_columns), n_columns)
        add_product(directions, n_features, 1, n_damped, n_features, my_gradient, wide, my_excess, n_columns)
        for d in range(n_damped):
            _scale(-f4(directions, n_damped * n_features + d, 1)[0], f4(my_excess, d * wide, n_h), n_h)
        add_product(directions, 1, n_features, n_features, n_damped, my_excess, wide, my_gradient, n_columns)


@contracting
def _step(sizes, weights, gradient, means_of_v, dh, mu, rates, team):
    """The step: c + Wμ, the hidden bias of the centred machine, isn't moved by the decay."""
    _, _, n_features, n_hidden = sizes
    W, W_t, b, c = weights
    data_v, model_v = means_of_v
    rate, kept = rates
    wide = padded(n_hidden)
    j, n_h = _part(n_hidden, LANES, team)
    hidden_bias = f4(c, j, n_h)
    add(rate, f4(dh, j, n_h), hidden_bias, n_h)
    for i in range(n_features):
        of_W, of_gradient = f4(W_t, i * wide + j, n_h), f4(gradient, i * wide + j, n_h)
        if mu != 0:
            offset = f4(mu, i, 1)[0]
            add((ONE - kept) * offset, of_W, hidden_bias, n_h)
            add(-rate * offset, of_gradient, hidden_bias, n_h)
        move(of_W, of_gradient, kept, rate, n_h)
    wide_v = padded(n_features)
    _transpose(W_t + 4 * j, n_features, n_h, wide, W + 4 * j * wide_v, wide_v)
    i, n_v = _part(n_features, LANES, team)
    add(rate, f4(data_v, i, n_v), f4(b, i, n_v), n_v)
    add(-rate, f4(model_v, i, n_v), f4(b, i, n_v), n_v)


# -- looks -------------------------------------------------------------------------------------------------------------


@summing
def _product_of_ratios(x, new_x, n):
    """Π (1 + e^new_x) / (1 + e^x), as Π (1 + σ(x) (exp(new_x - x) - 1))."""
    product = 1.0
    for i in range(n):
        product *= 1.0 + np.float64(sigmoid(x[i]) * expm1_of_any(new_x[i] - x[i]))
    return product


@contracting
def _looked_at(sizes, n_looked_at, team):
    """Which of the chains that are looked at are a thread's: the first, and how many."""
    first, n = _part(sizes[1], 4, team)
    return first, max(0, min(n, n_looked_at - first))


@contracting
def _look(sizes, chains, weights, out, n_looked_at, team):
    """Inputs of the hidden units of these."""
    _, _, n_features, n_hidden = sizes
    first, n = _looked_at(sizes, n_looked_at, team)
    of_first = chains + 4 * first * n_features
    _inputs(of_first, n_features, weights[1], n_hidden, weights[3], out + 4 * first * padded(n_hidden), n)


@contracting
def _compare_energies(sizes, chains, rate, means_of_v, looks, team):
    """By how much the free energies of these chains have changed, as b has by rate Δ⟨v⟩."""
    _, _, n_features, n_hidden = sizes
    changes, n_looked_at, inputs, new_inputs = looks
    data_v, model_v = f4(means_of_v[0], 0, n_features), f4(means_of_v[1], 0, n_features)
    begin, n_mine = _looked_at(sizes, n_looked_at, team)
    for row in range(begin, begin + n_mine):
        of_v = f4(chains, row * n_features, n_features)
        change = -np.float64(rate) * np.float64(_dot(of_v, data_v, n_features) - _dot(of_v, model_v, n_features))
        for start in range(0, n_hidden, LANES):
            n, first = min(LANES, n_hidden - start), row * padded(n_hidden) + start
            change -= np.log(_product_of_ratios(f4(inputs, first, n), f4(new_inputs, first, n), n))
        f8(changes, row, 1)[0] = change


@contracting
def _follow(sizes, weights, mean, rate, team):
    """Move the mean of the parameters towards them."""
    _, _, n_features, n_hidden = sizes
    W, _, b, c = weights
    mean_W, mean_b, mean_c = mean
    first, n_h = _part(n_hidden, LANES, team)
    for j in range(first, first + n_h):
        of_row = f4(W, j * padded(n_features), n_features)
        approach(of_row, rate, f4(mean_W, j * n_features, n_features), n_features)
    approach(f4(c, first, n_h), rate, f4(mean_c, first, n_h), n_h)
    i, n_v = _part(n_features, LANES, team)
    approach(f4(b, i, n_v), rate, f4(mean_b, i, n_v), n_v)


# -- all of it ---------------------------------------------------------------------------------------------------------


@contracting
def _take(sizes, params_W, weights, team):
    """The weights as the loop has them: a thread's hidden units."""
    _, _, n_features, n_hidden = sizes
    W, W_t, wide_v = weights[0], weights[1], padded(n_features)
    first, n_h = _part(n_hidden, LANES, team)
    for j in range(first, first + n_h):
        copy(f4(params_W, j * n_features, n_features), f4(W, j * wide_v, n_features), n_features)
    _transpose(W + 4 * first * wide_v, n_h, n_features, wide_v, W_t + 4 * first, padded(n_hidden))


@contracting
def _hand_back(sizes, params_W, weights, team):
    """The weights as others have them."""
    _, _, n_features, n_hidden = sizes
    first, n_h = _part(n_hidden, LANES, team)
    for j in range(first, first + n_h):
        of_row = f4(weights[0], j * padded(n_features), n_features)
        copy(of_row, f4(params_W, j * n_features, n_features), n_features)


def updates_of_small(a):
    """Updates in a row, each of which is that of `training.update`: PCD-k or CD-k, in float32.

    The first phases are shared among threads by rows, the step by hidden units and columns: each number is computed
    by one thread, in the same way whoever does it. Between the two all wait for each other.

    `positions` (pixels, chains) are where the draws begin, and where they have ended. A mean of the parameters follows,
    once every `every` updates, first after `until_look`: see `observers.Average`. Of the last update `changes`, in
    float64, are by how much the free energies of the first chains change, if they are asked for.
    """
    n_updates, rows, k, is_contrastive, is_drawn = a[2], a[3], a[8], a[9], a[10]
    sizes = n_data, _, n_features, n_hidden = a[4], a[5], a[6], a[7]
    states = v, _, means, gradient = a[11], a[12], a[13], a[14]
    damping, params_W, weights, mu = (a[24], a[25], a[15]), a[18], (a[19], a[20], a[21], a[22]), a[23]
    rates = rate, _ = F(as_float64(a[26])), F(as_float64(a[27]))
    barrier, team = a[46], (next_piece(a), n_in_team(a[47]))
    memory, offset_rate, positions = a[17] + team[0] * a[48], F(as_float64(a[28])), i8(a[33], 0, 2)
    of_pixels = (np.uint64(a[29]), np.uint64(a[30]), a[34], memory)
    of_chains = (np.uint64(a[31]), np.uint64(a[32]), a[34], memory)
    mean, every, until_look, n_looks, share = (a[35], a[36], a[37]), a[38], a[39], a[40], as_float64(a[41])
    looks = _, n_looked_at, inputs, new_inputs = a[42], a[43], a[44], a[45]
    n, chains, dh = n_data * n_features, v + 4 * n_data * n_features, a[16]
    means_of_v = data_v, model_v = a[16] + 4 * n_hidden, a[16] + 4 * (n_hidden + n_features)
    of_pixel, of_chain = positions[0], positions[1]
    _take(sizes, params_W, weights, team)
    wait_for_all(barrier)
    for update in range(n_updates):
        batch = rows + 4 * update * n
        if is_drawn:
            of_pixel = _draw_pixels(batch, v, n_data, n_features, of_pixel, of_pixels, team)
        else:
            first, n_mine = _part(n_data, 4, team)
            first, n_mine = first * n_features, n_mine * n_features
            copy(f4(batch, first, n_mine), f4(v, first, n_mine), n_mine)
        of_chain = _run_phases(sizes, states, weights, k, is_contrastive, of_chain, of_chains, team)
        _weigh(sizes, means, team)
        is_looked_at = n_looked_at > 0 and update == n_updates - 1
        if is_looked_at:
            _look(sizes, chains, weights, inputs, n_looked_at, team)
        wait_for_all(barrier)
        _sum_rows(sizes, v, means, dh, data_v, model_v, team)
        _find_gradient(sizes, v, means, dh, gradient, mu, damping, team)
        _step(sizes, weights, gradient, means_of_v, dh, mu, rates, team)
        if every and update + 1 >= until_look and (update + 1 - until_look) % every == 0:
            n_looks += 1
            _follow(sizes, weights, mean, F(min(1.0, share / (n_looks + share - 1.0))), team)
        wait_for_all(barrier)
        if mu != 0 and team[0] == 0:
            approach(f4(data_v, 0, n_features), offset_rate, f4(mu, 0, n_features), n_features)
        if is_looked_at:
            _look(sizes, chains, weights, new_inputs, n_looked_at, team)
            _compare_energies(sizes, chains, rate, means_of_v, looks, team)
    _hand_back(sizes, params_W, weights, team)
    if team[0] == 0:
        positions[0], positions[1] = of_pixel, of_chain
