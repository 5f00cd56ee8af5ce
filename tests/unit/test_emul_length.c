/* SPDX-License-Identifier: BSD-2-Clause */
/* Promise: the decoder finds the same instruction lengths as an independent decoder. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>
#include "tests/unit/test_emul.h"

static struct rig rig;

struct mode {
	unsigned bits;
	ZydisMachineMode machine;
	ZydisStackWidth stack;
	ZydisDecoder decoder;
};

static struct mode modes[] = {
    {.bits = 64, .machine = ZYDIS_MACHINE_MODE_LONG_64, .stack = ZYDIS_STACK_WIDTH_64},
    {.bits = 32, .machine = ZYDIS_MACHINE_MODE_LEGACY_32, .stack = ZYDIS_STACK_WIDTH_32},
    {.bits = 16, .machine = ZYDIS_MACHINE_MODE_LEGACY_16, .stack = ZYDIS_STACK_WIDTH_16},
};

/* The length, or 0 if the bytes are no instruction. */
static unsigned our_length(const uint8_t *bytes)
{
	memcpy(rig.e.insn, bytes, 15);
	rig.e.insn_bytes = 15;
	return emul_insn_length(&rig.e);
}

static unsigned their_length(const struct mode *m, const uint8_t *bytes)
{
	ZydisDecodedInstruction insn;

	if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&m->decoder, NULL, bytes, 15, &insn)))
		return 0;
	return insn.length;
}

/*
 * Differences that are meant. JKZD and JKNZD (VEX, map 0 opcodes 74 and 75, map
 * 0F opcodes 84 and 85) had a displacement on one coprocessor that runs no
 * guests; elsewhere they are undefined.
 */
static bool difference_listed(const uint8_t *bytes)
{
	const uint8_t *vex = bytes;

	if (rig.e.map != MAP_OTHER)
		return false;
	while (*vex != 0xc4 && *vex != 0xc5 && vex < bytes + 12)
		vex++;
	if (*vex == 0xc4 && (vex[1] & 31) == 0)
		return (rig.e.opcode & 0xfe) == 0x74;
	return *vex >= 0xc4 && *vex <= 0xc5 && (rig.e.opcode & 0xfe) == 0x84;
}

static void print_bytes(
    const char *what, const struct mode *m, const uint8_t *bytes, unsigned ours, unsigned theirs)
{
	printf("%s, %u-bit:", what, m->bits);
	for (unsigned n = 0; n < 15; n++)
		printf(" %02x", bytes[n]);
	printf(": ours %u, theirs %u\n", ours, theirs);
}

/* Bytes that lead into every corner: prefixes, escapes, then anything. */
static void random_bytes(uint64_t *seed, uint8_t *bytes)
{
	static const uint8_t prefixes[] = {
	    0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64, 0x65, 0x48, 0x44, 0x41, 0x4f};
	unsigned n = 0;

	for (unsigned k = 0; k < 15; k++)
		bytes[k] = (uint8_t)(rig_random(seed) >> 32);
	for (unsigned r = rig_random(seed) >> 60; r >= 12; r--)
		bytes[n++] = prefixes[(rig_random(seed) >> 40) % sizeof(prefixes)];
	switch (rig_random(seed) >> 61) {
	case 0:
	case 1:
		bytes[n] = 0x0f;
		break;
	case 2:
		bytes[n++] = 0x0f;
		bytes[n] = rig_random(seed) >> 63 ? 0x38 : 0x3a;
		break;
	case 3:
		bytes[n] = "\xc4\xc5\x62\x8f"[rig_random(seed) >> 62];
		break;
	default:
		break;
	}
}

static void lengths_agree(void **state)
{
	unsigned long cases = rig_cases(300000), both = 0, refused = 0, bad = 0;
	uint64_t seed = 1;

	(void)state;
	printf("seed %llu, %lu cases per mode\n", (unsigned long long)seed, cases);
	for (unsigned k = 0; k < ARRAY_LEN(modes); k++) {
		struct mode *m = &modes[k];

		rig_init(&rig, m->bits);
		ZydisDecoderInit(&m->decoder, m->machine, m->stack);
		for (unsigned long n = 0; n < cases && bad < 20; n++) {
			uint8_t bytes[15];
			unsigned ours, theirs;

			random_bytes(&seed, bytes);
			ours = our_length(bytes);
			theirs = their_length(m, bytes);
			if (ours && theirs && ours != theirs && !difference_listed(bytes)) {
				print_bytes("length", m, bytes, ours, theirs);
				bad++;
			} else if (!ours && theirs) {
				print_bytes("refused", m, bytes, ours, theirs);
				bad++;
			}
			both += ours && theirs;
			refused += !ours && theirs;
		}
	}
	printf("%lu accepted by both, %lu by the other only\n", both, refused);
	assert_int_equal(bad, 0);
	assert_true(both > cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lengths_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
