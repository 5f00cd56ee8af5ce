/* SPDX-License-Identifier: BSD-2-Clause */
/* What a test guest has to work with: a serial line, traps, a few instructions. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The guest's own main; params is the zero page. Returning halts with interrupts off. */
void guest_main(const uint8_t *params);

/* --- serial line (COM1) --- */
void putc(char c);
/* %s %c %d %u %x %lu %lx %llu %llx only. */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- traps --- */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
/* Installs an IDT with all vectors; masks the 8259s. */
void traps_init(void);
/* Called for a vector; NULL: prints the frame and halts. */
extern void (*trap_handler[256])(struct trap_frame *f);

/* --- local APIC in x2APIC mode --- */
void x2apic_init(void); /* software-enabled, spurious vector 255 */

/* --- instructions --- */
static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr)
			 : "memory");
}
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}
static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
}

/* ACPI power-off: PM1a control, SLP_TYP 5 and SLP_EN. */
void poweroff(void);

#endif
