/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The namespace that the guest's operating system sees: processors, PCI host
 * bridge with its windows and interrupt routing, devices at fixed ports, and
 * what it must leave alone.
 */
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/dev/acpi_link.h"
#include "hv/dev/acpi_pm.h"
#include "hv/dev/acpi_tables.h"
#include "hv/dev/fw_cfg.h"
#include "hv/dev/hpet.h"
#include "hv/dev/pci_bus.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/fmt.h"

/* A device that always has the same ports and interrupts. */
struct fixed_dev {
	char name[5];
	const char *hid;
	struct {
		uint16_t port;
		uint8_t len;
	} io[4]; /* ends with len 0 */
	int irq; /* -1: none */
};

static const struct fixed_dev fixed_devs[] = {
    {"PIC0", "PNP0000", {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}}, 2},
    {"TMR0", "PNP0100", {{0x40, 4}}, 0},
    {"RTC0", "PNP0B00", {{0x70, 2}}, 8},
    {"KBD0", "PNP0303", {{0x60, 1}, {0x64, 1}}, 1},
    /* motherboard resources: power management; reset control lies in the bridge's own ports */
    {"PMIO", "PNP0C02",
	{{ACPI_PM1A_EVT, 4}, {ACPI_PM1A_CNT, 2}, {ACPI_PM_TMR, 4}, {ACPI_GPE0, ACPI_GPE0_LEN}}, -1},
};

/* COM1 to COM4 */
static const struct {
	uint16_t port;
	uint8_t irq;
} uarts[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

static void write_fixed_dev(struct aml *a, const struct fixed_dev *d)
{
	size_t dev = aml_device(a, d->name);
	struct aml_res r;

	aml_name_eisaid(a, "_HID", d->hid);
	aml_res_init(&r);
	for (unsigned i = 0; i < ARRAY_LEN(d->io) && d->io[i].len; i++)
		aml_res_io(&r, d->io[i].port, d->io[i].len);
	if (d->irq >= 0)
		aml_res_irq(&r, (unsigned)d->irq);
	aml_name_crs(a, &r);
	aml_close(a, dev);
}

static void write_uart(struct aml *a, unsigned index)
{
	char name[5];
	struct aml_res r;
	size_t dev;

	str_format(name, sizeof(name), "COM%u", index + 1);
	dev = aml_device(a, name);
	aml_name_eisaid(a, "_HID", "PNP0501");
	aml_name_integer(a, "_UID", index + 1);
	aml_res_init(&r);
	aml_res_io(&r, uarts[index].port, 8);
	aml_res_irq(&r, uarts[index].irq);
	aml_name_crs(a, &r);
	aml_close(a, dev);
}

/* There, and not shown to users. */
static void write_fw_cfg(struct aml *a)
{
	enum { PRESENT = 1 << 0, ENABLED = 1 << 1, FUNCTIONING = 1 << 3 };
	size_t dev = aml_device(a, "FWCF");
	struct aml_res r;

	aml_name(a, "_HID");
	aml_string(a, "QEMU0002");
	aml_name_integer(a, "_STA", PRESENT | ENABLED | FUNCTIONING);
	aml_res_init(&r);
	aml_res_io(&r, FW_CFG_PORTS, FW_CFG_PORTS_LEN);
	aml_name_crs(a, &r);
	aml_close(a, dev);
}

static void write_lpc(struct vm *vm, struct aml *a)
{
	size_t lpc = aml_device(a, "LPC0");

	aml_name_integer(a, "_ADR", PCI_SLOT_LPC << 16);
	for (size_t i = 0; i < ARRAY_LEN(fixed_devs); i++)
		write_fixed_dev(a, &fixed_devs[i]);
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *d = &vm->config.devs[i];

		if (d->kind == CONFIG_UART && d->uart_index < ARRAY_LEN(uarts))
			write_uart(a, d->uart_index);
		if (d->kind == CONFIG_FW_CFG)
			write_fw_cfg(a);
	}
	aml_close(a, lpc);
}

/*
 * _OSC (6.2.11): an operating system asks for control over PCI Express features
 * of the bridge. There are none: every request is masked to nothing.
 *
 *	CreateDWordField (Arg3, 0, CDW1)
 *	If (Arg0 == the PCI host bridge's UUID) {
 *		CreateDWordField (Arg3, 8, CDW3)
 *		If (Arg1 != 1) { CDW1 |= 8 }		unknown revision
 *		If (CDW3 != 0) { CDW1 |= 0x10; CDW3 = 0 }	capabilities masked
 *	} Else { CDW1 |= 4 }				unknown UUID
 *	Return (Arg3)
 */
static void or_into(struct aml *a, const char *field, uint8_t bits)
{
	aml_byte(a, AML_OR);
	aml_path(a, field);
	aml_integer(a, bits);
	aml_path(a, field);
}

static void create_dword(struct aml *a, uint8_t offset, const char *field)
{
	aml_byte(a, AML_CREATE_DWORD_FIELD);
	aml_byte(a, AML_ARG3);
	aml_integer(a, offset);
	aml_path(a, field);
}

static void write_osc(struct aml *a)
{
	/* 33DB4D5B-1FF7-401C-9657-7441C03DD766 */
	static const uint8_t uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57,
	    0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	size_t method = aml_method(a, "_OSC", 4 | AML_METHOD_SERIALIZED), block, inner;

	create_dword(a, 0, "CDW1");
	block = aml_if(a);
	aml_byte(a, AML_LEQUAL);
	aml_byte(a, AML_ARG0);
	aml_buffer(a, uuid, sizeof(uuid));
	create_dword(a, 8, "CDW3");
	inner = aml_if(a);
	aml_byte(a, AML_LNOT);
	aml_byte(a, AML_LEQUAL);
	aml_byte(a, AML_ARG1);
	aml_integer(a, 1);
	or_into(a, "CDW1", 8);
	aml_close(a, inner);
	inner = aml_if(a);
	aml_path(a, "CDW3");
	or_into(a, "CDW1", 0x10);
	aml_byte(a, AML_STORE);
	aml_integer(a, 0);
	aml_path(a, "CDW3");
	aml_close(a, inner);
	aml_close(a, block);
	block = aml_else(a);
	or_into(a, "CDW1", 4);
	aml_close(a, block);
	aml_byte(a, AML_RETURN);
	aml_byte(a, AML_ARG3);
	aml_close(a, method);
}

/*
 * Interrupt pins of every slot (6.2.13): no link device, an input of the I/O
 * APIC. An operating system that has told \_PIC that it uses the 8259 pair gets
 * no routing.
 */
static void write_prt(struct aml *a)
{
	enum { PINS = 4 };
	size_t method = aml_method(a, "_PRT", 0), block, table, entry;

	block = aml_if(a);
	aml_path(a, "PICF");
	aml_byte(a, AML_RETURN);
	aml_path(a, "PRTA");
	aml_close(a, block);
	aml_byte(a, AML_RETURN);
	aml_close(a, aml_package(a, 0));
	aml_close(a, method);

	aml_name(a, "PRTA");
	table = aml_package(a, (PCI_SLOTS - 1) * PINS);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		for (unsigned pin = 0; pin < PINS; pin++) {
			entry = aml_package(a, 4);
			aml_integer(a, slot << 16 | 0xffff); /* all functions */
			aml_integer(a, pin);
			aml_integer(a, 0);
			aml_integer(a, pci_intx_gsi(slot, pin));
			aml_close(a, entry);
		}
	aml_close(a, table);
}

static void write_pci(struct vm *vm, struct aml *a)
{
	size_t pci = aml_device(a, "PCI0");
	struct aml_res r;

	aml_name_eisaid(a, "_HID", "PNP0A08");
	aml_name_eisaid(a, "_CID", "PNP0A03");
	aml_name_integer(a, "_UID", 0);
	aml_name_integer(a, "_SEG", 0);
	aml_name_integer(a, "_BBN", 0);
	aml_res_init(&r);
	aml_res_window_bus(&r, 0, 0);
	aml_res_io(&r, PCI_CONFIG_ADDRESS, 8);
	aml_res_window_io(&r, 0, PCI_CONFIG_ADDRESS - 1);
	aml_res_window_io(&r, PCI_CONFIG_ADDRESS + 8, 0xffff);
	aml_res_window_memory(&r, PCI_HOLE_BASE, PCI_HOLE_END - 1);
	aml_name_crs(a, &r);
	write_osc(a);
	write_prt(a);
	write_lpc(vm, a);
	aml_close(a, pci);
}

/* Memory that belongs to the machine and that nothing may be placed on. */
static void write_reserved(struct aml *a)
{
	size_t dev = aml_device(a, "MEM0");
	struct aml_res r;

	aml_name_eisaid(a, "_HID", "PNP0C02");
	aml_name_integer(a, "_UID", 1);
	aml_res_init(&r);
	aml_res_memory(&r, PCI_ECAM_BASE, PCI_ECAM_SIZE);
	aml_res_memory(&r, MEMMAP_IOAPIC, PAGE_SIZE);
	aml_res_memory(&r, MEMMAP_LAPIC, PAGE_SIZE);
	aml_name_crs(a, &r);
	aml_close(a, dev);
}

static void write_hpet(struct aml *a)
{
	size_t dev = aml_device(a, "HPET");
	struct aml_res r;

	aml_name_eisaid(a, "_HID", "PNP0103");
	aml_res_init(&r);
	aml_res_memory(&r, MEMMAP_HPET, HPET_SIZE);
	aml_name_crs(a, &r);
	aml_close(a, dev);
}

/* \_PIC (5.8.1): the interrupt model in use, 0 for the 8259 pair, 1 for the I/O APIC. */
static void write_pic_method(struct aml *a)
{
	size_t method;

	aml_name_integer(a, "PICF", 0);
	method = aml_method(a, "_PIC", 1);
	aml_byte(a, AML_STORE);
	aml_byte(a, AML_ARG0);
	aml_path(a, "PICF");
	aml_close(a, method);
}

/* The _UID is what ties it to its local APIC in the MADT. */
static void write_cpu(struct aml *a, unsigned index)
{
	char name[5];
	size_t dev;

	str_format(name, sizeof(name), "C%03X", index);
	dev = aml_device(a, name);
	aml_name(a, "_HID");
	aml_string(a, "ACPI0007");
	aml_name_integer(a, "_UID", index);
	aml_close(a, dev);
}

/*
 * The generation ID: ADDR has the low and the high half of its address. The _CID is what operating
 * systems know it by; the _HID is the hypervisor's own. a->follow is where the address is.
 */
static void write_vmgenid(struct aml *a)
{
	static const uint32_t in_file = VMGENID_FILE_OFFSET;
	size_t dev = aml_device(a, "VGEN"), block;

	aml_name(a, "_HID");
	aml_string(a, "AMBR0001");
	aml_name(a, "_CID");
	aml_string(a, "VM_Gen_Counter");
	aml_name(a, "_DDN");
	aml_string(a, "VM_Gen_Counter");
	aml_name(a, "ADDR");
	block = aml_package(a, 2);
	aml_byte(a, AML_DWORD);
	a->follow = a->len;
	aml_bytes(a, &in_file, sizeof(in_file));
	aml_integer(a, 0); /* it is below 4 GiB */
	aml_close(a, block);
	aml_close(a, dev);
}

/* Handlers of general-purpose events (5.6.4.1), edge-triggered: one for each that is raised. */
static void write_events(struct aml *a)
{
	size_t scope = aml_scope(a, "\\_GPE"), method;
	char name[5];

	str_format(name, sizeof(name), "_E%02X", ACPI_GPE_VMGENID);
	method = aml_method(a, name, 0);
	aml_byte(a, AML_NOTIFY);
	aml_path(a, "\\_SB.VGEN");
	aml_integer(a, 0x80); /* its status has changed */
	aml_close(a, method);
	aml_close(a, scope);
}

void acpi_dsdt_write(struct vm *vm, struct acpi_image *m)
{
	struct aml *a = &m->blob[ACPI_TABLES];
	size_t block;

	write_pic_method(a);
	aml_name(a, "_S5"); /* SLP_TYP for PM1a and PM1b; two reserved */
	block = aml_package(a, 4);
	aml_integer(a, ACPI_S5_SLP_TYP);
	aml_integer(a, ACPI_S5_SLP_TYP);
	aml_integer(a, 0);
	aml_integer(a, 0);
	aml_close(a, block);

	block = aml_scope(a, "\\_SB");
	for (unsigned i = 0; i < vm->nvcpus; i++)
		write_cpu(a, i);
	write_reserved(a);
	write_pci(vm, a);
	write_vmgenid(a);
	if (hpet_present(&vm->config))
		write_hpet(a);
	aml_close(a, block);
	write_events(a);
	acpi_link_note(m, ACPI_TABLES, a->follow, 4, ACPI_GENID);
}
