/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What VMX must and may offer: the ladder of requirements, and the values of
 * the controls that follow from it. SDM volume 3, appendix A.
 */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/vmx/vmx_impl.h"

struct vmx_features vmx_features;

static const struct {
	uint32_t msr;
	const char *name;
} ctl_sets[CTL_COUNT] = {
    [CTL_PIN] = {MSR_VMX_TRUE_PINBASED_CTLS, "pin-based controls"},
    [CTL_PROC] = {MSR_VMX_TRUE_PROCBASED_CTLS, "processor-based controls"},
    [CTL_PROC2] = {MSR_VMX_PROCBASED_CTLS2, "secondary controls"},
    [CTL_EXIT] = {MSR_VMX_TRUE_EXIT_CTLS, "exit controls"},
    [CTL_ENTRY] = {MSR_VMX_TRUE_ENTRY_CTLS, "entry controls"},
};

enum need { REQUIRED, OPTIONAL, MUST_BE_CLEAR };

/* In the order of the sets and of their bits. */
static const struct rung {
	uint8_t set, need;
	uint32_t bit;
	const char *what;
} ladder[] = {
    {CTL_PIN, REQUIRED, PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting"},
    {CTL_PIN, REQUIRED, PIN_NMI, "NMI exiting"},
    /* NMI blocking is the guest's own, and ends with its own IRET */
    {CTL_PIN, REQUIRED, PIN_VIRTUAL_NMI, "virtual NMIs"},
    {CTL_PROC, REQUIRED, PROC_IRQ_WINDOW, "interrupt-window exiting"},
    {CTL_PROC, REQUIRED, PROC_TSC_OFFSET, "TSC offsetting"},
    {CTL_PROC, REQUIRED, PROC_HLT, "HLT exiting"},
    {CTL_PROC, REQUIRED, PROC_MWAIT, "MWAIT exiting"},
    {CTL_PROC, REQUIRED, PROC_RDPMC, "RDPMC exiting"},
    {CTL_PROC, REQUIRED, PROC_RDTSC, "RDTSC exiting"},
    /* nested paging makes them unnecessary; every CPU with EPT lets them be off */
    {CTL_PROC, MUST_BE_CLEAR, PROC_CR3_LOAD, "CR3 loads without an exit"},
    {CTL_PROC, MUST_BE_CLEAR, PROC_CR3_STORE, "CR3 stores without an exit"},
    {CTL_PROC, REQUIRED, PROC_CR8_LOAD, "CR8-load exiting"},
    {CTL_PROC, REQUIRED, PROC_CR8_STORE, "CR8-store exiting"},
    {CTL_PROC, REQUIRED, PROC_NMI_WINDOW, "NMI-window exiting"},
    {CTL_PROC, REQUIRED, PROC_MOV_DR, "MOV-DR exiting"},
    {CTL_PROC, REQUIRED, PROC_IO, "unconditional I/O exiting"},
    {CTL_PROC, REQUIRED, PROC_MSR_BITMAP, "MSR bitmaps"},
    {CTL_PROC, REQUIRED, PROC_MONITOR, "MONITOR exiting"},
    {CTL_PROC, REQUIRED, PROC_SECONDARY, "secondary controls"},
    {CTL_PROC2, REQUIRED, PROC2_EPT, "nested paging (EPT)"},
    {CTL_PROC2, OPTIONAL, PROC2_RDTSCP, "RDTSCP"},
    {CTL_PROC2, OPTIONAL, PROC2_VPID, "VPID"},
    {CTL_PROC2, OPTIONAL, PROC2_WBINVD, "WBINVD exiting"},
    /* real mode is run, not emulated: guests' other CPUs start there */
    {CTL_PROC2, REQUIRED, PROC2_UNRESTRICTED, "unrestricted guest"},
    {CTL_PROC2, OPTIONAL, PROC2_INVPCID, "INVPCID"},
    {CTL_PROC2, OPTIONAL, PROC2_TSC_SCALING, "TSC scaling"},
    {CTL_EXIT, REQUIRED, EXIT_CTL_SAVE_DEBUG, "saving of debug controls"},
    {CTL_EXIT, REQUIRED, EXIT_CTL_HOST_64, "a 64-bit host"},
    {CTL_EXIT, OPTIONAL, EXIT_CTL_LOAD_PAT, "loading of PAT"},
    {CTL_EXIT, REQUIRED, EXIT_CTL_LOAD_EFER, "loading of EFER on exit"},
    {CTL_ENTRY, REQUIRED, ENTRY_CTL_LOAD_DEBUG, "loading of debug controls"},
    /* whether it is set follows the guest's mode */
    {CTL_ENTRY, REQUIRED, ENTRY_CTL_IA32E, "64-bit guests"},
    {CTL_ENTRY, OPTIONAL, ENTRY_CTL_LOAD_PAT, "loading of PAT"},
    {CTL_ENTRY, REQUIRED, ENTRY_CTL_LOAD_EFER, "loading of EFER on entry"},
};

/* Low half: bits that must be set; high half: bits that may be (A.3 to A.5). */
static int read_controls(struct errmsg *e)
{
	uint64_t caps[CTL_COUNT] = {0};

	for (unsigned i = 0; i < CTL_COUNT; i++) {
		/* the secondary controls' MSR exists only if the primary ones offer them */
		if (i == CTL_PROC2 && !(caps[CTL_PROC] >> 32 & PROC_SECONDARY))
			return err_set(e, ERR_UNSUPPORTED,
			    "VMX without secondary controls (IA32_VMX_TRUE_PROCBASED_CTLS bit 63)");
		caps[i] = rdmsr(ctl_sets[i].msr);
		vmx_features.ctl[i] = (uint32_t)caps[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(ladder); i++) {
		const struct rung *r = &ladder[i];
		bool offered = r->need == MUST_BE_CLEAR ? !(caps[r->set] & r->bit)
							: (caps[r->set] >> 32 & r->bit) != 0;

		if (!offered && r->need != OPTIONAL)
			return err_set(e, ERR_UNSUPPORTED, "VMX without %s (%s, MSR 0x%x)", r->what,
			    ctl_sets[r->set].name, ctl_sets[r->set].msr);
		if (offered && r->need != MUST_BE_CLEAR)
			vmx_features.ctl[r->set] |= r->bit;
	}
	return OK;
}

static int read_paging(struct errmsg *e)
{
	uint64_t cap = rdmsr(MSR_VMX_EPT_VPID_CAP);
	const struct {
		uint64_t any; /* one of these bits will do */
		const char *what;
	} needed[] = {
	    {EPT_CAP_WALK_4, "walks of four levels"},
	    {EPT_CAP_WB, "write-back paging structures"},
	    {EPT_CAP_2M, "2 MiB pages"},
	    {EPT_CAP_INVEPT, "INVEPT"},
	    {EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL, "a usable type of INVEPT"},
	};

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!(cap & needed[i].any))
			return err_set(e, ERR_UNSUPPORTED,
			    "EPT without %s (IA32_VMX_EPT_VPID_CAP 0x%llx)", needed[i].what,
			    (unsigned long long)cap);
	vmx_features.ept_ad = cap & EPT_CAP_AD;
	vmx_features.invept_single = cap & EPT_CAP_INVEPT_SINGLE;
	vmx_features.invvpid_single = cap & EPT_CAP_INVVPID_SINGLE;
	if (!(cap & EPT_CAP_INVVPID) || !(cap & (EPT_CAP_INVVPID_SINGLE | EPT_CAP_INVVPID_ALL)))
		vmx_features.ctl[CTL_PROC2] &= ~(uint32_t)PROC2_VPID;
	if (!vmx_features.ept_ad)
		vmx_npt_format.accessed = vmx_npt_format.dirty = 0;
	vmx_npt_format.max_level = cap & EPT_CAP_1G ? 3 : 2;
	return OK;
}

/* Both or none: the host's PAT must come back. */
static void choose_pat(void)
{
	uint32_t *exit = &vmx_features.ctl[CTL_EXIT], *entry = &vmx_features.ctl[CTL_ENTRY];

	vmx_features.load_pat = (*exit & EXIT_CTL_LOAD_PAT) && (*entry & ENTRY_CTL_LOAD_PAT);
	if (!vmx_features.load_pat) {
		*exit &= ~(uint32_t)EXIT_CTL_LOAD_PAT;
		*entry &= ~(uint32_t)ENTRY_CTL_LOAD_PAT;
		vmx_npt_format.leaf |= EPT_IGNORE_PAT;
	}
}

int vmx_read_features(struct errmsg *e)
{
	uint64_t basic;
	int err;

	if (!host_cpu.vmx)
		return err_set(e, ERR_NOENT, "this CPU has no VMX (CPUID 1 ECX bit 5)");
	basic = rdmsr(MSR_VMX_BASIC);
	if (!(basic & BASIC_TRUE_CTLS))
		return err_set(
		    e, ERR_UNSUPPORTED, "VMX without true capability MSRs (IA32_VMX_BASIC bit 55)");
	if ((basic >> BASIC_TYPE_SHIFT & 0xf) != BASIC_TYPE_WB)
		return err_set(
		    e, ERR_UNSUPPORTED, "VMX with a VMCS that is not write-back (IA32_VMX_BASIC)");
	vmx_features.revision = basic & BASIC_REVISION;
	vmx_features.cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);
	vmx_features.cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0);
	err = read_controls(e);
	if (!err)
		err = read_paging(e);
	if (!err)
		choose_pat();
	return err;
}
