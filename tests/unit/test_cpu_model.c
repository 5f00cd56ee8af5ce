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

#include "hv/arch/x86/vcpu_state.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/model.h"

static bool lacks_avx2;

/* A CPU that has everything, but AVX2 if told so. */
static struct cpuid_regs host(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r = model_host(leaf, sub);

	if (leaf == 7 && lacks_avx2)
		r.ebx &= ~(1u << 5);
	return r;
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
	assert_int_equal(cpu_model_cpuid(&m, 1, 0, &dyn).edx >> 9 & 1, 1);
	dyn.apic_disabled = true;
	assert_int_equal(cpu_model_cpuid(&m, 1, 0, &dyn).edx >> 9 & 1, 0);
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

/* Into a snapshot's record, with another word for how APIC IDs are made if given, and back. */
static int through_a_snapshot(
    const struct cpu_model *m, const char *ids, struct cpu_model *back, struct errmsg *e)
{
	struct state_writer w;
	struct state_node n;
	void *fdt;
	size_t size;
	int err;

	sw_init(&w, heap_grow);
	sw_begin(&w, "cpu-model");
	cpu_model_save(m, &w);
	if (ids)
		sw_string(&w, "apic-ids", ids);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, e), OK);
	assert_int_equal(sr_check_tree(fdt, size, e), OK);
	assert_int_equal(sr_find(fdt, "/cpu-model", &n), OK);
	err = cpu_model_load(back, &n, e);
	heap_free(fdt);
	heap_free(w.buf);
	return err;
}

static void survives_a_snapshot(void **state)
{
	static struct cpu_model m, back;
	struct errmsg e = {""};

	make(&m);
	assert_int_equal(through_a_snapshot(&m, NULL, &back, &e), OK);
	assert_memory_equal(&m, &back, sizeof(m));
}

static const struct cpu_topology gaps = {2, 3, 1};

/* A machine keeps the IDs that it was made with: indexes, if the snapshot is of an older version.
 */
static void apic_ids_stay_as_they_were(void **state)
{
	static struct cpu_model m, back;
	struct errmsg e = {""};

	assert_int_equal(cpu_model_create(&m, "x86-64-v2", host, &gaps, 2000000000, &e), OK);
	assert_int_equal(apic_id_of(&m.apic_ids, 3), 4);
	assert_int_equal(through_a_snapshot(&m, NULL, &back, &e), OK);
	assert_int_equal(apic_id_of(&back.apic_ids, 3), 4);
	m.ids_by_topology = false;
	assert_int_equal(through_a_snapshot(&m, NULL, &back, &e), OK);
	assert_false(back.ids_by_topology);
	assert_int_equal(apic_id_of(&back.apic_ids, 3), 3);
	assert_int_equal(through_a_snapshot(&back, NULL, &m, &e), OK); /* and is saved again */
	assert_int_equal(apic_id_of(&m.apic_ids, 3), 3);
	assert_int_equal(through_a_snapshot(&m, "random", &back, &e), ERR_UNSUPPORTED);
	assert_string_equal(e.text, "record /cpu-model: apic-ids 'random' is not known");
}

/* A snapshot's leaf B: counts and widths that no topology has. */
static void impossible_topologies_are_refused(void **state)
{
	static const struct {
		uint32_t sub;
		struct cpuid_regs r;
	} bad[] = {
	    {0, {0, 0, 0x100, 0}},
	    {0, {3, 5, 0x100, 0}},
	    {0, {2, 4, 0x100, 0}},
	    {0, {1, 1, 0x100, 0}},
	    {0, {31, 1, 0x100, 0}},
	    {1, {2, 0, 0x201, 0}},
	    {1, {2, 0x10000, 0x201, 0}},
	    {1, {3, 3, 0x201, 0}},
	    {1, {0xffffffff, 3, 0x201, 0}},
	};
	static struct cpu_model m;
	struct errmsg e = {""};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(
		    cpu_model_create(&m, "x86-64-v2", host, &gaps, 2000000000, &e), OK);
		for (uint32_t k = 0; k < m.count; k++)
			if (m.rows[k].leaf == 0xb && m.rows[k].subleaf == bad[i].sub)
				m.rows[k].r = bad[i].r;
		assert_int_equal(cpu_model_finish(&m, &e), ERR_CORRUPT);
		assert_non_null(strstr(e.text, "leaf 0xb"));
		m.ids_by_topology = false; /* nobody asks for it then */
		assert_int_equal(cpu_model_finish(&m, &e), OK);
	}
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

/* --- portable models on real sets of leaves ------------------------------------------- */

/*
 * CPUID of emulated CPUs, as read on them: Bochs 3.0's models by their names, and QEMU
 * 7.2's EPYC. Address widths are Bochs' own. SYSCALL is as Intel shows it in 64-bit mode.
 */
/* clang-format off */
static const struct cpuid_row lynnfield[] = {
    {0x0, 0, {0x0000000b, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {0x1, 0, {0x000106e5, 0x00010800, 0x0098e3bd, 0xbfebfbff}},
    {0x7, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000000}},
    {0xb, 0, {0x00000001, 0x00000001, 0x00000100, 0x00000000}},
    {0x80000000, 0, {0x80000008, 0x00000000, 0x00000000, 0x00000000}},
    {0x80000001, 0, {0x00000000, 0x00000000, 0x00000001, 0x28100800}},
    {0x80000007, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000100}},
    {0x80000008, 0, {0x00003028, 0x00000200, 0x00000000, 0x00000000}},
};
static const struct cpuid_row haswell[] = {
    {0x0, 0, {0x0000000d, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {0x1, 0, {0x000306c3, 0x00010800, 0x77faf3bf, 0xbfebfbff}},
    {0x7, 0, {0x00000000, 0x000027ab, 0x00000000, 0x00000000}},
    {0xb, 0, {0x00000001, 0x00000001, 0x00000100, 0x00000000}},
    {0xd, 0, {0x00000007, 0x00000240, 0x00000340, 0x00000000}},
    {0xd, 1, {0x00000001, 0x00000000, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x80000008, 0x00000000, 0x00000000, 0x00000000}},
    {0x80000001, 0, {0x00000000, 0x00000000, 0x00000121, 0x2c100800}},
    {0x80000007, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000100}},
    {0x80000008, 0, {0x00003028, 0x00000200, 0x00000000, 0x00000000}},
};
static const struct cpuid_row icelake[] = {
    {0x0, 0, {0x0000001b, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {0x1, 0, {0x000706e5, 0x00010800, 0x77faf3bf, 0xbfebfbff}},
    {0x7, 0, {0x00000000, 0xf0bf27eb, 0x00405f46, 0xbc000110}},
    {0xb, 0, {0x00000001, 0x00000001, 0x00000100, 0x00000000}},
    {0xd, 0, {0x000000e7, 0x00000240, 0x00000a80, 0x00000000}},
    {0xd, 1, {0x0000000f, 0x00000240, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x80000008, 0x00000000, 0x00000000, 0x00000000}},
    {0x80000001, 0, {0x00000000, 0x00000000, 0x00000121, 0x2c100800}},
    {0x80000007, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000100}},
    {0x80000008, 0, {0x00003028, 0x00000200, 0x00000000, 0x00000000}},
};
static const struct cpuid_row tigerlake[] = {
    {0x0, 0, {0x0000001b, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {0x1, 0, {0x000806c1, 0x00010800, 0x77faf3bf, 0xbfebfbff}},
    {0x7, 0, {0x00000000, 0xf1bf27eb, 0x18405f46, 0xfc000510}},
    {0xb, 0, {0x00000001, 0x00000001, 0x00000100, 0x00000000}},
    {0xd, 0, {0x000000e7, 0x00000240, 0x00000a80, 0x00000000}},
    {0xd, 1, {0x0000000f, 0x00000240, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x80000008, 0x00000000, 0x00000000, 0x00000000}},
    {0x80000001, 0, {0x00000000, 0x00000000, 0x00000121, 0x2c100800}},
    {0x80000007, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000100}},
    {0x80000008, 0, {0x00003028, 0x00000200, 0x00000000, 0x00000000}},
};
static const struct cpuid_row ryzen[] = {
    {0x0, 0, {0x0000000d, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x1, 0, {0x00800f11, 0x00010800, 0x76d8320b, 0x178bfbff}},
    {0x7, 0, {0x00000000, 0x209c01a9, 0x00000000, 0x00000000}},
    {0xb, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000000}},
    {0xd, 0, {0x00000007, 0x00000240, 0x00000340, 0x00000000}},
    {0xd, 1, {0x0000000f, 0x00000240, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x8000001f, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, {0x00800f11, 0x20000000, 0x35c223ff, 0x2fd3fbff}},
    {0x80000007, 0, {0x00000000, 0x0000001b, 0x00000000, 0x00006599}},
    {0x80000008, 0, {0x00003028, 0x00000201, 0x00000000, 0x00000000}},
};
static const struct cpuid_row zambezi[] = {
    {0x0, 0, {0x0000000d, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x1, 0, {0x00600f12, 0x00010800, 0x1698220b, 0x178bfbff}},
    {0x7, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000000}},
    {0xb, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000000}},
    {0xd, 0, {0x00000007, 0x00000240, 0x00000340, 0x00000000}},
    {0xd, 1, {0x00000000, 0x00000000, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x8000001e, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, {0x00600f12, 0x10000000, 0x01c92fff, 0x2fd3fbff}},
    {0x80000007, 0, {0x00000000, 0x00000000, 0x00000000, 0x000003d9}},
    {0x80000008, 0, {0x00003028, 0x00000200, 0x00000000, 0x00000000}},
};
static const struct cpuid_row qemu_epyc[] = {
    {0x0, 0, {0x0000000d, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x1, 0, {0x00800f12, 0x00000800, 0xf6d8320b, 0x078bfbfd}},
    {0x7, 0, {0x00000000, 0x009801a9, 0x00000000, 0x00000000}},
    {0xb, 0, {0x00000000, 0x00000001, 0x00000100, 0x00000000}},
    {0xd, 0, {0x00000007, 0x00000240, 0x00000340, 0x00000000}},
    {0xd, 1, {0x00000005, 0x00000340, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x8000001e, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, {0x00800f12, 0x00000000, 0x00000075, 0x2dd3fbfd}},
    {0x80000007, 0, {0x00000000, 0x00000000, 0x00000000, 0x00000000}},
    {0x80000008, 0, {0x00003028, 0x00000000, 0x00000000, 0x00000000}},
};
/* clang-format on */

static const struct fake_cpu {
	const char *name;
	const struct cpuid_row *rows;
	size_t count;
	unsigned level; /* the greatest that it can run */
} cpus[] = {
    {"lynnfield", lynnfield, ARRAY_LEN(lynnfield), 2},
    {"haswell", haswell, ARRAY_LEN(haswell), 3},
    {"icelake", icelake, ARRAY_LEN(icelake), 3},
    {"tigerlake", tigerlake, ARRAY_LEN(tigerlake), 3},
    {"ryzen", ryzen, ARRAY_LEN(ryzen), 3},
    {"zambezi", zambezi, ARRAY_LEN(zambezi), 2},
    {"qemu_epyc", qemu_epyc, ARRAY_LEN(qemu_epyc), 3},
};
static const struct fake_cpu *cpu;

static const struct cpuid_row *cpu_row(uint32_t leaf, uint32_t sub)
{
	for (size_t i = 0; i < cpu->count; i++)
		if (cpu->rows[i].leaf == leaf && cpu->rows[i].subleaf == sub)
			return &cpu->rows[i];
	return NULL;
}

/* As Intel does it: beyond the maximum come the data of the highest basic leaf. */
static struct cpuid_regs fake_host(uint32_t leaf, uint32_t sub)
{
	uint32_t max = cpu->rows[0].r.eax;
	const struct cpuid_row *row = cpu_row(leaf, sub);

	if (!row && leaf > max && leaf < 0x80000000)
		row = cpu_row(max, 0);
	return row ? row->r : (struct cpuid_regs){0, 0, 0, 0};
}

static const char *const models[] = {NULL, "x86-64-v1", "x86-64-v2", "x86-64-v3"};

static void a_portable_model_is_one_image(void **state)
{
	static struct cpu_model first[4], m;
	const struct cpu_topology two = {1, 2, 1};

	for (unsigned level = 1; level <= 3; level++) {
		for (size_t i = 0; i < ARRAY_LEN(cpus); i++) {
			struct errmsg e = {""};
			int err;

			cpu = &cpus[i];
			memset(&m, 0, sizeof(m));
			err = cpu_model_create(&m, models[level], fake_host, &two, 2000000000, &e);
			if (level > cpu->level) {
				assert_int_equal(err, ERR_UNSUPPORTED);
				assert_memory_equal(e.text, "needs ", 6);
				continue;
			}
			if (err)
				fail_msg("%s on %s: %s", models[level], cpu->name, e.text);
			assert_true(m.portable);
			if (!first[level].count)
				first[level] = m;
			assert_memory_equal(&m, &first[level], sizeof(m));
		}
		assert_true(first[level].count > 0);
	}
}

/* What another vendor's host lacks, or shows at another place, is in no portable image. */
static void a_portable_model_shows_neither_vendors_own(void **state)
{
	static struct cpu_model m;
	struct errmsg e;

	for (unsigned level = 1; level <= 3; level++) {
		cpu = &cpus[4];
		assert_int_equal(
		    cpu_model_create(&m, models[level], fake_host, &topo, 2000000000, &e), OK);
		assert_false(cpu_model_has(&m, 1, 0, 2, 3));	       /* MONITOR */
		assert_false(cpu_model_has(&m, 1, 0, 2, 17));	       /* PCID */
		assert_true(cpu_model_has(&m, 1, 0, 2, 21));	       /* x2APIC */
		assert_true(cpu_model_has(&m, 1, 0, 2, 24));	       /* TSC deadline */
		assert_false(cpu_model_has(&m, 7, 0, 1, 20));	       /* SMAP */
		assert_false(cpu_model_has(&m, 7, 0, 2, 2));	       /* UMIP */
		assert_false(cpu_model_has(&m, 7, 0, 3, 26));	       /* SPEC_CTRL */
		assert_false(cpu_model_has(&m, 0x80000001, 0, 2, 2));  /* SVM */
		assert_false(cpu_model_has(&m, 0x80000001, 0, 3, 25)); /* FFXSR */
		assert_false(cpu_model_has(&m, 0x80000008, 0, 1, 12)); /* IBPB */
		assert_int_equal(cpu_model_has(&m, 0x80000001, 0, 3, 26), level == 3); /* 1G */
		assert_int_equal(cpu_model_has(&m, 7, 0, 1, 7), level == 3);	       /* SMEP */
		assert_int_equal(cpu_model_has(&m, 7, 0, 1, 0), level == 3); /* FSGSBASE */
		assert_int_equal(m.phys_bits, level == 3 ? 39 : 36);
		assert_int_equal(m.xcr0_mask, level == 3 ? 7 : 0);
		assert_int_equal(m.cr4_mask & (CR4_VME | CR4_PVI), 0);
		assert_int_equal(m.msr_sets, MSR_SET_COMMON | MSR_SET_AMD);
		assert_memory_equal(&m.rows[0].r.ebx, "Auth", 4);
	}
}

static void a_portable_model_names_what_is_missing(void **state)
{
	static struct cpu_model m;
	struct errmsg e;

	cpu = &cpus[1];
	assert_int_equal(cpu_model_create(&m, "x86-64-v3", fake_host, &topo, 2000000000, &e), OK);
	cpu = &cpus[0];
	assert_int_equal(cpu_model_check_host(&m, fake_host, &e), ERR_UNSUPPORTED);
	assert_string_equal(e.text, "needs AVX2 (x86-64-v3), which this CPU lacks");
	cpu = &cpus[5];
	assert_int_equal(cpu_model_check_host(&m, fake_host, &e), ERR_UNSUPPORTED);
	assert_string_equal(e.text, "needs AVX2 (x86-64-v3), which this CPU lacks");
}

static void host_stays_on_its_cpu(void **state)
{
	static struct cpu_model m;
	struct errmsg e;

	cpu = &cpus[2];
	assert_int_equal(cpu_model_create(&m, "host", fake_host, &topo, 2000000000, &e), OK);
	assert_int_equal(cpu_model_check_host(&m, fake_host, &e), OK);
	assert_int_equal(m.msr_sets, MSR_SET_COMMON | MSR_SET_INTEL);
	cpu = &cpus[3];
	assert_int_equal(cpu_model_check_host(&m, fake_host, &e), ERR_UNSUPPORTED);
	assert_string_equal(e.text, "needs the CPU that it was made on (GenuineIntel 0x706e5): its "
				    "cpu-model is 'host', and this is GenuineIntel 0x806c1");
	cpu = &cpus[4];
	assert_int_equal(cpu_model_check_host(&m, fake_host, &e), ERR_UNSUPPORTED);
}

/* On a CPU whose last leaf is B, leaf D must not be made of B's data. */
static void leaves_beyond_the_maximum_are_no_features(void **state)
{
	static struct cpu_model m;
	struct errmsg e;

	cpu = &cpus[0];
	assert_int_equal(cpu_model_create(&m, "host", fake_host, &topo, 2000000000, &e), OK);
	assert_int_equal(m.xcr0_mask, 0);
	assert_int_equal(m.xstate_size, 512);
	assert_false(cpu_model_has(&m, 0xd, 1, 0, 0));
}

/* AMD counts CPUs, Intel the IDs that a package's CPUs may have. */
static void leaf_1_counts_as_the_vendor_does(void **state)
{
	static struct cpu_model m;
	struct cpuid_dynamic dyn = {.apic_id = 4};
	struct errmsg e = {""};

	assert_int_equal(cpu_model_create(&m, "host", host, &gaps, 2000000000, &e), OK);
	assert_int_equal(cpu_model_cpuid(&m, 1, 0, &dyn).ebx >> 16, 0x403);
	cpu = &cpus[2];
	assert_int_equal(cpu_model_create(&m, "host", fake_host, &gaps, 2000000000, &e), OK);
	assert_int_equal(cpu_model_cpuid(&m, 1, 0, &dyn).ebx >> 16, 0x404);
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
	    cmocka_unit_test(apic_ids_stay_as_they_were),
	    cmocka_unit_test(leaf_1_counts_as_the_vendor_does),
	    cmocka_unit_test(impossible_topologies_are_refused),
	    cmocka_unit_test(nonsense_is_refused),
	    cmocka_unit_test(a_portable_model_is_one_image),
	    cmocka_unit_test(a_portable_model_shows_neither_vendors_own),
	    cmocka_unit_test(a_portable_model_names_what_is_missing),
	    cmocka_unit_test(host_stays_on_its_cpu),
	    cmocka_unit_test(leaves_beyond_the_maximum_are_no_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
