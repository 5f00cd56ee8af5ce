/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The byte ring. The producer publishes head after the bytes are in place, the
 * consumer publishes tail after it has taken them: release here, acquire there.
 */
#include "hv/lib/byte_ring.h"
#include <string.h>

void byte_ring_init(struct byte_ring *r, void *buf, uint32_t size)
{
	*r = (struct byte_ring){.buf = buf, .size = size};
}

uint32_t byte_ring_used(const struct byte_ring *r)
{
	uint32_t tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) - tail;
}

uint32_t byte_ring_free(const struct byte_ring *r)
{
	return r->size - byte_ring_used(r);
}

uint32_t byte_ring_put(struct byte_ring *r, const void *data, uint32_t len)
{
	uint32_t head = r->head, at = head & (r->size - 1);
	uint32_t room = byte_ring_free(r); /* read once: it grows while we look */
	uint32_t n = MIN(len, room);
	uint32_t first = MIN(n, r->size - at);

	if (!n)
		return 0;
	memcpy(r->buf + at, data, first);
	memcpy(r->buf, (const uint8_t *)data + first, n - first);
	__atomic_store_n(&r->head, head + n, __ATOMIC_RELEASE);
	return n;
}

uint32_t byte_ring_get(struct byte_ring *r, void *data, uint32_t len)
{
	uint32_t tail = r->tail, at = tail & (r->size - 1);
	uint32_t used = byte_ring_used(r); /* read once: it grows while we look */
	uint32_t n = MIN(len, used);
	uint32_t first = MIN(n, r->size - at);

	if (!n)
		return 0;
	memcpy(data, r->buf + at, first);
	memcpy((uint8_t *)data + first, r->buf, n - first);
	__atomic_store_n(&r->tail, tail + n, __ATOMIC_RELEASE);
	return n;
}
