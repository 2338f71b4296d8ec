/* spans.cu - what positions and documents there are in every tile of rows. */
#include <launch.h>

#include "attention.h"
#include "mask.h"

enum { WARP = 32, THREADS = 128 };

typedef struct {
    mosaic_attention_span *spans; /* (b0, b1, tile) */
    mosaic_attention_positions_of positions;
    mosaic_attention_view documents;
    int64_t b1, rows, tiles, count; /* count: of all spans */
    int tile_rows;
} request;

static __device__ int64_t least_of_warp(int64_t x)
{
    for (int by = WARP / 2; by; by /= 2) {
        int64_t other = __shfl_xor_sync(0xffffffffu, x, by);
        x = other < x ? other : x;
    }
    return x;
}

static __device__ int64_t most_of_warp(int64_t x)
{
    for (int by = WARP / 2; by; by /= 2) {
        int64_t other = __shfl_xor_sync(0xffffffffu, x, by);
        x = other > x ? other : x;
    }
    return x;
}

/* A warp per tile. */
static __global__ void fill_spans(const request r)
{
    int64_t n = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (n >= r.count) return; /* the whole warp */
    int64_t tile = n % r.tiles, entry = n / r.tiles;
    mosaic_attention_place p = {entry / r.b1, entry % r.b1, 0, 0};
    mosaic_attention_span s = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    int64_t end = min((tile + 1) * r.tile_rows, r.rows);
    for (int64_t row = tile * r.tile_rows + threadIdx.x % WARP; row < end; row += WARP) {
        int64_t t = position(r.positions, row);
        int64_t id = r.documents.data ? document(r.documents, p, row) : 0;
        s.position_low = min(s.position_low, t);
        s.position_high = max(s.position_high, t);
        s.document_low = min(s.document_low, id);
        s.document_high = max(s.document_high, id);
    }
    s.position_low = least_of_warp(s.position_low);
    s.position_high = most_of_warp(s.position_high);
    s.document_low = least_of_warp(s.document_low);
    s.document_high = most_of_warp(s.document_high);
    if (threadIdx.x % WARP == 0) r.spans[n] = s;
}

mosaic_status mosaic_attention_spans(const mosaic_cuda *device, mosaic_attention_span *spans,
                                     const mosaic_attention_positions_of *positions,
                                     const mosaic_attention_view *documents, int64_t b0, int64_t b1,
                                     int64_t rows, int tile_rows)
{
    int64_t tiles = (rows + tile_rows - 1) / tile_rows, count = b0 * b1 * tiles;
    request r = {spans, *positions, *documents, b1, rows, tiles, count, tile_rows};
    unsigned blocks = (unsigned)((count + THREADS / WARP - 1) / (THREADS / WARP));
    return mosaic_launch(device, "attention", fill_spans, blocks, THREADS, 0, r);
}
