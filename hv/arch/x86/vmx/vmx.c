/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMX: turning it on and off, making and freeing control structures, and which
 * of them is current on a CPU. SDM volume 3, chapters 23 and 24.
 */
#include "hv/arch/x86/vmx/vmx.h"

#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/vmx/vmx_impl.h"
#include "hv/core/vcpu.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

struct vmx_cpu vmx_cpus[MAX_CPUS];
hpa_t vmx_msr_bitmap;

enum { VPIDS = 4096 };
static uint64_t vpids[BITMAP_WORDS(VPIDS)] = {1}; /* in use; 0 is the host's */

struct npt_format vmx_npt_format = {
    .name = "EPT",
    .table = EPT_READ | EPT_WRITE | EPT_EXEC,
    .leaf = EPT_READ | EPT_TYPE_WB,
    .large = EPT_LARGE,
    .write = EPT_WRITE,
    .exec = EPT_EXEC,
    .present = EPT_READ | EPT_WRITE | EPT_EXEC,
    .accessed = EPT_ACCESSED,
    .dirty = EPT_DIRTY,
    .may_write = NPT_MAY_WRITE,
    .max_level = 2,
};

/*
 * MSRs that the guest reads and writes without an exit. The first two are fields of
 * the VMCS; the hypervisor itself has no use for the others, so the guest's
 * stay in the CPU for as long as its thread does (vmx_state.c).
 */
static const uint32_t direct_msrs[] = {
    MSR_FS_BASE,
    MSR_GS_BASE,
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_SFMASK,
    MSR_KERNEL_GS_BASE,
};

/* The firmware may have locked VMX away; what it left open is set and locked here (24.7). */
static int check_feature_control(struct errmsg *e)
{
	uint64_t fc = rdmsr(MSR_FEATURE_CONTROL);

	if ((fc & FEATURE_CONTROL_LOCK) && !(fc & FEATURE_CONTROL_VMX))
		return err_set(e, ERR_UNSUPPORTED,
		    "VMX is disabled by the firmware (IA32_FEATURE_CONTROL is locked): "
		    "enable it in the set-up menu");
	return OK;
}

static int vmx_probe(struct errmsg *e)
{
	int err = vmx_read_features(e);

	return err ? err : check_feature_control(e);
}

/* Read bits in the first half, write bits in the second; 1 KiB for each range (25.6.9). */
static void bitmap_allow(uint8_t *map, uint32_t msr)
{
	uint32_t base = msr >= 0xc0000000 ? 1024 : 0, bit = msr & 0x1fff;

	map[base + bit / 8] &= (uint8_t) ~(1U << bit % 8);
	map[base + 2048 + bit / 8] &= (uint8_t) ~(1U << bit % 8);
}

static int make_bitmap(void)
{
	if (vmx_msr_bitmap.a)
		return OK;
	vmx_msr_bitmap = frames_alloc(0);
	if (!vmx_msr_bitmap.a)
		return ERR_NOMEM;
	memset(phys_to_virt(vmx_msr_bitmap), 0xff, PAGE_SIZE);
	for (size_t i = 0; i < ARRAY_LEN(direct_msrs); i++)
		bitmap_allow(phys_to_virt(vmx_msr_bitmap), direct_msrs[i]);
	return OK;
}

/* A frame that begins with the revision identifier, as VMXON and VMPTRLD want it (24.2). */
static hpa_t new_region(void)
{
	hpa_t frame = frames_alloc(0);

	if (frame.a) {
		memset(phys_to_virt(frame), 0, PAGE_SIZE);
		*(uint32_t *)phys_to_virt(frame) = vmx_features.revision;
	}
	return frame;
}

/* Instructions of this kind say "failed" in CF or ZF (volume 3, 30.2). */
#define VMX_OP(insn, operand)                                                                      \
	({                                                                                         \
		uint8_t failed;                                                                    \
		__asm__ volatile(insn " %1\n\tsetbe %0"                                            \
				 : "=qm"(failed)                                                   \
				 : "m"(operand)                                                    \
				 : "cc", "memory");                                                \
		!failed;                                                                           \
	})

static int vmx_cpu_enable(struct errmsg *e)
{
	struct vmx_cpu *c = &vmx_cpus[cpu_id()];
	uint64_t fc = rdmsr(MSR_FEATURE_CONTROL);
	int err = check_feature_control(e);

	if (err)
		return err;
	if (!(fc & FEATURE_CONTROL_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, fc | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
	if (make_bitmap())
		return err_set(e, ERR_NOMEM, "no memory for VMX's MSR bitmap");
	if (!c->vmxon.a)
		c->vmxon = new_region();
	if (!c->vmxon.a)
		return err_set(e, ERR_NOMEM, "no memory for VMX's region");
	if (~read_cr0() & vmx_features.cr0_fixed0)
		return err_set(e, ERR_UNSUPPORTED, "VMX wants CR0 bits 0x%llx set",
		    (unsigned long long)vmx_features.cr0_fixed0);
	write_cr4(read_cr4() | CR4_VMXE);
	if (!VMX_OP("vmxon", c->vmxon.a))
		return err_set(e, ERR_UNSUPPORTED, "VMXON failed");
	return OK;
}

static void vmx_cpu_disable(void)
{
	__asm__ volatile("vmxoff" : : : "cc", "memory");
	write_cr4(read_cr4() & ~(uint64_t)CR4_VMXE);
}

static int vmx_vm_create(struct vm *vm)
{
	(void)vm;
	return OK;
}

static void vmx_vm_destroy(struct vm *vm)
{
	(void)vm;
}

/* 0 if there is none left: that vCPU goes without, and is slower for it. */
static uint16_t vpid_alloc(void)
{
	if (!(vmx_features.ctl[CTL_PROC2] & PROC2_VPID))
		return 0;
	for (unsigned i = 1; i < VPIDS; i++)
		if (!bitmap_test_and_set_atomic(vpids, i))
			return (uint16_t)i;
	return 0;
}

static int vmx_vcpu_create(struct vcpu *v)
{
	struct virt_vcpu *p = heap_zalloc(sizeof(*p));

	if (!p)
		return ERR_NOMEM;
	p->vmcs = new_region();
	if (!p->vmcs.a) {
		heap_free(p);
		return ERR_NOMEM;
	}
	p->vpid = vpid_alloc();
	v->virt = p;
	return OK;
}

static void vmx_vcpu_destroy(struct vcpu *v)
{
	if (!v->virt)
		return;
	if (v->virt->vpid)
		bitmap_test_and_clear_atomic(vpids, v->virt->vpid);
	frames_free(v->virt->vmcs, 0);
	heap_free(v->virt);
	v->virt = NULL;
}

static void make_current(const struct virt_vcpu *p)
{
	if (!VMX_OP("vmptrld", p->vmcs.a))
		log_error("vmx: VMPTRLD of 0x%llx failed", (unsigned long long)p->vmcs.a);
}

/* The CPU may keep parts of a VMCS to itself: VMCLEAR writes them back (24.1). */
static void give_up(struct virt_vcpu *p)
{
	if (!VMX_OP("vmclear", p->vmcs.a))
		log_error("vmx: VMCLEAR of 0x%llx failed", (unsigned long long)p->vmcs.a);
	p->launched = false;
}

static void vmx_vcpu_load(struct vcpu *v)
{
	struct vmx_cpu *cpu = &vmx_cpus[cpu_id()];
	struct virt_vcpu *p = v->virt;

	if (!p->initialized)
		give_up(p); /* a fresh VMCS is made known by VMCLEAR */
	make_current(p);
	if (!p->initialized) {
		vmx_init_vmcs(v);
		p->initialized = true;
	}
	if (p->cpu != cpu) {
		p->cpu = cpu;
		vmx_write_host_state();
		/* what it left here when it was here last may be stale by now */
		p->stale = true;
	}
}

/* What lives in the CPU only goes with the thread: the SYSCALL MSRs, KERNEL_GS_BASE and CR2. */
static void vmx_vcpu_put(struct vcpu *v)
{
	vcpu_need(v, VG_MSRS | VG_CRS);
	vcpu_changed(v, VG_MSRS | VG_CRS);
	give_up(v->virt);
}

static void vmx_set_tsc_offset(struct vcpu *v, uint64_t offset)
{
	if (v->virt->tsc_offset != offset)
		vmwrite(VMCS_TSC_OFFSET, offset);
	v->virt->tsc_offset = offset;
}

static bool vmx_fit_tsc_ratio(struct tsc_scale *s)
{
	if (!(vmx_features.ctl[CTL_PROC2] & PROC2_TSC_SCALING) ||
	    s->whole >> (64 - TSC_MULTIPLIER_SHIFT))
		return false;
	s->fraction &= ~(BIT(64 - TSC_MULTIPLIER_SHIFT) - 1);
	return true;
}

/* Where RDTSC exits the exits scale, and no ratio is applied. */
static void vmx_set_tsc_ratio(struct vcpu *v, const struct tsc_scale *s)
{
	uint64_t multiplier =
	    s->whole << TSC_MULTIPLIER_SHIFT | s->fraction >> (64 - TSC_MULTIPLIER_SHIFT);

	if ((vmx_features.ctl[CTL_PROC2] & PROC2_TSC_SCALING) && !v->vm->tsc_exits)
		vmwrite(VMCS_TSC_MULTIPLIER, multiplier);
}

const struct virt_ops vmx_ops = {
    .name = "vmx",
    .probe = vmx_probe,
    .cpu_enable = vmx_cpu_enable,
    .cpu_disable = vmx_cpu_disable,
    .vm_create = vmx_vm_create,
    .vm_destroy = vmx_vm_destroy,
    .vcpu_create = vmx_vcpu_create,
    .vcpu_destroy = vmx_vcpu_destroy,
    .vcpu_load = vmx_vcpu_load,
    .vcpu_put = vmx_vcpu_put,
    .fetch = vmx_fetch,
    .inject = vmx_inject,
    .want_irq_window = vmx_want_irq_window,
    .want_nmi_window = vmx_want_nmi_window,
    .run = vmx_run,
    .flush = vmx_flush,
    .set_tsc_offset = vmx_set_tsc_offset,
    .fit_tsc_ratio = vmx_fit_tsc_ratio,
    .set_tsc_ratio = vmx_set_tsc_ratio,
    .want_rdtsc_exits = vmx_want_rdtsc_exits,
    .dump = vmx_dump,
    .npt = &vmx_npt_format,
    .keeps_pdptes = true,
};
