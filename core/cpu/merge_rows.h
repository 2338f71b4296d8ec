/* merge_rows.h - the loops of merge.c over rows of one type: included with REAL and NAME(x) set. */

static REAL NAME(dot)(const REAL *a, int64_t a_step, const REAL *b, int64_t b_step, int64_t d)
{
    REAL sum = 0;
    for (int64_t c = 0; c < d; c++) sum += a[c * a_step] * b[c * b_step];
    return sum;
}

/* delta = dout . out - dlse */
static void NAME(delta)(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const rows *r = context;
    for (int64_t i = 0; i < count; i++) {
        const REAL *dout = ROW(1, i), *out = ROW(2, i);
        REAL dlse = r->has_dlse ? *ROW(3, i) : 0;
        *ROW(0, i) = NAME(dot)(dout, r->column[0], out, r->column[1], r->d) - dlse;
    }
}

/* lse of the union, and the weights of the two parts in it. */
static REAL NAME(weights)(REAL lse1, REAL lse2, REAL *w1, REAL *w2)
{
    REAL top = lse1 >= lse2 ? lse1 : lse2;
    *w1 = *w2 = 0;
    if (lse1 == -INFINITY && lse2 == -INFINITY) return top;
    REAL e1 = EXP(lse1 - top), e2 = EXP(lse2 - top), sum = e1 + e2;
    *w1 = e1 / sum;
    *w2 = e2 / sum;
    return top + LOG(sum);
}

/* out <- w a + (1 - w) b by rows; a row with weight 0 is not read. */
static void NAME(merge)(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const rows *r = context;
    for (int64_t i = 0; i < count; i++) {
        REAL *out = ROW(0, i), w1, w2;
        const REAL *out1 = ROW(2, i), *out2 = ROW(4, i);
        *ROW(1, i) = NAME(weights)(*ROW(3, i), *ROW(5, i), &w1, &w2);
        for (int64_t c = 0; c < r->d; c++) {
            REAL x = w1 != 0 ? w1 * out1[c * r->column[1]] : 0;
            REAL y = w2 != 0 ? w2 * out2[c * r->column[2]] : 0;
            out[c * r->column[0]] = x + y;
        }
    }
}

/* dout_i = w_i dout, dlse_i = w_i (dlse + dout . (out_i - out)) */
static void NAME(merge_backward)(void *context, int64_t count, char *const *data,
                                 const int64_t *step)
{
    const rows *r = context;
    for (int64_t i = 0; i < count; i++) {
        REAL *dout1 = ROW(0, i), *dout2 = ROW(2, i), w1, w2;
        const REAL *dout = ROW(4, i), *out1 = ROW(5, i), *out2 = ROW(7, i);
        NAME(weights)(*ROW(6, i), *ROW(8, i), &w1, &w2);
        REAL dlse = r->has_dlse ? *ROW(9, i) : 0, apart = 0;
        for (int64_t c = 0; c < r->d; c++) {
            REAL g = dout[c * r->column[2]];
            if (w1 != 0 && w2 != 0) apart += g * (out1[c * r->column[3]] - out2[c * r->column[4]]);
            dout1[c * r->column[0]] = w1 * g;
            dout2[c * r->column[1]] = w2 * g;
        }
        *ROW(1, i) = w1 * (dlse + w2 * apart);
        *ROW(3, i) = w2 * (dlse - w1 * apart);
    }
}
