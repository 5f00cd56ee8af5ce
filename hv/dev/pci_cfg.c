/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function's configuration space: masks decide what software can write,
 * memory decode and base address registers decide which regions are mapped, the
 * command and status registers decide what becomes of INTx.
 */
#include "hv/dev/pci_bus.h"

#include <string.h>
#include "hv/core/vm.h"
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"

static void set16(uint8_t *table, unsigned off, uint16_t v)
{
	put_le16(table + off, v);
}

void pci_function_init(struct pci_function *f, struct vm *vm, const char *name,
    struct pci_state *st, const struct pci_identity *id, const struct pci_function_ops *ops,
    void *ctx)
{
	*f = (struct pci_function){
	    .vm = vm, .name = name, .st = st, .ops = ops, .ctx = ctx, .free_cap = PCI_CAPS_FIRST};
	set16(f->initial, PCI_VENDOR_ID, id->vendor);
	set16(f->initial, PCI_DEVICE_ID, id->device);
	f->initial[PCI_REVISION_ID] = id->revision;
	f->initial[PCI_CLASS_CODE] = (uint8_t)id->class_code;
	set16(f->initial, PCI_CLASS_CODE + 1, (uint16_t)(id->class_code >> 8));
	set16(f->initial, PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	set16(f->initial, PCI_SUBSYSTEM_ID, id->subsystem);
	set16(f->wmask, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR);
	if (id->intx) {
		f->initial[PCI_INTERRUPT_PIN] = 1;
		/* Not connected to the 8259 pair, as long as nobody programs the PIRQ router. */
		f->initial[PCI_INTERRUPT_LINE] = 0xff;
		f->wmask[PCI_INTERRUPT_LINE] = 0xff;
		f->wmask[PCI_COMMAND + 1] |= PCI_COMMAND_INTX_DISABLE >> 8;
	}
}

void pci_function_add_bar(
    struct pci_function *f, unsigned index, uint32_t size, const struct io_handler *ops, void *ctx)
{
	struct pci_bar *b = &f->bar[index];

	ASSERT(index < PCI_BARS && size >= PAGE_SIZE && (size & (size - 1)) == 0);
	b->size = size;
	b->region = (struct io_region){.name = f->name, .size = size, .ops = ops, .ctx = ctx};
	put_le32(f->wmask + PCI_BAR0 + 4 * index, ~(size - 1));
	/* No firmware comes to enable decoding: the function starts as firmware leaves it. */
	f->initial[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	f->wmask[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
}

unsigned pci_function_add_cap(struct pci_function *f, uint8_t id, const void *body, unsigned len)
{
	unsigned off = f->free_cap;

	if (len < 2 || len > PCI_CONFIG_SIZE - PCI_CAPS_FIRST || off + len > PCI_CONFIG_SIZE - 4)
		return 0;
	f->initial[off] = id;
	memcpy(f->initial + off + 2, body, len - 2);
	f->initial[f->last_cap ? f->last_cap + 1 : PCI_CAP_PTR] = (uint8_t)off;
	f->initial[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	f->last_cap = (uint8_t)off;
	f->free_cap = (uint8_t)ALIGN_UP(off + len, 4U);
	return off;
}

/* --- base address registers ----------------------------------------------------- */

static uint16_t command(const struct pci_function *f)
{
	return get_le16(f->st->config + PCI_COMMAND);
}

/* Where the region belongs now, or 0 if it answers nowhere. Only the hole is routed to the bus. */
static uint64_t bar_wanted(const struct pci_function *f, unsigned i)
{
	uint64_t addr = get_le32(f->st->config + PCI_BAR0 + 4 * i);

	if (!f->bar[i].size || !(command(f) & PCI_COMMAND_MEMORY) || addr < PCI_HOLE_BASE ||
	    addr + f->bar[i].size > PCI_HOLE_END)
		return 0;
	return addr;
}

static void function_map(struct pci_function *f, bool map)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct io_region *r = &f->bar[i].region;
		uint64_t wanted = bar_wanted(f, i);

		if (!map && r->mapped && r->start != wanted) {
			iobus_unmap_mmio(f->vm, r);
		} else if (map && !r->mapped && wanted) {
			r->start = wanted;
			/* A register put on top of another answers once that has moved away. */
			if (iobus_map_mmio(f->vm, r) != OK)
				log_debug("%s: BAR %u at 0x%llx overlaps", f->name, i,
				    (unsigned long long)wanted);
		}
	}
}

/* All functions, since one that moves away may uncover another. Bus lock held. */
static void bus_map(struct pci_bus *bus)
{
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned s = 0; s < PCI_SLOTS; s++)
			if (bus->slot[s])
				function_map(bus->slot[s], pass == 1);
}

/* --- INTx ----------------------------------------------------------------------- */

/* PCI 3.0, 6.2.3: the status bit tells the device's wish, the disable bit only gates the pin. */
static void intx_update(struct pci_function *f)
{
	bool wish = f->intx && !f->msi_active;
	bool assert = wish && !(command(f) & PCI_COMMAND_INTX_DISABLE);
	uint8_t *status = &f->st->config[PCI_STATUS];

	*status = (uint8_t)((*status & ~PCI_STATUS_INTERRUPT) | (wish ? PCI_STATUS_INTERRUPT : 0));
	if (assert == f->asserted || !f->bus)
		return;
	f->asserted = assert;
	pci_bus_link_change(f->bus, pci_intx_gsi(f->slot, 0) - PCI_INTX_GSI, assert);
}

void pci_intx_set(struct pci_function *f, bool level)
{
	uint64_t flags = spin_lock(&f->bus->lock);

	f->intx = level;
	intx_update(f);
	spin_unlock(&f->bus->lock, flags);
}

void pci_msi_active_set(struct pci_function *f, bool active)
{
	f->msi_active = active;
	intx_update(f);
}

/* --- accesses ------------------------------------------------------------------- */

static bool overlaps(unsigned off, unsigned len, unsigned start, unsigned size)
{
	return off < start + size && start < off + len;
}

/* Everything that depends on the bytes [off, off + len). Bus lock held. */
static void config_changed(struct pci_function *f, unsigned off, unsigned len)
{
	if (overlaps(off, len, PCI_COMMAND, 2) || overlaps(off, len, PCI_BAR0, 4 * PCI_BARS))
		bus_map(f->bus);
	if (f->ops && f->ops->config_written)
		f->ops->config_written(f->ctx, off, len);
	intx_update(f);
}

static bool in_window(const struct pci_function *f, unsigned off, unsigned len)
{
	return f->window && off == f->window && len <= 4;
}

uint64_t pci_config_read(struct pci_function *f, unsigned off, unsigned len)
{
	uint64_t flags, value = 0;
	uint32_t window;

	if (off >= PCI_CONFIG_SIZE || len > 8 || off + len > PCI_CONFIG_SIZE)
		return UINT64_MAX;
	if (in_window(f, off, len)) {
		f->ops->window_read(f->ctx, &window);
		return window;
	}
	flags = spin_lock(&f->bus->lock);
	memcpy(&value, f->st->config + off, len);
	spin_unlock(&f->bus->lock, flags);
	return value;
}

void pci_config_write(struct pci_function *f, unsigned off, unsigned len, uint64_t value)
{
	uint64_t flags;

	if (off >= PCI_CONFIG_SIZE || len > 8 || off + len > PCI_CONFIG_SIZE)
		return;
	if (in_window(f, off, len)) {
		f->ops->window_write(f->ctx, len, (uint32_t)value);
		return;
	}
	flags = spin_lock(&f->bus->lock);
	for (unsigned i = 0; i < len; i++) {
		uint8_t *byte = &f->st->config[off + i], v = (uint8_t)(value >> (8 * i));
		uint8_t w = f->wmask[off + i];

		*byte = (uint8_t)((*byte & ~w & ~(f->w1c[off + i] & v)) | (v & w));
	}
	config_changed(f, off, len);
	spin_unlock(&f->bus->lock, flags);
}

/* --- registration and life cycle ------------------------------------------------ */

/* Natural alignment, upwards from the start of the hole. */
static int assign_bars(struct pci_function *f, struct errmsg *e)
{
	uint64_t next = f->bus->bar_next;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &f->bar[i];

		if (!b->size)
			continue;
		next = ALIGN_UP(next, (uint64_t)b->size);
		if (next + b->size > PCI_HOLE_END)
			return err_set(e, ERR_FULL, "no PCI address space left for BAR %u", i);
		b->address = (uint32_t)next;
		next += b->size;
	}
	f->bus->bar_next = next;
	return OK;
}

static bool slot_reserved(const struct vm *vm, unsigned slot)
{
	for (uint32_t i = 0; i < vm->config.ndevs && i < VM_MAX_DEVICES; i++)
		if (vm->config.devs[i].pci_slot == slot)
			return true;
	return false;
}

static unsigned first_free_slot(const struct pci_bus *bus)
{
	for (unsigned s = PCI_SLOT_FIRST_FREE; s < PCI_SLOTS; s++)
		if (!bus->slot[s] && s != PCI_SLOT_LPC && !slot_reserved(bus->vm, s))
			return s;
	return PCI_SLOTS;
}

int pci_function_register(struct pci_function *f, unsigned slot, struct errmsg *e)
{
	struct pci_bus *bus = pci_bus_of(f->vm);

	if (!bus)
		return err_set(e, ERR_STATE, "the machine has no PCI bus");
	return pci_bus_add(bus, f, slot ? slot : first_free_slot(bus), e);
}

int pci_bus_add(struct pci_bus *bus, struct pci_function *f, unsigned slot, struct errmsg *e)
{
	uint64_t flags;
	int err;

	if (slot >= PCI_SLOTS)
		return err_set(e, ERR_FULL, "no PCI slot is free");
	if (bus->slot[slot])
		return err_set(
		    e, ERR_EXIST, "PCI slot %u is taken by %s", slot, bus->slot[slot]->name);
	f->bus = bus;
	f->slot = (uint8_t)slot;
	err = assign_bars(f, e);
	if (err) {
		f->bus = NULL;
		return err;
	}
	memcpy(f->st->config, f->initial, PCI_CONFIG_SIZE);
	flags = spin_lock(&bus->lock);
	bus->slot[slot] = f;
	spin_unlock(&bus->lock, flags);
	return OK;
}

void pci_function_unregister(struct pci_function *f)
{
	struct pci_bus *bus = f->bus;
	uint64_t flags;

	if (!bus)
		return;
	flags = spin_lock(&bus->lock);
	f->intx = false;
	intx_update(f);
	for (unsigned i = 0; i < PCI_BARS; i++)
		iobus_unmap_mmio(f->vm, &f->bar[i].region);
	bus->slot[f->slot] = NULL;
	f->bus = NULL;
	spin_unlock(&bus->lock, flags);
}

void pci_function_reset(struct pci_function *f)
{
	uint64_t flags = spin_lock(&f->bus->lock);

	memcpy(f->st->config, f->initial, PCI_CONFIG_SIZE);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (f->bar[i].size && !vm_config_has_firmware(&f->vm->config))
			put_le32(f->st->config + PCI_BAR0 + 4 * i, f->bar[i].address);
	if (vm_config_has_firmware(&f->vm->config)) /* that does it, as it sees fit */
		f->st->config[PCI_COMMAND] &=
		    (uint8_t)(~PCI_COMMAND_MEMORY | ~f->wmask[PCI_COMMAND]);
	f->intx = false;
	config_changed(f, 0, PCI_CONFIG_SIZE);
	spin_unlock(&f->bus->lock, flags);
}

int pci_function_check(const struct pci_function *f, const struct pci_state *st, struct errmsg *e)
{
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t free = f->wmask[i] | f->w1c[i];

		if (i == PCI_STATUS)
			free |= PCI_STATUS_INTERRUPT; /* computed anew when the machine resumes */
		if ((st->config[i] ^ f->initial[i]) & ~free)
			return err_set(e, ERR_INVAL,
			    "pci-config: byte 0x%02x is 0x%02x, this model's read-only bits are "
			    "0x%02x",
			    i, st->config[i], f->initial[i] & ~free);
	}
	return OK;
}

void pci_function_loaded(struct pci_function *f)
{
	uint64_t flags = spin_lock(&f->bus->lock);

	config_changed(f, 0, PCI_CONFIG_SIZE);
	spin_unlock(&f->bus->lock, flags);
}

void pci_function_resume(struct pci_function *f)
{
	uint64_t flags = spin_lock(&f->bus->lock);

	intx_update(f);
	if (f->initial[PCI_INTERRUPT_PIN])
		pci_bus_link_drive(f->bus, pci_intx_gsi(f->slot, 0) - PCI_INTX_GSI);
	spin_unlock(&f->bus->lock, flags);
}
