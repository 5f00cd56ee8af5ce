/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables but for the namespace: RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG, HPET.
 * They are built without an address (acpi_link.h): they become guest memory at MEMMAP_BIOS, or
 * files from which the machine's firmware puts them where it likes.
 */
#include "hv/dev/acpi_tables.h"
#include <string.h>
#include "hv/core/gmem.h"
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/dev/acpi_link.h"
#include "hv/dev/acpi_pm.h"
#include "hv/dev/hpet.h"
#include "hv/dev/pci_bus.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

enum {
	TABLES_SIZE = 64 * 1024, /* of the 128 KiB up to 1 MiB */
	ROOT_SIZE = 64,		 /* of it, for the root pointer; the tables follow */
};
_Static_assert(MEMMAP_BIOS + TABLES_SIZE <= MEMMAP_SMBIOS, "the tables reach into SMBIOS's");

/* --- appending -------------------------------------------------------------------- */

/* All tables are written with the AML writer's buffer; integers are little-endian. */
static void u8(struct aml *a, uint8_t v)
{
	aml_byte(a, v);
}

static void u16(struct aml *a, uint16_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

static void u32(struct aml *a, uint32_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

static void u64(struct aml *a, uint64_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

static void zeros(struct aml *a, size_t n)
{
	while (n--)
		u8(a, 0);
}

static void align(struct aml *a, size_t to)
{
	while (a->len % to && !a->overflow)
		u8(a, 0);
}

/* An address in the tables of the table at offset 'table'. */
static void address(struct acpi_image *m, unsigned size, size_t table)
{
	acpi_link_address(m, ACPI_TABLES, size, ACPI_TABLES, table);
}

/* System description table header (5.2.6). */
enum sdt_header { SDT_LENGTH = 4, SDT_CHECKSUM = 9, SDT_SIZE = 36 };

#define OEM_ID	     "AMBER "	/* six characters */
#define OEM_TABLE_ID "AMBERVM " /* eight */
#define CREATOR_ID   "AMBR"

static size_t table_begin(struct aml *a, const char *signature, uint8_t revision)
{
	size_t start;

	align(a, 16);
	start = a->len;
	aml_bytes(a, signature, 4);
	u32(a, 0); /* length */
	u8(a, revision);
	u8(a, 0); /* checksum */
	aml_bytes(a, OEM_ID, 6);
	aml_bytes(a, OEM_TABLE_ID, 8);
	u32(a, 1); /* OEM revision */
	aml_bytes(a, CREATOR_ID, 4);
	u32(a, 1); /* creator revision */
	return start;
}

static void table_end(struct acpi_image *m, size_t start)
{
	struct aml *a = &m->blob[ACPI_TABLES];

	if (a->overflow)
		return;
	put_le32(a->buf + start + SDT_LENGTH, (uint32_t)(a->len - start));
	acpi_link_checksum(m, ACPI_TABLES, start, a->len - start, start + SDT_CHECKSUM);
}

/* --- the tables ------------------------------------------------------------------- */

static size_t write_dsdt(struct vm *vm, struct acpi_image *m)
{
	size_t start = table_begin(&m->blob[ACPI_TABLES], "DSDT", 2);

	acpi_dsdt_write(vm, m);
	table_end(m, start);
	return start;
}

/* Firmware ACPI control structure (5.2.10): no checksum, aligned to 64 bytes. */
static size_t write_facs(struct acpi_image *m)
{
	struct aml *a = &m->blob[ACPI_TABLES];
	size_t start;

	align(a, 64);
	start = a->len;
	aml_bytes(a, "FACS", 4);
	u32(a, 64);
	zeros(a, 24); /* hardware signature, waking vectors, global lock, flags */
	u8(a, 2);     /* version */
	zeros(a, 31);
	return start;
}

/* Generic address structure (5.2.3.2) of a register in ports; size in bits. */
static void port_address(struct aml *a, uint16_t port, unsigned bytes, uint8_t access)
{
	enum { SYSTEM_IO = 1 };

	u8(a, SYSTEM_IO);
	u8(a, (uint8_t)(8 * bytes));
	u8(a, 0); /* bit offset */
	u8(a, access);
	u64(a, port);
}

enum gas_access { ACCESS_UNDEFINED = 0, ACCESS_BYTE = 1, ACCESS_WORD = 2, ACCESS_DWORD = 3 };

/* 5.2.9.3 */
enum iapc_boot_arch {
	IAPC_LEGACY_DEVICES = 1 << 0,
	IAPC_8042 = 1 << 1,
	IAPC_NO_VGA = 1 << 2,
	IAPC_NO_ASPM = 1 << 4,
	IAPC_NO_CMOS_RTC = 1 << 5,
};
/* 5.2.9, table 5.10 */
enum fadt_flags {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_NO_PWR_BUTTON = 1 << 4, /* clear: the power button is a fixed feature */
	FADT_NO_SLP_BUTTON = 1 << 5,
	FADT_NO_FIX_RTC = 1 << 6, /* the alarm does not wake the machine */
	FADT_TMR_VAL_EXT = 1 << 8,
	FADT_RESET_REG_SUP = 1 << 10,
};

enum {
	RESET_VALUE = 6,     /* full reset in the port 0xCF9 register */
	CMOS_CENTURY = 0x32, /* RTC byte that holds the century */
	C_STATE_NONE = 0xffff,
};

/* The registers by port number, as of ACPI 1.0. */
static void write_fadt_ports(struct aml *a)
{
	u32(a, ACPI_PM1A_EVT);
	u32(a, 0); /* PM1b */
	u32(a, ACPI_PM1A_CNT);
	u32(a, 0); /* PM1b */
	u32(a, 0); /* PM2 */
	u32(a, ACPI_PM_TMR);
	u32(a, ACPI_GPE0);
	u32(a, 0); /* GPE1 */
	u8(a, ACPI_PM1_EVT_LEN);
	u8(a, ACPI_PM1_CNT_LEN);
	u8(a, 0); /* PM2 */
	u8(a, ACPI_PM_TMR_LEN);
	u8(a, ACPI_GPE0_LEN);
	u8(a, 0); /* GPE1 */
	u8(a, 0); /* GPE1 base */
	u8(a, 0); /* CST_CNT */
}

/* The same by generic address, as of ACPI 2.0. */
static void write_fadt_addresses(struct aml *a)
{
	enum { GAS_SIZE = 12 };

	port_address(a, ACPI_PM1A_EVT, ACPI_PM1_EVT_LEN, ACCESS_WORD);
	zeros(a, GAS_SIZE);
	port_address(a, ACPI_PM1A_CNT, ACPI_PM1_CNT_LEN, ACCESS_WORD);
	zeros(a, GAS_SIZE);
	zeros(a, GAS_SIZE);
	port_address(a, ACPI_PM_TMR, ACPI_PM_TMR_LEN, ACCESS_DWORD);
	port_address(a, ACPI_GPE0, ACPI_GPE0_LEN, ACCESS_BYTE);
	zeros(a, GAS_SIZE);
	zeros(a, GAS_SIZE); /* sleep control register: hardware-reduced machines only */
	zeros(a, GAS_SIZE); /* sleep status register */
}

/* Fixed ACPI description table (5.2.9). No SMI_CMD: the machine is always in ACPI mode. */
static size_t write_fadt(struct acpi_image *m, size_t facs, size_t dsdt)
{
	struct aml *a = &m->blob[ACPI_TABLES];
	size_t start = table_begin(a, "FACP", 6);

	address(m, 4, facs);
	address(m, 4, dsdt);
	u8(a, 0);
	u8(a, 0); /* preferred power profile: unspecified */
	u16(a, ACPI_SCI_GSI);
	u32(a, 0); /* SMI_CMD */
	u8(a, 0);  /* ACPI_ENABLE */
	u8(a, 0);  /* ACPI_DISABLE */
	u8(a, 0);  /* S4BIOS_REQ */
	u8(a, 0);  /* PSTATE_CNT */
	write_fadt_ports(a);
	u16(a, C_STATE_NONE);
	u16(a, C_STATE_NONE);
	u16(a, 0);   /* FLUSH_SIZE: WBINVD works */
	u16(a, 0);   /* FLUSH_STRIDE */
	zeros(a, 2); /* DUTY_OFFSET, DUTY_WIDTH */
	u8(a, 0);    /* DAY_ALRM */
	u8(a, 0);    /* MON_ALRM */
	u8(a, CMOS_CENTURY);
	u16(a, IAPC_LEGACY_DEVICES | IAPC_8042 | IAPC_NO_VGA | IAPC_NO_ASPM);
	u8(a, 0);
	u32(a, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLP_BUTTON | FADT_NO_FIX_RTC |
		   FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP);
	port_address(a, PCI_RESET_CONTROL, 1, ACCESS_BYTE);
	u8(a, RESET_VALUE);
	u16(a, 0); /* ARM_BOOT_ARCH */
	u8(a, 3);  /* minor version: 6.3 */
	u64(a, 0); /* X_FIRMWARE_CTRL: the 32-bit one holds */
	address(m, 8, dsdt);
	write_fadt_addresses(a);
	u64(a, 0); /* hypervisor vendor identity */
	table_end(m, start);
	return start;
}

/* 5.2.12 */
enum madt_type {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};
enum {
	MADT_PCAT_COMPAT = 1, /* there is an 8259 pair */
	MADT_ENABLED = 1,
	MPS_INTI_ACTIVE_HIGH = 1, /* table 5.26 */
	MPS_INTI_LEVEL = 3 << 2,
};

/* The _UID of the processor in the namespace is its index. */
static void write_madt_cpu(struct aml *a, unsigned index, uint32_t apic_id)
{
	if (apic_id <= XAPIC_ID_MAX) {
		u8(a, MADT_LAPIC);
		u8(a, 8);
		u8(a, (uint8_t)index);
		u8(a, (uint8_t)apic_id);
		u32(a, MADT_ENABLED);
	} else {
		u8(a, MADT_X2APIC);
		u8(a, 16);
		u16(a, 0);
		u32(a, apic_id);
		u32(a, MADT_ENABLED);
		u32(a, index);
	}
}

static void write_madt_override(struct aml *a, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	u8(a, MADT_OVERRIDE);
	u8(a, 10);
	u8(a, 0); /* ISA */
	u8(a, irq);
	u32(a, gsi);
	u16(a, flags);
}

/* NMI at LINT1 of every processor. */
static void write_madt_nmi(struct aml *a, bool x2apic)
{
	u8(a, MADT_LAPIC_NMI);
	u8(a, 6);
	u8(a, 0xff); /* all processors */
	u16(a, 0);   /* as the bus has it: edge */
	u8(a, 1);    /* LINT1 */
	if (!x2apic)
		return;
	u8(a, MADT_X2APIC_NMI);
	u8(a, 12);
	u16(a, 0);
	u32(a, 0xffffffff);
	u8(a, 1);
	zeros(a, 3);
}

/* Multiple APIC description table (5.2.12). */
static size_t write_madt(struct vm *vm, struct acpi_image *m)
{
	struct aml *a = &m->blob[ACPI_TABLES];
	size_t start = table_begin(a, "APIC", 5);
	bool x2apic = false;

	u32(a, (uint32_t)MEMMAP_LAPIC);
	u32(a, MADT_PCAT_COMPAT);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		write_madt_cpu(a, i, vm->vcpus[i]->apic_id);
		x2apic |= vm->vcpus[i]->apic_id > XAPIC_ID_MAX;
	}
	u8(a, MADT_IOAPIC);
	u8(a, 12);
	u8(a, 0); /* IOAPICID at reset */
	u8(a, 0);
	u32(a, (uint32_t)MEMMAP_IOAPIC);
	u32(a, 0); /* first GSI */
	write_madt_override(a, 0, 2, 0);
	write_madt_override(a, ACPI_SCI_GSI, ACPI_SCI_GSI, MPS_INTI_ACTIVE_HIGH | MPS_INTI_LEVEL);
	write_madt_nmi(a, x2apic);
	table_end(m, start);
	return start;
}

/* PCI Express memory-mapped configuration space (PCI Firmware Specification 3.0, 4.1.2). */
static size_t write_mcfg(struct acpi_image *m)
{
	struct aml *a = &m->blob[ACPI_TABLES];
	size_t start = table_begin(a, "MCFG", 1);

	zeros(a, 8);
	u64(a, PCI_ECAM_BASE);
	u16(a, 0);				   /* segment group */
	u8(a, 0);				   /* first bus */
	u8(a, (uint8_t)(PCI_ECAM_SIZE / MIB - 1)); /* last */
	u32(a, 0);
	table_end(m, start);
	return start;
}

/* IA-PC HPET Specification 1.0a, 3.2.4. */
static size_t write_hpet(struct acpi_image *m)
{
	enum { SYSTEM_MEMORY = 0 };
	struct aml *a = &m->blob[ACPI_TABLES];
	size_t start = table_begin(a, "HPET", 1);

	u32(a, HPET_ID);
	u8(a, SYSTEM_MEMORY);
	u8(a, 64); /* bits of a register */
	u8(a, 0);  /* bit offset */
	u8(a, 0);
	u64(a, MEMMAP_HPET);
	u8(a, 0); /* number of the block */
	u16(a, HPET_MIN_PERIOD);
	u8(a, 0); /* nothing is promised of the rest of its page */
	table_end(m, start);
	return start;
}

/* The list of tables (5.2.7, 5.2.8): with addresses of 4 bytes it is the RSDT, of 8 the XSDT. */
static size_t write_sdt_list(
    struct acpi_image *m, unsigned size, const size_t *tables, unsigned count)
{
	size_t start = table_begin(&m->blob[ACPI_TABLES], size == 4 ? "RSDT" : "XSDT", 1);

	for (unsigned i = 0; i < count; i++)
		address(m, size, tables[i]);
	table_end(m, start);
	return start;
}

/* Root system description pointer (5.2.5.3). The older part of it has a checksum of its own. */
enum rsdp { RSDP_CHECKSUM = 8, RSDP_V1_SIZE = 20, RSDP_EXT_CHECKSUM = 32, RSDP_SIZE = 36 };

static void write_rsdp(struct acpi_image *m, size_t rsdt, size_t xsdt)
{
	struct aml *a = &m->blob[ACPI_RSDP];

	aml_bytes(a, "RSD PTR ", 8);
	u8(a, 0);
	aml_bytes(a, OEM_ID, 6);
	u8(a, 2); /* revision: has an XSDT */
	acpi_link_address(m, ACPI_RSDP, 4, ACPI_TABLES, rsdt);
	u32(a, RSDP_SIZE);
	acpi_link_address(m, ACPI_RSDP, 8, ACPI_TABLES, xsdt);
	u8(a, 0);
	zeros(a, 3);
	acpi_link_checksum(m, ACPI_RSDP, 0, RSDP_V1_SIZE, RSDP_CHECKSUM);
	acpi_link_checksum(m, ACPI_RSDP, 0, RSDP_SIZE, RSDP_EXT_CHECKSUM);
}

/* --- all of them ------------------------------------------------------------------ */

struct build {
	struct acpi_image image;
	uint8_t buf[TABLES_SIZE]; /* the root pointer, and from ROOT_SIZE on the tables */
};

static void write_all(struct vm *vm, struct acpi_image *m)
{
	size_t dsdt, facs, tables[4], rsdt;
	unsigned count = 0;

	facs = write_facs(m);
	dsdt = write_dsdt(vm, m);
	tables[count++] = write_fadt(m, facs, dsdt);
	tables[count++] = write_madt(vm, m);
	tables[count++] = write_mcfg(m);
	if (hpet_present(&vm->config))
		tables[count++] = write_hpet(m);
	rsdt = write_sdt_list(m, 4, tables, count);
	write_rsdp(m, rsdt, write_sdt_list(m, 8, tables, count));
}

/* Not linked yet. */
static int build(struct vm *vm, struct build **out, struct errmsg *e)
{
	struct build *b = heap_zalloc(sizeof(*b));
	struct acpi_image *m;

	*out = b;
	if (!b)
		return err_set(e, ERR_NOMEM, "ACPI tables: out of memory");
	m = &b->image;
	m->blob[ACPI_RSDP] = (struct aml){.buf = b->buf, .cap = RSDP_SIZE};
	m->blob[ACPI_TABLES] =
	    (struct aml){.buf = b->buf + ROOT_SIZE, .cap = sizeof(b->buf) - ROOT_SIZE};
	write_all(vm, m);
	if (m->blob[ACPI_RSDP].overflow || m->blob[ACPI_TABLES].overflow || m->too_many)
		return err_set(e, ERR_NOSPACE, "ACPI tables: more than %d KiB or %d links",
		    TABLES_SIZE / 1024, ACPI_LINKS_MAX);
	return OK;
}

int acpi_tables_build(struct vm *vm, uint64_t *rsdp, struct errmsg *e)
{
	static const uint64_t base[ACPI_BLOBS] = {
	    [ACPI_RSDP] = MEMMAP_BIOS,
	    [ACPI_TABLES] = MEMMAP_BIOS + ROOT_SIZE,
	    [ACPI_GENID] = MEMMAP_VMGENID - VMGENID_FILE_OFFSET,
	};
	struct build *b;
	int err = build(vm, &b, e);

	if (!err) {
		acpi_link_resolve(&b->image, base);
		err = gmem_write(
		    vm, gpa(MEMMAP_BIOS), b->buf, ROOT_SIZE + b->image.blob[ACPI_TABLES].len);
		if (err)
			err_set(
			    e, err, "ACPI tables: cannot write guest memory: %s", error_text(err));
	}
	heap_free(b);
	*rsdp = MEMMAP_BIOS;
	return err;
}

static int give_commands(
    const struct acpi_image *m, fw_cfg_give_fn *give, void *to, struct errmsg *e)
{
	uint8_t *commands = heap_zalloc((size_t)ACPI_COMMANDS_MAX * ACPI_COMMAND_SIZE);
	unsigned n;
	int err;

	if (!commands)
		return err_set(e, ERR_NOMEM, "ACPI tables: out of memory");
	n = acpi_link_commands(m, commands);
	err = give(to, ACPI_FILE_LOADER, commands, (size_t)n * ACPI_COMMAND_SIZE, e);
	heap_free(commands);
	return err;
}

int acpi_tables_give(struct vm *vm, fw_cfg_give_fn *give, void *to, struct errmsg *e)
{
	struct build *b;
	int err = build(vm, &b, e);

	if (!err) {
		const struct aml *rsdp = &b->image.blob[ACPI_RSDP];
		const struct aml *tables = &b->image.blob[ACPI_TABLES];

		err = give(to, ACPI_FILE_RSDP, rsdp->buf, rsdp->len, e);
		if (!err)
			err = give(to, ACPI_FILE_TABLES, tables->buf, tables->len, e);
		if (!err)
			err = give_commands(&b->image, give, to, e);
	}
	heap_free(b);
	return err;
}
