/* attention.c - do the operands fit together, and how do they look with two batch axes? */
#include "../program.h"
#include "../tensor.h"

enum { DIMS = 5, MAX_HEAD_SIZE = 256 }; /* batch, batch, heads, rows, head size */

/* ---- work ----------------------------------------------------------------------------------- */

mosaic_status mosaic_attention_work_read(mosaic_attention_work *work, int account)
{
    const mosaic_device *d;
    account = mosaic_memory_known_account(account);
    work[0] = work[1] = (mosaic_attention_work){0};
    for (int i = 0; (d = mosaic_device_at(i)); i++)
        if (d->attention_work) MOSAIC_TRY(d->attention_work(d, work, account));
    return MOSAIC_OK;
}

mosaic_status mosaic_attention_work_reset(int account)
{
    const mosaic_device *d;
    account = mosaic_memory_known_account(account);
    for (int i = 0; (d = mosaic_device_at(i)); i++)
        if (d->attention_work_reset) MOSAIC_TRY(d->attention_work_reset(d, account));
    return MOSAIC_OK;
}

/* ---- views ---------------------------------------------------------------------------------- */

/* a with leading axes of size 1, up to ndim axes: a borrowed view. */
static mosaic_tensor padded(const mosaic_tensor *a, int ndim)
{
    mosaic_tensor view = *a;
    int extra = ndim - a->ndim;
    view.ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        view.size[i] = i < extra ? 1 : a->size[i - extra];
        view.stride[i] = i < extra ? 0 : a->stride[i - extra];
    }
    return view;
}

/* a seen as (b0, b1, [heads,] rows, [columns]): the sizes that `like` has, then n and m (-1: no
 * such axis). False when a does not broadcast to them. */
static bool broadcasts(mosaic_tensor *view, const mosaic_tensor *a, int ndim, const int64_t *size)
{
    if (a->ndim > ndim) return false;
    for (int i = 0; i < a->ndim; i++) {
        int64_t own = a->size[a->ndim - 1 - i];
        if (own != 1 && own != size[ndim - 1 - i]) return false;
    }
    *view = mosaic_expanded(a, ndim, size);
    return true;
}

/* ---- checks --------------------------------------------------------------------------------- */

static mosaic_status check_qkv(const char *op, const mosaic_tensor *q, const mosaic_tensor *k,
                               const mosaic_tensor *v)
{
    MOSAIC_TRY(mosaic_check_operands(op, q, k));
    MOSAIC_TRY(mosaic_check_operands(op, q, v));
    const char *shown = mosaic_tensor_describe(q);
    MOSAIC_REQUIRE(mosaic_dtype_is_float(q->dtype) && q->ndim >= 2 && q->ndim <= DIMS,
                   "%s: q must be a float tensor (batch..., heads, rows, head size) with 2 to 5 "
                   "dims, got %s",
                   op, shown);
    MOSAIC_REQUIRE(k->dtype == q->dtype && v->dtype == q->dtype,
                   "%s: q, k and v must have one dtype, got %s, %s and %s", op, shown,
                   mosaic_tensor_describe(k), mosaic_tensor_describe(v));
    bool same = k->ndim == v->ndim;
    for (int i = 0; same && i < k->ndim; i++) same = k->size[i] == v->size[i];
    MOSAIC_REQUIRE(same, "%s: k %s and v %s must have the same sizes", op,
                   mosaic_tensor_describe(k), mosaic_tensor_describe(v));
    bool fits = k->ndim == q->ndim && k->size[k->ndim - 1] == q->size[q->ndim - 1];
    for (int i = 0; fits && i < q->ndim - 3; i++) fits = k->size[i] == q->size[i];
    MOSAIC_REQUIRE(fits, "%s: k %s does not fit q %s: batch sizes and head size must be equal", op,
                   mosaic_tensor_describe(k), shown);
    int64_t d = q->size[q->ndim - 1];
    MOSAIC_REQUIRE(d >= 1 && d <= MAX_HEAD_SIZE, "%s: head size %lld of q %s is not in 1..%d", op,
                   (long long)d, shown, MAX_HEAD_SIZE);
    if (q->ndim > 2) {
        int64_t heads = q->size[q->ndim - 3], kv_heads = k->size[k->ndim - 3];
        MOSAIC_REQUIRE(heads == kv_heads || (kv_heads > 0 && heads % kv_heads == 0),
                       "%s: %lld heads of q are not a multiple of %lld heads of k (q %s, k %s)", op,
                       (long long)heads, (long long)kv_heads, shown, mosaic_tensor_describe(k));
    }
    return MOSAIC_OK;
}

/* One optional tensor of the options: dtype, device, and sizes that it broadcasts to. */
static mosaic_status check_entry(const char *op, const char *name, const mosaic_tensor **entry,
                                 mosaic_tensor *view, bool dtype_fits, const mosaic_tensor *q,
                                 int ndim, const int64_t *size)
{
    MOSAIC_TRY(mosaic_check_operands(op, *entry, q));
    MOSAIC_REQUIRE(dtype_fits, "%s: %s has the wrong dtype: %s", op, name,
                   mosaic_tensor_describe(*entry));
    mosaic_tensor target = {.storage = q->storage, .dtype = (*entry)->dtype, .ndim = ndim};
    for (int i = 0; i < ndim; i++) target.size[i] = size[i];
    MOSAIC_REQUIRE(broadcasts(view, *entry, ndim, size), "%s: %s %s does not broadcast to %s", op,
                   name, mosaic_tensor_describe(*entry), mosaic_tensor_describe(&target));
    *entry = view;
    return MOSAIC_OK;
}

/* The options' tensors as views with the full sizes. */
typedef struct {
    mosaic_tensor q_positions, k_positions, q_documents, k_documents, alibi, keep, bias;
} option_views;

/* Every batch entry must have a number of its own. */
static mosaic_status check_place(const char *op, mosaic_attention_options *o,
                                 const mosaic_tensor *q)
{
    const int64_t *from = o->batch_from, most = INT32_MAX;
    if (o->batch_total == 0) o->batch_total = q->size[1];
    MOSAIC_REQUIRE(o->head_from >= 0 && o->head_from <= most && from[0] >= 0 && from[0] <= most &&
                       from[1] >= 0 && from[1] <= most && o->batch_total <= most,
                   "%s: heads from %lld, batch entries from %lld, %lld of %lld: outside of 0..%lld",
                   op, (long long)o->head_from, (long long)from[0], (long long)from[1],
                   (long long)o->batch_total, (long long)most);
    bool one = from[0] == 0 && q->size[0] <= 1;
    MOSAIC_REQUIRE(one || q->size[1] <= o->batch_total - from[1],
                   "%s: indices %lld..%lld of the last batch axis are not in its batch_total %lld",
                   op, (long long)from[1] + 1, (long long)(from[1] + q->size[1]),
                   (long long)o->batch_total);
    return MOSAIC_OK;
}

static mosaic_status check_options(const char *op, mosaic_attention_call *call, option_views *views)
{
    mosaic_attention_options *o = &call->options;
    const mosaic_tensor *q = &call->q, *k = &call->k;
    int64_t nq = q->size[3], nk = k->size[3];
    int64_t scores[] = {q->size[0], q->size[1], q->size[2], nq, nk};
    int64_t q_rows[] = {q->size[0], q->size[1], nq}, k_rows[] = {q->size[0], q->size[1], nk};
    MOSAIC_REQUIRE(!o->q_documents == !o->k_documents,
                   "%s: documents need the ids of queries and of keys", op);
#define CHECK(name, dtype_fits, ndim, size)                                                        \
    if (o->name)                                                                                   \
    MOSAIC_TRY(check_entry(op, #name, &o->name, &views->name, dtype_fits, q, ndim, size))
    CHECK(q_positions, o->q_positions->dtype == MOSAIC_DTYPE_I64, 1, &nq);
    CHECK(k_positions, o->k_positions->dtype == MOSAIC_DTYPE_I64, 1, &nk);
    CHECK(q_documents, o->q_documents->dtype == MOSAIC_DTYPE_I64, 3, q_rows);
    CHECK(k_documents, o->k_documents->dtype == MOSAIC_DTYPE_I64, 3, k_rows);
    CHECK(alibi, mosaic_dtype_is_float(o->alibi->dtype), 1, &q->size[2]);
    CHECK(keep, o->keep->dtype == MOSAIC_DTYPE_U8, 5, scores);
    CHECK(bias, mosaic_dtype_is_float(o->bias->dtype), 5, scores);
#undef CHECK
    MOSAIC_REQUIRE(o->dropout >= 0 && o->dropout < 1, "%s: dropout %g is not in [0, 1)", op,
                   o->dropout);
    if (o->score) MOSAIC_TRY(mosaic_program_check(op, "mask.score", o->score, q));
    if (o->keep_if) MOSAIC_TRY(mosaic_program_check(op, "mask.keep", o->keep_if, q));
    MOSAIC_REQUIRE((!o->score || o->score->slope >= 0) && (!o->keep_if || o->keep_if->slope < 0),
                   "%s: the program of mask.score has a slope, and that of mask.keep has none", op);
    return check_place(op, o, q);
}

static mosaic_status open_call(const char *op, mosaic_attention_call *call, option_views *views,
                               const mosaic_tensor *q, const mosaic_tensor *k,
                               const mosaic_tensor *v, const mosaic_attention_options *options)
{
    MOSAIC_TRY(check_qkv(op, q, k, v));
    *call = (mosaic_attention_call){.account = mosaic_memory_account(),
                                    .q = padded(q, DIMS),
                                    .k = padded(k, DIMS),
                                    .v = padded(v, DIMS),
                                    .options = *options};
    return check_options(op, call, views);
}

mosaic_status mosaic_attention_check(const mosaic_tensor *q, const mosaic_tensor *k,
                                     const mosaic_tensor *v,
                                     const mosaic_attention_options *options)
{
    mosaic_attention_call call;
    option_views views;
    return open_call("attention", &call, &views, q, k, v, options);
}

static int result_type(const mosaic_tensor *q) { return mosaic_dtype_accumulator(q->dtype); }

/* Results are written while operands are still read. */
static mosaic_status check_apart(const char *op, const mosaic_tensor *result,
                                 const mosaic_tensor *operand)
{
    bool same = result->storage == operand->storage && result->offset == operand->offset;
    MOSAIC_REQUIRE(!same && !mosaic_overlaps(result, operand),
                   "%s: a result (%s) shares memory with an operand (%s)", op,
                   mosaic_tensor_describe(result), mosaic_tensor_describe(operand));
    return MOSAIC_OK;
}

/* ---- forward -------------------------------------------------------------------------------- */

mosaic_status mosaic_attention(mosaic_tensor *out, mosaic_tensor *lse, const mosaic_tensor *q,
                               const mosaic_tensor *k, const mosaic_tensor *v,
                               const mosaic_attention_options *options)
{
    mosaic_attention_call call;
    option_views views;
    MOSAIC_TRY(open_call("attention", &call, &views, q, k, v, options));
    const mosaic_device *device = mosaic_device_of(q);
    MOSAIC_TRY(mosaic_output(out, "attention", result_type(q), q->ndim, q->size, device));
    MOSAIC_TRY(mosaic_output(lse, "attention", MOSAIC_DTYPE_F64, q->ndim - 1, q->size, device));
    const mosaic_tensor *operands[] = {q, k, v};
    for (int i = 0; i < 3; i++) {
        MOSAIC_TRY(check_apart("attention", out, operands[i]));
        MOSAIC_TRY(check_apart("attention", lse, operands[i]));
    }
    mosaic_tensor_note_write(out);
    mosaic_tensor_note_write(lse);
    if (mosaic_tensor_numel(q) == 0) return MOSAIC_OK;
    call.out = padded(out, DIMS);
    call.lse = padded(lse, DIMS - 1);
    MOSAIC_DEVICE_CALL(device, attention, &call);
    return MOSAIC_OK;
}

/* ---- backward ------------------------------------------------------------------------------- */

/* a must have the sizes and the dtype that are named. */
static mosaic_status check_same(const char *op, const char *name, const mosaic_tensor *a,
                                const mosaic_tensor *q, int ndim, bool dtype_fits)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, q));
    bool same = a->ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = a->size[i] == q->size[i];
    MOSAIC_REQUIRE(same && dtype_fits, "%s: %s %s does not fit %s", op, name,
                   mosaic_tensor_describe(a), mosaic_tensor_describe(q));
    return MOSAIC_OK;
}

mosaic_status mosaic_attention_delta(mosaic_tensor *delta, const mosaic_tensor *dout,
                                     const mosaic_tensor *out, const mosaic_tensor *dlse)
{
    const char *op = "attention_delta";
    MOSAIC_TRY(mosaic_check_operands(op, out, NULL));
    MOSAIC_REQUIRE(out->ndim >= 1 && mosaic_dtype_is_float(out->dtype) &&
                       out->dtype == result_type(out),
                   "%s: out must be f32 or f64, got %s", op, mosaic_tensor_describe(out));
    int rows = out->ndim - 1;
    MOSAIC_TRY(check_same(op, "dout", dout, out, out->ndim, dout->dtype == out->dtype));
    if (dlse) MOSAIC_TRY(check_same(op, "dlse", dlse, out, rows, dlse->dtype == MOSAIC_DTYPE_F64));
    MOSAIC_TRY(mosaic_output(delta, op, out->dtype, rows, out->size, mosaic_device_of(out)));
    mosaic_tensor_note_write(delta);
    if (mosaic_tensor_numel(delta) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(out), attention_delta, delta, dout, out, dlse);
    return MOSAIC_OK;
}

/* Allocates a gradient, or checks the one that is there; `clear` sets it to 0. */
static mosaic_status gradient_output(mosaic_tensor *gradient, const mosaic_tensor *like, int dtype,
                                     bool accumulate, bool clear)
{
    const char *op = "attention_backward";
    MOSAIC_REQUIRE(!accumulate || gradient->storage, "%s: there is no gradient to add to", op);
    MOSAIC_TRY(mosaic_output(gradient, op, dtype, like->ndim, like->size, mosaic_device_of(like)));
    mosaic_tensor_note_write(gradient);
    return clear && !accumulate ? mosaic_fill(gradient, 0) : MOSAIC_OK;
}

mosaic_status mosaic_attention_backward(mosaic_tensor *dq, mosaic_tensor *dk, mosaic_tensor *dv,
                                        mosaic_tensor *dbias, const mosaic_tensor *dout,
                                        const mosaic_tensor *lse, const mosaic_tensor *delta,
                                        const mosaic_tensor *q, const mosaic_tensor *k,
                                        const mosaic_tensor *v,
                                        const mosaic_attention_options *options, bool accumulate)
{
    const char *op = "attention_backward";
    mosaic_attention_call call;
    option_views views;
    MOSAIC_TRY(open_call(op, &call, &views, q, k, v, options));
    int dtype = result_type(q);
    MOSAIC_TRY(check_same(op, "dout", dout, q, q->ndim, dout->dtype == dtype));
    MOSAIC_TRY(check_same(op, "lse", lse, q, q->ndim - 1, lse->dtype == MOSAIC_DTYPE_F64));
    MOSAIC_TRY(check_same(op, "delta", delta, q, q->ndim - 1, delta->dtype == dtype));
    MOSAIC_REQUIRE(!dbias || options->bias, "%s: dbias is asked for, but there is no bias", op);
    bool empty = mosaic_tensor_numel(q) == 0 || mosaic_tensor_numel(k) == 0;
    MOSAIC_TRY(gradient_output(dq, q, dtype, accumulate, empty));
    MOSAIC_TRY(gradient_output(dk, k, dtype, accumulate, empty));
    MOSAIC_TRY(gradient_output(dv, v, dtype, accumulate, empty));
    if (dbias) MOSAIC_TRY(gradient_output(dbias, options->bias, dtype, accumulate, true));
    const mosaic_tensor *results[] = {dq, dk, dv}, *operands[] = {q, k, v, dout};
    for (int i = 0; i < 12; i++) MOSAIC_TRY(check_apart(op, results[i / 4], operands[i % 4]));
    if (empty) return MOSAIC_OK;

    call.dout = padded(dout, DIMS);
    call.lse = padded(lse, DIMS - 1);
    call.delta = padded(delta, DIMS - 1);
    call.dq = padded(dq, DIMS);
    call.dk = padded(dk, DIMS);
    call.dv = padded(dv, DIMS);
    if (dbias) call.dbias = mosaic_expanded(dbias, DIMS, call.options.bias->size);
    call.accumulate = accumulate;
    MOSAIC_DEVICE_CALL(mosaic_device_of(q), attention_backward, &call);
    return MOSAIC_OK;
}
