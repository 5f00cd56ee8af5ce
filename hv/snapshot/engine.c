/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's store: finding it, sharing it, write epochs, which machines are frozen. */
#include "hv/snapshot/engine.h"

#include <string.h>
#include "hv/block/block.h"
#include "hv/block/guids.h"
#include "hv/core/vtimer.h"
#include "hv/dev/virtio_blk.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/mark_disks.h"
#include "hv/snapshot/overlay_blk.h"
#include "hv/snapshot/store_blk.h"

static struct mutex lock; /* protects the store: one caller at a time */
static struct store *store;
static struct store_io store_io; /* what is under it */
static struct blk_dev *partition;
static struct errmsg why_not; /* if there is no store */
static bool lost;	      /* it was there, and could not be opened again */
static unsigned waiting;      /* threads that want the lock; atomic */
static unsigned holders;      /* users that keep the store over several locks */
static uint64_t raised;	      /* write epochs; atomic */

bool engine_is_wanted(void)
{
	return __atomic_load_n(&waiting, __ATOMIC_RELAXED) != 0;
}

struct store *engine_store_if_mine(void)
{
	return lock.owner == thread_current() ? store : NULL;
}

static struct blk_dev *find_partition(void)
{
	static const uint8_t type[16] = GUID_STORE_BYTES;
	struct blk_dev *d;

	for (unsigned i = 0; (d = blk_get(i)); i++)
		if (memcmp(d->type_guid, type, sizeof(type)) == 0)
			return d;
	return NULL;
}

/* Unique enough for one machine's life: names, and when it happened. */
void engine_make_id(uint8_t id[16])
{
	uint64_t parts[2] = {wall_time(), time_now() * 0x9e3779b97f4a7c15ULL};

	memcpy(id, parts, 16);
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x80); /* RFC 9562: version 8, variant 1 */
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static int open_or_make(struct blk_dev *d, struct errmsg *e)
{
	uint8_t uuid[16];
	int err = store_open(&store_io, true, &store, e);

	if (err != ERR_NOENT)
		return err;
	log_info("partition '%s': making an empty snapshot store", d->name);
	engine_make_id(uuid);
	err = store_format(&store_io, uuid, e);
	return err ? err : store_open(&store_io, true, &store, e);
}

/* Only a partition that never had a store is given one. */
static int open_store(struct blk_dev *d, bool may_make, struct errmsg *e)
{
	int err = store_blk_io(d, &store_io);

	if (err)
		return err_set(e, err, "partition '%s': out of memory", d->name);
	err = may_make ? open_or_make(d, e) : store_open(&store_io, true, &store, e);
	if (err)
		store_blk_destroy(&store_io);
	return err ? err_prefix(e, err, "partition '%s'", d->name) : OK;
}

static void close_store(void)
{
	store_close(store);
	store = NULL;
	store_blk_destroy(&store_io);
}

static void open_again(void)
{
	lost = open_store(partition, false, &why_not) != OK;
	if (!lost)
		overlay_blk_reattach(store);
}

/* After an error of the disk in the middle of a commit only opening anew tells what is on it. */
static void reopen_if_broken(void)
{
	struct store_stat st;

	if (!store || holders)
		return;
	store_stat(store, &st);
	if (st.writable)
		return;
	log_warn("snapshot store: opening it again after an error");
	close_store();
	open_again();
	if (lost) /* whoever wants it next tries again */
		log_error("snapshot store: %s", why_not.text);
}

void engine_lock_only(void)
{
	__atomic_fetch_add(&waiting, 1, __ATOMIC_RELAXED);
	mutex_lock(&lock);
	__atomic_fetch_sub(&waiting, 1, __ATOMIC_RELAXED);
}

struct store *engine_lock(struct errmsg *e)
{
	engine_lock_only();
	if (lost)
		open_again();
	if (store)
		return store;
	err_set(e, ERR_NOENT, "%s", why_not.text);
	mutex_unlock(&lock);
	return NULL;
}

void engine_unlock(void)
{
	reopen_if_broken();
	mutex_unlock(&lock);
}

void engine_hold(void)
{
	holders++;
}

void engine_let_go(void)
{
	holders--;
}

void engine_release(void)
{
	mutex_lock(&lock);
	engine_let_go();
	engine_unlock();
}

uint64_t engine_epochs_raised(void)
{
	return __atomic_load_n(&raised, __ATOMIC_SEQ_CST);
}

/* Every message of a failed save or restore begins with the snapshot's name; what the host lacks
 * follows it as a sentence. */
int engine_error(const char *name, int err, struct errmsg *e)
{
	static const char start[] = "snapshot '";

	if (err && strncmp(e->text, "needs ", 6) == 0) {
		struct errmsg what = *e;

		return err_set(e, err, "snapshot '%s' %s", name, what.text);
	}
	if (err && strncmp(e->text, start, sizeof(start) - 1) != 0)
		err_prefix(e, err, "snapshot '%s'", name);
	return err;
}

/* Before a guest's first write after a boot or a save (see virtio_blk.h). */
static int first_write(struct vm *vm, struct blk_dev *backend)
{
	struct errmsg e;
	struct store *s;
	uint64_t epoch;
	int err;

	if (overlay_blk_is(backend))
		return OK; /* snapshots of it have layers of their own */
	s = engine_lock(&e);
	/* No store at all: no snapshot that could be put over this disk. One that does not open is
	 * another matter. */
	if (!s)
		return partition ? ERR_IO : OK;
	err = store_epoch_bump(s, backend->part_guid, &epoch, &e);
	__atomic_fetch_add(&raised, 1, __ATOMIC_SEQ_CST);
	engine_unlock();
	if (err)
		log_error("vm '%s': disk '%s': cannot record that it changes: %s", vm->config.name,
		    backend->label, e.text);
	return err;
}

void engine_init(void)
{
	partition = find_partition();
	mutex_init(&lock, RANK_STORE);
	if (!partition)
		err_set(&why_not, ERR_NOENT,
		    "no snapshot store: no disk has a partition of type %s; make one with "
		    "tools/mkimage or sgdisk",
		    GUID_STORE_TEXT);
	else if (open_store(partition, true, &why_not))
		log_error("snapshot store: %s", why_not.text);
	mark_disks_init();
	virtio_blk_before_first_write = first_write;
	overlay_blk_init();
}

bool engine_is_frozen(const struct vm_config *c)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);
	bool frozen = true; /* in doubt it waits: started, it would spoil its own snapshot */

	if (!s) {
		if (partition)
			log_error("vm '%s' is not started: %s", c->name, e.text);
		return partition;
	}
	if (store_frozen_get(s, c->uuid, &frozen, &e)) {
		log_error("vm '%s' is not started: %s", c->name, e.text);
		frozen = true;
	}
	engine_unlock();
	return frozen;
}

int engine_clear_frozen(const struct vm_config *c, struct errmsg *e)
{
	struct errmsg none;
	struct store *s = engine_lock(&none);
	int err;

	if (!s)
		return OK;
	err = store_thaw(s, c->uuid, e);
	engine_unlock();
	return err;
}
