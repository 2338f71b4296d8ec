/* exponentials.h - the largest element of a row and the sum of exp(x - largest), in one pass. */
#ifndef MOSAIC_CUDA_EXPONENTIALS_H
#define MOSAIC_CUDA_EXPONENTIALS_H
#include "rows.h"

template <class T> struct exponentials {
    T most, sum;
};

/* The sum so far moves to the new largest element: V elements share one exp for that, and there is
 * none where they are not larger. As long as all are -inf the reference is 0, and the sum too. */
template <class T, int V> MOSAIC_DEVICE void add_exponentials(exponentials<T> &e, const T (&x)[V])
{
    T most = e.most;
    for (int i = 0; i < V; i++) most = x[i] > most ? x[i] : most;
    if (most > e.most) e.sum *= exp(e.most - most);
    const T reference = most == -INFINITY ? 0 : most;
    for (int i = 0; i < V; i++) e.sum += exp(x[i] - reference);
    e.most = most;
}

/* Of operand k's row of n elements, the same for the whole team; x holds the last batch of it. NaN
 * where there is NaN, or an infinite largest element. */
template <class T, int V, int E>
MOSAIC_DEVICE exponentials<T> exponentials_of(T (&x)[E][V], const mosaic_rows &r,
                                              const mosaic_team &t, int64_t n, int k,
                                              const char *row)
{
    exponentials<T> e = {-INFINITY, 0};
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        mosaic_batch_load(x, r, k, row, t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) add_exponentials(e, x[u]);
    }
    const T most = mosaic_team_largest(t, e.most);
    const T own = e.most == -INFINITY ? e.sum : e.sum * exp(e.most - most);
    return exponentials<T>{most, mosaic_team_sum(t, own) + (most - most)};
}

#endif
