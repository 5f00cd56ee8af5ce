/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPUID image: made, looked up, stored, compared with a host. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "hv/arch/x86/cpu_model.h"
#include "hv/arch/x86/vcpu_state.h"
#include "hv/mm/mm.h"

static bool lacks_avx2;

/* A made-up AMD CPU that has everything, but AVX2 if told so. */
static struct cpuid_regs host(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs all = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};

	switch (leaf) {
	case 0:
		return (struct cpuid_regs){0x20, 0x68747541, 0x444d4163, 0x69746e65};
	case 1:
		all.eax = 0x00800f12;
		all.ebx = 0x00100800;
		return all;
	case 7:
		if (lacks_avx2)
			all.ebx &= ~(1u << 5);
		return sub == 0 ? all : (struct cpuid_regs){0, 0, 0, 0};
	case 0xd:
		if (sub == 2)
			return (struct cpuid_regs){256, 576, 0, 0};
		return all;
	case 0x80000000:
		return (struct cpuid_regs){0x8000001f, 0, 0, 0};
	case 0x80000008:
		return (struct cpuid_regs){48 | 48 << 8, 0xffffffff, 0, 0};
	default:
		return all;
	}
}

static const struct cpu_topology topo = {1, 2, 1};

static void make(struct cpu_model *m)
{
	struct errmsg e = {""};

	assert_int_equal(cpu_model_create(m, "host", host, &topo, 2000000000, &e), OK);
	assert_true(m->count < CPU_MODEL_ROWS);
}

static void hides_what_is_not_listed(void **state)
{
	static struct cpu_model m;
	struct cpuid_dynamic dyn = {.apic_id = 1};
	struct cpuid_regs r;

	make(&m);
	r = cpu_model_cpuid(&m, 1, 0, &dyn);
	assert_int_equal(r.ecx >> 5 & 1, 0); /* VMX */
	assert_int_equal(r.ecx >> 3 & 1, 0); /* MONITOR */
	assert_int_equal(r.ecx >> 31, 1);
	r = cpu_model_cpuid(&m, 0x80000001, 0, &dyn);
	assert_int_equal(r.ecx >> 2 & 1, 0); /* SVM */
	r = cpu_model_cpuid(&m, 7, 0, &dyn);
	assert_int_equal(r.ebx >> 16 & 1, 0); /* AVX-512 */
	assert_int_equal(r.ecx >> 16 & 1, 0); /* LA57 */
}

static void mixes_in_what_is_the_vcpus(void **state)
{
	static struct cpu_model m;
	struct cpuid_dynamic dyn = {.apic_id = 5, .cr4 = CR4_OSXSAVE, .xcr0 = 3};
	struct cpuid_regs r;

	make(&m);
	r = cpu_model_cpuid(&m, 1, 0, &dyn);
	assert_int_equal(r.ebx >> 24, 5);
	assert_int_equal(r.ebx >> 16 & 0xff, 2);
	assert_int_equal(r.ecx >> 27 & 1, 1);
	dyn.cr4 = 0;
	assert_int_equal(cpu_model_cpuid(&m, 1, 0, &dyn).ecx >> 27 & 1, 0);
	assert_int_equal(cpu_model_cpuid(&m, 0xd, 0, &dyn).ebx, 576);
	dyn.xcr0 = 7;
	assert_int_equal(cpu_model_cpuid(&m, 0xd, 0, &dyn).ebx, 832);
	assert_int_equal(cpu_model_cpuid(&m, 0xb, 1, &dyn).edx, 5);
	assert_int_equal(cpu_model_cpuid(&m, 0xb, 1, &dyn).ebx, 2);
	assert_int_equal(cpu_model_cpuid(&m, 0xb, 7, &dyn).ebx, 0);
}

static void leaves_out_of_range_are_zero(void **state)
{
	static const uint32_t leaves[] = {0x2f, 0x30, 0x1000, 0x3fffffff, 0x4000002f, 0x80000009,
	    0x8000ffff, 0xc0000000, 0xffffffff};
	static struct cpu_model m;
	struct cpuid_dynamic dyn = {0};

	make(&m);
	for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
		struct cpuid_regs r = cpu_model_cpuid(&m, leaves[i], 0, &dyn);

		assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	}
}

static void cr4_follows_cpuid(void **state)
{
	static struct cpu_model m;

	make(&m);
	assert_true(m.cr4_mask & CR4_SMEP);
	assert_false(m.cr4_mask & CR4_LA57);
	assert_false(m.cr4_mask & CR4_VMXE);
	assert_int_equal(m.xcr0_mask, 7);
	assert_int_equal(m.xstate_size, 832);
}

static void a_missing_feature_is_named(void **state)
{
	static struct cpu_model m;
	struct errmsg e;

	make(&m);
	assert_int_equal(cpu_model_check_host(&m, host, &e), OK);
	lacks_avx2 = true;
	assert_int_equal(cpu_model_check_host(&m, host, &e), ERR_UNSUPPORTED);
	assert_string_equal(e.text, "needs AVX2 (x86-64-v3), which this CPU lacks");
	lacks_avx2 = false;
}

static void survives_a_snapshot(void **state)
{
	static struct cpu_model m, back;
	struct state_writer w;
	struct state_node n;
	struct errmsg e = {""};
	void *fdt;
	size_t size;

	make(&m);
	sw_init(&w, heap_grow);
	sw_begin(&w, "cpu-model");
	cpu_model_save(&m, &w);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, &e), OK);
	assert_int_equal(sr_check_tree(fdt, size, &e), OK);
	assert_int_equal(sr_find(fdt, "/cpu-model", &n), OK);
	assert_int_equal(cpu_model_load(&back, &n, &e), OK);
	assert_memory_equal(&m, &back, sizeof(m));
	heap_free(fdt);
	heap_free(w.buf);
}

static void nonsense_is_refused(void **state)
{
	static struct cpu_model m;
	struct errmsg e;

	make(&m);
	m.rows[1].leaf = 0x12345678;
	assert_int_equal(cpu_model_finish(&m, &e), ERR_CORRUPT);
	make(&m);
	m.count = 1;
	assert_int_equal(cpu_model_finish(&m, &e), ERR_CORRUPT);
	make(&m);
	for (uint32_t i = 0; i < m.count; i++)
		if (m.rows[i].leaf == 0xd && m.rows[i].subleaf == 0)
			m.rows[i].r.eax = 0xff;
	assert_int_equal(cpu_model_finish(&m, &e), ERR_CORRUPT);
	assert_int_equal(cpu_model_create(&m, "z80", host, &topo, 1, &e), ERR_NOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hides_what_is_not_listed),
	    cmocka_unit_test(mixes_in_what_is_the_vcpus),
	    cmocka_unit_test(leaves_out_of_range_are_zero),
	    cmocka_unit_test(cr4_follows_cpuid),
	    cmocka_unit_test(a_missing_feature_is_named),
	    cmocka_unit_test(survives_a_snapshot),
	    cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
