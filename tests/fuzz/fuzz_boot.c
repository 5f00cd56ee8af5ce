/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any file as a kernel, for every boot method: refused with a message, and the
 * guest's memory is as it was; or loaded, and the CPU's state is one that a CPU
 * can be in, at an entry point in RAM. The first byte chooses: bits 0 and 1 the
 * method, bit 2 modules, bit 3 makes the checksums of Multiboot headers right.
 */
#include <stdlib.h>
#include <string.h>
#include "hv/core/boot.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/boot_kernel.h"
#include "tests/unit/fake/fake.h"

enum { MEMORY = 2 * MIB, MODULE_SIZE = 5000 };

static boot_load_fn *const methods[] = {
    boot_linux_load, boot_multiboot_load, boot_multiboot2_load, boot_pvh_load};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* A fuzzer does not guess a header's magic numbers: now and then it is given a whole kernel. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static uint8_t kernel[KERNEL_SIZE];
	size_t head = KERNEL_NOTE + KERNEL_NOTE_SIZE; /* all but what is only copied */

	if (seed % 64 || max_size < 1 + head)
		return LLVMFuzzerMutate(data, size, max_size);
	kernel_make(kernel, seed & 64);
	/* short segments, within the part that is used */
	for (unsigned i = 0; i < 2; i++)
		kernel_segment(
		    kernel, seed & 64, i, 1, KERNEL_MB1 + 64 * i, MIB + PAGE_SIZE * i, 64, 256);
	data[0] = (uint8_t)(seed >> 8);
	memcpy(data + 1, kernel, head);
	return 1 + head;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void seal(uint8_t *kernel, size_t size)
{
	for (size_t at = 0; at + 16 <= size; at += 4) {
		uint32_t magic = get_le32(kernel + at);

		if (magic == 0x1badb002)
			put_le32(kernel + at + 8, -(magic + get_le32(kernel + at + 4)));
		if (magic == 0xe85250d6)
			put_le32(kernel + at + 12,
			    -(magic + get_le32(kernel + at + 4) + get_le32(kernel + at + 8)));
	}
}

static bool untouched(const uint8_t *ram)
{
	return !ram[0] && memcmp(ram, ram + 1, MEMORY - 1) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t module[MODULE_SIZE];
	static const struct boot_module modules[] = {
	    {module, MODULE_SIZE, "module", "module"}, {module, 1, "second", "second one"}};
	static struct vcpu_state bsp;
	struct e820_entry map[E820_MAX];
	struct boot_input in = {.kernel_name = "kernel",
	    .cmdline = "one two",
	    .map = map,
	    .map_count = e820_build(MEMORY, map)};
	struct errmsg e = {""};
	uint8_t *kernel;
	struct vm *vm;

	if (size < 1)
		return 0;
	kernel = malloc(MAX(size - 1, (size_t)1)); /* exact, so that ASan sees a step beyond */
	memcpy(kernel, data + 1, size - 1);
	if (data[0] & 8)
		seal(kernel, size - 1);
	in.kernel = kernel;
	in.kernel_size = size - 1;
	if (data[0] & 4) {
		in.modules = modules;
		in.module_count = ARRAY_LEN(modules);
	}
	vm = fake_vm_new(1, MEMORY);
	memset(&bsp, 0, sizeof(bsp));
	if (methods[data[0] & 3](vm, &in, &bsp, &e)) {
		check(e.text[0] && !bsp.rip && untouched(fake_of(vm)->ram));
	} else {
		check(e820_is_ram(map, in.map_count, bsp.rip, 1) && bsp.rflags == 2);
		check(bsp.cr0 & CR0_PE && bsp.activity == ACTIVITY_RUNNING);
	}
	fake_vm_free(vm);
	free(kernel);
	check(!fake_heap_outstanding());
	return 0;
}
