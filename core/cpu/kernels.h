/* kernels.h - the CPU's kernels: per family a struct of function pointers, per ISA one of each.
 *
 * core/cpu/kernel/NAME.c is compiled once per ISA and exports one symbol, MOSAIC_KERNELS(NAME). */
#ifndef MOSAIC_CPU_KERNELS_H
#define MOSAIC_CPU_KERNELS_H
#include "../device.h"

/* ---- elementwise: the arithmetic happens in one of three types, see core/cpu/elementwise.c ----
 */

enum { MOSAIC_CPU_F32, MOSAIC_CPU_F64, MOSAIC_CPU_I64, MOSAIC_CPU_TYPES };

/* out[i] = f(in[0][i], ...), i < count; step[k] is 1, or 0 where one value serves all (only the
 * first two inputs of a binary kernel, and not both). param: alpha, beta. Pointers that are equal
 * are fine, other overlaps are not. */
typedef void (*mosaic_map_kernel)(int64_t count, void *out, const void *const *in,
                                  const int64_t *step, const double *param);

typedef struct {
    mosaic_map_kernel of[MOSAIC_UNARY_COUNT][MOSAIC_CPU_TYPES];
} mosaic_unary_kernels;
typedef struct {
    mosaic_map_kernel of[MOSAIC_BINARY_COUNT][MOSAIC_CPU_TYPES];
} mosaic_binary_kernels;
typedef struct {
    mosaic_map_kernel of[MOSAIC_TERNARY_COUNT][MOSAIC_CPU_TYPES];
} mosaic_ternary_kernels;

/* Copies count elements between types; steps in bytes. No overlap. */
typedef void (*mosaic_convert_kernel)(int64_t count, void *to, int64_t to_step, const void *from,
                                      int64_t from_step);
typedef struct {
    mosaic_convert_kernel of[MOSAIC_DTYPE_COUNT][MOSAIC_DTYPE_COUNT]; /* [to][from] */
} mosaic_convert_kernels;

/* ---- random numbers: see draw.h ---- */

enum { MOSAIC_RANDOM_BLOCK = 256 }; /* numbers at a time, at most */

/* Numbers `at`, `at + step`, ... of the call's stream. */
typedef struct {
    void (*uniforms)(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                     uint64_t step);
    void (*normals)(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                    uint64_t step);
    void (*integers)(const mosaic_random_call *c, int64_t count, int64_t *x, uint64_t at,
                     uint64_t step);
} mosaic_random_kernels;

/* ---- reductions ---- */

typedef enum {
    MOSAIC_FOLD_SUM,
    MOSAIC_FOLD_PROD,
    MOSAIC_FOLD_MIN,
    MOSAIC_FOLD_MAX,
    MOSAIC_FOLD_ANY,
    MOSAIC_FOLD_ALL,
    MOSAIC_FOLD_SQUARES, /* sum of (x - shift)^2: floats only from here */
    MOSAIC_FOLD_EXPS,    /* sum of exp(x - shift) */
    MOSAIC_FOLD_COUNT,
} mosaic_fold;

/* Folds x (m,n), rows row_step elements apart, into cells that hold a result so far: f64 for the
 * floats, i64 for integers. rows: one cell and one shift per row; columns: one per column. */
typedef void (*mosaic_fold_kernel)(int64_t m, int64_t n, const void *x, int64_t row_step,
                                   void *cells, const double *shift);
typedef struct {
    mosaic_fold_kernel rows[MOSAIC_FOLD_COUNT][MOSAIC_CPU_TYPES];
    mosaic_fold_kernel columns[MOSAIC_FOLD_COUNT][MOSAIC_CPU_TYPES];
} mosaic_fold_kernels;

/* ---- layer_norm, rms_norm: rows of n elements; weight and bias have n ------------------------ */

typedef struct {
    int64_t n;
    const void *weight, *bias;
    double eps;
    bool centered; /* layer_norm takes the mean off, rms_norm does not */
} mosaic_normalize_forward;

typedef struct {
    int64_t n;
    const void *weight;
    bool centered;
} mosaic_normalize_backward;

#define MOSAIC_NORMALIZE_KERNELS(T, suffix)                                                        \
    /* stats (rows,2): mean and 1/deviation */                                                     \
    void (*forward_##suffix)(const mosaic_normalize_forward *c, int64_t rows, T *out,              \
                             int64_t out_step, T *stats, const T *x, int64_t x_step);              \
    /* to: out, sum = x + y, stats; from: x, y */                                                  \
    void (*add_forward_##suffix)(const mosaic_normalize_forward *c, int64_t rows, T *const *to,    \
                                 const int64_t *to_step, const T *const *from,                     \
                                 const int64_t *from_step);                                        \
    /* dx may be NULL; partial (2,n): dweight and dbias are added to it */                         \
    void (*backward_##suffix)(const mosaic_normalize_backward *c, int64_t rows, T *dx,             \
                              int64_t dx_step, const T *g, int64_t g_step, const T *x,             \
                              int64_t x_step, const T *stats, T *partial);

typedef struct {
    MOSAIC_NORMALIZE_KERNELS(float, f32)
    MOSAIC_NORMALIZE_KERNELS(double, f64)
} mosaic_normalize_kernels;

/* ---- products of matrices: see gemm.h -------------------------------------------------------- */

struct mosaic_gemm;

enum { MOSAIC_GEMM_COLUMNS = 192 /* whole panels of every kernel */ };

typedef struct {
    int64_t (*packed_size)(const struct mosaic_gemm *g); /* of b, in floats */
    /* Columns from..to - 1 of b, for any rows of a: whole MOSAIC_GEMM_COLUMNS but for the last. */
    void (*pack)(const struct mosaic_gemm *g, float *packed, int64_t from, int64_t to);
    bool (*multiply_f32)(const struct mosaic_gemm *g); /* false: no memory */
    bool (*adds_rows)(const struct mosaic_gemm *g);    /* does that do the sums, too? NULL: never */
    bool fast;                                         /* than BLAS, for the shapes of layers ... */
    bool cubes;                                        /* ... and for all large ones */
} mosaic_gemm_kernels;

/* ---- softmax and its relatives: rows of n elements ------------------------------------------- */

#define MOSAIC_SOFTMAX_KERNELS(T, suffix)                                                          \
    void (*forward_##suffix)(int64_t n, T * out, const T *a, bool log);                            \
    /* dx from the gradient g of the result y */                                                   \
    void (*backward_##suffix)(int64_t n, T * dx, const T *g, const T *y, bool log);                \
    /* returns log(sum(exp(a - most))), most = max(a) */                                           \
    T (*logsumexp_##suffix)(int64_t n, const T *a, T *most);                                       \
    /* out = exp(a - most - log_sum) * scale */                                                    \
    void (*weigh_##suffix)(int64_t n, T * out, const T *a, T most, T log_sum, T scale);

typedef struct {
    MOSAIC_SOFTMAX_KERNELS(float, f32)
    MOSAIC_SOFTMAX_KERNELS(double, f64)
} mosaic_softmax_kernels;

/* ---- a step of an optimizer: see mosaic_schedule_free ---------------------------------------- */

typedef struct {
    void (*step_f32)(int64_t count, float *y, float *z, float *square, const float *g,
                     const mosaic_schedule_free_options *o);
    void (*step_f64)(int64_t count, double *y, double *z, double *square, const double *g,
                     const mosaic_schedule_free_options *o);
} mosaic_schedule_free_kernels;

/* ---- rows of n elements as n bytes and a scale ------------------------------------------------
 */

typedef struct {
    mosaic_row_format format;
    int64_t n;
    int scale_bits; /* of an int8 scale */
    double limit;   /* of the magnitudes: what they become is finite */
} mosaic_quantize_row;

#define MOSAIC_QUANTIZE_KERNELS(T, suffix)                                                         \
    /* returns the largest magnitude; if that is not within the limit, there is no payload */      \
    T (*encode_##suffix)(const mosaic_quantize_row *c, uint8_t *payload, const T *x);              \
    void (*decode_##suffix)(const mosaic_quantize_row *c, T *out, const uint8_t *payload);

typedef struct {
    MOSAIC_QUANTIZE_KERNELS(float, f32)
    MOSAIC_QUANTIZE_KERNELS(double, f64)
} mosaic_quantize_kernels;

/* ---- programs of masks ---- */

enum { MOSAIC_PROGRAM_RUN = 128 }; /* keys at a time, at most */

/* One query, numbered globally from 1, and some keys. */
typedef struct {
    const mosaic_program *program;
    double batch, head, query;
    const int64_t *key;  /* (count): positions */
    const double *score; /* (count), or NULL for a program without scores */
    int64_t count;
} mosaic_program_run;

typedef struct {
    /* The first `steps` steps; registers: (program->registers, MOSAIC_PROGRAM_RUN). */
    void (*run)(const mosaic_program_run *run, int32_t steps, double *registers);
} mosaic_program_kernels;

/* ---- attention: see attention.h -------------------------------------------------------------- */

typedef struct mosaic_attention_kernels mosaic_attention_kernels;
typedef struct mosaic_attention_backward_kernels mosaic_attention_backward_kernels;
typedef struct mosaic_attention_small_kernels mosaic_attention_small_kernels;

typedef struct {
    const char *isa;
    const mosaic_unary_kernels *unary;
    const mosaic_binary_kernels *binary;
    const mosaic_ternary_kernels *ternary;
    const mosaic_convert_kernels *convert;
    const mosaic_random_kernels *random;
    const mosaic_fold_kernels *fold;
    const mosaic_normalize_kernels *normalize;
    const mosaic_softmax_kernels *softmax;
    const mosaic_schedule_free_kernels *schedule_free;
    const mosaic_quantize_kernels *quantize;
    const mosaic_gemm_kernels *gemm;
    const mosaic_attention_kernels *attention;
    const mosaic_attention_backward_kernels *attention_backward;
    const mosaic_attention_small_kernels *attention_small;
    const mosaic_program_kernels *program;
} mosaic_cpu_kernels;

/* The widest table that this machine can run; MOSAIC_ISA=scalar|avx2|avx512|amx (on ARM
 * neon) asks for a narrower. */
const mosaic_cpu_kernels *mosaic_cpu(void);

/* In core/cpu/kernel/NAME.c: the symbol of this compilation, mosaic_cpu_NAME_ISA. */
#define MOSAIC_PASTE_(family, isa) mosaic_cpu_##family##_##isa
#define MOSAIC_PASTE(family, isa) MOSAIC_PASTE_(family, isa)
#define MOSAIC_KERNELS(family) MOSAIC_PASTE(family, MOSAIC_ISA)

/* The symbols of all compilations of a family. */
#define MOSAIC_DECLARE_KERNELS(family)                                                             \
    extern const mosaic_##family##_kernels mosaic_cpu_##family##_scalar,                           \
        mosaic_cpu_##family##_avx2, mosaic_cpu_##family##_avx512, mosaic_cpu_##family##_neon;
MOSAIC_DECLARE_KERNELS(unary)
MOSAIC_DECLARE_KERNELS(binary)
MOSAIC_DECLARE_KERNELS(ternary)
MOSAIC_DECLARE_KERNELS(convert)
MOSAIC_DECLARE_KERNELS(random)
MOSAIC_DECLARE_KERNELS(fold)
MOSAIC_DECLARE_KERNELS(normalize)
MOSAIC_DECLARE_KERNELS(softmax)
MOSAIC_DECLARE_KERNELS(schedule_free)
MOSAIC_DECLARE_KERNELS(quantize)
MOSAIC_DECLARE_KERNELS(gemm)
MOSAIC_DECLARE_KERNELS(attention)
MOSAIC_DECLARE_KERNELS(attention_backward)
MOSAIC_DECLARE_KERNELS(attention_small)
MOSAIC_DECLARE_KERNELS(program)

/* core/cpu/kernel/amx: instead of those for AVX-512. */
extern const mosaic_attention_kernels mosaic_cpu_attention_amx;
extern const mosaic_attention_backward_kernels mosaic_cpu_attention_backward_amx;
extern const mosaic_attention_backward_kernels mosaic_cpu_attention_scores_amx;
extern const mosaic_gemm_kernels mosaic_cpu_gemm_amx;

#endif
