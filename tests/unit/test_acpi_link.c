/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables as firmware gets them: a guest reads the files of fw_cfg and carries out the commands
 * as SeaBIOS does, and as OVMF does; what it has in memory then is what a machine without firmware
 * has, but for the addresses.
 */
#include "hv/dev/acpi_link.h"

#include "hv/core/memmap.h"
#include "hv/dev/acpi_tables.h"
#include "hv/dev/fw_cfg.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/device_test.h"

enum {
	RAM = 8 * MIB,
	AT = 0x1000,  /* the DMA structure */
	BUF = 0x2000, /* what is written */
	CPUS = 3,
	KEY_FILE_DIR = 0x19,
	DMA_READ = 2,
	DMA_SKIP = 4,
	DMA_SELECT = 8,
	DMA_WRITE = 16,
	GUID_BYTES = 16,
};

static const struct config_dev cfg = {
    .kind = CONFIG_FW_CFG, .name = "fwcfg0", .model = "amber,fw-cfg"};
static struct errmsg msg;
static struct device *genid;

static void machine(enum boot_method boot, bool hpet)
{
	vm = fake_vm_new(CPUS, RAM);
	vm->config.memory = RAM;
	vm->config.boot = boot;
	vm->config.devs[0] = cfg;
	vm->config.devs[1] = (struct config_dev){.kind = CONFIG_HPET};
	vm->config.ndevs = hpet ? 2 : 1;
	genid = fake_device_create(vm, "amber,vmgenid", NULL, &msg);
	assert_non_null(genid);
	dev = fake_device_create(vm, "amber,fw-cfg", &cfg, &msg);
	assert_non_null(dev);
	dev->model->reset(dev);
	genid->model->reset(genid);
}

static int start(void **state)
{
	machine(BOOT_FIRMWARE, true);
	return 0;
}

static uint8_t *ram(uint64_t at)
{
	assert_true(at < RAM);
	return fake_of(vm)->ram + at;
}

/* --- fw_cfg as a driver uses it --------------------------------------------------------------- */

static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
	put_be32(ram(AT), control);
	put_be32(ram(AT) + 4, length);
	put_be64(ram(AT) + 8, address);
	fake_io_write(vm, 0x514, 4, 0);
	fake_io_write(vm, 0x518, 4, __builtin_bswap32(AT));
	return get_be32(ram(AT));
}

/* False: there is no such file. */
static bool find_file(const char *name, uint16_t *key, uint32_t *size)
{
	uint8_t entry[64];
	uint32_t count = 0;

	fake_io_write(vm, 0x510, 2, KEY_FILE_DIR);
	for (unsigned i = 0; i < 4; i++)
		count = count << 8 | in8(0x511);
	while (count--) {
		for (unsigned i = 0; i < sizeof(entry); i++)
			entry[i] = in8(0x511);
		if (strcmp((char *)entry + 8, name) != 0)
			continue;
		*size = get_be32(entry);
		*key = (uint16_t)(entry[4] << 8 | entry[5]);
		return true;
	}
	return false;
}

static void read_file(const char *name, uint64_t to)
{
	uint16_t key;
	uint32_t size;

	assert_true(find_file(name, &key, &size));
	assert_int_equal(dma((uint32_t)key << 16 | DMA_SELECT | DMA_READ, size, to), 0);
}

static void write_file(const char *name, uint32_t offset, const void *data, uint32_t len)
{
	uint16_t key;
	uint32_t size;

	assert_true(find_file(name, &key, &size));
	memcpy(ram(BUF), data, len);
	assert_int_equal(dma((uint32_t)key << 16 | DMA_SELECT | DMA_SKIP, offset, 0), 0);
	assert_int_equal(dma(DMA_WRITE, len, BUF), 0);
}

/* --- the interpreters ------------------------------------------------------------------------- */

/* A command as the specification has it. */
struct __attribute__((packed)) command {
	uint32_t command;
	union {
		struct __attribute__((packed)) {
			char file[56];
			uint32_t align;
			uint8_t zone;
		} allocate;
		struct __attribute__((packed)) {
			char file[56], target[56];
			uint32_t at;
			uint8_t size;
		} add_pointer;
		struct __attribute__((packed)) {
			char file[56];
			uint32_t at, start, len;
		} add_checksum;
		struct __attribute__((packed)) {
			char file[56], target[56];
			uint32_t at, offset;
			uint8_t size;
		} write_pointer;
		uint8_t pad[124];
	} u;
};

struct blob {
	char name[56];
	uint64_t base;
	uint32_t size;
	bool only_tables; /* as far as OVMF has seen */
};

static struct blob blobs[8];
static unsigned nblobs;
static struct command *script;
static unsigned ncommands;
static uint64_t high, fseg; /* the next free byte */

static struct blob *blob(const char *name)
{
	for (unsigned i = 0; i < nblobs; i++)
		if (strcmp(blobs[i].name, name) == 0)
			return &blobs[i];
	fail_msg("no blob '%s'", name);
	return NULL;
}

static void read_script(void)
{
	uint16_t key;
	uint32_t size;

	assert_int_equal(sizeof(struct command), 128);
	assert_true(find_file("etc/table-loader", &key, &size));
	assert_int_equal(size % sizeof(struct command), 0);
	script = malloc(size);
	ncommands = size / (uint32_t)sizeof(struct command);
	read_file("etc/table-loader", 4 * MIB);
	memcpy(script, ram(4 * MIB), size);
	memset(ram(4 * MIB), 0, size);
	memset(blobs, 0, sizeof(blobs));
	nblobs = 0;
	high = 6 * MIB;
	fseg = 0xf0000;
}

/* Where it puts the file, with the rules of one firmware or of the other. */
static void allocate(const struct command *c, uint64_t address)
{
	struct blob *b = &blobs[nblobs++];
	uint16_t key;

	assert_true(nblobs <= ARRAY_LEN(blobs));
	strcpy(b->name, c->u.allocate.file);
	assert_true(find_file(b->name, &key, &b->size));
	b->base = address;
	b->only_tables = true;
	read_file(b->name, address);
}

static void add_pointer(const struct command *c)
{
	const struct blob *b = blob(c->u.add_pointer.file), *to = blob(c->u.add_pointer.target);
	unsigned size = c->u.add_pointer.size;
	uint8_t *p = ram(b->base + c->u.add_pointer.at);
	uint64_t v = 0;

	assert_true(size == 4 || size == 8);
	assert_true(range_in(c->u.add_pointer.at, size, b->size));
	memcpy(&v, p, size);
	assert_true(v < to->size);
	v += to->base;
	memcpy(p, &v, size);
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static void write_pointer(const struct command *c)
{
	const struct blob *to = blob(c->u.write_pointer.target);
	uint64_t v = to->base + c->u.write_pointer.offset;
	uint16_t key;
	uint32_t size;

	assert_true(c->u.write_pointer.offset < to->size);
	assert_true(find_file(c->u.write_pointer.file, &key, &size));
	assert_true(range_in(c->u.write_pointer.at, c->u.write_pointer.size, size));
	write_file(c->u.write_pointer.file, c->u.write_pointer.at, &v, c->u.write_pointer.size);
}

static void seabios_command(const struct command *c)
{
	const struct blob *b;
	uint8_t *p;
	uint64_t *zone;

	switch (c->command) {
	case 1:
		zone = c->u.allocate.zone == 1 ? &high : &fseg;
		assert_true(c->u.allocate.zone == 1 || c->u.allocate.zone == 2);
		assert_int_equal(c->u.allocate.align & (c->u.allocate.align - 1), 0);
		*zone = (*zone + 16 + c->u.allocate.align - 1) & ~(c->u.allocate.align - 1ULL);
		allocate(c, *zone);
		*zone += blobs[nblobs - 1].size;
		break;
	case 2:
		add_pointer(c);
		break;
	case 3:
		b = blob(c->u.add_checksum.file);
		assert_true(range_in(c->u.add_checksum.start, c->u.add_checksum.len, b->size));
		assert_true(c->u.add_checksum.at < b->size);
		p = ram(b->base + c->u.add_checksum.at);
		*p -= sum(ram(b->base + c->u.add_checksum.start), c->u.add_checksum.len);
		break;
	case 4:
		write_pointer(c);
		break;
	default:
		fail_msg("command %u", c->command);
	}
}

static void seabios(void)
{
	read_script();
	for (unsigned i = 0; i < ncommands; i++)
		seabios_command(&script[i]);
	free(script);
}

/* --- OVMF ------------------------------------------------------------------------------------- */

static char installed[16][5];
static uint64_t installed_at[16];
static unsigned ninstalled;

static void ovmf_command(const struct command *c)
{
	struct blob *b;
	uint8_t *p;

	switch (c->command) {
	case 1:
		assert_true(c->u.allocate.align <= 4096);
		/* pages downwards from the top of memory */
		high &= ~4095ULL;
		allocate(c, high - 0x20000);
		high -= 0x20000;
		break;
	case 2:
		add_pointer(c);
		break;
	case 3:
		b = blob(c->u.add_checksum.file);
		assert_true(c->u.add_checksum.at < b->size);
		assert_true(range_in(c->u.add_checksum.start, c->u.add_checksum.len, b->size));
		p = ram(b->base + c->u.add_checksum.at);
		*p = (uint8_t)-sum(ram(b->base + c->u.add_checksum.start), c->u.add_checksum.len);
		break;
	case 4:
		write_pointer(c);
		blob(c->u.write_pointer.target)->only_tables = false;
		break;
	default:
		fail_msg("command %u", c->command);
	}
}

/* The length of the table at address, of which n bytes are the blob's; 0: none is seen there. */
static uint32_t probe(uint64_t address, uint64_t n)
{
	const uint8_t *p = ram(address);
	uint32_t len;

	if (n >= 64 && memcmp(p, "FACS", 4) == 0 && get_le32(p + 4) >= 64 && get_le32(p + 4) <= n)
		return get_le32(p + 4);
	if (n < 36)
		return 0;
	len = get_le32(p + 4);
	return len >= 36 && len <= n && sum(p, len) == 0 ? len : 0;
}

static void ovmf_install(const struct command *c)
{
	const struct blob *b = blob(c->u.add_pointer.file);
	struct blob *to = blob(c->u.add_pointer.target);
	uint64_t v = 0;

	memcpy(&v, ram(b->base + c->u.add_pointer.at), c->u.add_pointer.size);
	for (unsigned i = 0; i < ninstalled; i++)
		if (installed_at[i] == v)
			return;
	assert_true(v >= to->base && v < to->base + to->size);
	if (!probe(v, to->base + to->size - v)) {
		to->only_tables = false;
		return;
	}
	if (memcmp(ram(v), "RSDT", 4) == 0 || memcmp(ram(v), "XSDT", 4) == 0)
		return;
	assert_true(ninstalled < ARRAY_LEN(installed));
	installed_at[ninstalled] = v;
	memcpy(installed[ninstalled++], ram(v), 4);
}

static void ovmf(void)
{
	read_script();
	memset(installed, 0, sizeof(installed));
	ninstalled = 0;
	for (unsigned i = 0; i < ncommands; i++)
		ovmf_command(&script[i]);
	for (unsigned i = 0; i < ncommands; i++)
		if (script[i].command == 2)
			ovmf_install(&script[i]);
	free(script);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* The address in the generation ID's device. */
static uint64_t genid_in_dsdt(const uint8_t *dsdt)
{
	for (uint32_t i = 36; i + 16 < get_le32(dsdt + 4); i++)
		if (memcmp(dsdt + i, "ADDR\x12", 5) == 0)
			return get_le32(dsdt + i + 8);
	fail_msg("no ADDR");
	return 0;
}

/* Every table from the root on by the one list, or by the other, of addresses of so many bytes. */
static unsigned walk(uint64_t rsdp, unsigned size)
{
	uint64_t list = size == 4 ? get_le32(ram(rsdp) + 16) : get_le64(ram(rsdp) + 24);
	unsigned n = 0;

	assert_memory_equal(ram(list), size == 4 ? "RSDT" : "XSDT", 4);
	assert_int_equal(sum(ram(list), get_le32(ram(list) + 4)), 0);
	for (uint32_t off = 36; off < get_le32(ram(list) + 4); off += size, n++) {
		uint64_t t = 0;

		memcpy(&t, ram(list + off), size);
		assert_int_equal(sum(ram(t), get_le32(ram(t) + 4)), 0);
		if (memcmp(ram(t), "FACP", 4) != 0)
			continue;
		assert_memory_equal(ram(get_le32(ram(t) + 36)), "FACS", 4);
		assert_int_equal(get_le32(ram(t) + 36) % 64, 0);
		assert_memory_equal(ram(get_le32(ram(t) + 40)), "DSDT", 4);
		assert_int_equal(get_le32(ram(t) + 40), get_le64(ram(t) + 140));
		t = get_le32(ram(t) + 40);
		assert_int_equal(sum(ram(t), get_le32(ram(t) + 4)), 0);
	}
	return n;
}

static void assert_root(uint64_t rsdp)
{
	assert_memory_equal(ram(rsdp), "RSD PTR ", 8);
	assert_int_equal(rsdp % 16, 0);
	assert_int_equal(sum(ram(rsdp), 20), 0);
	assert_int_equal(sum(ram(rsdp), 36), 0);
	assert_int_equal(ram(rsdp)[15], 2);
	assert_int_equal(walk(rsdp, 4), 4);
	assert_int_equal(walk(rsdp, 8), 4);
}

static void as_seabios_does(void **state)
{
	const struct blob *guid;

	seabios();
	assert_int_equal(nblobs, 3);
	assert_int_equal(blob("etc/acpi/rsdp")->size, 36);
	assert_in_range(blob("etc/acpi/rsdp")->base, 0xf0000, 0xfffff);
	assert_int_equal(blob("etc/acpi/tables")->base % 64, 0);
	assert_root(blob("etc/acpi/rsdp")->base);
	guid = blob("etc/vmgenid_guid");
	assert_int_equal(guid->base % 4096, 0);
	assert_int_equal(guid->size, 4096);
}

static void as_ovmf_does(void **state)
{
	static const char *const tables[] = {"FACS", "DSDT", "FACP", "APIC", "MCFG", "HPET"};

	ovmf();
	assert_int_equal(ninstalled, ARRAY_LEN(tables));
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		unsigned n = 0;

		for (unsigned k = 0; k < ninstalled; k++)
			n += strcmp(installed[k], tables[i]) == 0;
		assert_int_equal(n, 1);
	}
	/* freed, for the tables were copied; and kept */
	assert_true(blob("etc/acpi/rsdp")->only_tables);
	assert_true(blob("etc/acpi/tables")->only_tables);
	assert_false(blob("etc/vmgenid_guid")->only_tables);
	assert_root(blob("etc/acpi/rsdp")->base);
}

/* The identifier is where the namespace says, and where the device knows it. */
static void generation_id_is_where_firmware_says(void **state)
{
	static const uint8_t zeros[GUID_BYTES];
	uint64_t at, dsdt, fadt;
	uint8_t first[GUID_BYTES];

	seabios();
	fadt = get_le32(ram(get_le32(ram(blob("etc/acpi/rsdp")->base) + 16) + 36));
	dsdt = get_le32(ram(fadt) + 40);
	at = genid_in_dsdt(ram(dsdt));
	assert_int_equal(at, blob("etc/vmgenid_guid")->base + 4080);
	assert_memory_not_equal(ram(at), zeros, GUID_BYTES);
	memcpy(first, ram(at), GUID_BYTES);
	assert_int_equal(vmgenid_renew(vm, &msg), OK);
	assert_memory_not_equal(ram(at), first, GUID_BYTES);
}

/* Placed where the direct form places them, the files are the direct form. */
static void same_as_in_memory(void **state)
{
	static uint8_t direct[0x20000];
	uint64_t rsdp;
	bool hpet = true;

	for (unsigned round = 0; round < 2; round++, hpet = !hpet) {
		fake_vm_free(vm);
		machine(BOOT_LINUX, hpet);
		assert_int_equal(acpi_tables_build(vm, &rsdp, &msg), OK);
		assert_int_equal(rsdp, MEMMAP_BIOS);
		memcpy(direct, ram(MEMMAP_BIOS), sizeof(direct));
		fake_vm_free(vm);
		machine(BOOT_FIRMWARE, hpet);
		read_script();
		for (unsigned i = 0; i < ncommands; i++) {
			static const uint64_t place[] = {
			    MEMMAP_BIOS, MEMMAP_BIOS + 64, MEMMAP_VMGENID - 4080};

			if (script[i].command == 1)
				allocate(&script[i], place[nblobs]);
			else if (script[i].command != 4)
				seabios_command(&script[i]);
		}
		free(script);
		assert_memory_equal(ram(MEMMAP_BIOS), direct, sizeof(direct));
	}
}

/* Other machines have their tables in memory, and the same items as ever. */
static void only_with_firmware(void **state)
{
	static const char *const names[] = {"etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader",
	    "etc/vmgenid_guid", "etc/vmgenid_addr", "etc/sercon-port"};
	uint16_t key;
	uint32_t size;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_true(find_file(names[i], &key, &size));
		assert_int_equal(key, 0x22 + i);
	}
	assert_int_equal(fw_cfg_add_file(vm, "more", "x", 1, &msg), OK);
	assert_true(find_file("more", &key, &size));
	assert_int_equal(key, 0x22 + ARRAY_LEN(names));
	fake_vm_free(vm);
	machine(BOOT_LINUX, true);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_false(find_file(names[i], &key, &size));
}

/* RAM from 0 on, without what the hypervisor would keep for itself. */
static void memory_map_has_only_ram(void **state)
{
	uint16_t key;
	uint32_t size;

	assert_true(find_file("etc/e820", &key, &size));
	assert_int_equal(size, 20);
	read_file("etc/e820", BUF);
	assert_int_equal(get_le64(ram(BUF)), 0);
	assert_int_equal(get_le64(ram(BUF) + 8), RAM);
	assert_int_equal(get_le32(ram(BUF) + 16), 1);
	fake_vm_free(vm);
	vm = fake_vm_new(1, RAM);
	vm->config.boot = BOOT_FIRMWARE;
	vm->config.memory = 4096 * MIB;
	dev = fake_device_create(vm, "amber,fw-cfg", &cfg, &msg);
	assert_true(find_file("etc/e820", &key, &size));
	assert_int_equal(size, 40);
	read_file("etc/e820", BUF);
	assert_int_equal(get_le64(ram(BUF) + 8), MEMMAP_LOW_RAM_MAX);
	assert_int_equal(get_le64(ram(BUF) + 20), 4096 * MIB);
	assert_int_equal(get_le64(ram(BUF) + 28), 4096 * MIB - MEMMAP_LOW_RAM_MAX);
}

/* One file can be written, as far as it goes, and is there again when it is read. */
static void written_file(void **state)
{
	uint16_t key, other;
	uint32_t size, control;
	uint64_t at = 7 * MIB + 8;

	assert_true(find_file("etc/vmgenid_addr", &key, &size));
	assert_int_equal(size, 8);
	control = (uint32_t)key << 16 | DMA_SELECT;
	put_le64(ram(BUF), at);
	assert_int_equal(dma(control | DMA_WRITE, 9, BUF), 1);
	assert_int_equal(dma(control | DMA_WRITE, 0xffffffff, BUF), 1);
	assert_int_equal(dma(control | DMA_WRITE, 8, RAM - 4), 1);
	assert_int_equal(dma(control | DMA_SKIP, 4, 0), 0);
	assert_int_equal(dma(DMA_WRITE, 8, BUF), 1);
	assert_int_equal(get_le64(vmgenid_address_file(vm)), 0);
	assert_int_equal(
	    dma((control | DMA_WRITE) ^ 0x40000000, 8, BUF), 0); /* as a write channel */
	assert_int_equal(get_le64(vmgenid_address_file(vm)), at);
	assert_int_equal(dma(DMA_WRITE, 0, BUF), 0);
	assert_int_equal(dma(DMA_WRITE, 1, BUF), 1); /* behind its end */
	read_file("etc/vmgenid_addr", BUF + 16);
	assert_int_equal(get_le64(ram(BUF + 16)), at);
	/* in two halves, and by the port, where what is written goes nowhere */
	put_le32(ram(BUF), 6 * MIB);
	assert_int_equal(dma(control | DMA_WRITE, 4, BUF), 0);
	assert_int_equal(get_le64(vmgenid_address_file(vm)), 6 * MIB);
	fake_io_write(vm, 0x510, 2, key);
	out8(0x511, 0xff);
	assert_int_equal(get_le64(vmgenid_address_file(vm)), 6 * MIB);
	/* nothing else can be */
	assert_true(find_file("etc/vmgenid_guid", &other, &size));
	assert_int_equal(dma((uint32_t)other << 16 | DMA_SELECT | DMA_WRITE, 4, BUF), 1);
}

/* The page of the identifier cannot be had: the transfer is done when the machine goes on. */
static void written_later(void **state)
{
	uint16_t key;
	uint32_t size, control;
	uint64_t at = 7 * MIB;

	assert_true(find_file("etc/vmgenid_addr", &key, &size));
	control = (uint32_t)key << 16 | DMA_SELECT | DMA_WRITE;
	put_le64(ram(BUF), at);
	for (unsigned i = 0; i < 2; i++) {
		fake_of(vm)->gmem_fail_start = i ? BUF + 4 : at;
		fake_of(vm)->gmem_fail_len = 1;
		fake_of(vm)->gmem_fail_error = ERR_RETRY;
		memset(ram(at), 0, GUID_BYTES);
		assert_int_equal(dma(control, 8, BUF), control); /* the guest waits */
		assert_roundtrip();
		assert_int_equal(fake_device_check(genid, genid->state, &msg), OK);
		fake_of(vm)->gmem_fail_len = 0;
		dev->model->quiesce(dev);
		dev->model->resume(dev);
		dev->model->quiesce(dev);
		assert_int_equal(get_be32(ram(AT)), 0);
		assert_int_not_equal(get_le64(ram(at)), 0);
	}
}

static void out_of_memory(void **state)
{
	unsigned n = 0;

	fake_vm_free(vm);
	vm = fake_vm_new(1, RAM);
	vm->config.boot = BOOT_FIRMWARE;
	for (;; n++) {
		fake_heap_fail_after((int)n);
		dev = fake_device_create(vm, "amber,fw-cfg", &cfg, &msg);
		fake_heap_fail_after(-1);
		if (dev)
			break;
		assert_non_null(strstr(msg.text, "out of memory"));
	}
	assert_true(n > 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(as_seabios_does),
	    DEVICE_TEST(as_ovmf_does),
	    DEVICE_TEST(generation_id_is_where_firmware_says),
	    DEVICE_TEST(same_as_in_memory),
	    DEVICE_TEST(only_with_firmware),
	    DEVICE_TEST(memory_map_has_only_ram),
	    DEVICE_TEST(written_file),
	    DEVICE_TEST(written_later),
	    DEVICE_TEST(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
