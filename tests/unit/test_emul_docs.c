/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promise: docs/emulator.md lists what the emulator executes with a memory operand or
 * none, all of it and nothing else. Every opcode is tried with every mandatory prefix and
 * every ModRM.reg. AMBER_PRINT prints what is found.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/unit/test_emul_run.h"

enum { MAPS = 4, PREFIXES = 4, NO_REG = 8 };

static const char *const map_names[MAPS] = {"", "0F ", "0F38 ", "0F3A "};
static const char *const prefix_names[PREFIXES] = {"NP ", "66 ", "F3 ", "F2 "};

/* By VEX or not, map, opcode: bits, prefix * 8 + reg. */
static uint32_t found[2][MAPS][256], documented[2][MAPS][256];

/* --- what is executed --------------------------------------------------------------- */

static void encode(uint8_t *p, bool vex, unsigned map, unsigned op, unsigned prefix, unsigned reg)
{
	static const uint8_t bytes[PREFIXES] = {0, 0x66, 0xf3, 0xf2};

	if (vex) {
		*p++ = 0xc4;
		*p++ = (uint8_t)(0xe0 | map);
		*p++ = (uint8_t)(0x78 | prefix);
	} else {
		if (prefix)
			*p++ = bytes[prefix];
		if (map)
			*p++ = 0x0f;
		if (map > 1)
			*p++ = map == 2 ? 0x38 : 0x3a;
	}
	*p++ = (uint8_t)op;
	*p = (uint8_t)(3 | reg << 3); /* (%rbx) */
}

static bool executes(const uint8_t *code, unsigned bits, bool wide)
{
	enum emul_result r;
	uint8_t *vex = rig.mem + RIG_CODE;

	rig_init(&rig, bits);
	rig.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
	rig.s.xcr0 = 7;
	for (unsigned n = 0; n < GPR_COUNT; n++)
		rig.s.gpr[n] = RIG_DATA;
	memcpy(vex, code, 8);
	if (wide)
		vex[2] |= 4; /* VEX.L */
	r = run();
	return r == EMUL_OK || r == EMUL_CONTINUE ||
	       (r == EMUL_EXCEPTION && rig.e.event.vector != VEC_UD);
}

/* Prefixes, escapes, and what leads into another map. */
static bool is_no_opcode(bool vex, unsigned map, unsigned op)
{
	if (map == 1)
		return !vex && (op == 0x38 || op == 0x3a);
	return map == 0 && (op == 0x0f || (op & 0xe7) == 0x26 || (op >= 0x64 && op <= 0x67) ||
			       op == 0xf0 || op == 0xf2 || op == 0xf3);
}

static void probe(bool vex, unsigned map, unsigned op)
{
	for (unsigned prefix = 0; prefix < PREFIXES; prefix++)
		for (unsigned reg = 0; reg < 8; reg++) {
			uint8_t code[8] = {0};

			encode(code, vex, map, op, prefix, reg);
			if (executes(code, 64, false) || executes(code, 32, false) ||
			    (vex && executes(code, 64, true)))
				found[vex][map][op] |= 1U << (prefix * 8 + reg);
		}
}

/* --- what is documented -------------------------------------------------------------- */

/* Takes a word from a list if it is there. */
static bool take(const char **p, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*p, word, len))
		return false;
	*p += len;
	return true;
}

/* One number or a range; digits in the given base. */
static void take_range(const char **p, int base, unsigned *first, unsigned *last)
{
	char *end;

	*first = *last = (unsigned)strtoul(*p, &end, base);
	if (end == *p)
		fail_msg("not understood: %s", *p);
	*p = end;
	if (!take(p, ".."))
		return;
	take(p, "/");
	*last = (unsigned)strtoul(*p, &end, base);
	*p = end;
}

/* "V 66 0F 10..11", "F6 /0../3": V for both, VEX for only that form. */
static void document(const char *p)
{
	bool both = take(&p, "V "), vex = take(&p, "VEX ");
	unsigned map = 0, prefixes = 0, first, last, reg = 0, last_reg = 7;
	uint32_t bits = 0;

	for (unsigned n = 0; n < PREFIXES; n++)
		if (take(&p, prefix_names[n]))
			prefixes |= 1U << n;
	for (unsigned n = MAPS - 1; n > 0 && !map; n--)
		if (take(&p, map_names[n]))
			map = n;
	take_range(&p, 16, &first, &last);
	if (take(&p, " /"))
		take_range(&p, 10, &reg, &last_reg);
	for (unsigned n = 0; n < PREFIXES; n++)
		for (unsigned r = reg; r <= last_reg; r++)
			if (!prefixes || (prefixes >> n & 1))
				bits |= 1U << (n * 8 + r);
	for (unsigned op = first; op <= last && op < 256; op++) {
		documented[vex][map][op] |= bits;
		if (both)
			documented[1][map][op] |= bits;
	}
}

static void read_document(void)
{
	FILE *f = fopen("docs/emulator.md", "r");
	char line[1024];
	bool inside = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		char *cell, *save;

		if (!strncmp(line, "| instruction", 13))
			inside = true;
		else if (line[0] != '|')
			inside = false;
		else if (inside && line[1] != '-') {
			cell = strstr(line, " | ");
			assert_non_null(cell);
			cell[strlen(cell) - 2] = 0;
			for (char *key = strtok_r(cell + 3, ",|", &save); key;
			     key = strtok_r(NULL, ",|", &save))
				if (*(key += strspn(key, " ")))
					document(key);
		}
	}
	fclose(f);
}

/* --- comparison ------------------------------------------------------------------------ */

static unsigned complain(const char *what, bool vex, unsigned map, unsigned op, uint32_t bits)
{
	for (unsigned n = 0; n < PREFIXES; n++)
		for (unsigned reg = 0; reg < 8; reg++)
			if (bits >> (n * 8 + reg) & 1)
				printf("%s: %s%s%s%02X /%u\n", what, vex ? "VEX " : "",
				    prefix_names[n], map_names[map], op, reg);
	return bits != 0;
}

static void lists_what_is_executed(void **state)
{
	unsigned bad = 0;

	(void)state;
	read_document();
	for (unsigned vex = 0; vex < 2; vex++)
		for (unsigned map = vex; map < MAPS; map++)
			for (unsigned op = 0; op < 256; op++) {
				uint32_t have, want = documented[vex][map][op];

				if (is_no_opcode(vex, map, op))
					continue;
				probe(vex, map, op);
				have = found[vex][map][op];
				if (getenv("AMBER_PRINT"))
					printf("%u %u %02x %08x\n", vex, map, op, have);
				bad +=
				    complain("not in docs/emulator.md", vex, map, op, have & ~want);
				bad += complain("in docs/emulator.md, not executed", vex, map, op,
				    want & ~have);
			}
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists_what_is_executed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
