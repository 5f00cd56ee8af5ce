/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's I/O APICs: inputs routed to vectors; the 8259 pair silenced. */
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/irq.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

/* 82093AA datasheet, 3.1 and 3.2. */
enum {
	IOREGSEL = 0x00,
	IOWIN = 0x10,
	IOAPIC_VERSION = 0x01,
	IOAPIC_REDIR = 0x10, /* two registers per input */
	REDIR_LOW_ACTIVE = 1 << 13,
	REDIR_LEVEL = 1 << 15,
	REDIR_MASKED = 1 << 16,
	REDIR_DEST_SHIFT = 24,
};
#define IOAPIC_DEFAULT_BASE 0xfec00000ULL

/* 8259 pair (datasheet). */
enum {
	PIC1_COMMAND = 0x20,
	PIC1_DATA = 0x21,
	PIC2_COMMAND = 0xa0,
	PIC2_DATA = 0xa1,
	ICW1_INIT_ICW4 = 0x11,
	ICW4_8086 = 0x01,
	PIC1_CASCADE = 1 << 2,
	PIC2_CASCADE = 2,
};

static struct ioapic {
	volatile uint8_t *regs;
	uint32_t gsi_base, inputs;
} ioapics[ACPI_MAX_IOAPIC];
static unsigned count;
static struct spinlock lock = SPINLOCK_INIT(RANK_IRQ);

static uint32_t reg_read(const struct ioapic *a, uint32_t reg)
{
	mmio_write32(a->regs + IOREGSEL, reg);
	return mmio_read32(a->regs + IOWIN);
}

static void reg_write(const struct ioapic *a, uint32_t reg, uint32_t v)
{
	mmio_write32(a->regs + IOREGSEL, reg);
	mmio_write32(a->regs + IOWIN, v);
}

/*
 * Initialized to vectors of their own, then masked for good: even a masked 8259
 * can answer with a spurious interrupt.
 */
static void pic_silence(void)
{
	outb(PIC1_COMMAND, ICW1_INIT_ICW4);
	outb(PIC2_COMMAND, ICW1_INIT_ICW4);
	outb(PIC1_DATA, IRQ_VECTOR_PIC);
	outb(PIC2_DATA, IRQ_VECTOR_PIC + 8);
	outb(PIC1_DATA, PIC1_CASCADE);
	outb(PIC2_DATA, PIC2_CASCADE);
	outb(PIC1_DATA, ICW4_8086);
	outb(PIC2_DATA, ICW4_8086);
	outb(PIC1_DATA, 0xff);
	outb(PIC2_DATA, 0xff);
}

static void ioapic_add(uint64_t base, uint32_t gsi_base)
{
	struct ioapic *a = &ioapics[count];
	uint32_t version;

	a->regs = map_device(hpa(base), PAGE_SIZE, MAP_UNCACHED);
	if (!a->regs)
		panic("I/O APIC at 0x%lx: cannot map its registers", base);
	version = reg_read(a, IOAPIC_VERSION);
	if (version == UINT32_MAX) {
		log_warn("I/O APIC at 0x%lx: nothing there", base);
		return;
	}
	a->gsi_base = gsi_base;
	a->inputs = (version >> 16 & 0xff) + 1;
	for (uint32_t i = 0; i < a->inputs; i++)
		reg_write(a, IOAPIC_REDIR + 2 * i, REDIR_MASKED);
	log_info("I/O APIC at 0x%lx: inputs %u..%u", base, gsi_base, gsi_base + a->inputs - 1);
	count++;
}

void ioapic_init(void)
{
	struct acpi_ioapic a;

	pic_silence();
	for (unsigned i = 0; count < ARRAY_LEN(ioapics) && acpi_ioapic(i, &a); i++)
		ioapic_add(a.base, a.gsi_base);
	if (!acpi_ioapic(0, &a))
		ioapic_add(IOAPIC_DEFAULT_BASE, 0);
}

static struct ioapic *find(unsigned gsi)
{
	for (unsigned i = 0; i < count; i++)
		if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].inputs)
			return &ioapics[i];
	return NULL;
}

int ioapic_route(unsigned gsi, uint8_t vector, unsigned cpu, bool level, bool low)
{
	struct ioapic *a = find(gsi);
	uint32_t reg, entry = vector;
	uint64_t flags;

	if (!a)
		return ERR_NOENT;
	reg = IOAPIC_REDIR + 2 * (gsi - a->gsi_base);
	if (low)
		entry |= REDIR_LOW_ACTIVE;
	if (level)
		entry |= REDIR_LEVEL;
	flags = spin_lock(&lock);
	reg_write(a, reg, REDIR_MASKED);
	reg_write(a, reg + 1, cpu_by_id(cpu)->apic_id << REDIR_DEST_SHIFT);
	reg_write(a, reg, entry);
	spin_unlock(&lock, flags);
	return OK;
}

void ioapic_mask(unsigned gsi, bool mask)
{
	struct ioapic *a = find(gsi);
	uint64_t flags;
	uint32_t reg, entry;

	if (!a)
		return;
	reg = IOAPIC_REDIR + 2 * (gsi - a->gsi_base);
	flags = spin_lock(&lock);
	entry = reg_read(a, reg) & ~(uint32_t)REDIR_MASKED;
	reg_write(a, reg, mask ? entry | REDIR_MASKED : entry);
	spin_unlock(&lock, flags);
}

void ioapic_isa_gsi(unsigned isa_irq, unsigned *gsi, bool *level, bool *low)
{
	acpi_isa_irq(isa_irq, gsi, level, low);
}
