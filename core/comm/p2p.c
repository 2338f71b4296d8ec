/* p2p.c - point to point. */
#include "comm.h"

static mosaic_status check_peer(const char *op, const mosaic_comm *c, int peer, int tag)
{
    MOSAIC_REQUIRE(peer < c->size, "%s: no rank %d in a communicator of %d", op, peer, c->size);
    MOSAIC_REQUIRE(tag >= 0 && tag <= 65535, "%s: tag %d is not in 0..32767", op, tag);
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_send(mosaic_request **request, mosaic_comm *c, const mosaic_tensor *a,
                               int to, int tag)
{
    MOSAIC_TRY(check_peer("send", c, to, tag));
    MOSAIC_REQUIRE(to >= 0, "send: no rank %d", to);
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_SEND, a, 1, 0);
    if (!r) return status;
    r->tag = tag;
    if (!status) status = mosaic_request_send(r, to, a);
    return mosaic_request_begin(request, r, status, NULL);
}

mosaic_status mosaic_comm_recv(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                               int from, int tag)
{
    MOSAIC_TRY(check_peer("recv", c, from, tag));
    MOSAIC_REQUIRE(from >= 0, "recv: no rank %d", from);
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_RECV, out, 1, 0);
    if (!r) return status;
    r->tag = tag;
    mosaic_tensor_note_write(out);
    if (!status) status = mosaic_request_recv(r, from, out);
    return mosaic_request_begin(request, r, status, NULL);
}

mosaic_status mosaic_comm_sendrecv(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                   int from, const mosaic_tensor *a, int to, int tag, int mark)
{
    MOSAIC_TRY(check_peer("sendrecv", c, to, tag));
    MOSAIC_TRY(check_peer("sendrecv", c, from, tag));
    if (to >= 0 && from >= 0) MOSAIC_TRY(mosaic_check_operands("sendrecv", a, out));
    MOSAIC_REQUIRE(to < 0 || from < 0 || !mosaic_overlaps(out, a),
                   "sendrecv: what is received would overwrite what is sent");
    const mosaic_tensor *operand = to >= 0 ? a : out;
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_SENDRECV, operand, 2, mark);
    if (!r) return status;
    r->tag = tag;
    if (to >= 0 && !status) status = mosaic_request_send(r, to, a);
    if (from >= 0 && !status) {
        mosaic_tensor_note_write(out);
        status = mosaic_request_recv(r, from, out);
    }
    return mosaic_request_begin(request, r, status, NULL);
}
