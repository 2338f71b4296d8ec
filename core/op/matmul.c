/* matmul.c - products of matrices: which shapes fit, how they broadcast, vectors as matrices. */
#include <stdlib.h>

#include "../tensor.h"

static int precision = -1; /* nobody has said yet */

void mosaic_set_matmul_precision(mosaic_precision wanted) { precision = (int)wanted; }

mosaic_precision mosaic_matmul_precision(void)
{
    const char *text = precision < 0 ? getenv("MOSAIC_TF32") : NULL;
    if (precision < 0) precision = text && !strcmp(text, "1");
    return (mosaic_precision)precision;
}

/* A vector becomes a matrix of one row or one column (a borrowed view). */
static mosaic_tensor as_matrix(const mosaic_tensor *a, bool column)
{
    mosaic_tensor view = *a;
    if (a->ndim != 1) return view;
    view.ndim = 2;
    view.size[column] = 1;
    view.stride[column] = 0;
    view.size[!column] = a->size[0];
    view.stride[!column] = a->stride[0];
    return view;
}

static mosaic_tensor swapped(const mosaic_tensor *a)
{
    mosaic_tensor view = *a;
    int last = a->ndim - 1;
    view.size[last] = a->size[last - 1], view.size[last - 1] = a->size[last];
    view.stride[last] = a->stride[last - 1], view.stride[last - 1] = a->stride[last];
    return view;
}

static mosaic_status check_pair(const char *op, const mosaic_tensor *a, const mosaic_tensor *b)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, b));
    MOSAIC_REQUIRE(a->dtype == b->dtype, "%s: expected one dtype, got %s and %s", op,
                   mosaic_tensor_describe(a), mosaic_tensor_describe(b));
    MOSAIC_REQUIRE(a->ndim && b->ndim, "%s: expected matrices or vectors, got %s and %s", op,
                   mosaic_tensor_describe(a), mosaic_tensor_describe(b));
    return MOSAIC_OK;
}

/* An output that the call makes itself shares nothing; a given one must not either. */
static mosaic_status check_apart(const char *op, const mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_REQUIRE(!a || out->storage != a->storage,
                   "%s: the output %s shares its storage with the operand %s", op,
                   mosaic_tensor_describe(out), mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

/* x's matrices for each of out's. */
static mosaic_tensor broadcast_to(const mosaic_tensor *out, const mosaic_tensor *x)
{
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < out->ndim - 2; i++) size[i] = out->size[i];
    for (int i = 1; i <= 2; i++) size[out->ndim - i] = x->size[x->ndim - i];
    return mosaic_expanded(x, out->ndim, size);
}

/* out (..., m, n) <- a (..., m, k) b (..., k, n) + bias (n); a and b broadcast to out. */
static mosaic_status multiply(const mosaic_tensor *out, const mosaic_tensor *a,
                              const mosaic_tensor *b, const mosaic_tensor *bias)
{
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    mosaic_tensor left = broadcast_to(out, a), right = broadcast_to(out, b);
    mosaic_tensor_note_write(out);
    MOSAIC_DEVICE_CALL(mosaic_device_of(out), matmul, out, &left, &right, bias);
    return MOSAIC_OK;
}

/* The sizes of the product without the axes that as_matrix added; returns how many. */
static int product_sizes(int64_t *size, const mosaic_tensor *a, const mosaic_tensor *b, int lead,
                         const int64_t *batch)
{
    int ndim = 0;
    for (; ndim < lead; ndim++) size[ndim] = batch[ndim];
    if (a->ndim > 1) size[ndim++] = a->size[a->ndim - 2];
    if (b->ndim > 1) size[ndim++] = b->size[b->ndim - 1];
    return ndim;
}

/* out with the axes of size 1 that as_matrix added: the product as a stack of matrices. */
static mosaic_tensor matrix_result(const mosaic_tensor *out, bool row, bool column)
{
    mosaic_tensor view = *out;
    if (column) view.size[view.ndim] = 1, view.stride[view.ndim++] = 1;
    if (row) {
        int last = view.ndim++;
        view.size[last] = view.size[last - 1], view.stride[last] = view.stride[last - 1];
        view.size[last - 1] = 1, view.stride[last - 1] = 0;
    }
    return view;
}

mosaic_status mosaic_matmul(mosaic_tensor *out, const mosaic_tensor *a, const mosaic_tensor *b)
{
    MOSAIC_TRY(check_pair("matmul", a, b));
    mosaic_tensor left = as_matrix(a, false), right = as_matrix(b, true);
    MOSAIC_REQUIRE(left.size[left.ndim - 1] == right.size[right.ndim - 2],
                   "matmul: %s has %lld columns, %s has %lld rows", mosaic_tensor_describe(a),
                   (long long)left.size[left.ndim - 1], mosaic_tensor_describe(b),
                   (long long)right.size[right.ndim - 2]);
    mosaic_tensor left_batch = left, right_batch = right;
    left_batch.ndim -= 2, right_batch.ndim -= 2;
    int lead;
    int64_t batch[MOSAIC_MAX_DIMS], size[MOSAIC_MAX_DIMS];
    if (mosaic_broadcast("matmul", &lead, batch, &left_batch, &right_batch))
        return mosaic_fail(MOSAIC_EINVAL, "matmul: the leading axes of %s and %s do not broadcast",
                           mosaic_tensor_describe(a), mosaic_tensor_describe(b));
    int ndim = product_sizes(size, a, b, lead, batch);
    MOSAIC_TRY(mosaic_output(out, "matmul", a->dtype, ndim, size, mosaic_device_of(a)));
    MOSAIC_TRY(check_apart("matmul", out, a));
    MOSAIC_TRY(check_apart("matmul", out, b));
    mosaic_tensor result = matrix_result(out, a->ndim == 1, b->ndim == 1);
    return multiply(&result, &left, &right, NULL);
}

static mosaic_status check_linear(const char *op, const mosaic_tensor *x,
                                  const mosaic_tensor *weight, const mosaic_tensor *bias)
{
    MOSAIC_TRY(check_pair(op, x, weight));
    if (bias) MOSAIC_TRY(check_pair(op, weight, bias));
    MOSAIC_REQUIRE(weight->ndim == 2 && weight->size[1] == x->size[x->ndim - 1],
                   "%s: the weight must be [out,%lld] for the input %s, got %s", op,
                   (long long)x->size[x->ndim - 1], mosaic_tensor_describe(x),
                   mosaic_tensor_describe(weight));
    MOSAIC_REQUIRE(!bias || (bias->ndim == 1 && bias->size[0] == weight->size[0]),
                   "%s: the bias must be [%lld] for the weight %s, got %s", op,
                   (long long)weight->size[0], mosaic_tensor_describe(weight),
                   mosaic_tensor_describe(bias));
    return MOSAIC_OK;
}

static mosaic_status linear_output(const char *op, mosaic_tensor *out, const mosaic_tensor *x,
                                   const mosaic_tensor *weight, const mosaic_tensor *bias)
{
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < x->ndim - 1; i++) size[i] = x->size[i];
    size[x->ndim - 1] = weight->size[0];
    MOSAIC_TRY(mosaic_output(out, op, x->dtype, x->ndim, size, mosaic_device_of(x)));
    MOSAIC_TRY(check_apart(op, out, x));
    MOSAIC_TRY(check_apart(op, out, weight));
    return check_apart(op, out, bias);
}

mosaic_status mosaic_linear(mosaic_tensor *out, const mosaic_tensor *x, const mosaic_tensor *weight,
                            const mosaic_tensor *bias)
{
    MOSAIC_TRY(check_linear("linear", x, weight, bias));
    MOSAIC_TRY(linear_output("linear", out, x, weight, bias));
    mosaic_tensor rows = as_matrix(x, false), columns = swapped(weight);
    mosaic_tensor result = matrix_result(out, x->ndim == 1, false);
    return multiply(&result, &rows, &columns, bias);
}

/* dx has the sizes of g, with those of the weight's rows for the last, and so has `other`, which is
 * `what`; NULL: there is none. */
static mosaic_status check_linear_backward(const char *op, const mosaic_tensor *g,
                                           const mosaic_tensor *weight, const char *what,
                                           const mosaic_tensor *other)
{
    int last = g->ndim - 1;
    MOSAIC_TRY(check_pair(op, g, weight));
    MOSAIC_REQUIRE(weight->ndim == 2 && weight->size[0] == g->size[last],
                   "%s: the weight must be [%lld,in] for the gradient %s, got %s", op,
                   (long long)g->size[last], mosaic_tensor_describe(g),
                   mosaic_tensor_describe(weight));
    if (!other) return MOSAIC_OK;
    MOSAIC_TRY(check_pair(op, g, other));
    bool fits = other->ndim == g->ndim && other->size[last] == weight->size[1];
    for (int i = 0; fits && i < last; i++) fits = other->size[i] == g->size[i];
    MOSAIC_REQUIRE(fits, "%s: %s, %s, is not as the product of %s and %s", op, what,
                   mosaic_tensor_describe(other), mosaic_tensor_describe(g),
                   mosaic_tensor_describe(weight));
    return MOSAIC_OK;
}

mosaic_status mosaic_linear_backward(mosaic_tensor *dx, const mosaic_tensor *g,
                                     const mosaic_tensor *weight, const mosaic_tensor *sum)
{
    const char *op = "linear_backward";
    MOSAIC_TRY(check_linear_backward(op, g, weight, "what is added", sum));
    mosaic_tensor rows = as_matrix(g, false), turned = swapped(weight);
    MOSAIC_TRY(linear_output(op, dx, g, &turned, sum));
    mosaic_tensor result = matrix_result(dx, g->ndim == 1, false);
    const mosaic_device *device = mosaic_device_of(g);
    if (!sum || !device->matmul_add || mosaic_tensor_numel(dx) == 0) {
        MOSAIC_TRY(multiply(&result, &rows, weight, NULL));
        return sum ? mosaic_binary(dx, dx, sum, MOSAIC_BINARY_ADD, 1, 0) : MOSAIC_OK;
    }
    mosaic_tensor add = as_matrix(sum, false), right = broadcast_to(&result, weight);
    mosaic_tensor_note_write(dx);
    MOSAIC_DEVICE_CALL(device, matmul_add, &result, &rows, &right, &add);
    return MOSAIC_OK;
}

/* ---- with GELU ------------------------------------------------------------------------------ */

static mosaic_status check_gelu(const char *op, mosaic_unary_op gelu)
{
    MOSAIC_REQUIRE(gelu == MOSAIC_UNARY_GELU || gelu == MOSAIC_UNARY_GELU_TANH,
                   "%s: operation %d is not a GELU", op, (int)gelu);
    return MOSAIC_OK;
}

/* Both at once, where the device can. */
static mosaic_status multiply_gelu(mosaic_tensor *out, mosaic_tensor *product,
                                   const mosaic_tensor *x, const mosaic_tensor *weight,
                                   const mosaic_tensor *bias, mosaic_unary_op gelu, bool *done)
{
    const mosaic_device *device = mosaic_device_of(x);
    if (!device->matmul_gelu || mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    mosaic_tensor rows = as_matrix(x, false), columns = swapped(weight);
    mosaic_tensor result = matrix_result(out, x->ndim == 1, false);
    mosaic_tensor before = matrix_result(product, x->ndim == 1, false);
    mosaic_tensor left = broadcast_to(&result, &rows), right = broadcast_to(&result, &columns);
    mosaic_tensor_note_write(out);
    mosaic_tensor_note_write(product);
    MOSAIC_DEVICE_CALL(device, matmul_gelu, &result, &before, &left, &right, bias, gelu, done);
    return MOSAIC_OK;
}

mosaic_status mosaic_linear_gelu(mosaic_tensor *out, mosaic_tensor *product, const mosaic_tensor *x,
                                 const mosaic_tensor *weight, const mosaic_tensor *bias,
                                 mosaic_unary_op gelu)
{
    bool done = false;
    MOSAIC_TRY(check_gelu("linear_gelu", gelu));
    MOSAIC_TRY(check_linear("linear_gelu", x, weight, bias));
    MOSAIC_TRY(linear_output("linear_gelu", product, x, weight, bias));
    MOSAIC_TRY(linear_output("linear_gelu", out, x, weight, bias));
    MOSAIC_TRY(check_apart("linear_gelu", out, product));
    MOSAIC_TRY(multiply_gelu(out, product, x, weight, bias, gelu, &done));
    if (done) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_linear(product, x, weight, bias));
    return mosaic_unary(out, product, gelu, 0, 0);
}

mosaic_status mosaic_linear_gelu_backward(mosaic_tensor *dproduct, const mosaic_tensor *g,
                                          const mosaic_tensor *weight, const mosaic_tensor *product,
                                          mosaic_unary_op gelu)
{
    const char *op = "linear_gelu_backward";
    bool exact = gelu == MOSAIC_UNARY_GELU;
    mosaic_binary_op derivative = exact ? MOSAIC_BINARY_GELU_GRAD : MOSAIC_BINARY_GELU_TANH_GRAD;
    MOSAIC_TRY(check_gelu(op, gelu));
    MOSAIC_REQUIRE(product, "%s: there is no product", op);
    MOSAIC_TRY(check_linear_backward(op, g, weight, "what GELU was of", product));
    mosaic_tensor rows = as_matrix(g, false), turned = swapped(weight);
    MOSAIC_TRY(linear_output(op, dproduct, g, &turned, product));
    mosaic_tensor result = matrix_result(dproduct, g->ndim == 1, false);
    const mosaic_device *device = mosaic_device_of(g);
    if (!device->matmul_times || mosaic_tensor_numel(dproduct) == 0) {
        MOSAIC_TRY(multiply(&result, &rows, weight, NULL));
        return mosaic_binary(dproduct, dproduct, product, derivative, 0, 0);
    }
    mosaic_tensor factor = as_matrix(product, false), right = broadcast_to(&result, weight);
    mosaic_tensor_note_write(dproduct);
    MOSAIC_DEVICE_CALL(device, matmul_times, &result, &rows, &right, &factor, derivative);
    return MOSAIC_OK;
}

/* ---- gradients of parameters ---------------------------------------------------------------- */

static mosaic_status check_rows(const char *op, const mosaic_tensor *g, const mosaic_tensor *x)
{
    MOSAIC_TRY(check_pair(op, g, x));
    MOSAIC_REQUIRE(g->ndim == 2 && x->ndim == 2 && g->size[0] == x->size[0],
                   "%s: expected two matrices of as many rows, got %s and %s", op,
                   mosaic_tensor_describe(g), mosaic_tensor_describe(x));
    MOSAIC_REQUIRE(mosaic_dtype_is_float(g->dtype), "%s: %s is not a float tensor", op,
                   mosaic_tensor_describe(g));
    return MOSAIC_OK;
}

mosaic_status mosaic_linear_gradients(mosaic_tensor *dweight, mosaic_tensor *dbias,
                                      const mosaic_tensor *g, const mosaic_tensor *x)
{
    const char *op = "linear_gradients";
    MOSAIC_TRY(check_rows(op, g, x));
    const mosaic_device *device = mosaic_device_of(g);
    int64_t size[2] = {g->size[1], x->size[1]};
    mosaic_tensor columns = swapped(g);
    MOSAIC_TRY(mosaic_output(dweight, op, g->dtype, 2, size, device));
    MOSAIC_TRY(mosaic_output(dbias, op, g->dtype, 1, size, device));
    mosaic_tensor *outputs[] = {dweight, dbias};
    for (int i = 0; i < 2; i++) {
        MOSAIC_TRY(check_apart(op, outputs[i], g));
        MOSAIC_TRY(check_apart(op, outputs[i], x));
    }
    MOSAIC_TRY(check_apart(op, dweight, dbias));
    if (!device->matmul_sums || mosaic_tensor_numel(dweight) == 0) {
        MOSAIC_TRY(multiply(dweight, &columns, x, NULL));
        return mosaic_reduce(dbias, g, MOSAIC_REDUCE_SUM, 1, false, 0);
    }
    mosaic_tensor_note_write(dweight);
    mosaic_tensor_note_write(dbias);
    MOSAIC_DEVICE_CALL(device, matmul_sums, dweight, dbias, &columns, x);
    return MOSAIC_OK;
}
