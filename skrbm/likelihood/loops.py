"""The compiled loop of the pseudo-likelihood, for few rows of small machines.

Only `skrbm.support.compiled` imports this, as it needs numba; `likelihood.pseudo` calls it.
"""

from __future__ import annotations

import numpy as np

from skrbm.support.loops import ONE, contracting, f4, f8, next_piece


@contracting
def _ones(values, n):
    for i in range(n):
        values[i] = 1


@contracting
def _multiply(p, of_zero, of_one, v, product, n):
    for i in range(n):
        product[i] *= ONE + p * ((ONE - v[i]) * of_zero[i] + v[i] * of_one[i])


@contracting
def _gather(few, many, n):
    for i in range(n):
        many[i] *= np.float64(few[i])
        few[i] = ONE


@contracting
def _add_log(product, total, n):
    for i in range(n):
        total[i] += np.log(product[i])
        product[i] = 1.0


def effect_of_bits(a):
    """What units add to the logits of rows of bits (n, n_features), but for Σ_j u_j W_ji; a piece is a row.

    For u_j = 0 that is the logarithm of 1 + p_j (exp(±W_ji) - 1), with - where v_i is 1, and for u_j = 1 that with the
    other sign; p_j = σ(-|a_j|), so nothing cancels. `up` is exp(W) - 1, and `down` exp(-W) - 1. The product of `n_few`
    factors stays within the range of float32, that of `n_many` of these within float64's.
    """
    n_features, n_hidden, n_few, n_many = a[2], a[3], a[4], a[5]
    v, p, u, up, down, few, many, total = a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13]
    while True:
        row = next_piece(a)
        if row >= a[1]:
            break
        first = row * n_features
        of_v, of_few = f4(v, first, n_features), f4(few, first, n_features)
        of_many, of_total = f8(many, first, n_features), f8(total, first, n_features)
        _ones(of_few, n_features)
        _ones(of_many, n_features)
        for j in range(n_hidden):
            of_up, of_down = f4(up, j * n_features, n_features), f4(down, j * n_features, n_features)
            of_p = f4(p, row * n_hidden + j, 1)[0]
            if f4(u, row * n_hidden + j, 1)[0] > 0:
                _multiply(of_p, of_down, of_up, of_v, of_few, n_features)
            else:
                _multiply(of_p, of_up, of_down, of_v, of_few, n_features)
            if (j + 1) % n_few == 0:
                _gather(of_few, of_many, n_features)
                if (j + 1) // n_few % n_many == 0:
                    _add_log(of_many, of_total, n_features)
        _gather(of_few, of_many, n_features)
        _add_log(of_many, of_total, n_features)
