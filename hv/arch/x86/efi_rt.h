/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls into the firmware's runtime services, on a page table of their own (the
 * one exception from W^X), interrupts off, one at a time.
 */
#ifndef AMBER_X86_EFI_RT_H
#define AMBER_X86_EFI_RT_H

#include "hv/boot_info.h"
#include "hv/lib/types.h"

/* Builds the page table. Once, after mm_init() and xstate_init(). */
void efi_rt_init(const struct boot_info *bi);
/* True if the firmware has usable runtime services. */
bool efi_rt_present(void);
/* Nanoseconds since 1970-01-01 UTC; false if the firmware does not know. Thread context. */
bool efi_rt_time(uint64_t *ns);

enum efi_reset { EFI_RESET_COLD = 0, EFI_RESET_WARM = 1, EFI_RESET_SHUTDOWN = 2 };
/* Returns only if that failed. */
void efi_rt_reset(enum efi_reset type);

#endif
