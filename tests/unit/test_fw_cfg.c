/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware configuration interface: items by port and by DMA, and what a hostile guest gets. */
#include "hv/dev/fw_cfg.c"

#include "hv/arch/x86/emul.h"
#include "tests/unit/fake/device_test.h"

enum {
	SELECTOR = 0x510,
	DATA = 0x511,
	DMA_HIGH = 0x514,
	DMA_LOW = 0x518,
	RAM = 4 * MIB,
	AT = 0x1000,  /* the structure */
	BUF = 0x8000, /* the buffer */
	NO_SUCH = 0x1234,
};

static const struct config_dev cfg = {
    .kind = CONFIG_FW_CFG, .name = "fwcfg0", .model = "amber,fw-cfg"};
static struct errmsg msg;

static int start(void **state)
{
	vm = fake_vm_new(3, RAM);
	vm->config.memory = 16 * MIB;
	for (unsigned i = 0; i < 16; i++)
		vm->config.uuid[i] = (uint8_t)(0xa0 + i);
	dev = fake_device_create(vm, "amber,fw-cfg", &cfg, &msg);
	assert_non_null(dev);
	return 0;
}

static const struct fw_cfg_state *st(void)
{
	return dev->state;
}

static uint8_t *ram(uint64_t at)
{
	return fake_of(vm)->ram + at;
}

static void select_item(uint16_t key)
{
	fake_io_write(vm, SELECTOR, 2, key);
}

/* So many bytes of an item by the port, as a little-endian number. */
static uint64_t number(uint16_t key, unsigned len)
{
	uint64_t v = 0;

	select_item(key);
	for (unsigned i = 0; i < len; i++)
		v |= (uint64_t)in8(DATA) << (8 * i);
	return v;
}

static void start_dma(uint64_t at)
{
	fake_io_write(vm, DMA_HIGH, 4, __builtin_bswap32((uint32_t)(at >> 32)));
	fake_io_write(vm, DMA_LOW, 4, __builtin_bswap32((uint32_t)at));
}

static void put_request(uint32_t control, uint32_t length, uint64_t address)
{
	put_be32(ram(AT), control);
	put_be32(ram(AT) + 4, length);
	put_be64(ram(AT) + 8, address);
}

/* Makes a transfer; what the guest finds in the control word. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
	put_request(control, length, address);
	start_dma(AT);
	return get_be32(ram(AT));
}

static uint32_t key_bits(uint16_t key)
{
	return (uint32_t)key << 16 | DMA_SELECT;
}

/* The key and the size of a file as the directory, read by the port, has them; false: none. */
static bool find_file(const char *name, uint16_t *key, uint32_t *size)
{
	uint32_t count;

	count = __builtin_bswap32((uint32_t)number(KEY_FILE_DIR, 4));
	while (count--) {
		uint8_t entry[64];

		for (unsigned i = 0; i < sizeof(entry); i++)
			entry[i] = in8(DATA);
		assert_int_equal(entry[6] | entry[7], 0);
		assert_int_equal(entry[63], 0);
		if (strcmp((char *)entry + 8, name) != 0)
			continue;
		*size = get_be32(entry);
		*key = (uint16_t)(entry[4] << 8 | entry[5]);
		return true;
	}
	return false;
}

/* --- items ---------------------------------------------------------------------------------- */

static void values(void **state)
{
	assert_int_equal(number(0x00, 4), 0x554d4551); /* "QEMU" */
	assert_int_equal(number(0x01, 4), 3);	       /* by port and by DMA */
	assert_int_equal(number(0x02, 8), 0xa7a6a5a4a3a2a1a0);
	assert_int_equal(number(0x03, 8), 16 * MIB);
	assert_int_equal(number(0x04, 2), 1);
	assert_int_equal(number(0x05, 2), 3);
	assert_int_equal(number(0x0e, 2), 0);
	assert_int_equal(number(0x0f, 2), 3);
	/* what is written to has the same contents */
	assert_int_equal(number(0x4000, 4), 0x554d4551);
}

static void zeros_behind_the_end(void **state)
{
	assert_int_equal(number(0x05, 8), 3);
	assert_int_equal(st()->offset, 2);
	assert_int_equal(number(0x08, 8), 0); /* there is no kernel */
	assert_int_equal(number(NO_SUCH, 8), 0);
	assert_int_equal(number(0x8003, 8), 0); /* of another architecture */
	assert_int_equal(number(0xffff, 8), 0);
}

static void memory_map(void **state)
{
	struct e820_entry map[E820_MAX];
	unsigned n = e820_build(16 * MIB, map);
	uint16_t key;
	uint32_t size;

	assert_true(find_file("etc/e820", &key, &size));
	assert_int_equal(key, 0x20);
	assert_int_equal(size, 20 * n);
	assert_int_equal(dma(key_bits(key) | DMA_READ, size, BUF), 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(get_le64(ram(BUF + i * 20)), map[i].start);
		assert_int_equal(get_le64(ram(BUF + i * 20 + 8)), map[i].size);
		assert_int_equal(get_le32(ram(BUF + i * 20 + 16)), map[i].type);
	}
}

static void sleep_states(void **state)
{
	uint16_t key;
	uint32_t size;

	assert_true(find_file("etc/system-states", &key, &size));
	assert_int_equal(key, 0x21); /* a guest goes on with it over a restore: never another */
	assert_int_equal(size, 6);
	assert_int_equal(number(key, 6), 0x850000000080);
}

static void added_files(void **state)
{
	static const uint8_t data[] = {1, 2, 3, 4, 5};
	struct vm *other;
	uint16_t key;
	uint32_t size;

	assert_int_equal(fw_cfg_add_file(vm, "opt/org.amber/test", data, 5, &msg), OK);
	assert_int_equal(fw_cfg_add_file(vm, "opt/org.amber/empty", NULL, 0, &msg), OK);
	assert_true(find_file("opt/org.amber/test", &key, &size));
	assert_int_equal(key, 0x22);
	assert_int_equal(size, 5);
	assert_int_equal(number(key, 6), 0x0504030201);
	assert_true(find_file("opt/org.amber/empty", &key, &size));
	assert_int_equal(size, 0);
	assert_int_equal(number(key, 2), 0);
	assert_false(find_file("opt/org.amber/other", &key, &size));
	/* a machine without the device */
	other = fake_vm_new(1, 0);
	assert_int_equal(fw_cfg_add_file(other, "x", data, 5, &msg), OK);
	fake_vm_free(other);
}

static void files_that_are_refused(void **state)
{
	static const uint8_t big[FW_CFG_FILE_MAX + 1];
	char name[FW_CFG_NAME_SIZE + 1];
	uint16_t key;
	uint32_t size;

	memset(name, 'n', sizeof(name));
	name[FW_CFG_NAME_SIZE] = 0;
	assert_int_equal(fw_cfg_add_file(vm, name, big, 1, &msg), ERR_INVAL);
	assert_int_equal(fw_cfg_add_file(vm, "", big, 1, &msg), ERR_INVAL);
	assert_int_equal(fw_cfg_add_file(vm, "etc/e820", big, 1, &msg), ERR_EXIST);
	assert_string_equal(msg.text, "fw_cfg: file 'etc/e820': exists already");
	assert_int_equal(fw_cfg_add_file(vm, "big", big, sizeof(big), &msg), ERR_RANGE);
	fake_heap_fail_after(0);
	assert_int_equal(fw_cfg_add_file(vm, "x", big, 1, &msg), ERR_NOMEM);
	fake_heap_fail_after(-1);
	assert_false(find_file("x", &key, &size));
	name[FW_CFG_NAME_SIZE - 1] = 0; /* the longest */
	assert_int_equal(fw_cfg_add_file(vm, name, big, FW_CFG_FILE_MAX, &msg), OK);
	for (unsigned i = 3; i < FW_CFG_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fw_cfg_add_file(vm, name, big, 1, &msg), OK);
	}
	assert_true(find_file(name, &key, &size));
	assert_int_equal(key, 0x20 + FW_CFG_FILES_MAX - 1);
	assert_int_equal(fw_cfg_add_file(vm, "one-more", big, 1, &msg), ERR_FULL);
}

/* --- ports ---------------------------------------------------------------------------------- */

static void selecting_starts_anew(void **state)
{
	select_item(0);
	assert_int_equal(in8(DATA), 'Q');
	assert_int_equal(in8(DATA), 'E');
	select_item(0);
	assert_int_equal(in8(DATA), 'Q');
}

static void what_is_ignored(void **state)
{
	uint64_t before = vm->stat_unhandled_io;

	select_item(0);
	out8(DATA, 'X');
	out8(SELECTOR, 5);
	assert_int_equal(fake_io_read(vm, SELECTOR, 1), 0xff);
	assert_int_equal(fake_io_read(vm, SELECTOR, 2), 0xffff);
	assert_int_equal(fake_io_read(vm, DATA, 2), 0xffff); /* nobody answers across the end */
	fake_io_write(vm, DMA_LOW, 1, 0x10);
	fake_io_write(vm, DMA_LOW, 2, 0x1000);
	fake_io_write(vm, DMA_HIGH + 2, 4, 0x1000);
	assert_int_equal(vm->stat_unhandled_io - before, 8);
	assert_int_equal(number(0, 4), 0x554d4551);
	assert_int_equal(st()->dma_high, 0);
	assert_false(fake_io_claimed(vm, 0x50f));
	assert_false(fake_io_claimed(vm, 0x512));
	assert_true(fake_io_claimed(vm, 0x51b));
	assert_false(fake_io_claimed(vm, 0x51c));
}

static void dma_signature_is_read(void **state)
{
	assert_int_equal(fake_io_read(vm, DMA_HIGH, 4), 0x554d4551);
	assert_int_equal(fake_io_read(vm, DMA_LOW, 4), 0x47464320);
	assert_int_equal(fake_io_read(vm, DMA_LOW + 2, 2), 0x4746);
	assert_int_equal(in8(DMA_HIGH), 'Q');
}

/* --- INSB from the data port ---------------------------------------------------------------- */

static int mem_read(void *ctx, gpa_t addr, void *buf, unsigned len)
{
	return gmem_read(vm, addr, buf, len);
}

static int mem_write(void *ctx, gpa_t addr, const void *buf, unsigned len)
{
	return gmem_write(vm, addr, buf, len);
}

static int mem_probe(void *ctx, gpa_t addr, unsigned len, bool write)
{
	return gmem_prepare(vm, addr, len, write);
}

static int port_read(void *ctx, uint16_t port, unsigned len, uint32_t *value)
{
	*value = fake_io_read(vm, port, len);
	return OK;
}

static void string_input(void **state)
{
	static const struct emul_ops ops = {
	    .read = mem_read, .write = mem_write, .probe = mem_probe, .io_read = port_read};
	static struct vcpu_state s;
	static struct emul e;

	vcpu_state_reset(&s, 0, true);
	s.cr0 = 0x10; /* real mode */
	for (unsigned i = 0; i < ARRAY_LEN(s.seg); i++)
		s.seg[i].base = 0;
	s.rip = AT;
	s.gpr[GPR_RDX] = DATA;
	s.gpr[GPR_RDI] = BUF;
	s.gpr[GPR_RCX] = 6;
	memcpy(ram(AT), "\xf3\x6c", 2); /* rep insb */
	memset(ram(BUF), 0xee, 8);
	select_item(KEY_SIGNATURE);
	e = (struct emul){.state = &s, .ops = &ops};
	while (s.gpr[GPR_RCX])
		assert_true(emulate(&e) <= EMUL_CONTINUE);
	assert_memory_equal(ram(BUF), "QEMU\0\0\xee", 7);
}

/* --- DMA ------------------------------------------------------------------------------------ */

static void dma_reads(void **state)
{
	memset(ram(BUF), 0xee, 16);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, 3, BUF), 0);
	assert_memory_equal(ram(BUF), "QEM\xee", 4);
	/* goes on where it was, zeros behind the end, and not a byte more */
	assert_int_equal(dma(DMA_READ, 5, BUF), 0);
	assert_memory_equal(ram(BUF), "U\0\0\0\0\xee", 6);
	assert_int_equal(st()->offset, 4);
	assert_int_equal(dma(DMA_READ, 4, BUF + 4), 0);
	assert_memory_equal(ram(BUF + 4), "\0\0\0\0\xee", 5);
	assert_int_equal(dma(key_bits(NO_SUCH) | DMA_READ, 9, BUF), 0);
	assert_memory_equal(ram(BUF), "\0\0\0\0\0\0\0\0\0\xee", 10);
	/* the structure but for the control word is as it was */
	assert_int_equal(get_be32(ram(AT + 4)), 9);
	assert_int_equal(get_be64(ram(AT + 8)), BUF);
}

static void dma_and_port_share_the_place(void **state)
{
	assert_int_equal(dma(key_bits(KEY_SIGNATURE), 0, 0), 0);
	assert_int_equal(in8(DATA), 'Q');
	assert_int_equal(dma(DMA_SKIP, 2, 0), 0);
	assert_int_equal(in8(DATA), 'U');
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_SKIP, 0xffffffff, 0), 0);
	assert_int_equal(st()->offset, 4);
	assert_int_equal(in8(DATA), 0);
}

static void dma_that_does_nothing(void **state)
{
	select_item(KEY_SIGNATURE);
	in8(DATA);
	/* no verb; a read of nothing, nowhere; an error left over from before */
	assert_int_equal(dma(0, 0xffffffff, UINT64_MAX), 0);
	assert_int_equal(dma(DMA_READ, 0, UINT64_MAX), 0);
	assert_int_equal(dma(DMA_ERROR, 4, BUF), 0);
	assert_int_equal(in8(DATA), 'E');
}

static void dma_writes_are_refused(void **state)
{
	memset(ram(BUF), 'X', 4);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_WRITE, 4, BUF), DMA_ERROR);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE | KEY_WRITE) | DMA_WRITE, 4, BUF), DMA_ERROR);
	assert_int_equal(st()->offset, 0);
	assert_int_equal(number(KEY_SIGNATURE, 4), 0x554d4551);
	/* both: a read */
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ | DMA_WRITE, 4, BUF), 0);
	assert_memory_equal(ram(BUF), "QEMU", 4);
}

static void register_halves(void **state)
{
	put_request(key_bits(KEY_SIGNATURE) | DMA_READ, 4, BUF);
	fake_io_write(vm, DMA_HIGH, 4, __builtin_bswap32(1));
	assert_int_equal(st()->dma_high, 1);
	fake_io_write(vm, DMA_LOW, 4, __builtin_bswap32(AT)); /* 4 GiB + AT: no RAM */
	assert_int_equal(*ram(BUF), 0);
	/* the upper half is used once */
	assert_int_equal(st()->dma_high, 0);
	fake_io_write(vm, DMA_LOW, 4, __builtin_bswap32(AT));
	assert_memory_equal(ram(BUF), "QEMU", 4);
}

/* --- hostile structures --------------------------------------------------------------------- */

static void structures_beyond_memory(void **state)
{
	static const uint64_t at[] = {
	    RAM, RAM - 4, UINT64_MAX, UINT64_MAX - 15, 0x8000000000000000, 0xfee00000};

	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		memset(ram(RAM - 16), 0xff, 16);
		start_dma(at[i]);
		assert_int_equal(st()->is_pending, 0);
		assert_int_equal(*ram(0), 0); /* nothing wraps around to the beginning */
	}
	/* its control word at least is RAM */
	memset(ram(RAM - 16), 0xff, 16);
	start_dma(RAM - 8);
	assert_int_equal(get_be32(ram(RAM - 8)), DMA_ERROR);
	assert_int_equal(get_be32(ram(RAM - 4)), 0xffffffff);
}

static void buffers_beyond_memory(void **state)
{
	static const uint64_t at[] = {RAM, RAM - 3, UINT64_MAX, UINT64_MAX - 3, UINT64_MAX - 7};

	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, 4, at[i]), DMA_ERROR);
		assert_int_equal(dma(key_bits(NO_SUCH) | DMA_READ, 4, at[i]), DMA_ERROR);
		assert_int_equal(*ram(0), 0);
		assert_int_equal(st()->offset, 0);
	}
	/* the item fits, the zeros behind it do not */
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, 5, RAM - 4), DMA_ERROR);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, 4, RAM - 4), 0);
}

/* Time is bounded: a length is not believed. */
static void lengths_beyond_reason(void **state)
{
	unsigned accesses = fake_of(vm)->gmem_accesses;

	memset(ram(BUF), 0xee, 4);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, 0xffffffff, BUF), DMA_ERROR);
	assert_int_equal(dma(key_bits(NO_SUCH) | DMA_READ, ZEROS_MAX + 1, BUF), DMA_ERROR);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, ZEROS_MAX + 5, BUF), DMA_ERROR);
	assert_int_equal(*ram(BUF), 0xee);
	assert_int_equal(fake_of(vm)->gmem_accesses - accesses, 3 * 2);
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, ZEROS_MAX + 4, BUF), 0);
	assert_memory_equal(ram(BUF), "QEMU", 4);
}

/* The buffer lies over the structure: the control word is what is written last. */
static void buffer_over_the_structure(void **state)
{
	assert_int_equal(dma(key_bits(KEY_SIGNATURE) | DMA_READ, 4, AT), 0);
	assert_int_equal(dma(key_bits(KEY_UUID) | DMA_READ, 16, AT), 0);
	assert_int_equal(get_be32(ram(AT + 4)), 0xa4a5a6a7);
}

/* --- memory that cannot be had -------------------------------------------------------------- */

static void fail_memory(uint64_t at, unsigned len)
{
	fake_of(vm)->gmem_fail_start = at;
	fake_of(vm)->gmem_fail_len = len;
	fake_of(vm)->gmem_fail_error = ERR_RETRY;
}

static void put_off_until_resumed(void **state)
{
	static const struct {
		uint64_t at;
		unsigned len;
		bool written; /* can be read: a piece of RAM that is shared */
	} missing[] = {{AT, 16, false}, {AT, 16, true}, {BUF, 4, true}, {BUF + 4, 4, true}};

	for (unsigned i = 0; i < ARRAY_LEN(missing); i++) {
		uint32_t control = key_bits(KEY_SIGNATURE) | DMA_READ;

		select_item(KEY_UUID);
		in8(DATA);
		memset(ram(BUF), 0xee, 9);
		fail_memory(missing[i].at, missing[i].len);
		fake_of(vm)->gmem_fail_writes_only = missing[i].written;
		assert_int_equal(dma(control, 8, BUF), control); /* as it was: the guest waits */
		assert_int_equal(st()->is_pending, 1);
		assert_int_equal(st()->pending, AT);
		assert_int_equal(st()->selector, KEY_UUID);
		assert_int_equal(st()->offset, 1);
		/* resumed in vain, once more */
		dev->model->quiesce(dev);
		dev->model->resume(dev);
		assert_true(fake_thread_run_next());
		dev->model->quiesce(dev);
		assert_int_equal(st()->is_pending, 1);
		/* saved and restored meanwhile */
		assert_roundtrip();
		fail_memory(0, 0);
		dev->model->quiesce(dev);
		dev->model->resume(dev);
		dev->model->quiesce(dev);
		assert_int_equal(st()->is_pending, 0);
		assert_int_equal(st()->pending, 0);
		assert_int_equal(get_be32(ram(AT)), 0);
		assert_memory_equal(ram(BUF), "QEMU\0\0\0\0\xee", 9);
		assert_int_equal(st()->selector, KEY_SIGNATURE);
		assert_int_equal(st()->offset, 4);
		dev->model->resume(dev);
		assert_false(fake_thread_run_next()); /* there is nothing to do */
	}
}

static void put_off_and_reset(void **state)
{
	fail_memory(AT, 16);
	dma(DMA_READ, 4, BUF);
	dev->model->quiesce(dev);
	dev->model->reset(dev);
	fail_memory(0, 0);
	dev->model->resume(dev);
	assert_false(fake_thread_run_next());
	assert_int_equal(*ram(BUF), 0);
}

static void no_thread_for_it(void **state)
{
	struct thread *t[FAKE_THREADS];
	unsigned n = 0;

	fail_memory(AT, 16);
	dma(DMA_READ, 4, BUF);
	while (n < FAKE_THREADS && (t[n] = thread_create("x", transfer_again, dev->priv, 0, 1)))
		n++;
	dev->model->quiesce(dev);
	dev->model->resume(dev);
	assert_int_equal(fake_of(vm)->holds, 1);
	assert_int_equal(fake_of(vm)->fail_disposition, DISP_NO_MEMORY);
	assert_int_equal(st()->is_pending, 1);
	while (n)
		thread_join(t[--n]);
}

/* --- the model ------------------------------------------------------------------------------ */

static void roundtrip(void **state)
{
	assert_roundtrip();
	select_item(KEY_SIGNATURE);
	in8(DATA);
	fake_io_write(vm, DMA_HIGH, 4, 0x78563412);
	assert_roundtrip();
	assert_int_equal(st()->dma_high, 0x12345678);
	assert_int_equal(in8(DATA), 'E');
	dev->model->reset(dev);
	assert_int_equal(in8(DATA), 'Q');
	assert_int_equal(st()->dma_high, 0);
}

/* A version with other items: no place in one is refused, and none does harm. */
static void any_place_is_harmless(void **state)
{
	struct fw_cfg_state s = {.selector = KEY_SIGNATURE, .offset = 0xffffffff};

	assert_int_equal(fake_device_load(dev, &s, &msg), OK);
	assert_int_equal(in8(DATA), 0);
	assert_int_equal(dma(DMA_READ, 4, BUF), 0);
	assert_int_equal(dma(DMA_SKIP, 0xffffffff, BUF), 0);
	assert_int_equal(st()->offset, 0xffffffff);
	s.selector = 0xffff;
	assert_int_equal(fake_device_load(dev, &s, &msg), OK);
	assert_int_equal(in8(DATA), 0);
}

static void bad_state_is_refused(void **state)
{
	struct fw_cfg_state s = {.pending = AT};

	assert_refused(&s, "pending: an address without a transfer");
	s = (struct fw_cfg_state){.is_pending = 2};
	assert_refused(&s, "is-pending");
}

static void creation_that_fails(void **state)
{
	int n = 0;

	assert_null(fake_device_create(vm, "amber,fw-cfg", &cfg, &msg));
	assert_string_equal(msg.text, "fw_cfg: ports: exists already");
	fake_device_destroy(dev);
	do {
		fake_heap_fail_after(n++);
		dev = fake_device_create(vm, "amber,fw-cfg", &cfg, &msg);
		assert_true(dev || strstr(msg.text, "out of memory"));
	} while (!dev);
	fake_heap_fail_after(-1);
	assert_true(n > 10);
	assert_int_equal(number(KEY_SIGNATURE, 4), 0x554d4551);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(values),
	    DEVICE_TEST(zeros_behind_the_end),
	    DEVICE_TEST(memory_map),
	    DEVICE_TEST(sleep_states),
	    DEVICE_TEST(added_files),
	    DEVICE_TEST(files_that_are_refused),
	    DEVICE_TEST(selecting_starts_anew),
	    DEVICE_TEST(what_is_ignored),
	    DEVICE_TEST(dma_signature_is_read),
	    DEVICE_TEST(string_input),
	    DEVICE_TEST(dma_reads),
	    DEVICE_TEST(dma_and_port_share_the_place),
	    DEVICE_TEST(dma_that_does_nothing),
	    DEVICE_TEST(dma_writes_are_refused),
	    DEVICE_TEST(register_halves),
	    DEVICE_TEST(structures_beyond_memory),
	    DEVICE_TEST(buffers_beyond_memory),
	    DEVICE_TEST(lengths_beyond_reason),
	    DEVICE_TEST(buffer_over_the_structure),
	    DEVICE_TEST(put_off_until_resumed),
	    DEVICE_TEST(put_off_and_reset),
	    DEVICE_TEST(no_thread_for_it),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(any_place_is_harmless),
	    DEVICE_TEST(bad_state_is_refused),
	    DEVICE_TEST(creation_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
