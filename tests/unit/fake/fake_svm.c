/* SPDX-License-Identifier: BSD-2-Clause */
/* A VMCB in memory, and the checks of VMRUN. APM volume 2, 15.5.1 and 15.20. */
#include <string.h>

#include "hv/arch/x86/svm/svm_impl.h"
#include "hv/lib/log.h"
#include "tests/unit/fake/fake_virt.h"

struct svm_features svm_features = {.asids = 16};

static struct vmcb vmcb __attribute__((aligned(4096)));
static const char *broken_rule;
static unsigned maxphyaddr;

#define RULE(condition, text)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return text;                                                               \
	} while (0)

static const char *check_event(void)
{
	unsigned vector = vmcb.event_inj & 0xff, type = vmcb.event_inj >> 8 & 7;

	if (!(vmcb.event_inj & BIT(31)))
		return NULL;
	RULE(type == 0 || type == 2 || type == 3 || type == 4, "event: type");
	RULE(type != 3 || (vector < 32 && vector != 2), "event: exception's vector");
	return NULL;
}

static const char *check_vmrun(void)
{
	bool paging = vmcb.cr0 & BIT(31), lme = vmcb.efer & BIT(8);

	RULE(vmcb.efer & BIT(12), "EFER.SVME");
	RULE(!(vmcb.efer & ~0x1d01ULL), "EFER reserved");
	RULE((vmcb.cr0 & BIT(30)) || !(vmcb.cr0 & BIT(29)), "CR0.NW without CD");
	RULE(!(vmcb.cr0 >> 32), "CR0 63:32");
	RULE(!(vmcb.cr0 & BIT(31)) || (vmcb.cr0 & 1), "CR0.PG without PE");
	RULE(!(vmcb.cr3 >> maxphyaddr), "CR3");
	RULE(!(vmcb.cr4 >> 23) && !(vmcb.cr4 & 0xf000), "CR4 reserved");
	RULE(!(vmcb.dr6 >> 32) && !(vmcb.dr7 >> 32), "DR6 or DR7");
	RULE(!paging || !lme || (vmcb.cr4 & BIT(5)), "long mode without PAE");
	RULE(!paging || !lme || (vmcb.cr0 & 1), "long mode without PE");
	RULE(
	    !paging || !lme || !(vmcb.cs.attr & BIT(9)) || !(vmcb.cs.attr & BIT(10)), "CS L and D");
	RULE(vmcb.asid != 0, "ASID");
	return check_event();
}

static void lose(struct vcpu_state *s)
{
	memset(s->seg, 0xa5, sizeof(s->seg));
	memset(&s->gdtr, 0xa5, sizeof(s->gdtr) + sizeof(s->idtr));
	s->gpr[GPR_RSP] = s->gpr[GPR_RAX] = s->rip = s->rflags = 0xa5a5a5a5a5a5a5a5;
	/* but for what the VMCB does not tell */
	s->cr0 ^= 0xffffffff & ~(uint64_t)(CR0_CD | CR0_NW);
	s->efer ^= 0xffffffff & ~(uint64_t)EFER_LME;
	s->cr2 = s->cr3 = s->cr4 = s->dr6 = s->dr7 = s->pending_dbg = 0xa5a5a5a5a5a5a5a5;
	s->star = s->lstar = s->cstar = s->sfmask = s->kernel_gs_base = 0xa5a5a5a5a5a5a5a5;
	s->sysenter_cs = s->sysenter_esp = s->sysenter_eip = 0xa5a5a5a5a5a5a5a5;
	s->cpl = s->sti_shadow = s->movss_shadow = 0xa5;
}

/* Hardware need not keep these of a segment, nor SS.DPL, nor that the TSS is busy. */
static void forget(struct vmcb_seg *g)
{
	if (g->attr & SEG_ATTR_S)
		g->attr &= (uint16_t)~1U;
	g->attr &= (uint16_t)~SEG_ATTR_G;
}

void fake_svm_entry(uint64_t *gpr);
void fake_svm_entry(uint64_t *gpr)
{
	struct vcpu *v = CONTAINER_OF(gpr, struct vcpu, state.gpr);

	broken_rule = check_vmrun();
	if (!broken_rule && !(vmcb.icpt_cr_read & 1) && vmcb.cr0 != v->state.cr0)
		broken_rule = "CR0 reads otherwise than the guest's, and reads do not exit";
	vmcb.exit_int_info = vmcb.event_inj;
	vmcb.exit_code = SVM_EXIT_INTR;
	for (struct vmcb_seg *g = &vmcb.es; g <= &vmcb.gs; g++)
		forget(g);
	vmcb.ss.attr &= (uint16_t)~SEG_ATTR_DPL;
	vmcb.tr.attr &= (uint16_t)~2U;
	lose(&v->state);
}

/* As svm_enter() of svm_entry.asm: RSI in, RBX out. */
__asm__(".pushsection .text\n"
	".globl svm_enter\n"
	"svm_enter:\n"
	"	pushq %rbp\n"
	"	movq %rsp, %rbp\n"
	"	pushq %rsi\n"
	"	andq $-16, %rsp\n"
	"	movq %rsi, %rdi\n"
	"	cld\n"
	"	call fake_svm_entry\n"
	"	movq -8(%rbp), %rbx\n"
	"	leave\n"
	"	ret\n"
	".popsection\n");

static void attach(struct vcpu *v)
{
	static struct svm_cpu cpu;
	static struct virt_vcpu p;

	memset(&vmcb, 0, sizeof(vmcb));
	cpu = (struct svm_cpu){.asid_generation = 1, .asid_next = 1};
	p = (struct virt_vcpu){.vmcb = &vmcb, .cpu = &cpu};
	v->virt = &p;
}

const char *fake_svm_pass(struct vcpu *v, unsigned phys_bits)
{
	struct event *pending = &v->state.pending, *injected = &v->state.injected;
	struct vm_exit x;

	attach(v);
	maxphyaddr = phys_bits;
	if (injected->type != EVENT_NONE)
		svm_inject(v, injected);
	else if (pending->type != EVENT_NONE)
		svm_inject(v, pending);
	v->valid = v->dirty = VG_ALL;
	svm_run(v, &x);
	ASSERT(x.reason == EXIT_INTERRUPT && v->valid == VG_GPR && !v->dirty);
	svm_fetch(v, VG_ALL & ~(uint32_t)VG_GPR);
	return broken_rule;
}
