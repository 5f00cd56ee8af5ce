/* SPDX-License-Identifier: BSD-2-Clause */
/* Byte streams between guests and the console: a backlog outwards, a ring inwards. */
#include "hv/core/chardev.h"

#include <string.h>
#include "hv/lib/error.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

int chardev_init(struct chardev *c, const char *name)
{
	*c = (struct chardev){0};
	list_init(&c->link);
	spinlock_init(&c->lock, RANK_CHARDEV);
	str_copy(c->name, sizeof(c->name), name);
	byte_ring_init(&c->in, c->input, CHARDEV_INPUT);
	c->backlog = heap_zalloc(CHARDEV_BACKLOG);
	return c->backlog ? OK : ERR_NOMEM;
}

void chardev_destroy(struct chardev *c)
{
	heap_free(c->backlog);
	c->backlog = NULL;
}

/* Copies to the circular backlog at position out_count; len <= CHARDEV_BACKLOG. */
static void append_locked(struct chardev *c, const uint8_t *data, uint32_t len)
{
	uint32_t at = c->out_count % CHARDEV_BACKLOG, first = MIN(len, CHARDEV_BACKLOG - at);

	memcpy(c->backlog + at, data, first);
	memcpy(c->backlog, data + first, len - first);
	c->out_count += len;
	if (c->out_count - c->out_read > CHARDEV_BACKLOG)
		c->out_read = c->out_count - CHARDEV_BACKLOG; /* the oldest are lost */
}

void chardev_guest_write(struct chardev *c, const void *data, uint32_t len)
{
	const uint8_t *p = data;
	void (*ready)(void *);
	uint64_t flags;
	void *ctx;

	flags = spin_lock(&c->lock);
	for (uint32_t n; len; p += n, len -= n) {
		n = MIN(len, CHARDEV_BACKLOG);
		append_locked(c, p, n);
	}
	ready = c->output_ready;
	ctx = c->output_ctx;
	spin_unlock(&c->lock, flags);
	if (ready)
		ready(ctx);
}

uint32_t chardev_guest_read(struct chardev *c, void *data, uint32_t len)
{
	uint64_t flags = spin_lock(&c->lock);
	uint32_t n = byte_ring_get(&c->in, data, len);

	spin_unlock(&c->lock, flags);
	return n;
}

uint32_t chardev_guest_pending(struct chardev *c)
{
	return byte_ring_used(&c->in);
}

uint32_t chardev_read(struct chardev *c, void *data, uint32_t len)
{
	uint8_t *p = data;
	uint64_t flags = spin_lock(&c->lock);
	uint32_t n = (uint32_t)MIN(c->out_count - c->out_read, (uint64_t)len);
	uint32_t at = c->out_read % CHARDEV_BACKLOG, first = MIN(n, CHARDEV_BACKLOG - at);

	memcpy(p, c->backlog + at, first);
	memcpy(p + first, c->backlog, n - first);
	c->out_read += n;
	spin_unlock(&c->lock, flags);
	return n;
}

uint32_t chardev_write(struct chardev *c, const void *data, uint32_t len)
{
	void (*ready)(void *);
	uint64_t flags;
	uint32_t n;
	void *ctx;

	flags = spin_lock(&c->lock);
	n = byte_ring_put(&c->in, data, len);
	ready = c->input_ready;
	ctx = c->input_ctx;
	spin_unlock(&c->lock, flags);
	if (n && ready)
		ready(ctx);
	return n;
}

void chardev_drop_input(struct chardev *c)
{
	uint64_t flags = spin_lock(&c->lock);

	c->in.tail = c->in.head; /* readers hold the lock as well */
	spin_unlock(&c->lock, flags);
}

void chardev_attach(struct chardev *c, void (*output_ready)(void *), void *ctx)
{
	uint64_t flags = spin_lock(&c->lock);

	c->output_ready = output_ready;
	c->output_ctx = ctx;
	spin_unlock(&c->lock, flags);
}
