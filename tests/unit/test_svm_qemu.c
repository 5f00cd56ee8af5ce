/* SPDX-License-Identifier: BSD-2-Clause */
/* States that QEMU's emulated SVM comes to and refuses, and what the guest gets instead. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "hv/arch/x86/svm/svm_qemu.c"

const struct virt_ops *virt;
struct svm_features svm_features;
struct host_cpu host_cpu;
static int exception; /* -1: none */
static const char *code;

void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code)
{
	assert_int_equal(exception, -1);
	assert_true(has_error && error_code == 0);
	exception = vector;
}

unsigned vcpu_decode_insn(struct vcpu *v, struct emul *e)
{
	*e = (struct emul){.state = &v->state, .insn_bytes = sizeof(e->insn)};
	memset(e->insn, 0x90, sizeof(e->insn));
	memcpy(e->insn, code, strlen(code));
	return emul_insn_length(e);
}

enum mode { MODE_64, MODE_COMPAT, MODE_LEGACY };

static struct vcpu cpu;
static struct cpu_model model;
static struct vm vm;

static struct vcpu *prepare(enum mode mode, const char *insn)
{
	struct vcpu_state *s = &cpu.state;

	memset(&cpu, 0, sizeof(cpu));
	s->rip = 0x1000;
	s->rflags = RFLAGS_FIXED;
	s->cr0 = CR0_PE | CR0_PG;
	s->efer = mode == MODE_LEGACY ? 0 : EFER_LME | EFER_LMA;
	s->seg[SEG_CS].attr = 0x9b | (mode == MODE_64 ? SEG_ATTR_L : SEG_ATTR_DB);
	s->seg[SEG_CS].limit = UINT32_MAX;
	cpu.vm = &vm;
	cpu.valid = VG_ALL;
	vm.cpu_model = &model;
	model.phys_bits = 36;
	svm_features.qemu = true;
	code = insn;
	exception = -1;
	return &cpu;
}

static void reserved_bits_of_cr3_are_a_fault(void **state)
{
	static const struct {
		const char *insn;
		enum mode mode;
		uint64_t rax, r8;
		bool fault;
	} cases[] = {
	    {"\x0f\x22\xd8", MODE_64, 1ULL << 36, 0, true},
	    {"\x0f\x22\xd8", MODE_64, 1ULL << 63, 0, true},
	    {"\x41\x0f\x22\xd8", MODE_64, 0, 1ULL << 51, true},
	    {"\x66\x48\x0f\x22\xd8", MODE_64, 1ULL << 40, 0, true},
	    {"\x41\x0f\x22\xd8", MODE_64, 1ULL << 51, 0, false},
	    {"\x41\x66\x0f\x22\xd8", MODE_64, 0, 1ULL << 51, false}, /* REX in vain */
	    {"\x0f\x22\xd8", MODE_64, (1ULL << 36) - 1, 0, false},
	    {"\x44\x0f\x22\xd8", MODE_64, 1ULL << 51, 0, false}, /* CR11 */
	    {"\x0f\x22\xe0", MODE_64, 1ULL << 51, 0, false},
	    {"\x0f\x20\xd8", MODE_64, 1ULL << 51, 0, false},
	    {"\x0f\x22\xd8", MODE_COMPAT, 1ULL << 51, 0, false},
	    {"\x0f\x22\xd8", MODE_LEGACY, 1ULL << 51, 0, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vcpu *v = prepare(cases[i].mode, cases[i].insn);

		v->state.gpr[GPR_RAX] = cases[i].rax;
		v->state.gpr[GPR_R8] = cases[i].r8;
		assert_false(svm_qemu_mend(v, false)); /* nothing was refused yet */
		assert_int_equal(exception, -1);
		assert_int_equal(svm_qemu_mend(v, true), cases[i].fault);
		assert_int_equal(exception, cases[i].fault ? VEC_GP : -1);
		assert_int_equal(v->state.rip, 0x1000);
	}
}

static void cr3_is_the_kernels(void **state)
{
	struct vcpu *v = prepare(MODE_64, "\x0f\x22\xd8");

	v->state.gpr[GPR_RAX] = 1ULL << 36;
	v->state.cpl = 3;
	assert_false(svm_qemu_mend(v, true));
}

static void code_segment_of_two_sizes_is_mended(void **state)
{
	struct vcpu *v = prepare(MODE_64, "");
	uint16_t *attr = &v->state.seg[SEG_CS].attr;

	assert_false(svm_qemu_mend(v, true));
	for (unsigned refused = 0; refused <= 1; refused++) {
		v = prepare(MODE_64, "");
		*attr = 0xe9b;
		assert_true(svm_qemu_mend(v, refused));
		assert_int_equal(*attr, 0xa9b);
		assert_true(v->dirty & VG_SEGS);
		assert_int_equal(exception, -1);
		assert_false(
		    svm_qemu_mend(v, refused)); /* once: the next refusal has another reason */
	}
	v = prepare(MODE_LEGACY, "");
	*attr = 0xe9b; /* L means nothing there */
	assert_false(svm_qemu_mend(v, true));
}

/* The local APIC is made to look again after each exit; on a CPU that costs something for nothing.
 */
static void interrupts_are_remembered(void **state)
{
	prepare(MODE_64, "");
	write_cr8(15);
	svm_qemu_remember_irqs();
	assert_int_equal(read_cr8(), 0);
	write_cr8(15);
	svm_features.qemu = false;
	svm_qemu_remember_irqs();
	assert_int_equal(read_cr8(), 15);
}

static void a_cpu_needs_none_of_it(void **state)
{
	struct vcpu *v = prepare(MODE_64, "\x0f\x22\xd8");

	svm_features.qemu = false;
	v->state.seg[SEG_CS].attr = 0xe9b;
	v->state.gpr[GPR_RAX] = 1ULL << 36;
	assert_false(svm_qemu_mend(v, true));
	assert_int_equal(v->state.seg[SEG_CS].attr, 0xe9b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reserved_bits_of_cr3_are_a_fault),
	    cmocka_unit_test(cr3_is_the_kernels),
	    cmocka_unit_test(code_segment_of_two_sizes_is_mended),
	    cmocka_unit_test(interrupts_are_remembered),
	    cmocka_unit_test(a_cpu_needs_none_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
