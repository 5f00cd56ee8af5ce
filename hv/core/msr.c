/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RDMSR and WRMSR: one table of every register that a guest may touch (I11).
 * What is not in the table, or not in the sets of the guest's CPU model, gets #GP,
 * and is counted. No value depends on which vendor's CPU runs the guest.
 */
#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/core/pvclock.h"
#include "hv/core/vcpu.h"
#include "hv/lib/log.h"

enum msr_kind {
	MSR_IS_STATE,  /* lives in vcpu_state; writes pass the mask and the check */
	MSR_IS_CONST,  /* reads the value; writes are ignored */
	MSR_IS_FIXED,  /* reads the value; writes are #GP */
	MSR_IS_SPECIAL /* functions */
};

struct msr_row {
	uint32_t msr;
	uint8_t kind;
	uint8_t sets;	 /* enum msr_set: the models that have it; to others it is #GP */
	uint8_t group;	 /* enum vcpu_group of the state, 0: software only */
	uint16_t offset; /* MSR_IS_STATE */
	uint64_t value;	 /* MSR_IS_STATE: bits that may be set; others: what it reads */
	const char *name;
	/* OK or ERR_INVAL for #GP; NULL: no further check */
	int (*write)(struct vcpu *v, uint64_t value);
	int (*read)(struct vcpu *v, uint64_t *value);
};

/* --- registers with behaviour ------------------------------------------------ */

static bool canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

static int write_efer(struct vcpu *v, uint64_t value)
{
	struct vcpu_state *s = &v->state;

	vcpu_need(v, VG_CRS);
	if (value & ~v->vm->cpu_model->efer_mask)
		return ERR_INVAL;
	if (((value ^ s->efer) & EFER_LME) && (s->cr0 & CR0_PG))
		return ERR_INVAL;
	/* LMA is not the guest's to write */
	s->efer = (value & ~(uint64_t)EFER_LMA) | (s->efer & EFER_LMA);
	vcpu_changed(v, VG_CRS);
	virt->flush(v);
	return OK;
}

/* Each byte a memory type (SDM volume 3, 12.12.2): UC, WC, WT, WP, WB, UC-. */
static int write_pat(struct vcpu *v, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++) {
		uint8_t type = (uint8_t)(value >> (8 * i));

		if (type > 7 || type == 2 || type == 3)
			return ERR_INVAL;
	}
	v->state.pat = value;
	vcpu_changed(v, VG_MSRS);
	return OK;
}

static int read_tsc(struct vcpu *v, uint64_t *value)
{
	*value = vcpu_tsc(v);
	return OK;
}

/* Writing the counter moves TSC_ADJUST along, and the other way round (SDM volume 3, 18.17.3). */
static void move_tsc(struct vcpu *v, uint64_t delta)
{
	v->state.tsc_offset += delta;
	v->state.tsc_adjust += delta;
	vcpu_update_tsc(v);
	vlapic_resume(&v->lapic); /* the deadline is in guest TSC */
}

static int write_tsc(struct vcpu *v, uint64_t value)
{
	move_tsc(v, value - vcpu_tsc(v));
	return OK;
}

static int write_tsc_adjust(struct vcpu *v, uint64_t value)
{
	move_tsc(v, value - v->state.tsc_adjust);
	return OK;
}

static int write_tsc_aux(struct vcpu *v, uint64_t value)
{
	if (!v->has_rdtscp || value > UINT32_MAX)
		return ERR_INVAL;
	v->state.tsc_aux = value;
	wrmsr(MSR_TSC_AUX, value);
	return OK;
}

static int write_canonical(struct vcpu *v, uint64_t value)
{
	(void)v;
	return canonical(value) ? OK : ERR_INVAL;
}

/*
 * SYSENTER_ESP and _EIP have 64 bits on Intel's CPUs and 32 on AMD's, which ignore the
 * upper half: the vendor string decides, on either host.
 */
static int write_sysenter(struct vcpu *v, uint64_t value, uint64_t *home)
{
	if (v->vm->cpu_model->msr_sets & MSR_SET_AMD)
		value = (uint32_t)value;
	else if (!canonical(value))
		return ERR_INVAL;
	*home = value;
	vcpu_changed(v, VG_MSRS);
	return OK;
}

static int write_sysenter_esp(struct vcpu *v, uint64_t value)
{
	return write_sysenter(v, value, &v->state.sysenter_esp);
}

static int write_sysenter_eip(struct vcpu *v, uint64_t value)
{
	return write_sysenter(v, value, &v->state.sysenter_eip);
}

static int write_zero(struct vcpu *v, uint64_t value)
{
	(void)v;
	return value ? ERR_INVAL : OK;
}

static int write_fs_base(struct vcpu *v, uint64_t value)
{
	vcpu_need(v, VG_SEGS);
	if (!canonical(value))
		return ERR_INVAL;
	v->state.seg[SEG_FS].base = value;
	vcpu_changed(v, VG_SEGS);
	return OK;
}

static int write_gs_base(struct vcpu *v, uint64_t value)
{
	vcpu_need(v, VG_SEGS);
	if (!canonical(value))
		return ERR_INVAL;
	v->state.seg[SEG_GS].base = value;
	vcpu_changed(v, VG_SEGS);
	return OK;
}

static int read_fs_base(struct vcpu *v, uint64_t *value)
{
	vcpu_need(v, VG_SEGS);
	*value = v->state.seg[SEG_FS].base;
	return OK;
}

static int read_gs_base(struct vcpu *v, uint64_t *value)
{
	vcpu_need(v, VG_SEGS);
	*value = v->state.seg[SEG_GS].base;
	return OK;
}

/* Memory types 0, 1, 4, 5, 6 (SDM volume 3, table 12-8). */
static bool mtrr_type_ok(uint64_t type)
{
	return type <= 6 && type != 2 && type != 3;
}

static int write_mtrr_fixed(struct vcpu *v, uint64_t value)
{
	(void)v;
	for (unsigned i = 0; i < 8; i++)
		if (!mtrr_type_ok(value >> (8 * i) & 0xff))
			return ERR_INVAL;
	return OK;
}

static int write_mtrr_base(struct vcpu *v, uint64_t value)
{
	return mtrr_type_ok(value & 0xff) && !(value & 0xf00) &&
		       value >> v->vm->cpu_model->phys_bits == 0
		   ? OK
		   : ERR_INVAL;
}

static int write_mtrr_mask(struct vcpu *v, uint64_t value)
{
	return !(value & 0x7ff) && value >> v->vm->cpu_model->phys_bits == 0 ? OK : ERR_INVAL;
}

static int write_mtrr_def(struct vcpu *v, uint64_t value)
{
	(void)v;
	return mtrr_type_ok(value & 0xff) ? OK : ERR_INVAL;
}

static int write_apic(struct vcpu *v, uint64_t value)
{
	return vlapic_msr_write(&v->lapic, MSR_APIC_BASE, value);
}

static int read_apic(struct vcpu *v, uint64_t *value)
{
	return vlapic_msr_read(&v->lapic, MSR_APIC_BASE, value);
}

static int write_deadline(struct vcpu *v, uint64_t value)
{
	return vlapic_msr_write(&v->lapic, MSR_TSC_DEADLINE, value);
}

static int read_deadline(struct vcpu *v, uint64_t *value)
{
	return vlapic_msr_read(&v->lapic, MSR_TSC_DEADLINE, value);
}

/* --- the table ------------------------------------------------------------------ */

#define STATE(num, field, grp, mask, fn)                                                           \
	{                                                                                          \
		.msr = (num), .kind = MSR_IS_STATE, .sets = MSR_SET_COMMON, .group = (grp),        \
		.offset = offsetof(struct vcpu_state, field), .value = (mask), .name = #field,     \
		.write = (fn)                                                                      \
	}
#define CONST(who, num, nm, val)                                                                   \
	{                                                                                          \
		.msr = (num), .kind = MSR_IS_CONST, .sets = MSR_SET_##who, .value = (val),         \
		.name = (nm)                                                                       \
	}
#define FIXED(who, num, nm, val)                                                                   \
	{                                                                                          \
		.msr = (num), .kind = MSR_IS_FIXED, .sets = MSR_SET_##who, .value = (val),         \
		.name = (nm)                                                                       \
	}
#define SPECIAL(num, nm, r, w)                                                                     \
	{                                                                                          \
		.msr = (num), .kind = MSR_IS_SPECIAL, .sets = MSR_SET_COMMON, .name = (nm),        \
		.read = (r), .write = (w)                                                          \
	}
#define ANY UINT64_MAX
#define MTRR_VAR(n)                                                                                \
	STATE(MSR_MTRR_PHYSBASE0 + 2 * (n), mtrr_base[n], 0, ANY, write_mtrr_base),                \
	    STATE(MSR_MTRR_PHYSMASK0 + 2 * (n), mtrr_mask[n], 0, ANY, write_mtrr_mask)
#define MTRR_FIX(num, n) STATE(num, mtrr_fixed[n], 0, ANY, write_mtrr_fixed)

/* MTRRCAP: eight variable ranges, fixed ranges, write combining. */
#define MTRRCAP (MTRR_VARIABLE | BIT(8) | BIT(10))

/* AMD's patch level is in the low half of its MSR, Intel's in the high one; above any real one. */
#define AMD_PATCH_LEVEL	  0x1000065
#define INTEL_PATCH_LEVEL (0x1000ULL << 32)

/*
 * Sorted by number (a unit test: the search below is binary); a number may have a row
 * for each vendor string. Not here, and so #GP under every model: SPEC_CTRL, PRED_CMD,
 * ARCH_CAPABILITIES, FLUSH_CMD, TSX_CTRL, PLATFORM_INFO, MPERF, APERF, performance counters,
 * XSS, TSC_RATIO, VM_CR. CPUID shows nothing that would lead to them.
 */
static const struct msr_row rows[] = {
    SPECIAL(MSR_TSC, "tsc", read_tsc, write_tsc),
    FIXED(INTEL, MSR_PLATFORM_ID, "platform-id", 0),
    SPECIAL(MSR_APIC_BASE, "apic-base", read_apic, write_apic),
    STATE(MSR_TSC_ADJUST, tsc_adjust, 0, ANY, write_tsc_adjust),
    CONST(AMD, MSR_BIOS_SIGN_ID, "patch-level", AMD_PATCH_LEVEL),
    CONST(INTEL, MSR_BIOS_SIGN_ID, "bios-sign-id", INTEL_PATCH_LEVEL),
    FIXED(COMMON, MSR_MTRRCAP, "mtrrcap", MTRRCAP),
    STATE(MSR_SYSENTER_CS, sysenter_cs, VG_MSRS, ANY, NULL),
    STATE(MSR_SYSENTER_ESP, sysenter_esp, VG_MSRS, ANY, write_sysenter_esp),
    STATE(MSR_SYSENTER_EIP, sysenter_eip, VG_MSRS, ANY, write_sysenter_eip),
    FIXED(COMMON, MSR_MCG_CAP, "mcg-cap", 0), /* no banks */
    CONST(COMMON, MSR_MCG_STATUS, "mcg-status", 0),
    CONST(INTEL, MSR_MISC_ENABLE, "misc-enable", 1),   /* fast strings */
    STATE(MSR_DEBUGCTL, debugctl, 0, ANY, write_zero), /* no LBR, no BTF offered */
    MTRR_VAR(0),
    MTRR_VAR(1),
    MTRR_VAR(2),
    MTRR_VAR(3),
    MTRR_VAR(4),
    MTRR_VAR(5),
    MTRR_VAR(6),
    MTRR_VAR(7),
    MTRR_FIX(MSR_MTRR_FIX64K_00000, 0),
    MTRR_FIX(MSR_MTRR_FIX16K_80000, 1),
    MTRR_FIX(MSR_MTRR_FIX16K_A0000, 2),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000, 3),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000 + 1, 4),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000 + 2, 5),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000 + 3, 6),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000 + 4, 7),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000 + 5, 8),
    MTRR_FIX(MSR_MTRR_FIX4K_C0000 + 6, 9),
    MTRR_FIX(MSR_MTRR_FIX4K_F8000, 10),
    STATE(MSR_PAT, pat, VG_MSRS, ANY, write_pat),
    STATE(MSR_MTRR_DEF_TYPE, mtrr_def_type, 0, 0xcff, write_mtrr_def),
    SPECIAL(MSR_TSC_DEADLINE, "tsc-deadline", read_deadline, write_deadline),
    STATE(PVCLOCK_MSR_WALL, kvm_wall_clock, 0, ANY, pvclock_write_wall),
    STATE(PVCLOCK_MSR_SYSTEM, kvm_system_time, 0, ANY, pvclock_write_system),
    STATE(MSR_EFER, efer, VG_CRS, ANY, write_efer),
    STATE(MSR_STAR, star, VG_MSRS, ANY, NULL),
    STATE(MSR_LSTAR, lstar, VG_MSRS, ANY, write_canonical),
    STATE(MSR_CSTAR, cstar, VG_MSRS, ANY, write_canonical),
    STATE(MSR_SFMASK, sfmask, VG_MSRS, 0xffffffff, NULL),
    SPECIAL(MSR_FS_BASE, "fs-base", read_fs_base, write_fs_base),
    SPECIAL(MSR_GS_BASE, "gs-base", read_gs_base, write_gs_base),
    STATE(MSR_KERNEL_GS_BASE, kernel_gs_base, VG_MSRS, ANY, write_canonical),
    STATE(MSR_TSC_AUX, tsc_aux, 0, ANY, write_tsc_aux),
    CONST(AMD, MSR_AMD_SYSCFG, "syscfg", 0),
    CONST(AMD, MSR_AMD_HWCR, "hwcr", BIT(24)), /* TscFreqSel: the TSC counts at P0 frequency */
    CONST(AMD, 0xc001001fu, "nb-cfg", 0),
    FIXED(AMD_HOST, MSR_AMD_PATCH, "patch-level", AMD_PATCH_LEVEL),
    CONST(AMD, 0xc0010112u, "tseg-base", 0),
    CONST(AMD, 0xc0010140u, "osvw-id-length", 0),
    CONST(AMD, 0xc0010141u, "osvw-status", 0),
    /* reading it tells some kernels that its SSBD bit works */
    CONST(AMD_HOST, 0xc0011020u, "ls-cfg", 0),
    CONST(AMD, 0xc0011022u, "dc-cfg", 0),
    CONST(AMD, MSR_AMD_DE_CFG, "de-cfg", BIT(1)), /* LFENCE is serializing */
    CONST(AMD, 0xc001102au, "bu-cfg2", 0),
};

/* The first row of the number that is in one of the sets. */
static const struct msr_row *find(uint32_t msr, uint8_t sets)
{
	size_t lo = 0, hi = ARRAY_LEN(rows);

	while (lo < hi) { /* the first row that is not below msr */
		size_t mid = (lo + hi) / 2;

		if (rows[mid].msr < msr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < ARRAY_LEN(rows) && rows[lo].msr == msr; lo++)
		if (rows[lo].sets & sets)
			return &rows[lo];
	return NULL;
}

static uint64_t *home(struct vcpu *v, const struct msr_row *r)
{
	return (uint64_t *)(void *)((char *)&v->state + r->offset);
}

static int read_msr(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	const struct msr_row *r;

	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
		return vlapic_msr_read(&v->lapic, msr, value);
	r = find(msr, v->vm->cpu_model->msr_sets);
	if (!r)
		return ERR_NOENT;
	if (r->read)
		return r->read(v, value);
	if (r->kind != MSR_IS_STATE) {
		*value = r->value;
		return OK;
	}
	vcpu_need(v, r->group);
	*value = *home(v, r);
	if (r->msr == MSR_TSC_AUX && !v->has_rdtscp)
		return ERR_INVAL;
	return OK;
}

static int write_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
	const struct msr_row *r;
	int err;

	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
		return vlapic_msr_write(&v->lapic, msr, value);
	if (msr == MSR_TSC_DEADLINE) /* the commonest of all */
		return vlapic_msr_write(&v->lapic, msr, value);
	r = find(msr, v->vm->cpu_model->msr_sets);
	if (!r)
		return ERR_NOENT;
	switch (r->kind) {
	case MSR_IS_CONST:
		return OK;
	case MSR_IS_SPECIAL:
		return r->write(v, value);
	case MSR_IS_STATE:
		break;
	default:
		return ERR_INVAL;
	}
	if (value & ~r->value)
		return ERR_INVAL;
	vcpu_need(v, r->group);
	err = r->write ? r->write(v, value) : OK;
	if (err)
		return err;
	/* EFER, PAT and the TSC family have stored what became of the value themselves */
	if (r->write == NULL || r->write == write_canonical || r->group == 0) {
		if (r->write != write_tsc_adjust)
			*home(v, r) = value;
		vcpu_changed(v, r->group);
	}
	return OK;
}

static void unknown(struct vcpu *v, const char *what, uint32_t msr)
{
	if (v->vm->stat_unhandled_msr++ < 16)
		log_debug(
		    "vm '%s' vcpu%u: %s of MSR 0x%x: #GP", v->vm->config.name, v->index, what, msr);
}

void exit_rdmsr(struct vcpu *v, const struct vm_exit *x)
{
	uint64_t *gpr = v->state.gpr, value;
	uint32_t msr = (uint32_t)gpr[GPR_RCX];
	int err = read_msr(v, msr, &value);

	if (UNLIKELY(err)) {
		if (err == ERR_NOENT)
			unknown(v, "read", msr);
		vcpu_gp(v);
		return;
	}
	gpr[GPR_RAX] = (uint32_t)value;
	gpr[GPR_RDX] = value >> 32;
	vcpu_skip_plain(v, x, INSN_RDMSR);
}

void exit_wrmsr(struct vcpu *v, const struct vm_exit *x)
{
	const uint64_t *gpr = v->state.gpr;
	uint32_t msr = (uint32_t)gpr[GPR_RCX];
	int err = write_msr(v, msr, gpr[GPR_RDX] << 32 | (uint32_t)gpr[GPR_RAX]);

	if (UNLIKELY(err)) {
		if (err == ERR_NOENT)
			unknown(v, "write", msr);
		vcpu_gp(v);
		return;
	}
	vcpu_skip_plain(v, x, INSN_WRMSR);
}
