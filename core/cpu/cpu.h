/* cpu.h - the CPU's entries of the device table, one group per file of core/cpu. */
#ifndef MOSAIC_CPU_H
#define MOSAIC_CPU_H
#include "../device.h"

void *mosaic_cpu_allocate(const mosaic_device *self, int64_t bytes);
void mosaic_cpu_release(const mosaic_device *self, void *data, int64_t bytes);
int64_t mosaic_cpu_cached(const mosaic_device *self);
void mosaic_cpu_trim(const mosaic_device *self);
int64_t mosaic_cpu_total(const mosaic_device *self);
int64_t mosaic_cpu_available(const mosaic_device *self);

mosaic_status mosaic_cpu_copy(const mosaic_tensor *out, const mosaic_tensor *a);
mosaic_status mosaic_cpu_fill(const mosaic_tensor *out, double value);
mosaic_status mosaic_cpu_elementwise(const mosaic_tensor *out, const mosaic_elementwise *call);
mosaic_status mosaic_cpu_reduce(const mosaic_tensor *out, const mosaic_tensor *a,
                                mosaic_reduce_op op, double correction);
mosaic_status mosaic_cpu_reduce_rows(const mosaic_tensor *out, const mosaic_tensor *rows,
                                     mosaic_comm_reduction op);
mosaic_status mosaic_cpu_arg_reduce(const mosaic_tensor *values, const mosaic_tensor *indices,
                                    const mosaic_tensor *a, bool largest, int axis);
mosaic_status mosaic_cpu_random(const mosaic_tensor *out, const mosaic_random_call *call);

mosaic_status mosaic_cpu_attention(const mosaic_attention_call *call);
mosaic_status mosaic_cpu_attention_backward(const mosaic_attention_call *call);
mosaic_status mosaic_cpu_attention_work(const mosaic_device *self, mosaic_attention_work *work,
                                        int account);
mosaic_status mosaic_cpu_attention_work_reset(const mosaic_device *self, int account);
mosaic_status mosaic_cpu_attention_delta(const mosaic_tensor *delta, const mosaic_tensor *dout,
                                         const mosaic_tensor *out, const mosaic_tensor *dlse);
mosaic_status mosaic_cpu_attention_merge(const mosaic_attention_parts *parts);
mosaic_status mosaic_cpu_attention_merge_backward(const mosaic_attention_parts *parts);

mosaic_status mosaic_cpu_matmul(const mosaic_tensor *out, const mosaic_tensor *a,
                                const mosaic_tensor *b, const mosaic_tensor *bias);
mosaic_status mosaic_cpu_matmul_add(const mosaic_tensor *out, const mosaic_tensor *a,
                                    const mosaic_tensor *b, const mosaic_tensor *add);
mosaic_status mosaic_cpu_matmul_gelu(const mosaic_tensor *out, const mosaic_tensor *product,
                                     const mosaic_tensor *a, const mosaic_tensor *b,
                                     const mosaic_tensor *bias, mosaic_unary_op gelu, bool *done);
mosaic_status mosaic_cpu_matmul_times(const mosaic_tensor *out, const mosaic_tensor *a,
                                      const mosaic_tensor *b, const mosaic_tensor *factor,
                                      mosaic_binary_op derivative);
mosaic_status mosaic_cpu_matmul_sums(const mosaic_tensor *out, const mosaic_tensor *sums,
                                     const mosaic_tensor *a, const mosaic_tensor *b);

mosaic_status mosaic_cpu_normalize(const mosaic_tensor *out, const mosaic_tensor *stats,
                                   const mosaic_tensor *x, const mosaic_tensor *weight,
                                   const mosaic_tensor *bias, double eps, bool centered);
mosaic_status mosaic_cpu_add_normalize(const mosaic_tensor *out, const mosaic_tensor *sum,
                                       const mosaic_tensor *stats, const mosaic_tensor *x,
                                       const mosaic_tensor *y, const mosaic_tensor *weight,
                                       const mosaic_tensor *bias, double eps, bool centered);
mosaic_status mosaic_cpu_normalize_backward(const mosaic_tensor *dx, const mosaic_tensor *dweight,
                                            const mosaic_tensor *dbias, const mosaic_tensor *g,
                                            const mosaic_tensor *x, const mosaic_tensor *weight,
                                            const mosaic_tensor *stats, bool centered);
mosaic_status mosaic_cpu_softmax(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                 bool log);
mosaic_status mosaic_cpu_softmax_backward(const mosaic_tensor *dx, const mosaic_tensor *g,
                                          const mosaic_tensor *y, int axis, bool log);
mosaic_status mosaic_cpu_cross_entropy(const mosaic_tensor *loss, const mosaic_tensor *stats,
                                       const mosaic_tensor *logits, const mosaic_tensor *targets,
                                       mosaic_reduction reduction, int64_t ignore);
mosaic_status mosaic_cpu_cross_entropy_backward(const mosaic_tensor *dlogits,
                                                const mosaic_tensor *g, const mosaic_tensor *logits,
                                                const mosaic_tensor *targets,
                                                const mosaic_tensor *stats,
                                                mosaic_reduction reduction, int64_t ignore);
mosaic_status mosaic_cpu_schedule_free(const mosaic_tensor *y, const mosaic_tensor *z,
                                       const mosaic_tensor *square, const mosaic_tensor *g,
                                       const mosaic_schedule_free_options *options, bool *done);

mosaic_status mosaic_cpu_quantize(const mosaic_tensor *payload, const mosaic_tensor *x,
                                  mosaic_row_format format);
mosaic_status mosaic_cpu_dequantize(const mosaic_tensor *out, const mosaic_tensor *payload,
                                    mosaic_row_format format);

mosaic_status mosaic_cpu_check_index(const char *op, const char *what, const mosaic_tensor *index,
                                     int64_t limit, int64_t ignore);
mosaic_status mosaic_cpu_gather(const mosaic_tensor *out, const mosaic_tensor *base, int64_t step,
                                const mosaic_tensor *index);
mosaic_status mosaic_cpu_scatter(const mosaic_tensor *base, int64_t step,
                                 const mosaic_tensor *index, const mosaic_tensor *source, bool add);
mosaic_status mosaic_cpu_sort(const mosaic_tensor *values, const mosaic_tensor *indices,
                              const mosaic_tensor *a, int axis, bool descending);
mosaic_status mosaic_cpu_cumsum(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                bool backwards);

#endif
