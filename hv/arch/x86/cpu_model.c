/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's CPUID image: how it is made from the tables of cpu_model_table.c,
 * looked up, stored, and compared with a host.
 * Leaf layouts: SDM volume 2A "CPUID"; APM volume 3, appendix E.
 */
#include "hv/arch/x86/cpu_model.h"

#include <libfdt.h>
#include <string.h>
#include "hv/arch/x86/cpu_model_table.h"
#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/fmt.h"

#define NOSUB CPUID_NO_SUBLEAF

/* AMD repeats CPUID.1:EDX bits 0-9, 12-17, 23 and 24 in 80000001:EDX (APM volume 3, E.4.2). */
#define AMD_EDX_COPIES 0x0183f3ffU

/* EBX of leaf 0: the first four characters of the vendor string. */
enum { VENDOR_AMD_EBX = 0x68747541 /* Auth */, VENDOR_INTEL_EBX = 0x756e6547 /* Genu */ };

/* Paravirtual leaves: KVM's, for its clock; guests know nothing better that is as simple. */
enum pv_leaf { PV_SIGNATURE = 0x40000000, PV_FEATURES = 0x40000001, PV_TIMING = 0x40000010 };
enum kvm_feature {
	KVM_CLOCKSOURCE = 1 << 0,
	KVM_NOP_IO_DELAY = 1 << 1,
	KVM_CLOCKSOURCE2 = 1 << 3,
	KVM_CLOCKSOURCE_STABLE = 1 << 24
};

/*
 * A leaf of the host. Beyond its maximum an Intel CPU gives the data of its
 * highest basic leaf (SDM volume 2A "CPUID"), which must not be taken for features.
 */
static struct cpuid_regs host_leaf(cpuid_fn host, uint32_t leaf, uint32_t subleaf)
{
	uint32_t max = host(leaf & 0x80000000, 0).eax;

	return leaf <= max ? host(leaf, subleaf == NOSUB ? 0 : subleaf)
			   : (struct cpuid_regs){0, 0, 0, 0};
}

static uint32_t *reg_of(struct cpuid_regs *r, unsigned reg)
{
	return reg == EAX ? &r->eax : reg == EBX ? &r->ebx : reg == ECX ? &r->ecx : &r->edx;
}

static const struct cpuid_row *find_row(const struct cpu_model *m, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->rows[i].leaf == leaf &&
		    (m->rows[i].subleaf == subleaf || m->rows[i].subleaf == NOSUB))
			return &m->rows[i];
	return NULL;
}

/* Adds a row; the table above and the leaves below are fewer than CPU_MODEL_ROWS (asserted by a
 * unit test). */
static struct cpuid_regs *add_row(struct cpu_model *m, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_row *row = &m->rows[MIN(m->count, CPU_MODEL_ROWS - 1U)];

	m->count = MIN(m->count + 1, (uint32_t)CPU_MODEL_ROWS);
	*row = (struct cpuid_row){.leaf = leaf, .subleaf = subleaf};
	return &row->r;
}

/* The bits of one register that the policy shows; a portable one asks no host. */
static uint32_t feature_bits(
    const struct cpu_policy *p, cpuid_fn host, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
	struct cpuid_regs h = {0, 0, 0, 0};
	uint32_t bits = 0;

	if (!p->level)
		h = host_leaf(host, leaf, subleaf);
	for (size_t i = 0; i < cpu_features_count; i++) {
		const struct feature *f = &cpu_features[i];

		if (f->leaf != leaf || f->subleaf != subleaf || f->reg != reg)
			continue;
		if (p->level ? f->level && f->level <= p->level
			     : f->source == ALWAYS || (*reg_of(&h, reg) & BIT(f->bit)))
			bits |= (uint32_t)BIT(f->bit);
	}
	return bits;
}

/* Physical address bits; a CPU that does not say has 36. */
static uint32_t host_phys_bits(cpuid_fn host)
{
	uint32_t bits = host_leaf(host, 0x80000008, 0).eax & 0xff;

	return bits ? bits : 36;
}

/* Leaf 0 or 80000000 of a portable model. */
static struct cpuid_regs vendor_leaf(const struct cpu_policy *p, uint32_t max)
{
	struct cpuid_regs r = {.eax = max};

	memcpy(&r.ebx, p->vendor, 4);
	memcpy(&r.edx, p->vendor + 4, 4);
	memcpy(&r.ecx, p->vendor + 8, 4);
	return r;
}

/* CLFLUSH lines in units of 8 bytes: 64 bytes on every x86-64 CPU (check_host compares). */
#define CLFLUSH_LINE 0x0800

/* Bits of an APIC ID below the package's number. */
static unsigned package_shift(const struct cpu_topology *topo)
{
	struct apic_ids ids;

	apic_ids_make(&ids, topo);
	return ids.thread_bits + ids.core_bits;
}

/*
 * EBX 23:16 of leaf 1: AMD counts the package's CPUs (APM volume 3, E.3.2), Intel the IDs that
 * they may have, gaps included (SDM volume 3, 9.9.3).
 */
static uint32_t counted_ids(const struct cpu_model *m, const struct cpu_topology *topo)
{
	if (find_row(m, 0, NOSUB)->r.ebx == VENDOR_AMD_EBX)
		return topo->cores * topo->threads;
	return 1U << package_shift(topo);
}

/* Leaves 1 and 80000001: family, features. */
static void add_identity(struct cpu_model *m, const struct cpu_policy *p, cpuid_fn host,
    const struct cpu_topology *topo, bool extended)
{
	uint32_t leaf = extended ? 0x80000001 : 1;
	uint32_t per_package = topo->cores * topo->threads;
	struct cpuid_regs h = {.eax = p->signature, .ebx = extended ? 0 : CLFLUSH_LINE};
	struct cpuid_regs *r = add_row(m, leaf, NOSUB);

	if (!p->level)
		h = host_leaf(host, leaf, 0);
	r->eax = h.eax;
	r->ecx = feature_bits(p, host, leaf, NOSUB, ECX);
	r->edx = feature_bits(p, host, leaf, NOSUB, EDX);
	if (extended) {
		r->ebx = h.ebx;
		if (find_row(m, 0, NOSUB)->r.ebx == VENDOR_AMD_EBX) {
			r->edx |= find_row(m, 1, NOSUB)->r.edx & AMD_EDX_COPIES;
			if (per_package > 1)
				r->ecx |= 1 << 1; /* CmpLegacy */
		}
		return;
	}
	/* EBX: brand 0, CLFLUSH line, logical processors, APIC ID (dynamic) */
	r->ebx = (h.ebx & 0xff00) | MIN(counted_ids(m, topo), 255U) << 16;
	if (per_package > 1)
		r->edx |= 1 << 28; /* HTT */
}

/* Standard form: legacy area and header, then AVX, on both vendors (SDM volume 1, 13.4). */
enum { XSAVE_BASE = 576, XSAVE_AVX_SIZE = 256 };

/* Leaf D: x87, SSE and AVX state in standard form. */
static void add_xstate(struct cpu_model *m, const struct cpu_policy *p, cpuid_fn host)
{
	const struct cpuid_row *one = find_row(m, 1, NOSUB);
	struct cpuid_regs avx = {.eax = XSAVE_AVX_SIZE, .ebx = XSAVE_BASE}, *r;
	uint64_t mask = 3;

	if (!(one->r.ecx & BIT(26)))
		return;
	if (!p->level)
		avx = host_leaf(host, 0xd, 2);
	if (one->r.ecx & BIT(28))
		mask |= 4;
	r = add_row(m, 0xd, 0);
	r->eax = (uint32_t)mask;
	r->ecx = mask & 4 ? avx.ebx + avx.eax : XSAVE_BASE;
	r->ebx = r->ecx; /* dynamic */
	r = add_row(m, 0xd, 1);
	r->eax = feature_bits(p, host, 0xd, 1, EAX);
	if (mask & 4)
		*add_row(m, 0xd, 2) = (struct cpuid_regs){avx.eax, avx.ebx, 0, 0};
}

/* Leaf B: extended topology, x2APIC identifiers. */
static void add_topology(struct cpu_model *m, const struct cpu_topology *topo)
{
	struct apic_ids ids;

	apic_ids_make(&ids, topo);
	*add_row(m, 0xb, 0) = (struct cpuid_regs){ids.thread_bits, topo->threads, 0x100, 0};
	*add_row(m, 0xb, 1) =
	    (struct cpuid_regs){package_shift(topo), topo->cores * topo->threads, 0x201, 0};
	m->ids_by_topology = true;
}

/* The other way round, of an image that may come from a snapshot. */
static int read_topology(struct cpu_model *m, struct errmsg *e)
{
	const struct cpuid_row *smt = find_row(m, 0xb, 0), *core = find_row(m, 0xb, 1);
	struct cpu_topology topo = {1, 1, 1};

	m->apic_ids = (struct apic_ids){.threads = 1, .cores = 1};
	if (!m->ids_by_topology)
		return OK;
	if (smt && core && smt->r.ebx && core->r.ebx <= 0xffff) {
		topo.threads = smt->r.ebx;
		topo.cores = core->r.ebx / smt->r.ebx;
	}
	if (!smt || !core || !topo.cores || topo.cores * topo.threads != core->r.ebx)
		return err_set(e, ERR_CORRUPT, "CPUID leaf 0xb: impossible counts");
	apic_ids_make(&m->apic_ids, &topo);
	if (smt->r.eax != m->apic_ids.thread_bits || core->r.eax != package_shift(&topo))
		return err_set(e, ERR_CORRUPT, "CPUID leaf 0xb: widths do not fit the counts");
	return OK;
}

static void add_paravirtual(struct cpu_model *m, uint64_t tsc_hz)
{
	*add_row(m, PV_SIGNATURE, NOSUB) =
	    (struct cpuid_regs){PV_TIMING, 0x4b4d564b, 0x564b4d56, 0x4d}; /* "KVMKVMKVM\0\0\0" */
	*add_row(m, PV_FEATURES, NOSUB) = (struct cpuid_regs){
	    KVM_CLOCKSOURCE | KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE, 0, 0,
	    0};
	/* TSC and APIC timer frequency in kHz */
	*add_row(m, PV_TIMING, NOSUB) =
	    (struct cpuid_regs){(uint32_t)(tsc_hz / 1000), 1000000, 0, 0};
}

/* 80000002 to 80000006: brand string, caches. */
static void add_brand(struct cpu_model *m, const struct cpu_policy *p, cpuid_fn host)
{
	for (uint32_t leaf = 0x80000002; leaf <= 0x80000006; leaf++) {
		struct cpuid_regs *r = add_row(m, leaf, NOSUB);

		if (!p->level)
			*r = host_leaf(host, leaf, 0);
		else if (leaf <= 0x80000004)
			memcpy(r, p->brand + (leaf - 0x80000002) * 16, 16);
		else
			*r = leaf == 0x80000005 ? cpu_portable_l1 : cpu_portable_l2;
	}
}

/* 80000000 and up. */
static void add_extended(
    struct cpu_model *m, const struct cpu_policy *p, cpuid_fn host, const struct cpu_topology *topo)
{
	struct cpuid_regs h = host(0x80000000, 0), *r;
	uint32_t per_package = topo->cores * topo->threads, phys = p->phys_bits;

	if (!p->level)
		phys = MIN(host_phys_bits(host), 46U);
	*add_row(m, 0x80000000, NOSUB) = p->level
					     ? vendor_leaf(p, 0x80000008)
					     : (struct cpuid_regs){0x80000008, h.ebx, h.ecx, h.edx};
	add_identity(m, p, host, topo, true);
	add_brand(m, p, host);
	r = add_row(m, 0x80000007, NOSUB);
	r->edx = feature_bits(p, host, 0x80000007, NOSUB, EDX);
	r = add_row(m, 0x80000008, NOSUB);
	r->eax = phys | 48U << 8;
	r->ebx = feature_bits(p, host, 0x80000008, NOSUB, EBX);
	r->ecx = (MIN(per_package, 256U) - 1) | package_shift(topo) << 12;
}

int cpu_model_create(struct cpu_model *m, const char *name, cpuid_fn host,
    const struct cpu_topology *topo, uint64_t tsc_hz, struct errmsg *e)
{
	const struct cpu_policy *p = cpu_policy_find(name);
	struct cpuid_regs zero = host(0, 0), *r;
	int err;

	if (!p)
		return err_set(e, ERR_NOENT, "cpu-model '%s' is not known", name);
	*m = (struct cpu_model){.count = 0};
	str_copy(m->name, sizeof(m->name), name);
	*add_row(m, 0, NOSUB) =
	    p->level ? vendor_leaf(p, 0xd) : (struct cpuid_regs){0xd, zero.ebx, zero.ecx, zero.edx};
	add_identity(m, p, host, topo, false);
	r = add_row(m, 0x7, 0);
	r->ebx = feature_bits(p, host, 0x7, 0, EBX);
	r->ecx = feature_bits(p, host, 0x7, 0, ECX);
	add_topology(m, topo);
	add_xstate(m, p, host);
	add_paravirtual(m, tsc_hz);
	add_extended(m, p, host, topo);
	err = cpu_model_finish(m, e);
	return err ? err : cpu_model_check_host(m, host, e);
}

/* 0 basic, 1 paravirtual, 2 extended; -1 for leaves of no class. */
static int leaf_class(uint32_t leaf)
{
	switch (leaf >> 28) {
	case 0:
		return 0;
	case 4:
		return 1;
	case 8:
		return 2;
	default:
		return -1;
	}
}

bool cpu_model_has(
    const struct cpu_model *m, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
	const struct cpuid_row *row = find_row(m, leaf, subleaf);
	struct cpuid_regs r;

	if (!row)
		return false;
	r = row->r;
	return *reg_of(&r, reg) >> bit & 1;
}

/* Which CR4 bit depends on which feature; bits of features below may always be set. */
static const struct {
	uint64_t cr4;
	uint32_t leaf;
	uint8_t reg, bit;
} cr4_features[] = {
    {CR4_VME | CR4_PVI, 1, EDX, 1},
    {CR4_FSGSBASE, 7, EBX, 0},
    {CR4_PCIDE, 1, ECX, 17},
    {CR4_OSXSAVE, 1, ECX, 26},
    {CR4_SMEP, 7, EBX, 7},
    {CR4_SMAP, 7, EBX, 20},
    {CR4_UMIP, 7, ECX, 2},
};

/* By vendor string: which rows of the MSR table the guest's kernel expects. */
static uint8_t msr_sets(const struct cpu_model *m)
{
	switch (find_row(m, 0, 0)->r.ebx) {
	case VENDOR_AMD_EBX:
		return MSR_SET_COMMON | MSR_SET_AMD | (m->portable ? 0 : MSR_SET_AMD_HOST);
	case VENDOR_INTEL_EBX:
		return MSR_SET_COMMON | MSR_SET_INTEL;
	default:
		return MSR_SET_COMMON;
	}
}

int cpu_model_finish(struct cpu_model *m, struct errmsg *e)
{
	const struct cpuid_row *d;

	memset(m->index, 0, sizeof(m->index));
	m->max_basic = m->max_extended = 0;
	for (uint32_t i = m->count; i-- > 0;) {
		uint32_t leaf = m->rows[i].leaf;
		int class = leaf_class(leaf);

		if (class < 0 || (leaf & 0x0fffffff) >= CPU_MODEL_IDX)
			return err_set(e, ERR_CORRUPT, "CPUID leaf 0x%x is out of range", leaf);
		m->index[class][leaf & 0x0fffffff] = (uint8_t)(i + 1);
		if (class == 0)
			m->max_basic = MAX(m->max_basic, leaf);
		if (class == 2)
			m->max_extended = MAX(m->max_extended, leaf);
	}
	if (!find_row(m, 0, 0) || !find_row(m, 1, 0) || !find_row(m, 0x80000001, 0) ||
	    !find_row(m, 0x80000008, 0))
		return err_set(e, ERR_CORRUPT, "a CPUID leaf that every CPU has is missing");
	m->portable = strcmp(m->name, "host") != 0;
	m->msr_sets = msr_sets(m);
	d = find_row(m, 0xd, 0);
	m->xcr0_mask = d ? d->r.eax : 0;
	m->xstate_size = d ? d->r.ecx : 512;
	if (m->xstate_size > XSTATE_MAX || (m->xcr0_mask & ~7ULL) ||
	    (d != NULL) != cpu_model_has(m, 1, 0, ECX, 26) ||
	    (m->xcr0_mask && (m->xcr0_mask & 3) != 3) ||
	    !!(m->xcr0_mask & 4) != (d && cpu_model_has(m, 1, 0, ECX, 28)))
		return err_set(e, ERR_CORRUPT, "CPUID leaf 0xd: state components not supported");
	m->phys_bits = (uint8_t)find_row(m, 0x80000008, 0)->r.eax;
	if (m->phys_bits < 32 || m->phys_bits > 52)
		return err_set(
		    e, ERR_CORRUPT, "CPUID leaf 0x80000008: %u address bits", m->phys_bits);
	m->efer_mask = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	m->cr4_mask = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
		      CR4_OSFXSR | CR4_OSXMMEXCPT;
	for (size_t i = 0; i < ARRAY_LEN(cr4_features); i++)
		if (cpu_model_has(
			m, cr4_features[i].leaf, 0, cr4_features[i].reg, cr4_features[i].bit))
			m->cr4_mask |= cr4_features[i].cr4;
	return read_topology(m, e);
}

/* 'host' holds for one kind of CPU: what of it is not in the table differs on another. */
static int check_same_cpu(const struct cpu_model *m, cpuid_fn host, struct errmsg *e)
{
	const struct cpuid_regs *v = &find_row(m, 0, 0)->r, h = host(0, 0);
	uint32_t was = find_row(m, 1, 0)->r.eax, is = host(1, 0).eax;

	if (v->ebx != h.ebx || v->ecx != h.ecx || v->edx != h.edx || was != is)
		return err_set(e, ERR_UNSUPPORTED,
		    "needs the CPU that it was made on (%.4s%.4s%.4s 0x%x): its cpu-model is "
		    "'host', and this is %.4s%.4s%.4s 0x%x",
		    (const char *)&v->ebx, (const char *)&v->edx, (const char *)&v->ecx, was,
		    (const char *)&h.ebx, (const char *)&h.edx, (const char *)&h.ecx, is);
	return OK;
}

/* Address width, XSAVE layout, CLFLUSH line. */
static int check_widths(const struct cpu_model *m, cpuid_fn host, struct errmsg *e)
{
	struct cpuid_regs avx = host_leaf(host, 0xd, 2);
	uint32_t line = find_row(m, 1, 0)->r.ebx >> 8 & 0xff, have = host(1, 0).ebx >> 8 & 0xff;

	if (m->phys_bits > host_phys_bits(host))
		return err_set(e, ERR_UNSUPPORTED,
		    "needs %u bits of physical address, and this CPU has %u", m->phys_bits,
		    host_phys_bits(host));
	if (line != have)
		return err_set(e, ERR_UNSUPPORTED,
		    "needs cache lines of %u bytes, and this CPU has %u", line * 8, have * 8);
	if (!m->xcr0_mask)
		return OK;
	if (m->xcr0_mask & ~(uint64_t)host_leaf(host, 0xd, 0).eax)
		return err_set(e, ERR_UNSUPPORTED, "needs XSAVE state that this CPU lacks");
	if ((m->xcr0_mask & 4) && m->xstate_size != avx.ebx + avx.eax)
		return err_set(e, ERR_UNSUPPORTED,
		    "needs AVX state at offset %u of the XSAVE area, and this CPU has it at %u",
		    m->xstate_size - XSAVE_AVX_SIZE, avx.ebx);
	return OK;
}

/* The image shows it and the host has it not. */
static bool lacks(const struct cpu_model *m, cpuid_fn host, const struct feature *f)
{
	struct cpuid_regs h;

	if (f->source == ALWAYS || !cpu_model_has(m, f->leaf, f->subleaf, f->reg, f->bit))
		return false;
	h = host_leaf(host, f->leaf, f->subleaf);
	return !(*reg_of(&h, f->reg) & BIT(f->bit));
}

static int check_features(const struct cpu_model *m, cpuid_fn host, struct errmsg *e)
{
	const struct feature *missing = NULL;

	for (size_t i = 0; i < cpu_features_count; i++) {
		const struct feature *f = &cpu_features[i];

		if ((!missing || f->source == HEADLINE) && lacks(m, host, f))
			missing = f;
		if (missing && missing->source == HEADLINE)
			break;
	}
	if (!missing)
		return OK;
	if (!missing->level)
		return err_set(e, ERR_UNSUPPORTED, "needs %s, which this CPU lacks", missing->name);
	return err_set(e, ERR_UNSUPPORTED, "needs %s (x86-64-v%u), which this CPU lacks",
	    missing->name, missing->level);
}

int cpu_model_check_host(const struct cpu_model *m, cpuid_fn host, struct errmsg *e)
{
	int err = m->portable ? OK : check_same_cpu(m, host, e);

	if (!err)
		err = check_features(m, host, e);
	return err ? err : check_widths(m, host, e);
}

/* The size of the XSAVE area for the components in xcr0: only x87, SSE and AVX exist here. */
static uint32_t xsave_size(const struct cpu_model *m, uint64_t xcr0)
{
	return xcr0 & 4 ? m->xstate_size : XSAVE_BASE;
}

static void mix_dynamic(const struct cpu_model *m, const struct cpuid_row *row,
    const struct cpuid_dynamic *dyn, struct cpuid_regs *r)
{
	switch (row->leaf) {
	case 0x1:
		r->ebx |= dyn->apic_id << 24;
		if (dyn->cr4 & CR4_OSXSAVE)
			r->ecx |= 1 << 27;
		if (dyn->apic_disabled) /* SDM volume 3, 11.4.3 */
			r->edx &= ~BIT(9);
		break;
	case 0xb:
		r->edx = dyn->apic_id;
		break;
	case 0xd:
		if (row->subleaf == 0 || (row->subleaf == 1 && (r->eax & 2)))
			r->ebx = xsave_size(m, dyn->xcr0);
		break;
	default:
		break;
	}
}

struct cpuid_regs cpu_model_cpuid(
    const struct cpu_model *m, uint32_t leaf, uint32_t subleaf, const struct cpuid_dynamic *dyn)
{
	struct cpuid_regs r = {0, 0, 0, 0};
	int class = leaf_class(leaf);
	uint32_t low = leaf & 0x0fffffff;
	uint8_t i;

	/* Beyond the maximum of its class AMD gives zeros, as this does for both vendors. */
	if (class < 0 || low >= CPU_MODEL_IDX)
		return r;
	for (i = m->index[class][low]; i && i <= m->count; i++) {
		const struct cpuid_row *row = &m->rows[i - 1];

		if (row->leaf != leaf)
			break;
		if (row->subleaf == NOSUB || row->subleaf == subleaf) {
			r = row->r;
			mix_dynamic(m, row, dyn, &r);
			return r;
		}
	}
	if (leaf == 0xb) { /* invalid level: type 0, but the ID stays (SDM volume 2A) */
		r.ecx = subleaf & 0xff;
		r.edx = dyn->apic_id;
	}
	return r;
}

/* Bits of a register that the model does not offer. */
static int check_offered(const char *name, uint64_t value, uint64_t offered, struct errmsg *e)
{
	return value & ~offered ? err_set(e, ERR_CORRUPT, "%s: 0x%llx is not in the CPU model",
				      name, (unsigned long long)(value & ~offered))
				: OK;
}

int cpu_model_check_state(const struct cpu_model *m, const struct vcpu_state *s, struct errmsg *e)
{
	enum { XSTATE_BV = 512, X87 = 1, SSE = 2 }; /* SDM volume 1, 13.4.2 */
	bool pae = (s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA);
	uint64_t components, addresses = BIT(m->phys_bits) - 1;
	int err = check_offered("cr4", s->cr4, m->cr4_mask, e);

	memcpy(&components, s->xstate + XSTATE_BV, sizeof(components));
	if (!err)
		err = check_offered("efer", s->efer, m->efer_mask, e);
	if (!err)
		err = check_offered("xcr0", s->xcr0, m->xcr0_mask | X87, e);
	if (!err)
		err = check_offered("xstate: XSTATE_BV", components, m->xcr0_mask | X87 | SSE, e);
	/* the entry to the guest looks at these (volume 3, 26.3.1.1 and 26.3.1.6) */
	if (!err)
		err = check_offered("cr3", s->cr3, addresses, e);
	for (unsigned i = 0; i < ARRAY_LEN(s->pdpte) && pae && !err; i++)
		if (s->pdpte[i] & 1)
			err = check_offered("pdpte", s->pdpte[i], addresses, e);
	if (!err && s->xstate_size != m->xstate_size)
		err = err_set(e, ERR_CORRUPT, "xstate-size: %u, the CPU model has %u",
		    s->xstate_size, m->xstate_size);
	return err;
}

/* How "apic-ids" says that leaf B holds. */
#define IDS_BY_TOPOLOGY "topology"

void cpu_model_save(const struct cpu_model *m, struct state_writer *w)
{
	uint32_t cells[CPU_MODEL_ROWS * 6];

	for (uint32_t i = 0; i < m->count; i++) {
		const struct cpuid_row *r = &m->rows[i];
		const uint32_t v[6] = {r->leaf, r->subleaf, r->r.eax, r->r.ebx, r->r.ecx, r->r.edx};

		for (unsigned k = 0; k < 6; k++)
			cells[i * 6 + k] = __builtin_bswap32(v[k]);
	}
	sw_string(w, "policy", m->name);
	sw_bytes(w, "cpuid", cells, m->count * 24UL);
	if (m->ids_by_topology)
		sw_string(w, "apic-ids", IDS_BY_TOPOLOGY);
}

/* Absent in snapshots from before there were gaps. */
static int load_apic_ids(struct cpu_model *m, const struct state_node *n, struct errmsg *e)
{
	const char *how;
	int err;

	if (!fdt_getprop(n->fdt, n->node, "apic-ids", NULL))
		return OK;
	err = sr_string(n, "apic-ids", &how, e);
	if (!err && strcmp(how, IDS_BY_TOPOLOGY) != 0)
		err = err_set(
		    e, ERR_UNSUPPORTED, "record %s: apic-ids '%.31s' is not known", n->path, how);
	m->ids_by_topology = !err;
	return err;
}

int cpu_model_load(struct cpu_model *m, const struct state_node *n, struct errmsg *e)
{
	const char *name;
	const uint32_t *cells;
	const void *data;
	size_t len;
	int err = sr_string(n, "policy", &name, e);

	if (!err)
		err = sr_bytes(n, "cpuid", &data, &len, e);
	if (err)
		return err;
	if (len == 0 || len % 24 || len / 24 > CPU_MODEL_ROWS)
		return err_set(e, ERR_CORRUPT, "record %s: cpuid: bad length %zu", n->path, len);
	*m = (struct cpu_model){.count = (uint32_t)(len / 24)};
	if (!cpu_policy_find(name))
		return err_set(
		    e, ERR_UNSUPPORTED, "record %s: policy '%.31s' is not known", n->path, name);
	str_copy(m->name, sizeof(m->name), name);
	cells = data;
	for (uint32_t i = 0; i < m->count; i++) {
		uint32_t v[6];

		for (unsigned k = 0; k < 6; k++) {
			memcpy(&v[k], cells + i * 6 + k, 4);
			v[k] = __builtin_bswap32(v[k]);
		}
		m->rows[i] = (struct cpuid_row){v[0], v[1], {v[2], v[3], v[4], v[5]}};
	}
	err = load_apic_ids(m, n, e);
	if (err)
		return err;
	err = cpu_model_finish(m, e);
	return err ? err_prefix(e, err, "record %s", n->path) : OK;
}
