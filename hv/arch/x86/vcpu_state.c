/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The architectural vCPU state as data: its names in a snapshot, its power-on
 * values, and which values no CPU can have. References are to volumes of the SDM.
 */
#include <string.h>
#include "hv/arch/x86/vcpu_state.h"

/* --- what a snapshot carries ---------------------------------------------------- */

#define INT(member, name, max, doc) STATE_INT(struct vcpu_state, member, name, max, doc)
#define ARRAY(member, name, count, max, doc)                                                       \
	STATE_ARRAY(struct vcpu_state, member, name, count, max, doc)
/* The same for what may have any value: to no CPU is one of them wrong. */
#define ANY(member, name, max, doc) STATE_FREE_ARRAY(struct vcpu_state, member, name, 1, max, doc)
#define ANY_ARRAY(member, name, count, max, doc)                                                   \
	STATE_FREE_ARRAY(struct vcpu_state, member, name, count, max, doc)
#define GPR(reg, name) ANY(gpr[GPR_##reg], name, STATE_ANY, "general register")
#define SEGMENT(reg, name)                                                                         \
	INT(seg[SEG_##reg].base, name "-base", STATE_ANY, "segment base"),                         \
	    INT(seg[SEG_##reg].limit, name "-limit", UINT32_MAX, "segment limit, bytes"),          \
	    INT(seg[SEG_##reg].sel, name "-sel", UINT16_MAX, "selector"),                          \
	    INT(seg[SEG_##reg].attr, name "-attr", SEG_ATTR_MASK, "attributes, enum seg_attr")
#define EVENT(member, name)                                                                        \
	INT(member.type, name "-type", EVENT_SOFT_INT, "enum event_type"),                         \
	    INT(member.vector, name "-vector", UINT8_MAX, "vector"),                               \
	    INT(member.has_error, name "-has-error", 1, "an error code is pushed"),                \
	    INT(member.insn_len, name "-insn-len", 15, "length of INT, bytes; 0: none"),           \
	    INT(member.error_code, name "-error-code", UINT32_MAX, "error code")
#define MSR(member, name, doc)	   INT(member, name, STATE_ANY, doc)
#define MSR_ANY(member, name, doc) ANY(member, name, STATE_ANY, doc)

const struct state_field vcpu_state_fields[] = {
    GPR(RAX, "rax"),
    GPR(RCX, "rcx"),
    GPR(RDX, "rdx"),
    GPR(RBX, "rbx"),
    GPR(RSP, "rsp"),
    GPR(RBP, "rbp"),
    GPR(RSI, "rsi"),
    GPR(RDI, "rdi"),
    GPR(R8, "r8"),
    GPR(R9, "r9"),
    GPR(R10, "r10"),
    GPR(R11, "r11"),
    GPR(R12, "r12"),
    GPR(R13, "r13"),
    GPR(R14, "r14"),
    GPR(R15, "r15"),
    INT(rip, "rip", STATE_ANY, "instruction pointer"),
    INT(rflags, "rflags", UINT32_MAX, "flags"),
    SEGMENT(ES, "es"),
    SEGMENT(CS, "cs"),
    SEGMENT(SS, "ss"),
    SEGMENT(DS, "ds"),
    SEGMENT(FS, "fs"),
    SEGMENT(GS, "gs"),
    SEGMENT(LDTR, "ldtr"),
    SEGMENT(TR, "tr"),
    INT(gdtr.base, "gdtr-base", STATE_ANY, "descriptor table base"),
    ANY(gdtr.limit, "gdtr-limit", UINT16_MAX, "descriptor table limit, bytes"),
    INT(idtr.base, "idtr-base", STATE_ANY, "descriptor table base"),
    ANY(idtr.limit, "idtr-limit", UINT16_MAX, "descriptor table limit, bytes"),
    INT(cpl, "cpl", 3, "current privilege level"),
    INT(cr0, "cr0", UINT32_MAX, "control register"),
    ANY(cr2, "cr2", STATE_ANY, "page-fault linear address"),
    INT(cr3, "cr3", STATE_ANY, "page-table base and PCID"),
    INT(cr4, "cr4", UINT32_MAX, "control register"),
    INT(xcr0, "xcr0", STATE_ANY, "enabled state components"),
    ANY_ARRAY(dr, "dr", 4, STATE_ANY, "DR0 to DR3: breakpoint addresses"),
    INT(dr6, "dr6", UINT32_MAX, "debug status"),
    INT(dr7, "dr7", UINT32_MAX, "debug control"),
    ARRAY(pdpte, "pdpte", 4, STATE_ANY, "PAE page-directory pointers as last loaded"),
    MSR(efer, "efer", "MSR C0000080"),
    MSR_ANY(star, "star", "MSR C0000081"),
    MSR(lstar, "lstar", "MSR C0000082"),
    MSR(cstar, "cstar", "MSR C0000083"),
    MSR(sfmask, "sfmask", "MSR C0000084"),
    MSR(kernel_gs_base, "kernel-gs-base", "MSR C0000102"),
    MSR_ANY(sysenter_cs, "sysenter-cs", "MSR 174"),
    MSR(sysenter_esp, "sysenter-esp", "MSR 175"),
    MSR(sysenter_eip, "sysenter-eip", "MSR 176"),
    MSR(pat, "pat", "MSR 277"),
    ANY(tsc_aux, "tsc-aux", UINT32_MAX, "MSR C0000103"),
    MSR_ANY(tsc_adjust, "tsc-adjust", "MSR 3B"),
    ANY(tsc_offset, "tsc-offset", STATE_ANY, "guest TSC minus the VM's TSC, modulo 2^64"),
    MSR(misc_enable, "misc-enable", "MSR 1A0"),
    MSR(spec_ctrl, "spec-ctrl", "MSR 48"),
    INT(debugctl, "debugctl", UINT16_MAX, "MSR 1D9"),
    MSR(xss, "xss", "MSR DA0"),
    MSR(mtrr_def_type, "mtrr-def-type", "MSR 2FF"),
    ARRAY(mtrr_fixed, "mtrr-fixed", 11, STATE_ANY, "MSRs 250, 258, 259, 268..26F"),
    ARRAY(mtrr_base, "mtrr-base", MTRR_VARIABLE, STATE_ANY, "MSRs 200, 202.."),
    ARRAY(mtrr_mask, "mtrr-mask", MTRR_VARIABLE, STATE_ANY, "MSRs 201, 203.."),
    MSR_ANY(kvm_wall_clock, "kvm-wall-clock", "MSR 4B564D00"),
    MSR_ANY(kvm_system_time, "kvm-system-time", "MSR 4B564D01"),
    EVENT(pending, "pending"),
    EVENT(injected, "injected"),
    ANY(nmi_blocked, "nmi-blocked", 1, "NMIs blocked until IRET"),
    INT(sti_shadow, "sti-shadow", 1, "interrupts inhibited for one instruction by STI"),
    INT(movss_shadow, "movss-shadow", 1, "the same by MOV SS or POP SS"),
    INT(pending_dbg, "pending-dbg", STATE_ANY, "DR6 bits of a pending #DB"),
    ANY(activity, "activity", ACTIVITY_SHUTDOWN, "enum vcpu_activity"),
    ARRAY(
	apic.regs, "apic-regs", VLAPIC_REGS, UINT32_MAX, "local APIC registers, one per 16 bytes"),
    MSR(apic.base_msr, "apic-base", "MSR 1B"),
    MSR(apic.tsc_deadline, "apic-tsc-deadline", "MSR 6E0, guest TSC; 0: disarmed"),
    INT(apic.timer_deadline, "apic-timer-deadline", STATE_ANY, "VM time, ns; 0: stopped"),
    INT(apic.ldr_x2apic, "apic-ldr-x2apic", STATE_ANY, "logical ID in x2APIC mode"),
    ANY(apic.nmi_pending, "apic-nmi-pending", 1, "an NMI has arrived"),
    ANY(apic.init_pending, "apic-init-pending", 1, "an INIT has arrived"),
    ANY(apic.sipi_pending, "apic-sipi-pending", 1, "a SIPI has arrived"),
    ANY(apic.sipi_vector, "apic-sipi-vector", UINT8_MAX, "its vector"),
    INT(xstate_size, "xstate-size", XSTATE_MAX, "bytes used in xstate"),
    ARRAY(xstate, "xstate", XSTATE_MAX, UINT8_MAX, "XSAVE area, standard form"),
    STATE_END,
};

/* --- the XSAVE area (volume 1, 13.4) -------------------------------------------- */

enum xsave_offset {
	XSAVE_FCW = 0,
	XSAVE_FTW = 4, /* abridged: a bit per register, 1 = not empty */
	XSAVE_MXCSR = 24,
	XSAVE_BV = 512,
	XSAVE_XCOMP_BV = 520,
	XSAVE_HEADER_RESERVED = 528,
	XSAVE_HEADER_END = 576
};
/* The components of the CPU model: x87, SSE, AVX. */
enum { XSAVE_LEGACY = 3, XSAVE_AVX = 4, XSAVE_COMPONENTS = 7 };

static uint64_t xstate_u64(const struct vcpu_state *s, unsigned offset)
{
	uint64_t v;

	memcpy(&v, s->xstate + offset, sizeof(v));
	return v;
}

/* --- power-on ------------------------------------------------------------------- */

/* Local APIC registers at power-on that are not zero (volume 3, 11.4.7.1). The version is vlapic's.
 */
static void reset_apic(struct vlapic_state *a, unsigned apic_id, bool boot_cpu)
{
	enum {
		ID = 0x02,
		DFR = 0x0e,
		SVR = 0x0f,
		LVT_CMCI = 0x2f,
		LVT_FIRST = 0x32,
		LVT_LAST = 0x37
	};
	const uint32_t masked = 1 << 16;

	a->regs[ID] = apic_id << 24;
	a->regs[DFR] = 0xffffffff;
	a->regs[SVR] = 0xff;
	a->regs[LVT_CMCI] = masked;
	for (unsigned n = LVT_FIRST; n <= LVT_LAST; n++)
		a->regs[n] = masked;
	a->base_msr = 0xfee00000 | BIT(11) | (boot_cpu ? BIT(8) : 0);
}

static void reset_xstate(struct vcpu_state *s)
{
	const uint16_t fcw = 0x0040;
	const uint32_t mxcsr = 0x1f80;
	const uint64_t components = XSAVE_LEGACY;

	s->xstate_size = XSTATE_MAX;
	memcpy(s->xstate + XSAVE_FCW, &fcw, sizeof(fcw));
	s->xstate[XSAVE_FTW] = 0xff; /* the full tag word is 5555H: eight zeros */
	memcpy(s->xstate + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(s->xstate + XSAVE_BV, &components, sizeof(components));
}

void vcpu_state_reset(struct vcpu_state *s, unsigned apic_id, bool boot_cpu)
{
	memset(s, 0, sizeof(*s));
	s->rip = 0xfff0;
	s->rflags = RFLAGS_FIXED;
	for (unsigned n = SEG_ES; n <= SEG_GS; n++)
		s->seg[n] = (struct seg){.limit = 0xffff, .attr = 0x93};
	s->seg[SEG_CS] =
	    (struct seg){.base = 0xffff0000, .limit = 0xffff, .sel = 0xf000, .attr = 0x9b};
	s->seg[SEG_LDTR] = (struct seg){.limit = 0xffff, .attr = 0x82};
	s->seg[SEG_TR] = (struct seg){.limit = 0xffff, .attr = 0x8b};
	s->gdtr.limit = s->idtr.limit = 0xffff;
	s->cr0 = CR0_CD | CR0_NW | CR0_ET;
	s->xcr0 = 1;
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->pat = 0x0007040600070406;
	s->misc_enable = 1; /* fast strings */
	s->activity = boot_cpu ? ACTIVITY_RUNNING : ACTIVITY_WAIT_SIPI;
	reset_apic(&s->apic, apic_id, boot_cpu);
	reset_xstate(s);
}

/* --- which states no CPU can have: bits ----------------------------------------- */

/* Bits of one register that must be 0 or 1. */
struct bit_rule {
	const char *name;
	uint32_t offset;
	uint64_t allowed, fixed;
};

#define RULE(member, allowed_bits, fixed_bits)                                                     \
	{                                                                                          \
#member, offsetof(struct vcpu_state, member), (uint64_t)(allowed_bits),            \
		    (uint64_t)(fixed_bits)                                                         \
	}

/* What the CPU model never offers counts as reserved: VMX, SMX, LA57, protection keys, SVM. */
#define CR0_ALLOWED                                                                                \
	(CR0_PG | (uint64_t)(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP |        \
			     CR0_AM | CR0_NW | CR0_CD))
#define CR4_ALLOWED                                                                                \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |  \
	    CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |      \
	    CR4_SMEP | CR4_SMAP)
#define EFER_ALLOWED   (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define RFLAGS_ALLOWED 0x3f7fd5
#define PHYS_ADDR      0x000fffffffffffffULL /* 52 bits: the architecture's limit */
#define PENDING_BS     BIT(14)

static const struct bit_rule bit_rules[] = {
    RULE(rflags, RFLAGS_ALLOWED | RFLAGS_FIXED, RFLAGS_FIXED),
    RULE(cr0, CR0_ALLOWED, CR0_ET),
    RULE(cr3, PHYS_ADDR, 0),
    RULE(cr4, CR4_ALLOWED, 0),
    RULE(efer, EFER_ALLOWED, 0),
    RULE(xcr0, XSAVE_COMPONENTS, 1),
    /* volume 3, 17.2.3 and 17.2.4; bits 11 and 16 of DR6 and bit 11 of DR7 exist on some CPUs */
    RULE(dr6, 0xffffeff0 | 0xf, 0xfffe07f0),
    RULE(dr7, 0xffff2fff, 0x400),
    /* volume 3, 24.4.2: B0 to B3 and BS; what else DR6 has is never pending */
    RULE(pending_dbg, PENDING_BS | 0xf, 0),
    /* WRMSR refuses the upper half */
    RULE(sfmask, UINT32_MAX, 0),
    /* no model offers anything of these */
    RULE(misc_enable, 1, 0),
    RULE(spec_ctrl, 0, 0),
    RULE(debugctl, 0, 0),
    RULE(xss, 0, 0),
    RULE(mtrr_def_type, 0xcff, 0),
};

static int check_bits(const struct vcpu_state *s, struct errmsg *e)
{
	for (unsigned n = 0; n < ARRAY_LEN(bit_rules); n++) {
		const struct bit_rule *r = &bit_rules[n];
		uint64_t v;

		memcpy(&v, (const uint8_t *)s + r->offset, sizeof(v));
		if (v & ~r->allowed)
			return err_set(e, ERR_CORRUPT, "%s: reserved bits set: 0x%llx", r->name,
			    (unsigned long long)(v & ~r->allowed));
		if (~v & r->fixed)
			return err_set(e, ERR_CORRUPT, "%s: bits clear that are always set: 0x%llx",
			    r->name, (unsigned long long)(~v & r->fixed));
	}
	return OK;
}

/* --- modes ---------------------------------------------------------------------- */

static bool long_mode(const struct vcpu_state *s)
{
	return s->efer & EFER_LMA;
}

static bool virtual_8086(const struct vcpu_state *s)
{
	return s->rflags & RFLAGS_VM;
}

static int check_modes(const struct vcpu_state *s, struct errmsg *e)
{
	bool paging = s->cr0 & CR0_PG;

	if (paging && !(s->cr0 & CR0_PE))
		return err_set(e, ERR_CORRUPT, "cr0: PG without PE");
	if ((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD))
		return err_set(e, ERR_CORRUPT, "cr0: NW without CD");
	if (long_mode(s) != (paging && (s->efer & EFER_LME)))
		return err_set(e, ERR_CORRUPT, "efer: LMA is not LME and CR0.PG");
	if (long_mode(s) && !(s->cr4 & CR4_PAE))
		return err_set(e, ERR_CORRUPT, "cr4: long mode without PAE");
	if ((s->cr4 & CR4_PCIDE) && !long_mode(s))
		return err_set(e, ERR_CORRUPT, "cr4: PCIDE outside long mode");
	if (virtual_8086(s) && (long_mode(s) || !(s->cr0 & CR0_PE)))
		return err_set(e, ERR_CORRUPT, "rflags: VM outside protected mode");
	if (!(s->cr0 & CR0_PE) && s->cpl != 0)
		return err_set(e, ERR_CORRUPT, "cpl: %u in real mode", s->cpl);
	if (virtual_8086(s) && s->cpl != 3)
		return err_set(e, ERR_CORRUPT, "cpl: %u in virtual-8086 mode", s->cpl);
	if ((s->xcr0 & XSAVE_COMPONENTS) == (XSAVE_AVX | 1))
		return err_set(e, ERR_CORRUPT, "xcr0: AVX without SSE");
	return OK;
}

/* --- addresses ------------------------------------------------------------------ */

static bool canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

static const struct {
	const char *name;
	uint32_t offset;
} canonical_fields[] = {
    {"fs-base", offsetof(struct vcpu_state, seg[SEG_FS].base)},
    {"gs-base", offsetof(struct vcpu_state, seg[SEG_GS].base)},
    {"ldtr-base", offsetof(struct vcpu_state, seg[SEG_LDTR].base)},
    {"tr-base", offsetof(struct vcpu_state, seg[SEG_TR].base)},
    {"gdtr-base", offsetof(struct vcpu_state, gdtr.base)},
    {"idtr-base", offsetof(struct vcpu_state, idtr.base)},
    {"lstar", offsetof(struct vcpu_state, lstar)},
    {"cstar", offsetof(struct vcpu_state, cstar)},
    {"kernel-gs-base", offsetof(struct vcpu_state, kernel_gs_base)},
    {"sysenter-esp", offsetof(struct vcpu_state, sysenter_esp)},
    {"sysenter-eip", offsetof(struct vcpu_state, sysenter_eip)},
};

static int check_addresses(const struct vcpu_state *s, struct errmsg *e)
{
	for (unsigned n = 0; n < ARRAY_LEN(canonical_fields); n++) {
		uint64_t v;

		memcpy(&v, (const uint8_t *)s + canonical_fields[n].offset, sizeof(v));
		if (!canonical(v))
			return err_set(e, ERR_CORRUPT, "%s: 0x%llx is not canonical",
			    canonical_fields[n].name, (unsigned long long)v);
	}
	if (vcpu_is_64bit(s) ? !canonical(s->rip) : s->rip > UINT32_MAX)
		return err_set(e, ERR_CORRUPT, "rip: 0x%llx is not possible in this mode",
		    (unsigned long long)s->rip);
	return OK;
}

/* --- segments (volume 3, 3.4.5 and 26.3.1.2) ------------------------------------ */

enum seg_type {
	TYPE_ACCESSED = 1,
	TYPE_WRITABLE = 2, /* data */
	TYPE_READABLE = 2, /* code */
	TYPE_CONFORMING = 4,
	TYPE_CODE = 8,
	TYPE_LDT = 2,
	TYPE_TSS16_BUSY = 3,
	TYPE_TSS32_BUSY = 11
};
/* Table indicator of a selector (volume 3, 3.4.2). */
enum { SEL_TI = 1 << 2 };

static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

static unsigned seg_dpl(const struct seg *g)
{
	return (g->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

/* The limit in bytes must be one that 20 bits and the granularity can say. */
static int check_seg_common(const struct vcpu_state *s, unsigned n, struct errmsg *e)
{
	const struct seg *g = &s->seg[n];
	bool system = n >= SEG_LDTR;

	if (g->attr & ~SEG_ATTR_MASK)
		return err_set(e, ERR_CORRUPT, "%s-attr: reserved bits set", seg_names[n]);
	if (!system && n != SEG_FS && n != SEG_GS && g->base > UINT32_MAX)
		return err_set(e, ERR_CORRUPT, "%s-base: above 4 GiB", seg_names[n]);
	if (!(g->attr & SEG_ATTR_P))
		return OK;
	if (system == !!(g->attr & SEG_ATTR_S))
		return err_set(e, ERR_CORRUPT, "%s-attr: S bit is wrong", seg_names[n]);
	if (g->attr & SEG_ATTR_G ? (g->limit & 0xfff) != 0xfff : g->limit > 0xfffff)
		return err_set(e, ERR_CORRUPT, "%s-limit: 0x%x does not fit the granularity",
		    seg_names[n], g->limit);
	return OK;
}

/*
 * Real mode leaves a data type in CS, which stays until the first far jump behind the
 * change of modes; privilege begins only there.
 */
static bool is_real_mode_code(const struct vcpu_state *s, const struct seg *cs)
{
	return (cs->attr & SEG_ATTR_TYPE) == (TYPE_WRITABLE | TYPE_ACCESSED) && !vcpu_is_64bit(s) &&
	       s->cpl == 0;
}

/* In real mode too: an entry on VMX looks at the attributes in all modes but virtual-8086. */
static int check_cs(const struct vcpu_state *s, struct errmsg *e)
{
	const struct seg *cs = &s->seg[SEG_CS];
	unsigned type = cs->attr & SEG_ATTR_TYPE, dpl = seg_dpl(cs);

	if (!(cs->attr & SEG_ATTR_P))
		return err_set(e, ERR_CORRUPT, "cs-attr: not present");
	if (virtual_8086(s))
		return OK;
	if (!is_real_mode_code(s, cs) &&
	    (type & (TYPE_CODE | TYPE_ACCESSED)) != (TYPE_CODE | TYPE_ACCESSED))
		return err_set(e, ERR_CORRUPT, "cs-attr: type %u is not code", type);
	if (vcpu_is_64bit(s) && (cs->attr & SEG_ATTR_DB))
		return err_set(e, ERR_CORRUPT, "cs-attr: L and D both set");
	if ((type & TYPE_CODE) && (type & TYPE_CONFORMING) ? dpl > s->cpl : dpl != s->cpl)
		return err_set(e, ERR_CORRUPT, "cs-attr: DPL %u at CPL %u", dpl, s->cpl);
	return OK;
}

static int check_ss(const struct vcpu_state *s, struct errmsg *e)
{
	const struct seg *ss = &s->seg[SEG_SS];

	if ((ss->attr & SEG_ATTR_P) && (ss->attr & (TYPE_CODE | TYPE_WRITABLE | TYPE_ACCESSED)) !=
					   (TYPE_WRITABLE | TYPE_ACCESSED))
		return err_set(e, ERR_CORRUPT, "ss-attr: not writable data");
	/* of an unusable one too: VMX has no other home for the CPL */
	if (seg_dpl(ss) != s->cpl)
		return err_set(e, ERR_CORRUPT, "ss-attr: DPL %u at CPL %u", seg_dpl(ss), s->cpl);
	return OK;
}

static int check_data_segments(const struct vcpu_state *s, struct errmsg *e)
{
	if (virtual_8086(s))
		return OK;
	for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
		unsigned attr = s->seg[n].attr;

		if (n == SEG_CS || n == SEG_SS || !(attr & SEG_ATTR_P))
			continue;
		if ((attr & TYPE_CODE) && !(attr & TYPE_READABLE))
			return err_set(e, ERR_CORRUPT, "%s-attr: not readable", seg_names[n]);
		if (!(attr & TYPE_ACCESSED))
			return err_set(e, ERR_CORRUPT, "%s-attr: not accessed", seg_names[n]);
	}
	return check_ss(s, e);
}

/* Virtual-8086 mode determines everything but the selector. */
static int check_8086_segments(const struct vcpu_state *s, struct errmsg *e)
{
	if (!virtual_8086(s))
		return OK;
	for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
		const struct seg *g = &s->seg[n];

		if (g->base != (uint64_t)g->sel << 4 || g->limit != 0xffff || g->attr != 0xf3)
			return err_set(e, ERR_CORRUPT,
			    "%s: base, limit or attr not as in virtual-8086 mode", seg_names[n]);
	}
	return OK;
}

static int check_system_segments(const struct vcpu_state *s, struct errmsg *e)
{
	const struct seg *tr = &s->seg[SEG_TR], *ldtr = &s->seg[SEG_LDTR];
	unsigned type = tr->attr & SEG_ATTR_TYPE;

	if (!(tr->attr & SEG_ATTR_P))
		return err_set(e, ERR_CORRUPT, "tr-attr: not present");
	if (type != TYPE_TSS32_BUSY && (type != TYPE_TSS16_BUSY || long_mode(s)))
		return err_set(e, ERR_CORRUPT, "tr-attr: type %u is not a busy TSS", type);
	if (tr->sel & SEL_TI)
		return err_set(e, ERR_CORRUPT, "tr-sel: 0x%x is not of the GDT", tr->sel);
	if (!(ldtr->attr & SEG_ATTR_P))
		return OK;
	if ((ldtr->attr & SEG_ATTR_TYPE) != TYPE_LDT)
		return err_set(
		    e, ERR_CORRUPT, "ldtr-attr: type %u is not an LDT", ldtr->attr & SEG_ATTR_TYPE);
	if (ldtr->sel & SEL_TI)
		return err_set(e, ERR_CORRUPT, "ldtr-sel: 0x%x is not of the GDT", ldtr->sel);
	return OK;
}

static int check_segments(const struct vcpu_state *s, struct errmsg *e)
{
	int err = OK;

	for (unsigned n = 0; n < SEG_COUNT && err == OK; n++)
		err = check_seg_common(s, n, e);
	if (err == OK)
		err = check_cs(s, e);
	if (err == OK)
		err = check_data_segments(s, e);
	if (err == OK)
		err = check_8086_segments(s, e);
	return err == OK ? check_system_segments(s, e) : err;
}

/* --- memory types (volume 3, 11.11 and 11.12) ----------------------------------- */

/* True if each of the eight bytes is a legal type; uc_minus: type 7 exists in the PAT only. */
static bool memory_types_ok(uint64_t v, bool uc_minus)
{
	const unsigned legal = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | (uc_minus ? 1 << 7 : 0);

	for (unsigned n = 0; n < 8; n++, v >>= 8)
		if ((v & 0xff) > 7 || !(legal >> (v & 7) & 1))
			return false;
	return true;
}

static int check_memory_types(const struct vcpu_state *s, struct errmsg *e)
{
	if (!memory_types_ok(s->pat, true))
		return err_set(e, ERR_CORRUPT, "pat: reserved memory type");
	if (!memory_types_ok(s->mtrr_def_type & 0xff, false))
		return err_set(e, ERR_CORRUPT, "mtrr-def-type: reserved memory type");
	for (unsigned n = 0; n < ARRAY_LEN(s->mtrr_fixed); n++)
		if (!memory_types_ok(s->mtrr_fixed[n], false))
			return err_set(e, ERR_CORRUPT, "mtrr-fixed: %u: reserved memory type", n);
	for (unsigned n = 0; n < MTRR_VARIABLE; n++) {
		if (!memory_types_ok(s->mtrr_base[n] & 0xff, false) ||
		    (s->mtrr_base[n] & ~PHYS_ADDR) || (s->mtrr_base[n] & 0xf00))
			return err_set(e, ERR_CORRUPT, "mtrr-base: %u: reserved type or bits", n);
		if ((s->mtrr_mask[n] & ~PHYS_ADDR) || (s->mtrr_mask[n] & 0x7ff))
			return err_set(e, ERR_CORRUPT, "mtrr-mask: %u: reserved bits set", n);
	}
	return OK;
}

/* Only PAE paging uses them (volume 3, table 4-8). */
static int check_pdptes(const struct vcpu_state *s, struct errmsg *e)
{
	if (!(s->cr0 & CR0_PG) || !(s->cr4 & CR4_PAE) || long_mode(s))
		return OK;
	for (unsigned n = 0; n < ARRAY_LEN(s->pdpte); n++)
		if ((s->pdpte[n] & 1) && (s->pdpte[n] & (~PHYS_ADDR | 0x1e6)))
			return err_set(e, ERR_CORRUPT, "pdpte: %u: reserved bits set", n);
	return OK;
}

/* --- xstate: a CPU must be able to load it without a fault (volume 1, 13.8) ----- */

static int check_xstate(const struct vcpu_state *s, struct errmsg *e)
{
	uint64_t bv = xstate_u64(s, XSAVE_BV);

	if (s->xstate_size < XSAVE_BV || s->xstate_size > XSTATE_MAX)
		return err_set(e, ERR_CORRUPT, "xstate-size: %u", s->xstate_size);
	if (xstate_u64(s, XSAVE_MXCSR) & 0xffff0000)
		return err_set(e, ERR_CORRUPT, "xstate: MXCSR: reserved bits set");
	/*
	 * Not the components in xcr0: state of a component stays when the guest
	 * disables it, and x87 and SSE are there without XSAVE.
	 */
	if (bv & ~(uint64_t)XSAVE_COMPONENTS)
		return err_set(e, ERR_CORRUPT, "xstate: XSTATE_BV: 0x%llx", (unsigned long long)bv);
	if (xstate_u64(s, XSAVE_XCOMP_BV))
		return err_set(e, ERR_CORRUPT, "xstate: XCOMP_BV is not zero");
	for (unsigned n = XSAVE_HEADER_RESERVED; n < XSAVE_HEADER_END; n++)
		if (s->xstate[n])
			return err_set(e, ERR_CORRUPT, "xstate: header byte %u is not zero", n);
	return OK;
}

/* --- events --------------------------------------------------------------------- */

/* Exceptions with an error code (volume 3, table 6-1). */
#define ERROR_CODE_VECTORS                                                                         \
	(BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) | BIT(VEC_PF) |       \
	    BIT(VEC_AC))

/* Exceptions that a CPU raises; the other vectors below 32 are reserved. */
#define EXCEPTION_VECTORS (0x000ffdffU & ~(BIT(VEC_NMI) | BIT(15)))
/* What the hardware takes (volume 3, 26.2.1.3). */
enum { ERROR_CODE_MAX = 0xffff };

static int check_exception(
    const struct vcpu_state *s, const struct event *v, const char *name, struct errmsg *e)
{
	bool wants_error;

	if (v->vector > 31 || !(EXCEPTION_VECTORS >> v->vector & 1))
		return err_set(e, ERR_CORRUPT, "%s-vector: %u is no exception", name, v->vector);
	wants_error = (ERROR_CODE_VECTORS >> v->vector & 1) && (s->cr0 & CR0_PE);
	if (v->has_error != wants_error)
		return err_set(e, ERR_CORRUPT, "%s-has-error: %u for vector %u", name, v->has_error,
		    v->vector);
	if (v->has_error && v->error_code > ERROR_CODE_MAX)
		return err_set(
		    e, ERR_CORRUPT, "%s-error-code: 0x%x is impossible", name, v->error_code);
	return OK;
}

static int check_event(
    const struct vcpu_state *s, const struct event *v, const char *name, struct errmsg *e)
{
	if (v->type == EVENT_NONE)
		return OK;	       /* the rest is nothing */
	if (v->type > EVENT_EXCEPTION) /* software interrupts run again instead */
		return err_set(e, ERR_CORRUPT, "%s-type: %u is not possible", name, v->type);
	if (v->insn_len)
		return err_set(
		    e, ERR_CORRUPT, "%s-insn-len: %u, nothing to skip", name, v->insn_len);
	if (v->type == EVENT_EXCEPTION)
		return check_exception(s, v, name, e);
	if (v->has_error)
		return err_set(e, ERR_CORRUPT, "%s-has-error: only exceptions have one", name);
	if (v->type == EVENT_NMI && v->vector != VEC_NMI)
		return err_set(e, ERR_CORRUPT, "%s-vector: %u for an NMI", name, v->vector);
	/* whose delivery began was not inhibited */
	if (v->type == EVENT_INTR && !(s->rflags & RFLAGS_IF))
		return err_set(e, ERR_CORRUPT, "%s-type: an interrupt, and IF is 0", name);
	if (s->sti_shadow || s->movss_shadow)
		return err_set(
		    e, ERR_CORRUPT, "%s-type: %u while interrupts are inhibited", name, v->type);
	return OK;
}

static int check_flag(uint8_t value, const char *name, struct errmsg *e)
{
	return value <= 1 ? OK : err_set(e, ERR_CORRUPT, "%s: %u is no flag", name, value);
}

static int check_event_state(const struct vcpu_state *s, struct errmsg *e)
{
	int err;

	/* interrupts and NMIs wait in the local APIC */
	if (s->pending.type != EVENT_NONE && s->pending.type != EVENT_EXCEPTION)
		return err_set(e, ERR_CORRUPT, "pending-type: %u is no exception", s->pending.type);
	err = check_event(s, &s->pending, "pending", e);
	if (err == OK)
		err = check_event(s, &s->injected, "injected", e);
	if (err == OK)
		err = check_flag(s->nmi_blocked, "nmi-blocked", e);
	if (err == OK)
		err = check_flag(s->sti_shadow, "sti-shadow", e);
	if (err == OK)
		err = check_flag(s->movss_shadow, "movss-shadow", e);
	if (err != OK)
		return err;
	if (s->sti_shadow && s->movss_shadow)
		return err_set(e, ERR_CORRUPT, "sti-shadow: and movss-shadow, both set");
	if (s->sti_shadow && !(s->rflags & RFLAGS_IF))
		return err_set(e, ERR_CORRUPT, "sti-shadow: set, and IF is 0");
	if ((s->pending_dbg & PENDING_BS) && !(s->rflags & RFLAGS_TF))
		return err_set(e, ERR_CORRUPT, "pending-dbg: BS, and TF is 0");
	if (s->activity > ACTIVITY_SHUTDOWN)
		return err_set(e, ERR_CORRUPT, "activity: %u is unknown", s->activity);
	return OK;
}

int vcpu_state_check(const struct vcpu_state *s, struct errmsg *e)
{
	static int (*const checks[])(const struct vcpu_state *s, struct errmsg *e) = {check_bits,
	    check_modes, check_segments, check_addresses, check_memory_types, check_pdptes,
	    check_xstate, check_event_state};

	if (s->cpl > 3)
		return err_set(e, ERR_CORRUPT, "cpl: %u", s->cpl);
	for (unsigned n = 0; n < ARRAY_LEN(checks); n++) {
		int err = checks[n](s, e);

		if (err != OK)
			return err;
	}
	return OK;
}
