/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SVM: what the CPU must have, turning it on and off, making and freeing
 * control blocks. APM volume 2, chapter 15.
 */
#include "hv/arch/x86/svm/svm.h"

#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/svm/svm_impl.h"
#include "hv/arch/x86/svm/svm_qemu.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

struct svm_features svm_features;
struct svm_cpu svm_cpus[MAX_CPUS];
hpa_t svm_iopm, svm_msrpm;

/* CPUID 8000000A EDX. */
enum svm_cpuid {
	SVM_CPUID_NP = 1 << 0,
	SVM_CPUID_NEXT_RIP = 1 << 3,
	SVM_CPUID_CLEAN = 1 << 5,
	SVM_CPUID_FLUSH_ASID = 1 << 6,
	SVM_CPUID_DECODE = 1 << 7
};

enum bitmap_order { IOPM_ORDER = 2 /* 12 KiB */, MSRPM_ORDER = 1 /* 8 KiB */ };

/*
 * MSRs that the guest reads and writes without an exit: each is switched by
 * VMLOAD and VMSAVE, so none leaks from or to the host.
 */
static const uint32_t direct_msrs[] = {
    MSR_SYSENTER_CS, /* not ESP and EIP: how much of them a CPU keeps differs (msr.c) */
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_SFMASK,
    MSR_FS_BASE,
    MSR_GS_BASE,
    MSR_KERNEL_GS_BASE,
};

static struct npt_format npt_format = {
    .name = "NPT",
    /* Nested entries are user entries to the walker (APM volume 2, 15.25.5). */
    .table = BIT(0) | BIT(1) | BIT(2),
    .leaf = BIT(0) | BIT(2),
    .large = BIT(7),
    .write = BIT(1),
    .no_exec = BIT(63),
    .present = BIT(0),
    .accessed = BIT(5),
    .dirty = BIT(6),
    .may_write = NPT_MAY_WRITE,
    .max_level = 2,
};

static int svm_probe(struct errmsg *e)
{
	struct cpuid_regs f;
	uint64_t vm_cr = 0;

	if (!host_cpu.svm)
		return err_set(e, ERR_NOENT, "this CPU has no SVM (CPUID 80000001 ECX bit 2)");
	if (rdmsr_safe(MSR_AMD_VM_CR, &vm_cr) && (vm_cr & VM_CR_SVMDIS))
		return err_set(e, ERR_UNSUPPORTED,
		    "SVM is disabled by the firmware (VM_CR.SVMDIS): enable it in the set-up menu");
	f = cpuid(0x8000000a, 0);
	if (!(f.edx & SVM_CPUID_NP))
		return err_set(
		    e, ERR_UNSUPPORTED, "SVM without nested paging (CPUID 8000000A EDX bit 0)");
	if (f.ebx < 2)
		return err_set(e, ERR_UNSUPPORTED, "SVM without a usable ASID");
	svm_features = (struct svm_features){
	    .next_rip = f.edx & SVM_CPUID_NEXT_RIP,
	    /* the intercepts are changed in too many places to keep account of */
	    .clean_mask = f.edx & SVM_CPUID_CLEAN ? CLEAN_ALL & ~(uint32_t)CLEAN_INTERCEPTS : 0,
	    .flush_by_asid = f.edx & SVM_CPUID_FLUSH_ASID,
	    .decode_assist = f.edx & SVM_CPUID_DECODE,
	    .asids = f.ebx,
	    .qemu = host_cpu.tcg,
	};
	if (host_cpu.page_1g)
		npt_format.max_level = 3;
	return OK;
}

/* Two bits an MSR, read and write; three ranges of 2 KiB (APM volume 2, 15.11). */
static void msrpm_allow(uint8_t *map, uint32_t msr)
{
	uint32_t base = msr >= 0xc0010000 ? 0x1000 : msr >= 0xc0000000 ? 0x800 : 0;
	uint32_t bit = (msr & 0x1fff) * 2;

	map[base + bit / 8] &= (uint8_t) ~(3U << (bit % 8));
}

static int make_bitmaps(void)
{
	if (svm_iopm.a)
		return OK;
	svm_iopm = frames_alloc(IOPM_ORDER);
	svm_msrpm = frames_alloc(MSRPM_ORDER);
	if (!svm_iopm.a || !svm_msrpm.a)
		return ERR_NOMEM;
	memset(phys_to_virt(svm_iopm), 0xff, PAGE_SIZE << IOPM_ORDER);
	memset(phys_to_virt(svm_msrpm), 0xff, PAGE_SIZE << MSRPM_ORDER);
	for (size_t i = 0; i < ARRAY_LEN(direct_msrs); i++)
		msrpm_allow(phys_to_virt(svm_msrpm), direct_msrs[i]);
	return OK;
}

static int svm_cpu_enable(struct errmsg *e)
{
	struct svm_cpu *c = &svm_cpus[cpu_id()];

	if (make_bitmaps())
		return err_set(e, ERR_NOMEM, "no memory for SVM's permission maps");
	if (!c->host_save.a) {
		c->host_save = frames_alloc(0);
		c->host_vmcb = frames_alloc(0);
		if (!c->host_save.a || !c->host_vmcb.a)
			return err_set(e, ERR_NOMEM, "no memory for SVM's host save area");
		memset(phys_to_virt(c->host_save), 0, PAGE_SIZE);
		memset(phys_to_virt(c->host_vmcb), 0, PAGE_SIZE);
		c->asid_generation = 1;
		c->asid_next = svm_features.asids; /* the first one flushes what others left */
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_AMD_VM_HSAVE, c->host_save.a);
	/* FS, GS, TR, LDTR and the SYSCALL MSRs of the host never change after start-up. */
	__asm__ volatile("vmsave" : : "a"(c->host_vmcb.a) : "memory");
	return OK;
}

static void svm_cpu_disable(void)
{
	wrmsr(MSR_AMD_VM_HSAVE, 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(uint64_t)EFER_SVME);
}

static int svm_vm_create(struct vm *vm)
{
	(void)vm;
	return OK;
}

static void svm_vm_destroy(struct vm *vm)
{
	(void)vm;
}

/* What always exits. Interrupt and NMI windows and IRET come and go. */
static void set_intercepts(struct vmcb *c)
{
	c->icpt_cr_read = BIT(8);
	c->icpt_cr_write = BIT(0) | BIT(4) | BIT(8);
	c->icpt_dr_read = c->icpt_dr_write = 0xffff;
	/* #DB and #AC always: a guest could otherwise loop in microcode (CVE-2015-5307,
	 * CVE-2015-8104). #UD for the other vendor's instructions. */
	c->icpt_exceptions = BIT(VEC_UD) | BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC);
	c->icpt3 = ICPT_INTR | ICPT_NMI | ICPT_SMI | ICPT_INIT | ICPT_RDPMC | ICPT_CPUID |
		   ICPT_INVD | ICPT_HLT | ICPT_INVLPGA | ICPT_IOIO | ICPT_MSR | ICPT_SHUTDOWN;
	c->icpt4 = ICPT_VMRUN | ICPT_VMMCALL | ICPT_VMLOAD | ICPT_VMSAVE | ICPT_STGI | ICPT_CLGI |
		   ICPT_SKINIT | ICPT_WBINVD | ICPT_MONITOR | ICPT_MWAIT | ICPT_MWAIT_ARMED |
		   ICPT_XSETBV | ICPT_RDPRU;
}

static int svm_vcpu_create(struct vcpu *v)
{
	struct virt_vcpu *p = heap_zalloc(sizeof(*p));
	struct vmcb *c;

	if (!p)
		return ERR_NOMEM;
	p->vmcb_phys = frames_alloc(0);
	if (!p->vmcb_phys.a) {
		heap_free(p);
		return ERR_NOMEM;
	}
	p->vmcb = c = phys_to_virt(p->vmcb_phys);
	memset(c, 0, sizeof(*c));
	set_intercepts(c);
	c->iopm = svm_iopm.a;
	c->msrpm = svm_msrpm.a;
	c->vintr = VINTR_MASKING;
	c->nested_ctl = 1; /* NP_ENABLE */
	c->nested_cr3 = v->vm->npt.root.a;
	v->virt = p;
	return OK;
}

static void svm_vcpu_destroy(struct vcpu *v)
{
	if (!v->virt)
		return;
	frames_free(v->virt->vmcb_phys, 0);
	heap_free(v->virt);
	v->virt = NULL;
}

static void svm_vcpu_load(struct vcpu *v)
{
	struct svm_cpu *cpu = &svm_cpus[cpu_id()];

	if (v->virt->cpu != cpu) {
		v->virt->cpu = cpu;
		v->virt->asid_generation = 0;
		v->virt->clean = 0;
	}
	svm_load_cr2(v->virt->vmcb);
}

static void svm_vcpu_put(struct vcpu *v)
{
	(void)v;
}

static void svm_set_tsc_offset(struct vcpu *v, uint64_t offset)
{
	v->virt->vmcb->tsc_offset = offset;
	v->virt->clean &= ~(uint32_t)CLEAN_INTERCEPTS;
}

static void svm_want_rdtsc_exits(struct vcpu *v, bool on)
{
	struct vmcb *c = v->virt->vmcb;

	c->icpt3 &= ~(uint32_t)ICPT_RDTSC;
	c->icpt4 &= ~(uint32_t)ICPT_RDTSCP;
	if (on)
		c->icpt3 |= ICPT_RDTSC;
	if (on || !v->has_rdtscp)
		c->icpt4 |= ICPT_RDTSCP;
	v->virt->clean &= ~(uint32_t)CLEAN_INTERCEPTS;
}

const struct virt_ops svm_ops = {
    .name = "svm",
    .probe = svm_probe,
    .cpu_enable = svm_cpu_enable,
    .cpu_disable = svm_cpu_disable,
    .vm_create = svm_vm_create,
    .vm_destroy = svm_vm_destroy,
    .vcpu_create = svm_vcpu_create,
    .vcpu_destroy = svm_vcpu_destroy,
    .vcpu_load = svm_vcpu_load,
    .vcpu_put = svm_vcpu_put,
    .fetch = svm_fetch,
    .inject = svm_inject,
    .want_irq_window = svm_want_irq_window,
    .want_nmi_window = svm_want_nmi_window,
    .run = svm_run,
    .mend = svm_qemu_mend,
    .flush = svm_flush,
    .set_tsc_offset = svm_set_tsc_offset,
    .want_rdtsc_exits = svm_want_rdtsc_exits,
    .dump = svm_dump,
    .npt = &npt_format,
};
