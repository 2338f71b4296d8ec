/* hopper_map.c - maps of tensors, which the driver makes. */
#include "hopper_map.h"

#include <cuda.h>
#include <stddef.h>

typedef CUresult encode_function(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
                                 void *address, const cuuint64_t *sizes, const cuuint64_t *strides,
                                 const cuuint32_t *box, const cuuint32_t *steps,
                                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                 CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill);

static encode_function *encoder(void)
{
    static void *found;
    enum cudaDriverEntryPointQueryResult result;
    if (!found && (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                                    cudaEnableDefault, &result) != cudaSuccess ||
                   result != cudaDriverEntryPointSuccess))
        found = NULL;
    cudaGetLastError();
    return (encode_function *)found;
}

_Static_assert(sizeof(mosaic_tile_map) == sizeof(CUtensorMap) &&
                   _Alignof(mosaic_tile_map) >= _Alignof(CUtensorMap),
               "the driver writes a CUtensorMap");

enum { GRAIN = 16 /* bytes: of addresses and strides */ };

static int64_t bytes_of(int dtype) { return dtype == MOSAIC_ATTENTION_F32 ? 4 : 2; }

hopper_operand mosaic_hopper_operand(const mosaic_attention_args *a, const mosaic_attention_view *v,
                                     int64_t rows, int64_t heads)
{
    return (hopper_operand){v->data,
                            a->dtype,
                            {a->d, rows, heads, a->b1, a->b0},
                            {v->column, v->row, v->head, v->b1, v->b0}};
}

/* Axes that repeat (stride 0) and those that run backwards it cannot. */
bool mosaic_hopper_can_map(const hopper_operand *o)
{
    int64_t bytes = bytes_of(o->dtype);
    bool fits = encoder() && o->stride[0] == 1 && (size_t)o->data % GRAIN == 0;
    for (int axis = 1; fits && axis < HOPPER_AXES; axis++)
        fits = o->size[axis] == 1 ||
               (o->stride[axis] > 0 && o->stride[axis] * bytes % GRAIN == 0 &&
                o->stride[axis] < (int64_t)1 << 37 && o->size[axis] < (int64_t)1 << 31);
    return fits;
}

static CUtensorMapDataType type_of(int dtype)
{
    return dtype == MOSAIC_ATTENTION_F32    ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
           : dtype == MOSAIC_ATTENTION_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                            : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
}

mosaic_status mosaic_hopper_map(mosaic_tile_map *map, hopper_operand o, int rows)
{
    const bool half = o.dtype != MOSAIC_ATTENTION_F32;
    cuuint64_t sizes[HOPPER_AXES], strides[HOPPER_AXES - 1];
    const cuuint32_t columns = half ? MOSAIC_HOPPER_COLUMNS(o.size[0]) : (cuuint32_t)o.size[0];
    const cuuint32_t box[HOPPER_AXES] = {columns, (cuuint32_t)rows, 1, 1, 1},
                     steps[HOPPER_AXES] = {1, 1, 1, 1, 1};
    for (int axis = 0; axis < HOPPER_AXES; axis++) {
        bool alone = o.size[axis] == 1;
        sizes[axis] = (cuuint64_t)o.size[axis];
        if (axis > 0)
            strides[axis - 1] = alone ? GRAIN : (cuuint64_t)(o.stride[axis] * bytes_of(o.dtype));
    }
    CUresult result =
        encoder()((CUtensorMap *)map, type_of(o.dtype), HOPPER_AXES, o.data, sizes, strides, box,
                  steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  !half           ? CU_TENSOR_MAP_SWIZZLE_NONE
                  : columns == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                                  : CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result == CUDA_SUCCESS) return MOSAIC_OK;
    return mosaic_cuda_core->fail(MOSAIC_EDEVICE, "attention: cuTensorMapEncodeTiled failed: %d",
                                  (int)result);
}
