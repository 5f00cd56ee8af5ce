/* SPDX-License-Identifier: BSD-2-Clause */
/* Where interrupts go: lines to the controllers, messages to local APICs. */
#include "hv/core/irq.h"

#include "hv/core/vm.h"

enum {
	ISA_LINES = 16,
	ISA_TIMER = 0,
	ISA_CASCADE = 2,     /* the slave 8259's: no device has it */
	IOAPIC_INTR_PIN = 0, /* the 8259's output; MultiProcessor specification 1.4, D.1 */
	IOAPIC_TIMER_PIN = 2,
};

/* Message address and data (SDM volume 3, 11.11.1 and 11.11.2). */
enum msi_address {
	MSI_ADDR_WINDOW = 0xfee, /* bits 31:20 */
	MSI_ADDR_DEST_SHIFT = 12,
	MSI_ADDR_REDIRECT = 1 << 3,
	MSI_ADDR_LOGICAL = 1 << 2,
};
enum msi_data {
	MSI_DATA_VECTOR = 0xff,
	MSI_DATA_MODE_SHIFT = 8,
	MSI_DATA_MODE = 7,
	MSI_DATA_ASSERT = 1 << 14,
	MSI_DATA_LEVEL = 1 << 15,
};

void irq_register_pic(struct vm *vm, const struct irqchip_ops *ops, void *pic)
{
	vm->pic = pic;
	vm->pic_ops = ops;
}

void irq_register_ioapic(struct vm *vm, const struct irqchip_ops *ops, void *ioapic)
{
	vm->ioapic = ioapic;
	vm->ioapic_ops = ops;
}

/* --- lines ----------------------------------------------------------------------- */

static void drive(struct vm *vm, unsigned gsi, bool level)
{
	if (vm->ioapic_ops && vm->ioapic_ops->ioapic_set)
		vm->ioapic_ops->ioapic_set(
		    vm->ioapic, gsi == ISA_TIMER ? IOAPIC_TIMER_PIN : gsi, level);
	if (gsi < ISA_LINES && vm->pic_ops && vm->pic_ops->pic_set)
		vm->pic_ops->pic_set(vm->pic, gsi, level);
}

/* What the controllers see of lines with two sources. */
static uint32_t combined(const struct vm *vm)
{
	return (vm->lines_first & ~vm->lines_taken) | vm->lines_second;
}

/* The lock is held until the controllers have the level: of two sources, the last one must win. */
static void first_set(struct vm *vm, unsigned gsi, bool level)
{
	uint64_t flags = spin_lock(&vm->line_lock);

	if (level)
		vm->lines_first |= 1U << gsi;
	else
		vm->lines_first &= ~(1U << gsi);
	if (!(vm->lines_taken >> gsi & 1))
		drive(vm, gsi, combined(vm) >> gsi & 1);
	spin_unlock(&vm->line_lock, flags);
}

void irq_line_set(struct vm *vm, unsigned gsi, bool level)
{
	if (gsi >= GSI_COUNT || gsi == ISA_CASCADE)
		return;
	if (vm->lines_shared)
		first_set(vm, gsi, level);
	else
		drive(vm, gsi, level);
}

void irq_second_open(struct vm *vm)
{
	spinlock_init(&vm->line_lock, RANK_LINES);
	vm->lines_first = vm->lines_second = vm->lines_taken = 0;
	vm->lines_shared = true;
}

void irq_second_close(struct vm *vm)
{
	vm->lines_shared = false;
}

void irq_second_set(struct vm *vm, uint32_t levels, uint32_t taken)
{
	uint64_t flags = spin_lock(&vm->line_lock);
	uint32_t before = combined(vm), changed;

	vm->lines_second = levels;
	vm->lines_taken = taken;
	changed =
	    (before ^ combined(vm)) | levels; /* those anew: after a load, and never lost (I7) */
	for (unsigned gsi = 0; gsi < GSI_COUNT; gsi++)
		if (changed >> gsi & 1)
			drive(vm, gsi, combined(vm) >> gsi & 1);
	spin_unlock(&vm->line_lock, flags);
}

void irq_second_load(struct vm *vm, uint32_t levels, uint32_t taken)
{
	uint64_t flags = spin_lock(&vm->line_lock);

	vm->lines_second = levels;
	vm->lines_taken = taken;
	spin_unlock(&vm->line_lock, flags);
}

/* --- messages -------------------------------------------------------------------- */

void irq_extint_set(struct vm *vm, bool level)
{
	if (!vm->nvcpus || !vlapic_extint(&vm->vcpus[0]->lapic, level))
		return;
	if (vm->ioapic_ops && vm->ioapic_ops->ioapic_set)
		vm->ioapic_ops->ioapic_set(vm->ioapic, IOAPIC_INTR_PIN, level);
}

/*
 * The destination mode bit counts with and without the redirection hint; the
 * hint asks for one of the destinations.
 */
void irq_msi(struct vm *vm, uint64_t address, uint32_t data)
{
	struct irq_message m = {
	    .dest = address >> MSI_ADDR_DEST_SHIFT & 0xff,
	    .dest_logical = address & MSI_ADDR_LOGICAL,
	    .level = data & MSI_DATA_LEVEL,
	    .assert_level = true,
	    .vector = data & MSI_DATA_VECTOR,
	    .mode = data >> MSI_DATA_MODE_SHIFT & MSI_DATA_MODE,
	};

	if (address >> 20 != MSI_ADDR_WINDOW)
		return; /* a write to something that is not an interrupt */
	if (m.level && !(data & MSI_DATA_ASSERT))
		return;
	if ((address & MSI_ADDR_REDIRECT) && m.mode == DELIVERY_FIXED)
		m.mode = DELIVERY_LOWEST;
	irq_deliver(vm, &m);
}

/*
 * Lowest priority: the local APIC with the smallest processor priority class
 * takes it. Ties go to the first one from a start that depends on the vector
 * only: spread, and the same after a restore.
 */
static unsigned deliver_lowest(struct vm *vm, const struct irq_message *m)
{
	struct vlapic *best = NULL;
	unsigned best_class = 16, n = vm->nvcpus;

	for (unsigned k = 0, i = n ? m->vector % n : 0; k < n; k++, i = i + 1 == n ? 0 : i + 1) {
		struct vlapic *l = &vm->vcpus[i]->lapic;
		unsigned class;

		if (!vlapic_enabled(l) || !vlapic_matches(l, m))
			continue;
		class = vlapic_ppr(l) >> 4;
		if (class < best_class) {
			best = l;
			best_class = class;
		}
	}
	if (!best)
		return 0;
	vlapic_deliver(best, m);
	return 1;
}

static bool is_broadcast(const struct irq_message *m)
{
	return m->dest == (m->dest_x2apic ? UINT32_MAX : 0xff);
}

/* Fixed and lowest priority need an enabled local APIC; the others reach a disabled one too. */
static bool takes(struct vlapic *l, const struct irq_message *m)
{
	return (m->mode != DELIVERY_FIXED || vlapic_enabled(l)) && vlapic_matches(l, m);
}

unsigned irq_deliver(struct vm *vm, const struct irq_message *m)
{
	unsigned taken = 0;

	if (m->mode == DELIVERY_LOWEST)
		return deliver_lowest(vm, m);
	if (!m->dest_logical && !is_broadcast(m)) {
		/* the common case: one local APIC, found by its number */
		struct vcpu *v = m->dest < vm->nvcpus && vm->vcpus[m->dest]->apic_id == m->dest
				     ? vm->vcpus[m->dest]
				     : vm_vcpu_by_apic_id(vm, m->dest);

		if (!v || !takes(&v->lapic, m))
			return 0;
		vlapic_deliver(&v->lapic, m);
		return 1;
	}
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vlapic *l = &vm->vcpus[i]->lapic;

		if (!takes(l, m))
			continue;
		vlapic_deliver(l, m);
		taken++;
	}
	return taken;
}
