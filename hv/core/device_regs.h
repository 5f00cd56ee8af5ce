/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model's registers as a table, from which docs/devices.md is made and which a unit test holds
 * against the live model row by row (tests/unit/test_device_regs.c). A table is written with the
 * model's own constants, so it lies in a header that the model's source includes at its end
 * (hv/dev/regs). In the hypervisor nobody refers to it, and the compiler leaves it out.
 *
 * What is not in a row is not implemented: it reads as zero or as ones, ignores writes, and is
 * counted (device_unhandled() in hv/core/device.h).
 */
#ifndef AMBER_CORE_DEVICE_REGS_H
#define AMBER_CORE_DEVICE_REGS_H

#include "hv/lib/types.h"

enum reg_space {
	REG_PORT,   /* I/O ports */
	REG_MEMORY, /* device memory */
	REG_BAR0,   /* device memory, from the address in a base address register on */
	REG_BAR1,
	REG_CONFIG, /* PCI configuration space */
	REG_MSR,
};

enum reg_flag {
	REG_READ_ONLY = 1 << 0,
	REG_WRITE_ONLY = 1 << 1,
	REG_SHARED = 1 << 2,  /* one of the two, and another register answers the other way */
	REG_SPECIAL = 1 << 3, /* masks cannot say it: 'test' tries it; 'reset' 0 is unknown */
};

/* A field: bits that are next to each other. */
struct reg_bits {
	uint64_t mask;
	const char *name; /* the data sheet's */
	const char *doc;  /* NULL: the name says it */
};

struct reg_row {
	const char *name, *section;
	uint64_t at; /* address, offset or number */
	/*
	 * Written before each access, to what is reached in two steps: 'select' to 'select_at'. If
	 * 'index' is set, 'at' is where the data are and 'select' is the register's number.
	 */
	uint64_t select_at;
	uint32_t select;
	enum reg_space space;
	unsigned element;	/* see 'field' */
	uint16_t flags;		/* enum reg_flag */
	uint16_t count, stride; /* so many alike, so far apart in 'at' ('select'); 0: one */
	uint8_t width;		/* bytes of an access */
	uint8_t select_width;
	bool index;
	uint64_t reset;	   /* as read after a reset; of a write-only register: as read always */
	uint64_t writable; /* bits that read back as written */
	uint64_t w1c;	   /* bits that writing 1 clears */
	uint64_t rc;	   /* bits that reading clears */
	uint64_t ignored;  /* MSRs: bits that may be written to no effect; all others give #GP */
	uint64_t varies;   /* bits that reset and writes alone do not determine: see 'test' */
	/* The state's field that holds the bits of w1c and rc, from 'element' on. */
	const char *field;
	const char *doc;  /* effects beyond the bits, and "not implemented: ..."; may be NULL */
	const char *test; /* of what the masks do not say; mandatory with REG_SPECIAL */
	const struct reg_bits *bits; /* ends with mask 0; NULL: one field */
};

/* Places that are the model's: what has no row there is not implemented. */
struct reg_range {
	enum reg_space space;
	uint64_t start, size; /* size 0 ends a list */
	uint8_t unit;	      /* how far registers are apart */
};

struct device_registers {
	const char *model; /* compatible string, or what it is if it is no model of its own */
	const char *host;  /* then: the model in which the tests look at it; NULL: in the core */
	bool firmware;	   /* only machines that firmware starts have these rows' registers */
	const char *title; /* one line */
	const char *sheet; /* the data sheet; sections in rows are its own */
	const char *doc;   /* deviations and choices; may be NULL */
	const char *tests; /* the file of tests/unit that has the tests named in rows */
	const struct reg_range *ranges;
	const struct reg_row *rows; /* end with a name of NULL */
};

#define REG_BITS(...)                                                                              \
	(const struct reg_bits[])                                                                  \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}
#define REG_RANGES(...)                                                                            \
	(const struct reg_range[])                                                                 \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}
/* Where rows of one kind are: to be followed by the row's other members. */
#define REG_AT(sp, addr, bytes) .space = (sp), .at = (addr), .width = (bytes)
#define REG_INDEX(sp, data, bytes, index_at, index_width, number)                                  \
	REG_AT(sp, data, bytes), .index = true, .select_at = (index_at),                           \
				 .select_width = (index_width), .select = (number)
#define REG_AFTER(at_, bytes, value) .select_at = (at_), .select_width = (bytes), .select = (value)

/* On the host tables are found as a list; the hypervisor's compiler sees that nobody uses them. */
#ifdef AMBER_HOST
#define DEVICE_REGISTERS(ident)                                                                    \
	static const struct device_registers ident;                                                \
	static const struct device_registers *const ident##_entry                                  \
	    __attribute__((used, section("device_registers"))) = &ident;                           \
	static const struct device_registers ident
extern const struct device_registers *const __start_device_registers[],
    *const __stop_device_registers[];
#else
#define DEVICE_REGISTERS(ident) static const struct device_registers ident __attribute__((unused))
#endif

#endif
