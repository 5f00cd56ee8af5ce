/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A byte ring with one producer and one consumer, which need no lock between
 * each other. size is a power of two. Counts run freely and wrap.
 */
#ifndef AMBER_LIB_BYTE_RING_H
#define AMBER_LIB_BYTE_RING_H

#include "hv/lib/types.h"

struct byte_ring {
	uint8_t *buf;
	uint32_t size;
	uint32_t head; /* written by the producer */
	uint32_t tail; /* written by the consumer */
};

void byte_ring_init(struct byte_ring *r, void *buf, uint32_t size);
uint32_t byte_ring_used(const struct byte_ring *r);
uint32_t byte_ring_free(const struct byte_ring *r);
/* Both return how many bytes were moved, 0..len. */
uint32_t byte_ring_put(struct byte_ring *r, const void *data, uint32_t len);
uint32_t byte_ring_get(struct byte_ring *r, void *data, uint32_t len);

#endif
