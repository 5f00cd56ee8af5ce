/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CRC-32C by the SSE4.2 CRC32 instruction or by slicing (eight bytes a step with
 * eight tables), and CRC-32 by slicing. The tables are computed at first use.
 */
#include "hv/lib/crc32c.h"

#define POLY_CASTAGNOLI 0x82F63B78u
#define POLY_IEEE	0xEDB88320u

/* Eight bytes at any address, exempt from the aliasing rules. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;

/* All zero until it is used: it takes no room in the image. */
struct crc_table {
	bool ready;
	uint32_t t[8][256];
};

/*
 * t[0][i] is the CRC of byte i, t[k][i] that of byte i and k zero bytes behind
 * it. Two CPUs that come here at once write the same values.
 */
static void table_build(struct crc_table *c, uint32_t poly)
{
	for (unsigned i = 0; i < 256; i++) {
		uint32_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = v >> 1 ^ (v & 1 ? poly : 0);
		c->t[0][i] = v;
	}
	for (int k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++)
			c->t[k][i] = c->t[k - 1][i] >> 8 ^ c->t[0][c->t[k - 1][i] & 0xff];
	__atomic_store_n(&c->ready, true, __ATOMIC_RELEASE);
}

static uint32_t crc_sliced(
    struct crc_table *c, uint32_t poly, uint32_t crc, const uint8_t *p, size_t len)
{
	if (!__atomic_load_n(&c->ready, __ATOMIC_ACQUIRE))
		table_build(c, poly);
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v = *(const word *)p ^ crc;

		crc = 0;
		for (int k = 0; k < 8; k++)
			crc ^= c->t[7 - k][v >> (8 * k) & 0xff];
	}
	for (; len; len--)
		crc = crc >> 8 ^ c->t[0][(crc ^ *p++) & 0xff];
	return crc;
}

/* CPUID.1:ECX.SSE4_2[20]; the answer is kept, CPUID is slow (and exits in a virtual machine). */
static bool cpu_has_crc32(void)
{
	static int8_t known; /* 0: not asked yet, 1: yes, -1: no */
	uint32_t eax = 1, ebx, ecx = 0, edx;

	if (!known) {
		__asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
		known = ecx >> 20 & 1 ? 1 : -1;
	}
	return known > 0;
}

static uint32_t crc_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t wide = crc;

	/* a loop's own instructions would be three of four */
	for (; len >= 64; len -= 64, p += 64) {
#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++)
			__asm__("crc32q %1, %0" : "+r"(wide) : "rm"(((const word *)p)[i]));
	}
	for (; len >= 8; len -= 8, p += 8)
		__asm__("crc32q %1, %0" : "+r"(wide) : "r"(*(const word *)p));
	crc = (uint32_t)wide;
	for (; len; len--)
		__asm__("crc32b %1, %0" : "+r"(crc) : "rm"(*p++));
	return crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	static struct crc_table table;

	if (cpu_has_crc32())
		return ~crc_instruction(~crc, data, len);
	return ~crc_sliced(&table, POLY_CASTAGNOLI, ~crc, data, len);
}

uint32_t crc32_ieee(uint32_t crc, const void *data, size_t len)
{
	static struct crc_table table;

	return ~crc_sliced(&table, POLY_IEEE, ~crc, data, len);
}
