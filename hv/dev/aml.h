/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing ACPI Machine Language (ACPI 6.5, chapter 20) and resource templates
 * (6.4). Everything appends to one buffer; what does not fit sets 'overflow'
 * and is dropped, so that the caller checks once at the end.
 */
#ifndef AMBER_DEV_AML_H
#define AMBER_DEV_AML_H

#include "hv/lib/types.h"

struct aml {
	uint8_t *buf;
	size_t len, cap;
	bool overflow;
	size_t
	    follow; /* an offset that stays with its byte when blocks around it get their lengths */
};

/* Opcodes used as such (20.2.5); operands follow in the order of the grammar. */
enum aml_op {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_QWORD = 0x0e,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_METHOD = 0x14,
	AML_EXT = 0x5b, /* prefix of two-byte opcodes */
	AML_ARG0 = 0x68,
	AML_ARG1 = 0x69,
	AML_ARG3 = 0x6b,
	AML_STORE = 0x70,
	AML_OR = 0x7d,
	AML_NOTIFY = 0x86,
	AML_CREATE_DWORD_FIELD = 0x8a,
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93,
	AML_IF = 0xa0,
	AML_ELSE = 0xa1,
	AML_RETURN = 0xa4,
	AML_EXT_DEVICE = 0x82, /* after AML_EXT */
};

#define AML_METHOD_SERIALIZED 0x08 /* method flag; the argument count is in the low three bits */

void aml_byte(struct aml *a, uint8_t v);
void aml_bytes(struct aml *a, const void *p, size_t n);
/* Absolute or relative: "\\_SB", "PCI0", "_SB.PCI0"; segments are padded with '_'. */
void aml_path(struct aml *a, const char *path);
/* The shortest constant. */
void aml_integer(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);
/* A compressed identifier like "PNP0A08" (ACPI 6.5, 19.3.4, EISAID). */
void aml_eisaid(struct aml *a, const char *id);
void aml_buffer(struct aml *a, const void *p, size_t n);

/*
 * Blocks: each returns a mark, with which aml_close() ends it and fills in its
 * length. They nest.
 */
size_t aml_scope(struct aml *a, const char *path);
size_t aml_device(struct aml *a, const char *name);
size_t aml_method(struct aml *a, const char *name, uint8_t flags);
size_t aml_package(struct aml *a, uint8_t elements);
size_t aml_if(struct aml *a); /* the predicate follows */
size_t aml_else(struct aml *a);
void aml_close(struct aml *a, size_t mark);

/* Name (name, ...): the object follows, or is the one in the function's name. */
void aml_name(struct aml *a, const char *name);
void aml_name_integer(struct aml *a, const char *name, uint64_t v);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);

/* A resource template under construction. */
struct aml_res {
	uint8_t buf[256];
	struct aml out;
};
void aml_res_init(struct aml_res *r);
void aml_res_io(struct aml_res *r, uint16_t port, uint8_t len);
/* One ISA interrupt, edge-triggered. */
void aml_res_irq(struct aml_res *r, unsigned irq);
void aml_res_memory(struct aml_res *r, uint32_t base, uint32_t len);
/* What a bridge passes on: bus numbers, ports, memory; both ends included. */
void aml_res_window_bus(struct aml_res *r, uint16_t first, uint16_t last);
void aml_res_window_io(struct aml_res *r, uint16_t first, uint16_t last);
void aml_res_window_memory(struct aml_res *r, uint32_t first, uint32_t last);
/* Name (_CRS, the template). */
void aml_name_crs(struct aml *a, struct aml_res *r);

#endif
