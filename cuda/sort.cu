/* sort.cu - stable order along any axis: blocks sort runs of up to TILE elements, which are then
 * merged two by two.
 *
 * An entry is an element's key, a number in the order wanted, and the place it came from, so no two
 * are equal and whatever sorts them is stable. Where only the first `count` are asked for, runs are
 * cut to that length. A run's missing entries are LAST, which is behind all others. */
#include <launch.h>
#include <stdlib.h>

#include "element.h"
#include "walk.h"

enum { THREADS = 256, TILE = 1024, EACH = TILE / THREADS };

typedef struct {
    mosaic_walk rows;         /* without the sorted axis: the operand, values, indices */
    int64_t step[3];          /* of the sorted axis, in bytes */
    int64_t n, count;         /* elements of a row, and how many are asked for */
    int64_t tiles;            /* of a row */
    int length, together;     /* of a tile: a power of 2; rows that a block sorts */
    bool descending, columns; /* columns: neighbours in memory are rows */
} sorting;

/* ---- entries -------------------------------------------------------------------------------- */

/* Of dtypes of at most 32 bits. */
typedef uint64_t narrow; /* key, place */
struct __align__(16) wide { uint64_t key, place; };

MOSAIC_DEVICE bool before(narrow a, narrow b) { return a < b; }
MOSAIC_DEVICE bool before(wide a, wide b)
{
    return a.key < b.key || (a.key == b.key && a.place < b.place);
}
MOSAIC_DEVICE void make(narrow *e, uint64_t key, uint64_t place) { *e = key << 32 | place; }
MOSAIC_DEVICE void make(wide *e, uint64_t key, uint64_t place) { e->key = key, e->place = place; }
MOSAIC_DEVICE int64_t place_of(narrow e) { return (uint32_t)e; }
MOSAIC_DEVICE int64_t place_of(wide e) { return (int64_t)e.place; }

template <class E> MOSAIC_DEVICE E last_of()
{
    E e;
    memset(&e, 0xff, sizeof e);
    return e;
}

/* Keeps the order; -0 and 0 are equal. NaN comes last in both orders. */
MOSAIC_DEVICE uint32_t float_key(float x, bool descending)
{
    uint32_t bits;
    float y = x + 0.0f;
    memcpy(&bits, &y, sizeof bits);
    uint32_t key = bits >> 31 ? ~bits : bits | 0x80000000u;
    return x != x ? UINT32_MAX : descending ? ~key : key;
}

MOSAIC_DEVICE uint64_t double_key(double x, bool descending)
{
    uint64_t bits;
    double y = x + 0.0;
    memcpy(&bits, &y, sizeof bits);
    uint64_t key = bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
    return x != x ? UINT64_MAX : descending ? ~key : key;
}

MOSAIC_DEVICE uint64_t key_of(const char *at, int dtype, bool descending)
{
    uint64_t wide_key;
    uint32_t key;
    switch (dtype) {
    case MOSAIC_DTYPE_F64: return double_key(*(const double *)at, descending);
    case MOSAIC_DTYPE_I64:
        wide_key = *(const uint64_t *)at ^ (uint64_t)1 << 63;
        return descending ? ~wide_key : wide_key;
    case MOSAIC_DTYPE_I32: key = *(const uint32_t *)at ^ 0x80000000u; break;
    case MOSAIC_DTYPE_U8: key = *(const uint8_t *)at; break;
    default: return float_key(mosaic_load<float>(at, dtype), descending);
    }
    return descending ? ~key : key;
}

/* ---- results -------------------------------------------------------------------------------- */

/* The entry is number i of its row, which begins at at[]: operand, values, indices. */
template <class E> MOSAIC_DEVICE void put(const sorting &s, char *const *at, int64_t i, const E &e)
{
    int64_t place = place_of(e);
    mosaic_copy_bits(at[1] + i * s.step[1], at[0] + place * s.step[0], s.rows.operand[0].bytes);
    *(int64_t *)(at[2] + i * s.step[2]) = place + 1;
}

/* The first entries of rows that lie `apart` entries from each other. */
template <class E> __global__ void put_rows(const sorting s, const E *entries, const int64_t apart)
{
    mosaic_walk_each(s.rows.count * s.count, [&](int64_t j) {
        char *at[3];
        int64_t row = j, i = mosaic_divide(row, s.count);
        mosaic_walk_at(s.rows, row, at);
        put(s, at, i, entries[row * apart + i]);
    });
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* Sorts every `length` entries of the tile: bitonic, all comparisons in one direction. */
template <class E> MOSAIC_DEVICE void sort_tile(E *tile, int length)
{
    for (int run = 2; run <= length; run *= 2)
        for (int apart = run / 2; apart; apart /= 2) {
            __syncthreads();
            for (int pair = threadIdx.x; pair < TILE / 2; pair += THREADS) {
                int place = pair & (apart - 1), first = 2 * pair - place;
                int second = apart == run / 2 ? first + run - 1 - 2 * place : first + apart;
                E a = tile[first], b = tile[second];
                if (before(b, a)) tile[first] = b, tile[second] = a;
            }
        }
    __syncthreads();
}

/* Entry number t of a block's tile: neighbours lie together in the operand. */
typedef struct {
    int64_t row, place;
    int slot; /* in shared memory */
    bool exists;
} tile_place;

MOSAIC_DEVICE tile_place tile_place_of(const sorting &s, int t)
{
    int row = s.columns ? t % s.together : t / s.length;
    int i = s.columns ? t / s.together : t % s.length;
    tile_place p = {blockIdx.x / s.tiles * s.together + row, blockIdx.x % s.tiles * TILE + i,
                    row * s.length + i, false};
    p.exists = p.row < s.rows.count && p.place < s.n;
    return p;
}

/* A block sorts several short rows, or one tile of a row. Whole rows are results, tiles become
 * entries (rows, tiles, min(TILE, count)). */
template <class E>
__global__ void __launch_bounds__(THREADS) sort_tiles(const sorting s, E *entries)
{
    __shared__ E tile[TILE];
    for (int t = threadIdx.x; t < TILE; t += THREADS) {
        tile_place p = tile_place_of(s, t);
        E e = last_of<E>();
        if (p.exists) {
            const char *row = s.rows.operand[0].data + mosaic_walk_offset(s.rows, 0, p.row);
            uint64_t key = key_of(row + p.place * s.step[0], s.rows.operand[0].dtype, s.descending);
            make(&e, key, p.place);
        }
        tile[p.slot] = e;
    }
    sort_tile(tile, s.length);
    if (entries) {
        int kept = (int)min((int64_t)TILE, s.count);
        for (int t = threadIdx.x; t < kept; t += THREADS)
            entries[blockIdx.x * (int64_t)kept + t] = tile[t];
        return;
    }
    for (int t = threadIdx.x; t < TILE; t += THREADS) {
        tile_place p = tile_place_of(s, t);
        char *at[3];
        if (!p.exists || p.place >= s.count) continue;
        mosaic_walk_at(s.rows, p.row, at);
        put(s, at, p.place, tile[p.slot]);
    }
}

/* ---- merging -------------------------------------------------------------------------------- */

/* How many of the first `many` entries of the sorted runs a and b are from a. A whole warp asks,
 * and looks at 32 places at a time. */
template <class E>
MOSAIC_DEVICE int64_t split(const E *a, int64_t a_n, const E *b, int64_t b_n, int64_t many)
{
    int64_t low = many > b_n ? many - b_n : 0, high = min(many, a_n);
    while (low < high) {
        int64_t width = (high - low + 31) / 32, at = low + threadIdx.x % 32 * width;
        bool yes = at < high && before(a[at], b[many - 1 - at]);
        int count = __popc(__ballot_sync(0xffffffffu, yes)); /* the first ones say yes */
        high = min(high, low + count * width);
        if (count) low += (count - 1) * width + 1;
    }
    return low;
}

/* The same, asked by one thread. */
template <class E> MOSAIC_DEVICE int split_here(const E *a, int a_n, const E *b, int b_n, int many)
{
    int low = max(many - b_n, 0), high = min(many, a_n);
    while (low < high) {
        int middle = (low + high) / 2;
        if (before(a[middle], b[many - 1 - middle]))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Merges a and b, which lie one after the other in the tile, in place. */
template <class E> MOSAIC_DEVICE void merge_tile(E *tile, int a_n, int b_n)
{
    const E *b = tile + a_n;
    E own[EACH];
    int first = min((int)threadIdx.x * EACH, a_n + b_n);
    int i = split_here(tile, a_n, b, b_n, first), j = first - i;
    for (int k = 0; k < EACH; k++) {
        bool from_a = i < a_n && (j >= b_n || before(tile[i], b[j]));
        own[k] = from_a ? tile[i] : j < b_n ? b[j] : last_of<E>();
        if (from_a)
            i++;
        else
            j++;
    }
    __syncthreads();
    for (int k = 0; k < EACH; k++) tile[threadIdx.x * EACH + k] = own[k];
    __syncthreads();
}

/* from (rows, runs, length) to (rows, pairs of runs, longer); a block makes TILE entries. */
template <class E>
__global__ void __launch_bounds__(THREADS)
    merge_runs(E *to, const E *from, const int64_t runs, const int64_t length, const int64_t longer)
{
    __shared__ E tile[TILE];
    __shared__ int64_t cut[2];
    const int64_t blocks = (longer + TILE - 1) / TILE, pairs = (runs + 1) / 2;
    const int64_t start = blockIdx.x % blocks * TILE, pair = blockIdx.x / blocks % pairs;
    const int64_t row = blockIdx.x / blocks / pairs, b_n = 2 * pair + 1 < runs ? length : 0;
    const E *a = from + (row * runs + 2 * pair) * length, *b = a + length;
    const int64_t first = min(start, length + b_n), end = min(start + TILE, length + b_n);
    const int warp = threadIdx.x / 32;
    if (warp < 2) {
        int64_t from_a = split(a, length, b, b_n, warp ? end : first);
        if (threadIdx.x % 32 == 0) cut[warp] = from_a;
    }
    __syncthreads();
    const int a_here = (int)(cut[1] - cut[0]), b_here = (int)(end - first) - a_here;
    a += cut[0], b += first - cut[0];
    for (int t = threadIdx.x; t < a_here + b_here; t += THREADS)
        tile[t] = t < a_here ? a[t] : b[t - a_here];
    __syncthreads();
    merge_tile(tile, a_here, b_here);
    to += (row * pairs + pair) * longer + start;
    for (int t = threadIdx.x; t < TILE && start + t < longer; t += THREADS) to[t] = tile[t];
}

/* ---- launches ------------------------------------------------------------------------------- */

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Merges runs until one is left of each row, from one half of `entries` to the other and back. */
template <class E>
static mosaic_status merge_all(const mosaic_cuda *device, const sorting &s, E *entries,
                               int64_t half)
{
    int64_t length = smaller(TILE, s.count);
    E *from = entries, *to = entries + half;
    for (int64_t runs = s.tiles; runs > 1; runs = (runs + 1) / 2) {
        int64_t longer = smaller(2 * length, s.count);
        int64_t blocks = s.rows.count * ((runs + 1) / 2) * ((longer + TILE - 1) / TILE);
        MOSAIC_TRY(mosaic_launch(device, "sort", merge_runs<E>, (unsigned)blocks, THREADS, 0, to,
                                 from, runs, length, longer));
        E *merged = to;
        to = from, from = merged;
        length = longer;
    }
    return mosaic_launch(device, "sort", put_rows<E>, mosaic_walk_blocks(s.rows.count * s.count),
                         MOSAIC_WALK_THREADS, 0, s, from, length);
}

/* The most entries that a row's runs have at any time: a last one without a partner grows, too. */
static int64_t room_of(const sorting &s)
{
    int64_t most = 0, length = smaller(TILE, s.count);
    for (int64_t runs = s.tiles; runs > 1; runs = (runs + 1) / 2) {
        if (runs * length > most) most = runs * length;
        length = smaller(2 * length, s.count);
    }
    return most > length ? most : length;
}

template <class E> static mosaic_status run(const mosaic_cuda *device, const sorting &s)
{
    int64_t blocks = (s.rows.count + s.together - 1) / s.together * s.tiles;
    if (s.tiles == 1)
        return mosaic_launch(device, "sort", sort_tiles<E>, (unsigned)blocks, THREADS, 0, s,
                             (E *)NULL);
    int64_t half = s.rows.count * room_of(s);
    mosaic_tensor scratch = {};
    MOSAIC_TRY(mosaic_cuda_scratch(&scratch, device, MOSAIC_DTYPE_I64,
                                   2 * half * (int64_t)(sizeof(E) / 8)));
    E *entries = (E *)mosaic_data(&scratch);
    mosaic_status status =
        mosaic_launch(device, "sort", sort_tiles<E>, (unsigned)blocks, THREADS, 0, s, entries);
    if (!status) status = merge_all(device, s, entries, half);
    mosaic_tensor_clear(&scratch);
    return status;
}

mosaic_status mosaic_cuda_sort(const mosaic_tensor *values, const mosaic_tensor *indices,
                               const mosaic_tensor *a, int axis, bool descending)
{
    const mosaic_tensor *operands[] = {a, values, indices};
    sorting s = {};
    s.rows = mosaic_walk_axes(3, operands, ~(1u << axis));
    for (int i = 0; i < 3; i++) s.step[i] = operands[i]->stride[axis] * s.rows.operand[i].bytes;
    s.n = a->size[axis], s.count = values->size[axis];
    s.descending = descending;
    s.columns = s.rows.ndim > 0 && llabs(s.rows.step[0][s.rows.ndim - 1]) < llabs(s.step[0]);
    s.tiles = (s.n + TILE - 1) / TILE;
    for (s.length = 1; s.length < s.n && s.length < TILE;) s.length *= 2;
    s.together = TILE / s.length;
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(a)));
    bool fits = s.rows.operand[0].bytes <= 4 && s.n < UINT32_MAX;
    return fits ? run<narrow>(mosaic_cuda_of(a), s) : run<wide>(mosaic_cuda_of(a), s);
}
