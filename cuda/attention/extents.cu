/* extents.cu - what keep and the programs of a mask let through, tile by tile: nothing, everything,
 * or some pairs. Programs are asked with intervals, as core/program.c does it; keep is read. */
#include <launch.h>

#include "../../core/interval.h"
#include "../../core/program.h"
#include "attention.h"
#include "mask.h"

enum { WARP = 32, THREADS = 128, MOST_ENTRIES = 1 << 10 }; /* of a table that are looked through */

/* A program as it lies on the device; NULL steps: there is none. */
typedef struct {
    const mosaic_program_step *steps;
    int count, result, valid, first_table;
} program;

typedef struct {
    mosaic_attention_args args;
    program score, keep_if;
    int64_t b1, heads, q_tiles, k_tiles, count; /* of the map, whose parts are not repeated */
} request;

/* Of one tile of queries, and one of keys. */
typedef struct {
    mosaic_attention_place p;
    int64_t i, j;
} block;

static __device__ block block_of(const request &r, int64_t n)
{
    block b;
    b.j = n % r.k_tiles;
    b.i = (n /= r.k_tiles) % r.q_tiles;
    b.p.head = (n /= r.q_tiles) % r.heads;
    b.p.b1 = (n /= r.heads) % r.b1;
    b.p.b0 = n / r.b1;
    b.p.kv_head = 0;
    return b;
}

/* Both of two masks must let a pair through. */
static __device__ int both(int a, int b)
{
    if (a == MOSAIC_TILE_NONE || b == MOSAIC_TILE_NONE) return MOSAIC_TILE_NONE;
    return a == MOSAIC_TILE_ALL && b == MOSAIC_TILE_ALL ? MOSAIC_TILE_ALL : MOSAIC_TILE_SOME;
}

/* ---- programs ------------------------------------------------------------------------------- */

static __device__ mosaic_program_extent extent_of_program(const mosaic_attention_args &a,
                                                          const program &p, bool scores,
                                                          const double *low, const double *high)
{
    interval r[MOSAIC_PROGRAM_REGISTERS];
    for (const mosaic_program_step *s = p.steps; s < p.steps + p.count; s++) {
        int table = p.first_table + (int)s->value;
        r[s->to] = s->op == MOSAIC_PROGRAM_LOOKUP
                       ? entries(a.tables[table], a.table_sizes[table], r[s->a], MOST_ENTRIES)
                       : of_step(s, r, low, high);
    }
    return extent_of(r[p.result], r[p.valid], scores);
}

static __device__ int extent_of_programs(const request &r, const block &b)
{
    const mosaic_attention_args &a = r.args;
    mosaic_attention_span q = span_of(a.q_span, r.q_tiles, a.nq, a.q_tile, b.i, 0);
    mosaic_attention_span k = span_of(a.k_span, r.k_tiles, a.nk, a.k_tile, b.j, 0);
    double batch = (double)(batch_of(a, b.p) + 1), head = (double)(a.head_from + b.p.head + 1);
    const double low[] = {batch, head, (double)q.position_low, (double)k.position_low};
    const double high[] = {batch, head, (double)q.position_high, (double)k.position_high};
    int extent = MOSAIC_TILE_ALL;
    if (r.keep_if.steps) extent = both(extent, extent_of_program(a, r.keep_if, false, low, high));
    /* what a program of scores does not hide at once, it changes pair by pair */
    if (r.score.steps && extent_of_program(a, r.score, true, low, high) == MOSAIC_PROGRAM_NONE)
        extent = MOSAIC_TILE_NONE;
    return extent;
}

/* A thread per tile. */
static __global__ void ask_programs(const request r)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n < r.count) ((uint8_t *)r.args.extent.data)[n] = extent_of_programs(r, block_of(r, n));
}

/* ---- keep ----------------------------------------------------------------------------------- */

/* A warp per tile. */
static __global__ void read_keep(const request r)
{
    const mosaic_attention_args &a = r.args;
    int64_t n = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (n >= r.count) return; /* the whole warp */
    block b = block_of(r, n);
    int64_t from = b.i * a.q_tile, to = min(from + a.q_tile, a.nq);
    int64_t first = b.j * a.k_tile, end = min(first + a.k_tile, a.nk);
    if (a.keep.row == 0) to = from + 1; /* rows repeat */
    bool any = false, all = true;
    for (int64_t i = from; i < to; i++)
        for (int64_t j = first + threadIdx.x % WARP; j < end; j += WARP) {
            bool kept = a.keep.data[at(a.keep, b.p, i, j)] != 0;
            any = any || kept;
            all = all && kept;
        }
    any = __any_sync(0xffffffffu, any);
    all = __all_sync(0xffffffffu, all);
    int extent = all ? MOSAIC_TILE_ALL : any ? MOSAIC_TILE_SOME : MOSAIC_TILE_NONE;
    if (threadIdx.x % WARP) return;
    uint8_t *own = (uint8_t *)a.extent.data + n;
    bool asked = r.keep_if.steps || r.score.steps;
    *own = (uint8_t)(asked ? both(*own, extent) : extent);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static program program_of(const mosaic_program *p, const mosaic_program_step *steps, int first)
{
    if (!p) return {};
    return {steps, p->value_count, p->result, p->valid, first};
}

mosaic_status mosaic_attention_extents(const mosaic_attention_job *job)
{
    const mosaic_attention_args &a = job->args;
    const mosaic_attention_options &o = job->call->options;
    request r = {};
    r.args = a;
    r.score = program_of(o.score, job->score_steps, 0);
    r.keep_if = program_of(o.keep_if, job->keep_steps, o.score ? o.score->table_count : 0);
    r.q_tiles = (a.nq + a.q_tile - 1) / a.q_tile;
    r.k_tiles = (a.nk + a.k_tile - 1) / a.k_tile;
    r.heads = a.extent.head ? a.heads : 1;
    r.b1 = a.extent.b1 ? a.b1 : 1;
    r.count = (a.extent.b0 ? a.b0 : 1) * r.b1 * r.heads * r.q_tiles * r.k_tiles;
    int64_t blocks = (r.count + THREADS - 1) / THREADS;
    int64_t warps = (r.count + THREADS / WARP - 1) / (THREADS / WARP);
    if (r.score.steps || r.keep_if.steps)
        MOSAIC_TRY(
            mosaic_launch(job->device, "attention", ask_programs, (unsigned)blocks, THREADS, 0, r));
    if (!a.keep.data) return MOSAIC_OK;
    return mosaic_launch(job->device, "attention", read_keep, (unsigned)warps, THREADS, 0, r);
}
