/* split.cu - keys and values of f32 as planes of bf16, tile by tile: see planes.h.
 *
 *   f32 (KEYS, d), any strides  ->  high (KEYS, channels) | middle | low | next tile
 *
 * It reads them once and writes half as many bytes again, which every block of queries then reads:
 * in one piece, and without splitting numbers again. */
#include <launch.h>

#include "attention.h"
#include "planes.h"
#include "tensor.h"

enum { THREADS = 256 };

typedef struct {
    mosaic_attention_view from;
    char *to; /* (b0, b1, head, tile) of so many bytes */
    int64_t bytes, b1, heads, rows, tiles;
    int head, channels, keys;
} request;

MOSAIC_DEVICE float element(const request &r, const float *first, int64_t row, int c)
{
    return row < r.rows && c < r.head ? first[row * r.from.row + c * r.from.column] : 0;
}

/* A block per tile. */
__global__ void split_tiles(const request r)
{
    int64_t unit = blockIdx.x / r.tiles, row = blockIdx.x % r.tiles * r.keys;
    int64_t b0 = unit / (r.heads * r.b1), b1 = unit / r.heads % r.b1, head = unit % r.heads;
    const float *first =
        (const float *)r.from.data + b0 * r.from.b0 + b1 * r.from.b1 + head * r.from.head;
    int pairs = r.keys * r.channels / 2;
    unsigned *to = (unsigned *)(r.to + blockIdx.x * r.bytes);
    for (int n = threadIdx.x; n < pairs; n += THREADS) {
        int64_t i = row + 2 * n / r.channels;
        int c = 2 * n % r.channels;
        split_pair(element(r, first, i, c), element(r, first, i, c + 1), to[n], to[pairs + n],
                   to[2 * pairs + n]);
    }
}

mosaic_status mosaic_attention_split(const mosaic_cuda *device, const mosaic_attention_args *a,
                                     const mosaic_attention_view *from, void *to)
{
    int keys = tensor_keys(a->d, MOSAIC_ATTENTION_F32);
    int64_t tiles = (a->nk + keys - 1) / keys, blocks = a->b0 * a->b1 * a->kv_heads * tiles;
    request r = {*from, (char *)to, tensor_split_bytes(a->d),   a->b1, a->kv_heads, a->nk,
                 tiles, (int)a->d,  tensor_channels((int)a->d), keys};
    return mosaic_launch(device, "attention", split_tiles, (unsigned)blocks, THREADS, 0, r);
}
