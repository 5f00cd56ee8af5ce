/* SPDX-License-Identifier: BSD-2-Clause */
/* The torture guest's parts: what a CPU of it is, and what it can do. */
#ifndef TORTURE_H
#define TORTURE_H

#include "guest.h"

/*
 * Its memory: the image from 2 MiB on, stacks, then for each CPU one MiB of which programs may
 * do what they like. Programs run with page tables in which all but these is read-only.
 */
enum {
	MAX_CPUS = 8,
	PAGE = 4096,
	LARGE = 2 << 20,
	STACKS = 6 << 20, /* 64 KiB a CPU */
	STACK_SIZE = 64 << 10,
	PLAY = 8 << 20, /* 1 MiB a CPU */
	PLAY_SIZE = 1 << 20,
	RAM_END = 32 << 20
};
#define WINDOW (16ULL << 30) /* mapped by junk, each CPU's own */

/* Selectors; CODE and DATA are those of start.asm's gates. */
enum selector {
	SEL_CODE = 0x10,
	SEL_DATA = 0x18,
	SEL_USER32 = 0x20 | 3,
	SEL_USER_DATA = 0x28 | 3,
	SEL_USER64 = 0x30 | 3,
	SEL_USER16 = 0x38 | 3,
	SEL_USER16_DATA = 0x40 | 3,
	SEL_CODE32 = 0x48,
	SEL_CODE16 = 0x50,
	SEL_TSS = 0x60,		   /* 16 bytes a CPU */
	SEL_TSS32 = 0xe0,	   /* 8 bytes a CPU */
	SEL_TRIP_CODE = 0x120 | 3, /* from PLAY on, for programs without page tables */
	SEL_TRIP_DATA = 0x128 | 3,
	SEL_JUNK = 0x130,
	GDT_SIZE = 0x200
};

enum { VEC_WATCH = 0x40, VEC_SPURIOUS = 0xff };

/* What there is to do; the heartbeat counts by these. */
enum class {
	DO_PORT,
	DO_STRING,
	DO_MMIO,
	DO_MSR,
	DO_CPUID,
	DO_CALL,
	DO_REGS,
	DO_CODE,
	DO_PAGING,
	DO_IPI,
	DO_TRIP,
	DO_APIC,
	DO_TIME,
	DO_PCI,
	DO_QUEUE,
	DO_FW_CFG,
	DO_CHIP,
	DO_REST,
	CLASSES
};

struct cpu {
	uint64_t resume_rsp; /* first: guard.asm */
	unsigned index;
	uint64_t rng;
	volatile bool armed;	 /* what it does now may be given up at any point */
	volatile unsigned ticks; /* of the watchdog since then */
	unsigned budget;	 /* as many and it is given up */
	unsigned steps;		 /* single steps left */
	unsigned storm;		 /* interrupts since then */
	bool x2apic;
	volatile bool resting;
	volatile uint64_t beats; /* things done */
	uint64_t seen[MAX_CPUS];
	uint32_t seen_at[MAX_CPUS]; /* PM timer */
	volatile uint64_t done[CLASSES], traps, interrupts, given_up, wild, starts, kicks;
};

extern struct cpu cpus[MAX_CPUS];
extern unsigned ncpus, rest_us;
enum plain { PLAIN_VECTORS = 1, PLAIN_STEPS = 2, PLAIN_NO_V86 = 4 };
extern unsigned plain; /* what is left out: main.c */

/* --- random numbers (rng.c) --- */
uint64_t rnd(struct cpu *c);
static inline unsigned below(struct cpu *c, unsigned n)
{
	return (unsigned)(rnd(c) >> 11) % n;
}
/* True once in so many times. */
static inline bool once_in(struct cpu *c, unsigned n)
{
	return below(c, n) == 0;
}
/* A number of the kinds that are likely to hurt. */
uint64_t odd_value(struct cpu *c);
/* An address of memory: this CPU's own, a device's, nobody's. Never the kernel's. */
uint64_t place(struct cpu *c);
uint64_t quiet_place(struct cpu *c); /* the same, but seldom an interrupt controller */
uint64_t play(struct cpu *c);	     /* in its own memory, often near the end of a page */

/* --- CPUs (cpu.c) --- */
void cpus_init(void);
void cpu_load(struct cpu *c);	/* tables, control registers */
void cpu_settle(struct cpu *c); /* takes back what actions have done to this CPU */
uint64_t cpu_root(const struct cpu *c, bool sandbox);
uint64_t *cpu_junk(const struct cpu *c, unsigned level); /* 512 entries: 2 directory, 1 table */
/* Calls fn(c); comes back also when it faults or takes too long. */
void guarded(struct cpu *c, void (*fn)(struct cpu *c), unsigned budget);
void cpu_start_others(void);
uint32_t pm_timer(void); /* 3.579545 MHz, 24 bits */
void apic_write(struct cpu *c, unsigned reg, uint32_t value);
void apic_icr(struct cpu *c, uint32_t dest, uint32_t low);
/* INIT and startup for another CPU; how it comes back: enum trip, or the page of its code. */
enum trip { TRIP_LONG, TRIP_REAL, TRIP_USER32, TRIP_V86 };
void cpu_restart(struct cpu *c, unsigned other, enum trip trip);
void cpu_main(struct cpu *c) __attribute__((noreturn));

/* --- assembly (guard.asm) --- */
struct entry {
	uint64_t gpr[15]; /* in the order that trap_frame has */
	uint64_t rip, cs, rflags, rsp, ss;
};
void guard_call(struct cpu *c, void (*fn)(struct cpu *c));
extern const uint8_t guard_resume[];
void enter(const struct entry *e, uint64_t cr3) __attribute__((noreturn));
extern const uint8_t trampoline[], trampoline_end[];

/* --- what it does (actions.c, devices.c, code.c) --- */
struct action {
	void (*fn)(struct cpu *c);
	uint8_t weight, class;
};
extern const struct action cpu_actions[], device_actions[], code_actions[];
extern const unsigned cpu_actions_count, device_actions_count, code_actions_count;

void devices_init(void);		      /* finds BARs */
void devices_settle(struct cpu *c);	      /* puts back what others need, or some of it */
void devices_quiet(void);		      /* nothing interrupts any more */
uint64_t devices_place(struct cpu *c);	      /* an address in a device's registers */
bool port_ends(uint16_t port, unsigned size); /* could end the machine */
void port_out(uint16_t port, unsigned size, uint32_t v);
uint32_t port_in(uint16_t port, unsigned size);

#define READ_REG(reg)                                                                              \
	({                                                                                         \
		uint64_t r_;                                                                       \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(r_));                                 \
		r_;                                                                                \
	})
#define WRITE_REG(reg, v) __asm__ volatile("mov %0, %%" #reg : : "r"((uint64_t)(v)) : "memory")

#endif
