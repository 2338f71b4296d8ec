/* fold.c - the reductions' kernels: (m,n) to m cells or to n cells. Compiled once per ISA.
 *
 * Floats are folded in their own type over short stretches (LANES independent lanes of up to
 * STRETCH elements), whose results go to f64 cells: as accurate as a sum in f64 of blocks, at the
 * speed of f32. */
#include "../kernels.h"
#include "loops.h"
#include "math.h"

enum { LANES = 32, STRETCH = 32, COLUMNS = 64 };

/* FOLD: combines `acc` with the mapped element x (and `shift`); JOIN: two accumulators. */
#define ROWS(name, T, CELL, START, FOLD, JOIN)                                                     \
    static void name##_##T##_rows(int64_t m, int64_t n, const void *data, int64_t row_step,        \
                                  void *into, const double *shifts)                                \
    {                                                                                              \
        CELL *cells = into;                                                                        \
        for (int64_t row = 0; row < m; row++) {                                                    \
            const T *x = (const T *)data + row * row_step;                                         \
            const T shift = shifts ? (T)shifts[row] : 0;                                           \
            (void)shift;                                                                           \
            for (int64_t from = 0; from < n; from += LANES * STRETCH) {                            \
                int64_t end = from + LANES * STRETCH < n ? from + LANES * STRETCH : n, i = from;   \
                T lane[LANES];                                                                     \
                for (int l = 0; l < LANES; l++) lane[l] = START;                                   \
                for (; i + LANES <= end; i += LANES)                                               \
                    for (int l = 0; l < LANES; l++) lane[l] = FOLD(lane[l], x[i + l]);             \
                for (int l = 0; i + l < end; l++) lane[l] = FOLD(lane[l], x[i + l]);               \
                for (int half = LANES / 2; half; half /= 2)                                        \
                    for (int l = 0; l < half; l++) lane[l] = JOIN(lane[l], lane[l + half]);        \
                cells[row] = (CELL)JOIN(cells[row], (CELL)lane[0]);                                \
            }                                                                                      \
        }                                                                                          \
    }

#define COLUMNS_OF(name, T, CELL, START, FOLD, JOIN)                                               \
    static void name##_##T##_columns(int64_t m, int64_t n, const void *data, int64_t row_step,     \
                                     void *into, const double *shifts)                             \
    {                                                                                              \
        for (int64_t from = 0; from < n; from += COLUMNS) {                                        \
            const int width = n - from < COLUMNS ? (int)(n - from) : COLUMNS;                      \
            CELL *cells = (CELL *)into + from;                                                     \
            T shift_of[COLUMNS];                                                                   \
            for (int l = 0; l < width; l++) shift_of[l] = shifts ? (T)shifts[from + l] : 0;        \
            for (int64_t top = 0; top < m; top += STRETCH) {                                       \
                int64_t bottom = top + STRETCH < m ? top + STRETCH : m;                            \
                T lane[COLUMNS];                                                                   \
                for (int l = 0; l < COLUMNS; l++) lane[l] = START;                                 \
                for (int64_t row = top; row < bottom; row++) {                                     \
                    const T *x = (const T *)data + row * row_step + from;                          \
                    if (width == COLUMNS)                                                          \
                        for (int l = 0; l < COLUMNS; l++) {                                        \
                            const T shift = shift_of[l];                                           \
                            (void)shift;                                                           \
                            lane[l] = FOLD(lane[l], x[l]);                                         \
                        }                                                                          \
                    else                                                                           \
                        for (int l = 0; l < width; l++) {                                          \
                            const T shift = shift_of[l];                                           \
                            (void)shift;                                                           \
                            lane[l] = FOLD(lane[l], x[l]);                                         \
                        }                                                                          \
                }                                                                                  \
                for (int l = 0; l < width; l++) cells[l] = (CELL)JOIN(cells[l], (CELL)lane[l]);    \
            }                                                                                      \
        }                                                                                          \
    }

#define FOLDS(name, T, CELL, START, FOLD, JOIN)                                                    \
    ROWS(name, T, CELL, START, FOLD, JOIN)                                                         \
    COLUMNS_OF(name, T, CELL, START, FOLD, JOIN)

#define ADD(a, b) ((a) + (b))
#define MUL(a, b) ((a) * (b))
#define ADD_WRAP(a, b) add_i64(a, b)
#define MUL_WRAP(a, b) mul_i64(a, b)
#define LOWER(a, b) ((b) < (a) || (b) != (b) ? (b) : (a))
#define UPPER(a, b) ((b) > (a) || (b) != (b) ? (b) : (a))
#define SQUARE(a, b) ((a) + ((b)-shift) * ((b)-shift))
#define EXP_f32(a, b) ((a) + exp_f32((b)-shift))
#define EXP_f64(a, b) ((a) + exp((b)-shift))
#define EITHER(a, b) ((a) != 0 || (b) != 0)
#define BOTH(a, b) ((a) != 0 && (b) != 0)

#define FLOATS(name, START, FOLD, JOIN)                                                            \
    FOLDS(name, f32, double, START, FOLD, JOIN)                                                    \
    FOLDS(name, f64, double, START, FOLD, JOIN)

FLOATS(sum, 0, ADD, ADD)
FOLDS(sum, i64, i64, 0, ADD_WRAP, ADD_WRAP)
FLOATS(prod, 1, MUL, MUL)
FOLDS(prod, i64, i64, 1, MUL_WRAP, MUL_WRAP)
FLOATS(min, INFINITY, LOWER, LOWER)
FOLDS(min, i64, i64, INT64_MAX, LOWER, LOWER)
FLOATS(max, -INFINITY, UPPER, UPPER)
FOLDS(max, i64, i64, INT64_MIN, UPPER, UPPER)
FOLDS(any, f32, i64, 0, EITHER, EITHER)
FOLDS(any, f64, i64, 0, EITHER, EITHER)
FOLDS(any, i64, i64, 0, EITHER, EITHER)
FOLDS(all, f32, i64, 1, BOTH, BOTH)
FOLDS(all, f64, i64, 1, BOTH, BOTH)
FOLDS(all, i64, i64, 1, BOTH, BOTH)
FLOATS(squares, 0, SQUARE, ADD)
FOLDS(exps, f32, double, 0, EXP_f32, ADD)
FOLDS(exps, f64, double, 0, EXP_f64, ADD)

#define ALL(name, mode)                                                                            \
    {                                                                                              \
        name##_f32_##mode, name##_f64_##mode, name##_i64_##mode                                    \
    }
#define FLOAT(name, mode)                                                                          \
    {                                                                                              \
        name##_f32_##mode, name##_f64_##mode, NULL                                                 \
    }
#define TABLE(mode)                                                                                \
    {                                                                                              \
        [MOSAIC_FOLD_SUM] = ALL(sum, mode), [MOSAIC_FOLD_PROD] = ALL(prod, mode),                  \
        [MOSAIC_FOLD_MIN] = ALL(min, mode), [MOSAIC_FOLD_MAX] = ALL(max, mode),                    \
        [MOSAIC_FOLD_ANY] = ALL(any, mode), [MOSAIC_FOLD_ALL] = ALL(all, mode),                    \
        [MOSAIC_FOLD_SQUARES] = FLOAT(squares, mode), [MOSAIC_FOLD_EXPS] = FLOAT(exps, mode),      \
    }

const mosaic_fold_kernels MOSAIC_KERNELS(fold) = {.rows = TABLE(rows), .columns = TABLE(columns)};
