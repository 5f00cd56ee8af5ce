/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that does anything to the firmware configuration interface: the input is a program of
 * port accesses, transfers, memory that cannot be had, pauses and tampered snapshots. Nothing but
 * the guest's memory changes, a transfer touches memory a few times at most, and is over or put
 * off.
 */
#include <stdint.h>
#include <string.h>

#include "hv/dev/fw_cfg.c"
#include "hv/lib/log.h"
#include "tests/unit/fake/fake.h"

enum {
	RAM_SIZE = 0x40000,
	MAX_STEPS = 400,
	ACCESSES_MAX = 4, /* structure, item, zeros, answer */
};

static struct vm *vm;
static struct device *dev, *genid;
static struct cpu_model no_model;
static struct cursor in;

static void port_access(void)
{
	uint16_t port = (uint16_t)(FW_CFG_PORTS + cursor_u8(&in) % FW_CFG_PORTS_LEN);
	unsigned len = 1u << cursor_u8(&in) % 3, before = fake_of(vm)->gmem_accesses;

	fake_io_write(vm, port, len, cursor_le32(&in));
	fake_io_read(vm, port, len);
	ASSERT(fake_of(vm)->gmem_accesses - before <= ACCESSES_MAX);
}

static void read_on(void)
{
	for (unsigned n = cursor_u8(&in); n; n--)
		fake_io_read(vm, FW_CFG_PORTS + REG_DATA, 1);
}

static void start(uint64_t at)
{
	unsigned before = fake_of(vm)->gmem_accesses;

	fake_io_write(vm, FW_CFG_PORTS + REG_DMA, 4, __builtin_bswap32((uint32_t)(at >> 32)));
	fake_io_write(vm, FW_CFG_PORTS + REG_DMA + 4, 4, __builtin_bswap32((uint32_t)at));
	ASSERT(fake_of(vm)->gmem_accesses - before <= ACCESSES_MAX);
}

/* An address that is mostly in RAM, or near one of its ends, or anything. */
static uint64_t address(void)
{
	uint8_t kind = cursor_u8(&in);

	switch (kind & 3) {
	case 0:
		return cursor_le64(&in);
	case 1:
		return RAM_SIZE - cursor_u8(&in);
	default:
		return (uint64_t)cursor_le16(&in) << (kind >> 7);
	}
}

/* A well-formed structure: the guest waits no longer, unless the transfer was put off. */
static void transfer_of_driver(void)
{
	static const uint32_t lengths[] = {4, 16, 64, 0x10000};
	const struct fw_cfg *f = dev->priv;
	uint64_t at = cursor_le16(&in);
	uint8_t raw[DMA_SIZE], what = cursor_u8(&in);

	put_be32(raw + DMA_CONTROL, (uint32_t)cursor_u8(&in) << DMA_KEY_SHIFT | (what & 0x1f));
	put_be32(raw + DMA_LENGTH, what & 0x80 ? cursor_le32(&in) : lengths[what >> 5]);
	put_be64(raw + DMA_ADDRESS, address());
	if (gmem_write(vm, gpa(at), raw, sizeof(raw)))
		return;
	start(at);
	if (f->st.is_pending)
		return;
	if (gmem_read(vm, gpa(at), raw, sizeof(raw)) == OK)
		ASSERT((get_be32(raw) & ~(uint32_t)DMA_ERROR) == 0);
}

static void transfer_of_anything(void)
{
	uint64_t at = address();
	uint8_t raw[DMA_SIZE];

	cursor_bytes(&in, raw, sizeof(raw));
	if (gmem_write(vm, gpa(at), raw, sizeof(raw)) == OK || cursor_u8(&in) & 1)
		start(at);
}

static void memory_fails(void)
{
	struct fake_vm *f = fake_of(vm);

	f->gmem_fail_start = cursor_le16(&in);
	f->gmem_fail_len = cursor_u8(&in) & 1 ? cursor_le16(&in) : 0;
	f->gmem_fail_error = cursor_u8(&in) & 1 ? ERR_RETRY : OK;
}

static void pause_and_resume(void)
{
	dev->model->quiesce(dev);
	dev->model->resume(dev);
	if (cursor_u8(&in) & 1)
		fake_thread_run_next();
}

static void roundtrip(void)
{
	struct errmsg e;

	ASSERT(fake_device_roundtrip(dev, &e) == OK);
	ASSERT(fake_device_check(genid, genid->state, &e) == OK);
}

static void tampered_load(void)
{
	struct fw_cfg_state s;
	struct errmsg e;
	uint8_t *raw = (uint8_t *)&s;

	dev->model->quiesce(dev);
	memcpy(&s, dev->state, sizeof(s));
	for (unsigned n = cursor_u8(&in) % 4; n; n--)
		raw[cursor_u8(&in) % sizeof(s)] = cursor_u8(&in);
	if (fake_device_load(dev, &s, &e) != OK)
		dev->model->resume(dev);
}

static void machine_reset(void)
{
	dev->model->quiesce(dev);
	dev->model->reset(dev);
	genid->model->reset(genid);
	dev->model->resume(dev);
}

static void (*const steps[])(void) = {
    port_access,
    read_on,
    transfer_of_driver,
    transfer_of_driver,
    transfer_of_anything,
    memory_fails,
    pause_and_resume,
    roundtrip,
    tampered_load,
    machine_reset,
};

/* The items are as they were: nothing that the guest does is in them, but in what it may write. */
static uint32_t items_sum(void)
{
	const struct fw_cfg *f = dev->priv;
	uint32_t sum = f->nitems;

	for (unsigned i = 0; i < f->nitems; i++)
		for (uint32_t n = 0; n < f->item[i].len && !f->item[i].written; n++)
			sum = sum * 31 + f->item[i].data[n];
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct config_dev cfg = {.kind = CONFIG_FW_CFG, .name = "fwcfg0"};
	uint32_t sum;

	cursor_init(&in, data, size);
	vm = fake_vm_new(1, RAM_SIZE);
	vm->config.memory = 16 * MIB;
	vm->cpu_model = &no_model;
	if (size & 1)
		vm->config.boot = BOOT_FIRMWARE;
	genid = fake_device_create(vm, "amber,vmgenid", NULL, NULL);
	ASSERT(genid);
	dev = fake_device_create(vm, "amber,fw-cfg", &cfg, NULL);
	ASSERT(dev);
	sum = items_sum();
	for (unsigned n = 0; n < MAX_STEPS && cursor_left(&in); n++)
		steps[cursor_u8(&in) % ARRAY_LEN(steps)]();
	ASSERT(items_sum() == sum);
	fake_vm_free(vm);
	ASSERT(fake_heap_outstanding() == 0);
	return 0;
}
