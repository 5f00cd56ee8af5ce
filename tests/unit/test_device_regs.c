/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every row of every register table (hv/core/device_regs.h) against the live model: one test a
 * row, in a machine that has one of each model. Linked with all of them by the Makefile.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hv/core/device_regs.h"
#include "hv/dev/pci_bus.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_block.h"

enum { RANDOM_VALUES = 32, MAX_TESTS = 2000, NAME_LEN = 100 };
#define APIC_PAGE 0xfee00000ULL

/* --- the machine -------------------------------------------------------------------- */

static struct vm *vm;
static struct device *dev; /* of the table under test; NULL: in the core */
static unsigned slot;	   /* its PCI slot */
static uint64_t seed;

static const struct {
	const char *model;
	struct config_dev cfg;
} configured[] = {
    {"amber,ns16550", {.name = "serial0"}},
    {"amber,hpet", {.name = "hpet"}},
    {"amber,fw-cfg", {.name = "fw-cfg"}},
    {"amber,debug-exit", {.name = "debug-exit", .io_base = 0xf4, .io_size = 4}},
    {"amber,testdev", {.name = "testdev"}},
    {"amber,virtio-blk", {.name = "disk0", .pci_slot = 4, .backend = "guestdisk"}},
    {"amber,virtio-console", {.name = "console0", .pci_slot = 5}},
};

static void create_configured(struct errmsg *e)
{
	for (unsigned i = 0; i < ARRAY_LEN(configured); i++)
		if (!fake_device_create(vm, configured[i].model, &configured[i].cfg, e))
			fail_msg("%s: %s", configured[i].model, e->text);
}

static unsigned slot_of(const char *model)
{
	for (unsigned i = 0; i < ARRAY_LEN(configured); i++)
		if (strcmp(configured[i].model, model) == 0)
			return configured[i].cfg.pci_slot;
	return strcmp(model, "amber,lpc") == 0 ? PCI_SLOT_LPC : PCI_SLOT_HOST;
}

/* One of each model, as after power-on. */
static void machine_start(const struct device_registers *d)
{
	const char *model = d->host ? d->host : d->model;
	struct errmsg e = {""};

	vm = fake_vm_new(1, 0);
	vm->config.memory = 16 * MIB;
	vm->config.boot = d->firmware ? BOOT_FIRMWARE : BOOT_NONE;
	fake_irq_attach(vm);
	fake_disk_new("guestdisk", 64);
	for (unsigned class = 0; class < DEVCLASS_CONFIG; class ++)
		for (const struct device_model *const *m = __start_device_models;
		     m < __stop_device_models; m++)
			if ((*m)->class == class &&
			    !fake_device_create(vm, (*m)->compatible, NULL, &e))
				fail_msg("%s: %s", (*m)->compatible, e.text);
	create_configured(&e);
	dev = device_find(vm, model);
	slot = slot_of(model);
}

static void machine_end(void)
{
	fake_vm_free(vm);
	vm = NULL;
}

/* --- accesses ----------------------------------------------------------------------- */

static uint64_t all_of(unsigned width)
{
	return width < 8 ? BIT(8 * width) - 1 : UINT64_MAX;
}

static uint64_t config_address(uint64_t at)
{
	fake_io_write(vm, PCI_CONFIG_ADDRESS, 4, 1U << 31 | slot << 11 | (uint32_t)(at & 0xfc));
	return PCI_CONFIG_DATA + (at & 3);
}

static uint64_t in_bar(enum reg_space space, uint64_t at)
{
	uint16_t port = (uint16_t)config_address(PCI_BAR0 + 4 * (space - REG_BAR0));

	return fake_io_read(vm, port, 4) + at;
}

static uint64_t read_at(enum reg_space space, uint64_t at, unsigned width)
{
	struct vlapic *apic = &vm->vcpus[0]->lapic;
	uint64_t v = 0;

	switch (space) {
	case REG_PORT:
		return fake_io_read(vm, (uint16_t)at, width);
	case REG_CONFIG:
		return fake_io_read(vm, (uint16_t)config_address(at), width);
	case REG_MSR:
		assert_int_equal(vlapic_msr_read(apic, (uint32_t)at, &v), OK);
		return v;
	case REG_BAR0:
	case REG_BAR1:
		return fake_mmio_read(vm, in_bar(space, at), width);
	case REG_MEMORY:
		if (at - APIC_PAGE >= PAGE_SIZE)
			return fake_mmio_read(vm, at, width);
		assert_int_equal(vlapic_mmio_read(apic, (uint32_t)(at - APIC_PAGE), width, &v), OK);
	}
	return v;
}

static void write_at(enum reg_space space, uint64_t at, unsigned width, uint64_t v)
{
	struct vlapic *apic = &vm->vcpus[0]->lapic;

	switch (space) {
	case REG_PORT:
		fake_io_write(vm, (uint16_t)at, width, (uint32_t)v);
		return;
	case REG_CONFIG:
		fake_io_write(vm, (uint16_t)config_address(at), width, (uint32_t)v);
		return;
	case REG_MSR:
		assert_int_equal(vlapic_msr_write(apic, (uint32_t)at, v), OK);
		return;
	case REG_BAR0:
	case REG_BAR1:
		fake_mmio_write(vm, in_bar(space, at), width, v);
		return;
	case REG_MEMORY:
		if (at - APIC_PAGE >= PAGE_SIZE)
			fake_mmio_write(vm, at, width, v);
		else
			assert_int_equal(
			    vlapic_mmio_write(apic, (uint32_t)(at - APIC_PAGE), width, v), OK);
	}
}

static uint64_t unhandled(void)
{
	return vm->stat_unhandled_io;
}

/* --- a row's register ------------------------------------------------------------------ */

static const struct device_registers *table; /* under test */
static const struct reg_row *row;
static unsigned instance;
static char place[NAME_LEN + 20]; /* for messages */

static uint64_t instance_at(void)
{
	return row->at + (row->index ? 0 : (uint64_t)instance * row->stride);
}

static void select_row(void)
{
	uint64_t at = row->space == REG_CONFIG ? config_address(row->select_at) : row->select_at;
	uint32_t v = row->select + (row->index ? instance * row->stride : 0);

	if (!row->select_width)
		return;
	if (row->space == REG_PORT)
		fake_io_write(vm, (uint16_t)at, row->select_width, v);
	else
		write_at(row->space, at, row->select_width, v);
}

static uint64_t row_read(void)
{
	select_row();
	return read_at(row->space, instance_at(), row->width);
}

static void row_write(uint64_t v)
{
	select_row();
	write_at(row->space, instance_at(), row->width, v);
}

static void expect_bits(const char *when, uint64_t got, uint64_t want, uint64_t care)
{
	if ((got ^ want) & care)
		fail_msg("%s: %s: reads %#llx, not %#llx", place, when,
		    (unsigned long long)(got & care), (unsigned long long)(want & care));
}

static void expect(const char *when, uint64_t got, uint64_t want)
{
	expect_bits(when, got, want, all_of(row->width) & ~row->varies);
}

/* In x2APIC mode, and enabled, so that nothing but the mask decides what an entry keeps. */
static void prepare(void)
{
	struct vlapic *apic = &vm->vcpus[0]->lapic;
	uint64_t base;

	if (row->space != REG_MSR)
		return;
	assert_int_equal(vlapic_msr_read(apic, MSR_APIC_BASE, &base), OK);
	if (row->at != MSR_APIC_BASE)
		assert_int_equal(
		    vlapic_msr_write(apic, MSR_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD),
		    OK);
}

static void enable_apic(void)
{
	if (strncmp(table->model, "local APIC", 10) == 0 && strcmp(row->name, "SVR") != 0)
		fake_lapics_enable(vm);
}

/* --- the procedures --------------------------------------------------------------------- */

static void after_reset(void)
{
	uint64_t count = unhandled();

	expect("after a reset", row_read(), row->reset);
	expect("read again", row_read(), row->reset);
	if (!(row->flags & REG_WRITE_ONLY))
		assert_int_equal(unhandled(), count);
	else if (row->space != REG_CONFIG && !(row->flags & REG_SHARED))
		assert_int_equal(unhandled(), count + 2);
}

static uint64_t value_to_write(unsigned i)
{
	uint64_t v = i == 0 ? UINT64_MAX : 0;

	for (unsigned n = 0; i > 1 && n < 4; n++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		v = v << 16 | seed >> 48;
	}
	return v & all_of(row->width) & ~(row->varies & ~row->writable);
}

static void reads_back(void)
{
	uint64_t fixed = row->reset & ~row->writable;

	for (unsigned i = 0; i < RANDOM_VALUES; i++) {
		uint64_t v = value_to_write(i), count;
		char when[60];

		if (row->space == REG_MSR)
			v &= row->writable | row->ignored;
		snprintf(when, sizeof(when), "after %#llx was written", (unsigned long long)v);
		count = unhandled();
		row_write(v);
		if (row->space != REG_CONFIG && !(row->flags & REG_SHARED))
			assert_int_equal(unhandled(), count + (row->flags & REG_READ_ONLY ? 1 : 0));
		expect_bits(when, row_read(),
		    row->flags & REG_WRITE_ONLY ? row->reset : fixed | (v & row->writable),
		    all_of(row->width) & ~(row->varies & ~row->writable));
	}
}

/* MSRs: a reserved bit gives #GP, and the register is as before. */
static void reserved_bits_fault(void)
{
	struct vlapic *apic = &vm->vcpus[0]->lapic;
	uint64_t legal = row->writable | row->ignored | row->varies, v;

	select_row();
	for (unsigned bit = 0; bit < 64; bit++)
		if (!(legal >> bit & 1))
			assert_true(
			    vlapic_msr_write(apic, (uint32_t)instance_at(), BIT(bit)) != OK);
	if (row->flags & REG_READ_ONLY)
		assert_true(vlapic_msr_write(apic, (uint32_t)instance_at(), 0) != OK);
	if (row->flags & REG_WRITE_ONLY)
		assert_true(vlapic_msr_read(apic, (uint32_t)instance_at(), &v) != OK);
}

/* Puts bits where the device would set them: into the field of its state. */
static void set_bits(uint64_t bits)
{
	const struct state_field *f = dev->model->fields;
	uint8_t *p;

	while (f->name && strcmp(f->name, row->field) != 0)
		f++;
	assert_non_null(f->name);
	p = (uint8_t *)dev->state + f->offset + (size_t)f->width * (row->element + instance);
	for (unsigned i = 0; i < row->width; i++)
		p[i] |= (uint8_t)(bits >> (8 * i));
	dev->model->loaded(dev);
}

static void writing_ones_clears(void)
{
	for (unsigned i = 0; i < RANDOM_VALUES; i++) {
		uint64_t v = value_to_write(i);

		set_bits(row->w1c);
		expect("with all bits set", row_read(), row->reset | row->w1c);
		row_write(v);
		expect("after ones were written", row_read(), row->reset | (row->w1c & ~v));
	}
}

static void reading_clears(void)
{
	set_bits(row->rc);
	expect("with all bits set", row_read(), row->reset | row->rc);
	expect("after it was read", row_read(), row->reset & ~row->rc);
}

struct row_test {
	const struct device_registers *table;
	const struct reg_row *row;
	char name[NAME_LEN];
};

/* Of a test that failed. */
static int clean_up(void **state)
{
	if (vm)
		machine_end();
	return 0;
}

static void in_a_machine(void (*procedure)(void), bool enabled)
{
	machine_start(table);
	if (enabled)
		enable_apic();
	prepare();
	procedure();
	machine_end();
}

static void row_holds(void **state)
{
	const struct row_test *t = *state;

	table = t->table;
	row = t->row;
	for (instance = 0; instance < (row->count ? row->count : 1U); instance++) {
		snprintf(place, sizeof(place), "%s (%u)", t->name, instance);
		if (row->flags & REG_SPECIAL) {
			if (row->reset)
				in_a_machine(after_reset, false);
			continue;
		}
		if (row->space != REG_MSR || !(row->flags & REG_WRITE_ONLY))
			in_a_machine(after_reset, false);
		if (row->space == REG_MSR)
			in_a_machine(reserved_bits_fault, true);
		if (row->w1c)
			in_a_machine(writing_ones_clears, true);
		else if (!(row->flags & REG_SHARED) &&
			 !(row->space == REG_MSR &&
			     (row->flags & (REG_READ_ONLY | REG_WRITE_ONLY))))
			in_a_machine(reads_back, true);
		if (row->rc)
			in_a_machine(reading_clears, true);
	}
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* --- what has no row ---------------------------------------------------------------------- */

static bool has_row(const struct device_registers *d, const struct reg_range *range, uint64_t at)
{
	for (const struct reg_row *r = d->rows; r && r->name; r++) {
		unsigned count = r->count && !r->index ? r->count : 1;

		if (r->space != range->space)
			continue;
		for (unsigned i = 0; i < count; i++)
			if (at + range->unit > r->at + i * r->stride &&
			    at < r->at + i * r->stride + (r->space == REG_MSR ? 1 : r->width))
				return true;
		if (r->index && at >= r->select_at && at < r->select_at + r->select_width)
			return true;
	}
	return false;
}

static void nothing_at(const struct reg_range *range, uint64_t at)
{
	struct vlapic *apic = &vm->vcpus[0]->lapic;
	unsigned width = MIN((unsigned)range->unit, 4U);
	uint64_t count = unhandled(), own = dev ? dev->unhandled : 0, v;

	if (range->space == REG_MSR) {
		assert_true(vlapic_msr_read(apic, (uint32_t)at, &v) != OK);
		assert_true(vlapic_msr_write(apic, (uint32_t)at, 0) != OK);
		return;
	}
	v = read_at(range->space, at, width);
	if (v != 0 && (v != all_of(width) || range->space == REG_CONFIG))
		fail_msg("%#llx: reads %#llx, has no row", (unsigned long long)at,
		    (unsigned long long)v);
	write_at(range->space, at, width, all_of(width));
	assert_int_equal(read_at(range->space, at, width), v);
	if (range->space == REG_CONFIG)
		return;
	if (unhandled() != count + 3)
		fail_msg("%#llx: %u of 3 accesses counted", (unsigned long long)at,
		    (unsigned)(unhandled() - count));
	if (dev)
		assert_int_equal(dev->unhandled, own + 3);
}

static void what_has_no_row_is_counted(void **state)
{
	const struct row_test *t = *state;

	table = t->table;
	for (const struct reg_range *r = table->ranges; r && r->size; r++) {
		machine_start(table);
		row = &(const struct reg_row){.space = r->space};
		prepare();
		for (uint64_t at = r->start; at < r->start + r->size; at += r->unit)
			if (!has_row(table, r, at))
				nothing_at(r, at);
		machine_end();
	}
}

/* --- what a register does not take ----------------------------------------------------------- */

enum what { READ, WRITE };

/* Accesses to registers that are there, in order; those that count are counted once. */
static const struct left_out {
	const char *model;
	enum what what;
	enum reg_space space;
	uint64_t at;
	uint8_t width;
	bool counted;
	uint32_t value;
} left_out[] = {
    /* ICW1 to ICW4 of the master: with uPM, and without */
    {"amber,i8259", WRITE, REG_PORT, 0x20, 1, false, 0x11},
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, false, 0x08},
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, false, 0x04},
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, false, 0x01},
    {"amber,i8259", WRITE, REG_PORT, 0x20, 1, false, 0x11},
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, false, 0x08},
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, false, 0x04},
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, true, 0x00},
    /* then OCW1 */
    {"amber,i8259", WRITE, REG_PORT, 0x21, 1, false, 0x00},
    /* the window takes doublewords; register 3 is not there */
    {"amber,ioapic", WRITE, REG_MEMORY, MEMMAP_IOAPIC + 0x10, 1, true, 0},
    {"amber,ioapic", WRITE, REG_MEMORY, MEMMAP_IOAPIC, 4, false, 3},
    {"amber,ioapic", READ, REG_MEMORY, MEMMAP_IOAPIC + 0x10, 4, true, 0},
    {"amber,ioapic", WRITE, REG_MEMORY, MEMMAP_IOAPIC + 0x10, 4, true, 0},
    {"amber,ioapic", WRITE, REG_MEMORY, MEMMAP_IOAPIC, 4, false, 0x40},
    {"amber,ioapic", READ, REG_MEMORY, MEMMAP_IOAPIC + 0x10, 4, true, 0},
    /* a sleep state that is not offered; S5 */
    {"amber,acpi-pm", WRITE, REG_PORT, 0x604, 2, true, 1 << 13 | 3 << 10},
    {"amber,acpi-pm", WRITE, REG_PORT, 0x604, 2, false, 1 << 13 | 5 << 10},
    /* status and enable at once; control and what is behind it */
    {"amber,acpi-pm", READ, REG_PORT, 0x600, 4, false, 0},
    {"amber,acpi-pm", READ, REG_PORT, 0x604, 4, true, 0},
    {"amber,acpi-pm", WRITE, REG_PORT, 0x608, 4, true, 0},
    /* a controller's command that there is not, and one for the device that there is not */
    {"amber,i8042", WRITE, REG_PORT, 0x64, 1, true, 0xa0},
    {"amber,i8042", WRITE, REG_PORT, 0x64, 1, false, 0xaa},
    {"amber,i8042", WRITE, REG_PORT, 0x64, 1, false, 0xd4},
    {"amber,i8042", WRITE, REG_PORT, 0x60, 1, true, 0xf4},
    /* the keyboard's: echo, enable, and three that there are not */
    {"amber,i8042", WRITE, REG_PORT, 0x60, 1, false, 0xee},
    {"amber,i8042", WRITE, REG_PORT, 0x60, 1, false, 0xf4},
    {"amber,i8042", WRITE, REG_PORT, 0x60, 1, true, 0xef},
    {"amber,i8042", WRITE, REG_PORT, 0x60, 1, true, 0xf1},
    {"amber,i8042", WRITE, REG_PORT, 0x60, 1, true, 0x12},
    /* doublewords only, but for RST_CNT */
    {"amber,pci-host", WRITE, REG_PORT, 0xcf8, 1, true, 0},
    {"amber,pci-host", READ, REG_PORT, 0xcfa, 2, true, 0},
    {"amber,pci-host", READ, REG_PORT, 0xcf9, 1, false, 0},
    /* the message address and the pending bits as quadwords; no bytes */
    {"MSI-X", READ, REG_BAR1, 0, 8, false, 0},
    {"MSI-X", READ, REG_BAR1, 0x800, 8, false, 0},
    {"MSI-X", READ, REG_BAR1, 0, 2, true, 0},
    {"MSI-X", WRITE, REG_BAR1, 4, 8, true, 0},
    /* a queue address in one go; two registers in one go; a half of one; no queue 2 */
    {"virtio over PCI", WRITE, REG_BAR0, 32, 8, false, 0},
    {"virtio over PCI", WRITE, REG_BAR0, 16, 4, true, 0},
    {"virtio over PCI", WRITE, REG_BAR0, 0, 2, true, 0},
    {"virtio over PCI", WRITE, REG_BAR0, 0x3004, 2, false, 1},
    {"virtio over PCI", WRITE, REG_BAR0, 0x3008, 2, true, 2},
    /* bytes of a register may be read, not written; the other twelve are nothing */
    {"local APIC, xAPIC mode", READ, REG_MEMORY, APIC_PAGE + 0x80, 1, false, 0},
    {"local APIC, xAPIC mode", WRITE, REG_MEMORY, APIC_PAGE + 0x80, 1, true, 0},
    {"local APIC, xAPIC mode", READ, REG_MEMORY, APIC_PAGE + 0x84, 4, true, 0},
};

static void what_is_left_out_is_counted(void **state)
{
	const struct row_test *t = *state;

	table = t->table;
	machine_start(table);
	for (unsigned i = 0; i < ARRAY_LEN(left_out); i++) {
		const struct left_out *l = &left_out[i];
		uint64_t count = unhandled();

		if (strcmp(l->model, table->model) != 0)
			continue;
		if (l->what == READ)
			read_at(l->space, l->at, l->width);
		else
			write_at(l->space, l->at, l->width, l->value);
		if (unhandled() != count + l->counted)
			fail_msg(
			    "row %u: %llu counted", i, (unsigned long long)(unhandled() - count));
	}
	if (dev)
		assert_int_equal(dev->unhandled, vm->stat_unhandled_io);
	machine_end();
}

/* --- the tables themselves ------------------------------------------------------------------ */

/* True if the file of tests/unit has a test of that name. */
static bool test_exists(const char *file, const char *name)
{
	char path[200], line[300], want[200];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "tests/unit/%s", file);
	snprintf(want, sizeof(want), "static void %s(void **state)\n", name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s: cannot be opened; run this from the top of the tree", path);
	while (!found && fgets(line, sizeof(line), f))
		found = strcmp(line, want) == 0;
	fclose(f);
	return found;
}

static void check_bits(const struct reg_row *r)
{
	uint64_t seen = 0, effective = r->writable | r->w1c | r->rc;

	for (const struct reg_bits *b = r->bits; b && b->mask; b++) {
		uint64_t from_0 = b->mask >> __builtin_ctzll(b->mask);

		if (!b->name || (from_0 & (from_0 + 1)) || (b->mask & seen) ||
		    (b->mask & ~all_of(r->width)))
			fail_msg("%s: field '%s' is not a field", r->name, b->name);
		seen |= b->mask;
	}
	if (r->bits && (effective & ~seen))
		fail_msg("%s: bits %#llx have no name", r->name,
		    (unsigned long long)(effective & ~seen));
}

static void check_row(const struct device_registers *d, const struct reg_row *r)
{
	uint64_t all = all_of(r->width);

	if (!r->section || !r->width)
		fail_msg("%s: no section or width", r->name);
	if ((r->reset | r->writable | r->w1c | r->rc | r->varies) & ~all)
		fail_msg("%s: masks are wider than %u bytes", r->name, r->width);
	if ((r->flags & REG_READ_ONLY && r->writable | r->w1c) || (r->writable & r->w1c))
		fail_msg("%s: masks contradict each other", r->name);
	if ((r->w1c | r->rc) && !r->field)
		fail_msg("%s: no field of the state", r->name);
	if (((r->flags & REG_SPECIAL) || r->varies) && !r->test)
		fail_msg("%s: no test", r->name);
	if (r->test && !test_exists(d->tests, r->test))
		fail_msg("%s: tests/unit/%s has no test '%s'", r->name, d->tests, r->test);
	check_bits(r);
}

static void table_is_sound(void **state)
{
	const struct row_test *t = *state;

	assert_non_null(t->table->title);
	assert_non_null(t->table->sheet);
	for (const struct reg_row *r = t->table->rows; r && r->name; r++)
		check_row(t->table, r);
}

static void every_model_has_a_table(void **state)
{
	for (const struct device_model *const *m = __start_device_models; m < __stop_device_models;
	     m++) {
		bool found = false;

		for (const struct device_registers *const *d = __start_device_registers;
		     d < __stop_device_registers; d++)
			found |= strcmp((*d)->model, (*m)->compatible) == 0;
		if (!found)
			fail_msg("%s: no table of its registers", (*m)->compatible);
	}
}

/* --- the list ------------------------------------------------------------------------------- */

static struct CMUnitTest tests[MAX_TESTS];
static struct row_test rows[MAX_TESTS];
static size_t ntests;

static void add(const struct device_registers *d, const struct reg_row *r, const char *what,
    CMUnitTestFunction fn)
{
	struct row_test *t = &rows[ntests];

	assert_true(ntests < MAX_TESTS);
	t->table = d;
	t->row = r;
	snprintf(t->name, sizeof(t->name), "%s: %s", d ? d->model : "all", what);
	tests[ntests++] = (struct CMUnitTest){
	    .name = t->name, .test_func = fn, .teardown_func = clean_up, .initial_state = t};
}

int main(void)
{
	add(NULL, NULL, "every model has a table", every_model_has_a_table);
	for (const struct device_registers *const *d = __start_device_registers;
	     d < __stop_device_registers; d++) {
		add(*d, NULL, "the table is sound", table_is_sound);
		add(*d, NULL, "what has no row is counted", what_has_no_row_is_counted);
		add(*d, NULL, "what is left out is counted", what_is_left_out_is_counted);
		for (const struct reg_row *r = (*d)->rows; r && r->name; r++)
			add(*d, r, r->name, row_holds);
	}
	return _cmocka_run_group_tests("device_regs", tests, ntests, NULL, NULL);
}
