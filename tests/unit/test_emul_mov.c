/* SPDX-License-Identifier: BSD-2-Clause */
/* The short way for MOV against the emulator: whatever it takes on, both must do the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/test_emul_run.h"

enum { ROUNDS = 400000, DEVICE_VALUE = 0xa5 };

static uint64_t seed = 88172645463325252ULL;

static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Half the time bytes that make it a MOV, else any. */
static void random_code(uint8_t code[EMUL_MOV_BYTES])
{
	static const uint8_t opcodes[] = {
	    0x88, 0x89, 0x8a, 0x8b, 0xc6, 0xc7, 0xa0, 0xa1, 0xa2, 0xa3, 0x0f};
	unsigned n = 0;

	for (unsigned i = 0; i < EMUL_MOV_BYTES; i++)
		code[i] = (uint8_t)random64();
	if (random64() & 1)
		code[n++] = 0x66;
	if (random64() & 1)
		code[n++] = 0x40 | (random64() & 15);
	code[n++] = opcodes[random64() % sizeof(opcodes)];
	if (code[n - 1] == 0x0f)
		code[n++] = 0xb6 | (random64() & 1);
	if (random64() & 1)
		code[n] &= 0xf8; /* /0, for C6 and C7 the only one */
}

static void random_registers(void)
{
	for (unsigned r = 0; r < GPR_COUNT; r++) {
		rig.s.gpr[r] = random64() >> (random64() & 63);
		if (random64() & 1)
			rig.s.gpr[r] = ALIGN_DOWN(rig.s.gpr[r], 64);
	}
	rig.s.rip = RIG_CODE;
	rig.s.rflags = RFLAGS_FIXED;
}

/* What the short way does with a device that reads as one byte repeated. */
static void short_way(const struct emul_mov *m, struct vcpu_state *s)
{
	uint64_t value;

	if (!m->write) {
		memset(&value, DEVICE_VALUE, sizeof(value));
		emul_mov_load(s, m, value);
	}
	s->rip += m->len;
}

static void compare(const struct emul_mov *m)
{
	static struct vcpu_state expected;
	uint64_t in_page = m->linear & (PAGE_SIZE - 1);
	const struct rig_log *access;

	expected = rig.s;
	short_way(m, &expected);
	rig.logged = rig.calls = 0;
	memset(rig.device, DEVICE_VALUE, sizeof(rig.device));
	assert_int_equal(emulate_mmio(&rig.e, gpa(RIG_DEVICE + in_page), m->write), EMUL_OK);
	assert_memory_equal(&expected, &rig.s, sizeof(expected));
	access = device_access(0);
	assert_non_null(access);
	assert_int_equal(access->what, m->write ? RIG_WRITE : RIG_READ);
	assert_int_equal(access->addr, RIG_DEVICE + in_page);
	assert_int_equal(access->len, m->size);
	assert_int_equal(device_accesses(), 1);
	if (m->write)
		assert_memory_equal(&rig.device[in_page], &m->value, m->size);
}

static void test_same_as_emulator(void **state)
{
	unsigned taken = 0;

	(void)state;
	rig_init(&rig, 64);
	for (unsigned n = 0; n < ROUNDS; n++) {
		uint8_t code[EMUL_MOV_BYTES];
		struct emul_mov m;

		random_code(code);
		random_registers();
		if (!emul_mov_decode(&rig.s, code, &m))
			continue;
		rig.e.insn_bytes = 15;
		memcpy(rig.e.insn, code, 15);
		compare(&m);
		taken++;
	}
	assert_true(taken > ROUNDS / 20);
}

static void refused(const char *why, const uint8_t *code, size_t len)
{
	uint8_t padded[EMUL_MOV_BYTES] = {0};
	struct emul_mov m;

	memcpy(padded, code, len);
	if (emul_mov_decode(&rig.s, padded, &m))
		fail_msg("taken on: %s", why);
}

static void test_refuses(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	random_registers();
	rig.s.gpr[GPR_RBX] = 0x1000;
	rig.s.gpr[GPR_RSI] = 0x1001;
	rig.s.gpr[GPR_RDI] = 0x0000800000000000;
#define REFUSED(why, ...)                                                                          \
	refused(why, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
	REFUSED("a register operand", 0x8b, 0xc3);
	REFUSED("not aligned", 0x8b, 0x06);
	REFUSED("not canonical", 0x8b, 0x07);
	REFUSED("LOCK", 0xf0, 0x89, 0x03);
	REFUSED("a segment override", 0x65, 0x8b, 0x03);
	REFUSED("a REP prefix", 0xf3, 0x8b, 0x03);
	REFUSED("a short address", 0x67, 0x8b, 0x03);
	REFUSED("a REX prefix that does not count", 0x48, 0x66, 0x8b, 0x03);
	REFUSED("two prefixes of a kind", 0x66, 0x66, 0x8b, 0x03);
	REFUSED("C7 /1", 0xc7, 0x0b);
	REFUSED("MOVSX", 0x0f, 0xbe, 0x03);
	REFUSED("ADD", 0x01, 0x03);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_same_as_emulator),
	    cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
