/* SPDX-License-Identifier: BSD-2-Clause */
/* Enumeration, BARs, capabilities and interrupts against a made-up configuration space. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/drv/pci_access.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

/* --- the fake bus: functions with 256 bytes, of which some can be written ------------------ */

struct function {
	uint16_t segment;
	uint8_t bus, devfn;
	uint8_t reg[256], writable[256];
	bool used;
};
static struct function functions[16];
static uint64_t reached[2][BITMAP_WORDS(256)]; /* buses for which pci_access_bus() was called */
static uint8_t msix_table[4096];
static unsigned vectors_left;

static struct function *find(uint16_t segment, uint8_t bus, uint8_t devfn)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		if (functions[i].used && functions[i].segment == segment &&
		    functions[i].bus == bus && functions[i].devfn == devfn)
			return &functions[i];
	return NULL;
}

uint32_t pci_cfg_read(uint16_t segment, uint8_t bus, uint8_t devfn, unsigned reg, unsigned len)
{
	struct function *f = find(segment, bus, devfn);

	assert_true(reg % len == 0 && reg + len <= 256);
	assert_true(bitmap_test(reached[segment], bus));
	if (!f)
		return ~0u >> (32 - 8 * len);
	return get_le32(f->reg + (reg & ~3u)) >> (8 * (reg & 3)) & (~0u >> (32 - 8 * len));
}

void pci_cfg_write(
    uint16_t segment, uint8_t bus, uint8_t devfn, unsigned reg, unsigned len, uint32_t v)
{
	struct function *f = find(segment, bus, devfn);

	assert_true(reg % len == 0 && reg + len <= 256);
	for (unsigned i = 0; f && i < len; i++)
		f->reg[reg + i] = (uint8_t)((f->reg[reg + i] & ~f->writable[reg + i]) |
					    (v >> (8 * i) & f->writable[reg + i]));
}

int pci_access_bus(uint16_t segment, uint8_t bus)
{
	bitmap_set(reached[segment], bus);
	return OK;
}

bool pci_bus_answers(uint16_t segment, uint8_t bus)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		if (functions[i].used && segment == 0 && functions[i].segment == 0 &&
		    functions[i].bus == bus)
			return true;
	return false;
}

bool pci_segment(unsigned index, struct pci_segment *out)
{
	static const struct pci_segment segments[] = {{0, 0, 255}, {1, 0x10, 0x1f}};

	if (index >= ARRAY_LEN(segments))
		return false;
	*out = segments[index];
	return true;
}

/* --- what else the driver needs of the machine -------------------------------------------- */

void *map_device(hpa_t p, size_t size, enum map_flags flags)
{
	assert_true(p.a >= 0xfe000000 && p.a + size <= 0xfe000000 + sizeof(msix_table));
	return msix_table + (p.a - 0xfe000000);
}

/* The real ones are for CPUs, not for tests. */
#define AMBER_X86_CPU_H
#define AMBER_X86_IRQ_H
static unsigned cpus_online(void)
{
	return 2;
}
static int irq_vector_alloc(void (*fn)(void *arg), void *arg, const char *name)
{
	return vectors_left-- ? 0x40 : ERR_FULL;
}
static void irq_vector_free(int vector)
{
	assert_int_equal(vector, 0x40);
}
static void irq_msi_compose(unsigned cpu, uint8_t vector, uint64_t *address, uint32_t *data)
{
	*address = 0xfee00000 | (uint64_t)cpu << 12;
	*data = vector;
}

/* included, not linked: with the replacements above */
#include "hv/drv/pci.c"

/* --- building the bus ------------------------------------------------------------------------ */

static struct function *add(uint16_t segment, uint8_t bus, uint8_t slot, uint8_t fn, uint32_t ids,
    uint32_t class_code, uint8_t header)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		struct function *f = &functions[i];

		if (f->used)
			continue;
		*f = (struct function){.used = true,
		    .segment = segment,
		    .bus = bus,
		    .devfn = (uint8_t)(slot << 3 | fn)};
		put_le32(f->reg, ids);
		put_le32(f->reg + PCI_REVISION, class_code << 8 | 3);
		f->reg[PCI_HEADER_TYPE] = header;
		memset(f->writable + PCI_COMMAND, 0xff, 2);
		return f;
	}
	fail();
	return NULL;
}

/* A memory BAR of a power of two bytes. */
static void add_bar(struct function *f, unsigned i, uint32_t flags, uint64_t addr, uint64_t size)
{
	unsigned reg = PCI_BAR0 + 4 * i;
	uint64_t mask = ~(size - 1) & ~(flags & 1 ? 3ULL : 15ULL);

	put_le32(f->reg + reg, (uint32_t)addr | flags);
	put_le32(f->writable + reg, (uint32_t)mask);
	if ((flags & 7) == 4) {
		put_le32(f->reg + reg + 4, (uint32_t)(addr >> 32));
		put_le32(f->writable + reg + 4, (uint32_t)(mask >> 32));
	}
}

static unsigned probes;
static int probe_fails(struct pci_dev *d, struct errmsg *e)
{
	probes++;
	return err_set(e, ERR_IO, "flux capacitor is empty");
}
static int probe_ok(struct pci_dev *d, struct errmsg *e)
{
	probes++;
	return OK;
}
PCI_DRIVER(drv_a) = {.name = "by-id", .vendor = 0x1234, .device = 0x0001, .probe = probe_fails};
PCI_DRIVER(drv_b) = {.name = "by-class",
    .vendor = PCI_ANY,
    .device = PCI_ANY,
    .class_code = 0x010600,
    .class_mask = 0xffff00,
    .probe = probe_ok};

static int setup(void **state)
{
	memset(functions, 0, sizeof(functions));
	memset(reached, 0, sizeof(reached));
	memset(msix_table, 0xff, sizeof(msix_table));
	vectors_left = 100;
	probes = 0;
	fake_log_clear();
	return 0;
}

static int teardown(void **state)
{
	struct list *n;

	while ((n = list_pop_front(&devices)))
		heap_free(LIST_ENTRY(n, struct pci_dev, link));
	return 0;
}

static void note(const struct pci_dev *d, void *arg)
{
	strcat(arg, d->name);
	strcat(arg, " ");
}

static void enumeration(void **state)
{
	char text[400] = "";
	struct function *bridge;

	add(0, 0, 0, 0, 0x29c08086, 0x060000, 0);
	bridge = add(0, 0, 1, 0, 0x00018086, 0x060400, 0x81);
	bridge->reg[PCI_SECONDARY_BUS] = 5;
	bridge = add(0, 0, 1, 3, 0x00018086, 0x060400, 0x01);
	bridge->reg[PCI_SECONDARY_BUS] = 0; /* not set up */
	add(0, 0, 2, 1, 0xaaaa8086, 0, 0);  /* no function 0: not there */
	add(0, 5, 0, 0, 0x00011234, 0x020000, 0);
	add(0, 5, 0, 1, 0x00011234, 0x020000, 0); /* function 0 has no multi-function bit */
	bridge = add(0, 5, 31, 0, 0x00018086, 0x060400, 0x01);
	bridge->reg[PCI_SECONDARY_BUS] = 5;	     /* leads back */
	add(0, 0x80, 0, 0, 0x29c08086, 0x060000, 0); /* another root */
	bridge = add(1, 0x10, 0, 0, 0x00018086, 0x060400, 0x01);
	bridge->reg[PCI_SECONDARY_BUS] = 0x11;
	add(1, 0x11, 3, 0, 0x00011af4, 0x010601, 0);
	add(1, 0x40, 0, 0, 0x00011af4, 0x010601, 0); /* beyond the segment's buses */

	pci_init();
	pci_foreach(note, text);
	assert_string_equal(text,
	    "0000:00:00.0 0000:00:01.0 0000:00:01.3 0000:05:00.0 0000:05:1f.0 "
	    "0000:80:00.0 0001:10:00.0 0001:11:03.0 ");
}

static struct pci_dev *only(void)
{
	assert_false(list_empty(&devices));
	return LIST_ENTRY(devices.next, struct pci_dev, link);
}

static void drivers(void **state)
{
	struct pci_dev *d;

	add(0, 0, 0, 0, 0x00011234, 0x010601, 0); /* both match; one gives up */
	add(0, 0, 1, 0, 0x00011234, 0x020000, 0);
	add(0, 0, 2, 0, 0x00021234, 0x020000, 0);
	pci_init();
	assert_in_range(probes, 2, 3);
	d = only();
	assert_int_equal(d->class_code, 0x010601);
	assert_int_equal(d->revision, 3);
	assert_string_equal(d->driver, "by-class");
	assert_int_equal(d->err, OK);
	d = LIST_ENTRY(d->link.next, struct pci_dev, link);
	assert_string_equal(d->driver, "by-id");
	assert_int_equal(d->err, ERR_IO);
	assert_string_equal(d->why.text, "flux capacitor is empty");
	d = LIST_ENTRY(d->link.next, struct pci_dev, link);
	assert_null(d->driver);
	assert_non_null(strstr(fake_log_text(), "0000:00:01.0: by-id: flux capacitor is empty"));
}

static void bars(void **state)
{
	struct function *f = add(0, 0, 0, 0, 0x00021234, 0, 0);
	struct errmsg e;
	struct pci_bar b;
	struct pci_dev *d;

	add_bar(f, 0, 0, 0xfe000000, 0x1000);
	add_bar(f, 1, 1, 0xc000, 0x20);
	add_bar(f, 2, 0xc, 0x8000000000, 0x400000000);
	add_bar(f, 4, 0, 0, 0x100);
	put_le16(f->reg + PCI_COMMAND, 3);
	pci_init();
	d = only();
	assert_int_equal(pci_bar(d, 0, &b), OK);
	assert_true(b.addr == 0xfe000000 && b.size == 0x1000 && !b.io && !b.is64);
	assert_int_equal(pci_bar(d, 1, &b), OK);
	assert_true(b.addr == 0xc000 && b.size == 0x20 && b.io);
	put_le32(f->writable + PCI_BAR0 + 4, 0xffe0); /* 16 bits of decoding are enough for ports */
	assert_int_equal(pci_bar(d, 1, &b), OK);
	assert_int_equal(b.size, 0x20);
	assert_int_equal(pci_bar(d, 2, &b), OK);
	assert_true(b.addr == 0x8000000000 && b.size == 0x400000000 && b.is64 && b.prefetchable);
	assert_int_equal(pci_bar(d, 5, &b), ERR_NOENT);
	assert_int_equal(pci_bar(d, 6, &b), ERR_NOENT);
	assert_int_equal(get_le32(f->reg + PCI_BAR0), 0xfe000000); /* as it was */
	assert_int_equal(get_le16(f->reg + PCI_COMMAND), 3);

	assert_ptr_equal(pci_map_bar(d, 0, 0x10, 0xff0, &e), msix_table + 0x10);
	assert_null(pci_map_bar(d, 0, 0x10, 0xff1, &e));
	assert_non_null(strstr(e.text, "4096 bytes"));
	assert_null(pci_map_bar(d, 0, UINT64_MAX, 2, &e));
	assert_null(pci_map_bar(d, 1, 0, 1, &e));
	assert_null(pci_map_bar(d, 4, 0, 1, &e));
	assert_non_null(strstr(e.text, "no address"));
	d->header_type = 2;
	assert_int_equal(pci_bar(d, 0, &b), ERR_NOENT);
}

static void cap(struct function *f, uint8_t at, uint8_t id, uint8_t next)
{
	f->reg[at] = id;
	f->reg[at + 1] = next;
	memset(f->writable + at + 2, 0xff, 14);
}

static void capabilities(void **state)
{
	struct function *f = add(0, 0, 0, 0, 0x00021234, 0, 0);
	struct pci_dev *d;

	pci_init();
	d = only();
	f->reg[PCI_CAPABILITIES] = 0x40;
	cap(f, 0x40, PCI_CAP_VENDOR, 0x50);
	cap(f, 0x50, PCI_CAP_PM, 0x62); /* the low bits are reserved */
	cap(f, 0x60, PCI_CAP_VENDOR, 0);
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0), 0); /* no list */
	f->reg[PCI_STATUS] = 0x10;
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0), 0x40);
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0x40), 0x60);
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0x60), 0);
	assert_int_equal(pci_find_cap(d, PCI_CAP_MSI, 0), 0);
	f->reg[0x61] = 0x40; /* a ring ends */
	assert_int_equal(pci_find_cap(d, PCI_CAP_MSI, 0), 0);
	f->reg[PCI_CAPABILITIES] = 0x10; /* points into the header */
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0), 0);

	/* D3 to D0 */
	f->reg[PCI_CAPABILITIES] = 0x40;
	f->reg[0x54] = 3;
	pci_enable(d);
	assert_int_equal(f->reg[0x54], 0);
	assert_int_equal(get_le16(f->reg + PCI_COMMAND), 0x406);
	pci_disable(d);
	assert_int_equal(get_le16(f->reg + PCI_COMMAND), 0x402);
}

static void tick(void *arg)
{
	++*(unsigned *)arg;
}

static void interrupts(void **state)
{
	struct function *f = add(0, 0, 0, 0, 0x00021234, 0, 0);
	struct pci_irq irq;
	unsigned count = 0;
	struct pci_dev *d;

	memset(&irq, 0, sizeof(irq));
	pci_init();
	d = only();
	f->reg[PCI_STATUS] = 0x10;
	f->reg[PCI_CAPABILITIES] = 0x40;
	cap(f, 0x40, PCI_CAP_MSI, 0x60);
	cap(f, 0x60, PCI_CAP_MSIX, 0);
	put_le16(f->reg + 0x42, 0x80); /* 64-bit */
	put_le16(f->reg + 0x62, 3);    /* four entries */
	put_le32(f->reg + 0x64, 0x800 | 0);
	add_bar(f, 0, 0, 0xfe000000, 0x1000);
	next_cpu = 1;

	assert_int_equal(pci_irq_setup(d, &irq, tick, &count, "x"), OK);
	assert_int_equal(irq.mode, PCI_IRQ_MSIX);
	assert_int_equal(get_le16(f->reg + 0x62), 0x8003);
	assert_int_equal(get_le32(msix_table + 0x800), 0xfee01000);
	assert_int_equal(get_le32(msix_table + 0x804), 0);
	assert_int_equal(get_le32(msix_table + 0x808), 0x40);
	assert_int_equal(get_le32(msix_table + 0x80c), 0);
	assert_int_equal(get_le32(msix_table + 0x81c), 1);
	assert_int_equal(get_le32(msix_table + 0x83c), 1);
	assert_int_equal(msix_table[0x840], 0xff);

	/* the table lies outside its BAR: MSI then */
	put_le32(f->reg + 0x64, 0xff0 | 0);
	assert_int_equal(pci_irq_setup(d, &irq, tick, &count, "x"), OK);
	assert_int_equal(irq.mode, PCI_IRQ_MSI);
	assert_int_equal(get_le32(f->reg + 0x44), 0xfee00000);
	assert_int_equal(get_le16(f->reg + 0x4c), 0x40);
	assert_int_equal(get_le16(f->reg + 0x42), 0x81);
	put_le16(f->reg + 0x42, 0x70); /* 32-bit, many messages allowed */
	assert_int_equal(pci_irq_setup(d, &irq, tick, &count, "x"), OK);
	assert_int_equal(get_le16(f->reg + 0x48), 0x40);
	assert_int_equal(get_le16(f->reg + 0x42), 0x01);

	/* neither: a timer */
	f->reg[PCI_STATUS] = 0;
	assert_int_equal(pci_irq_setup(d, &irq, tick, &count, "x"), OK);
	assert_int_equal(irq.mode, PCI_IRQ_POLLED);
	assert_int_equal(irq.timer.cpu, 0);
	irq.timer.cpu = -1;
	irq.timer.fn(irq.timer.arg);
	assert_int_equal(count, 1);
	assert_int_equal(irq.timer.cpu, 0);

	vectors_left = 0;
	assert_int_equal(pci_irq_setup(d, &irq, tick, &count, "x"), ERR_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	    T(enumeration),
	    T(drivers),
	    T(bars),
	    T(capabilities),
	    T(interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
