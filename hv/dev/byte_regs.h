/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices with 8-bit registers: a wider access is so many byte accesses at
 * rising addresses, as the bus makes it.
 */
#ifndef AMBER_DEV_BYTE_REGS_H
#define AMBER_DEV_BYTE_REGS_H

#include "hv/core/iobus.h"
#include "hv/lib/types.h"

/*
 * Defines a struct io_handler from
 *   uint8_t rd(void *ctx, unsigned reg);
 *   void wr(void *ctx, unsigned reg, uint8_t value);
 */
#define BYTE_PORTS(ident, rd, wr)                                                                  \
	static void ident##_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)        \
	{                                                                                          \
		*value = 0;                                                                        \
		for (unsigned i = 0; i < len; i++)                                                 \
			*value |= (uint64_t)rd(ctx, (unsigned)offset + i) << (8 * i);              \
	}                                                                                          \
	static void ident##_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)        \
	{                                                                                          \
		for (unsigned i = 0; i < len; i++)                                                 \
			wr(ctx, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));                \
	}                                                                                          \
	static const struct io_handler ident = {ident##_read, ident##_write}

#endif
