/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The firmware configuration interface (QEMU, docs/specs/fw_cfg): numbered items, some of them
 * files with names, which say what the machine is made of. The guest selects one and reads it byte
 * by byte from a port, or has it put into its memory.
 *
 * All items but one are read-only and made with the machine, so that none of them is state. What is
 * read behind the end of an item, or of an item that does not exist, is zero. Firmware tells by a
 * file that it writes where it has put the generation ID: the file's bytes are that device's state.
 *
 * A transfer is over when the register write that started it is. Only if guest memory cannot be
 * had (ERR_RETRY) it is put off: the machine is being stopped then, and once it goes on a thread
 * does all of the transfer again; that the guest has not seen a part of it twice is of no meaning,
 * for nothing but its memory has changed, and the address in that file, which is written again. The
 * guest waits for the control word as it always does.
 */
#include "hv/dev/fw_cfg.h"

#include <string.h>
#include "hv/core/device.h"
#include "hv/core/e820.h"
#include "hv/core/gmem.h"
#include "hv/core/iobus.h"
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/dev/acpi_pm.h"
#include "hv/dev/acpi_tables.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

/* Registers, from FW_CFG_PORTS on. */
enum fw_cfg_reg {
	REG_SELECTOR = 0, /* 16 bits, little-endian, write-only */
	REG_DATA = 1,
	REG_CONTROL_LEN = 2, /* of these two */
	REG_DMA = 4,	     /* 64 bits, big-endian, in two halves; the low one starts */
	REG_DMA_LEN = 8,
};

enum fw_cfg_key {
	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_UUID = 0x02,
	KEY_RAM_SIZE = 0x03,
	KEY_NO_GRAPHICS = 0x04,
	KEY_CPUS = 0x05,
	KEY_BOOT_MENU = 0x0e,
	KEY_MAX_CPUS = 0x0f,
	KEY_FILE_DIR = 0x19,
	KEY_FILES = 0x20,
	/* set in a key that is selected to be written; it names the same item */
	KEY_WRITE = 0x4000,
};
enum fw_cfg_id { ID_TRADITIONAL = 1 << 0, ID_DMA = 1 << 1 };

/* The structure that describes a transfer, in guest memory, big-endian. */
enum dma_layout { DMA_CONTROL = 0, DMA_LENGTH = 4, DMA_ADDRESS = 8, DMA_SIZE = 16 };
enum dma_control {
	DMA_ERROR = 1 << 0,
	DMA_READ = 1 << 1,
	DMA_SKIP = 1 << 2,
	DMA_SELECT = 1 << 3, /* the upper half is the key */
	DMA_WRITE = 1 << 4,
	DMA_KEY_SHIFT = 16,
};
static const char dma_signature[REG_DMA_LEN] = "QEMU CFG"; /* not terminated */

enum {
	/* A read may go that far behind the end of its item: no more than this and one item is
	 * stored at a time, whatever length the guest writes down. */
	ZEROS_MAX = 64 * 1024,
	DIR_ENTRY = 64, /* of the directory, behind its count */
	DIR_SIZE = 4 + FW_CFG_FILES_MAX * DIR_ENTRY,
	VALUES_MAX = 16,  /* items that are not files */
	WRITABLE_MAX = 8, /* bytes of a file that the guest may write */
};

struct fw_cfg_state {
	uint64_t pending; /* address of the structure of a transfer put off */
	uint32_t offset;
	uint32_t dma_high;
	uint16_t selector;
	uint8_t is_pending;
};

static const struct state_field fields[] = {
    STATE_INT(struct fw_cfg_state, selector, "selector", 0xffff, "key of the selected item"),
    STATE_INT(struct fw_cfg_state, offset, "offset", 0xffffffff,
	"bytes of the item that were read; what is behind its end reads as zeros"),
    STATE_INT(struct fw_cfg_state, dma_high, "dma-high", 0xffffffff,
	"upper half of the DMA address register"),
    STATE_INT(struct fw_cfg_state, is_pending, "is-pending", 1,
	"a transfer is to be done when the machine goes on"),
    STATE_INT(struct fw_cfg_state, pending, "pending", STATE_ANY,
	"guest-physical address of its structure; 0: none"),
    STATE_END,
};

struct item {
	uint16_t key;
	uint32_t len;
	uint8_t *data;
	/*
	 * The guest may write the data, which then are somebody else's; called when it has.
	 * ERR_RETRY puts the transfer off. NULL: it may not.
	 */
	int (*written)(struct vm *vm);
	char name[FW_CFG_NAME_SIZE]; /* of a file */
};

struct fw_cfg {
	struct mutex lock; /* protects st */
	struct fw_cfg_state st;
	struct vm *vm;
	struct io_region control, dma;
	struct thread *worker; /* while the machine runs, for a transfer that was put off */
	/* these do not change once the machine is built */
	unsigned nitems, nfiles;
	struct item item[VALUES_MAX + FW_CFG_FILES_MAX];
	struct item *dir; /* the one with the list of files */
};

/* --- items ---------------------------------------------------------------------------------- */

static const struct item *find_item(const struct fw_cfg *f, uint16_t key)
{
	for (unsigned i = 0; i < f->nitems; i++)
		if (f->item[i].key == (key & ~KEY_WRITE))
			return &f->item[i];
	return NULL;
}

/* What is left of the item at offset; NULL and 0 if there is nothing. */
static const uint8_t *item_at(const struct fw_cfg *f, uint16_t key, uint32_t offset, uint32_t *left)
{
	const struct item *i = find_item(f, key);

	*left = i && offset < i->len ? i->len - offset : 0;
	return *left ? i->data + offset : NULL;
}

/* A copy of the data; NULL: zeros. */
static int add_item(struct fw_cfg *f, uint16_t key, const void *data, size_t len, const char *name)
{
	struct item *i = &f->item[f->nitems];

	*i = (struct item){.key = key, .len = (uint32_t)len, .data = heap_zalloc(MAX(len, 1UL))};
	if (!i->data)
		return ERR_NOMEM;
	if (data)
		memcpy(i->data, data, len);
	str_copy(i->name, sizeof(i->name), name);
	f->nitems++;
	return OK;
}

static int check_file(const struct fw_cfg *f, const char *name, size_t len)
{
	size_t n = strlen(name);

	if (n == 0 || n >= FW_CFG_NAME_SIZE)
		return ERR_INVAL;
	if (len > FW_CFG_FILE_MAX)
		return ERR_RANGE;
	if (f->nfiles == FW_CFG_FILES_MAX)
		return ERR_FULL;
	for (unsigned i = 0; i < f->nitems; i++)
		if (strcmp(f->item[i].name, name) == 0)
			return ERR_EXIST;
	return OK;
}

/* Its entry in the directory, which has the room. */
static void list_file(struct fw_cfg *f, const struct item *file)
{
	uint8_t *entry = f->dir->data + f->dir->len;

	put_be32(entry, file->len);
	entry[4] = (uint8_t)(file->key >> 8);
	entry[5] = (uint8_t)file->key;
	memcpy(entry + 8, file->name, FW_CFG_NAME_SIZE);
	f->dir->len += DIR_ENTRY;
	put_be32(f->dir->data, ++f->nfiles);
}

static int add_file(void *to, const char *name, const void *data, size_t len, struct errmsg *e)
{
	struct fw_cfg *f = to;
	int err = check_file(f, name, len);

	if (!err)
		err = add_item(f, (uint16_t)(KEY_FILES + f->nfiles), data, len, name);
	if (err)
		return err_set(e, err, "fw_cfg: file '%s': %s", name, error_text(err));
	list_file(f, &f->item[f->nitems - 1]);
	return OK;
}

/* A file that the guest may write: the data are not copied. */
static int add_writable(struct fw_cfg *f, const char *name, uint8_t *data, size_t len,
    int (*written)(struct vm *vm), struct errmsg *e)
{
	int err = len <= WRITABLE_MAX ? add_file(f, name, NULL, len, e)
				      : err_set(e, ERR_RANGE, "fw_cfg: file '%s': too long", name);
	struct item *i = &f->item[f->nitems - 1];

	if (err)
		return err;
	heap_free(i->data);
	i->data = data;
	i->written = written;
	return OK;
}

int fw_cfg_add_file(struct vm *vm, const char *name, const void *data, size_t len, struct errmsg *e)
{
	struct device *dev = device_find(vm, "amber,fw-cfg");

	return dev ? add_file(dev->priv, name, data, len, e) : OK;
}

/* --- what this machine's items are ---------------------------------------------------------- */

/*
 * Integers; all are little-endian. Without graphics firmware talks on the serial line. No CPU has
 * an APIC ID that is not below MAX_CPUS; none is plugged in later. There is no item for a kernel:
 * the machine's boot method loads it.
 */
static int add_values(struct fw_cfg *f)
{
	const struct vm_config *c = &f->vm->config;
	const struct {
		uint16_t key;
		uint8_t len;
		uint64_t value;
	} rows[] = {
	    {KEY_ID, 4, ID_TRADITIONAL | ID_DMA},
	    {KEY_RAM_SIZE, 8, c->memory},
	    {KEY_NO_GRAPHICS, 2, 1},
	    {KEY_CPUS, 2, f->vm->nvcpus},
	    {KEY_BOOT_MENU, 2, 0},
	    {KEY_MAX_CPUS, 2, f->vm->nvcpus},
	};
	int err = add_item(f, KEY_SIGNATURE, "QEMU", 4, "");

	if (!err)
		err = add_item(f, KEY_UUID, c->uuid, sizeof(c->uuid), "");
	for (size_t i = 0; i < ARRAY_LEN(rows) && !err; i++) {
		uint8_t raw[8];

		put_le64(raw, rows[i].value);
		err = add_item(f, rows[i].key, raw, rows[i].len, "");
	}
	return err;
}

/* An empty directory with room for all of its entries. */
static int add_directory(struct fw_cfg *f)
{
	int err = add_item(f, KEY_FILE_DIR, NULL, DIR_SIZE, "");

	if (err)
		return err;
	f->dir = &f->item[f->nitems - 1];
	f->dir->len = 4; /* the count */
	return OK;
}

/* What is RAM, and nothing of what is where in it: that is firmware's to say. */
static unsigned build_ram_map(uint64_t memory, struct e820_entry map[E820_MAX])
{
	uint64_t low = MIN(memory, MEMMAP_LOW_RAM_MAX);

	map[0] = (struct e820_entry){0, low, E820_RAM};
	map[1] = (struct e820_entry){MEMMAP_HIGH_RAM, memory - low, E820_RAM};
	return memory > low ? 2 : 1;
}

static int add_e820(struct fw_cfg *f, struct errmsg *e)
{
	enum { ENTRY = 20 }; /* start, size, type */
	const struct vm_config *c = &f->vm->config;
	struct e820_entry map[E820_MAX];
	unsigned n =
	    vm_config_has_firmware(c) ? build_ram_map(c->memory, map) : e820_build(c->memory, map);
	uint8_t raw[E820_MAX * ENTRY];

	for (unsigned i = 0; i < n; i++) {
		put_le64(raw + i * ENTRY, map[i].start);
		put_le64(raw + i * ENTRY + 8, map[i].size);
		put_le32(raw + i * ENTRY + 16, map[i].type);
	}
	return add_file(f, "etc/e820", raw, n * ENTRY, e);
}

/* A byte for each of S0 to S5: whether it exists, and its SLP_TYP. */
static int add_sleep_states(struct fw_cfg *f, struct errmsg *e)
{
	enum { EXISTS = 0x80 };
	static const uint8_t states[6] = {[0] = EXISTS, [5] = EXISTS | ACPI_S5_SLP_TYP};

	return add_file(f, "etc/system-states", states, sizeof(states), e);
}

/* The identifier itself is put there when firmware has told where: until then it is zeros. */
static int add_generation_id(struct fw_cfg *f, struct errmsg *e)
{
	uint8_t *address = vmgenid_address_file(f->vm);
	int err = add_file(f, VMGENID_FILE, NULL, VMGENID_FILE_SIZE, e);

	if (err || !address)
		return err;
	return add_writable(
	    f, VMGENID_ADDRESS_FILE, address, VMGENID_ADDRESS_SIZE, vmgenid_told, e);
}

/* The serial port that SeaBIOS talks on, as there is no screen (SeaBIOS, docs/Runtime_config.md).
 */
static int add_sercon(struct fw_cfg *f, struct errmsg *e)
{
	uint8_t com1[8];

	put_le64(com1, 0x3f8);
	return add_file(f, "etc/sercon-port", com1, sizeof(com1), e);
}

/* What only firmware wants: every other machine has that in its memory. */
static int add_firmware_files(struct fw_cfg *f, struct errmsg *e)
{
	int err = acpi_tables_give(f->vm, add_file, f, e);

	if (!err)
		err = add_generation_id(f, e);
	return err ? err : add_sercon(f, e);
}

/* The order of the files gives them their keys: new ones come last. */
static int add_all(struct fw_cfg *f, struct errmsg *e)
{
	int err = add_values(f);

	if (!err)
		err = add_directory(f);
	if (err)
		return err_set(e, err, "fw_cfg: %s", error_text(err));
	err = add_e820(f, e);
	if (!err)
		err = add_sleep_states(f, e);
	if (!err && vm_config_has_firmware(&f->vm->config))
		err = add_firmware_files(f, e);
	return err;
}

/* --- DMA ------------------------------------------------------------------------------------ */

/* Read once from the guest's memory. */
struct request {
	uint32_t control, length;
	uint64_t address;
};

struct position {
	uint16_t selector;
	uint32_t offset;
};

static int read_item(struct fw_cfg *f, const struct request *r, struct position *p)
{
	uint32_t left, n;
	const uint8_t *data = item_at(f, p->selector, p->offset, &left);
	int err = OK;

	n = MIN(r->length, left);
	if (r->length - n > ZEROS_MAX)
		return ERR_RANGE;
	if (n)
		err = gmem_write(f->vm, gpa(r->address), data, n);
	if (!err && r->length > n) /* what was written is RAM, so the sum does not wrap */
		err = gmem_zero(f->vm, gpa(r->address + n), r->length - n);
	if (!err)
		p->offset += n;
	return err;
}

/* As QEMU has it: all of it fits, or it is an error. */
static int write_item(struct fw_cfg *f, const struct request *r, struct position *p)
{
	const struct item *i = find_item(f, p->selector);
	uint8_t raw[WRITABLE_MAX];
	int err;

	if (r->length == 0)
		return OK;
	if (!i || !i->written)
		return ERR_UNSUPPORTED;
	if (!range_in(p->offset, r->length, i->len))
		return ERR_RANGE;
	err = gmem_read(f->vm, gpa(r->address), raw, r->length);
	if (err)
		return err;
	memcpy(i->data + p->offset, raw, r->length);
	err = i->written(f->vm);
	if (!err)
		p->offset += r->length;
	return err;
}

static void skip_item(const struct fw_cfg *f, const struct request *r, struct position *p)
{
	uint32_t left;

	item_at(f, p->selector, p->offset, &left);
	p->offset += MIN(r->length, left);
}

/* OK, ERR_RETRY, or another error, of which the guest is told that it is one. */
static int carry_out(struct fw_cfg *f, const struct request *r, struct position *p)
{
	if (r->control & DMA_SELECT)
		*p = (struct position){.selector = (uint16_t)(r->control >> DMA_KEY_SHIFT)};
	if (r->control & DMA_READ)
		return read_item(f, r, p);
	if (r->control & DMA_WRITE)
		return write_item(f, r, p);
	if (r->control & DMA_SKIP)
		skip_item(f, r, p);
	return OK;
}

/*
 * The transfer that the structure at 'at' describes. ERR_RETRY: it has to be done again, all of it;
 * what the registers say is as before. Lock held.
 */
static int transfer(struct fw_cfg *f, gpa_t at)
{
	struct position p = {f->st.selector, f->st.offset};
	uint8_t raw[DMA_SIZE], answer[4];
	struct request r;
	int err = gmem_read(f->vm, at, raw, sizeof(raw));

	if (!err) {
		r = (struct request){get_be32(raw + DMA_CONTROL), get_be32(raw + DMA_LENGTH),
		    get_be64(raw + DMA_ADDRESS)};
		err = carry_out(f, &r, &p);
	}
	if (err == ERR_RETRY)
		return err;
	put_be32(answer, err ? DMA_ERROR : 0);
	/* What was read is in memory before the guest sees that it is. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (gmem_write(f->vm, gpa_add(at, DMA_CONTROL), answer, sizeof(answer)) == ERR_RETRY)
		return ERR_RETRY;
	/* If that is no RAM, there is nobody to tell. */
	f->st.selector = p.selector;
	f->st.offset = p.offset;
	return OK;
}

/* Lock held. */
static void transfer_or_put_off(struct fw_cfg *f, uint64_t at)
{
	f->st.is_pending = transfer(f, gpa(at)) == ERR_RETRY;
	f->st.pending = f->st.is_pending ? at : 0;
}

/* The worker: a thread that lets a machine go on must not wait for its memory. */
static void transfer_again(void *arg)
{
	struct fw_cfg *f = arg;

	mutex_lock(&f->lock);
	if (f->st.is_pending)
		transfer_or_put_off(f, f->st.pending);
	mutex_unlock(&f->lock);
}

/* --- registers ------------------------------------------------------------------------------ */

static void ignored(struct fw_cfg *f)
{
	__atomic_fetch_add(&f->vm->stat_unhandled_io, 1, __ATOMIC_RELAXED);
}

static uint8_t next_byte(struct fw_cfg *f)
{
	const uint8_t *data;
	uint32_t left;
	uint8_t v = 0;

	mutex_lock(&f->lock);
	data = item_at(f, f->st.selector, f->st.offset, &left);
	if (data) {
		v = *data;
		f->st.offset++;
	}
	mutex_unlock(&f->lock);
	return v;
}

static void control_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct fw_cfg *f = ctx;

	if (offset == REG_DATA) {
		*value = next_byte(f);
		return;
	}
	*value = UINT64_MAX;
	ignored(f);
}

/* Data that are written go nowhere, as in QEMU since 2.4. */
static void control_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct fw_cfg *f = ctx;

	if (offset != REG_SELECTOR || len != 2) {
		ignored(f);
		return;
	}
	mutex_lock(&f->lock);
	f->st.selector = (uint16_t)value;
	f->st.offset = 0;
	mutex_unlock(&f->lock);
}

static void dma_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	*value = 0;
	memcpy(value, dma_signature + offset, len);
}

static void dma_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct fw_cfg *f = ctx;
	uint32_t half = __builtin_bswap32((uint32_t)value);

	if (len != 4 || offset % 4) {
		ignored(f);
		return;
	}
	mutex_lock(&f->lock);
	if (offset == 0) {
		f->st.dma_high = half;
	} else {
		uint64_t at = (uint64_t)f->st.dma_high << 32 | half;

		f->st.dma_high = 0;
		transfer_or_put_off(f, at);
	}
	mutex_unlock(&f->lock);
}

static const struct io_handler control_ports = {control_read, control_write};
static const struct io_handler dma_ports = {dma_read, dma_write};

/* --- the model ------------------------------------------------------------------------------ */

static int map_ports(struct fw_cfg *f, struct errmsg *e)
{
	int err;

	f->control = (struct io_region){.name = "fw-cfg",
	    .start = FW_CFG_PORTS,
	    .size = REG_CONTROL_LEN,
	    .ops = &control_ports,
	    .ctx = f};
	f->dma = (struct io_region){.name = "fw-cfg",
	    .start = FW_CFG_PORTS + REG_DMA,
	    .size = REG_DMA_LEN,
	    .ops = &dma_ports,
	    .ctx = f};
	err = iobus_map_port(f->vm, &f->control);
	if (!err)
		err = iobus_map_port(f->vm, &f->dma);
	return err ? err_set(e, err, "fw_cfg: ports: %s", error_text(err)) : OK;
}

static int fw_cfg_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct fw_cfg *f = heap_zalloc(sizeof(*f));
	int err;

	if (!f)
		return err_set(e, ERR_NOMEM, "fw_cfg: out of memory");
	dev->priv = f;
	dev->state = &f->st;
	f->vm = dev->vm;
	mutex_init(&f->lock, RANK_DEV);
	err = add_all(f, e);
	return err ? err : map_ports(f, e);
}

static void join_worker(struct fw_cfg *f)
{
	if (f->worker)
		thread_join(f->worker);
	f->worker = NULL;
}

static void fw_cfg_destroy(struct device *dev)
{
	struct fw_cfg *f = dev->priv;

	if (!f)
		return;
	join_worker(f);
	iobus_unmap_port(dev->vm, &f->control);
	iobus_unmap_port(dev->vm, &f->dma);
	for (unsigned i = 0; i < f->nitems; i++)
		if (!f->item[i].written)
			heap_free(f->item[i].data);
	heap_free(f);
	dev->priv = dev->state = NULL;
}

static void fw_cfg_reset(struct device *dev)
{
	struct fw_cfg *f = dev->priv;

	f->st = (struct fw_cfg_state){.selector = KEY_SIGNATURE};
}

static void fw_cfg_quiesce(struct device *dev)
{
	join_worker(dev->priv);
}

static void fw_cfg_resume(struct device *dev)
{
	enum { WEIGHT = 128 };
	struct fw_cfg *f = dev->priv;

	if (!f->st.is_pending || f->worker)
		return;
	f->worker = thread_create("fw-cfg", transfer_again, f, 0, WEIGHT);
	if (!f->worker)
		vm_hold(dev->vm, DISP_NO_MEMORY,
		    "no host memory for a transfer of fw_cfg; resume when there is some");
}

/* Any selector and offset is harmless. */
static int fw_cfg_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct fw_cfg_state *s = state;

	if (s->pending && !s->is_pending)
		return err_set(e, ERR_INVAL, "pending: an address without a transfer");
	return OK;
}

static void fw_cfg_loaded(struct device *dev)
{
}

DEVICE_MODEL(fw_cfg) = {
    .compatible = "amber,fw-cfg",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "firmware configuration interface (QEMU, docs/specs/fw_cfg) with DMA",
    .state_size = sizeof(struct fw_cfg_state),
    .fields = fields,
    .create = fw_cfg_create,
    .destroy = fw_cfg_destroy,
    .reset = fw_cfg_reset,
    .quiesce = fw_cfg_quiesce,
    .resume = fw_cfg_resume,
    .check = fw_cfg_check,
    .loaded = fw_cfg_loaded,
};
