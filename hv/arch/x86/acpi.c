/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds and checks the firmware's ACPI tables and keeps what the hypervisor needs of them. */
#include "hv/arch/x86/acpi.h"
#include <string.h>
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

enum {
	MAX_TABLES = 64,
	MAX_APIC_IDS = 256,
	HEADER_SIZE = 36, /* ACPI 6.5, table 5.4 */
	RSDP_SIZE_V1 = 20,
	RSDP_SIZE_V2 = 36,
	ISA_IRQS = 16,
};
#define TABLE_SIZE_MAX (16 * MIB)

static struct {
	const uint8_t *data;
	size_t len;
} tables[MAX_TABLES];
static unsigned ntables;

static uint32_t apic_ids[MAX_APIC_IDS];
static unsigned napic_ids;
static struct acpi_ioapic ioapic_list[ACPI_MAX_IOAPIC];
static unsigned nioapics;
static struct acpi_mcfg mcfg_list[ACPI_MAX_MCFG];
static unsigned nmcfg;
static struct {
	unsigned gsi;
	bool level, low;
} isa[ISA_IRQS];
static int nmi_lint = -1;
static uint16_t pm_timer_port, reset_port;
static unsigned pm_timer_bits;
static uint8_t reset_value;
static uint64_t hpet_base;

/* ACPI memory as the memory map calls it is in the direct map; some firmware keeps tables
 * elsewhere. */
static const void *phys_view(uint64_t p, size_t len)
{
	if (phys_in_direct_map(hpa(p), len))
		return phys_to_virt(hpa(p));
	return map_device(hpa(p), len, MAP_RO);
}

static bool sum_ok(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return sum == 0;
}

static void table_add(uint64_t p)
{
	const uint8_t *t = p ? phys_view(p, HEADER_SIZE) : NULL;
	size_t len;

	if (!t || ntables == MAX_TABLES)
		return;
	len = get_le32(t + 4);
	if (len < HEADER_SIZE || len > TABLE_SIZE_MAX) {
		log_warn("ACPI: table %.4s at 0x%lx: length %zu, ignored", (const char *)t, p, len);
		return;
	}
	t = phys_view(p, len);
	if (!t || !sum_ok(t, len)) {
		log_warn("ACPI: table at 0x%lx: wrong checksum, ignored", p);
		return;
	}
	tables[ntables].data = t;
	tables[ntables++].len = len;
}

const void *acpi_find_table(const char sig[4], unsigned index, size_t *len)
{
	for (unsigned i = 0; i < ntables; i++) {
		if (memcmp(tables[i].data, sig, 4) || index--)
			continue;
		*len = tables[i].len;
		return tables[i].data;
	}
	return NULL;
}

/* The root table: RSDT with 32-bit pointers or XSDT with 64-bit ones. */
static bool read_root(uint64_t p, size_t entry_size)
{
	const uint8_t *root = p ? phys_view(p, HEADER_SIZE) : NULL;
	struct cursor c;
	size_t len;

	if (!root || memcmp(root, entry_size == 8 ? "XSDT" : "RSDT", 4))
		return false;
	len = get_le32(root + 4);
	if (len < HEADER_SIZE || len > TABLE_SIZE_MAX)
		return false;
	root = phys_view(p, len);
	if (!root || !sum_ok(root, len))
		return false;
	cursor_init(&c, root, len);
	cursor_seek(&c, HEADER_SIZE);
	while (cursor_left(&c) >= entry_size)
		table_add(entry_size == 8 ? cursor_le64(&c) : cursor_le32(&c));
	return true;
}

static void read_rsdp(uint64_t p)
{
	const uint8_t *r = phys_view(p, RSDP_SIZE_V2);

	if (!r || memcmp(r, "RSD PTR ", 8) || !sum_ok(r, RSDP_SIZE_V1)) {
		log_warn("ACPI: no valid RSDP at 0x%lx", p);
		return;
	}
	if (r[15] >= 2 && sum_ok(r, RSDP_SIZE_V2) && read_root(get_le64(r + 24), 8))
		return;
	if (!read_root(get_le32(r + 16), 4))
		log_warn("ACPI: neither XSDT nor RSDT is valid");
}

static void cpu_add(uint32_t id, uint32_t flags)
{
	if (!(flags & 1)) /* enabled; ACPI 6.5, table 5.23 */
		return;
	if (napic_ids == MAX_APIC_IDS) {
		log_warn("ACPI: more than %u CPUs, the rest is ignored", MAX_APIC_IDS);
		return;
	}
	for (unsigned i = 0; i < napic_ids; i++)
		if (apic_ids[i] == id) /* listed as xAPIC and x2APIC */
			return;
	apic_ids[napic_ids++] = id;
}

/* MPS INTI flags (ACPI 6.5, table 5.26); 0 means what the bus has: edge and high on ISA. */
static void override_add(unsigned source, unsigned gsi, unsigned flags)
{
	if (source >= ISA_IRQS)
		return;
	isa[source].gsi = gsi;
	isa[source].low = (flags & 3) == 3;
	isa[source].level = (flags >> 2 & 3) == 3;
}

/* MADT entry types (ACPI 6.5, table 5.21). */
enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
};

static void madt_entry(unsigned type, struct cursor *c)
{
	uint32_t a, b;

	switch (type) {
	case MADT_LAPIC:
		cursor_u8(c);
		a = cursor_u8(c);
		b = cursor_le32(c);
		if (cursor_ok(c))
			cpu_add(a, b);
		break;
	case MADT_X2APIC:
		cursor_le16(c);
		a = cursor_le32(c);
		b = cursor_le32(c);
		if (cursor_ok(c))
			cpu_add(a, b);
		break;
	case MADT_IOAPIC:
		cursor_le16(c);
		a = cursor_le32(c);
		b = cursor_le32(c);
		if (cursor_ok(c) && nioapics < ACPI_MAX_IOAPIC)
			ioapic_list[nioapics++] = (struct acpi_ioapic){a, b};
		break;
	case MADT_OVERRIDE:
		cursor_u8(c);
		a = cursor_u8(c);
		b = cursor_le32(c);
		override_add(a, b, cursor_le16(c));
		break;
	case MADT_LAPIC_NMI:
		cursor_u8(c);
		cursor_le16(c);
		a = cursor_u8(c);
		if (cursor_ok(c) && a <= 1)
			nmi_lint = (int)a;
		break;
	default:
		break;
	}
}

static void read_madt(void)
{
	struct cursor c;
	size_t len;
	const uint8_t *t = acpi_find_table("APIC", 0, &len);

	if (!t)
		return;
	cursor_init(&c, t, len);
	cursor_seek(&c, HEADER_SIZE + 8);
	while (cursor_left(&c) >= 2) {
		unsigned type = cursor_u8(&c), size = cursor_u8(&c);
		const uint8_t *body;
		struct cursor entry;

		body = size >= 2 ? cursor_take(&c, size - 2) : NULL;
		if (!body) {
			log_warn("ACPI: MADT entry of type %u has a bad length %u", type, size);
			return;
		}
		cursor_init(&entry, body, size - 2);
		madt_entry(type, &entry);
	}
}

static void read_mcfg(void)
{
	struct cursor c;
	size_t len;
	const uint8_t *t = acpi_find_table("MCFG", 0, &len);

	if (!t)
		return;
	cursor_init(&c, t, len);
	cursor_seek(&c, HEADER_SIZE + 8);
	while (cursor_left(&c) >= 16 && nmcfg < ACPI_MAX_MCFG) {
		struct acpi_mcfg *m = &mcfg_list[nmcfg];

		m->base = cursor_le64(&c);
		m->segment = cursor_le16(&c);
		m->bus_first = cursor_u8(&c);
		m->bus_last = cursor_u8(&c);
		cursor_le32(&c);
		if (m->base && m->bus_first <= m->bus_last)
			nmcfg++;
	}
}

/* FADT fields by offset (ACPI 6.5, table 5.9). */
enum {
	FADT_PM_TMR_BLK = 76,
	FADT_PM_TMR_LEN = 91,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_X_PM_TMR_BLK = 208,
	FADT_TMR_VAL_EXT = 1 << 8,
	FADT_RESET_REG_SUP = 1 << 10,
	GAS_SYSTEM_IO = 1,
};

static void read_fadt(void)
{
	size_t len;
	const uint8_t *t = acpi_find_table("FACP", 0, &len);
	uint32_t flags;

	if (!t || len < FADT_FLAGS + 4)
		return;
	flags = get_le32(t + FADT_FLAGS);
	if (t[FADT_PM_TMR_LEN] == 4)
		pm_timer_port = (uint16_t)get_le32(t + FADT_PM_TMR_BLK);
	/* Generic address: space, width, offset, access size, 64-bit address. */
	if (!pm_timer_port && len >= FADT_X_PM_TMR_BLK + 12 &&
	    t[FADT_X_PM_TMR_BLK] == GAS_SYSTEM_IO)
		pm_timer_port = (uint16_t)get_le64(t + FADT_X_PM_TMR_BLK + 4);
	pm_timer_bits = flags & FADT_TMR_VAL_EXT ? 32 : 24;
	if (len > FADT_RESET_VALUE && (flags & FADT_RESET_REG_SUP) &&
	    t[FADT_RESET_REG] == GAS_SYSTEM_IO) {
		reset_port = (uint16_t)get_le64(t + FADT_RESET_REG + 4);
		reset_value = t[FADT_RESET_VALUE];
	}
}

static void read_hpet(void)
{
	size_t len;
	const uint8_t *t = acpi_find_table("HPET", 0, &len);

	/* Event timer block ID, then a generic address. */
	if (t && len >= HEADER_SIZE + 16 && t[HEADER_SIZE + 4] == 0)
		hpet_base = get_le64(t + HEADER_SIZE + 8);
}

void acpi_init(uint64_t rsdp)
{
	for (unsigned i = 0; i < ISA_IRQS; i++)
		isa[i].gsi = i;
	if (!rsdp) {
		log_info("ACPI: the firmware has none");
		return;
	}
	read_rsdp(rsdp);
	read_madt();
	read_mcfg();
	read_fadt();
	read_hpet();
	log_info("ACPI: %u tables, %u CPUs, %u I/O APICs, %u PCI segments", ntables, napic_ids,
	    nioapics, nmcfg);
}

bool acpi_mcfg(unsigned index, struct acpi_mcfg *out)
{
	if (index >= nmcfg)
		return false;
	*out = mcfg_list[index];
	return true;
}

unsigned acpi_cpu_count(void)
{
	return napic_ids;
}

uint32_t acpi_cpu_apic_id(unsigned index)
{
	return apic_ids[index];
}

bool acpi_ioapic(unsigned index, struct acpi_ioapic *out)
{
	if (index >= nioapics)
		return false;
	*out = ioapic_list[index];
	return true;
}

void acpi_isa_irq(unsigned irq, unsigned *gsi, bool *level, bool *low)
{
	*gsi = isa[irq].gsi;
	*level = isa[irq].level;
	*low = isa[irq].low;
}

int acpi_nmi_lint(void)
{
	return nmi_lint;
}

uint16_t acpi_pm_timer_port(unsigned *bits)
{
	*bits = pm_timer_bits ? pm_timer_bits : 24;
	return pm_timer_port;
}

bool acpi_reset_register(uint16_t *port, uint8_t *value)
{
	*port = reset_port;
	*value = reset_value;
	return reset_port != 0;
}

uint64_t acpi_hpet_base(void)
{
	return hpet_base;
}
