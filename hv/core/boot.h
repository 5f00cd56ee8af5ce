/* SPDX-License-Identifier: BSD-2-Clause */
/* What a boot method is, and what it is given. */
#ifndef AMBER_CORE_BOOT_H
#define AMBER_CORE_BOOT_H

#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/e820.h"
#include "hv/lib/error.h"

struct vm;

enum { BOOT_MODULES = 33 }; /* an initrd, and what else a manifest can name */

/* A file that a kernel is given, and what it is told of it. */
struct boot_module {
	const void *data;
	uint64_t size;		   /* may be 0 */
	const char *name, *string; /* name: the file's */
};

/* The files, in hypervisor memory, and what the kernel is to be told. The files' contents are not
 * trusted. */
struct boot_input {
	const void *kernel;
	size_t kernel_size;
	const char *kernel_name; /* of the file */
	const char *cmdline;
	const struct boot_module *modules;
	unsigned module_count; /* up to BOOT_MODULES */
	uint64_t rsdp;	       /* guest-physical address of the ACPI root pointer; 0: none */
	const struct e820_entry *map;
	unsigned map_count;
};

/*
 * A boot method: loads the files into the guest's memory, which is all zeros
 * but for the ACPI tables, and sets *bsp, which holds the power-on state, to the
 * state at the kernel's entry. ERR_CORRUPT, ERR_UNSUPPORTED (not a kernel for
 * this method), ERR_NOSPACE (does not fit into the guest's memory), ERR_RANGE,
 * ERR_FAULT, ERR_RETRY. The guest is not running. May wait.
 */
typedef int boot_load_fn(
    struct vm *vm, const struct boot_input *in, struct vcpu_state *bsp, struct errmsg *e);

/* The 64-bit Linux boot protocol (Linux, Documentation/arch/x86/boot.rst). */
boot_load_fn boot_linux_load MUST_CHECK;
/* Multiboot Specification 0.6.96. */
boot_load_fn boot_multiboot_load MUST_CHECK;
/* Multiboot2 Specification 2.0. */
boot_load_fn boot_multiboot2_load MUST_CHECK;
/* Xen's x86/HVM direct boot ABI ("PVH", docs/misc/pvh.pandoc of Xen). */
boot_load_fn boot_pvh_load MUST_CHECK;
/* A firmware image, in->kernel, that starts at the reset vector; in tells nothing else. */
boot_load_fn boot_firmware_load MUST_CHECK;

#endif
