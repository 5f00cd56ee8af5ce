/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Panics: whatever happens in here, the message comes first, nothing waits for
 * a lock, and a second panic only halts. Policy: report, then halt all CPUs.
 */
#include "hv/arch/x86/panic.h"
#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/paging.h"
#include "hv/arch/x86/smp.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/aspace.h"

extern const char boot_stack_guard[];

static int owner = -1; /* the CPU that panicked first; atomic */

void __stack_chk_fail(void); /* called by compiled code */

bool panic_in_progress(void)
{
	return __atomic_load_n(&owner, __ATOMIC_ACQUIRE) >= 0;
}

bool panic_is_guard_page(uint64_t addr)
{
	uint64_t pa, guard = (uint64_t)boot_stack_guard;

	if (addr >= guard && addr - guard < PAGE_SIZE)
		return true;
	return addr >= STACK_MAP_BASE && addr < HV_IMAGE_BASE && !paging_lookup(addr, &pa) &&
	       paging_lookup(addr + PAGE_SIZE, &pa);
}

static void print(const char *text)
{
	if (log_console_sink)
		log_console_sink(text, strlen(text));
}

/* Claims the panic; a CPU that comes second, or again, halts. */
static void begin(void)
{
	int nobody = -1;

	irq_disable();
	if (!__atomic_compare_exchange_n(
		&owner, &nobody, (int)cpu_id(), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		if (nobody == (int)cpu_id())
			print("panic: again, while reporting the first; halted\n");
		cpu_halt_forever();
	}
	smp_stop_others();
}

static void print_registers(const struct trap_frame *f)
{
	const struct {
		const char *name;
		uint64_t value;
	} regs[] = {
	    {"RIP", f->rip},
	    {"RSP", f->rsp},
	    {"RFLAGS", f->rflags},
	    {"CS", f->cs},
	    {"SS", f->ss},
	    {"RAX", f->rax},
	    {"RBX", f->rbx},
	    {"RCX", f->rcx},
	    {"RDX", f->rdx},
	    {"RSI", f->rsi},
	    {"RDI", f->rdi},
	    {"RBP", f->rbp},
	    {"R8", f->r8},
	    {"R9", f->r9},
	    {"R10", f->r10},
	    {"R11", f->r11},
	    {"R12", f->r12},
	    {"R13", f->r13},
	    {"R14", f->r14},
	    {"R15", f->r15},
	    {"CR0", read_cr0()},
	    {"CR2", read_cr2()},
	    {"CR3", read_cr3()},
	    {"CR4", read_cr4()},
	};
	char line[96];

	for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
		str_format(line, sizeof(line), "%6s %016lx%s", regs[i].name, regs[i].value,
		    i % 3 == 2 || i + 1 == ARRAY_LEN(regs) ? "\n" : "  ");
		print(line);
	}
}

static NORETURN void end(uint64_t rip, uint64_t rbp)
{
	print("backtrace:\n");
	backtrace(rip, rbp, print);
	print("halted\n");
	cpu_halt_forever();
}

void panic(const char *fmt, ...)
{
	char text[320];
	va_list ap;

	begin();
	str_format(text, sizeof(text), "\npanic on CPU %u: ", cpu_id());
	print(text);
	va_start(ap, fmt);
	str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	print(text);
	print("\n");
	end((uint64_t)__builtin_return_address(0) - 1, *(uint64_t *)__builtin_frame_address(0));
}

void panic_trap(const struct trap_frame *f, const char *what)
{
	char text[320];

	begin();
	str_format(text, sizeof(text), "\npanic on CPU %u: %s\n", cpu_id(), what);
	print(text);
	print_registers(f);
	end(f->rip, f->rbp);
}

void panic_refuse(const char *sentence)
{
	begin();
	print("\nAmber does not start: ");
	print(sentence);
	print("\nhalted\n");
	cpu_halt_forever();
}

void __stack_chk_fail(void)
{
	panic("stack smashed: a function wrote past a local array");
}
