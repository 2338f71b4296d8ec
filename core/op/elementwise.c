/* elementwise.c - operations on single elements: what the result's dtype and sizes are. */
#include <math.h>

#include "../tensor.h"

/* What an operation makes of its operands' common dtype. */
typedef enum { KEEPS, FLOATS /* integers become f32 */, PREDICATE /* u8 */ } result_kind;

static const char *const unary_names[] = {
    [MOSAIC_UNARY_NEG] = "neg",
    [MOSAIC_UNARY_ABS] = "abs",
    [MOSAIC_UNARY_SIGN] = "sign",
    [MOSAIC_UNARY_SQUARE] = "square",
    [MOSAIC_UNARY_RELU] = "relu",
    [MOSAIC_UNARY_CLAMP] = "clamp",
    [MOSAIC_UNARY_FLOOR] = "floor",
    [MOSAIC_UNARY_CEIL] = "ceil",
    [MOSAIC_UNARY_ROUND] = "round",
    [MOSAIC_UNARY_RECIPROCAL] = "reciprocal",
    [MOSAIC_UNARY_SQRT] = "sqrt",
    [MOSAIC_UNARY_RSQRT] = "rsqrt",
    [MOSAIC_UNARY_EXP] = "exp",
    [MOSAIC_UNARY_EXPM1] = "expm1",
    [MOSAIC_UNARY_LOG] = "log",
    [MOSAIC_UNARY_LOG2] = "log2",
    [MOSAIC_UNARY_LOG1P] = "log1p",
    [MOSAIC_UNARY_SIN] = "sin",
    [MOSAIC_UNARY_COS] = "cos",
    [MOSAIC_UNARY_TANH] = "tanh",
    [MOSAIC_UNARY_SIGMOID] = "sigmoid",
    [MOSAIC_UNARY_ERF] = "erf",
    [MOSAIC_UNARY_GELU] = "gelu",
    [MOSAIC_UNARY_GELU_TANH] = "gelu",
    [MOSAIC_UNARY_SILU] = "silu",
    [MOSAIC_UNARY_SOFTPLUS] = "softplus",
    [MOSAIC_UNARY_ELU] = "elu",
    [MOSAIC_UNARY_LEAKY_RELU] = "leaky_relu",
    [MOSAIC_UNARY_ISNAN] = "isnan",
    [MOSAIC_UNARY_ISFINITE] = "isfinite",
    [MOSAIC_UNARY_LOGICAL_NOT] = "logical_not",
};

static const char *const binary_names[] = {
    [MOSAIC_BINARY_ADD] = "add",
    [MOSAIC_BINARY_SUB] = "sub",
    [MOSAIC_BINARY_MUL] = "mul",
    [MOSAIC_BINARY_DIV] = "div",
    [MOSAIC_BINARY_POW] = "pow",
    [MOSAIC_BINARY_MAXIMUM] = "maximum",
    [MOSAIC_BINARY_MINIMUM] = "minimum",
    [MOSAIC_BINARY_FLOOR_DIVIDE] = "floor_divide",
    [MOSAIC_BINARY_REMAINDER] = "remainder",
    [MOSAIC_BINARY_TANH_GRAD] = "gradient of tanh",
    [MOSAIC_BINARY_SIGMOID_GRAD] = "gradient of sigmoid",
    [MOSAIC_BINARY_RELU_GRAD] = "gradient of relu",
    [MOSAIC_BINARY_CLAMP_GRAD] = "gradient of clamp",
    [MOSAIC_BINARY_GELU_GRAD] = "gradient of gelu",
    [MOSAIC_BINARY_GELU_TANH_GRAD] = "gradient of gelu",
    [MOSAIC_BINARY_SILU_GRAD] = "gradient of silu",
    [MOSAIC_BINARY_SOFTPLUS_GRAD] = "gradient of softplus",
    [MOSAIC_BINARY_ELU_GRAD] = "gradient of elu",
    [MOSAIC_BINARY_LEAKY_RELU_GRAD] = "gradient of leaky_relu",
    [MOSAIC_BINARY_EQ] = "eq",
    [MOSAIC_BINARY_NE] = "ne",
    [MOSAIC_BINARY_LT] = "lt",
    [MOSAIC_BINARY_LE] = "le",
    [MOSAIC_BINARY_GT] = "gt",
    [MOSAIC_BINARY_GE] = "ge",
    [MOSAIC_BINARY_LOGICAL_AND] = "logical_and",
    [MOSAIC_BINARY_LOGICAL_OR] = "logical_or",
    [MOSAIC_BINARY_LOGICAL_XOR] = "logical_xor",
};

static const char *const ternary_names[] = {
    [MOSAIC_TERNARY_WHERE] = "where",
    [MOSAIC_TERNARY_LERP] = "lerp",
    [MOSAIC_TERNARY_ADDCMUL] = "addcmul",
    [MOSAIC_TERNARY_ADDCDIV] = "addcdiv",
};

static result_kind unary_kind(mosaic_unary_op op)
{
    if (op >= MOSAIC_UNARY_ISNAN) return PREDICATE;
    return op >= MOSAIC_UNARY_RECIPROCAL ? FLOATS : KEEPS;
}

static result_kind binary_kind(mosaic_binary_op op)
{
    if (op >= MOSAIC_BINARY_EQ) return PREDICATE;
    return op >= MOSAIC_BINARY_TANH_GRAD || op == MOSAIC_BINARY_DIV ? FLOATS : KEEPS;
}

/* ---- dtypes --------------------------------------------------------------------------------- */

static mosaic_dtype common(int a, int b)
{
    if (a == b) return (mosaic_dtype)a;
    if (mosaic_dtype_is_float(a) != mosaic_dtype_is_float(b))
        return (mosaic_dtype)(mosaic_dtype_is_float(a) ? a : b);
    if (mosaic_dtype_is_float(a))
        return a == MOSAIC_DTYPE_F64 || b == MOSAIC_DTYPE_F64 ? MOSAIC_DTYPE_F64 : MOSAIC_DTYPE_F32;
    return a == MOSAIC_DTYPE_I64 || b == MOSAIC_DTYPE_I64 ? MOSAIC_DTYPE_I64 : MOSAIC_DTYPE_I32;
}

mosaic_dtype mosaic_promote(const mosaic_tensor *a, const mosaic_tensor *b)
{
    bool a_float = mosaic_dtype_is_float(a->dtype), b_float = mosaic_dtype_is_float(b->dtype);
    if (a->ndim && !b->ndim && a_float >= b_float) return (mosaic_dtype)a->dtype;
    if (b->ndim && !a->ndim && b_float >= a_float) return (mosaic_dtype)b->dtype;
    return common(a->dtype, b->dtype);
}

/* The common dtype of a tensor and a number. */
static mosaic_dtype promote_number(const mosaic_tensor *a, double value, result_kind kind)
{
    bool whole = value == floor(value) && fabs(value) < 0x1p63;
    if (whole || mosaic_dtype_is_float(a->dtype)) return (mosaic_dtype)a->dtype;
    return kind == PREDICATE ? MOSAIC_DTYPE_F64 : MOSAIC_DTYPE_F32;
}

/* The type to compute in, from the operands' common dtype. */
static mosaic_dtype compute_type(mosaic_dtype dtype, result_kind kind)
{
    if (mosaic_dtype_is_float(dtype)) return mosaic_dtype_accumulator(dtype);
    return kind == FLOATS ? MOSAIC_DTYPE_F32 : MOSAIC_DTYPE_I64;
}

static mosaic_dtype result_type(mosaic_dtype dtype, result_kind kind)
{
    if (kind == PREDICATE) return MOSAIC_DTYPE_U8;
    return kind == FLOATS && !mosaic_dtype_is_float(dtype) ? MOSAIC_DTYPE_F32 : dtype;
}

/* ---- calling -------------------------------------------------------------------------------- */

/* Allocates out or checks that the result may be written there: any float to a float, integers
 * anywhere. */
static mosaic_status prepare_output(mosaic_tensor *out, const char *op, mosaic_dtype dtype,
                                    int ndim, const int64_t *size, const mosaic_device *device)
{
    if (!out->storage) return mosaic_output(out, op, dtype, ndim, size, device);
    MOSAIC_REQUIRE(mosaic_dtype_is_float(out->dtype) || !mosaic_dtype_is_float(dtype),
                   "%s: a result of dtype %s cannot be written to %s", op, mosaic_dtype_name(dtype),
                   mosaic_tensor_describe(out));
    MOSAIC_TRY(mosaic_output(out, op, out->dtype, ndim, size, device));
    mosaic_tensor_note_write(out);
    return MOSAIC_OK;
}

/* The input seen in out's sizes; a copy (to be cleared) where it shares bytes with out. */
static mosaic_status prepare_input(mosaic_tensor *view, mosaic_tensor *copy,
                                   const mosaic_tensor *out, const mosaic_tensor *a)
{
    *view = mosaic_expanded(a, out->ndim, out->size);
    if (!mosaic_overlaps(out, view)) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_convert(copy, a, (mosaic_dtype)a->dtype, NULL));
    *view = mosaic_expanded(copy, out->ndim, out->size);
    return MOSAIC_OK;
}

static mosaic_status dispatch(const mosaic_tensor *out, const char *op,
                              const mosaic_elementwise *call)
{
    MOSAIC_DEVICE_CALL_NAMED(op, mosaic_device_of(out), elementwise, out, call);
    return MOSAIC_OK;
}

/* Runs the call on inputs of other sizes than out's, or that may share bytes with it. */
static mosaic_status apply_views(const mosaic_tensor *out, const char *op, mosaic_elementwise *call)
{
    mosaic_tensor view[3], copy[3] = {{0}};
    mosaic_status status = MOSAIC_OK;
    for (int i = 0; i < 3 && !status; i++) {
        if (!call->input[i]) continue;
        status = prepare_input(&view[i], &copy[i], out, call->input[i]);
        call->input[i] = &view[i];
    }
    if (!status) status = dispatch(out, op, call);
    for (int i = 0; i < 3; i++) mosaic_tensor_clear(&copy[i]);
    return status;
}

/* Can the device read the inputs as they are: out's sizes, no bytes shared with out? */
static bool fit(const mosaic_tensor *out, const mosaic_elementwise *call)
{
    for (int n = 0; n < 3; n++) {
        const mosaic_tensor *a = call->input[n];
        if (!a) continue;
        if (a->ndim != out->ndim || mosaic_overlaps(out, a)) return false;
        for (int i = 0; i < a->ndim; i++)
            if (a->size[i] != out->size[i]) return false;
    }
    return true;
}

/* Runs the call on its inputs, which broadcast to size, into out of dtype `result`. */
static mosaic_status apply(mosaic_tensor *out, const char *op, mosaic_dtype result, int ndim,
                           const int64_t *size, mosaic_elementwise *call)
{
    const mosaic_tensor *first = call->input[0] ? call->input[0] : call->input[1];
    MOSAIC_TRY(prepare_output(out, op, result, ndim, size, mosaic_device_of(first)));
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    return fit(out, call) ? dispatch(out, op, call) : apply_views(out, op, call);
}

/* Limits in order (NaN is in none), of integers whole ones: no integer is the nearest to 0.5. */
static mosaic_status check_clamp(const mosaic_tensor *a, double low, double high)
{
    bool whole = low == floor(low) && high == floor(high);
    MOSAIC_REQUIRE(low <= high, "clamp: no number is in [%g, %g]", low, high);
    MOSAIC_REQUIRE(whole || mosaic_dtype_is_float(a->dtype),
                   "clamp: min %g and max %g of %s must be integers", low, high,
                   mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

mosaic_status mosaic_unary(mosaic_tensor *out, const mosaic_tensor *a, mosaic_unary_op op,
                           double alpha, double beta)
{
    MOSAIC_REQUIRE((unsigned)op < MOSAIC_UNARY_COUNT, "unary: no operation %d", (int)op);
    MOSAIC_TRY(mosaic_check_operands(unary_names[op], a, NULL));
    if (op == MOSAIC_UNARY_CLAMP) MOSAIC_TRY(check_clamp(a, alpha, beta));
    result_kind kind = unary_kind(op);
    mosaic_dtype dtype = (mosaic_dtype)a->dtype;
    mosaic_elementwise call = {.family = MOSAIC_UNARY,
                               .op = (int)op,
                               .compute = compute_type(dtype, kind),
                               .alpha = alpha,
                               .beta = beta,
                               .input = {a}};
    return apply(out, unary_names[op], result_type(dtype, kind), a->ndim, a->size, &call);
}

mosaic_status mosaic_binary(mosaic_tensor *out, const mosaic_tensor *a, const mosaic_tensor *b,
                            mosaic_binary_op op, double alpha, double beta)
{
    MOSAIC_REQUIRE((unsigned)op < MOSAIC_BINARY_COUNT, "binary: no operation %d", (int)op);
    MOSAIC_TRY(mosaic_check_operands(binary_names[op], a, b));
    int ndim;
    int64_t size[MOSAIC_MAX_DIMS];
    MOSAIC_TRY(mosaic_broadcast(binary_names[op], &ndim, size, a, b));
    result_kind kind = binary_kind(op);
    mosaic_dtype dtype = mosaic_promote(a, b);
    mosaic_elementwise call = {.family = MOSAIC_BINARY,
                               .op = (int)op,
                               .compute = compute_type(dtype, kind),
                               .alpha = alpha,
                               .beta = beta,
                               .input = {a, b}};
    return apply(out, binary_names[op], result_type(dtype, kind), ndim, size, &call);
}

mosaic_status mosaic_binary_scalar(mosaic_tensor *out, const mosaic_tensor *a, double value,
                                   bool swapped, mosaic_binary_op op, double alpha, double beta)
{
    MOSAIC_REQUIRE((unsigned)op < MOSAIC_BINARY_COUNT, "binary: no operation %d", (int)op);
    MOSAIC_TRY(mosaic_check_operands(binary_names[op], a, NULL));
    if (op == MOSAIC_BINARY_POW && !swapped && value == 2)
        return mosaic_unary(out, a, MOSAIC_UNARY_SQUARE, 0, 0);
    result_kind kind = binary_kind(op);
    mosaic_dtype dtype = promote_number(a, value, kind);
    mosaic_elementwise call = {.family = MOSAIC_BINARY,
                               .op = (int)op,
                               .compute = compute_type(dtype, kind),
                               .alpha = alpha,
                               .beta = beta,
                               .value = value};
    call.input[swapped] = a;
    return apply(out, binary_names[op], result_type(dtype, kind), a->ndim, a->size, &call);
}

mosaic_status mosaic_ternary(mosaic_tensor *out, const mosaic_tensor *a, const mosaic_tensor *b,
                             const mosaic_tensor *c, mosaic_ternary_op op, double alpha)
{
    MOSAIC_REQUIRE((unsigned)op < MOSAIC_TERNARY_COUNT, "ternary: no operation %d", (int)op);
    const char *name = ternary_names[op];
    MOSAIC_TRY(mosaic_check_operands(name, a, b));
    MOSAIC_TRY(mosaic_check_operands(name, a, c));
    bool where = op == MOSAIC_TERNARY_WHERE;
    MOSAIC_REQUIRE(!where || a->dtype == MOSAIC_DTYPE_U8,
                   "where: the condition must be u8 (as comparisons give), got %s",
                   mosaic_tensor_describe(a));
    mosaic_tensor rest = {.storage = b->storage, .dtype = (int32_t)mosaic_promote(b, c)};
    MOSAIC_TRY(mosaic_broadcast(name, &rest.ndim, rest.size, b, c));
    int ndim;
    int64_t size[MOSAIC_MAX_DIMS];
    MOSAIC_TRY(mosaic_broadcast(name, &ndim, size, a, &rest));
    mosaic_dtype dtype = where ? (mosaic_dtype)rest.dtype : mosaic_promote(a, &rest);
    result_kind kind = where ? KEEPS : FLOATS;
    mosaic_elementwise call = {.family = MOSAIC_TERNARY,
                               .op = (int)op,
                               .compute = compute_type(dtype, kind),
                               .alpha = alpha,
                               .input = {a, b, c}};
    return apply(out, name, result_type(dtype, kind), ndim, size, &call);
}
