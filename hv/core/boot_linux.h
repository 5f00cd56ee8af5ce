/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting a Linux kernel by its 64-bit boot protocol (Linux,
 * Documentation/arch/x86/boot.rst): what a boot loader would leave in memory
 * and registers.
 */
#ifndef AMBER_CORE_BOOT_LINUX_H
#define AMBER_CORE_BOOT_LINUX_H

#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/e820.h"
#include "hv/lib/error.h"

struct vm;

/* The files, in hypervisor memory. Their contents are not trusted. */
struct linux_payload {
	const void *kernel; /* a bzImage */
	size_t kernel_size;
	const void *initrd; /* NULL: none */
	size_t initrd_size;
	const char *cmdline;
};

/*
 * Loads kernel, initrd, command line and zero page into the guest's memory and
 * sets *bsp, which holds the power-on state, to the state at the kernel's entry.
 * rsdp is the guest-physical address of the ACPI root pointer, 0 if there is
 * none. ERR_CORRUPT, ERR_UNSUPPORTED (not a 64-bit bzImage), ERR_NOSPACE (does
 * not fit into the guest's memory), ERR_FAULT. The guest is not running. May wait.
 */
int boot_linux_load(struct vm *vm, const struct linux_payload *p, uint64_t rsdp,
    const struct e820_entry *map, unsigned map_count, struct vcpu_state *bsp,
    struct errmsg *e) MUST_CHECK;

#endif
