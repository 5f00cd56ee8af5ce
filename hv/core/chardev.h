/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A byte stream between a guest's serial device and whoever is attached at the
 * console. Output that nobody reads is kept (the newest CHARDEV_BACKLOG bytes)
 * and shown at the next attach.
 */
#ifndef AMBER_CORE_CHARDEV_H
#define AMBER_CORE_CHARDEV_H

#include "hv/lib/byte_ring.h"
#include "hv/lib/list.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

#define CHARDEV_BACKLOG 65536
#define CHARDEV_INPUT	4096

struct chardev {
	struct list link; /* in the VM's list */
	char name[32];	  /* the device node's name in the manifest, e.g. "serial0" */
	struct spinlock lock;
	uint8_t *backlog;   /* CHARDEV_BACKLOG bytes, circular */
	uint64_t out_count; /* bytes ever written by the guest */
	uint64_t out_read;  /* bytes taken by the reader */
	uint8_t input[CHARDEV_INPUT];
	struct byte_ring in; /* towards the guest */
	/* Called without the lock, any context, when input arrives for the guest. */
	void (*input_ready)(void *ctx);
	void *input_ctx;
	/* Called without the lock when the guest wrote; NULL if nobody is attached. */
	void (*output_ready)(void *ctx);
	void *output_ctx;
};

/* ERR_NOMEM or OK. */
int chardev_init(struct chardev *c, const char *name) MUST_CHECK;
void chardev_destroy(struct chardev *c);
/* Device side. Any context. */
void chardev_guest_write(struct chardev *c, const void *data, uint32_t len);
uint32_t chardev_guest_read(struct chardev *c, void *data, uint32_t len);
uint32_t chardev_guest_pending(struct chardev *c);
/* Console side. */
uint32_t chardev_read(struct chardev *c, void *data, uint32_t len); /* oldest unread first */
uint32_t chardev_write(struct chardev *c, const void *data, uint32_t len);
/* Throws away input that the guest has not taken. */
void chardev_drop_input(struct chardev *c);
void chardev_attach(struct chardev *c, void (*output_ready)(void *), void *ctx); /* NULL detaches */

#endif
