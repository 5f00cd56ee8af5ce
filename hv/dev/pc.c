/* SPDX-License-Identifier: BSD-2-Clause */
/* The PC at power-on: tables, memory map, payload. */
#include "hv/dev/pc.h"

#include "hv/core/boot.h"
#include "hv/core/payload.h"
#include "hv/dev/acpi_tables.h"
#include "hv/dev/disk_backend.h"
#include "hv/dev/flash.h"
#include "hv/dev/mp_table.h"
#include "hv/dev/smbios.h"
#include "hv/dev/vmgenid.h"

static int find_payload(const char *what, const char *name, struct payload *out, struct errmsg *e)
{
	if (payload_find(name, out))
		return OK;
	return err_set(e, ERR_NOENT, "/boot: %s '%s' is not on the boot volume", what, name);
}

static boot_load_fn *const methods[] = {
    [BOOT_LINUX] = boot_linux_load,
    [BOOT_MULTIBOOT] = boot_multiboot_load,
    [BOOT_MULTIBOOT2] = boot_multiboot2_load,
    [BOOT_PVH] = boot_pvh_load,
};

_Static_assert(BOOT_MODULES == 1 + VM_MAX_MODULES, "modules");

static int find_module(const char *what, const char *name, const char *string,
    struct boot_module *out, struct errmsg *e)
{
	struct payload p;
	int err = find_payload(what, name, &p, e);

	if (!err)
		*out = (struct boot_module){p.data, p.size, name, string[0] ? string : name};
	return err;
}

/* The initrd, then the modules in the manifest's order. */
static int find_modules(const struct vm_config *config, struct boot_module mods[BOOT_MODULES],
    unsigned *count, struct errmsg *e)
{
	int err = OK;

	*count = 0;
	if (config->initrd[0])
		err = find_module("initrd", config->initrd, "", &mods[(*count)++], e);
	for (uint32_t i = 0; i < config->nmodules && !err; i++) {
		const struct config_module *m = &config->modules[i];

		err = find_module("module", m->file, m->string, &mods[(*count)++], e);
	}
	return err;
}

static int load_payload(struct vm *vm, uint64_t rsdp, struct errmsg *e)
{
	const struct vm_config *config = &vm->config;
	struct boot_module modules[BOOT_MODULES];
	struct payload kernel;
	struct e820_entry map[E820_MAX];
	unsigned entries = e820_build(config->memory, map);
	unsigned module_count;
	struct boot_input in;
	int err = find_payload("kernel", config->kernel, &kernel, e);

	if (!err)
		err = find_modules(config, modules, &module_count, e);
	if (err)
		return err;
	in = (struct boot_input){
	    .kernel = kernel.data,
	    .kernel_size = kernel.size,
	    .kernel_name = config->kernel,
	    .cmdline = config->cmdline,
	    .modules = modules,
	    .module_count = module_count,
	    .rsdp = rsdp,
	    .map = map,
	    .map_count = entries,
	};
	return methods[config->boot](vm, &in, &vm->vcpus[0]->state, e);
}

/* Virtual wire mode, as firmware leaves it (MP specification 1.4, 3.6.2.2): the 8259 reaches the
 * boot CPU. */
static void virtual_wire(struct vm *vm)
{
	enum { SVR = APIC_SVR << 4, LINT0 = APIC_LVT_LINT0 << 4, LINT1 = APIC_LVT_LINT1 << 4 };

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vlapic *l = &vm->vcpus[i]->lapic;

		vlapic_mmio_write(l, SVR, 4, 0x1ff);
		vlapic_mmio_write(l, LINT0, 4, i == 0 ? DELIVERY_EXTINT << 8 : 1 << 16);
		vlapic_mmio_write(l, LINT1, 4, DELIVERY_NMI << 8);
	}
}

/* What firmware would leave in memory, and the kernel. */
static int boot_kernel(struct vm *vm, struct errmsg *e)
{
	uint64_t rsdp;
	int err = acpi_tables_build(vm, &rsdp, e);

	if (!err)
		err = smbios_build(vm, e);
	if (!err)
		err = mp_table_build(vm, e);
	if (!err)
		err = vmgenid_boot(vm, e);
	virtual_wire(vm);
	return err || vm->config.boot == BOOT_NONE ? err : load_payload(vm, rsdp, e);
}

/* Firmware makes the rest out of what fw_cfg tells it. */
static int boot_firmware(struct vm *vm, struct errmsg *e)
{
	const char *name = vm->config.rom;
	struct payload rom;
	struct boot_input in;
	int err = find_payload("rom", name, &rom, e);

	if (err)
		return err;
	in = (struct boot_input){.kernel = rom.data, .kernel_size = rom.size, .kernel_name = name};
	err = boot_firmware_load(vm, &in, &vm->vcpus[0]->state, e);
	return err ? err : flash_boot(vm, 4 * GIB - rom.size, e);
}

int pc_boot(struct vm *vm, struct errmsg *e)
{
	int err = disk_backend_claim(vm, NULL, e);

	if (err)
		return err;
	return vm_config_has_firmware(&vm->config) ? boot_firmware(vm, e) : boot_kernel(vm, e);
}
