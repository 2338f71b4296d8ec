/* tiles.c - what Hopper copies by: barriers in shared memory that count arrivals and bytes, maps of
 * tensors, and copies of their tiles, as the PTX manual has them (mbarrier, cp.async.bulk.tensor).
 *
 * A tile lands when somebody waits for its barrier and no thread of the block can go on without it;
 * where it goes is overwritten at once. So who does not wait for it reads garbage, and who asks for
 * it too early spoils what others still read. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda.h"
#include "warpgroup.h"

static void complain(const char *format, long long a, long long b)
{
    char text[256];
    snprintf(text, sizeof text, format, a, b);
    mosaic_emulated_complain(text);
}

/* ---- addresses ------------------------------------------------------------------------------ */

enum { FIRST = 1024 }; /* address of a block's shared memory: the system's is before it */

uint32_t mosaic_emulated_address(const void *at)
{
    ptrdiff_t offset = (const unsigned char *)at - mosaic_emulated_shared();
    if (offset < 0 || (size_t)offset > mosaic_emulated_shared_bytes())
        complain("an address outside of dynamic shared memory, of %lld bytes: %lld",
                 (long long)mosaic_emulated_shared_bytes(), offset);
    return FIRST + (uint32_t)offset;
}

void *mosaic_emulated_at(uint32_t address, int bytes, int aligned)
{
    size_t end = (size_t)address + (size_t)bytes;
    if (address < FIRST || end > FIRST + mosaic_emulated_shared_bytes())
        complain("%lld bytes at %lld are not all in shared memory", bytes, address);
    if (address % (uint32_t)aligned)
        complain("address %lld in shared memory is no multiple of %lld", address, aligned);
    return mosaic_emulated_shared() + address - FIRST;
}

/* ---- barriers ------------------------------------------------------------------------------- */

enum { MOST = (1 << 20) - 1, MARK = 1 };

/* As it lies in shared memory. */
typedef struct {
    unsigned pending : 20, parity : 1; /* arrivals that the phase lacks; of the phase under way */
    int bytes : 21;                    /* that it lacks */
    unsigned arrivals : 20;            /* of every phase */
    unsigned mark : 2;
} __attribute__((packed)) barrier_state;
_Static_assert(sizeof(barrier_state) == 8, "a barrier has 64 bits");

typedef union {
    uint64_t word;
    barrier_state is;
} barrier_word;

static bool published; /* the barriers of this block to the copy engine */

static barrier_word read_barrier(uint32_t address)
{
    barrier_word b = {.word = *(uint64_t *)mosaic_emulated_at(address, 8, 8)};
    if (b.is.mark != MARK)
        complain("%lld is no barrier: it holds %llx", address, (long long)b.word);
    return b;
}

/* The phase ends when nothing is missing any more. */
static void write_barrier(uint32_t address, barrier_word b)
{
    if (b.is.pending == 0 && b.is.bytes == 0) {
        b.is.parity ^= 1;
        b.is.pending = b.is.arrivals;
    }
    *(uint64_t *)mosaic_emulated_at(address, 8, 8) = b.word;
}

void mosaic_emulated_barrier_init(uint32_t address, int arrivals)
{
    barrier_word b = {0};
    if (arrivals < 1 || arrivals > MOST) complain("a barrier of %lld arrivals", arrivals, 0);
    b.is = (barrier_state){
        .pending = (unsigned)arrivals & MOST, .arrivals = (unsigned)arrivals & MOST, .mark = MARK};
    *(uint64_t *)mosaic_emulated_at(address, 8, 8) = b.word;
    published = false;
}

void mosaic_emulated_barrier_publish(void) { published = true; }

static void expect(barrier_word *b, int64_t bytes)
{
    int64_t sum = b->is.bytes + bytes;
    if (sum > MOST || sum < -MOST) complain("a barrier cannot count %lld bytes", sum, 0);
    b->is.bytes = (int)sum;
}

void mosaic_emulated_barrier_arrive(uint32_t address, int expected_bytes)
{
    barrier_word b = read_barrier(address);
    expect(&b, expected_bytes);
    if (b.is.pending == 0)
        complain("more arrive at the barrier at %lld than the %lld that a phase has", address,
                 b.is.arrivals);
    b.is.pending--;
    write_barrier(address, b);
}

typedef struct {
    uint32_t address;
    unsigned parity;
} waiting;

enum { MAX_THREADS = 1024 };
static uint32_t awaited[MAX_THREADS]; /* the barrier that a thread waits for; 0: none */

static bool is_awaited(uint32_t barrier)
{
    bool any = false;
    for (int i = 0; i < mosaic_emulated_threads(); i++) any = any || awaited[i] == barrier;
    return any;
}

static bool phase_ended(void *context)
{
    const waiting *w = context;
    return read_barrier(w->address).is.parity != w->parity;
}

static void describe_barrier(char *text, size_t room, void *context)
{
    const waiting *w = context;
    barrier_word b = read_barrier(w->address);
    snprintf(text, room,
             "for the end of phase parity %u of the barrier at %u, which is in phase parity "
             "%u and lacks %u of %u arrivals and %d bytes",
             w->parity, w->address, b.is.parity, b.is.pending, b.is.arrivals, b.is.bytes);
}

void mosaic_emulated_barrier_wait(uint32_t address, int parity)
{
    static const mosaic_emulated_condition until = {phase_ended, describe_barrier};
    waiting w = {address, (unsigned)parity};
    if (parity & ~1) complain("parity %lld", parity, 0);
    awaited[mosaic_emulated_number()] = address;
    mosaic_emulated_until(&until, &w);
    awaited[mosaic_emulated_number()] = 0;
}

/* ---- maps ----------------------------------------------------------------------------------- */

enum { AXES = 5, MARK_OF_MAPS = 0x6d61 };

/* What is in a map, in bytes where it is not counts. */
typedef struct {
    const char *data;
    uint32_t size[AXES];
    uint32_t stride[AXES - 1]; /* by 16 */
    uint16_t box[AXES];
    uint8_t element, swizzle, axes;
    uint16_t mark;
} tile_map;
_Static_assert(sizeof(tile_map) <= sizeof(CUtensorMap), "a map is 128 bytes");

static int bytes_of(CUtensorMapDataType type)
{
    return type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4
           : type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1
                                                   : 2;
}

static bool can_encode(int element, cuuint32_t axes, const void *data, const cuuint64_t *sizes,
                       const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *steps,
                       CUtensorMapSwizzle swizzle)
{
    const cuuint32_t row = box[0] * (cuuint32_t)element;
    bool fits = axes >= 1 && axes <= AXES && (uintptr_t)data % 16 == 0 && row % 16 == 0;
    for (cuuint32_t i = 0; fits && i < axes; i++)
        fits = sizes[i] > 0 && sizes[i] <= 1ull << 32 && box[i] > 0 && box[i] <= 256 &&
               steps[i] == 1 &&
               (i == 0 || (strides[i - 1] % 16 == 0 && strides[i - 1] < 1ull << 40));
    return fits && (swizzle == CU_TENSOR_MAP_SWIZZLE_NONE || row == 16u << swizzle);
}

/* cuTensorMapEncodeTiled, but for boxes that are narrower than their swizzle, or have steps.
 * Strides go from axis 1 on, and may be anything where an axis has one element only. */
static CUresult encode(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t axes, void *data,
                       const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                       const cuuint32_t *steps, CUtensorMapInterleave interleave,
                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                       CUtensorMapFloatOOBfill fill)
{
    int element = bytes_of(type);
    (void)promotion;
    if ((uintptr_t)map % _Alignof(CUtensorMap) || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
        fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE ||
        !can_encode(element, axes, data, sizes, strides, box, steps, swizzle))
        return CUDA_ERROR_INVALID_VALUE;
    tile_map m = {.data = data,
                  .element = (uint8_t)element,
                  .swizzle = (uint8_t)swizzle,
                  .axes = (uint8_t)axes,
                  .mark = MARK_OF_MAPS};
    for (cuuint32_t i = 0; i < axes; i++) {
        m.size[i] = (uint32_t)(sizes[i] - 1);
        m.box[i] = (uint16_t)box[i];
        if (i > 0) m.stride[i - 1] = (uint32_t)(strides[i - 1] / 16);
    }
    memset(map, 0, sizeof *map);
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result)
{
    CUresult (*found)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                      const cuuint64_t *, const cuuint32_t *, const cuuint32_t *,
                      CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                      CUtensorMapFloatOOBfill) = encode;
    bool there = !strcmp(name, "cuTensorMapEncodeTiled");
    (void)version, (void)flags;
    *function = NULL;
    if (there) memcpy(function, &found, sizeof found);
    *result = there ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

/* ---- copies --------------------------------------------------------------------------------- */

typedef struct {
    tile_map map;
    uint32_t to, barrier;
    int from[AXES];
} tile;

static tile *tiles; /* under way, the oldest first */
static int tile_count, tile_room;

/* Bits of the address go by the rows that it is in: 16-byte words change places. */
static uint32_t swizzled(uint32_t address, int mode)
{
    return address ^ ((address >> 7 & ((1u << mode) - 1)) << 4);
}

static int tile_elements(const tile_map *m)
{
    int count = 1;
    for (int i = 0; i < m->axes; i++) count *= m->box[i];
    return count;
}

/* Where element n of the box comes from; NULL: it is outside, and 0. */
static const char *source_of(const tile *t, int n)
{
    const tile_map *m = &t->map;
    const char *from = m->data;
    for (int i = 0; i < m->axes; i++) {
        int64_t at = t->from[i] + n % m->box[i];
        if (at < 0 || at > m->size[i]) return NULL;
        from += at * (i == 0 ? m->element : (int64_t)m->stride[i - 1] * 16);
        n /= m->box[i];
    }
    return from;
}

static void land(const tile *t)
{
    int element = t->map.element, count = tile_elements(&t->map);
    for (int n = 0; n < count; n++) {
        const char *from = source_of(t, n);
        uint32_t to = swizzled(t->to + (uint32_t)(n * element), t->map.swizzle);
        void *at = mosaic_emulated_at(to, element, element);
        if (from)
            memcpy(at, from, (size_t)element);
        else
            memset(at, 0, (size_t)element);
    }
    barrier_word b = read_barrier(t->barrier);
    expect(&b, -(int64_t)element * count);
    write_barrier(t->barrier, b);
}

bool mosaic_emulated_land(bool latest)
{
    int n = -1;
    for (int i = 0; i < tile_count && (n < 0 || latest); i++)
        if (is_awaited(tiles[i].barrier)) n = i;
    if (n < 0) return false;
    tile t = tiles[n];
    memmove(&tiles[n], &tiles[n + 1], (size_t)(--tile_count - n) * sizeof *tiles);
    land(&t);
    return true;
}

void mosaic_emulated_no_tiles(void)
{
    if (tile_count) mosaic_emulated_complain("a block ended before its tiles came");
}

void mosaic_emulated_tile(uint32_t to, const void *map, uint32_t barrier, const int *from, int axes)
{
    tile t = {.to = to, .barrier = barrier};
    mosaic_emulated_aligned(map, _Alignof(CUtensorMap));
    memcpy(&t.map, map, sizeof t.map);
    memcpy(t.from, from, (size_t)axes * sizeof *from);
    if (t.map.mark != MARK_OF_MAPS || t.map.axes != axes)
        mosaic_emulated_complain("a tile of what is no map of so many axes");
    if (!published) mosaic_emulated_complain("the copy engine does not know of the barriers yet");
    read_barrier(barrier);
    int bytes = tile_elements(&t.map) * t.map.element;
    memset(mosaic_emulated_at(to, bytes, 128), 0xff, (size_t)bytes);
    if (tile_count == tile_room) {
        tile_room = tile_room ? 2 * tile_room : 16;
        tiles = realloc(tiles, (size_t)tile_room * sizeof *tiles);
        if (!tiles) mosaic_emulated_complain("no memory for tiles");
    }
    tiles[tile_count++] = t;
}
