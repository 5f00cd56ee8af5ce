/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SMBIOS (DSP0134 2.8): an entry point, and structures of which each has numbered fields and then
 * its texts, which fields name by their number from 1 on. A structure is written as a list of its
 * fields in the order of the specification; length, numbers of texts and handle follow from that.
 *
 * The 2.x entry point is the one that every reader knows; it holds all of this (64 KiB, 32-bit
 * addresses).
 */
#include "hv/dev/smbios.h"

#include <string.h>
#include "hv/arch/x86/cpu_model.h"
#include "hv/core/gmem.h"
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/dev/aml.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

enum {
	ALL_SIZE = MEMMAP_MPTABLE - MEMMAP_SMBIOS,
	ENTRY_ROOM = 32, /* of it, for the entry point; the structures follow */
	HEADER_SIZE = 4,
};

/* 6.2, table 3 */
enum type {
	TYPE_BIOS = 0,
	TYPE_SYSTEM = 1,
	TYPE_CHASSIS = 3,
	TYPE_PROCESSOR = 4,
	TYPE_MEMORY_ARRAY = 16,
	TYPE_MEMORY_DEVICE = 17,
	TYPE_MEMORY_MAPPED = 19,
	TYPE_BOOT = 32,
	TYPE_END = 127,
};

struct field {
	uint8_t size; /* bytes: 1, 2, 4, 8 */
	uint64_t value;
	const char *text; /* if not NULL, the value is its number; 0 if it is empty */
};
#define BYTE(v)                                                                                    \
	{                                                                                          \
		.size = 1, .value = (v)                                                            \
	}
#define WORD(v)                                                                                    \
	{                                                                                          \
		.size = 2, .value = (v)                                                            \
	}
#define DWORD(v)                                                                                   \
	{                                                                                          \
		.size = 4, .value = (v)                                                            \
	}
#define QWORD(v)                                                                                   \
	{                                                                                          \
		.size = 8, .value = (v)                                                            \
	}
#define TEXT(s)                                                                                    \
	{                                                                                          \
		.size = 1, .text = (s)                                                             \
	}
#define NO_TEXT BYTE(0)

#define MANUFACTURER "Amber"
#define PRODUCT	     "Amber virtual machine"

struct tables {
	const struct vm *vm;
	struct aml out;
	unsigned count;
	size_t longest; /* structure with its texts */
};

/* --- structures ------------------------------------------------------------------------------- */

static uint16_t handle(enum type type, unsigned index)
{
	return (uint16_t)(type << 8 | index);
}

static void put_fields(struct aml *a, const struct field *f, unsigned n)
{
	unsigned texts = 0;

	for (unsigned i = 0; i < n; i++)
		if (f[i].text)
			aml_byte(a, f[i].text[0] ? (uint8_t)++texts : 0);
		else
			aml_raw(a, f[i].value, f[i].size);
}

/* Each ends with a zero, the last with one more; if there are none there are two zeros. */
static void put_texts(struct aml *a, const struct field *f, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++)
		if (f[i].text && f[i].text[0]) {
			aml_bytes(a, f[i].text, strlen(f[i].text) + 1);
			any = true;
		}
	if (!any)
		aml_byte(a, 0);
	aml_byte(a, 0);
}

static void put(struct tables *t, enum type type, unsigned index, const struct field *f, unsigned n)
{
	size_t start = t->out.len, length = HEADER_SIZE;

	for (unsigned i = 0; i < n; i++)
		length += f[i].size;
	aml_byte(&t->out, (uint8_t)type);
	aml_byte(&t->out, (uint8_t)length);
	aml_raw(&t->out, handle(type, index), 2);
	put_fields(&t->out, f, n);
	put_texts(&t->out, f, n);
	t->count++;
	t->longest = MAX(t->longest, t->out.len - start);
}
#define PUT(t, type, index, fields) put(t, type, index, fields, ARRAY_LEN(fields))

/* 7.1: what has put these tables there. */
static void put_bios(struct tables *t)
{
	enum {
		NO_CHARACTERISTICS = 1 << 3,
		EXT2_TARGETED_CONTENT = 1 << 2,
		EXT2_VIRTUAL_MACHINE = 1 << 4,
		NO_CONTROLLER = 0xff,
	};
	const struct field f[] = {
	    TEXT(MANUFACTURER), TEXT("1.0"), WORD(MEMMAP_BIOS >> 4), /* segment */
	    NO_TEXT,						     /* release date */
	    BYTE((MEMMAP_BIOS_END - MEMMAP_BIOS) / (64 * 1024) - 1), QWORD(NO_CHARACTERISTICS),
	    BYTE(0), BYTE(EXT2_TARGETED_CONTENT | EXT2_VIRTUAL_MACHINE), BYTE(1),
	    BYTE(0),				      /* release */
	    BYTE(NO_CONTROLLER), BYTE(NO_CONTROLLER), /* embedded controller's */
	};

	PUT(t, TYPE_BIOS, 0, f);
}

/* 7.2. Of the UUID the first three groups are little-endian numbers (7.2.1), in the configuration
 * it is in the order of its text. */
static void put_system(struct tables *t)
{
	enum { WAKE_UP_POWER_SWITCH = 6 };
	const uint8_t *u = t->vm->config.uuid;
	const struct field f[] = {
	    TEXT(MANUFACTURER), TEXT(PRODUCT), NO_TEXT, /* version */
	    NO_TEXT,					/* serial number */
	    DWORD(get_be32(u)), WORD((uint64_t)u[4] << 8 | u[5]), WORD((uint64_t)u[6] << 8 | u[7]),
	    QWORD(get_le64(u + 8)), BYTE(WAKE_UP_POWER_SWITCH), NO_TEXT,
	    NO_TEXT, /* SKU number, family */
	};

	PUT(t, TYPE_SYSTEM, 0, f);
}

/* 7.4 */
static void put_chassis(struct tables *t)
{
	enum { OTHER = 1, STATE_SAFE = 3, SECURITY_UNKNOWN = 2 };
	static const struct field f[] = {
	    TEXT(MANUFACTURER), BYTE(OTHER), NO_TEXT,		  /* version */
	    NO_TEXT, NO_TEXT,					  /* serial number, asset tag */
	    BYTE(STATE_SAFE), BYTE(STATE_SAFE), BYTE(STATE_SAFE), /* boot, supply, heat */
	    BYTE(SECURITY_UNKNOWN), DWORD(0), BYTE(0), BYTE(0),	  /* OEM, height, power cords */
	    BYTE(0), BYTE(0),					  /* contained elements: none */
	    NO_TEXT,						  /* SKU number */
	};

	PUT(t, TYPE_CHASSIS, 0, f);
}

static struct cpuid_regs cpuid(const struct vm *vm, uint32_t leaf)
{
	static const struct cpuid_dynamic dyn;

	return cpu_model_cpuid(vm->cpu_model, leaf, 0, &dyn);
}

/* The model's name in three leaves, without the blanks before it. */
static void read_brand(const struct vm *vm, char brand[49])
{
	char raw[49] = "";
	const char *s = raw;

	if (cpuid(vm, 0x80000000).eax >= 0x80000004)
		for (uint32_t i = 0; i < 3; i++) {
			struct cpuid_regs r = cpuid(vm, 0x80000002 + i);
			uint32_t words[4] = {r.eax, r.ebx, r.ecx, r.edx};

			memcpy(raw + 16 * i, words, sizeof(words));
		}
	while (*s == ' ')
		s++;
	str_copy(brand, 49, s);
}

static void read_vendor(const struct vm *vm, char vendor[13])
{
	struct cpuid_regs r = cpuid(vm, 0);
	uint32_t words[3] = {r.ebx, r.edx, r.ecx};

	memcpy(vendor, words, sizeof(words));
	vendor[12] = 0;
}

/* 7.5.9 */
static uint16_t processor_characteristics(const struct vm *vm)
{
	enum { BITS_64 = 1 << 2, MULTI_CORE = 1 << 3, THREADS = 1 << 4, NO_EXECUTE = 1 << 5 };
	enum { EXT_NX = 1 << 20, EXT_LM = 1 << 29 };
	uint32_t ext = cpuid(vm, 0x80000001).edx;

	return (uint16_t)((ext & EXT_LM ? BITS_64 : 0) | (vm->config.cores > 1 ? MULTI_CORE : 0) |
			  (vm->config.threads > 1 ? THREADS : 0) | (ext & EXT_NX ? NO_EXECUTE : 0));
}

/* 7.5: one for each socket, as CPUID's leaf 0Bh has them. */
static void put_processor(struct tables *t, unsigned socket)
{
	enum { CENTRAL = 3, OTHER = 1, POPULATED_ENABLED = 0x41, NO_CACHE = 0xffff };
	const struct vm_config *c = &t->vm->config;
	struct cpuid_regs one = cpuid(t->vm, 1);
	uint64_t mhz = MIN(t->vm->tsc_nominal_hz / 1000000, 0xffffULL);
	char name[16], vendor[13], brand[49];

	str_format(name, sizeof(name), "CPU %u", socket);
	read_vendor(t->vm, vendor);
	read_brand(t->vm, brand);

	const struct field f[] = {
	    TEXT(name), BYTE(CENTRAL), BYTE(OTHER), TEXT(vendor), /* family */
	    DWORD(one.eax), DWORD(one.edx), TEXT(brand), BYTE(0), /* voltage */
	    WORD(0), WORD(mhz), WORD(mhz),			  /* clock, most and current */
	    BYTE(POPULATED_ENABLED), BYTE(OTHER),		  /* upgrade */
	    WORD(NO_CACHE), WORD(NO_CACHE), WORD(NO_CACHE), NO_TEXT, NO_TEXT,
	    NO_TEXT, /* serial number, asset tag, part number */
	    BYTE(c->cores), BYTE(c->cores), BYTE((uint64_t)c->cores * c->threads),
	    WORD(processor_characteristics(t->vm)), WORD(OTHER), /* family, again */
	};

	PUT(t, TYPE_PROCESSOR, socket, f);
}

enum { NO_ERROR_HANDLE = 0xfffe };

/* 7.17 */
static void put_memory_array(struct tables *t)
{
	enum { OTHER = 1, SYSTEM_MEMORY = 3, CORRECTION_UNKNOWN = 2 };
	static const uint64_t extended = 0x80000000; /* KiB, from which on the last field has it */
	uint64_t kib = t->vm->config.memory / 1024;
	const struct field f[] = {
	    BYTE(OTHER),
	    BYTE(SYSTEM_MEMORY),
	    BYTE(CORRECTION_UNKNOWN),
	    DWORD(MIN(kib, extended)),
	    WORD(NO_ERROR_HANDLE),
	    WORD(1), /* devices */
	    QWORD(kib < extended ? 0 : t->vm->config.memory),
	};

	PUT(t, TYPE_MEMORY_ARRAY, 0, f);
}

/* 7.18: one for all memory. */
static void put_memory_device(struct tables *t)
{
	enum { UNKNOWN_WIDTH = 0xffff, DIMM = 9, RAM = 7, DETAIL_OTHER = 1 << 1 };
	static const uint64_t extended = 0x7fff; /* MiB, from which on another field has it */
	uint64_t mib = t->vm->config.memory / MIB;
	const struct field f[] = {
	    WORD(handle(TYPE_MEMORY_ARRAY, 0)), WORD(NO_ERROR_HANDLE), WORD(UNKNOWN_WIDTH),
	    WORD(UNKNOWN_WIDTH), WORD(MIN(mib, extended)), BYTE(DIMM), BYTE(0), /* no set */
	    TEXT("DIMM 0"), NO_TEXT,						/* bank */
	    BYTE(RAM), WORD(DETAIL_OTHER), WORD(0),				/* speed */
	    TEXT(MANUFACTURER), NO_TEXT, NO_TEXT, NO_TEXT, /* serial number, asset, part */
	    BYTE(0), DWORD(mib < extended ? 0 : mib),	   /* rank */
	    WORD(0), WORD(0), WORD(0), WORD(0),		   /* configured speed; voltages */
	};

	PUT(t, TYPE_MEMORY_DEVICE, 0, f);
}

/* 7.20: where memory is; the end is the last KiB or byte. */
static void put_mapped(struct tables *t, unsigned index, uint64_t start, uint64_t size)
{
	static const uint64_t extended = 0xffffffff;
	uint64_t first = start / 1024, end = start + size - 1, last = end / 1024;
	bool wide = last >= extended;
	const struct field f[] = {
	    DWORD(wide ? extended : first),
	    DWORD(wide ? extended : last),
	    WORD(handle(TYPE_MEMORY_ARRAY, 0)),
	    BYTE(1), /* partition width */
	    QWORD(wide ? start : 0),
	    QWORD(wide ? end : 0),
	};

	PUT(t, TYPE_MEMORY_MAPPED, index, f);
}

/* 7.33: no error. */
static void put_boot(struct tables *t)
{
	static const struct field f[] = {DWORD(0), WORD(0), BYTE(0)};

	PUT(t, TYPE_BOOT, 0, f);
}

static void put_all(struct tables *t, bool bios)
{
	const struct vm_config *c = &t->vm->config;
	uint64_t low = MIN(c->memory, MEMMAP_LOW_RAM_MAX);

	if (bios)
		put_bios(t);
	put_system(t);
	put_chassis(t);
	for (uint32_t i = 0; i < c->sockets; i++)
		put_processor(t, i);
	put_memory_array(t);
	put_memory_device(t);
	put_mapped(t, 0, 0, low);
	if (c->memory > low)
		put_mapped(t, 1, MEMMAP_HIGH_RAM, c->memory - low);
	put_boot(t);
	put(t, TYPE_END, 0, NULL, 0);
}

/* --- the entry point -------------------------------------------------------------------------- */

/* 5.2.1 */
enum entry {
	ENTRY_CHECKSUM = 4,
	ENTRY_DMI = 0x10, /* the intermediate anchor, with a checksum of its own */
	ENTRY_DMI_CHECKSUM = 0x15,
	ENTRY_SIZE = 0x1f,
};

static void fix_checksum(uint8_t *p, size_t start, size_t at)
{
	uint8_t sum = 0;

	for (size_t i = start; i < ENTRY_SIZE; i++)
		sum += p[i];
	p[at] -= sum;
}

static void put_entry(const struct tables *t, uint8_t out[ENTRY_SIZE], uint32_t address)
{
	enum { MAJOR = 2, MINOR = 8 };
	struct aml a = {.buf = out, .cap = ENTRY_SIZE};

	aml_bytes(&a, "_SM_\0", 5);
	aml_byte(&a, ENTRY_SIZE);
	aml_byte(&a, MAJOR);
	aml_byte(&a, MINOR);
	aml_raw(&a, t->longest, 2);
	aml_raw(&a, 0, 1); /* revision of the entry point */
	aml_raw(&a, 0, 5);
	aml_bytes(&a, "_DMI_\0", 6);
	aml_raw(&a, t->out.len, 2);
	aml_raw(&a, address, 4);
	aml_raw(&a, t->count, 2);
	aml_byte(&a, MAJOR << 4 | MINOR);
	fix_checksum(out, ENTRY_DMI, ENTRY_DMI_CHECKSUM);
	fix_checksum(out, 0, ENTRY_CHECKSUM);
}

/* --- both ------------------------------------------------------------------------------------- */

/* A buffer of ALL_SIZE with the entry point at its start; the caller frees it, also after an error.
 */
static int build(struct vm *vm, struct tables *t, uint32_t address, uint8_t **out, struct errmsg *e)
{
	uint8_t *buf = heap_zalloc(ALL_SIZE);

	*out = buf;
	if (!buf)
		return err_set(e, ERR_NOMEM, "SMBIOS tables: out of memory");
	*t = (struct tables){
	    .vm = vm, .out = {.buf = buf + ENTRY_ROOM, .cap = ALL_SIZE - ENTRY_ROOM}};
	put_all(t, !vm_config_has_firmware(&vm->config));
	if (t->out.overflow)
		return err_set(e, ERR_NOSPACE, "SMBIOS tables: more than %d KiB", ALL_SIZE / 1024);
	put_entry(t, buf, address);
	return OK;
}

int smbios_build(struct vm *vm, struct errmsg *e)
{
	struct tables t;
	uint8_t *buf;
	int err = build(vm, &t, MEMMAP_SMBIOS + ENTRY_ROOM, &buf, e);

	if (!err) {
		err = gmem_write(vm, gpa(MEMMAP_SMBIOS), buf, ENTRY_ROOM + t.out.len);
		if (err)
			err_set(e, err, "SMBIOS tables: cannot write guest memory: %s",
			    error_text(err));
	}
	heap_free(buf);
	return err;
}

int smbios_give(struct vm *vm, fw_cfg_give_fn *give, void *to, struct errmsg *e)
{
	struct tables t;
	uint8_t *buf;
	int err = build(vm, &t, 0, &buf, e);

	if (!err)
		err = give(to, SMBIOS_FILE_TABLES, t.out.buf, t.out.len, e);
	if (!err)
		err = give(to, SMBIOS_FILE_ANCHOR, buf, ENTRY_SIZE, e);
	heap_free(buf);
	return err;
}
