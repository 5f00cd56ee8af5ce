/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtual machine generation ID ("Virtual Machine Generation ID", Microsoft, 2012): 16 random
 * bytes in guest memory that stay the same as long as the machine goes on as one, and change when
 * it is restored or cloned so that what it did since the snapshot is lost or is done twice. The
 * change is announced by a general-purpose event. The namespace's device that says so is written
 * by acpi_dsdt.c; the guest only reads memory, so there are no registers. They are in low memory,
 * or if that is firmware's, where it has put them and told by a file of fw_cfg, which is the
 * state's address itself.
 *
 * The bytes are in the state too, so that a reset of the guest, which clears memory, keeps them.
 */
#include "hv/dev/vmgenid.h"

#include <string.h>
#include "hv/core/device.h"
#include "hv/core/e820.h"
#include "hv/core/gmem.h"
#include "hv/core/memmap.h"
#include "hv/core/random.h"
#include "hv/core/vm.h"
#include "hv/dev/acpi_pm.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

enum { GUID_BYTES = 16, GUID_ALIGN = 8 };

struct vmgenid_state {
	uint64_t address; /* 0: the guest's tables do not tell of it */
	uint8_t guid[GUID_BYTES];
};

static const struct state_field fields[] = {
    STATE_INT(struct vmgenid_state, address, "address", STATE_ANY,
	"guest-physical address of the identifier; 0: the guest has none"),
    STATE_ARRAY(struct vmgenid_state, guid, "guid", GUID_BYTES, 0xff, "the identifier"),
    STATE_END,
};

/* Changed only while the guest does not run, and the address under fw_cfg's lock: none of its own.
 */
struct vmgenid {
	struct vmgenid_state st;
};

static struct vmgenid *find(struct vm *vm)
{
	struct device *dev = device_find(vm, "amber,vmgenid");

	return dev ? dev->priv : NULL;
}

static int put_into_memory(struct vm *vm, const struct vmgenid_state *s, struct errmsg *e)
{
	int err = gmem_write(vm, gpa(s->address), s->guid, sizeof(s->guid));

	return err ? err_set(e, err, "generation ID: cannot write guest memory: %s",
			 vm->reason[0] ? vm->reason : error_text(err))
		   : OK;
}

int vmgenid_boot(struct vm *vm, struct errmsg *e)
{
	struct vmgenid *g = find(vm);

	if (!g || vm_config_has_firmware(&vm->config))
		return OK;
	g->st.address = MEMMAP_VMGENID;
	return put_into_memory(vm, &g->st, e);
}

/* Anywhere in RAM, of which firmware gives it away. */
static bool is_firmware_address(const struct vm_config *c, uint64_t address)
{
	struct e820_entry map[E820_MAX];
	unsigned n = e820_build(c->memory, map);

	return address % GUID_ALIGN == 0 && e820_is_ram(map, n, address, GUID_BYTES);
}

uint8_t *vmgenid_address_file(struct vm *vm)
{
	struct vmgenid *g = find(vm);

	_Static_assert(sizeof(g->st.address) == VMGENID_ADDRESS_SIZE, "the file's size");
	return g ? (uint8_t *)&g->st.address : NULL;
}

int vmgenid_told(struct vm *vm)
{
	struct vmgenid *g = find(vm);
	struct errmsg e;
	int err;

	if (!is_firmware_address(&vm->config, g->st.address)) {
		g->st.address = 0;
		return OK;
	}
	err = put_into_memory(vm, &g->st, &e);
	if (err && err != ERR_RETRY)
		g->st.address = 0;
	return err == ERR_RETRY ? err : OK;
}

int vmgenid_renew(struct vm *vm, struct errmsg *e)
{
	struct vmgenid *g = find(vm);
	int err;

	if (!g)
		return OK;
	/* also if the guest does not know it yet: after its next reset it may */
	random_bytes(g->st.guid, sizeof(g->st.guid));
	if (!g->st.address)
		return OK;
	err = put_into_memory(vm, &g->st, e);
	if (!err)
		acpi_pm_gpe(vm, ACPI_GPE_VMGENID);
	return err;
}

/* --- the model ------------------------------------------------------------------------------ */

static int vmgenid_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct vmgenid *g = heap_zalloc(sizeof(*g));

	if (!g)
		return err_set(e, ERR_NOMEM, "vmgenid: out of memory");
	dev->priv = g;
	dev->state = &g->st;
	random_bytes(g->st.guid, sizeof(g->st.guid));
	return OK;
}

static void vmgenid_destroy(struct device *dev)
{
	heap_free(dev->priv);
}

/* The identifier stays: a guest that starts anew is still the same machine. */
static void vmgenid_reset(struct device *dev)
{
	struct vmgenid *g = dev->priv;

	g->st.address = 0;
}

static void vmgenid_quiesce(struct device *dev)
{
}

static void vmgenid_resume(struct device *dev)
{
}

/* Only where the memory map has told every guest to keep away: it will be written to. Where
 * firmware is to tell it so, any place in RAM. */
static int vmgenid_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct vmgenid_state *s = state;

	if (s->address == 0)
		return OK;
	if (vm_config_has_firmware(&dev->vm->config))
		return is_firmware_address(&dev->vm->config, s->address)
			   ? OK
			   : err_set(e, ERR_INVAL, "address: 0x%llx is not in RAM, or not aligned",
				 (unsigned long long)s->address);
	if (s->address % GUID_ALIGN)
		return err_set(e, ERR_INVAL, "address: 0x%llx is not a multiple of %d",
		    (unsigned long long)s->address, GUID_ALIGN);
	if (s->address < MEMMAP_BIOS ||
	    !range_in(s->address - MEMMAP_BIOS, GUID_BYTES, MEMMAP_BIOS_END - MEMMAP_BIOS))
		return err_set(e, ERR_INVAL, "address: 0x%llx is not in the reserved memory",
		    (unsigned long long)s->address);
	return OK;
}

static void vmgenid_loaded(struct device *dev)
{
}

DEVICE_MODEL(vmgenid) = {
    .compatible = "amber,vmgenid",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .optional = true,
    .doc = "virtual machine generation ID",
    .state_size = sizeof(struct vmgenid_state),
    .fields = fields,
    .create = vmgenid_create,
    .destroy = vmgenid_destroy,
    .reset = vmgenid_reset,
    .quiesce = vmgenid_quiesce,
    .resume = vmgenid_resume,
    .check = vmgenid_check,
    .loaded = vmgenid_loaded,
};
