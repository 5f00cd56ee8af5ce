/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Firmware instead of a kernel: its image ends at 4 GiB, where the reset vector is, and what a
 * 16-bit address reaches of that, below 1 MiB. There it is RAM from the start: firmware unlocks
 * its shadow before it writes there, and the locks (PAM) are registers without effect.
 */
#include "hv/core/boot.h"
#include "hv/core/gmem_rom.h"
#include "hv/core/memmap.h"

enum { ROM_ALIGN = 4096, ROM_SIZE_MIN = 64 * 1024 };

int boot_firmware_load(
    struct vm *vm, const struct boot_input *in, struct vcpu_state *bsp, struct errmsg *e)
{
	const uint8_t *rom = in->kernel;
	uint64_t size = in->kernel_size, low = MIN(size, MEMMAP_BIOS_END - MEMMAP_BIOS);
	int err;

	(void)bsp; /* stands at the reset vector */
	if (size < ROM_SIZE_MIN || size > MEMMAP_ROM_SIZE || size % ROM_ALIGN)
		return err_set(e, ERR_CORRUPT,
		    "rom '%s': %lu bytes: must be a multiple of 4 KiB, 64 KiB to %llu MiB",
		    in->kernel_name, size, MEMMAP_ROM_SIZE / MIB);
	err = gmem_rom_write(vm, gpa(4 * GIB - size), rom, size);
	if (!err)
		err = gmem_write(vm, gpa(MEMMAP_BIOS_END - low), rom + size - low, low);
	return err ? err_set(e, err, "rom '%s': cannot write guest memory: %s", in->kernel_name,
			 error_text(err))
		   : OK;
}
