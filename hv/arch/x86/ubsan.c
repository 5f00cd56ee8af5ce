/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Run-time side of -fsanitize=undefined in debug builds: says where and what,
 * then panics. The layouts are the compilers' ABI (gcc 12 and clang 14 agree).
 */
#include "hv/lib/log.h"
#include "hv/lib/types.h"

#ifdef AMBER_DEBUG

struct location {
	const char *file;
	uint32_t line, column;
};

static NORETURN void report(const struct location *l, const char *what)
{
	panic("undefined behaviour: %s:%u:%u: %s", l->file, l->line, l->column, what);
}

/* Each handler's first argument points to data that begins with the location. */
#define HANDLER_1(name, what)                                                                      \
	void __ubsan_handle_##name(const struct location *l);                                      \
	void __ubsan_handle_##name(const struct location *l)                                       \
	{                                                                                          \
		report(l, what);                                                                   \
	}
#define HANDLER_2(name, what)                                                                      \
	void __ubsan_handle_##name(const struct location *l, uint64_t a);                          \
	void __ubsan_handle_##name(const struct location *l, uint64_t a)                           \
	{                                                                                          \
		panic("undefined behaviour: %s:%u:%u: %s (0x%lx)", l->file, l->line, l->column,    \
		    what, a);                                                                      \
	}
#define HANDLER_3(name, what)                                                                      \
	void __ubsan_handle_##name(const struct location *l, uint64_t a, uint64_t b);              \
	void __ubsan_handle_##name(const struct location *l, uint64_t a, uint64_t b)               \
	{                                                                                          \
		panic("undefined behaviour: %s:%u:%u: %s (0x%lx, 0x%lx)", l->file, l->line,        \
		    l->column, what, a, b);                                                        \
	}

/* clang-format off */
HANDLER_3(add_overflow, "signed addition overflows")
HANDLER_3(sub_overflow, "signed subtraction overflows")
HANDLER_3(mul_overflow, "signed multiplication overflows")
HANDLER_2(negate_overflow, "negation overflows")
HANDLER_3(divrem_overflow, "division overflows or by zero")
HANDLER_3(shift_out_of_bounds, "shift out of bounds")
HANDLER_2(out_of_bounds, "array index out of bounds")
HANDLER_2(type_mismatch_v1, "null, misaligned or too small object")
HANDLER_2(vla_bound_not_positive, "array size not positive")
HANDLER_2(load_invalid_value, "value not of its type (bool, enum)")
HANDLER_3(pointer_overflow, "pointer arithmetic overflows")
HANDLER_1(builtin_unreachable, "reached what cannot be reached")
HANDLER_1(missing_return, "end of a function without its value")
HANDLER_1(nonnull_arg, "null passed where it must not be")
HANDLER_2(nonnull_return_v1, "null returned where it must not be")
HANDLER_1(invalid_builtin, "builtin with an argument out of its domain")
HANDLER_2(function_type_mismatch, "call through a pointer of the wrong type")
HANDLER_3(alignment_assumption, "assumed alignment is wrong")
/* clang-format on */

#endif
