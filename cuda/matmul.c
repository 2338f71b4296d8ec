/* matmul.c - which strides are matrices to cuBLAS, and how a stack of them is cut into calls.
 *
 * Leading axes that share b are further rows of a and c where these lie evenly, in whatever order
 * the axes are; of the others the longest is the stack of one call, and what is left is a loop.
 * Operands are copied only where they have no leading dimension (neither rows nor columns are
 * neighbours in memory, or they repeat), and where the loop would be long. */
#include "gemm.h"
#include "rows.h"

enum {
    CALLS = 16,              /* a loop may have before operands are copied into a better order */
    AT_ONCE = 1 << 15,       /* matrices in one call: kernels count them in 16 bits */
    EPILOGUE_ALIGNMENT = 16, /* bytes: what kernels take for granted of a bias, and of rows ... */
    EPILOGUE_STEP = 8        /* ... of which so many elements are, beside a GELU */
};

/* A leading axis: its steps in c, a and b. */
typedef struct {
    int64_t size, c, a, b;
} axis;

typedef struct {
    mosaic_product product;
    bool a_fits, b_fits;
    int axes; /* to be looped over */
    axis axis[MOSAIC_MAX_DIMS];
} stack;

/* ---- matrices ------------------------------------------------------------------------------- */

/* Fills how rows x columns elements lie with these steps; false: cuBLAS cannot say it. */
static bool lay_out(mosaic_matrix *x, int64_t rows, int64_t columns, int64_t row, int64_t column)
{
    x->by_columns = false;
    x->step = rows == 1 ? columns : row;
    if ((columns == 1 || column == 1) && x->step >= columns) return true;
    x->by_columns = true;
    x->step = columns == 1 ? rows : column;
    return (rows == 1 || row == 1) && x->step >= rows;
}

static int64_t size_of(const mosaic_tensor *t, int from_end) { return t->size[t->ndim - from_end]; }
static int64_t step_of(const mosaic_tensor *t, int from_end)
{
    return t->stride[t->ndim - from_end];
}

/* All axes but k and n that have more than one place. The first is that of the rows. */
static void add_axes(stack *s, const mosaic_tensor *c, const mosaic_tensor *a,
                     const mosaic_tensor *b)
{
    for (int i = c->ndim - 2; i >= 0; i--) {
        int64_t shared = i == c->ndim - 2 ? 0 : b->stride[i];
        if (c->size[i] > 1)
            s->axis[s->axes++] = (axis){c->size[i], c->stride[i], a->stride[i], shared};
    }
}

/* The axes that continue `first` evenly become one with it; a bit of *taken for each. */
static axis join_rows(const stack *s, int first, unsigned *taken)
{
    axis rows = s->axis[first];
    *taken = 1u << first;
    for (int i = 0; i < s->axes; i++) {
        const axis *x = &s->axis[i];
        if (*taken >> i & 1u || x->b || x->a != rows.size * rows.a || x->c != rows.size * rows.c)
            continue;
        rows.size *= x->size;
        *taken |= 1u << i;
        i = -1; /* it may be continued itself */
    }
    return rows;
}

/* The longest rows that a has become those of the product: one row only where it has no more. */
static void choose_rows(stack *s, int64_t a_column)
{
    mosaic_product *p = &s->product;
    unsigned best = 0, taken;
    bool alone = true;
    for (int first = 0; first < s->axes; first++) {
        mosaic_matrix x = p->a;
        if (s->axis[first].b) continue;
        axis rows = join_rows(s, first, &taken);
        alone = false;
        if (rows.size <= p->m || !lay_out(&x, rows.size, p->k, rows.a, a_column)) continue;
        p->a = x, p->m = rows.size, p->c.step = rows.c, best = taken;
    }
    if (alone) p->m = lay_out(&p->a, 1, p->k, 1, a_column);
    s->a_fits = p->m > 0;
    int kept = 0;
    for (int i = 0; i < s->axes; i++)
        if (!(best >> i & 1u)) s->axis[kept++] = s->axis[i];
    s->axes = kept;
}

static void join_axes(stack *s)
{
    for (int i = 0; i < s->axes; i++)
        for (int j = 0; j < s->axes; j++) {
            axis *x = &s->axis[i], *y = &s->axis[j];
            bool even = i != j && y->c == x->size * x->c && y->a == x->size * x->a &&
                        y->b == x->size * x->b;
            if (!even) continue;
            x->size *= y->size;
            *y = s->axis[--s->axes];
            i = -1;
            break;
        }
}

/* The longest axis is the stack of a call. */
static void choose_stack(stack *s)
{
    mosaic_product *p = &s->product;
    axis longest = {.size = 1};
    int at = 0;
    for (int i = 0; i < s->axes; i++)
        if (s->axis[i].size > longest.size) longest = s->axis[i], at = i;
    if (s->axes) s->axis[at] = s->axis[--s->axes];
    p->count = longest.size;
    p->c.next = longest.c, p->a.next = longest.a, p->b.next = longest.b;
}

static stack make_stack(const mosaic_tensor *c, const mosaic_tensor *a, const mosaic_tensor *b)
{
    stack s = {.product = {.dtype = c->dtype, .n = size_of(c, 1), .k = size_of(a, 1)}};
    mosaic_product *p = &s.product;
    p->c.data = mosaic_data(c), p->a.data = mosaic_data(a), p->b.data = mosaic_data(b);
    p->c.step = p->n;
    s.b_fits = lay_out(&p->b, p->k, p->n, step_of(b, 2), step_of(b, 1));
    add_axes(&s, c, a, b);
    choose_rows(&s, step_of(a, 1));
    join_axes(&s);
    choose_stack(&s);
    return s;
}

/* ---- copies --------------------------------------------------------------------------------- */

/* Room for what cannot be used, or written, where it lies. */
typedef struct {
    mosaic_tensor c, a, b;
} copies;

/* Does every axis that does not repeat lie as in a new tensor? */
static bool is_dense(const mosaic_tensor *t)
{
    int64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->size[i] == 1 || t->stride[i] == 0) continue;
        if (t->stride[i] != step) return false;
        step *= t->size[i];
    }
    return true;
}

/* Replaces view by a copy; leading axes that repeat stay repeated. */
static mosaic_status pack(mosaic_tensor *room, mosaic_tensor *view)
{
    mosaic_tensor once = *view;
    for (int i = 0; i < once.ndim - 2; i++)
        if (once.stride[i] == 0) once.size[i] = 1;
    MOSAIC_TRY(mosaic_tensor_new(room, (mosaic_dtype)once.dtype, once.ndim, once.size,
                                 mosaic_cuda_of(view)->base.name));
    MOSAIC_TRY(mosaic_cuda_copy(room, &once));
    once = *view;
    *view = *room;
    for (int i = 0; i < once.ndim - 2; i++) {
        view->size[i] = once.size[i];
        if (once.stride[i] == 0) view->stride[i] = 0;
    }
    return MOSAIC_OK;
}

static int64_t calls(const stack *s)
{
    int64_t count = (s->product.count + AT_ONCE - 1) / AT_ONCE;
    for (int i = 0; i < s->axes; i++) count *= s->axis[i].size;
    return count;
}

static mosaic_status prepare(stack *s, copies *room, const mosaic_tensor *c, mosaic_tensor a,
                             mosaic_tensor b)
{
    *s = make_stack(c, &a, &b);
    bool reorder = calls(s) > CALLS;
    bool pack_a = !s->a_fits || (reorder && !is_dense(&a));
    bool pack_b = !s->b_fits || (reorder && !is_dense(&b));
    if (pack_a) MOSAIC_TRY(pack(&room->a, &a));
    if (pack_b) MOSAIC_TRY(pack(&room->b, &b));
    if (pack_a || pack_b) *s = make_stack(c, &a, &b);
    return MOSAIC_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

static bool is_aligned(const char *data) { return (uint64_t)data % EPILOGUE_ALIGNMENT == 0; }

/* As part of the product; false: it does not lie so that it can be. */
static bool set_bias(mosaic_product *p, const mosaic_tensor *bias)
{
    p->bias = mosaic_data(bias);
    return (bias->stride[0] == 1 || p->n == 1) && is_aligned(p->bias);
}

/* The bias as part of the products, or if cuBLAS does not take it so, written to c before them. */
static mosaic_status add_bias(stack *s, const mosaic_tensor *c, const mosaic_tensor *bias)
{
    mosaic_product *p = &s->product;
    if (set_bias(p, bias) && mosaic_product_fits(mosaic_cuda_of(c), p)) return MOSAIC_OK;
    mosaic_tensor rows = mosaic_row_repeated(bias, c);
    p->bias = NULL;
    p->adds = true;
    return mosaic_cuda_copy(c, &rows);
}

static mosaic_status run(const mosaic_cuda *device, const stack *s)
{
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)s->product.dtype), products = 1;
    for (int i = 0; i < s->axes; i++) products *= s->axis[i].size;
    for (int64_t i = 0; i < products; i++) {
        mosaic_product p = s->product;
        int64_t c = 0, a = 0, b = 0, left = i;
        for (int n = 0; n < s->axes; left /= s->axis[n++].size) {
            int64_t at = left % s->axis[n].size;
            c += at * s->axis[n].c, a += at * s->axis[n].a, b += at * s->axis[n].b;
        }
        for (int64_t done = 0; done < s->product.count; done += AT_ONCE) {
            p.count = s->product.count - done < AT_ONCE ? s->product.count - done : AT_ONCE;
            p.c.data = s->product.c.data + (c + done * p.c.next) * bytes;
            p.a.data = s->product.a.data + (a + done * p.a.next) * bytes;
            p.b.data = s->product.b.data + (b + done * p.b.next) * bytes;
            MOSAIC_TRY(mosaic_product_run(device, &p));
        }
    }
    return MOSAIC_OK;
}

static mosaic_status multiply(copies *room, const mosaic_tensor *out, const mosaic_tensor *a,
                              const mosaic_tensor *b, const mosaic_tensor *bias)
{
    stack s;
    mosaic_tensor c = *out;
    const mosaic_cuda *device = mosaic_cuda_of(out);
    if (size_of(out, 1) > 1 && step_of(out, 1) != 1) {
        MOSAIC_TRY(
            mosaic_tensor_new(&room->c, (mosaic_dtype)c.dtype, c.ndim, c.size, device->base.name));
        c = room->c;
    }
    MOSAIC_TRY(prepare(&s, room, &c, *a, *b));
    if (bias) MOSAIC_TRY(add_bias(&s, &c, bias));
    MOSAIC_TRY(run(device, &s));
    return room->c.storage ? mosaic_cuda_copy(out, &c) : MOSAIC_OK;
}

mosaic_status mosaic_cuda_matmul(const mosaic_tensor *out, const mosaic_tensor *a,
                                 const mosaic_tensor *b, const mosaic_tensor *bias)
{
    copies room = {0};
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(out)));
    if (!mosaic_dtype_is_float(out->dtype)) return mosaic_cuda_matmul_whole(out, a, b, bias);
    if (size_of(a, 1) == 0) {
        if (!bias) return mosaic_cuda_fill(out, 0);
        mosaic_tensor rows = mosaic_row_repeated(bias, out);
        return mosaic_cuda_copy(out, &rows);
    }
    mosaic_status status = multiply(&room, out, a, b, bias);
    mosaic_tensor_clear(&room.c);
    mosaic_tensor_clear(&room.a);
    mosaic_tensor_clear(&room.b);
    return status;
}

/* One product, its operands as they are, its results without gaps: what cuBLAS has a GELU for. */
static bool takes_gelu(stack *s, const mosaic_tensor *out, const mosaic_tensor *product,
                       const mosaic_tensor *bias)
{
    mosaic_product *p = &s->product;
    bool once = s->a_fits && s->b_fits && !s->axes && p->count == 1;
    bool whole = mosaic_tensor_is_contiguous(out) && mosaic_tensor_is_contiguous(product);
    p->before = mosaic_data(product);
    return once && whole && p->n % EPILOGUE_STEP == 0 && is_aligned(p->before) &&
           (!bias || set_bias(p, bias)) && mosaic_product_fits(mosaic_cuda_of(out), p);
}

/* The library knows the approximation by tanh alone. */
mosaic_status mosaic_cuda_matmul_gelu(const mosaic_tensor *out, const mosaic_tensor *product,
                                      const mosaic_tensor *a, const mosaic_tensor *b,
                                      const mosaic_tensor *bias, mosaic_unary_op gelu, bool *done)
{
    const mosaic_cuda *device = mosaic_cuda_of(out);
    bool narrow = mosaic_dtype_is_float(out->dtype) && out->dtype != MOSAIC_DTYPE_F64;
    if (gelu != MOSAIC_UNARY_GELU_TANH || !narrow || size_of(a, 1) == 0) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_cuda_enter(device));
    stack s = make_stack(out, a, b);
    *done = takes_gelu(&s, out, product, bias);
    return *done ? mosaic_product_run(device, &s.product) : MOSAIC_OK;
}
