/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's CPU: a complete CPUID image, made once when the machine is
 * created from a policy and what the host has, stored in every snapshot.
 */
#ifndef AMBER_X86_CPU_MODEL_H
#define AMBER_X86_CPU_MODEL_H

#include "hv/arch/x86/cpuid_regs.h"
#include "hv/arch/x86/topology.h"
#include "hv/lib/error.h"
#include "hv/lib/state.h"
#include "hv/lib/types.h"

/* Subleaf of a row that has none. */
#define CPUID_NO_SUBLEAF 0xffffffffU

struct cpuid_row {
	uint32_t leaf, subleaf;
	struct cpuid_regs r;
};

#define CPU_MODEL_ROWS 64
#define CPU_MODEL_IDX  48

struct cpu_model {
	char name[32];
	uint32_t count;
	struct cpuid_row rows[CPU_MODEL_ROWS];
	bool ids_by_topology; /* false, in old snapshots: APIC IDs are indexes */
	/* Derived from the rows by cpu_model_finish(): */
	uint32_t max_basic, max_extended;
	uint8_t index[3][CPU_MODEL_IDX]; /* by class and low bits of the leaf: row + 1 of its first
					    row, 0 none */
	uint64_t xcr0_mask;		 /* XCR0 bits the guest may set */
	uint64_t cr4_mask;		 /* CR4 bits the guest may set */
	uint64_t efer_mask;
	uint32_t xstate_size; /* for xcr0_mask, standard form */
	uint8_t phys_bits;
	bool portable;	  /* any policy but 'host' */
	uint8_t msr_sets; /* enum msr_set */
	struct apic_ids apic_ids;
};

/* Rows of the MSR table (hv/core/msr.c) by who has them. */
enum msr_set {
	MSR_SET_COMMON = 1 << 0,
	MSR_SET_AMD = 1 << 1,	   /* with AMD's vendor string */
	MSR_SET_INTEL = 1 << 2,	   /* with Intel's */
	MSR_SET_AMD_HOST = 1 << 3, /* with AMD's, and only under 'host' */
};

/* How to ask the CPU underneath; a fake in unit tests. */
typedef struct cpuid_regs (*cpuid_fn)(uint32_t leaf, uint32_t subleaf);

/*
 * Makes the image of policy 'name': "host", "x86-64-v1", "-v2", "-v3". The portable
 * ones are the same on every host that can run them. tsc_hz is put into the frequency
 * leaf. ERR_NOENT: no such policy. ERR_UNSUPPORTED: the host lacks what it needs.
 */
int cpu_model_create(struct cpu_model *m, const char *name, cpuid_fn host,
    const struct cpu_topology *topo, uint64_t tsc_hz, struct errmsg *e) MUST_CHECK;

/* Fills the derived members; ERR_CORRUPT if rows contradict each other. */
int cpu_model_finish(struct cpu_model *m, struct errmsg *e) MUST_CHECK;

/*
 * What an image needs and the host lacks: OK, or ERR_UNSUPPORTED and "needs ...", naming
 * the feature. An image of policy 'host' needs the same CPU.
 */
int cpu_model_check_host(const struct cpu_model *m, cpuid_fn host, struct errmsg *e) MUST_CHECK;

/*
 * Whether a vCPU of this model can be in a state that has passed vcpu_state_check():
 * the features in CR4, EFER, XCR0 and the XSAVE area, the width of physical addresses in
 * CR3 and the PDPTEs. OK, or ERR_CORRUPT and "<field>: <reason>".
 */
struct vcpu_state;
int cpu_model_check_state(
    const struct cpu_model *m, const struct vcpu_state *s, struct errmsg *e) MUST_CHECK;

/* Per-vCPU values that CPUID mixes in. */
struct cpuid_dynamic {
	uint32_t apic_id;
	uint64_t cr4, xcr0;
	bool apic_disabled; /* by IA32_APIC_BASE: CPUID shows no local APIC then */
};
/* CPUID as the guest sees it; leaves beyond the maximum read as the architecture says. */
struct cpuid_regs cpu_model_cpuid(
    const struct cpu_model *m, uint32_t leaf, uint32_t subleaf, const struct cpuid_dynamic *dyn);

/*
 * The same for a leaf without subleaves in which nothing is dynamic: most of
 * what guests ask for. NULL for all others, which are cpu_model_cpuid()'s.
 */
static inline const struct cpuid_regs *cpu_model_fixed(const struct cpu_model *m, uint32_t leaf)
{
	uint32_t low = leaf & 0x0fffffff, class = leaf >> 30; /* a wrong class fails below */
	const struct cpuid_row *row;
	uint8_t i;

	if (low >= CPU_MODEL_IDX || class > 2 || leaf == 1)
		return NULL;
	i = m->index[class][low];
	if (!i)
		return NULL;
	row = &m->rows[i - 1];
	return row->leaf == leaf && row->subleaf == CPUID_NO_SUBLEAF ? &row->r : NULL;
}

/* True if CPUID.leaf.register has the bit. reg: 0 EAX .. 3 EDX. */
bool cpu_model_has(
    const struct cpu_model *m, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit);

/* Snapshot record of the image, as an array of cells: leaf, subleaf, EAX, EBX, ECX, EDX per row. */
void cpu_model_save(const struct cpu_model *m, struct state_writer *w);
int cpu_model_load(struct cpu_model *m, const struct state_node *n, struct errmsg *e) MUST_CHECK;

#endif
