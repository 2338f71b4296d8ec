/* prepare.c - requests before they are launched: operands, and the messages of the next phase. */
#include <stdlib.h>
#include <string.h>

#include "payload.h"

mosaic_tensor mosaic_flat_range(const mosaic_tensor *a, int64_t start, int64_t length)
{
    return (mosaic_tensor){.storage = a->storage,
                           .offset = a->offset + (length ? start : 0),
                           .dtype = a->dtype,
                           .ndim = 1,
                           .size = {length},
                           .stride = {1}};
}

static mosaic_status check_operand(const char *op, const mosaic_comm *c, const mosaic_tensor *a)
{
    const mosaic_transport *transport = c->endpoint->transport;
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    const mosaic_device *device = mosaic_device_of(a);
    if (device == &mosaic_cpu_device || transport->devices) return MOSAIC_OK;
    const mosaic_card *card; /* refuses a second device, while nothing has been sent */
    if (device->lane_new && transport->post) return mosaic_payload_card(&card, device, c->endpoint);
    return mosaic_fail(MOSAIC_ENOTSUP, "%s: %s communicators do not move %s on %s", op,
                       transport->name, mosaic_tensor_describe(a), device->name);
}

mosaic_status mosaic_request_new(mosaic_request **out, mosaic_comm *c, mosaic_comm_kind kind,
                                 const mosaic_tensor *a, int capacity, int mark)
{
    const char *name = mosaic_comm_kind_name(kind);
    if (a) MOSAIC_TRY(check_operand(name, c, a));
    mosaic_request *r =
        calloc(1, sizeof *r + (size_t)(capacity > 0 ? capacity : 1) * sizeof r->transfers[0]);
    if (!r) return mosaic_fail(MOSAIC_ENOMEM, "%s: no memory for %d messages", name, capacity);
    r->comm = c;
    c->references++;
    r->references = 1;
    r->kind = kind;
    r->device = a ? mosaic_device_of(a) : &mosaic_cpu_device;
    r->dtype = a ? a->dtype : MOSAIC_DTYPE_U8;
    r->root = -1;
    r->sequence = -1;
    r->count = a ? mosaic_tensor_numel(a) : 0;
    r->mark = mark;
    r->capacity = capacity;
    r->status = MOSAIC_PENDING;
    *out = r;
    return a ? mosaic_alias(&r->in, a) : MOSAIC_OK;
}

mosaic_status mosaic_request_output(mosaic_request *r, mosaic_tensor *out, int ndim,
                                    const int64_t *size)
{
    const char *name = mosaic_comm_kind_name(r->kind);
    MOSAIC_TRY(mosaic_output(out, name, r->dtype, ndim, size, r->device));
    mosaic_tensor_note_write(out);
    return mosaic_alias(&r->out, out);
}

mosaic_status mosaic_request_flat_output(mosaic_request *r, mosaic_tensor *out, int ndim,
                                         const int64_t *size)
{
    MOSAIC_TRY(mosaic_request_output(r, out, ndim, size));
    if (mosaic_tensor_is_contiguous(out)) return mosaic_alias(&r->flat, out);
    const char *name = mosaic_comm_kind_name(r->kind);
    return mosaic_output(&r->flat, name, r->dtype, ndim, size, r->device);
}

static void set_shape(mosaic_envelope *e, int ndim, const int64_t *size)
{
    e->ndim = ndim;
    for (int i = 0; i < ndim; i++) e->size[i] = size[i];
}

static void set_family(mosaic_envelope *e, const mosaic_device *device)
{
    size_t length = strcspn(device->name, ":");
    memcpy(e->family, device->name, length < sizeof e->family ? length : sizeof e->family);
}

/* The next free transfer. Operations ask for as many as they use. */
static mosaic_transfer *prepare(mosaic_request *r, int peer, const mosaic_tensor *view)
{
    mosaic_transfer *t = &r->transfers[r->posted++];
    int64_t count = mosaic_tensor_numel(view);
    *t = (mosaic_transfer){.peer = peer, .world_peer = r->comm->ranks[peer]};
    t->owner = r->comm->endpoint;
    /* Both halves of point to point are one kind: a sendrecv may receive what a send sent. */
    bool p2p = r->kind <= MOSAIC_COMM_SENDRECV;
    t->envelope = (mosaic_envelope){
        .kind = p2p ? MOSAIC_COMM_SENDRECV : (uint8_t)r->kind,
        .dtype = (uint8_t)r->dtype,
        .op = (uint8_t)r->op,
        .root = r->root,
        .axis = (int16_t)r->axis,
        .join = (int16_t)r->join,
        .bytes = count * mosaic_dtype_bytes((mosaic_dtype)r->dtype),
    };
    set_family(&t->envelope, r->device);
    const mosaic_tensor *shape = r->uniform ? &r->in : view;
    set_shape(&t->envelope, shape->ndim, shape->size);
    return t;
}

mosaic_status mosaic_request_send(mosaic_request *r, int peer, const mosaic_tensor *view)
{
    mosaic_transfer *t = prepare(r, peer, view);
    if (mosaic_tensor_is_contiguous(view)) return mosaic_alias(&t->packed, view);
    return mosaic_convert(&t->packed, view, (mosaic_dtype)view->dtype, NULL);
}

mosaic_status mosaic_request_recv(mosaic_request *r, int peer, const mosaic_tensor *view)
{
    mosaic_transfer *t = prepare(r, peer, view);
    t->receives = true;
    if (mosaic_tensor_is_contiguous(view)) return mosaic_alias(&t->packed, view);
    MOSAIC_TRY(mosaic_alias(&t->target, view));
    return mosaic_output(&t->packed, mosaic_comm_kind_name(r->kind), view->dtype, view->ndim,
                         view->size, r->device);
}
