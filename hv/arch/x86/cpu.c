/* SPDX-License-Identifier: BSD-2-Clause */
/* What the CPU is, whether that is enough, and how its control registers are set. */
#include "hv/arch/x86/cpu.h"
#include <string.h>
#include "hv/arch/x86/vcpu_state.h"
#include "hv/arch/x86/xstate.h"

struct cpu cpus[MAX_CPUS]; /* entry.asm knows the first as the boot CPU's */
struct host_cpu host_cpu;

/* Assembly counts on these (entry.asm, ap_start.asm). */
_Static_assert(offsetof(struct cpu, self) == 0, "entry.asm");
_Static_assert(offsetof(struct cpu, id) == 8, "cpu_id()");
_Static_assert(offsetof(struct cpu, current) == 16, "assembly");
_Static_assert(offsetof(struct cpu, need_resched) == 24, "cpu_need_resched()");
_Static_assert(offsetof(struct cpu, fs_block) == 32, "entry.asm");

static unsigned online;

struct cpu *cpu_by_id(unsigned id)
{
	return &cpus[id];
}

unsigned cpus_online(void)
{
	return __atomic_load_n(&online, __ATOMIC_ACQUIRE);
}

void cpu_set_online(struct cpu *c)
{
	c->online = true;
	__atomic_fetch_add(&online, 1, __ATOMIC_RELEASE);
}

int cpu_by_apic_id(uint32_t apic_id)
{
	for (unsigned i = 0; i < cpus_online(); i++)
		if (cpus[i].apic_id == apic_id)
			return (int)i;
	return -1;
}

/* CPUID bits (SDM volume 2, CPUID; APM volume 3, appendix E). */
enum {
	CPUID_1_ECX_SSE3 = 1 << 0,
	CPUID_1_ECX_VMX = 1 << 5,
	CPUID_1_ECX_X2APIC = 1 << 21,
	CPUID_1_ECX_TSC_DEADLINE = 1 << 24,
	CPUID_1_ECX_XSAVE = 1 << 26,
	CPUID_1_ECX_RDRAND = 1 << 30,
	CPUID_1_EDX_TSC = 1 << 4,
	CPUID_1_EDX_APIC = 1 << 9,
	CPUID_1_EDX_PGE = 1 << 13,
	CPUID_1_EDX_PAT = 1 << 16,
	CPUID_1_EDX_FXSR = 1 << 24,
	CPUID_1_EDX_SSE2 = 1 << 26,
	CPUID_7_EBX_SMEP = 1 << 7,
	CPUID_7_EBX_SMAP = 1 << 20,
	CPUID_7_ECX_UMIP = 1 << 2,
	CPUID_EXT1_ECX_SVM = 1 << 2,
	CPUID_EXT1_EDX_NX = 1 << 20,
	CPUID_EXT1_EDX_PAGE1GB = 1 << 26,
	CPUID_EXT7_EDX_INVARIANT_TSC = 1 << 8,
};
#define CPUID_1_ECX_HYPERVISOR (1u << 31)

static void identify_vendor(void)
{
	struct cpuid_regs r = cpuid(0, 0);
	uint32_t id[3] = {r.ebx, r.edx, r.ecx};

	host_cpu.max_leaf = r.eax;
	memcpy(host_cpu.vendor_id, id, sizeof(id));
	if (!strcmp(host_cpu.vendor_id, "GenuineIntel"))
		host_cpu.vendor = VENDOR_INTEL;
	else if (!strcmp(host_cpu.vendor_id, "AuthenticAMD") ||
		 !strcmp(host_cpu.vendor_id, "HygonGenuine"))
		host_cpu.vendor = VENDOR_AMD;
}

static void identify_brand(void)
{
	if (host_cpu.max_ext_leaf < 0x80000004)
		return;
	for (uint32_t i = 0; i < 3; i++) {
		struct cpuid_regs r = cpuid(0x80000002 + i, 0);

		memcpy(host_cpu.brand + 16 * (size_t)i, &r, sizeof(r));
	}
}

/* QEMU's leaf 4000'0000 says "TCGTCGTCGTCG" then. */
static bool is_tcg(void)
{
	struct cpuid_regs r = cpuid(0x40000000, 0);

	return r.ebx == 0x54474354 && r.ecx == 0x43544743 && r.edx == 0x47435447;
}

void cpu_identify(void)
{
	struct host_cpu *h = &host_cpu;
	struct cpuid_regs r;

	identify_vendor();
	h->max_ext_leaf = cpuid(0x80000000, 0).eax;
	identify_brand();

	r = cpuid(1, 0);
	h->signature = r.eax;
	h->vmx = r.ecx & CPUID_1_ECX_VMX;
	h->x2apic = r.ecx & CPUID_1_ECX_X2APIC;
	h->tsc_deadline = r.ecx & CPUID_1_ECX_TSC_DEADLINE;
	h->xsave = r.ecx & CPUID_1_ECX_XSAVE;
	h->rdrand = r.ecx & CPUID_1_ECX_RDRAND;
	h->hypervisor = r.ecx & CPUID_1_ECX_HYPERVISOR;
	h->tcg = h->hypervisor && is_tcg();
	h->pge = r.edx & CPUID_1_EDX_PGE;
	h->pat = r.edx & CPUID_1_EDX_PAT;
	if (h->max_leaf >= 7) {
		r = cpuid(7, 0);
		h->smep = r.ebx & CPUID_7_EBX_SMEP;
		h->smap = r.ebx & CPUID_7_EBX_SMAP;
		h->umip = r.ecx & CPUID_7_ECX_UMIP;
	}
	h->phys_bits = 36;
	if (h->max_ext_leaf >= 0x80000001) {
		r = cpuid(0x80000001, 0);
		h->svm = r.ecx & CPUID_EXT1_ECX_SVM;
		h->nx = r.edx & CPUID_EXT1_EDX_NX;
		h->page_1g = r.edx & CPUID_EXT1_EDX_PAGE1GB;
	}
	if (h->max_ext_leaf >= 0x80000007)
		h->invariant_tsc = cpuid(0x80000007, 0).edx & CPUID_EXT7_EDX_INVARIANT_TSC;
	if (h->max_ext_leaf >= 0x80000008)
		h->phys_bits = (uint8_t)cpuid(0x80000008, 0).eax;
}

/* Each rung: present or not, and the sentence for the person at the console. */
int cpu_check_requirements(struct errmsg *e)
{
	const struct cpuid_regs r = cpuid(1, 0);
	const struct {
		bool present;
		const char *missing;
	} ladder[] = {
	    /* the clock */
	    {r.edx & CPUID_1_EDX_TSC, "a time-stamp counter"},
	    /* one-shot timers, IPIs */
	    {r.edx & CPUID_1_EDX_APIC, "a local APIC"},
	    /* uncached and write-combining mappings by page */
	    {r.edx & CPUID_1_EDX_PAT, "the page attribute table (PAT)"},
	    /* the least that threads' and guests' vector state is switched with */
	    {r.edx & CPUID_1_EDX_FXSR, "FXSAVE and FXRSTOR"},
	    {r.edx & CPUID_1_EDX_SSE2, "SSE2"},
	    /* no page of the hypervisor is both writable and executable */
	    {host_cpu.nx, "no-execute pages (NX); the firmware's set-up may have them disabled"},
	    /* the page tables have four levels */
	    {!(read_cr4() & CR4_LA57), "four-level paging; the firmware left five levels on"},
	};

	for (size_t i = 0; i < ARRAY_LEN(ladder); i++)
		if (!ladder[i].present)
			return err_set(e, ERR_UNSUPPORTED,
			    "this CPU (%s) cannot run Amber: it lacks %s", host_cpu.vendor_id,
			    ladder[i].missing);
	return OK;
}

/*
 * PAT: entry 1 is write-combining (selected by PWT), 3 uncached (PWT and PCD);
 * the others as after reset (SDM volume 3, 12.12.4).
 */
#define HOST_PAT 0x0007010600070106ULL

/*
 * LFENCE as a barrier to speculation, which is how guests and this program use it: on
 * AMD's CPUs a choice (DE_CFG bit 1), on Intel's always so. Old and emulated ones lack the MSR.
 */
static void serialize_lfence(void)
{
	uint64_t v;

	if (host_cpu.vendor == VENDOR_AMD && rdmsr_safe(MSR_AMD_DE_CFG, &v) && !(v & BIT(1)))
		(void)wrmsr_safe(MSR_AMD_DE_CFG, v | BIT(1));
}

void cpu_init_control(void)
{
	uint64_t cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
	uint64_t cr4 = CR4_DE | CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (host_cpu.xsave)
		cr4 |= CR4_OSXSAVE;
	if (host_cpu.smep)
		cr4 |= CR4_SMEP;
	if (host_cpu.smap)
		cr4 |= CR4_SMAP;
	if (host_cpu.umip)
		cr4 |= CR4_UMIP;
	write_cr0(cr0);
	write_cr4(cr4);
	wrmsr(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	wrmsr(MSR_PAT, HOST_PAT);
	if (host_cpu.xsave)
		xsetbv(0, xstate_host_mask());
	serialize_lfence();
	write_dr7(0x400);
}
