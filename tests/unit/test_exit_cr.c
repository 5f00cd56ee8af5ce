/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits for CR0: writes keep CD and NW for the guest, and reads find them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/core/exit_cr.c"
#include "tests/unit/fake/fake.h"

static void no_flush(struct vcpu *v)
{
}

static const struct virt_ops ops = {.flush = no_flush};
const struct virt_ops *virt = &ops;
static struct vm *vm;
static const char *code;
static int exception; /* -1: none */
static unsigned emulated;

unsigned vcpu_decode_insn(struct vcpu *v, struct emul *e)
{
	*e = (struct emul){.state = &v->state, .insn_bytes = sizeof(e->insn)};
	memset(e->insn, 0x90, sizeof(e->insn));
	memcpy(e->insn, code, strlen(code));
	return emul_insn_length(e);
}

bool vcpu_read_operand(struct vcpu *v, unsigned len, uint64_t *value)
{
	return false;
}

void vcpu_emulate(struct vcpu *v)
{
	emulated++;
}

void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code)
{
	exception = vector;
}

void vcpu_wrap_rip(struct vcpu *v)
{
}

void vcpu_single_step(struct vcpu *v)
{
}

void vcpu_skip(struct vcpu *v, const struct vm_exit *x)
{
}

bool code_cache_fill(struct code_cache *c, struct vm *m, uint64_t root, uint64_t linear)
{
	return false;
}

static struct vcpu *prepare(const char *insn)
{
	struct vcpu *v = vm->vcpus[0];

	v->state.rip = 0x1000;
	v->state.rflags = RFLAGS_FIXED;
	v->state.cr0 = CR0_PE | CR0_ET;
	v->state.efer = 0;
	v->state.seg[SEG_CS] = (struct seg){.limit = UINT32_MAX, .attr = 0xc9b};
	v->valid = VG_ALL;
	v->dirty = 0;
	v->code_root = NO_CODE_ROOT;
	code = insn;
	exception = -1;
	emulated = 0;
	return v;
}

static const struct vm_exit reading = {.reason = EXIT_CR_READ, .cr = {.reg = 0}};
static const struct vm_exit writing = {.reason = EXIT_CR_WRITE, .cr = {.reg = 0, .write = true}};

static void cache_bits_read_back(void **state)
{
	struct vcpu *v = prepare("\x0f\x22\xc3"); /* mov cr0, ebx */

	v->state.gpr[GPR_RBX] = CR0_PE | CR0_CD | CR0_NW;
	exit_cr_write(v, &writing);
	assert_int_equal(exception, -1);
	assert_int_equal(v->state.rip, 0x1003);
	assert_true(v->dirty & VG_CRS);
	code = "\x0f\x20\xc6"; /* mov esi, cr0 */
	v->state.gpr[GPR_RSI] = UINT64_MAX;
	exit_cr_read(v, &reading);
	assert_int_equal(v->state.gpr[GPR_RSI], CR0_PE | CR0_ET | CR0_CD | CR0_NW);
	assert_int_equal(v->state.rip, 0x1006);
}

/* Where hardware says which register it is, nothing is decoded. */
static void hardware_names_the_register(void **state)
{
	struct vm_exit x = reading;
	struct vcpu *v = prepare("");

	x.cr.has_gpr = true;
	x.cr.gpr = GPR_R9;
	x.insn_len = 4;
	exit_cr_read(v, &x);
	assert_int_equal(v->state.gpr[GPR_R9], CR0_PE | CR0_ET);
	assert_int_equal(v->state.rip, 0x1004);
}

/* SMSW is a read of CR0 too (APM volume 2, 15.8.1), and the emulator's to do. */
static void smsw_is_emulated(void **state)
{
	struct vcpu *v = prepare("\x0f\x01\xe0"); /* smsw eax */

	exit_cr_read(v, &reading);
	assert_int_equal(emulated, 1);
	exit_cr_write(v, &writing);
	assert_int_equal(emulated, 1);
	assert_int_equal(exception, VEC_UD);
}

static void others_are_not_expected(void **state)
{
	const struct vm_exit cr3 = {.reason = EXIT_CR_READ, .cr = {.reg = 3}};

	exit_cr_read(prepare("\x0f\x20\xd8"), &cr3);
	assert_int_equal(exception, VEC_UD);
}

static int setup(void **state)
{
	vm = fake_vm_new(1, 0);
	return 0;
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cache_bits_read_back),
	    cmocka_unit_test(hardware_names_the_register),
	    cmocka_unit_test(smsw_is_emulated),
	    cmocka_unit_test(others_are_not_expected),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
