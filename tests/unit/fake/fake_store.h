/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk in memory for tests of the store. It can record every write and flush, fail from
 * the n-th operation on, and keep submitted requests undone until they are waited for, as
 * a real disk may.
 */
#ifndef AMBER_TESTS_FAKE_STORE_H
#define AMBER_TESTS_FAKE_STORE_H

#include "hv/snapshot/snapshot.h"

struct fake_op {
	bool flush;
	uint64_t block;
	uint8_t *data; /* one block; a longer write is several operations */
};

struct mem_disk {
	uint8_t *data;
	uint64_t nblocks;
	bool record;
	struct fake_op *ops;
	size_t nops, cap;
	int fail_after; /* operations until all fail with ERR_IO; -1: never */
	unsigned in_flight, max_in_flight;
	uint64_t reads, writes, flushes;
	struct store_io io;
};

void mem_disk_init(struct mem_disk *d, uint64_t nblocks, bool async);
void mem_disk_free(struct mem_disk *d);
void mem_disk_forget(struct mem_disk *d); /* the operations recorded so far */

/* Deterministic numbers. */
uint32_t fake_random(uint64_t *seed);

/* Content of a fake guest: RAM of n bytes with zeros, text-like and random parts. */
void fake_ram_fill(uint8_t *ram, size_t n, uint64_t seed);
/* A small legal state tree (from heap_alloc). */
void *fake_tree(uint32_t mark, size_t bytes, size_t *size);
/* Saves a snapshot of this RAM at guest-physical address base. */
int fake_save(struct store *s, const char *name, uint32_t mark, const uint8_t *ram, size_t n,
    uint64_t base, bool replace, struct errmsg *e);
/* The same at 0, and the machine is frozen. */
int fake_freeze(struct store *s, const char *name, uint32_t mark, const uint8_t *ram, size_t n,
    const uint8_t uuid[16], struct errmsg *e);
/* What changed since the parent: every third page of RAM at 0, from the last to the first. */
int fake_save_child(struct store *s, const char *name, const char *parent, uint32_t mark,
    const uint8_t *ram, size_t n, bool replace, struct errmsg *e);
/* A number that stands for everything that can be read out of the store: snapshots and epochs. */
uint64_t fake_digest(struct store *s);

/*
 * Does everything that can be done with a store to one that may lie in every byte: lists, reads,
 * checks, raises an epoch, grows, saves, replaces, deletes. What comes of it is of no matter.
 */
void fake_use_all(struct mem_disk *d);

/*
 * Makes all checksums of a store's image right again after a test has changed bytes in it: so
 * that the readers' other checks are what has to stop the lie. Only checksums change.
 */
void fake_reseal(uint8_t *image, uint64_t nblocks);

#endif
