/* SPDX-License-Identifier: BSD-2-Clause */
/* A VMCS in memory, and the checks of a VM entry. SDM volume 3, chapter 26. */
#include <string.h>

#include "hv/arch/x86/vmx/vmx_impl.h"
#include "hv/lib/log.h"
#include "tests/unit/fake/fake_virt.h"

struct vmx_features vmx_features = {
    .ctl = {[CTL_ENTRY] = ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER},
    .load_pat = true,
    .cr0_fixed0 = CR0_PG | CR0_PE | CR0_NE,
    .cr4_fixed0 = CR4_VMXE};

static uint64_t vmcs[0x7000];
static const char *broken_rule;
static unsigned maxphyaddr;

/* Bits 14:13 of an encoding are the field's width (24.11.2). */
static uint64_t width_mask(uint32_t field)
{
	static const uint64_t masks[] = {0xffff, UINT64_MAX, 0xffffffff, UINT64_MAX};

	return masks[field >> 13 & 3];
}

uint64_t vmread(uint32_t field)
{
	ASSERT(field < ARRAY_LEN(vmcs));
	return vmcs[field];
}

void vmwrite(uint32_t field, uint64_t value)
{
	ASSERT(field < ARRAY_LEN(vmcs));
	vmcs[field] = value & width_mask(field);
}

/* The host side of what the back end's other files have. */
uint64_t tsc_hz(void);
uint64_t tsc_hz(void)
{
	return 2000000000;
}

/* --- the checks, in the manual's order ----------------------------------------------- */

#define G(name) vmcs[VMCS_GUEST_##name]
#define RULE(condition, text)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return text;                                                               \
	} while (0)

static bool canonical(uint64_t a)
{
	return a + BIT(47) < BIT(48);
}

static bool ia32e(void)
{
	return vmcs[VMCS_ENTRY_CTLS] & ENTRY_CTL_IA32E;
}

static bool v8086(void)
{
	return G(RFLAGS) & BIT(17);
}

/* 26.2.1.3 */
static const char *check_injection(void)
{
	uint32_t info = (uint32_t)vmcs[VMCS_ENTRY_INTR_INFO], vector = info & 0xff;
	uint32_t type = info >> 8 & 7;
	bool has_code = info & BIT(11), code_vector;

	if (!(info & BIT(31)))
		return NULL;
	code_vector = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
	RULE(!(info & 0x7ffff000), "event: reserved bits");
	RULE(type != 1 && type != 7, "event: type");
	RULE(type != 2 || vector == 2, "event: NMI's vector");
	RULE(type != 3 || vector <= 31, "event: exception's vector");
	RULE(has_code == (type == 3 && code_vector && (G(CR0) & 1)), "event: error code or none");
	RULE(!has_code || vmcs[VMCS_ENTRY_ERROR_CODE] <= 0xffff, "event: error code");
	RULE(type < 4 || (vmcs[VMCS_ENTRY_INSN_LEN] >= 1 && vmcs[VMCS_ENTRY_INSN_LEN] <= 15),
	    "event: instruction length");
	return NULL;
}

/* 26.3.1.1 */
static const char *check_control(void)
{
	uint64_t cr0 = G(CR0), cr3 = G(CR3), cr4 = G(CR4), efer = G(EFER), pat = G(PAT);

	RULE(cr0 & BIT(5), "CR0.NE");
	RULE(!(cr0 >> 32), "CR0 63:32");
	RULE(!(cr0 & BIT(31)) || (cr0 & 1), "CR0.PG without PE");
	RULE(cr4 & BIT(13), "CR4.VMXE");
	RULE(!(cr4 >> 23), "CR4 reserved");
	RULE(!ia32e() || ((cr0 & BIT(31)) && (cr4 & BIT(5))), "IA-32e mode without PG, PAE");
	RULE(ia32e() || !(cr4 & BIT(17)), "CR4.PCIDE outside IA-32e mode");
	RULE(!(cr3 >> maxphyaddr), "CR3");
	RULE(!(G(DR7) >> 32), "DR7");
	RULE(canonical(G(SYSENTER_ESP)) && canonical(G(SYSENTER_EIP)), "SYSENTER");
	RULE(G(DEBUGCTL) == 0, "DEBUGCTL");
	for (; pat; pat >>= 8)
		RULE((pat & 0xff) < 8 && (pat & 0xff) != 2 && (pat & 0xff) != 3, "PAT");
	RULE(!(efer & ~0xd01ULL), "EFER reserved");
	RULE(!(efer & BIT(10)) == !ia32e(), "EFER.LMA");
	RULE(!(cr0 & BIT(31)) || !(efer & BIT(10)) == !(efer & BIT(8)), "EFER.LME");
	return NULL;
}

struct seg_fields {
	uint64_t sel, base, limit, ar;
	bool usable;
};

static struct seg_fields seg(unsigned n)
{
	uint64_t ar = vmcs[VMCS_GUEST_ES_AR + 2 * n];

	return (struct seg_fields){vmcs[VMCS_GUEST_ES_SEL + 2 * n],
	    vmcs[VMCS_GUEST_ES_BASE + 2 * n], vmcs[VMCS_GUEST_ES_LIMIT + 2 * n], ar,
	    !(ar & BIT(16))};
}

static const char *check_granularity(const struct seg_fields *s)
{
	bool g = s->ar & BIT(15);

	RULE((s->limit & 0xfff) == 0xfff || !g, "limit 11:0 and G");
	RULE(!(s->limit >> 20) || g, "limit 31:20 and G");
	RULE(!(s->ar & 0xfffe0f00), "access rights reserved");
	return NULL;
}

static const char *check_code(const struct seg_fields *cs, const struct seg_fields *ss)
{
	unsigned type = cs->ar & 15, dpl = cs->ar >> 5 & 3, ss_dpl = ss->ar >> 5 & 3;

	RULE(type == 3 || type == 9 || type == 11 || type == 13 || type == 15, "CS type");
	RULE(type != 3 || dpl == 0, "CS DPL of type 3");
	RULE((type != 9 && type != 11) || dpl == ss_dpl, "CS DPL, not conforming");
	RULE((type != 13 && type != 15) || dpl <= ss_dpl, "CS DPL, conforming");
	RULE(!ia32e() || !(cs->ar & BIT(13)) || !(cs->ar & BIT(14)), "CS L and D");
	RULE((type != 3 && (G(CR0) & 1)) || ss_dpl == 0, "SS DPL in real mode");
	return NULL;
}

/* One of ES, CS, SS, DS, FS, GS outside of virtual-8086 mode. */
static const char *check_data(unsigned n, const struct seg_fields *s)
{
	unsigned type = s->ar & 15;

	RULE(n < SEG_FS || canonical(s->base), "FS or GS base");
	if (n != SEG_CS && !s->usable)
		return NULL;
	RULE(n >= SEG_FS || !(s->base >> 32), "base 63:32");
	RULE(s->ar & BIT(4), "S");
	RULE(s->ar & BIT(7), "P");
	if (n == SEG_SS)
		RULE(type == 3 || type == 7, "SS type");
	else if (n != SEG_CS)
		RULE((type & 1) && (!(type & 8) || (type & 2)), "data type");
	return check_granularity(s);
}

/* 26.3.1.2 */
static const char *check_segments(void)
{
	struct seg_fields cs = seg(SEG_CS), ss = seg(SEG_SS), tr = seg(SEG_TR),
			  ldtr = seg(SEG_LDTR);
	const char *broken = NULL;

	RULE(!(tr.sel & 4), "TR selector's TI");
	RULE(!ldtr.usable || !(ldtr.sel & 4), "LDTR selector's TI");
	for (unsigned n = SEG_ES; n <= SEG_GS && !broken; n++) {
		struct seg_fields s = seg(n);

		if (!v8086())
			broken = check_data(n, &s);
		else if (s.base != s.sel << 4 || s.limit != 0xffff || s.ar != 0xf3)
			broken = "segment in virtual-8086 mode";
	}
	if (!broken && !v8086())
		broken = check_code(&cs, &ss);
	if (broken)
		return broken;
	RULE(canonical(tr.base), "TR base");
	RULE((tr.ar & 15) == 11 || ((tr.ar & 15) == 3 && !ia32e()), "TR type");
	RULE(tr.usable && !(tr.ar & BIT(4)) && (tr.ar & BIT(7)), "TR attributes");
	broken = check_granularity(&tr);
	if (broken || !ldtr.usable)
		return broken;
	RULE(canonical(ldtr.base), "LDTR base");
	RULE((ldtr.ar & 15) == 2 && !(ldtr.ar & BIT(4)) && (ldtr.ar & BIT(7)), "LDTR attributes");
	return check_granularity(&ldtr);
}

/* 26.3.1.3 and 26.3.1.4 */
static const char *check_rip(void)
{
	uint32_t info = (uint32_t)vmcs[VMCS_ENTRY_INTR_INFO];
	bool in_64bit = ia32e() && (seg(SEG_CS).ar & BIT(13));

	RULE(canonical(G(GDTR_BASE)) && canonical(G(IDTR_BASE)), "GDTR or IDTR base");
	RULE(!(G(GDTR_LIMIT) >> 16) && !(G(IDTR_LIMIT) >> 16), "GDTR or IDTR limit");
	RULE(in_64bit ? canonical(G(RIP)) : !(G(RIP) >> 32), "RIP");
	RULE((G(RFLAGS) & ~0x3f7fd5ULL) == 2, "RFLAGS reserved");
	RULE(!v8086() || (!ia32e() && (G(CR0) & 1)), "RFLAGS.VM");
	RULE((info & 0x80000700) != 0x80000000 || (G(RFLAGS) & BIT(9)), "interrupt with IF = 0");
	return NULL;
}

/* 26.3.1.5 */
static const char *check_activity(void)
{
	uint32_t info = (uint32_t)vmcs[VMCS_ENTRY_INTR_INFO], type = info >> 8 & 7;
	uint64_t blocked = G(INTERRUPTIBILITY), debug = G(PENDING_DBG);
	bool event = info & BIT(31), tf = G(RFLAGS) & BIT(8);

	RULE(G(ACTIVITY) == 0, "activity");
	RULE(!(blocked & ~0xbULL), "interruptibility reserved");
	RULE((blocked & 3) != 3, "blocking by STI and MOV SS");
	RULE(!(blocked & 1) || (G(RFLAGS) & BIT(9)), "blocking by STI with IF = 0");
	RULE(!event || (type != 0 && type != 2) || !(blocked & 3), "event while blocked");
	RULE(!event || type != 2 || !(blocked & 8), "NMI while blocked");
	RULE(!(debug & ~0x500fULL), "pending debug exceptions reserved");
	RULE(!(blocked & 3) || !(debug & BIT(14)) == !tf, "BS and TF");
	return NULL;
}

/* 26.3.1.6, with EPT */
static const char *check_pdptes(void)
{
	if (!(G(CR0) & BIT(31)) || !(G(CR4) & BIT(5)) || ia32e())
		return NULL;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t p = vmcs[VMCS_GUEST_PDPTE0 + 2 * i];

		RULE(!(p & 1) || (!(p & 0x1e6) && !(p >> maxphyaddr)), "PDPTE");
	}
	return NULL;
}

static const char *check_entry(void)
{
	static const char *(*const checks[])(void) = {check_injection, check_control,
	    check_segments, check_rip, check_activity, check_pdptes};
	const char *broken = NULL;

	for (unsigned i = 0; i < ARRAY_LEN(checks) && !broken; i++)
		broken = checks[i]();
	return broken;
}

/* --- the world switch ------------------------------------------------------------------- */

/* Nothing that the hardware holds is to be taken from where it was before. */
static void lose(struct vcpu_state *s)
{
	memset(s->seg, 0xa5, sizeof(s->seg));
	memset(&s->gdtr, 0xa5, sizeof(s->gdtr) + sizeof(s->idtr));
	s->gpr[GPR_RSP] = s->rip = s->rflags = s->cr2 = s->cr3 = s->dr7 = s->pending_dbg = ~0x5aULL;
	s->star = s->lstar = s->cstar = s->sfmask = s->kernel_gs_base = 0xa5a5a5a5a5a5a5a5;
	s->cr0 ^= VMX_CR0_GUEST_OWNED;
	s->cr4 ^= VMX_CR4_GUEST_OWNED;
	s->cpl = s->sti_shadow = s->movss_shadow = s->nmi_blocked = 0xa5;
	if ((s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA))
		memset(s->pdpte, 0xa5, sizeof(s->pdpte));
}

/* VMLAUNCH: true if it failed. Called by the code below with the guest's registers. */
bool fake_vmx_entry(uint64_t *gpr);
bool fake_vmx_entry(uint64_t *gpr)
{
	struct vcpu *v = CONTAINER_OF(gpr, struct vcpu, state.gpr);
	uint32_t info = (uint32_t)vmcs[VMCS_ENTRY_INTR_INFO];

	broken_rule = check_entry();
	/* the event was being delivered when an interrupt of the host's came */
	vmcs[VMCS_IDT_VECTORING_INFO] = info;
	vmcs[VMCS_IDT_VECTORING_ERROR] = vmcs[VMCS_ENTRY_ERROR_CODE];
	vmcs[VMCS_ENTRY_INTR_INFO] &= ~(uint64_t)INTR_VALID;
	if ((info & INTR_VALID) && (info >> INTR_TYPE_SHIFT & 7) == INTR_TYPE_NMI)
		vmcs[VMCS_GUEST_INTERRUPTIBILITY] |= BLOCKED_BY_NMI;
	vmcs[VMCS_EXIT_REASON] = VMX_EXIT_EXTERNAL_INTERRUPT;
	lose(&v->state);
	return false;
}

/* As vmx_enter() of vmx_entry.asm: RSI in, RBX and RAX out. */
__asm__(".pushsection .text\n"
	".globl vmx_enter\n"
	"vmx_enter:\n"
	"	pushq %rbp\n"
	"	movq %rsp, %rbp\n"
	"	pushq %rsi\n"
	"	andq $-16, %rsp\n"
	"	movq %rsi, %rdi\n"
	"	cld\n"
	"	call fake_vmx_entry\n"
	"	movzbl %al, %eax\n"
	"	movq -8(%rbp), %rbx\n"
	"	leave\n"
	"	ret\n"
	".popsection\n");

static void attach(struct vcpu *v)
{
	static struct virt_vcpu p;

	memset(vmcs, 0, sizeof(vmcs));
	memset(&p, 0, sizeof(p));
	vmwrite(VMCS_ENTRY_CTLS, vmx_features.ctl[CTL_ENTRY]);
	v->virt = &p;
}

const char *fake_vmx_pass(struct vcpu *v, unsigned phys_bits)
{
	struct event *pending = &v->state.pending, *injected = &v->state.injected;
	struct vm_exit x;

	attach(v);
	maxphyaddr = phys_bits;
	if (injected->type != EVENT_NONE)
		vmx_inject(v, injected);
	else if (pending->type != EVENT_NONE)
		vmx_inject(v, pending);
	v->valid = v->dirty = VG_ALL;
	vmx_run(v, &x);
	ASSERT(x.reason == EXIT_INTERRUPT && v->valid == VG_GPR && !v->dirty);
	vmx_fetch(v, VG_ALL & ~(uint32_t)VG_GPR);
	return broken_rule;
}
