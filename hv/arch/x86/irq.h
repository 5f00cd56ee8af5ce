/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts of the host: vectors, IPIs, the I/O APIC. A handler runs with
 * interrupts off on the interrupt stack; it never enables them, never switches
 * threads, and takes spinlocks only. The dispatcher sends the EOI.
 */
#ifndef AMBER_X86_IRQ_H
#define AMBER_X86_IRQ_H

#include "hv/lib/types.h"

/* The vector map. 0x20..0x2f would be the 8259 pair's, which is masked. */
enum irq_vector {
	IRQ_VECTOR_PIC = 0x20,
	IRQ_VECTOR_FIRST = 0x30, /* irq_vector_alloc() gives 0x30..0xef */
	IRQ_VECTOR_LAST = 0xef,
	IRQ_VECTOR_TIMER = 0xf0, /* local APIC timer */
	IRQ_VECTOR_KICK =
	    0xf1, /* makes a CPU leave guest mode or the idle loop; does nothing else */
	IRQ_VECTOR_CALL = 0xf2, /* smp_call() */
	IRQ_VECTOR_NMI_REPORT = 0xf3,
	IRQ_VECTOR_ERROR = 0xfe, /* local APIC error */
	IRQ_VECTOR_SPURIOUS = 0xff,
};

/*
 * A free vector for fn(arg), valid on every CPU; name (kept by pointer) is for
 * listings. Returns 0x30..0xef, or ERR_FULL. Any context.
 */
int irq_vector_alloc(void (*fn)(void *arg), void *arg, const char *name);
/* Gives it back; the device must be silent by then. */
void irq_vector_free(int vector);
/* For a vector below 0x30 or above 0xef: who handles it. At start-up only. */
void irq_vector_set(uint8_t vector, void (*fn)(void *arg), void *arg, const char *name);

/*
 * Runs the handler of a vector and sends the EOI, with interrupts off: for the
 * trap code, and for back ends that acknowledge interrupts on a guest exit.
 */
void irq_dispatch(uint8_t vector);

/* Name and how often it came, for listings; NULL for a vector that is free. */
const char *irq_vector_info(uint8_t vector, uint64_t *count);

/* The MSI address and data that deliver vector to a CPU, edge-triggered (SDM volume 3, 11.11). */
void irq_msi_compose(unsigned cpu, uint8_t vector, uint64_t *address, uint32_t *data);

/* Sends a fixed interrupt to a CPU (itself included) or to all others. Any context. */
void ipi_send(unsigned cpu, uint8_t vector);
void ipi_broadcast(uint8_t vector);
/* IRQ_VECTOR_KICK to a CPU. Any context. */
void ipi_kick(unsigned cpu);

/*
 * Routes an I/O APIC input (global system interrupt) to a vector on a CPU and
 * unmasks it. OK, ERR_NOENT if no I/O APIC has that input.
 */
int ioapic_route(unsigned gsi, uint8_t vector, unsigned cpu, bool level, bool low);
void ioapic_mask(unsigned gsi, bool mask);
/* The input that a legacy ISA line (0..15) arrives at, and how it signals (MADT overrides). */
void ioapic_isa_gsi(unsigned isa_irq, unsigned *gsi, bool *level, bool *low);
/* Finds the I/O APICs, masks all inputs and the 8259 pair. Once; after acpi_init(). */
void ioapic_init(void);

#endif
