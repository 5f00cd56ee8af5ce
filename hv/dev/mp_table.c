/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP configuration table: processors, buses, the I/O APIC, and which interrupt comes in where.
 * It says the same as MADT and _PRT (acpi_tables.c, acpi_dsdt.c). The machine starts in virtual
 * wire mode through the local APIC (3.6.2.2): there is no IMCR.
 */
#include "hv/dev/mp_table.h"

#include "hv/arch/x86/cpu_model.h"
#include "hv/core/gmem.h"
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/dev/acpi_pm.h"
#include "hv/dev/aml.h"
#include "hv/dev/pci_bus.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

enum {
	MP_SIZE = 8 * 1024,
	POINTER_SIZE = 16,
	MP_REVISION = 4, /* 1.4 */
};
_Static_assert(MEMMAP_MPTABLE + MP_SIZE <= MEMMAP_VMGENID / PAGE_SIZE * PAGE_SIZE,
    "the MP table reaches into the generation ID's page");

/* Offsets in the header (4.2) that are filled in last. */
enum header { HEADER_LENGTH = 4, HEADER_CHECKSUM = 7, HEADER_COUNT = 34 };

/* 4.3, table 4-3 */
enum entry { ENTRY_CPU = 0, ENTRY_BUS = 1, ENTRY_IOAPIC = 2, ENTRY_INTERRUPT = 3, ENTRY_LOCAL = 4 };
enum buses { BUS_PCI = 0, BUS_ISA = 1 };
enum interrupt_type { TYPE_INT = 0, TYPE_NMI = 1, TYPE_EXTINT = 3 };
enum {
	IOAPIC_ID = 0, /* as at reset, and in the MADT */
	IOAPIC_VERSION = 0x20,
	LAPIC_VERSION = 0x14,
	FLAG_ENABLED = 1 << 0,
	FLAG_BOOT_CPU = 1 << 1,
	/* polarity and trigger mode (4.3.4); 0: as the bus has them */
	ACTIVE_HIGH = 1,
	LEVEL = 3 << 2,
	ALL_LAPICS = 0xff,
};

struct mp_table {
	struct aml out;
	unsigned entries;
};

static void entry(struct mp_table *t, enum entry type)
{
	aml_byte(&t->out, (uint8_t)type);
	t->entries++;
}

static void put_cpus(struct mp_table *t, struct vm *vm)
{
	static const struct cpuid_dynamic dyn;
	struct cpuid_regs one = cpu_model_cpuid(vm->cpu_model, 1, 0, &dyn);

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		uint32_t id = vm->vcpus[i]->apic_id;

		if (id > XAPIC_ID_MAX)
			continue; /* has no place here */
		entry(t, ENTRY_CPU);
		aml_byte(&t->out, (uint8_t)id);
		aml_byte(&t->out, LAPIC_VERSION);
		aml_byte(&t->out, i == 0 ? FLAG_ENABLED | FLAG_BOOT_CPU : FLAG_ENABLED);
		aml_raw(&t->out, one.eax, 4);
		aml_raw(&t->out, one.edx, 4);
		aml_raw(&t->out, 0, 8);
	}
}

static void put_bus(struct mp_table *t, enum buses id, const char name[6])
{
	entry(t, ENTRY_BUS);
	aml_byte(&t->out, (uint8_t)id);
	aml_bytes(&t->out, name, 6);
}

static void put_ioapic(struct mp_table *t)
{
	entry(t, ENTRY_IOAPIC);
	aml_byte(&t->out, IOAPIC_ID);
	aml_byte(&t->out, IOAPIC_VERSION);
	aml_byte(&t->out, FLAG_ENABLED);
	aml_raw(&t->out, MEMMAP_IOAPIC, 4);
}

/* source: the ISA interrupt, or slot and pin; to an input of the I/O APIC. */
static void put_interrupt(
    struct mp_table *t, enum buses bus, unsigned source, uint16_t flags, unsigned input)
{
	entry(t, ENTRY_INTERRUPT);
	aml_byte(&t->out, TYPE_INT);
	aml_raw(&t->out, flags, 2);
	aml_byte(&t->out, (uint8_t)bus);
	aml_byte(&t->out, (uint8_t)source);
	aml_byte(&t->out, IOAPIC_ID);
	aml_byte(&t->out, (uint8_t)input);
}

static void put_local(struct mp_table *t, enum interrupt_type type, uint8_t lapic, uint8_t lint)
{
	entry(t, ENTRY_LOCAL);
	aml_byte(&t->out, (uint8_t)type);
	aml_raw(&t->out, 0, 2);
	aml_byte(&t->out, BUS_ISA);
	aml_byte(&t->out, 0);
	aml_byte(&t->out, lapic);
	aml_byte(&t->out, lint);
}

/* The 8254 comes in at input 2, where the cascade of the 8259 pair would be. */
static void put_isa(struct mp_table *t)
{
	enum { IRQS = 16, CASCADE = 2 };

	for (unsigned irq = 0; irq < IRQS; irq++)
		if (irq != CASCADE)
			put_interrupt(t, BUS_ISA, irq,
			    irq == ACPI_SCI_GSI ? ACTIVE_HIGH | LEVEL : 0,
			    irq == 0 ? CASCADE : irq);
}

static void put_pci(struct mp_table *t)
{
	enum { PINS = 4 };

	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		for (unsigned pin = 0; pin < PINS; pin++)
			put_interrupt(t, BUS_PCI, slot << 2 | pin, 0, pci_intx_gsi(slot, pin));
}

static void put_header(struct mp_table *t)
{
	struct aml *a = &t->out;

	aml_bytes(a, "PCMP", 4);
	aml_raw(a, 0, 2); /* length */
	aml_byte(a, MP_REVISION);
	aml_byte(a, 0); /* checksum */
	aml_bytes(a, "AMBER   ", 8);
	aml_bytes(a, "AMBERVM     ", 12);
	aml_raw(a, 0, 4); /* OEM table: none */
	aml_raw(a, 0, 2);
	aml_raw(a, 0, 2); /* entries */
	aml_raw(a, MEMMAP_LAPIC, 4);
	aml_raw(a, 0, 4); /* no extended table */
}

static uint8_t missing(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return (uint8_t)-sum;
}

static void put_table(struct mp_table *t, struct vm *vm)
{
	put_header(t);
	put_cpus(t, vm); /* entries are in the order of their types */
	put_bus(t, BUS_PCI, "PCI   ");
	put_bus(t, BUS_ISA, "ISA   ");
	put_ioapic(t);
	put_isa(t);
	put_pci(t);
	put_local(t, TYPE_EXTINT, (uint8_t)vm->vcpus[0]->apic_id, 0);
	put_local(t, TYPE_NMI, ALL_LAPICS, 1);
	if (t->out.overflow)
		return;
	put_le16(t->out.buf + HEADER_LENGTH, (uint16_t)t->out.len);
	put_le16(t->out.buf + HEADER_COUNT, (uint16_t)t->entries);
	t->out.buf[HEADER_CHECKSUM] = missing(t->out.buf, t->out.len);
}

/* 4.1: at a multiple of 16, where systems look for it. */
static void put_pointer(uint8_t out[POINTER_SIZE])
{
	enum { POINTER_CHECKSUM = 10 };
	struct aml a = {.buf = out, .cap = POINTER_SIZE};

	aml_bytes(&a, "_MP_", 4);
	aml_raw(&a, MEMMAP_MPTABLE + POINTER_SIZE, 4);
	aml_byte(&a, POINTER_SIZE / 16);
	aml_byte(&a, MP_REVISION);
	aml_byte(&a, 0);
	aml_raw(&a, 0, 5); /* there is a table; no IMCR */
	out[POINTER_CHECKSUM] = missing(out, POINTER_SIZE);
}

int mp_table_build(struct vm *vm, struct errmsg *e)
{
	uint8_t *buf = heap_zalloc(MP_SIZE);
	struct mp_table t = {.entries = 0};
	int err = OK;

	if (!buf)
		return err_set(e, ERR_NOMEM, "MP table: out of memory");
	t.out = (struct aml){.buf = buf + POINTER_SIZE, .cap = MP_SIZE - POINTER_SIZE};
	put_table(&t, vm);
	put_pointer(buf);
	if (t.out.overflow)
		err = err_set(e, ERR_NOSPACE, "MP table: more than %d KiB", MP_SIZE / 1024);
	if (!err) {
		err = gmem_write(vm, gpa(MEMMAP_MPTABLE), buf, POINTER_SIZE + t.out.len);
		if (err)
			err_set(e, err, "MP table: cannot write guest memory: %s", error_text(err));
	}
	heap_free(buf);
	return err;
}
