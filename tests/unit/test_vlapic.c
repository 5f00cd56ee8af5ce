/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC against SDM volume 3, chapter 11. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/fake/fake.h"

enum { X2 = MSR_X2APIC_FIRST };
enum { LVT_MASKED = 1 << 16, TIMER_PERIODIC = 1 << 17, TIMER_TSC = 2 << 17 };

static struct vm *vm;
static struct vlapic *l; /* of vCPU 0 */

static int start(void **state)
{
	vm = fake_vm_new(4, 0);
	fake_irq_attach(vm);
	fake_lapics_enable(vm);
	l = &vm->vcpus[0]->lapic;
	for (unsigned i = 0; i < 4; i++)
		vm->vcpus[i]->requests = 0;
	return 0;
}

static int end(void **state)
{
	fake_vm_free(vm);
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static uint32_t rd(unsigned reg)
{
	uint64_t v;

	assert_int_equal(vlapic_mmio_read(l, reg * 16, 4, &v), OK);
	return (uint32_t)v;
}

static void wr(unsigned reg, uint32_t v)
{
	assert_int_equal(vlapic_mmio_write(l, reg * 16, 4, v), OK);
}

static uint64_t rdmsr(uint32_t msr)
{
	uint64_t v = 0;

	assert_int_equal(vlapic_msr_read(l, msr, &v), OK);
	return v;
}

static void wrmsr(uint32_t msr, uint64_t v)
{
	assert_int_equal(vlapic_msr_write(l, msr, v), OK);
}

static void assert_gp(uint32_t msr, uint64_t v)
{
	assert_int_equal(vlapic_msr_write(l, msr, v), ERR_INVAL);
}

static void enter_x2apic(struct vlapic *which)
{
	assert_int_equal(vlapic_msr_write(which, MSR_APIC_BASE,
			     which->vcpu->state.apic.base_msr | APIC_BASE_EXTD),
	    OK);
}

static uint32_t esr(void)
{
	wr(APIC_ESR, 0);
	return rd(APIC_ESR);
}

/* An edge interrupt that arrives from elsewhere. */
static void arrive(uint8_t vector)
{
	struct irq_message m = {.dest = 0, .assert_level = true, .vector = vector};

	assert_int_equal(irq_deliver(vm, &m), 1);
}

static uint64_t guest_tsc(void)
{
	return vm_time(vm) * 2 + vm->vcpus[0]->state.tsc_offset; /* 2 GHz */
}

/* --- registers ---------------------------------------------------------------------- */

static void power_on_state(void **state)
{
	struct vlapic *other = &vm->vcpus[2]->lapic;

	vlapic_reset(other, false);
	l = other;
	assert_int_equal(rd(APIC_ID), 2 << 24);
	assert_int_equal(rd(APIC_VERSION), 0x01060014);
	assert_int_equal(rd(APIC_SVR), 0xff);
	assert_int_equal(rd(APIC_DFR), 0xffffffff);
	assert_int_equal(rd(APIC_LDR), 0);
	assert_int_equal(rd(APIC_LVT_LINT0), LVT_MASKED);
	assert_int_equal(rdmsr(MSR_APIC_BASE), 0xfee00800);
	assert_int_equal(vm->vcpus[0]->state.apic.base_msr, 0xfee00900);
	assert_int_equal(vlapic_check(&vm->vcpus[2]->state.apic, 2, NULL), OK);
}

static void reserved_bits_are_ignored_in_xapic_mode(void **state)
{
	wr(APIC_LVT_TIMER, 0xffffffff);
	assert_int_equal(rd(APIC_LVT_TIMER), 0x000700ff);
	wr(APIC_LVT_LINT0, 0xffffffff);
	assert_int_equal(rd(APIC_LVT_LINT0), 0x0001a7ff);
	wr(APIC_LVT_PMC, 0xffffffff);
	assert_int_equal(rd(APIC_LVT_PMC), 0x000107ff);
	wr(APIC_LVT_CMCI, 0xffffffff);
	assert_int_equal(rd(APIC_LVT_CMCI), 0x000107ff);
	wr(APIC_LVT_ERROR, 0xffffffff);
	assert_int_equal(rd(APIC_LVT_ERROR), 0x000100ff);
	wr(APIC_TIMER_DIVIDE, 0xffffffff);
	assert_int_equal(rd(APIC_TIMER_DIVIDE), 0xb);
	wr(APIC_LDR, 0xffffffff);
	assert_int_equal(rd(APIC_LDR), 0xff000000);
	wr(APIC_DFR, 0);
	assert_int_equal(rd(APIC_DFR), 0x0fffffff);
	wr(APIC_ID, 0x55000000);
	assert_int_equal(rd(APIC_ID), 0);
	wr(APIC_ICR2, 0xffffffff);
	assert_int_equal(rd(APIC_ICR2), 0xff000000);
}

/* A machine from a snapshot of before keeps the six entries that its software has counted. */
static void cmci_is_not_in_older_machines(void **state)
{
	struct vlapic_state *s = &vm->vcpus[0]->state.apic;
	uint64_t v;

	s->regs[APIC_VERSION] = 0x01050014;
	s->regs[APIC_LVT_CMCI] = 0;
	assert_int_equal(vlapic_check(s, 0, NULL), OK);
	assert_int_equal(vlapic_mmio_write(l, APIC_LVT_CMCI * 16, 4, 0x100f0), OK);
	assert_int_equal(vlapic_mmio_read(l, APIC_LVT_CMCI * 16, 4, &v), OK);
	assert_int_equal(v, 0);
	wr(APIC_SVR, 0xff);
	assert_int_equal(vlapic_check(s, 0, NULL), OK);
	s->regs[APIC_LVT_CMCI] = LVT_MASKED;
	assert_int_equal(vlapic_check(s, 0, NULL), ERR_INVAL);
}

static void odd_accesses(void **state)
{
	uint64_t v;

	assert_int_equal(vlapic_mmio_read(l, APIC_VERSION * 16 + 2, 1, &v), OK);
	assert_int_equal(v, 0x06);
	assert_int_equal(vlapic_mmio_read(l, APIC_VERSION * 16 + 4, 4, &v), OK);
	assert_int_equal(v, 0);
	assert_int_equal(vlapic_mmio_write(l, APIC_TPR * 16, 1, 0x50), OK);
	assert_int_equal(rd(APIC_TPR), 0);
	assert_int_equal(vlapic_mmio_write(l, APIC_TPR * 16 + 4, 4, 0x50), OK);
	assert_int_equal(rd(APIC_TPR), 0);
	assert_int_equal(esr(), 0);
}

static void illegal_register_is_an_error(void **state)
{
	wr(APIC_LVT_ERROR, 0x40);
	rd(0x04);
	assert_true(fake_lapic_irr(vm, 0, 0x40));
	assert_int_equal(rd(APIC_ESR), 0); /* not before it is latched */
	assert_int_equal(esr(), 0x80);
	assert_int_equal(esr(), 0);
	wr(APIC_LVT_CMCI, 0); /* not announced, so not there */
	wr(APIC_SELF_IPI, 0x50);
	wr(0xfe, 0);
	assert_int_equal(esr(), 0x80);
	assert_false(fake_lapic_irr(vm, 0, 0x50));
}

/* --- priorities --------------------------------------------------------------------------- */

static void priority_orders_delivery(void **state)
{
	arrive(0x31);
	arrive(0x52);
	arrive(0x5f);
	assert_int_equal(vlapic_pending(l), 0x5f);
	assert_int_equal(vlapic_accept(l, 0x5f), 0x5f);
	assert_int_equal(rd(APIC_PPR), 0x50);
	assert_int_equal(vlapic_pending(l), -1); /* 52 is of the same class */
	wr(APIC_EOI, 0);
	assert_int_equal(fake_lapic_take(vm, 0), 0x52);
	assert_int_equal(fake_lapic_take(vm, 0), 0x31);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void tpr_holds_back(void **state)
{
	wr(APIC_TPR, 0x5a);
	assert_int_equal(rd(APIC_PPR), 0x5a);
	arrive(0x5f);
	assert_int_equal(vlapic_pending(l), -1);
	arrive(0x60);
	assert_int_equal(vlapic_pending(l), 0x60);
	vlapic_accept(l, 0x60);
	assert_int_equal(rd(APIC_PPR), 0x60);
	vm->vcpus[0]->requests = 0;
	wr(APIC_EOI, 0);
	wr(APIC_TPR, 0);
	assert_true(vm->vcpus[0]->requests & VCPU_REQ_EVENT); /* look again */
	assert_int_equal(vlapic_pending(l), 0x5f);
}

static void nested_service(void **state)
{
	arrive(0x40);
	vlapic_accept(l, vlapic_pending(l));
	arrive(0x80);
	vlapic_accept(l, vlapic_pending(l));
	assert_int_equal(rd(APIC_ISR + 2), 1);
	assert_int_equal(rd(APIC_ISR + 4), 1);
	wr(APIC_EOI, 0); /* ends the higher one */
	assert_int_equal(rd(APIC_ISR + 4), 0);
	assert_int_equal(rd(APIC_PPR), 0x40);
	wr(APIC_EOI, 0);
	wr(APIC_EOI, 0); /* one too many does nothing */
	assert_int_equal(rd(APIC_PPR), 0);
}

static void unaccept_puts_back(void **state)
{
	arrive(0x40);
	vlapic_accept(l, vlapic_pending(l));
	vlapic_unaccept(l, 0x40);
	assert_int_equal(rd(APIC_PPR), 0);
	assert_int_equal(vlapic_pending(l), 0x40);
}

static void every_vector_once(void **state)
{
	for (unsigned v = 16; v < 256; v++)
		arrive((uint8_t)v);
	arrive(0x77); /* pending already: coalesced */
	for (int v = 255; v >= 16; v--)
		assert_int_equal(fake_lapic_take(vm, 0), v);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

/* --- EOI ------------------------------------------------------------------------------------- */

static void eoi_of_a_level_interrupt_is_broadcast(void **state)
{
	irq_msi(vm, 0xfee00000, 0xc041);
	arrive(0x42);
	fake_lapic_take(vm, 0);
	fake_lapic_take(vm, 0);
	assert_int_equal(fake_of(vm)->eoi_count[0x41], 1);
	assert_int_equal(fake_of(vm)->eoi_count[0x42], 0);
}

static void eoi_broadcast_can_be_suppressed(void **state)
{
	wr(APIC_SVR, 0x11ff);
	irq_msi(vm, 0xfee00000, 0xc041);
	fake_lapic_take(vm, 0);
	assert_int_equal(fake_of(vm)->eoi_count[0x41], 0);
	assert_int_equal(rd(APIC_ISR + 2), 0);
}

/* --- interprocessor interrupts ------------------------------------------------------------------
 */

static unsigned who_has(uint8_t vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		mask |= (unsigned)fake_lapic_irr(vm, i, vector) << i;
	return mask;
}

static void icr_destinations(void **state)
{
	wr(APIC_ICR2, 2 << 24);
	wr(APIC_ICR, 0x4041);
	assert_int_equal(who_has(0x41), 1 << 2);
	assert_true(vm->vcpus[2]->requests & VCPU_REQ_EVENT);
	wr(APIC_ICR, 0x44042); /* self */
	assert_int_equal(who_has(0x42), 1);
	wr(APIC_ICR, 0x84043); /* all */
	assert_int_equal(who_has(0x43), 0xf);
	wr(APIC_ICR, 0xc4044); /* others */
	assert_int_equal(who_has(0x44), 0xe);
	wr(APIC_ICR2, 0xff000000U);
	wr(APIC_ICR, 0x4045); /* physical broadcast */
	assert_int_equal(who_has(0x45), 0xf);
	assert_int_equal(rd(APIC_ICR), 0x4045); /* delivery status reads idle */
}

static void logical_flat_and_cluster(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		vlapic_mmio_write(&vm->vcpus[i]->lapic, APIC_LDR * 16, 4, 1U << (24 + i));
	wr(APIC_ICR2, 0x06000000);
	wr(APIC_ICR, 0x4841);
	assert_int_equal(who_has(0x41), 0x6);
	for (unsigned i = 0; i < 4; i++) {
		struct vlapic *o = &vm->vcpus[i]->lapic;

		vlapic_mmio_write(o, APIC_DFR * 16, 4, 0x0fffffff);
		vlapic_mmio_write(o, APIC_LDR * 16, 4, (i / 2 + 1) << 28 | 1U << (24 + i % 2));
	}
	wr(APIC_ICR2, 0x23000000); /* cluster 2, members 0 and 1 */
	wr(APIC_ICR, 0x4842);
	assert_int_equal(who_has(0x42), 0xc);
	wr(APIC_ICR2, 0xff000000);
	wr(APIC_ICR, 0x4843);
	assert_int_equal(who_has(0x43), 0xf);
}

static void illegal_vectors(void **state)
{
	struct irq_message m = {.dest = 0, .assert_level = true, .vector = 0x0f};

	wr(APIC_ICR, 0x4400f);
	assert_int_equal(esr(), 0x20);
	assert_int_equal(who_has(0x0f), 0);
	irq_deliver(vm, &m);
	assert_int_equal(esr(), 0x40);
	wr(APIC_LVT_ERROR, 0x05); /* the error interrupt's own vector is illegal: no recursion */
	wr(APIC_ICR, 0x4400f);
	assert_int_equal(esr(), 0x60);
}

static void init_sipi_nmi(void **state)
{
	struct vlapic_state *s = &vm->vcpus[1]->state.apic;

	wr(APIC_ICR2, 1 << 24);
	wr(APIC_ICR, 0xc500); /* INIT, level assert */
	assert_int_equal(s->init_pending, 1);
	wr(APIC_ICR, 0x8500); /* INIT level de-assert */
	wr(APIC_ICR, 0x4608); /* SIPI to 0x8000 */
	assert_int_equal(s->sipi_pending, 1);
	assert_int_equal(s->sipi_vector, 8);
	vlapic_reset(&vm->vcpus[1]->lapic, true);
	assert_int_equal(s->init_pending, 0);
	assert_int_equal(s->sipi_pending, 1); /* it came after the INIT */
	wr(APIC_ICR, 0x4500);
	assert_int_equal(s->sipi_pending, 0);
	vm->vcpus[1]->requests = 0;
	wr(APIC_ICR, 0x4400);
	assert_int_equal(s->nmi_pending, 1);
	assert_true(vm->vcpus[1]->requests & VCPU_REQ_EVENT);
}

static void init_keeps_id_and_mode(void **state)
{
	struct vlapic *o = &vm->vcpus[3]->lapic;

	enter_x2apic(o);
	arrive(0x41);
	vlapic_reset(o, true);
	assert_true(vm->vcpus[3]->state.apic.base_msr & APIC_BASE_EXTD);
	assert_int_equal(vm->vcpus[3]->state.apic.regs[APIC_ID], 3);
	assert_int_equal(vm->vcpus[3]->state.apic.regs[APIC_SVR], 0xff);
	assert_int_equal(vlapic_check(&vm->vcpus[3]->state.apic, 3, NULL), OK);
}

/* --- disabling
 * ------------------------------------------------------------------------------------ */

static void software_disable_masks_and_keeps(void **state)
{
	wr(APIC_LVT_TIMER, 0x40);
	arrive(0x41);
	wr(APIC_SVR, 0xff);
	assert_int_equal(rd(APIC_LVT_TIMER), LVT_MASKED | 0x40);
	wr(APIC_LVT_TIMER, 0x40);
	assert_int_equal(rd(APIC_LVT_TIMER), LVT_MASKED | 0x40); /* cannot be unmasked now */
	assert_int_equal(vlapic_pending(l), 0x41); /* what was pending is still delivered */
	wr(APIC_ICR, 0x44042);
	assert_false(fake_lapic_irr(vm, 0, 0x42));
}

static void base_msr_transitions(void **state)
{
	uint64_t base = rdmsr(MSR_APIC_BASE), v;

	assert_gp(MSR_APIC_BASE, base | 1);
	assert_gp(MSR_APIC_BASE, base | BIT(9));
	assert_gp(MSR_APIC_BASE, base | BIT(52));
	assert_gp(MSR_APIC_BASE, (base & ~(uint64_t)APIC_BASE_EN) | APIC_BASE_EXTD);
	assert_int_equal(vlapic_msr_read(l, X2 + APIC_ID, &v), ERR_INVAL);
	wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
	assert_int_equal(vlapic_mmio_read(l, APIC_ID * 16, 4, &v), ERR_INVAL);
	assert_gp(MSR_APIC_BASE, base); /* x2APIC to xAPIC only by way of disabled */
	wrmsr(MSR_APIC_BASE, base & ~(uint64_t)APIC_BASE_EN);
	assert_int_equal(vlapic_mmio_read(l, APIC_ID * 16, 4, &v), ERR_INVAL);
	assert_gp(MSR_APIC_BASE, base | APIC_BASE_EXTD); /* disabled to x2APIC neither */
	wrmsr(MSR_APIC_BASE, base);
	assert_int_equal(rd(APIC_SVR), 0xff); /* reset by the way */
	wrmsr(MSR_APIC_BASE, 0xd0000900);     /* it can be moved */
	assert_int_equal(rdmsr(MSR_APIC_BASE), 0xd0000900);
}

static void disabled_apic_is_the_intr_pin(void **state)
{
	struct irq_message m = {.dest = 0, .assert_level = true, .vector = 0x41};

	fake_of(vm)->pic_vector = 0x08;
	wrmsr(MSR_APIC_BASE, 0xfee00100);
	assert_int_equal(irq_deliver(vm, &m), 0);
	irq_extint_set(vm, true);
	assert_true(vm->vcpus[0]->requests & VCPU_REQ_EVENT);
	assert_int_equal(vlapic_pending(l), VLAPIC_EXTINT);
	assert_int_equal(vlapic_accept(l, VLAPIC_EXTINT), 0x08);
}

/* --- LINT0
 * ------------------------------------------------------------------------------------------ */

static void lint0_modes(void **state)
{
	fake_of(vm)->pic_vector = 0x30;
	irq_extint_set(vm, true);
	assert_int_equal(vlapic_pending(l), -1); /* masked */
	wr(APIC_LVT_LINT0, 0x700);
	assert_int_equal(vlapic_pending(l), VLAPIC_EXTINT); /* a level: it waited */
	irq_extint_set(vm, false);
	assert_int_equal(vlapic_pending(l), -1);
	wr(APIC_LVT_LINT0, 0x400);
	irq_extint_set(vm, true);
	assert_int_equal(vm->vcpus[0]->state.apic.nmi_pending, 1);
	irq_extint_set(vm, false);
	wr(APIC_LVT_LINT0, 0x45);
	irq_extint_set(vm, true);
	assert_int_equal(vlapic_pending(l), 0x45);
}

static void lint1_modes(void **state)
{
	struct vlapic_state *s = &vm->vcpus[0]->state.apic;

	vlapic_lint1(l);
	assert_int_equal(s->nmi_pending, 0); /* masked */
	wr(APIC_LVT_LINT1, 0x400);
	vlapic_lint1(l);
	assert_int_equal(s->nmi_pending, 1);
	s->nmi_pending = 0;
	wr(APIC_LVT_LINT1, 0x45);
	vlapic_lint1(l);
	assert_int_equal(s->nmi_pending, 0);
	assert_int_equal(vlapic_pending(l), 0x45);
	s->base_msr &= ~(uint64_t)APIC_BASE_EN;
	vlapic_lint1(l);
	assert_int_equal(s->nmi_pending, 1); /* the pin itself */
}

static void extint_message_waits_for_one_acknowledgement(void **state)
{
	struct irq_message m = {.dest = 0, .assert_level = true, .mode = DELIVERY_EXTINT};

	fake_of(vm)->pic_vector = 0x31;
	irq_deliver(vm, &m);
	assert_int_equal(fake_lapic_take(vm, 0), 0x31);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

/* --- timer
 * --------------------------------------------------------------------------------------------- */

static void one_shot(void **state)
{
	wr(APIC_LVT_TIMER, 0x40);
	wr(APIC_TIMER_DIVIDE, 0xb); /* by 1: a count is a nanosecond */
	wr(APIC_TIMER_INITIAL, 1000);
	fake_time_advance(vm, 400);
	assert_int_equal(rd(APIC_TIMER_CURRENT), 600);
	fake_time_advance(vm, 599);
	assert_int_equal(vlapic_pending(l), -1);
	fake_time_advance(vm, 1);
	assert_int_equal(fake_lapic_take(vm, 0), 0x40);
	assert_int_equal(rd(APIC_TIMER_CURRENT), 0);
	fake_time_advance(vm, 10000);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void dividers(void **state)
{
	static const uint8_t dcr[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};

	for (unsigned i = 0; i < 8; i++) {
		wr(APIC_TIMER_DIVIDE, dcr[i]);
		wr(APIC_TIMER_INITIAL, 1000);
		fake_time_advance(vm, 100ULL << i);
		assert_int_equal(rd(APIC_TIMER_CURRENT), 900);
	}
	wr(APIC_TIMER_DIVIDE, 0xb); /* a change of rate keeps the count */
	assert_int_equal(rd(APIC_TIMER_CURRENT), 900);
	fake_time_advance(vm, 100);
	assert_int_equal(rd(APIC_TIMER_CURRENT), 800);
}

static void periodic_keeps_its_phase(void **state)
{
	unsigned n = 0;

	wr(APIC_LVT_TIMER, TIMER_PERIODIC | 0x40);
	wr(APIC_TIMER_DIVIDE, 0xb);
	wr(APIC_TIMER_INITIAL, 1000000);
	for (unsigned i = 0; i < 10; i++) {
		fake_time_advance(vm, 1000000);
		n += fake_lapic_take(vm, 0) == 0x40;
	}
	assert_int_equal(n, 10);
	fake_time_jump(vm, 5500000); /* late: one interrupt, no storm, same phase */
	assert_int_equal(fake_lapic_take(vm, 0), 0x40);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	assert_int_equal(fake_time_next(vm), 16000000);
	assert_int_equal(rd(APIC_TIMER_CURRENT), 500000);
}

static void tiny_period_does_not_storm(void **state)
{
	unsigned n = 0;

	wr(APIC_LVT_TIMER, TIMER_PERIODIC | 0x40);
	wr(APIC_TIMER_DIVIDE, 0xb);
	wr(APIC_TIMER_INITIAL, 1);
	while (vm_time(vm) < 1000000) {
		fake_time_set(vm, fake_time_next(vm));
		n++;
	}
	assert_in_range(n, 10, 60);
	assert_in_range(rd(APIC_TIMER_CURRENT), 1, 1);
}

static void masked_timer_counts_silently(void **state)
{
	wr(APIC_LVT_TIMER, LVT_MASKED | 0x40);
	wr(APIC_TIMER_INITIAL, 100);
	fake_time_advance(vm, 1000);
	assert_int_equal(rd(APIC_TIMER_CURRENT), 0);
	assert_int_equal(vlapic_pending(l), -1);
}

static void tsc_deadline(void **state)
{
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	fake_time_advance(vm, 1000);
	wrmsr(MSR_TSC_DEADLINE, guest_tsc() + 2001);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), guest_tsc() + 2001);
	fake_time_advance(vm, 1000);
	assert_int_equal(vlapic_pending(l), -1);
	fake_time_advance(vm, 1); /* 2001 cycles of 0.5 ns, rounded up */
	assert_int_equal(vlapic_pending(l), 0x40);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
}

static void past_deadline_fires_at_once(void **state)
{
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	fake_time_advance(vm, 1000);
	wrmsr(MSR_TSC_DEADLINE, guest_tsc());
	assert_int_equal(vlapic_pending(l), 0x40);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
}

/* The deadline is either in the MSR or pending, also when the host's timer is late. */
static void deadline_is_never_in_neither_place(void **state)
{
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	wrmsr(MSR_TSC_DEADLINE, guest_tsc() + 2000);
	vtimer_cancel(&l->timer); /* the host's timer does not come */
	fake_time_advance(vm, 5000);
	assert_int_equal(vlapic_pending(l), -1);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
	assert_int_equal(vlapic_pending(l), 0x40);
}

static void far_deadline_is_not_armed(void **state)
{
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	wrmsr(MSR_TSC_DEADLINE, UINT64_MAX);
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), UINT64_MAX);
	wrmsr(MSR_TSC_DEADLINE, 0);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
}

static void negative_tsc_offset(void **state)
{
	fake_time_advance(vm, 1000000);
	vm->vcpus[0]->state.tsc_offset = (uint64_t)-2000000; /* the guest set its TSC to 0 */
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	wrmsr(MSR_TSC_DEADLINE, 4000);
	fake_time_advance(vm, 1999);
	assert_int_equal(vlapic_pending(l), -1);
	fake_time_advance(vm, 1);
	assert_int_equal(vlapic_pending(l), 0x40);
}

static void mode_change_disarms(void **state)
{
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	wrmsr(MSR_TSC_DEADLINE, guest_tsc() + 2000);
	wr(APIC_LVT_TIMER, 0x40);
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
	wrmsr(MSR_TSC_DEADLINE, 1); /* ignored in this mode */
	assert_int_equal(vlapic_pending(l), -1);
	wr(APIC_TIMER_INITIAL, 100);
	wr(APIC_LVT_TIMER, TIMER_TSC | 0x40);
	assert_int_equal(rd(APIC_TIMER_CURRENT), 0);
	wr(APIC_TIMER_INITIAL, 100); /* ignored in this mode */
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
}

/* --- x2APIC
 * ------------------------------------------------------------------------------------------------
 */

static void x2apic_registers(void **state)
{
	uint64_t v;

	l = &vm->vcpus[3]->lapic;
	wr(APIC_TPR, 0x20);
	enter_x2apic(l);
	assert_int_equal(rdmsr(X2 + APIC_ID), 3);
	assert_int_equal(rdmsr(X2 + APIC_LDR), 1 << 3);
	assert_int_equal(rdmsr(X2 + APIC_TPR), 0x20); /* kept */
	assert_int_equal(rdmsr(X2 + APIC_SVR), 0x1ff);
	assert_gp(X2 + APIC_ID, 0);
	assert_gp(X2 + APIC_LDR, 0);
	assert_gp(X2 + APIC_VERSION, 0);
	assert_gp(X2 + APIC_TPR, 0x100);
	assert_gp(X2 + APIC_EOI, 1);
	assert_gp(X2 + APIC_ESR, 1);
	assert_gp(X2 + APIC_LVT_TIMER, BIT(20));
	assert_gp(X2 + APIC_LVT_TIMER, BIT(32));
	assert_gp(X2 + APIC_DFR, 0);
	assert_gp(X2 + APIC_ICR2, 0);
	assert_gp(X2 + APIC_ICR, BIT(20));
	assert_gp(X2 + APIC_SELF_IPI, 0x100);
	assert_gp(X2 + 0x7f, 0);
	assert_int_equal(vlapic_msr_read(l, X2 + APIC_DFR, &v), ERR_INVAL);
	assert_int_equal(vlapic_msr_read(l, X2 + APIC_EOI, &v), ERR_INVAL);
	assert_int_equal(vlapic_msr_read(l, X2 + APIC_APR, &v), ERR_INVAL);
	assert_int_equal(vlapic_msr_read(l, X2 + 0xff, &v), ERR_INVAL);
	wrmsr(X2 + APIC_LVT_LINT0, 0x15700); /* read-only status bits may be written */
	assert_int_equal(rdmsr(X2 + APIC_LVT_LINT0), 0x10700);
}

static void x2apic_ipis(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		enter_x2apic(&vm->vcpus[i]->lapic);
	wrmsr(X2 + APIC_ICR, 2ULL << 32 | 0x41);
	assert_int_equal(who_has(0x41), 1 << 2);
	assert_int_equal(rdmsr(X2 + APIC_ICR), 2ULL << 32 | 0x41);
	wrmsr(X2 + APIC_ICR, 0xffffffffULL << 32 | 0x42);
	assert_int_equal(who_has(0x42), 0xf);
	wrmsr(X2 + APIC_ICR, 0x5ULL << 32 | 0x843); /* logical: cluster 0, members 0 and 2 */
	assert_int_equal(who_has(0x43), 0x5);
	wrmsr(X2 + APIC_ICR, 0x10001ULL << 32 | 0x844); /* cluster 1 is empty */
	assert_int_equal(who_has(0x44), 0);
	wrmsr(X2 + APIC_SELF_IPI, 0x45);
	assert_int_equal(who_has(0x45), 1);
	wrmsr(X2 + APIC_EOI, 0);
	irq_msi(vm, 0xfee03000, 0x46); /* a message in xAPIC form arrives too */
	assert_int_equal(who_has(0x46), 1 << 3);
}

static void x2apic_self_ipi_cycle(void **state)
{
	enter_x2apic(l);
	wrmsr(X2 + APIC_SELF_IPI, 0x45);
	assert_int_equal(vlapic_pending(l), 0x45);
	vlapic_accept(l, 0x45);
	assert_int_equal(rdmsr(X2 + APIC_ISR + 2), 1 << 5);
	wrmsr(X2 + APIC_EOI, 0);
	assert_int_equal(rdmsr(X2 + APIC_ISR + 2), 0);
	wrmsr(X2 + APIC_SELF_IPI, 0x05);
	wrmsr(X2 + APIC_ESR, 0);
	assert_int_equal(rdmsr(X2 + APIC_ESR), 0x20);
}

/* --- save and restore
 * ---------------------------------------------------------------------------------------- */

static void state_carries_everything(void **state)
{
	struct vlapic_state saved, *s = &vm->vcpus[0]->state.apic;
	struct vcpu *v1 = vm->vcpus[1];

	wr(APIC_LVT_TIMER, TIMER_PERIODIC | 0x40);
	wr(APIC_TIMER_DIVIDE, 0xb);
	wr(APIC_TIMER_INITIAL, 1000000);
	arrive(0x81);
	vlapic_accept(l, vlapic_pending(l));
	irq_msi(vm, 0xfee00000, 0xc051);
	rd(0x04); /* an error not yet latched */
	saved = *s;
	assert_int_equal(vlapic_check(&saved, 0, NULL), OK);

	/* another vCPU becomes this one */
	v1->apic_id = 0;
	v1->state.apic = saved;
	vtimer_cancel(&l->timer);
	l = &v1->lapic;
	vlapic_resume(l);
	assert_true(v1->requests & VCPU_REQ_EVENT);
	assert_int_equal(vlapic_pending(l), -1); /* 81 is in service */
	wr(APIC_EOI, 0);
	assert_int_equal(vlapic_pending(l), 0x51);
	vlapic_accept(l, 0x51);
	wr(APIC_EOI, 0);
	assert_int_equal(fake_of(vm)->eoi_count[0x51], 1);
	assert_int_equal(esr(), 0x80);
	fake_time_advance(vm, 1000000);
	assert_int_equal(vlapic_pending(l), 0x40);
}

static void refuse(void (*damage)(struct vlapic_state *), const char *text)
{
	struct vlapic_state s = vm->vcpus[0]->state.apic;
	struct errmsg e = {""};

	damage(&s);
	assert_true(vlapic_check(&s, 0, &e) < 0);
	if (!strstr(e.text, text))
		fail_msg("'%s' does not say '%s'", e.text, text);
}

static void bad_base(struct vlapic_state *s)
{
	s->base_msr |= 1;
}
static void bad_mode(struct vlapic_state *s)
{
	s->base_msr = APIC_BASE_EXTD;
}
static void bad_id(struct vlapic_state *s)
{
	s->regs[APIC_ID] = 7;
}
static void bad_version(struct vlapic_state *s)
{
	s->regs[APIC_VERSION] = 0x10;
}
static void bad_lvt(struct vlapic_state *s)
{
	s->regs[APIC_LVT_PMC] = 1U << 31;
}
static void bad_irr(struct vlapic_state *s)
{
	s->regs[APIC_IRR] = 1;
}
static void bad_unused(struct vlapic_state *s)
{
	s->regs[0x05] = 1;
}
static void bad_tsc(struct vlapic_state *s)
{
	s->tsc_deadline = 1;
}
static void bad_count(struct vlapic_state *s)
{
	s->timer_deadline = 1;
}
static void bad_unmasked(struct vlapic_state *s)
{
	s->regs[APIC_SVR] = 0xff;
	s->regs[APIC_LVT_LINT1] = 0x400;
}
static void bad_flag(struct vlapic_state *s)
{
	s->nmi_pending = 2;
}

static void bad_states_are_refused(void **state)
{
	refuse(bad_base, "base: reserved");
	refuse(bad_mode, "x2APIC mode without");
	refuse(bad_id, "ID register");
	refuse(bad_version, "version");
	refuse(bad_lvt, "LVT PMC");
	refuse(bad_irr, "IRR");
	refuse(bad_unused, "unused");
	refuse(bad_tsc, "TSC deadline");
	refuse(bad_count, "initial count");
	refuse(bad_unmasked, "not masked");
	refuse(bad_flag, "pending flags");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, end)
	const struct CMUnitTest tests[] = {
	    T(power_on_state),
	    T(reserved_bits_are_ignored_in_xapic_mode),
	    T(cmci_is_not_in_older_machines),
	    T(odd_accesses),
	    T(illegal_register_is_an_error),
	    T(priority_orders_delivery),
	    T(tpr_holds_back),
	    T(nested_service),
	    T(unaccept_puts_back),
	    T(every_vector_once),
	    T(eoi_of_a_level_interrupt_is_broadcast),
	    T(eoi_broadcast_can_be_suppressed),
	    T(icr_destinations),
	    T(logical_flat_and_cluster),
	    T(illegal_vectors),
	    T(init_sipi_nmi),
	    T(init_keeps_id_and_mode),
	    T(software_disable_masks_and_keeps),
	    T(base_msr_transitions),
	    T(disabled_apic_is_the_intr_pin),
	    T(lint0_modes),
	    T(lint1_modes),
	    T(extint_message_waits_for_one_acknowledgement),
	    T(one_shot),
	    T(dividers),
	    T(periodic_keeps_its_phase),
	    T(tiny_period_does_not_storm),
	    T(masked_timer_counts_silently),
	    T(tsc_deadline),
	    T(past_deadline_fires_at_once),
	    T(deadline_is_never_in_neither_place),
	    T(far_deadline_is_not_armed),
	    T(negative_tsc_offset),
	    T(mode_change_disarms),
	    T(x2apic_registers),
	    T(x2apic_ipis),
	    T(x2apic_self_ipi_cycle),
	    T(state_carries_everything),
	    T(bad_states_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
