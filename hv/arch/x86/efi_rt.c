/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runtime services, called at their physical addresses: SetVirtualAddressMap()
 * is never called, so that the firmware stays where it was linked.
 */
#include "hv/arch/x86/efi_rt.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/paging.h"
#include "hv/arch/x86/rtc.h"
#include "hv/arch/x86/xstate.h"
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

/* EFI_RUNTIME_SERVICES by offset (UEFI 2.10, 4.5.1). */
enum { RT_GET_TIME = 24, RT_RESET_SYSTEM = 104, RT_TABLE_SIZE = 136 };
#define RT_SIGNATURE 0x56524553544e5552ULL /* "RUNTSERV" */

#define EFI_STACK_SIZE (32 * KIB)
#define WINDOW_MAX     (4 * GIB) /* a larger device window is not what the services run on */
#define TIMEZONE_NONE  0x7ff

/* EFI_TIME (UEFI 2.10, 8.3.1). */
struct efi_time {
	uint16_t year;
	uint8_t month, day, hour, minute, second, pad1;
	uint32_t nanosecond;
	int16_t timezone; /* minutes: local time = UTC - timezone */
	uint8_t daylight, pad2;
};
_Static_assert(sizeof(struct efi_time) == 16, "UEFI 2.10, 8.3.1");

uint64_t efi_call(uint64_t fn, uint64_t cr3, void *stack_top, const uint64_t args[5]);

static uint64_t root;	     /* 0: no services */
static const uint8_t *table; /* in the direct map */
static void *stack_top;
static void *xstate_area;
static struct spinlock lock = SPINLOCK_INIT(RANK_IRQ);

/* Page-table flags by memory type; the services may use all but free memory. */
static bool flags_for(const struct boot_mem *m, uint64_t *flags)
{
	switch (m->type) {
	case BOOT_MEM_RUNTIME_CODE:
	case BOOT_MEM_RUNTIME_DATA: /* some firmware runs code from data */
		*flags = PTE_W;
		return true;
	case BOOT_MEM_ACPI:
		*flags = PTE_W | PTE_NX;
		return true;
	case BOOT_MEM_MMIO:
	case BOOT_MEM_RESERVED:
		*flags = PTE_W | PTE_NX | PTE_PCD | PTE_PWT;
		return m->size <= WINDOW_MAX;
	default:
		return false;
	}
}

static bool map_all(const struct boot_info *bi)
{
	root = paging_new_root();
	for (uint32_t i = 0; root && i < bi->nmem; i++) {
		const struct boot_mem *m = &bi->mem[i];
		uint64_t flags;

		if (flags_for(m, &flags) &&
		    paging_map(root, m->start, m->start, m->size, flags) != OK)
			return false;
	}
	return root != 0;
}

void efi_rt_init(const struct boot_info *bi)
{
	hpa_t services = hpa(bi->runtime_services);

	if (!services.a || !phys_in_direct_map(services, RT_TABLE_SIZE) ||
	    get_le64(phys_to_virt(services)) != RT_SIGNATURE) {
		log_warn("EFI: no runtime services; power-off and wall clock do without");
		return;
	}
	stack_top = stack_alloc(EFI_STACK_SIZE);
	xstate_area = heap_zalloc(MAX(xstate_size(xstate_host_mask()), 64u));
	if (!stack_top || !xstate_area || !map_all(bi)) {
		log_warn("EFI: no memory for the runtime services");
		root = 0;
		return;
	}
	xstate_init_area(xstate_area);
	table = phys_to_virt(services);
}

bool efi_rt_present(void)
{
	return table != NULL;
}

static uint64_t call(unsigned service, const uint64_t args[5])
{
	uint64_t flags = spin_lock(&lock), result;

	xstate_save(xstate_area, xstate_host_mask());
	result = efi_call(get_le64(table + service), root, stack_top, args);
	xstate_restore(xstate_area, xstate_host_mask());
	spin_unlock(&lock, flags);
	return result;
}

bool efi_rt_time(uint64_t *ns)
{
	static struct efi_time t; /* one caller at a time: start-up */
	uint64_t args[5] = {(uint64_t)&t};
	struct calendar c;

	if (!efi_rt_present() || call(RT_GET_TIME, args) != 0)
		return false;
	c = (struct calendar){t.year, t.month, t.day, t.hour, t.minute, t.second};
	if (!calendar_to_ns(&c, ns))
		return false;
	if (t.nanosecond < 1000000000)
		*ns += t.nanosecond;
	if (t.timezone != TIMEZONE_NONE && t.timezone >= -1440 && t.timezone <= 1440)
		*ns += (uint64_t)((int64_t)t.timezone * 60 * 1000000000);
	return true;
}

void efi_rt_reset(enum efi_reset type)
{
	uint64_t args[5] = {type};

	if (efi_rt_present())
		call(RT_RESET_SYSTEM, args);
}
