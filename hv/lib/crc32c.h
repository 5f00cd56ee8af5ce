/* SPDX-License-Identifier: BSD-2-Clause */
/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720, appendix B.4). */
#ifndef AMBER_LIB_CRC32C_H
#define AMBER_LIB_CRC32C_H

#include "hv/lib/types.h"

/*
 * Continues crc over len bytes; start with 0. crc32c(0, "123456789", 9) is
 * 0xE3069283. Uses the SSE4.2 CRC32 instruction (general registers only) where
 * the CPU has it, a slicing table elsewhere.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* CRC-32 (IEEE 802.3, reflected 0xEDB88320), for GPT headers. */
uint32_t crc32_ieee(uint32_t crc, const void *data, size_t len);

#endif
