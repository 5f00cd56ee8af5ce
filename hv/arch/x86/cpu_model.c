/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's CPUID image: which features a guest may have (one table), how the
 * image is made from the host's, how it is looked up, stored and compared.
 * Leaf layouts: SDM volume 2A "CPUID"; APM volume 3, appendix E.
 */
#include "hv/arch/x86/cpu_model.h"

#include <string.h>
#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/fmt.h"

enum cpuid_reg { EAX, EBX, ECX, EDX };

/* Where a feature's bit comes from. */
enum feature_source {
	FROM_HOST, /* shown if the host has it */
	ALWAYS,	   /* done in software: shown on every host */
};

struct feature {
	uint32_t leaf, subleaf;
	uint8_t reg, bit;
	uint8_t source;
	uint8_t level; /* x86-64-vN from which on portable models have it; 0: only 'host' */
	const char *name;
};

#define NOSUB CPUID_NO_SUBLEAF

/* Everything a guest may see; what is not listed is hidden. In the manuals' order. */
static const struct feature features[] = {
    {0x1, NOSUB, ECX, 0, FROM_HOST, 2, "SSE3"},
    {0x1, NOSUB, ECX, 1, FROM_HOST, 0, "PCLMULQDQ"},
    {0x1, NOSUB, ECX, 9, FROM_HOST, 2, "SSSE3"},
    {0x1, NOSUB, ECX, 12, FROM_HOST, 3, "FMA"},
    {0x1, NOSUB, ECX, 13, FROM_HOST, 2, "CMPXCHG16B"},
    {0x1, NOSUB, ECX, 17, FROM_HOST, 0, "PCID"},
    {0x1, NOSUB, ECX, 19, FROM_HOST, 2, "SSE4.1"},
    {0x1, NOSUB, ECX, 20, FROM_HOST, 2, "SSE4.2"},
    {0x1, NOSUB, ECX, 21, ALWAYS, 1, "x2APIC"},
    {0x1, NOSUB, ECX, 22, FROM_HOST, 3, "MOVBE"},
    {0x1, NOSUB, ECX, 23, FROM_HOST, 2, "POPCNT"},
    {0x1, NOSUB, ECX, 24, ALWAYS, 1, "TSC-deadline"},
    {0x1, NOSUB, ECX, 25, FROM_HOST, 0, "AES"},
    {0x1, NOSUB, ECX, 26, FROM_HOST, 3, "XSAVE"},
    {0x1, NOSUB, ECX, 28, FROM_HOST, 3, "AVX"},
    {0x1, NOSUB, ECX, 29, FROM_HOST, 3, "F16C"},
    {0x1, NOSUB, ECX, 30, FROM_HOST, 0, "RDRAND"},
    {0x1, NOSUB, ECX, 31, ALWAYS, 1, "hypervisor"},
    {0x1, NOSUB, EDX, 0, FROM_HOST, 1, "FPU"},
    {0x1, NOSUB, EDX, 1, FROM_HOST, 1, "VME"},
    {0x1, NOSUB, EDX, 2, FROM_HOST, 1, "DE"},
    {0x1, NOSUB, EDX, 3, FROM_HOST, 1, "PSE"},
    {0x1, NOSUB, EDX, 4, FROM_HOST, 1, "TSC"},
    {0x1, NOSUB, EDX, 5, FROM_HOST, 1, "MSR"},
    {0x1, NOSUB, EDX, 6, FROM_HOST, 1, "PAE"},
    {0x1, NOSUB, EDX, 7, ALWAYS, 1, "MCE"},
    {0x1, NOSUB, EDX, 8, FROM_HOST, 1, "CMPXCHG8B"},
    {0x1, NOSUB, EDX, 9, ALWAYS, 1, "APIC"},
    {0x1, NOSUB, EDX, 11, FROM_HOST, 1, "SEP"},
    {0x1, NOSUB, EDX, 12, ALWAYS, 1, "MTRR"},
    {0x1, NOSUB, EDX, 13, FROM_HOST, 1, "PGE"},
    {0x1, NOSUB, EDX, 14, ALWAYS, 1, "MCA"},
    {0x1, NOSUB, EDX, 15, FROM_HOST, 1, "CMOV"},
    {0x1, NOSUB, EDX, 16, FROM_HOST, 1, "PAT"},
    {0x1, NOSUB, EDX, 17, FROM_HOST, 1, "PSE-36"},
    {0x1, NOSUB, EDX, 19, FROM_HOST, 1, "CLFLUSH"},
    {0x1, NOSUB, EDX, 23, FROM_HOST, 1, "MMX"},
    {0x1, NOSUB, EDX, 24, FROM_HOST, 1, "FXSR"},
    {0x1, NOSUB, EDX, 25, FROM_HOST, 1, "SSE"},
    {0x1, NOSUB, EDX, 26, FROM_HOST, 1, "SSE2"},
    {0x7, 0, EBX, 0, FROM_HOST, 0, "FSGSBASE"},
    {0x7, 0, EBX, 1, ALWAYS, 1, "TSC_ADJUST"},
    {0x7, 0, EBX, 3, FROM_HOST, 3, "BMI1"},
    {0x7, 0, EBX, 5, FROM_HOST, 3, "AVX2"},
    {0x7, 0, EBX, 7, FROM_HOST, 0, "SMEP"},
    {0x7, 0, EBX, 8, FROM_HOST, 3, "BMI2"},
    {0x7, 0, EBX, 9, FROM_HOST, 0, "ERMS"},
    {0x7, 0, EBX, 10, FROM_HOST, 0, "INVPCID"},
    {0x7, 0, EBX, 18, FROM_HOST, 0, "RDSEED"},
    {0x7, 0, EBX, 19, FROM_HOST, 0, "ADX"},
    {0x7, 0, EBX, 20, FROM_HOST, 0, "SMAP"},
    {0x7, 0, EBX, 23, FROM_HOST, 0, "CLFLUSHOPT"},
    {0x7, 0, EBX, 24, FROM_HOST, 0, "CLWB"},
    {0x7, 0, EBX, 29, FROM_HOST, 0, "SHA"},
    {0x7, 0, ECX, 2, FROM_HOST, 0, "UMIP"},
    {0xd, 1, EAX, 0, FROM_HOST, 0, "XSAVEOPT"},
    {0xd, 1, EAX, 1, FROM_HOST, 0, "XSAVEC"},
    {0xd, 1, EAX, 2, FROM_HOST, 0, "XGETBV with ECX = 1"},
    {0x80000001, NOSUB, ECX, 0, FROM_HOST, 2, "LAHF in 64-bit mode"},
    {0x80000001, NOSUB, ECX, 4, FROM_HOST, 0, "MOV CR8 in 32-bit mode"},
    {0x80000001, NOSUB, ECX, 5, FROM_HOST, 3, "LZCNT"},
    {0x80000001, NOSUB, ECX, 6, FROM_HOST, 0, "SSE4A"},
    {0x80000001, NOSUB, ECX, 8, FROM_HOST, 0, "PREFETCHW"},
    {0x80000001, NOSUB, EDX, 11, FROM_HOST, 1, "SYSCALL"},
    {0x80000001, NOSUB, EDX, 20, FROM_HOST, 1, "NX"},
    {0x80000001, NOSUB, EDX, 22, FROM_HOST, 0, "MMXEXT"},
    {0x80000001, NOSUB, EDX, 26, FROM_HOST, 0, "1 GiB pages"},
    {0x80000001, NOSUB, EDX, 27, FROM_HOST, 0, "RDTSCP"},
    {0x80000001, NOSUB, EDX, 29, FROM_HOST, 1, "long mode"},
    {0x80000007, NOSUB, EDX, 8, FROM_HOST, 0, "invariant TSC"},
    {0x80000008, NOSUB, EBX, 0, FROM_HOST, 0, "CLZERO"},
};

/* AMD repeats CPUID.1:EDX bits 0-9, 12-17, 23 and 24 in 80000001:EDX (APM volume 3, E.4.2). */
#define AMD_EDX_COPIES 0x0183f3ffU

struct policy {
	const char *name;
	uint8_t level; /* 0: everything in the table that the host has */
};

static const struct policy policies[] = {
    {"host", 0},
};

/* Paravirtual leaves: KVM's, for its clock; guests know nothing better that is as simple. */
enum pv_leaf { PV_SIGNATURE = 0x40000000, PV_FEATURES = 0x40000001, PV_TIMING = 0x40000010 };
enum kvm_feature {
	KVM_CLOCKSOURCE = 1 << 0,
	KVM_NOP_IO_DELAY = 1 << 1,
	KVM_CLOCKSOURCE2 = 1 << 3,
	KVM_CLOCKSOURCE_STABLE = 1 << 24
};

static const struct policy *find_policy(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(policies); i++)
		if (strcmp(policies[i].name, name) == 0)
			return &policies[i];
	return NULL;
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

static uint32_t feature_bits(
    const struct policy *p, cpuid_fn host, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		const struct feature *f = &features[i];
		struct cpuid_regs h;

		if (f->leaf != leaf || f->subleaf != subleaf || f->reg != reg)
			continue;
		if (p->level && (f->level == 0 || f->level > p->level))
			continue;
		h = host(leaf, subleaf == NOSUB ? 0 : subleaf);
		if (f->source == ALWAYS || (*reg_of(&h, reg) & BIT(f->bit)))
			bits |= (uint32_t)BIT(f->bit);
	}
	return bits;
}

static unsigned bits_for(uint32_t count)
{
	unsigned n = 0;

	while (BIT(n) < count)
		n++;
	return n;
}

/* Leaves 0 and 1: vendor, family, features. */
static void add_identity(struct cpu_model *m, const struct policy *p, cpuid_fn host,
    const struct cpu_topology *topo, bool extended)
{
	uint32_t leaf = extended ? 0x80000001 : 1;
	uint32_t per_package = topo->cores * topo->threads;
	struct cpuid_regs h = host(leaf, 0), *r = add_row(m, leaf, NOSUB);

	r->eax = h.eax;
	r->ecx = feature_bits(p, host, leaf, NOSUB, ECX);
	r->edx = feature_bits(p, host, leaf, NOSUB, EDX);
	if (extended) {
		r->ebx = h.ebx;
		if (host(0, 0).ebx == 0x68747541) { /* "Auth"enticAMD */
			r->edx |= find_row(m, 1, NOSUB)->r.edx & AMD_EDX_COPIES;
			if (per_package > 1)
				r->ecx |= 1 << 1; /* CmpLegacy */
		}
		return;
	}
	/* EBX: brand 0, CLFLUSH line, logical processors, APIC ID (dynamic) */
	r->ebx = (h.ebx & 0xff00) | MIN(per_package, 255U) << 16;
	if (per_package > 1)
		r->edx |= 1 << 28; /* HTT */
}

/* Leaf D: x87, SSE and AVX state in standard form; offsets are the host's (identical on both
 * vendors). */
static void add_xstate(struct cpu_model *m, const struct policy *p, cpuid_fn host)
{
	const struct cpuid_row *one = find_row(m, 1, NOSUB);
	struct cpuid_regs avx = host(0xd, 2), *r;
	uint64_t mask = 3;

	if (!(one->r.ecx & BIT(26)))
		return;
	if (one->r.ecx & BIT(28))
		mask |= 4;
	r = add_row(m, 0xd, 0);
	r->eax = (uint32_t)mask;
	r->ecx = mask & 4 ? avx.ebx + avx.eax : 576;
	r->ebx = r->ecx; /* dynamic */
	r = add_row(m, 0xd, 1);
	r->eax = feature_bits(p, host, 0xd, 1, EAX);
	if (mask & 4)
		*add_row(m, 0xd, 2) = (struct cpuid_regs){avx.eax, avx.ebx, 0, 0};
}

/* Leaf B: extended topology, x2APIC identifiers. */
static void add_topology(struct cpu_model *m, const struct cpu_topology *topo)
{
	unsigned smt = bits_for(topo->threads), core = bits_for(topo->cores);

	*add_row(m, 0xb, 0) = (struct cpuid_regs){smt, topo->threads, 0x100, 0};
	*add_row(m, 0xb, 1) =
	    (struct cpuid_regs){smt + core, topo->cores * topo->threads, 0x201, 0};
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

/* 80000000 and up. */
static void add_extended(
    struct cpu_model *m, const struct policy *p, cpuid_fn host, const struct cpu_topology *topo)
{
	struct cpuid_regs h = host(0x80000000, 0), w = host(0x80000008, 0), *r;
	uint32_t per_package = topo->cores * topo->threads;

	*add_row(m, 0x80000000, NOSUB) = (struct cpuid_regs){0x80000008, h.ebx, h.ecx, h.edx};
	add_identity(m, p, host, topo, true);
	for (uint32_t leaf = 0x80000002; leaf <= 0x80000006; leaf++)
		*add_row(m, leaf, NOSUB) = host(leaf, 0); /* brand string, caches */
	r = add_row(m, 0x80000007, NOSUB);
	r->edx = feature_bits(p, host, 0x80000007, NOSUB, EDX);
	r = add_row(m, 0x80000008, NOSUB);
	r->eax = MIN(w.eax & 0xff, 46U) | 48U << 8;
	r->ebx = feature_bits(p, host, 0x80000008, NOSUB, EBX);
	r->ecx = (MIN(per_package, 256U) - 1) | bits_for(per_package) << 12;
}

int cpu_model_create(struct cpu_model *m, const char *name, cpuid_fn host,
    const struct cpu_topology *topo, uint64_t tsc_hz, struct errmsg *e)
{
	const struct policy *p = find_policy(name);
	struct cpuid_regs zero = host(0, 0), *r;

	if (!p)
		return err_set(e, ERR_NOENT, "cpu-model '%s' is not known", name);
	*m = (struct cpu_model){.count = 0};
	str_copy(m->name, sizeof(m->name), name);
	*add_row(m, 0, NOSUB) = (struct cpuid_regs){0xd, zero.ebx, zero.ecx, zero.edx};
	add_identity(m, p, host, topo, false);
	r = add_row(m, 0x7, 0);
	r->ebx = feature_bits(p, host, 0x7, 0, EBX);
	r->ecx = feature_bits(p, host, 0x7, 0, ECX);
	add_topology(m, topo);
	add_xstate(m, p, host);
	add_paravirtual(m, tsc_hz);
	add_extended(m, p, host, topo);
	return cpu_model_finish(m, e);
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
    {CR4_FSGSBASE, 7, EBX, 0},
    {CR4_PCIDE, 1, ECX, 17},
    {CR4_OSXSAVE, 1, ECX, 26},
    {CR4_SMEP, 7, EBX, 7},
    {CR4_SMAP, 7, EBX, 20},
    {CR4_UMIP, 7, ECX, 2},
};

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
	m->cr4_mask = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
		      CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	for (size_t i = 0; i < ARRAY_LEN(cr4_features); i++)
		if (cpu_model_has(
			m, cr4_features[i].leaf, 0, cr4_features[i].reg, cr4_features[i].bit))
			m->cr4_mask |= cr4_features[i].cr4;
	return OK;
}

int cpu_model_check_host(const struct cpu_model *m, cpuid_fn host, struct errmsg *e)
{
	if (m->xcr0_mask & ~(uint64_t)host(0xd, 0).eax)
		return err_set(e, ERR_UNSUPPORTED, "needs XSAVE state that this CPU lacks");
	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		const struct feature *f = &features[i];
		uint32_t sub = f->subleaf == NOSUB ? 0 : f->subleaf;
		struct cpuid_regs h = host(f->leaf, sub);

		if (f->source == ALWAYS || !cpu_model_has(m, f->leaf, sub, f->reg, f->bit))
			continue;
		if (!(*reg_of(&h, f->reg) & BIT(f->bit))) {
			if (f->level)
				return err_set(e, ERR_UNSUPPORTED,
				    "needs %s (x86-64-v%u), which this CPU lacks", f->name,
				    f->level);
			return err_set(
			    e, ERR_UNSUPPORTED, "needs %s, which this CPU lacks", f->name);
		}
	}
	return OK;
}

/* The size of the XSAVE area for the components in xcr0: only x87, SSE and AVX exist here. */
static uint32_t xsave_size(const struct cpu_model *m, uint64_t xcr0)
{
	return xcr0 & 4 ? m->xstate_size : 576;
}

static void mix_dynamic(const struct cpu_model *m, const struct cpuid_row *row,
    const struct cpuid_dynamic *dyn, struct cpuid_regs *r)
{
	switch (row->leaf) {
	case 0x1:
		r->ebx |= dyn->apic_id << 24;
		if (dyn->cr4 & CR4_OSXSAVE)
			r->ecx |= 1 << 27;
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
	err = cpu_model_finish(m, e);
	return err ? err_prefix(e, err, "record %s", n->path) : OK;
}
