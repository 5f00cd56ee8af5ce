/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt core: lines reach both controllers, messages reach the local APICs that they name.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/arch/x86/topology.h"
#include "tests/unit/fake/fake.h"

static struct vm *vm;

static int start(void **state)
{
	vm = fake_vm_new(4, 0);
	fake_irq_attach(vm);
	fake_lapics_enable(vm);
	return 0;
}

static int end(void **state)
{
	fake_vm_free(vm);
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

/* Bits of the vCPUs whose IRR has the vector. */
static unsigned who_has(uint8_t vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		mask |= (unsigned)fake_lapic_irr(vm, i, vector) << i;
	return mask;
}

static void set_logical(unsigned cpu, uint8_t ldr)
{
	vlapic_mmio_write(&vm->vcpus[cpu]->lapic, APIC_LDR * 16, 4, (uint32_t)ldr << 24);
}

static void lines_reach_both_controllers(void **state)
{
	struct fake_vm *f = fake_of(vm);

	irq_line_set(vm, 4, true);
	assert_true(f->pic_level[4]);
	assert_true(f->ioapic_level[4]);
	irq_line_set(vm, 4, false);
	assert_false(f->pic_level[4]);
	assert_false(f->ioapic_level[4]);
}

static void timer_arrives_at_ioapic_pin_2(void **state)
{
	struct fake_vm *f = fake_of(vm);

	irq_line_set(vm, 0, true);
	assert_true(f->pic_level[0]);
	assert_true(f->ioapic_level[2]);
	assert_false(f->ioapic_level[0]);
}

static void high_lines_are_the_ioapics_alone(void **state)
{
	struct fake_vm *f = fake_of(vm);

	irq_line_set(vm, 23, true);
	assert_true(f->ioapic_level[23]);
	irq_line_set(vm, 2, true); /* the cascade has no device */
	assert_false(f->pic_level[2]);
	irq_line_set(vm, 24, true); /* no such line */
	irq_line_set(vm, 0xffffffff, true);
}

/* Both assert, one lets go; what the second takes is its alone until it gives it back. */
static void a_second_source(void **state)
{
	struct fake_vm *f = fake_of(vm);

	irq_second_open(vm);
	irq_line_set(vm, 17, true);
	irq_second_set(vm, 1 << 17 | 1 << 18, 0);
	assert_int_equal(f->ioapic_edges[17], 1);
	assert_true(f->ioapic_level[18]);
	irq_line_set(vm, 17, false);
	irq_line_set(vm, 18, false);
	assert_true(f->ioapic_level[17]);
	assert_true(f->ioapic_level[18]);
	irq_line_set(vm, 0, true);
	irq_second_set(vm, 0, 1 << 0 | 1 << 8);
	assert_false(f->ioapic_level[17]);
	assert_false(f->pic_level[0]);
	assert_false(f->ioapic_level[2]);
	irq_line_set(vm, 8, true);
	irq_line_set(vm, 0, false);
	irq_line_set(vm, 0, true);
	assert_int_equal(f->pic_edges[8], 0);
	assert_int_equal(f->pic_edges[0], 1);
	irq_second_set(vm, 0, 0);
	assert_true(f->pic_level[0]);
	assert_true(f->pic_level[8]);
	irq_second_load(vm, 1 << 4, 1 << 0); /* a load says nothing to the controllers */
	assert_true(f->pic_level[0]);
	assert_false(f->pic_level[4]);
	irq_second_set(vm, 1 << 4, 1 << 0); /* the resume does, of all that is asserted */
	assert_true(f->pic_level[4]);
	irq_second_close(vm);
}

static void msi_physical_destination(void **state)
{
	irq_msi(vm, 0xfee02000, 0x4041);
	assert_int_equal(who_has(0x41), 1 << 2);
	irq_msi(vm, 0xfeeff000, 0x42); /* broadcast */
	assert_int_equal(who_has(0x42), 0xf);
	irq_msi(vm, 0xfee09000, 0x43); /* nobody */
	assert_int_equal(who_has(0x43), 0);
}

static void msi_elsewhere_is_no_interrupt(void **state)
{
	irq_msi(vm, 0xfed00000, 0x41);
	irq_msi(vm, 0x1fee00000ULL, 0x41);
	assert_int_equal(who_has(0x41), 0);
}

static void msi_logical_flat(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		set_logical(i, (uint8_t)(1 << i));
	irq_msi(vm, 0xfee0a004, 0x51); /* destinations 1 and 3, no redirection hint */
	assert_int_equal(who_has(0x51), 0xa);
}

static void redirection_hint_picks_one(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		set_logical(i, (uint8_t)(1 << i));
	irq_msi(vm, 0xfee0f00c, 0x52);
	assert_int_equal(__builtin_popcount(who_has(0x52)), 1);
}

static void lowest_priority_follows_the_priority_register(void **state)
{
	struct irq_message m = {
	    .dest = 0x0f, .dest_logical = true, .assert_level = true, .mode = DELIVERY_LOWEST};

	for (unsigned i = 0; i < 4; i++) {
		set_logical(i, (uint8_t)(1 << i));
		vlapic_set_tpr(&vm->vcpus[i]->lapic, i == 2 ? 0x20 : 0x80);
	}
	for (m.vector = 0x90; m.vector < 0x98; m.vector++) {
		assert_int_equal(irq_deliver(vm, &m), 1);
		assert_int_equal(who_has(m.vector), 1 << 2);
	}
}

static void lowest_priority_spreads_equals(void **state)
{
	struct irq_message m = {.dest = 0xff, .assert_level = true, .mode = DELIVERY_LOWEST};
	unsigned seen = 0;

	for (m.vector = 0x90; m.vector < 0x94; m.vector++) {
		irq_deliver(vm, &m);
		seen |= who_has(m.vector);
	}
	assert_int_equal(seen, 0xf);
}

static void disabled_apics_take_only_what_they_must(void **state)
{
	struct irq_message m = {.dest = 1, .assert_level = true, .vector = 0x61};

	vlapic_mmio_write(&vm->vcpus[1]->lapic, APIC_SVR * 16, 4, 0xff);
	assert_int_equal(irq_deliver(vm, &m), 0);
	m.mode = DELIVERY_LOWEST;
	assert_int_equal(irq_deliver(vm, &m), 0);
	m.mode = DELIVERY_NMI;
	assert_int_equal(irq_deliver(vm, &m), 1);
	assert_int_equal(vm->vcpus[1]->state.apic.nmi_pending, 1);
}

static void apic_ids_need_not_be_indexes(void **state)
{
	struct irq_message m = {.dest = 0x20, .assert_level = true, .vector = 0x62};

	vm->vcpus[3]->apic_id = 0x20;
	assert_int_equal(irq_deliver(vm, &m), 1);
	assert_int_equal(who_has(0x62), 1 << 3);
	m.dest = 3;
	assert_int_equal(irq_deliver(vm, &m), 0);
}

/* Two packages of three CPUs, in x2APIC mode: clusters are of IDs (SDM volume 3, 11.12.10.2). */
static void logical_ids_have_gaps_too(void **state)
{
	static const struct cpu_topology topo = {2, 3, 3};
	struct irq_message m = {.dest_x2apic = true, .dest_logical = true, .assert_level = true};
	struct apic_ids ids;

	fake_vm_free(vm);
	vm = fake_vm_new(18, 0);
	fake_irq_attach(vm);
	apic_ids_make(&ids, &topo);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vlapic *l = &vm->vcpus[i]->lapic;
		uint64_t base;

		vm->vcpus[i]->apic_id = apic_id_of(&ids, i);
		vlapic_reset(l, false);
		assert_int_equal(vlapic_msr_read(l, MSR_APIC_BASE, &base), OK);
		assert_int_equal(vlapic_msr_write(l, MSR_APIC_BASE, base | APIC_BASE_EXTD), OK);
		assert_int_equal(vlapic_msr_write(l, 0x80f, 0x1ff), OK);
	}
	m.vector = 0x63;
	m.dest = 1 << 16 | 1 << 4 | 1 << 3; /* cluster 1: IDs 14H and 13H, which is a gap */
	assert_int_equal(irq_deliver(vm, &m), 1);
	assert_int_equal(who_has(0x63), 1 << 12);
	m.dest_logical = false;
	m.dest = 0x1a;
	m.vector = 0x64;
	assert_int_equal(irq_deliver(vm, &m), 1);
	assert_int_equal(who_has(0x64), 1 << 17);
	m.dest = 0x11; /* another's index */
	assert_int_equal(irq_deliver(vm, &m), 1);
	assert_int_equal(who_has(0x64), 1 << 17 | 1 << 10);
}

static void level_messages_set_tmr(void **state)
{
	const uint32_t *tmr = &vm->vcpus[0]->state.apic.regs[APIC_TMR];

	irq_msi(vm, 0xfee00000, 0xc044);
	assert_true(tmr[2] & 1 << 4);
	irq_msi(vm, 0xfee00000, 0x4044);
	assert_false(tmr[2] & 1 << 4);
	irq_msi(vm, 0xfee00000, 0x8045); /* level de-assert */
	assert_int_equal(who_has(0x45), 0);
}

static void extint_goes_to_the_boot_cpu(void **state)
{
	vlapic_mmio_write(&vm->vcpus[0]->lapic, APIC_LVT_LINT0 * 16, 4, 0x700);
	fake_of(vm)->pic_vector = 0x38;
	irq_extint_set(vm, true);
	irq_extint_set(vm, true); /* no change */
	assert_int_equal(fake_of(vm)->ioapic_edges[0], 1);
	assert_true(fake_of(vm)->ioapic_level[0]);
	assert_int_equal(vlapic_pending(&vm->vcpus[1]->lapic), -1);
	assert_int_equal(fake_lapic_take(vm, 0), 0x38);
	irq_extint_set(vm, false);
	assert_false(fake_of(vm)->ioapic_level[0]);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void machine_without_controllers(void **state)
{
	irq_register_pic(vm, NULL, NULL);
	irq_register_ioapic(vm, NULL, NULL);
	irq_line_set(vm, 4, true);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, end)
	const struct CMUnitTest tests[] = {
	    T(lines_reach_both_controllers),
	    T(timer_arrives_at_ioapic_pin_2),
	    T(high_lines_are_the_ioapics_alone),
	    T(a_second_source),
	    T(msi_physical_destination),
	    T(msi_elsewhere_is_no_interrupt),
	    T(msi_logical_flat),
	    T(redirection_hint_picks_one),
	    T(lowest_priority_follows_the_priority_register),
	    T(lowest_priority_spreads_equals),
	    T(disabled_apics_take_only_what_they_must),
	    T(apic_ids_need_not_be_indexes),
	    T(logical_ids_have_gaps_too),
	    T(level_messages_set_tmr),
	    T(extint_goes_to_the_boot_cpu),
	    T(machine_without_controllers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
