/* merge_rows.h - the loops of merge.c over rows of one type: included with REAL and NAME(x) set. */

#define VECTOR(operand, i) ((REAL *)(void *)(data[operand] + (i)*step[operand]))

/* delta = dout . out - dlse */
static void NAME(delta)(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const rows *r = context;
    for (int64_t i = 0; i < count; i++) {
        const REAL *dout = VECTOR(0, i), *out = VECTOR(1, i);
        REAL sum = 0; /* as multiply-adds sum dout . v, which it is taken from */
        for (int64_t c = 0; c < r->d; c++) sum += dout[c * r->column[0]] * out[c * r->column[1]];
        *VECTOR(2, i) = r->has_dlse ? (REAL)(sum - *NUMBER(3, i)) : sum;
    }
}

/* out = w1 out1 + w2 out2, without a look at a part of weight 0; out may be one of them. */
static void NAME(blend)(const rows *r, REAL *out, REAL w1, const REAL *out1, REAL w2,
                        const REAL *out2)
{
    bool even = r->column[0] == 1 && r->column[1] == 1 && r->column[2] == 1;
    if (even && w1 != 0 && w2 != 0) { /* in vectors */
        INDEPENDENT
        for (int64_t c = 0; c < r->d; c++) out[c] = w1 * out1[c] + w2 * out2[c];
        return;
    }
    for (int64_t c = 0; c < r->d; c++) {
        REAL x = w1 != 0 ? w1 * out1[c * r->column[1]] : 0;
        REAL y = w2 != 0 ? w2 * out2[c * r->column[2]] : 0;
        out[c * r->column[0]] = x + y;
    }
}

static void NAME(merge)(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const rows *r = context;
    for (int64_t i = 0; i < count; i++) {
        const weights w = weights_of(*NUMBER(3, i), *NUMBER(5, i));
        *NUMBER(1, i) = w.lse;
        NAME(blend)
        (r, VECTOR(0, i), (REAL)w.first, VECTOR(2, i), (REAL)w.second, VECTOR(4, i));
    }
}

/* dout_i = w_i dout, dlse_i = w_i (dlse + dout . (out_i - out)) */
static void NAME(merge_backward)(void *context, int64_t count, char *const *data,
                                 const int64_t *step)
{
    const rows *r = context;
    for (int64_t i = 0; i < count; i++) {
        const weights w = weights_of(*NUMBER(6, i), *NUMBER(8, i));
        const bool both = w.first != 0 && w.second != 0;
        REAL *dout1 = VECTOR(0, i), *dout2 = VECTOR(2, i);
        const REAL *dout = VECTOR(4, i), *out1 = VECTOR(5, i), *out2 = VECTOR(7, i);
        double dlse = r->has_dlse ? *NUMBER(9, i) : 0, apart = 0;
        for (int64_t c = 0; c < r->d; c++) {
            REAL g = dout[c * r->column[2]];
            if (both) apart += g * (out1[c * r->column[3]] - out2[c * r->column[4]]);
            dout1[c * r->column[0]] = (REAL)w.first * g;
            dout2[c * r->column[1]] = (REAL)w.second * g;
        }
        *NUMBER(1, i) = w.first * (dlse + w.second * apart);
        *NUMBER(3, i) = w.second * (dlse - w.first * apart);
    }
}

#undef VECTOR
#undef REAL
#undef NAME
