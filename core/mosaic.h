/* mosaic.h - the whole public C API of Mosaic, and the only source of the Lua bindings.
 *
 * The build preprocesses this file with -DMOSAIC_CDEF and embeds the text in libmosaic.so, where
 * lua/mosaic/ffi.lua reads it back: the library and its declarations cannot disagree. Hence no
 * macros, bit-fields, varargs or inline functions below the line that says so.
 *
 * Conventions. Outputs come first, then const inputs, then options. Sizes, strides and offsets are
 * int64_t and count elements unless a name says bytes. Axes are 0-based here (Lua's are 1-based).
 * Every fallible call returns a mosaic_status; the text with the offending values waits in
 * mosaic_last_error() of the same thread. The library never prints, exits or aborts.
 *
 * An output tensor whose storage is NULL is allocated by the call with the shape and dtype that the
 * operation implies; one that has a storage is written in place and must have that shape and dtype.
 * `new` and `retain` give a reference, `release` takes one, a view shares the storage. */
#ifndef MOSAIC_H
#define MOSAIC_H

#ifdef MOSAIC_CDEF
#define MOSAIC_API
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define MOSAIC_API __attribute__((visibility("default")))
#endif

/* ---- declarations only from here on ------------------------------------------------------- */

typedef enum {
    MOSAIC_OK = 0,
    MOSAIC_PENDING, /* not an error: a request that has not completed yet */
    MOSAIC_EINVAL,  /* the arguments do not fit together */
    MOSAIC_ENOMEM,  /* no memory, or over the limit */
    MOSAIC_ENOTSUP, /* this device, dtype or communicator cannot do that */
    MOSAIC_EIO,     /* a file cannot be read or written, or is malformed */
    MOSAIC_ECOMM,   /* a peer or the transport failed */
    MOSAIC_EDEVICE, /* a device failed, or is gone */
} mosaic_status;

MOSAIC_API const char *mosaic_last_error(void);
MOSAIC_API const char *mosaic_version(void);
MOSAIC_API const char *mosaic_isa(void); /* kernels in use, such as "avx2" */

/* Threads that one operation may use in this process; 1 <= count. The default is MOSAIC_THREADS,
 * else the cores that this process may run on divided by the ranks on this machine. */
MOSAIC_API mosaic_status mosaic_set_threads(int count);
MOSAIC_API int mosaic_threads(void);

/* ---- element types -------------------------------------------------------------------------- */

typedef enum {
    MOSAIC_DTYPE_F32,
    MOSAIC_DTYPE_F64,
    MOSAIC_DTYPE_BF16,
    MOSAIC_DTYPE_F16,
    MOSAIC_DTYPE_I32,
    MOSAIC_DTYPE_I64,
    MOSAIC_DTYPE_U8, /* also the truth values of comparisons and masks: 0 or 1 */
    MOSAIC_DTYPE_COUNT,
} mosaic_dtype;

MOSAIC_API const char *mosaic_dtype_name(mosaic_dtype dtype); /* "f32" ... */
MOSAIC_API int64_t mosaic_dtype_bytes(mosaic_dtype dtype);

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct mosaic_storage mosaic_storage; /* a counted block of bytes on one device */

/* Of one device. */
typedef struct {
    int64_t live_bytes;   /* held by tensors now */
    int64_t peak_bytes;   /* the most that was held since the last reset */
    int64_t cached_bytes; /* freed by tensors, kept for the next allocation */
    int64_t limit_bytes;  /* live_bytes never exceeds it */
    int64_t free_bytes;   /* of the device, used by nobody */
    int64_t allocations;  /* storages made so far */
} mosaic_memory_stats;

MOSAIC_API int64_t mosaic_memory_live(void); /* on all devices */
MOSAIC_API mosaic_status mosaic_memory_read(mosaic_memory_stats *stats, const char *device);
MOSAIC_API mosaic_status mosaic_memory_reset_peak(const char *device);
MOSAIC_API mosaic_status mosaic_memory_set_limit(int64_t bytes, const char *device);
MOSAIC_API void mosaic_memory_trim(void); /* give cached bytes back to the system */

/* Devices are named "cpu" (the same: NULL, ""), or by a family that a plug-in offers, with a number
 * or without: without one it is this process's own, by its local rank. */

/* The device's full name, "family:number" (for the CPU "cpu"); opens its plug-in on first use. */
MOSAIC_API mosaic_status mosaic_device_name(const char **full, const char *device);
/* How many of a family ("cpu": 1) this machine has; fails with the reason where there is none. */
MOSAIC_API mosaic_status mosaic_device_count(int *count, const char *family);

/* What a device is, for people. The texts last as long as the process. */
typedef struct {
    const char *name;    /* in full */
    const char *model;   /* as its maker calls it */
    const char *details; /* what its family finds worth telling, or "" */
    int64_t total_bytes;
} mosaic_device_info;

/* Of device `number` of a family; it is not opened. */
MOSAIC_API mosaic_status mosaic_device_describe(mosaic_device_info *info, const char *family,
                                                int number);

/* Waits until everything that was asked of the device is done. Operations on a device other than
 * the CPU return before they are done; an error of the device shows in this call, or the next. */
MOSAIC_API mosaic_status mosaic_synchronize(const char *device);

/* Accounts within the process, 0 to MOSAIC_MEMORY_ACCOUNTS - 1 (all other numbers mean 0), so that
 * virtual ranks know what each of them holds. A storage counts on the account that its thread had
 * opened last (0 at first). */
enum { MOSAIC_MEMORY_ACCOUNTS = 16384 };
MOSAIC_API void mosaic_memory_open_account(int account);
MOSAIC_API int64_t mosaic_memory_account_live(int account);
MOSAIC_API int64_t mosaic_memory_account_peak(int account);
MOSAIC_API void mosaic_memory_account_reset_peak(int account);

/* ---- tensors -------------------------------------------------------------------------------- */

enum { MOSAIC_MAX_DIMS = 8 };

/* A strided view of a storage. Zero-initialised it is "no tensor yet". The caller owns the struct;
 * mosaic_tensor_clear gives its reference to the storage back. */
typedef struct {
    mosaic_storage *storage;
    int64_t offset; /* of the first element */
    int32_t dtype;  /* mosaic_dtype */
    int32_t ndim;   /* 0 is a scalar */
    int64_t size[8];
    int64_t stride[8];
} mosaic_tensor;

MOSAIC_API mosaic_status mosaic_tensor_new(mosaic_tensor *out, mosaic_dtype dtype, int ndim,
                                           const int64_t *size, const char *device);
MOSAIC_API void mosaic_tensor_clear(mosaic_tensor *tensor);
MOSAIC_API const char *mosaic_tensor_device(const mosaic_tensor *a);
MOSAIC_API int64_t mosaic_tensor_numel(const mosaic_tensor *a);
MOSAIC_API bool mosaic_tensor_is_contiguous(const mosaic_tensor *a);
/* "f32 [4,5,6]", valid until the fourth next call in this thread */
MOSAIC_API const char *mosaic_tensor_describe(const mosaic_tensor *a);

/* Counts the in-place writes to the storage, so that a tape can tell that a saved value changed. */
MOSAIC_API int64_t mosaic_tensor_writes(const mosaic_tensor *a);
MOSAIC_API void mosaic_tensor_note_write(const mosaic_tensor *a);

/* Views: out shares a's storage. Errors: an axis, index or size out of range. */
MOSAIC_API mosaic_status mosaic_alias(mosaic_tensor *out, const mosaic_tensor *a);
/* Any sizes and strides within the storage; offset counts from the storage's first element. */
MOSAIC_API mosaic_status mosaic_as_strided(mosaic_tensor *out, const mosaic_tensor *a, int ndim,
                                           const int64_t *size, const int64_t *stride,
                                           int64_t offset);
/* One size may be -1 (inferred). Fails where the strides do not allow a view: copy first. */
MOSAIC_API mosaic_status mosaic_view(mosaic_tensor *out, const mosaic_tensor *a, int ndim,
                                     const int64_t *size);
MOSAIC_API mosaic_status mosaic_permute(mosaic_tensor *out, const mosaic_tensor *a, int ndim,
                                        const int *axes);
/* Elements start, start+step, ... of one axis, length of them; step >= 1. */
MOSAIC_API mosaic_status mosaic_slice(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                      int64_t start, int64_t length, int64_t step);
MOSAIC_API mosaic_status mosaic_select(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                       int64_t index);
/* Size-1 and missing leading axes repeat (stride 0). */
MOSAIC_API mosaic_status mosaic_expand(mosaic_tensor *out, const mosaic_tensor *a, int ndim,
                                       const int64_t *size);

/* Host access, checked: one element by its 0-based index, or all elements in row-major order
 * from/to a plain array of `count` values. Works for every device (it waits for the device). */
MOSAIC_API mosaic_status mosaic_tensor_get(double *value, const mosaic_tensor *a,
                                           const int64_t *index);
MOSAIC_API mosaic_status mosaic_tensor_set(const mosaic_tensor *a, const int64_t *index,
                                           double value);
MOSAIC_API mosaic_status mosaic_tensor_read_f64(double *values, const mosaic_tensor *a,
                                                int64_t count);
MOSAIC_API mosaic_status mosaic_tensor_write_f64(const mosaic_tensor *a, const double *values,
                                                 int64_t count);
/* The bytes of a contiguous tensor as they are; `bytes` is all of them. */
MOSAIC_API mosaic_status mosaic_tensor_read_bytes(void *to, const mosaic_tensor *a, int64_t bytes);
MOSAIC_API mosaic_status mosaic_tensor_write_bytes(const mosaic_tensor *a, const void *from,
                                                   int64_t bytes);

/* ---- elementwise ---------------------------------------------------------------------------- */

/* out <- a, converting dtype; out must exist (any strides, any device); a broadcasts. Floats to
 * integers truncate toward zero. */
MOSAIC_API mosaic_status mosaic_copy(mosaic_tensor *out, const mosaic_tensor *a);
/* A new contiguous tensor with a's values and the given dtype, on the given device (NULL: a's). */
MOSAIC_API mosaic_status mosaic_convert(mosaic_tensor *out, const mosaic_tensor *a,
                                        mosaic_dtype dtype, const char *device);
MOSAIC_API mosaic_status mosaic_fill(mosaic_tensor *out, double value);

/* The dtype that a and b have in common (PyTorch's rule: floats win over integers, wider over
 * narrower, bf16 with f16 gives f32; a scalar gives way to a tensor of its own kind). */
MOSAIC_API mosaic_dtype mosaic_promote(const mosaic_tensor *a, const mosaic_tensor *b);

/* One element in, one out; operands broadcast. An operation on integers gives integers where that
 * makes sense (neg, abs, clamp ...), else f32; predicates give u8. Half types compute in f32. `out`
 * may be an operand itself: that is the in-place form, which keeps out's dtype. */
typedef enum {
    MOSAIC_UNARY_NEG, /* integers stay integers from here */
    MOSAIC_UNARY_ABS,
    MOSAIC_UNARY_SIGN,
    MOSAIC_UNARY_SQUARE,
    MOSAIC_UNARY_RELU,
    MOSAIC_UNARY_CLAMP, /* to [alpha, beta] */
    MOSAIC_UNARY_FLOOR,
    MOSAIC_UNARY_CEIL,
    MOSAIC_UNARY_ROUND,      /* half to even */
    MOSAIC_UNARY_RECIPROCAL, /* floats from here */
    MOSAIC_UNARY_SQRT,
    MOSAIC_UNARY_RSQRT,
    MOSAIC_UNARY_EXP,
    MOSAIC_UNARY_EXPM1,
    MOSAIC_UNARY_LOG,
    MOSAIC_UNARY_LOG2,
    MOSAIC_UNARY_LOG1P,
    MOSAIC_UNARY_SIN,
    MOSAIC_UNARY_COS,
    MOSAIC_UNARY_TANH,
    MOSAIC_UNARY_SIGMOID,
    MOSAIC_UNARY_ERF,
    MOSAIC_UNARY_GELU,      /* x Phi(x), by erf */
    MOSAIC_UNARY_GELU_TANH, /* its tanh approximation */
    MOSAIC_UNARY_SILU,
    MOSAIC_UNARY_SOFTPLUS,   /* log(1 + exp(alpha x)) / alpha */
    MOSAIC_UNARY_ELU,        /* beta (x > 0 ? x : alpha (exp(x) - 1)) */
    MOSAIC_UNARY_LEAKY_RELU, /* x > 0 ? x : alpha x */
    MOSAIC_UNARY_ISNAN,      /* predicates from here */
    MOSAIC_UNARY_ISFINITE,
    MOSAIC_UNARY_LOGICAL_NOT,
    MOSAIC_UNARY_COUNT,
} mosaic_unary_op;

typedef enum {
    MOSAIC_BINARY_ADD, /* a + alpha b */
    MOSAIC_BINARY_SUB, /* a - alpha b */
    MOSAIC_BINARY_MUL,
    MOSAIC_BINARY_DIV, /* of integers: f32 */
    MOSAIC_BINARY_POW,
    MOSAIC_BINARY_MAXIMUM, /* NaN wins */
    MOSAIC_BINARY_MINIMUM,
    MOSAIC_BINARY_FLOOR_DIVIDE, /* integers: x // 0 = 0 */
    MOSAIC_BINARY_REMAINDER,    /* Lua's %: the divisor's sign; integers: x % 0 = x */
    MOSAIC_BINARY_TANH_GRAD,    /* (gradient, result): floats from here */
    MOSAIC_BINARY_SIGMOID_GRAD,
    MOSAIC_BINARY_RELU_GRAD,
    MOSAIC_BINARY_CLAMP_GRAD, /* (gradient, argument) from here */
    MOSAIC_BINARY_GELU_GRAD,
    MOSAIC_BINARY_GELU_TANH_GRAD,
    MOSAIC_BINARY_SILU_GRAD,
    MOSAIC_BINARY_SOFTPLUS_GRAD,
    MOSAIC_BINARY_ELU_GRAD,
    MOSAIC_BINARY_LEAKY_RELU_GRAD,
    MOSAIC_BINARY_EQ, /* predicates from here */
    MOSAIC_BINARY_NE,
    MOSAIC_BINARY_LT,
    MOSAIC_BINARY_LE,
    MOSAIC_BINARY_GT,
    MOSAIC_BINARY_GE,
    MOSAIC_BINARY_LOGICAL_AND,
    MOSAIC_BINARY_LOGICAL_OR,
    MOSAIC_BINARY_LOGICAL_XOR,
    MOSAIC_BINARY_COUNT,
} mosaic_binary_op;

typedef enum {
    MOSAIC_TERNARY_WHERE,   /* a ? b : c, where a is u8 */
    MOSAIC_TERNARY_LERP,    /* a + c (b - a) */
    MOSAIC_TERNARY_ADDCMUL, /* a + alpha b c */
    MOSAIC_TERNARY_ADDCDIV, /* a + alpha b / c */
    MOSAIC_TERNARY_COUNT,
} mosaic_ternary_op;

MOSAIC_API mosaic_status mosaic_unary(mosaic_tensor *out, const mosaic_tensor *a,
                                      mosaic_unary_op op, double alpha, double beta);
MOSAIC_API mosaic_status mosaic_binary(mosaic_tensor *out, const mosaic_tensor *a,
                                       const mosaic_tensor *b, mosaic_binary_op op, double alpha,
                                       double beta);
/* With a number in place of b (of a, when swapped). The number never changes a float dtype; an
 * integer tensor with a fraction gives f32. */
MOSAIC_API mosaic_status mosaic_binary_scalar(mosaic_tensor *out, const mosaic_tensor *a,
                                              double value, bool swapped, mosaic_binary_op op,
                                              double alpha, double beta);
MOSAIC_API mosaic_status mosaic_ternary(mosaic_tensor *out, const mosaic_tensor *a,
                                        const mosaic_tensor *b, const mosaic_tensor *c,
                                        mosaic_ternary_op op, double alpha);

/* ---- reductions ----------------------------------------------------------------------------- */

/* Floats keep their dtype, and halves are summed in f32. Sums run in blocks whose totals are
 * collected in f64, in an order that depends on the sizes only. */
typedef enum {
    MOSAIC_REDUCE_SUM, /* of integers: i64 */
    MOSAIC_REDUCE_PROD,
    MOSAIC_REDUCE_MIN, /* NaN wins; an error over no elements */
    MOSAIC_REDUCE_MAX,
    MOSAIC_REDUCE_ANY, /* u8: is one of them not 0? */
    MOSAIC_REDUCE_ALL,
    MOSAIC_REDUCE_MEAN, /* of integers: f32 from here */
    MOSAIC_REDUCE_VAR,  /* divided by the count less `correction` */
    MOSAIC_REDUCE_NORM, /* sqrt of the sum of squares */
    MOSAIC_REDUCE_LOGSUMEXP,
    MOSAIC_REDUCE_COUNT,
} mosaic_reduce_op;

/* Over the axes whose bit is set in `axes`; they disappear, or stay with size 1 when keepdim. */
MOSAIC_API mosaic_status mosaic_reduce(mosaic_tensor *out, const mosaic_tensor *a,
                                       mosaic_reduce_op op, unsigned axes, bool keepdim,
                                       double correction);

/* Values and 1-based indices (i64) of the smallest (largest) elements along one axis: the first of
 * equals, or the first NaN. values may be NULL. Fails on an axis without elements. */
MOSAIC_API mosaic_status mosaic_arg_reduce(mosaic_tensor *values, mosaic_tensor *indices,
                                           const mosaic_tensor *a, bool largest, int axis,
                                           bool keepdim);

/* ---- random numbers ------------------------------------------------------------------------- */

typedef enum {
    MOSAIC_RANDOM_UNIFORM, /* [low, high) */
    MOSAIC_RANDOM_NORMAL,  /* mean low, deviation high */
    MOSAIC_RANDOM_INTEGER, /* low ... high, both included, whole numbers below 2^53 */
} mosaic_random_kind;

/* Overwrites out. Philox4x32-10 with key `seed`: element i of stream `stream` depends on those
 * three only, where i counts the elements of a whole tensor in row-major order. By default that is
 * out itself; `whole` gives the sizes of a larger one of out's ndim, in which out's index j of an
 * axis stands at offset + j * step (0-based; offset and step may be NULL: 0 and 1). */
MOSAIC_API mosaic_status mosaic_random(mosaic_tensor *out, mosaic_random_kind kind, double low,
                                       double high, uint64_t seed, uint64_t stream,
                                       const int64_t *whole, const int64_t *offset,
                                       const int64_t *step);
/* Overwrites out, i64 (n), with the numbers 1..n in random order. */
MOSAIC_API mosaic_status mosaic_random_permutation(mosaic_tensor *out, uint64_t seed,
                                                   uint64_t stream);

/* ---- files ---------------------------------------------------------------------------------- */

/* Bytes that belong to somebody else; not necessarily NUL-terminated. */
typedef struct {
    const char *data;
    int64_t bytes;
} mosaic_text;

/* A file being replaced: readers see the old content until commit, which makes the new content
 * durable. release without commit leaves the old file as it was. */
typedef struct mosaic_file mosaic_file;
MOSAIC_API mosaic_status mosaic_file_new(mosaic_file **file, const char *path);
MOSAIC_API mosaic_status mosaic_file_append(mosaic_file *file, const void *data, int64_t bytes);
MOSAIC_API mosaic_status mosaic_file_commit(mosaic_file *file);
MOSAIC_API void mosaic_file_release(mosaic_file *file); /* NULL is fine */

/* safetensors. Opening reads and checks the whole header; the data are read tensor by tensor.
 * Texts live as long as the open file. Indices i count from 0, tensors in order of their data. */
typedef struct mosaic_safetensors mosaic_safetensors;
typedef struct {
    mosaic_text name;
    const char *dtype; /* as the file says: "F32" */
    int32_t ndim;
    int64_t size[8];
} mosaic_safetensors_info;
MOSAIC_API mosaic_status mosaic_safetensors_open(mosaic_safetensors **file, const char *path);
MOSAIC_API void mosaic_safetensors_release(mosaic_safetensors *file); /* NULL is fine */
MOSAIC_API int64_t mosaic_safetensors_count(const mosaic_safetensors *file);
MOSAIC_API int64_t mosaic_safetensors_metadata_count(const mosaic_safetensors *file);
MOSAIC_API mosaic_status mosaic_safetensors_describe(mosaic_safetensors_info *info,
                                                     const mosaic_safetensors *file, int64_t i);
MOSAIC_API mosaic_status mosaic_safetensors_metadata(mosaic_text *key, mosaic_text *value,
                                                     const mosaic_safetensors *file, int64_t i);
/* `rows` rows of tensor i's first axis from row `first` on (rows < 0: all that follow), as a new
 * CPU tensor. BOOL becomes u8. */
MOSAIC_API mosaic_status mosaic_safetensors_read(mosaic_tensor *out, const mosaic_safetensors *file,
                                                 int64_t i, int64_t first, int64_t rows);
/* Replaces the file. The bytes depend on the content only: large elements first, then by name. */
MOSAIC_API mosaic_status mosaic_safetensors_save(const char *path, int64_t count,
                                                 const mosaic_text *names,
                                                 const mosaic_tensor *const *tensors,
                                                 int64_t metadata_count, const mosaic_text *keys,
                                                 const mosaic_text *values);

/* CSV tables. Reading takes two calls: open finds the wanted rows and the names, parse reads the
 * cells. Rows count from 0, the header not included, and from the first wanted row on. The texts of
 * a table live as long as it does, that of a cell until the next call with this table. */
typedef struct mosaic_csv mosaic_csv;
typedef struct {
    int32_t delimiter;          /* ',' */
    bool header;                /* the first row holds the names */
    const mosaic_text *missing; /* cells that mean "missing", besides the empty one */
    int64_t missing_count;
    int64_t first; /* the first wanted row */
    int64_t rows;  /* how many; < 0: all that follow */
} mosaic_csv_options;
MOSAIC_API mosaic_status mosaic_csv_open(mosaic_csv **table, const char *path,
                                         const mosaic_csv_options *options);
MOSAIC_API void mosaic_csv_release(mosaic_csv *table); /* NULL is fine */
/* Rows of the file; scans, parses nothing. */
MOSAIC_API mosaic_status mosaic_csv_count(int64_t *rows, const char *path, bool header);
MOSAIC_API int64_t mosaic_csv_rows(const mosaic_csv *table);
MOSAIC_API int64_t mosaic_csv_columns(const mosaic_csv *table);
MOSAIC_API mosaic_text mosaic_csv_name(const mosaic_csv *table, int64_t column);
/* Checks every wanted row, and reads the numbers of the given columns. */
MOSAIC_API mosaic_status mosaic_csv_parse(mosaic_csv *table, const int64_t *columns, int64_t count);
/* Is every cell of a parsed column, in the wanted rows, a number or missing? */
MOSAIC_API bool mosaic_csv_is_numeric(const mosaic_csv *table, int64_t column);
/* A new f64 tensor (rows, count) of numeric columns; NaN where a cell is missing. */
MOSAIC_API mosaic_status mosaic_csv_numeric(mosaic_tensor *out, const mosaic_csv *table,
                                            const int64_t *columns, int64_t count);
MOSAIC_API mosaic_status mosaic_csv_cell(mosaic_text *text, bool *missing, mosaic_csv *table,
                                         int64_t row, int64_t column);

/* NumPy arrays: .npy of version 1 to 3 with f2 f4 f8 i4 i8 u1 b1 (becomes u8), little-endian. An
 * array in Fortran's order becomes a view with such strides. Reads `rows` rows of the first axis
 * from row `first` on; rows < 0: all that follow. */
MOSAIC_API mosaic_status mosaic_npy_read(mosaic_tensor *out, const char *path, int64_t first,
                                         int64_t rows);
MOSAIC_API mosaic_status mosaic_npy_save(const char *path, const mosaic_tensor *a);

/* ---- programs -------------------------------------------------------------------------------- */

/* What a user's function of scores or keys computes, as steps over registers of doubles. Conditions
 * are 1 and 0. */
typedef enum {
    MOSAIC_PROGRAM_CONSTANT, /* value */
    MOSAIC_PROGRAM_SCORE,
    MOSAIC_PROGRAM_BATCH, /* global numbers, from 1 */
    MOSAIC_PROGRAM_HEAD,
    MOSAIC_PROGRAM_QUERY,
    MOSAIC_PROGRAM_KEY,
    MOSAIC_PROGRAM_LOOKUP, /* element a (from 1; else any) of table number value (from 0) */
    MOSAIC_PROGRAM_WITHIN, /* is a one of 1, 2, .. b? */
    MOSAIC_PROGRAM_NEG,
    MOSAIC_PROGRAM_ABS,
    MOSAIC_PROGRAM_FLOOR,
    MOSAIC_PROGRAM_CEIL,
    MOSAIC_PROGRAM_SQRT,
    MOSAIC_PROGRAM_EXP,
    MOSAIC_PROGRAM_LOG,
    MOSAIC_PROGRAM_TANH,
    MOSAIC_PROGRAM_SIN,
    MOSAIC_PROGRAM_COS,
    MOSAIC_PROGRAM_NOT,
    MOSAIC_PROGRAM_ADD,
    MOSAIC_PROGRAM_SUB,
    MOSAIC_PROGRAM_MUL,
    MOSAIC_PROGRAM_DIV,
    MOSAIC_PROGRAM_MOD, /* a - floor(a / b) b */
    MOSAIC_PROGRAM_POW,
    MOSAIC_PROGRAM_MIN,
    MOSAIC_PROGRAM_MAX,
    MOSAIC_PROGRAM_LT,
    MOSAIC_PROGRAM_LE,
    MOSAIC_PROGRAM_EQ,
    MOSAIC_PROGRAM_AND,
    MOSAIC_PROGRAM_OR,
    MOSAIC_PROGRAM_SELECT, /* a != 0 ? b : c */
    MOSAIC_PROGRAM_OPS,
} mosaic_program_op;

typedef struct {
    int32_t op;
    int32_t to, a, b, c; /* registers; `to` is none of those that the step reads */
    bool varies;         /* between the keys of one query */
    double value;
} mosaic_program_step;

/* Steps 0 .. value_count - 1 compute result and valid: whether every lookup that counts for the
 * result is inside of its table. All steps compute slope too: d result / d score. */
typedef struct {
    int32_t count, value_count, registers;
    int32_t result, valid, slope; /* registers; slope -1: there is none */
    const mosaic_program_step *steps;
    int32_t table_count;
    const mosaic_tensor *const *tables; /* f64, one dim, contiguous, not empty */
} mosaic_program;

typedef enum { MOSAIC_PROGRAM_NONE, MOSAIC_PROGRAM_SOME, MOSAIC_PROGRAM_ALL } mosaic_program_extent;

/* What a program lets through where batch, head, query and key are low[n]..high[n]: surely nothing
 * (its result is 0, or minus infinity for a program with a slope), surely everything (no such
 * program with a slope), or something between. */
MOSAIC_API mosaic_status mosaic_program_range(mosaic_program_extent *extent,
                                              const mosaic_program *program, const double *low,
                                              const double *high);

/* ---- attention ------------------------------------------------------------------------------- */

/* Which keys a query sees, and what is added to their scores. All entries combine: a key is seen
 * when every one of them allows it. Positions are global row numbers, from 1. */
typedef struct {
    double scale;                     /* of the products q.k */
    bool causal;                      /* k_position <= q_position */
    int64_t window_left;              /* q_position - left <= k_position; -1: no limit */
    int64_t window_right;             /* k_position <= q_position + right; -1: no limit */
    int64_t prefix;                   /* k_position <= prefix; -1: no limit */
    const mosaic_tensor *q_positions; /* i64 (nq); NULL: 1..nq */
    const mosaic_tensor *k_positions; /* i64 (nk); NULL: 1..nk */
    const mosaic_tensor *q_documents; /* i64 (nq) or (batch..., nq): equal ids see each other */
    const mosaic_tensor *k_documents; /* i64 (nk) or (batch..., nk); both or neither */
    const mosaic_tensor *alibi;       /* (heads): -slope (q_position - k_position) is added */
    const mosaic_tensor *keep;        /* u8, broadcasts to (batch..., heads, nq, nk) */
    const mosaic_tensor *bias;        /* float, likewise; added to the scores */
    const mosaic_program *score;      /* with a slope: from score + bias to the score; or NULL */
    const mosaic_program *keep_if;    /* without: nonzero means attend; or NULL */
    double dropout; /* 0 <= p < 1: a probability is 0 with chance p, else divided by 1 - p, after
                     * the sum: lse knows nothing of it. Which ones is decided by the seed and by
                     * the pair's batch entry, head and positions in the whole, modulo 2^32 each. */
    uint64_t dropout_seed;
    /* Where this call's heads and batch entries lie in a whole that is spread over ranks: what is
     * asked for by (batch, head, query position, key position) gets the numbers of the whole. Entry
     * (b0, b1) of two batch axes is number (batch_from[0] + b0) batch_total + batch_from[1] + b1;
     * fewer axes are the last ones. */
    int64_t head_from;     /* of the first query head here */
    int64_t batch_from[2]; /* of the first index here along each batch axis */
    int64_t batch_total;   /* size of the whole last batch axis; 0: as large as here */
} mosaic_attention_options;

/* q (batch..., heads, nq, d), k and v (batch..., kv_heads, nk, d) -> out like q, lse without d: the
 * natural logarithm of the sum of the exponentials of the scores. 0 to 2 batch axes, any strides,
 * heads a multiple of kv_heads, d 1..256. A query that sees no key gets out 0 and lse -infinity.
 * out is f64 for f64 operands and f32 otherwise; lse is always f64, because every probability of
 * the row inherits its error (f32 keeps a sum of 100 to 4e-6 only). */
MOSAIC_API mosaic_status mosaic_attention(mosaic_tensor *out, mosaic_tensor *lse,
                                          const mosaic_tensor *q, const mosaic_tensor *k,
                                          const mosaic_tensor *v,
                                          const mosaic_attention_options *options);

/* Would these operands fit together? Reads and makes nothing. */
MOSAIC_API mosaic_status mosaic_attention_check(const mosaic_tensor *q, const mosaic_tensor *k,
                                                const mosaic_tensor *v,
                                                const mosaic_attention_options *options);

/* Pairs (batch entry, head, query, key) that calls of mosaic_attention, and of its backward, have
 * worked on since the account began or was reset. A call counts on the account that is open, see
 * mosaic_memory_open_account. The counts depend on the arguments of the calls, not on the number of
 * threads. */
typedef struct {
    int64_t visible; /* that the masks let through: what the mathematics asks for */
    int64_t
        computed; /* in the tiles that could not be skipped, whose size depends on the kernels */
} mosaic_attention_work;

/* work[0]: forward, work[1]: backward, on all devices, which are waited for. */
MOSAIC_API mosaic_status mosaic_attention_work_read(mosaic_attention_work *work, int account);
MOSAIC_API mosaic_status mosaic_attention_work_reset(int account);

/* delta = sum over d of dout * out, less dlse (f64; NULL: no gradient of lse); of out's dtype. */
MOSAIC_API mosaic_status mosaic_attention_delta(mosaic_tensor *delta, const mosaic_tensor *dout,
                                                const mosaic_tensor *out,
                                                const mosaic_tensor *dlse);

/* The gradients of the keys' share of a result whose final lse and delta are given; the keys may be
 * one block of many. dq, dk, dv (and dbias, unless NULL, which has the bias's sizes) are f64 for
 * f64 operands and f32 otherwise; `accumulate` adds to what they hold, and then they must exist. */
MOSAIC_API mosaic_status mosaic_attention_backward(
    mosaic_tensor *dq, mosaic_tensor *dk, mosaic_tensor *dv, mosaic_tensor *dbias,
    const mosaic_tensor *dout, const mosaic_tensor *lse, const mosaic_tensor *delta,
    const mosaic_tensor *q, const mosaic_tensor *k, const mosaic_tensor *v,
    const mosaic_attention_options *options, bool accumulate);

/* Joins the results of the same queries against two sets of keys; out may be out1, lse lse1. */
MOSAIC_API mosaic_status mosaic_attention_merge(mosaic_tensor *out, mosaic_tensor *lse,
                                                const mosaic_tensor *out1,
                                                const mosaic_tensor *lse1,
                                                const mosaic_tensor *out2,
                                                const mosaic_tensor *lse2);

/* out, lse: the merged result. dlse NULL: no gradient of lse. */
MOSAIC_API mosaic_status mosaic_attention_merge_backward(
    mosaic_tensor *dout1, mosaic_tensor *dlse1, mosaic_tensor *dout2, mosaic_tensor *dlse2,
    const mosaic_tensor *dout, const mosaic_tensor *dlse, const mosaic_tensor *out1,
    const mosaic_tensor *lse1, const mosaic_tensor *out2, const mosaic_tensor *lse2);

/* ---- linear algebra ------------------------------------------------------------------------- */

/* out (..., m, n) <- a (..., m, k) b (..., k, n). Leading axes broadcast. A vector a is a row, a
 * vector b a column; the axis added for it is not in out. One dtype; bf16 and f16 are summed in
 * f32. out shares no storage with a or b. */
MOSAIC_API mosaic_status mosaic_matmul(mosaic_tensor *out, const mosaic_tensor *a,
                                       const mosaic_tensor *b);
/* out (..., n) <- x (..., k) weight (n, k) transposed + bias (n); bias may be NULL. */
MOSAIC_API mosaic_status mosaic_linear(mosaic_tensor *out, const mosaic_tensor *x,
                                       const mosaic_tensor *weight, const mosaic_tensor *bias);
/* out (..., n) <- GELU of product (..., n) <- linear(x, weight, bias), which its gradient needs;
 * gelu: MOSAIC_UNARY_GELU or MOSAIC_UNARY_GELU_TANH. */
MOSAIC_API mosaic_status mosaic_linear_gelu(mosaic_tensor *out, mosaic_tensor *product,
                                            const mosaic_tensor *x, const mosaic_tensor *weight,
                                            const mosaic_tensor *bias, mosaic_unary_op gelu);

/* dx (..., k) <- g (..., n) weight (n, k) + sum (..., k), the gradient of linear's x, added to one
 * that is there already; sum may be NULL. */
MOSAIC_API mosaic_status mosaic_linear_backward(mosaic_tensor *dx, const mosaic_tensor *g,
                                                const mosaic_tensor *weight,
                                                const mosaic_tensor *sum);
/* dproduct (..., k) <- g (..., n) weight (n, k), times the derivative of GELU at product (..., k):
 * back through a linear and the GELU before it. gelu: as in linear_gelu. */
MOSAIC_API mosaic_status mosaic_linear_gelu_backward(mosaic_tensor *dproduct,
                                                     const mosaic_tensor *g,
                                                     const mosaic_tensor *weight,
                                                     const mosaic_tensor *product,
                                                     mosaic_unary_op gelu);
/* The gradients of linear's parameters: dweight (n, k) <- g (rows, n) transposed x (rows, k),
 * dbias (n) <- the sums of g's columns. Floats. */
MOSAIC_API mosaic_status mosaic_linear_gradients(mosaic_tensor *dweight, mosaic_tensor *dbias,
                                                 const mosaic_tensor *g, const mosaic_tensor *x);

/* How devices with units for it multiply f32: in f32, or as TF32, operands rounded to 11 bits and
 * summed in f32. F32 by default, with MOSAIC_TF32=1 in the environment TF32. */
typedef enum { MOSAIC_PRECISION_F32, MOSAIC_PRECISION_TF32 } mosaic_precision;
MOSAIC_API void mosaic_set_matmul_precision(mosaic_precision precision);
MOSAIC_API mosaic_precision mosaic_matmul_precision(void);

/* ---- rows: softmax, layer_norm -------------------------------------------------------------- */

/* exp(a) / sum(exp(a)) along one axis, and its logarithm. A slice of nothing but -inf gives NaN. */
MOSAIC_API mosaic_status mosaic_softmax(mosaic_tensor *out, const mosaic_tensor *a, int axis);
MOSAIC_API mosaic_status mosaic_log_softmax(mosaic_tensor *out, const mosaic_tensor *a, int axis);
/* From the gradient g of the result y to that of the argument. */
MOSAIC_API mosaic_status mosaic_softmax_backward(mosaic_tensor *dx, const mosaic_tensor *g,
                                                 const mosaic_tensor *y, int axis);
MOSAIC_API mosaic_status mosaic_log_softmax_backward(mosaic_tensor *dx, const mosaic_tensor *g,
                                                     const mosaic_tensor *y, int axis);

/* Over the last axis (n): (x - mean) / sqrt(variance + eps) * weight + bias with the biased
 * variance; x / sqrt(mean(x^2) + eps) * weight. weight (n) and bias (n) may be NULL. stats, a new
 * tensor, gets x's sizes with 2 in place of n (f64 for f64, else f32); backward needs it. */
MOSAIC_API mosaic_status mosaic_layer_norm(mosaic_tensor *out, mosaic_tensor *stats,
                                           const mosaic_tensor *x, const mosaic_tensor *weight,
                                           const mosaic_tensor *bias, double eps);
MOSAIC_API mosaic_status mosaic_rms_norm(mosaic_tensor *out, mosaic_tensor *stats,
                                         const mosaic_tensor *x, const mosaic_tensor *weight,
                                         double eps);
/* layer_norm of sum = x + y, as a residual block ends; x and y have the same sizes. */
MOSAIC_API mosaic_status mosaic_add_layer_norm(mosaic_tensor *out, mosaic_tensor *sum,
                                               mosaic_tensor *stats, const mosaic_tensor *x,
                                               const mosaic_tensor *y, const mosaic_tensor *weight,
                                               const mosaic_tensor *bias, double eps);
/* Gradients that are not wanted are NULL; so is the weight where there was none. */
MOSAIC_API mosaic_status mosaic_layer_norm_backward(mosaic_tensor *dx, mosaic_tensor *dweight,
                                                    mosaic_tensor *dbias, const mosaic_tensor *g,
                                                    const mosaic_tensor *x,
                                                    const mosaic_tensor *weight,
                                                    const mosaic_tensor *stats);
MOSAIC_API mosaic_status mosaic_rms_norm_backward(mosaic_tensor *dx, mosaic_tensor *dweight,
                                                  const mosaic_tensor *g, const mosaic_tensor *x,
                                                  const mosaic_tensor *weight,
                                                  const mosaic_tensor *stats);

typedef enum {
    MOSAIC_REDUCTION_NONE,
    MOSAIC_REDUCTION_SUM,
    MOSAIC_REDUCTION_MEAN, /* over the rows that are not ignored; NaN when there is none */
} mosaic_reduction;

/* -log_softmax(logits)[target] of each row: logits (..., k), targets (...) i64 in 1..k, where rows
 * whose target is `ignore` (INT64_MIN: none) count nothing. loss is a scalar, without reduction
 * (...), f64 for f64, else f32. stats, a new tensor, is for backward. */
MOSAIC_API mosaic_status mosaic_cross_entropy(mosaic_tensor *loss, mosaic_tensor *stats,
                                              const mosaic_tensor *logits,
                                              const mosaic_tensor *targets,
                                              mosaic_reduction reduction, int64_t ignore);
MOSAIC_API mosaic_status mosaic_cross_entropy_backward(mosaic_tensor *dlogits,
                                                       const mosaic_tensor *g,
                                                       const mosaic_tensor *logits,
                                                       const mosaic_tensor *targets,
                                                       const mosaic_tensor *stats,
                                                       mosaic_reduction reduction, int64_t ignore);

/* A step of schedule-free AdamW on a parameter y, with its z and its mean of squares; g is the
 * gradient, of the same sizes as all. With beta that mean's and the correction of its start:
 *   square = beta square + (1 - beta) g^2;  h = g / (sqrt(square / correction) + eps) + decay y
 *   y += share (z - y) + ahead h;  z -= lr h */
typedef struct {
    double beta, correction, eps, decay, share, ahead, lr;
} mosaic_schedule_free_options;

MOSAIC_API mosaic_status mosaic_schedule_free(mosaic_tensor *y, mosaic_tensor *z,
                                              mosaic_tensor *square, const mosaic_tensor *g,
                                              const mosaic_schedule_free_options *options);

/* ---- rows as bytes -------------------------------------------------------------------------- */

/* Rows of floats with a byte per element and a scale per row, for messages. */
typedef enum {
    MOSAIC_ROW_FP8,  /* e4m3: sign, 4 bits of exponent, 3 of mantissa; the scale a power of two */
    MOSAIC_ROW_INT8, /* -127 ... 127; the scale is the largest magnitude over 127, rounded up to 17
                        bits, of bf16 and f16 to a power of two */
} mosaic_row_format;

enum { MOSAIC_ROW_SCALE_BYTES = 4 };

/* payload u8 (..., d + 4) <- the rows of x (..., d): d bytes, then the scale (f32). Each value is
 * the nearest that scale times a byte's number can be, of two the even one. Decoded rows are exact
 * in the dtype that x had, and encode to the bytes that they came from. A row holds finite numbers
 * of at most 2^127 (f16: 61440), otherwise it fails and names the row; scales are at least 2^-126.
 */
MOSAIC_API mosaic_status mosaic_quantize(mosaic_tensor *payload, const mosaic_tensor *x,
                                         mosaic_row_format format);
MOSAIC_API mosaic_status mosaic_dequantize(mosaic_tensor *out, const mosaic_tensor *payload,
                                           mosaic_row_format format, mosaic_dtype dtype);

/* ---- joining, indexing, order --------------------------------------------------------------- */

/* The parts side by side along axis; they differ in its size at most. */
MOSAIC_API mosaic_status mosaic_cat(mosaic_tensor *out, int count,
                                    const mosaic_tensor *const *parts, int axis);

/* Index tensors are i64 and count from 1; an index out of range fails and names its position.
 * gather: out[i][j] = a[index[i][j]][j] for axis 0, and so on; index has a's ndim and is not larger
 * outside axis. scatter and scatter_add: out[index[i][j]][j] = source[i][j], or +=; of several
 * values for one place scatter keeps the last. Sums are made in the order of the index. */
MOSAIC_API mosaic_status mosaic_gather(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                       const mosaic_tensor *index);
MOSAIC_API mosaic_status mosaic_scatter(mosaic_tensor *out, int axis, const mosaic_tensor *index,
                                        const mosaic_tensor *source);
MOSAIC_API mosaic_status mosaic_scatter_add(mosaic_tensor *out, int axis,
                                            const mosaic_tensor *index,
                                            const mosaic_tensor *source);
/* Whole slices along axis: out[.., i, ..] = a[.., index[i], ..], out[.., index[i], ..] +=
 * source[.., i, ..]. */
MOSAIC_API mosaic_status mosaic_index_select(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                             const mosaic_tensor *index);
MOSAIC_API mosaic_status mosaic_index_add(mosaic_tensor *out, int axis, const mosaic_tensor *index,
                                          const mosaic_tensor *source);
/* out (..., n) <- the rows of weight (m, n) that index (...) names. */
MOSAIC_API mosaic_status mosaic_embedding(mosaic_tensor *out, const mosaic_tensor *weight,
                                          const mosaic_tensor *index);

/* Stable, NaN last in either direction; indices (i64, from 1) say where the values came from. */
MOSAIC_API mosaic_status mosaic_sort(mosaic_tensor *values, mosaic_tensor *indices,
                                     const mosaic_tensor *a, int axis, bool descending);
/* The `count` largest (or smallest), in order. */
MOSAIC_API mosaic_status mosaic_topk(mosaic_tensor *values, mosaic_tensor *indices,
                                     const mosaic_tensor *a, int axis, int64_t count, bool largest);
/* Running sums from the first element on, or from the last one backwards. */
MOSAIC_API mosaic_status mosaic_cumsum(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                       bool backwards);

/* ---- tracing -------------------------------------------------------------------------------- */

/* What this process did when: operations, messages, host copies, and spans of its own. */
typedef enum {
    MOSAIC_TRACE_HOST,    /* this thread: spans, waiting, and asking a device */
    MOSAIC_TRACE_COMPUTE, /* operations of a device */
    MOSAIC_TRACE_COMM, /* messages, from their start until they are complete, and work for them */
} mosaic_trace_row;

/* The texts last until the trace is started again. */
typedef struct {
    const char *name;   /* "matmul" */
    const char *text;   /* "f32 [64,64]", or "" */
    const char *device; /* "" for what is the host's */
    mosaic_trace_row row;
    int account;       /* as of memory: which virtual rank */
    double begin, end; /* seconds of mosaic_trace_clock; end is NaN where it has not ended */
} mosaic_trace_event;

/* What was recorded before is forgotten. path (NULL: none): a file that keeps the events, however
 * this process ends; `zero` is for who reads it. */
MOSAIC_API mosaic_status mosaic_trace_start(const char *path, double zero);
MOSAIC_API void mosaic_trace_stop(void);
/* The events are those of such a file, in the place of what was recorded; out: its zero. */
MOSAIC_API mosaic_status mosaic_trace_load(const char *path, double *zero);
MOSAIC_API bool mosaic_trace_is_on(void);
MOSAIC_API int64_t mosaic_trace_count(void);
MOSAIC_API int64_t mosaic_trace_dropped(void); /* events for which there was no room */
/* Waits for the device where it has to. */
MOSAIC_API mosaic_status mosaic_trace_read(mosaic_trace_event *event, int64_t number);
/* A span of the host's row; < 0 while nobody listens. Both are copied; text may be NULL. */
MOSAIC_API int64_t mosaic_trace_open(const char *name, const char *text);
MOSAIC_API void mosaic_trace_close(int64_t span);
MOSAIC_API double mosaic_trace_clock(void); /* the same for all processes of the machine */

/* ---- communicators -------------------------------------------------------------------------- */

/* One rank's end of a group of ranks. Ranks count from 0. Every operation starts and hands out a
 * request; its results are there when the request is complete. All ranks of a communicator start
 * the same collectives in the same order; requests may be waited for in any order. Tensors are host
 * tensors with any strides; a request keeps the storages that it touches until it is complete, also
 * when its handle is released before.
 *
 * Every message carries an envelope (kind, dtype, reduction, root, shape). One that differs from
 * what the receiver expects is MOSAIC_ECOMM and names both sides.
 *
 * `mark` is a set of up to 8 bits that travels with every message of the operation, along trees
 * too; mosaic_request_marks has the bits of all messages that arrived. */
typedef struct mosaic_comm mosaic_comm;
typedef struct mosaic_request mosaic_request;

typedef enum {
    MOSAIC_COMM_SEND,
    MOSAIC_COMM_RECV,
    MOSAIC_COMM_SENDRECV,
    MOSAIC_COMM_BROADCAST,
    MOSAIC_COMM_REDUCE,
    MOSAIC_COMM_ALL_REDUCE,
    MOSAIC_COMM_ALL_GATHER,
    MOSAIC_COMM_REDUCE_SCATTER,
    MOSAIC_COMM_ALL_TO_ALL,
    MOSAIC_COMM_GATHER,
    MOSAIC_COMM_SCATTER,
    MOSAIC_COMM_EXSCAN,
    MOSAIC_COMM_BARRIER,
    MOSAIC_COMM_KINDS,
} mosaic_comm_kind;

/* Reductions go over the ranks in ascending order, whatever the transport: same bits everywhere.
 * bf16 and f16 accumulate in f32 and are rounded once; integers wrap; min and max pass NaN on. */
typedef enum {
    MOSAIC_COMM_SUM,
    MOSAIC_COMM_PROD,
    MOSAIC_COMM_MIN,
    MOSAIC_COMM_MAX,
} mosaic_comm_reduction;

typedef struct {
    int64_t calls;
    int64_t bytes_sent; /* payload that went to other ranks, envelopes apart */
    int64_t bytes_received;
} mosaic_comm_counters;

/* size ranks in this thread; ranks[i] becomes rank i. With size 1: a world of one's own. */
MOSAIC_API mosaic_status mosaic_comm_new_virtual(mosaic_comm **ranks, int size);
/* This process's end of the MPI world; opens libmosaic_mpi.so and starts MPI on first use. */
MOSAIC_API mosaic_status mosaic_comm_new_mpi(mosaic_comm **comm);
MOSAIC_API void mosaic_comm_release(mosaic_comm *comm);
/* Ends a virtual world for all its ranks: what is in flight is dropped and fails. */
MOSAIC_API void mosaic_comm_end_world(mosaic_comm *comm);
/* Ends the whole MPI job with this exit code; returns when MPI is not running. */
MOSAIC_API void mosaic_comm_abort(int code);

MOSAIC_API int mosaic_comm_rank(const mosaic_comm *comm);
MOSAIC_API int mosaic_comm_size(const mosaic_comm *comm);
/* -1 where there is no such rank or no communicator. */
MOSAIC_API int mosaic_comm_world_rank(const mosaic_comm *comm, int rank);
/* The lowest rank of the world that runs on this rank's machine; -1 without a communicator. */
MOSAIC_API int mosaic_comm_node(const mosaic_comm *comm);
MOSAIC_API const char *mosaic_comm_transport(const mosaic_comm *comm); /* "virtual", "mpi" */
MOSAIC_API const char *mosaic_process_name(void);                      /* "host pid 4711" */
MOSAIC_API const char *mosaic_comm_library(void); /* the MPI in use, in its own words */
/* Messages that this rank has started or completed, in all communicators of its world. */
MOSAIC_API int64_t mosaic_comm_events(const mosaic_comm *comm);
/* Payload bytes that this rank has sent to others, in all communicators of its world. */
MOSAIC_API int64_t mosaic_comm_bytes_sent(const mosaic_comm *comm);
/* Makes progress; how many operations of this rank, in all communicators of its world, are under
 * way after that? And the oldest of them: "send f32 [4] to rank 1". */
MOSAIC_API int mosaic_comm_poll(mosaic_comm *comm);
MOSAIC_API const char *mosaic_comm_oldest(const mosaic_comm *comm);
MOSAIC_API const char *mosaic_comm_kind_name(mosaic_comm_kind kind);
MOSAIC_API void mosaic_comm_counters_read(mosaic_comm_counters *counters, const mosaic_comm *comm,
                                          mosaic_comm_kind kind);
MOSAIC_API void mosaic_comm_counters_reset(mosaic_comm *comm);
/* What is lent counts as sent. */
MOSAIC_API void mosaic_comm_count_lent(mosaic_comm *comm, int64_t bytes);
/* Does MOSAIC_PACE keep something under way that needs no rank any more, but time? */
MOSAIC_API bool mosaic_comm_paced(const mosaic_comm *comm);

/* Host memory of one process that others of the machine read in place (cpu/shared.c). Each opens
 * its own and tells the others how it is known; they map it, as a number of theirs. */
MOSAIC_API mosaic_status mosaic_share_open(int64_t *process, int64_t *file, int64_t *mark);
MOSAIC_API mosaic_status mosaic_share_map(int *number, int64_t process, int64_t file, int64_t mark);
/* out <- a, or a copy of it where others can read it: place[0..1], with out's offset and strides,
 * says where. It must stay as it is while somebody reads. */
MOSAIC_API mosaic_status mosaic_share_lend(mosaic_tensor *out, int64_t *place,
                                           const mosaic_tensor *a);
/* out <- all elements of the storage that was lent, to be read only. */
MOSAIC_API mosaic_status mosaic_share_borrow(mosaic_tensor *out, int number, const int64_t *place,
                                             mosaic_dtype dtype);

/* A sub-communicator of the ranks with the same color (< 0: none, *out becomes NULL), ordered by
 * key, then by rank. First the ranks exchange a table (i64, one row per rank), then each makes its
 * own end from it. */
MOSAIC_API mosaic_status mosaic_comm_split_start(mosaic_request **request, mosaic_comm *comm,
                                                 mosaic_tensor *table, int64_t color, int64_t key);
MOSAIC_API mosaic_status mosaic_comm_split_finish(mosaic_comm **out, mosaic_comm *comm,
                                                  const mosaic_tensor *table);

/* Point to point: tags are 0..32767 (and up to 65535 inside Mosaic). A send is complete when it
 * has been received, or buffered by MPI. to or from < 0: that half is left out. */
MOSAIC_API mosaic_status mosaic_comm_send(mosaic_request **request, mosaic_comm *comm,
                                          const mosaic_tensor *a, int to, int tag);
MOSAIC_API mosaic_status mosaic_comm_recv(mosaic_request **request, mosaic_comm *comm,
                                          mosaic_tensor *out, int from, int tag);
MOSAIC_API mosaic_status mosaic_comm_sendrecv(mosaic_request **request, mosaic_comm *comm,
                                              mosaic_tensor *out, int from, const mosaic_tensor *a,
                                              int to, int tag, int mark);

MOSAIC_API mosaic_status mosaic_comm_barrier(mosaic_request **request, mosaic_comm *comm);
/* out <- root's a; a gives shape and dtype on every rank. Binomial tree. */
MOSAIC_API mosaic_status mosaic_comm_broadcast(mosaic_request **request, mosaic_comm *comm,
                                               mosaic_tensor *out, const mosaic_tensor *a, int root,
                                               int mark);
/* From 4 KiB on in two steps, 2 (p-1)/p of a's bytes sent by each rank; below in one, (p-1) of
 * them. With root >= 0 (MOSAIC_COMM_REDUCE) it is there, and zeros elsewhere. out may be a. */
MOSAIC_API mosaic_status mosaic_comm_all_reduce(mosaic_request **request, mosaic_comm *comm,
                                                mosaic_tensor *out, const mosaic_tensor *a,
                                                mosaic_comm_reduction op, int root, int mark);
/* sizes[r] is rank r's size along axis; all other sizes are equal on all ranks. */
MOSAIC_API mosaic_status mosaic_comm_all_gather(mosaic_request **request, mosaic_comm *comm,
                                                mosaic_tensor *out, const mosaic_tensor *a,
                                                int axis, const int64_t *sizes, int mark);
MOSAIC_API mosaic_status mosaic_comm_reduce_scatter(mosaic_request **request, mosaic_comm *comm,
                                                    mosaic_tensor *out, const mosaic_tensor *a,
                                                    int axis, const int64_t *sizes,
                                                    mosaic_comm_reduction op, int mark);
/* Other ranks than root get and give size 0 along axis (gather: out, scatter: a, of which they only
 * need the other sizes). */
MOSAIC_API mosaic_status mosaic_comm_gather(mosaic_request **request, mosaic_comm *comm,
                                            mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                            const int64_t *sizes, int root, int mark);
MOSAIC_API mosaic_status mosaic_comm_scatter(mosaic_request **request, mosaic_comm *comm,
                                             mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                             const int64_t *sizes, int root, int mark);
/* a is cut along split_axis into split_sizes[r] for rank r; what rank r sends has
 * concat_sizes[r] along concat_axis, where the pieces are joined in rank order. */
MOSAIC_API mosaic_status mosaic_comm_all_to_all(mosaic_request **request, mosaic_comm *comm,
                                                mosaic_tensor *out, const mosaic_tensor *a,
                                                int split_axis, const int64_t *split_sizes,
                                                int concat_axis, const int64_t *concat_sizes,
                                                int mark);
/* out <- the sum over all lower ranks (reverse: all higher ones); zeros where there are none. */
MOSAIC_API mosaic_status mosaic_comm_exscan(mosaic_request **request, mosaic_comm *comm,
                                            mosaic_tensor *out, const mosaic_tensor *a,
                                            bool reverse, int mark);

/* MOSAIC_OK when complete, MOSAIC_PENDING, or the error that ended it. Both let every operation
 * of this rank make progress; wait for at most so many seconds (0 is test). */
MOSAIC_API mosaic_status mosaic_request_wait(mosaic_request *request, double seconds);
/* Gives up a request of virtual ranks: what it has not sent or received never will be. */
MOSAIC_API void mosaic_request_cancel(mosaic_request *request);
MOSAIC_API int mosaic_request_marks(const mosaic_request *request);
MOSAIC_API void mosaic_request_release(mosaic_request *request);
/* "all_reduce f32 [65536] sum #3" and "from ranks 1, 2" (of the world): whose messages are missing.
 * Valid until the next call in this thread. */
MOSAIC_API const char *mosaic_request_describe(const mosaic_request *request);
MOSAIC_API const char *mosaic_request_peers(const mosaic_request *request);
/* "; rank 1 has not come with a tensor on a device", where that is what it waits for, or "". */
MOSAIC_API const char *mosaic_request_absent(const mosaic_request *request);

/* Cached text of this header, for mosaic/ffi.lua. */
MOSAIC_API const char *mosaic_cdef(void);

#endif
