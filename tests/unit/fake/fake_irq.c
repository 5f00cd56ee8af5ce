/* SPDX-License-Identifier: BSD-2-Clause */
/* Recording interrupt controllers under the real interrupt core, and a look into the local APICs.
 */
#include "tests/unit/fake/fake.h"

static void record(bool *level, unsigned *edges, bool now)
{
	*edges += now && !*level;
	*level = now;
}

static void pic_set(void *pic, unsigned irq, bool level)
{
	struct fake_vm *f = pic;

	record(&f->pic_level[irq], &f->pic_edges[irq], level);
}

static uint8_t pic_ack(void *pic)
{
	return ((struct fake_vm *)pic)->pic_vector;
}

static void ioapic_set(void *ioapic, unsigned pin, bool level)
{
	struct fake_vm *f = ioapic;

	record(&f->ioapic_level[pin], &f->ioapic_edges[pin], level);
}

static void ioapic_eoi(void *ioapic, uint8_t vector)
{
	((struct fake_vm *)ioapic)->eoi_count[vector]++;
}

static const struct irqchip_ops recording_ops = {
    .pic_set = pic_set,
    .pic_ack = pic_ack,
    .ioapic_set = ioapic_set,
    .ioapic_eoi = ioapic_eoi,
};

void fake_irq_attach(struct vm *vm)
{
	irq_register_pic(vm, &recording_ops, fake_of(vm));
	irq_register_ioapic(vm, &recording_ops, fake_of(vm));
}

void fake_lapics_enable(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		(void)vlapic_mmio_write(&vm->vcpus[i]->lapic, APIC_SVR * 16, 4, 0x1ff);
}

bool fake_lapic_irr(struct vm *vm, unsigned cpu, uint8_t vector)
{
	const uint32_t *irr = &vm->vcpus[cpu]->state.apic.regs[APIC_IRR];

	return irr[vector / 32] >> (vector % 32) & 1;
}

int fake_lapic_take(struct vm *vm, unsigned cpu)
{
	struct vlapic *l = &vm->vcpus[cpu]->lapic;
	int pending = vlapic_pending(l), vector;

	if (pending < 0)
		return -1;
	vector = vlapic_accept(l, pending);
	if (pending != VLAPIC_EXTINT)
		(void)vlapic_mmio_write(l, APIC_EOI * 16, 4, 0);
	return vector;
}
