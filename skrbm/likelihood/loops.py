"""The compiled loop of the pseudo-likelihood, for few rows of small machines.

Only `skrbm.support.compiled` imports this, as it needs numba; `likelihood.pseudo` calls it.
"""

from __future__ import annotations

import numpy as np

from skrbm.support.loops import F, contracting, f4, f8, i1, next_piece


@contracting
def _clear(values, n):
    for i in range(n):
        values[i] = 1.0


@contracting
def _multiply(p, up, down, v, product, n):
    for i in range(n):
        product[i] *= 1.0 + np.float64(p * (down[i] if v[i] else up[i]))


@contracting
def _add_log(product, total, n):
    for i in range(n):
        total[i] += np.log(product[i])
        product[i] = 1.0


def effect_of_bits(a):
    """Σ_j softplus(a_j ± W_ji) - softplus(a_j), with - where v_i is 1, of rows of bits (n, n_features); a piece is a row.

    As log Π_j (1 + p_j (exp(±W_ji) - 1)), where p_j = σ(a_j): `up` and `down` are exp(W) - 1 and exp(-W) - 1, `n_factors`
    so many factors that their product stays within the range of float64.
    """
    n_features, n_hidden, n_factors = a[2], a[3], a[4]
    v, p, up, down, product, total = a[5], a[6], a[7], a[8], a[9], a[10]
    while True:
        row = next_piece(a)
        if row >= a[1]:
            break
        of_row, bits = f8(product, row * n_features, n_features), i1(v, row * n_features, n_features)
        of_total = f8(total, row * n_features, n_features)
        _clear(of_row, n_features)
        for j in range(n_hidden):
            of_up, of_down = f4(up, j * n_features, n_features), f4(down, j * n_features, n_features)
            _multiply(F(f4(p, row * n_hidden + j, 1)[0]), of_up, of_down, bits, of_row, n_features)
            if (j + 1) % n_factors == 0:
                _add_log(of_row, of_total, n_features)
        _add_log(of_row, of_total, n_features)
