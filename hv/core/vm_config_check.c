/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the properties of a configuration mean together: two devices in one slot, a topology that
 * does not multiply out, files that a boot method has no use for.
 */
#include "hv/core/vm_config_impl.h"
#include "hv/lib/bitmap.h"

#define FW_CFG_NAME "fwcfg" /* of a device that no manifest names */

/* Absent: one socket, one thread a core, as many cores as that leaves. */
static int check_topology(const struct ctx *root, struct vm_config *v)
{
	struct ctx c;

	ctx_child(&c, root, root->node, "cpus");
	if (!v->vcpus)
		v->vcpus = 1;
	if (!v->sockets)
		v->sockets = 1;
	if (!v->threads)
		v->threads = 1;
	if (!v->cores)
		v->cores = MAX(v->vcpus / (v->sockets * v->threads), 1U);
	if (v->sockets * v->cores * v->threads != v->vcpus)
		return REFUSE(&c, "%u sockets of %u cores of %u threads are not %u CPUs",
		    v->sockets, v->cores, v->threads, v->vcpus);
	return OK;
}

static bool boots_kernel(const struct vm_config *v)
{
	return v->boot != BOOT_NONE && v->boot != BOOT_FIRMWARE;
}

static int check_payload(const struct ctx *c, const char *prop, const char *name,
    bool (*payload_exists)(const char *name))
{
	if (!payload_exists || payload_exists(name))
		return OK;
	return err_set(
	    c->e, ERR_NOENT, "%s: %s: no file '%s' on the boot volume", c->path, prop, name);
}

/* Linux takes its initrd in several parts, but is told nothing of each. */
static int check_modules(
    const struct ctx *boot, const struct vm_config *v, bool (*payload_exists)(const char *name))
{
	const char *method = config_boot_word(v->boot);
	struct ctx modules, c;

	ctx_child(&modules, boot, boot->node, "modules");
	if (v->nmodules && !boots_kernel(v))
		return REFUSE(&modules, "not with method \"%s\"", method);
	for (uint32_t i = 0; i < v->nmodules; i++) {
		const struct config_module *m = &v->modules[i];

		ctx_child(&c, &modules, boot->node, m->name);
		if (m->string[0] && v->boot == BOOT_LINUX)
			return REFUSE(&c, "command-line: not with method \"%s\"", method);
		if (check_payload(&c, "file", m->file, payload_exists))
			return ERR_NOENT;
	}
	return OK;
}

static int check_boot(
    const struct ctx *root, const struct vm_config *v, bool (*payload_exists)(const char *name))
{
	const struct {
		const char *name, *value;
		bool allowed, wanted, file;
	} props[] = {
	    {"command-line", v->cmdline, boots_kernel(v), false, false},
	    {"kernel", v->kernel, boots_kernel(v), boots_kernel(v), true},
	    {"initrd", v->initrd, boots_kernel(v), false, true},
	    {"rom", v->rom, vm_config_has_firmware(v), vm_config_has_firmware(v), true},
	};
	struct ctx c;

	ctx_child(&c, root, root->node, "boot");
	for (size_t i = 0; i < ARRAY_LEN(props); i++) {
		if (!props[i].value[0] && props[i].wanted)
			return REFUSE(&c, "%s is missing", props[i].name);
		if (!props[i].value[0])
			continue;
		if (!props[i].allowed)
			return REFUSE(&c, "%s: not with method \"%s\"", props[i].name,
			    config_boot_word(v->boot));
		if (props[i].file &&
		    check_payload(&c, props[i].name, props[i].value, payload_exists))
			return ERR_NOENT;
	}
	return check_modules(&c, v, payload_exists);
}

/* True if both cannot be in one machine; says why. */
static bool clash(const struct ctx *c, const struct config_dev *a, const struct config_dev *b)
{
	if (a->kind == CONFIG_UART && b->kind == CONFIG_UART && a->uart_index == b->uart_index) {
		REFUSE(c, "index %u is taken by %s", a->uart_index, b->name);
		return true;
	}
	if (a->kind == b->kind && (config_dev_is_plain(a) || a->kind == CONFIG_FLASH)) {
		REFUSE(c, "there is one already, %s", b->name);
		return true;
	}
	if (a->pci_slot && a->pci_slot == b->pci_slot) {
		REFUSE(c, "slot %u is taken by %s", a->pci_slot, b->name);
		return true;
	}
	if (a->backend[0] && strcmp(a->backend, b->backend) == 0 &&
	    !(a->read_only && b->read_only)) {
		REFUSE(c, "backend '%s' is written by %s or by this disk", a->backend, b->name);
		return true;
	}
	return false;
}

static int check_debug_exit(const struct ctx *c, struct config_dev *d)
{
	if (!d->io_base)
		d->io_base = DEBUG_EXIT_BASE;
	if (!d->io_size)
		d->io_size = DEBUG_EXIT_PORTS;
	if (d->io_base + d->io_size > 0x10000)
		return REFUSE(
		    c, "%u ports from %#x on are more than there are", d->io_size, d->io_base);
	return OK;
}

static bool in_store(const struct config_dev *d)
{
	return strncmp(d->backend, CONFIG_STORE_PREFIX, sizeof(CONFIG_STORE_PREFIX) - 1) == 0;
}

static int check_flash(const struct ctx *c, const struct vm_config *v, const struct config_dev *d)
{
	if (!vm_config_has_firmware(v))
		return REFUSE(c, "%s: only with the boot method \"firmware\"", d->model);
	if (!in_store(d))
		return REFUSE(c, "backend: must be '" CONFIG_STORE_PREFIX "%s'", "NAME");
	return OK;
}

/* Firmware finds out by fw_cfg what the machine is made of. */
static int add_fw_cfg(const struct ctx *root, struct vm_config *v)
{
	struct config_dev *d = &v->devs[v->ndevs];

	for (uint32_t i = 0; i < v->ndevs; i++)
		if (v->devs[i].kind == CONFIG_FW_CFG)
			return OK;
	if (v->ndevs == VM_MAX_DEVICES)
		return REFUSE(root, "no device is left for %s", "amber,fw-cfg");
	*d = (struct config_dev){.kind = CONFIG_FW_CFG};
	str_copy(d->name, sizeof(d->name), FW_CFG_NAME);
	str_copy(d->model, sizeof(d->model), config_dev_compatible(d));
	for (uint32_t i = 0; i < v->ndevs; i++)
		if (strcmp(v->devs[i].name, FW_CFG_NAME) == 0)
			return REFUSE(root, "the name '%s' is another device's", FW_CFG_NAME);
	v->ndevs++;
	return OK;
}

static int check_device(const struct ctx *c, struct vm_config *v, struct config_dev *d)
{
	if ((d->base[0] || d->disk_size) && !in_store(d))
		return REFUSE(c, "%s: only with a backend '" CONFIG_STORE_PREFIX "NAME'",
		    d->base[0] ? "base" : "size-mib");
	if (d->kind == CONFIG_DEBUG_EXIT && check_debug_exit(c, d))
		return ERR_INVAL;
	if (d->kind == CONFIG_FLASH && check_flash(c, v, d))
		return ERR_INVAL;
	for (const struct config_dev *other = v->devs; other < d; other++)
		if (clash(c, d, other))
			return ERR_INVAL;
	return OK;
}

static int give_slots(const struct ctx *devices, struct vm_config *v, uint64_t used)
{
	for (uint32_t i = 0; i < v->ndevs; i++) {
		struct ctx c;
		size_t slot;

		if (v->devs[i].pci_slot || !config_dev_is_pci(&v->devs[i]))
			continue;
		slot = bitmap_next_clear(&used, SLOT_MAX + 1, SLOT_AUTO);
		ctx_child(&c, devices, devices->node, v->devs[i].name);
		if (slot > SLOT_MAX)
			return REFUSE(&c, "no slot is left in %d to %d", SLOT_AUTO, SLOT_MAX);
		v->devs[i].pci_slot = (uint8_t)slot;
		used |= BIT(slot);
	}
	return OK;
}

static int check_devices(const struct ctx *root, struct vm_config *v)
{
	uint64_t used = 0;
	struct ctx devices, c;

	if (vm_config_has_firmware(v) && add_fw_cfg(root, v))
		return ERR_INVAL;
	ctx_child(&devices, root, root->node, "devices");
	for (uint32_t i = 0; i < v->ndevs; i++) {
		ctx_child(&c, &devices, root->node, v->devs[i].name);
		if (check_device(&c, v, &v->devs[i]))
			return ERR_INVAL;
		if (v->devs[i].pci_slot)
			used |= BIT(v->devs[i].pci_slot);
	}
	return give_slots(&devices, v, used);
}

int config_check(
    const struct ctx *root, struct vm_config *v, bool (*payload_exists)(const char *name))
{
	int err = check_topology(root, v);

	if (!err)
		err = check_boot(root, v, payload_exists);
	return err ? err : check_devices(root, v);
}
