/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host bridge (function 0:0.0 of a Q35) and the bus behind it: both
 * configuration mechanisms (PCI 3.0, 3.2.2.3.2; PCI Express 5.0, 7.2.2), the
 * reset control register that lies between their ports, and INTx routing.
 */
#include "hv/dev/pci_bus.h"

#include "hv/core/vm.h"
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

enum config_address {
	CONFIG_ADDRESS_ENABLE = 1u << 31,
	CONFIG_ADDRESS_WRITABLE = 0x80fffffc,
};
/* RST_CNT, ICH9 datasheet 13.7.5 */
enum reset_control {
	RST_CNT_SYS_RST = 1 << 1,
	RST_CNT_RST_CPU = 1 << 2,
	RST_CNT_FULL_RST = 1 << 3,
	RST_CNT_WRITABLE = RST_CNT_SYS_RST | RST_CNT_RST_CPU | RST_CNT_FULL_RST,
};

static const struct device_model pci_host_model;

struct pci_bus *pci_bus_of(struct vm *vm)
{
	struct device *d = device_find(vm, pci_host_model.compatible);

	return d ? d->priv : NULL;
}

/* --- configuration mechanisms --------------------------------------------------- */

/* Only function 0 of each slot of bus 0 exists. */
static struct pci_function *function_at(
    struct pci_bus *bus, unsigned number, unsigned slot, unsigned fn)
{
	return number == 0 && fn == 0 ? bus->slot[slot] : NULL;
}

static struct pci_function *addressed(struct pci_bus *bus, uint32_t address)
{
	if (!(address & CONFIG_ADDRESS_ENABLE))
		return NULL;
	return function_at(bus, address >> 16 & 0xff, address >> 11 & 0x1f, address >> 8 & 7);
}

static uint32_t address_load(struct pci_bus *bus)
{
	return __atomic_load_n(&bus->st.config_address, __ATOMIC_RELAXED);
}

static void address_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct pci_bus *bus = ctx;

	if (offset == 0 && len == 4)
		*value = address_load(bus);
	else if (offset == PCI_RESET_CONTROL - PCI_CONFIG_ADDRESS && len == 1)
		*value = bus->st.reset_control;
	else
		*value = UINT64_MAX;
}

/* The address register takes doublewords only; bytes and words there are not its own. */
static void address_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct pci_bus *bus = ctx;

	if (offset == 0 && len == 4) {
		__atomic_store_n(&bus->st.config_address, (uint32_t)value & CONFIG_ADDRESS_WRITABLE,
		    __ATOMIC_RELAXED);
	} else if (offset == PCI_RESET_CONTROL - PCI_CONFIG_ADDRESS && len == 1) {
		uint8_t old = bus->st.reset_control;

		/* The reset is the rising edge of RST_CPU; the other bits choose its kind. */
		bus->st.reset_control = (uint8_t)value & RST_CNT_WRITABLE;
		if (value & ~(unsigned)old & RST_CNT_RST_CPU)
			vm_request_reset(bus->vm);
	}
}

static void data_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct pci_bus *bus = ctx;
	uint32_t address = address_load(bus);
	struct pci_function *f = addressed(bus, address);

	*value = f ? pci_config_read(f, (address & 0xfc) + (unsigned)offset, len) : UINT64_MAX;
}

static void data_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct pci_bus *bus = ctx;
	uint32_t address = address_load(bus);
	struct pci_function *f = addressed(bus, address);

	if (f)
		pci_config_write(f, (address & 0xfc) + (unsigned)offset, len, value);
}

static struct pci_function *ecam_function(struct pci_bus *bus, uint64_t offset)
{
	return function_at(bus, (unsigned)(offset >> 20), offset >> 15 & 0x1f, offset >> 12 & 7);
}

static void ecam_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct pci_function *f = ecam_function(ctx, offset);

	*value = f ? pci_config_read(f, offset & 0xfff, len) : UINT64_MAX;
}

static void ecam_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct pci_function *f = ecam_function(ctx, offset);

	if (f)
		pci_config_write(f, offset & 0xfff, len, value);
}

static const struct io_handler address_ops = {.read = address_read, .write = address_write};
static const struct io_handler data_ops = {.read = data_read, .write = data_write};
static const struct io_handler ecam_ops = {.read = ecam_read, .write = ecam_write};

/* --- INTx routing --------------------------------------------------------------- */

static bool irq_asserted(const struct pci_bus *bus, unsigned irq)
{
	for (unsigned link = 0; link < PCI_INTX_LINKS; link++)
		if (bus->link_irq[link] == irq && bus->asserting[link])
			return true;
	return false;
}

/*
 * The I/O APIC input of a link always follows it; the ISA interrupt only while
 * the router sends it there, which an operating system that uses the I/O APIC
 * switches off. A router that points at the interrupt of an ISA device takes
 * that line over: the guest's own doing.
 */
void pci_bus_link_drive(struct pci_bus *bus, unsigned link)
{
	unsigned irq = bus->link_irq[link];

	irq_line_set(bus->vm, PCI_INTX_GSI + link, bus->asserting[link] != 0);
	if (irq)
		irq_line_set(bus->vm, irq, irq_asserted(bus, irq));
}

void pci_bus_link_change(struct pci_bus *bus, unsigned link, bool assert)
{
	unsigned before = bus->asserting[link];

	bus->asserting[link] = assert ? before + 1 : before - 1;
	if (!before != !bus->asserting[link])
		pci_bus_link_drive(bus, link);
}

void pci_bus_route_link(struct pci_bus *bus, unsigned link, unsigned irq)
{
	unsigned old = bus->link_irq[link];

	if (old == irq)
		return;
	bus->link_irq[link] = (uint8_t)irq;
	if (old)
		irq_line_set(bus->vm, old, irq_asserted(bus, old));
	pci_bus_link_drive(bus, link);
}

/* --- what firmware programs ------------------------------------------------------- */

/*
 * Intel 3 Series Express Chipset datasheet, 5.1. Nobody is there to set them up in a machine whose
 * kernel Amber loads: it has ECAM where the ACPI tables say, and none of these registers.
 */
enum mch_config_reg {
	MCH_PCIEXBAR = 0x60, /* 64 bits */
	MCH_PAM0 = 0x90,     /* to PAM6: shadow memory; without effect, it can always be written */
	MCH_PAM6 = 0x96,
	MCH_SMRAM = 0x9d, /* without effect: there is no system management mode */
};
enum mch_pciexbar {
	PCIEXBAR_EN = 1 << 0,
	PCIEXBAR_LENGTH_SHIFT = 1, /* 256, 128, 64 MiB; reserved */
	PCIEXBAR_LENGTH = 3 << PCIEXBAR_LENGTH_SHIFT,
	PCIEXBAR_ADDRESS = 0xf0000000, /* and, if it is smaller, the two bits below */
	PCIEXBAR_DEFAULT = 0xe0000000, /* not enabled */
	PCIEXBAR_ADDRESS_HIGH = 0xf,   /* of the upper half */
	PAM0_WRITABLE = 0x30,
	PAM_WRITABLE = 0x33,
	SMRAM_WRITABLE = 0x78, /* D_OPEN, D_CLS, D_LCK, G_SMRAME */
	SMRAM_DEFAULT = 0x02,
};

/* Bus lock held. */
static void move_ecam(struct pci_bus *bus)
{
	uint32_t low = get_le32(bus->st.pci.config + MCH_PCIEXBAR);
	uint32_t high = get_le32(bus->st.pci.config + MCH_PCIEXBAR + 4);
	unsigned length = (low & PCIEXBAR_LENGTH) >> PCIEXBAR_LENGTH_SHIFT;
	uint64_t size = 256 * MIB >> length;
	uint64_t start = ((uint64_t)high << 32 | low) & ~(size - 1);
	bool on = low & PCIEXBAR_EN && length < 3;

	if (on && bus->ecam.mapped && bus->ecam.start == start && bus->ecam.size == size)
		return;
	iobus_unmap_mmio(bus->vm, &bus->ecam);
	bus->ecam.start = start;
	bus->ecam.size = size;
	if (on && iobus_map_mmio(bus->vm, &bus->ecam) != OK)
		log_debug("%s: PCIEXBAR at 0x%lx overlaps", bus->host.name, start);
}

static void host_config_written(void *ctx, unsigned off, unsigned len)
{
	struct pci_bus *bus = ctx;

	if (vm_config_has_firmware(&bus->vm->config) && off < MCH_PCIEXBAR + 8 &&
	    off + len > MCH_PCIEXBAR)
		move_ecam(bus);
}

static const struct pci_function_ops host_ops = {.config_written = host_config_written};

static void add_mch_registers(struct pci_function *f)
{
	put_le32(f->initial + MCH_PCIEXBAR, PCIEXBAR_DEFAULT);
	put_le32(f->wmask + MCH_PCIEXBAR,
	    PCIEXBAR_EN | PCIEXBAR_LENGTH | PCIEXBAR_ADDRESS | PCIEXBAR_ADDRESS >> 2);
	put_le32(f->wmask + MCH_PCIEXBAR + 4, PCIEXBAR_ADDRESS_HIGH);
	for (unsigned reg = MCH_PAM0; reg <= MCH_PAM6; reg++)
		f->wmask[reg] = reg == MCH_PAM0 ? PAM0_WRITABLE : PAM_WRITABLE;
	f->initial[MCH_SMRAM] = SMRAM_DEFAULT;
	f->wmask[MCH_SMRAM] = SMRAM_WRITABLE;
}

/* --- the model ------------------------------------------------------------------ */

static const struct pci_identity host_identity = {
    .vendor = 0x8086, .device = 0x29c0, .class_code = 0x060000, .revision = 2};
/* SeaBIOS takes a machine for one with fw_cfg by the subsystem of the host bridge. */
static const struct pci_identity host_identity_firmware = {.vendor = 0x8086,
    .device = 0x29c0,
    .subsystem_vendor = 0x1af4,
    .subsystem = 0x1100,
    .class_code = 0x060000,
    .revision = 2};

static int map_regions(struct pci_bus *bus, struct errmsg *e)
{
	int err;

	bus->address_ports = (struct io_region){.name = "pci-config-address",
	    .start = PCI_CONFIG_ADDRESS,
	    .size = 4,
	    .ops = &address_ops,
	    .ctx = bus};
	bus->data_ports = (struct io_region){.name = "pci-config-data",
	    .start = PCI_CONFIG_DATA,
	    .size = 4,
	    .ops = &data_ops,
	    .ctx = bus};
	bus->ecam = (struct io_region){.name = "pci-ecam",
	    .start = PCI_ECAM_BASE,
	    .size = PCI_ECAM_SIZE,
	    .ops = &ecam_ops,
	    .ctx = bus};
	err = iobus_map_port(bus->vm, &bus->address_ports);
	if (!err)
		err = iobus_map_port(bus->vm, &bus->data_ports);
	if (!err && !vm_config_has_firmware(&bus->vm->config))
		err = iobus_map_mmio(bus->vm, &bus->ecam);
	return err ? err_set(e, err, "PCI configuration ports or ECAM are taken") : OK;
}

static int pci_host_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct pci_bus *bus = heap_zalloc(sizeof(*bus));
	bool firmware = vm_config_has_firmware(&dev->vm->config);
	int err;

	if (!bus)
		return err_set(e, ERR_NOMEM, "no memory");
	dev->priv = bus;
	dev->state = &bus->st;
	bus->vm = dev->vm;
	bus->bar_next = PCI_HOLE_BASE;
	spinlock_init(&bus->lock, RANK_PCI_BUS);
	pci_function_init(&bus->host, dev->vm, dev->name, &bus->st.pci,
	    firmware ? &host_identity_firmware : &host_identity, &host_ops, bus);
	if (firmware)
		add_mch_registers(&bus->host);
	err = map_regions(bus, e);
	return err ? err : pci_bus_add(bus, &bus->host, PCI_SLOT_HOST, e);
}

static void pci_host_destroy(struct device *dev)
{
	struct pci_bus *bus = dev->priv;

	if (!bus)
		return;
	iobus_unmap_port(bus->vm, &bus->address_ports);
	iobus_unmap_port(bus->vm, &bus->data_ports);
	iobus_unmap_mmio(bus->vm, &bus->ecam);
	pci_function_unregister(&bus->host);
	heap_free(bus);
	dev->priv = dev->state = NULL;
}

static void pci_host_reset(struct device *dev)
{
	struct pci_bus *bus = dev->priv;

	bus->st.config_address = 0;
	bus->st.reset_control = 0;
	pci_function_reset(&bus->host);
}

static void pci_host_quiesce(struct device *dev)
{
}

static void pci_host_resume(struct device *dev)
{
	struct pci_bus *bus = dev->priv;
	uint64_t flags = spin_lock(&bus->lock);

	for (unsigned link = 0; link < PCI_INTX_LINKS; link++)
		pci_bus_link_drive(bus, link);
	spin_unlock(&bus->lock, flags);
}

static int pci_host_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct pci_bus *bus = dev->priv;
	const struct pci_host_state *st = state;

	if (st->config_address & ~(uint32_t)CONFIG_ADDRESS_WRITABLE)
		return err_set(e, ERR_INVAL, "config-address: reserved bits set");
	if (st->reset_control & ~RST_CNT_WRITABLE)
		return err_set(e, ERR_INVAL, "reset-control: reserved bits set");
	return pci_function_check(&bus->host, &st->pci, e);
}

static void pci_host_loaded(struct device *dev)
{
	pci_function_loaded(&((struct pci_bus *)dev->priv)->host);
}

static const struct state_field pci_host_fields[] = {
    PCI_STATE_FIELDS(struct pci_host_state, pci),
    STATE_INT(struct pci_host_state, config_address, "config-address", UINT32_MAX,
	"CONFIG_ADDRESS, port 0xCF8"),
    STATE_INT(struct pci_host_state, reset_control, "reset-control", 0xff, "RST_CNT, port 0xCF9"),
    STATE_END,
};

/* A platform device, not of the class BUS: the bridges of that class register on the bus it makes.
 */
DEVICE_MODEL(pci_host_model) = {
    .compatible = "amber,pci-host",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .doc = "PCI host bridge of a Q35: configuration mechanisms, INTx routing, reset control",
    .state_size = sizeof(struct pci_host_state),
    .fields = pci_host_fields,
    .create = pci_host_create,
    .destroy = pci_host_destroy,
    .reset = pci_host_reset,
    .quiesce = pci_host_quiesce,
    .resume = pci_host_resume,
    .check = pci_host_check,
    .loaded = pci_host_loaded,
};
