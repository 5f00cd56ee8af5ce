/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt core: devices raise named lines or send opaque MSI address and
 * data pairs; destinations are decoded only here (design brief, section 7).
 */
#ifndef AMBER_CORE_IRQ_H
#define AMBER_CORE_IRQ_H

#include "hv/lib/state.h"
#include "hv/lib/types.h"

struct vm;
struct vcpu;

/*
 * Sets the level of an interrupt input. GSI 0..15 are the ISA lines and go to the
 * 8259 pair and to the I/O APIC (ISA 0 arrives at I/O APIC pin 2, INTR at pin 0); GSI
 * 16..23 go to the I/O APIC only. A line is owned by one source; sources that
 * share a line (PCI INTx) combine their levels before they call this. Any context.
 */
#define GSI_COUNT 24
void irq_line_set(struct vm *vm, unsigned gsi, bool level);

/*
 * A second source of lines, for the one device that shares them with their owners: the HPET.
 * Masks have a bit for each GSI. Without irq_second_open() there is none. A line is asserted if
 * its owner or the second source asserts it; of the lines in 'taken' the second source alone
 * drives the controllers, and what their owners say is kept until it gives them back.
 */
void irq_second_open(struct vm *vm);  /* no vCPU runs */
void irq_second_close(struct vm *vm); /* the same; for destroy, drives nothing */
/* Sets all that the second source asserts and takes. Any context. */
void irq_second_set(struct vm *vm, uint32_t levels, uint32_t taken);
/* The same without a word to the controllers: at a load, theirs come with their own state. */
void irq_second_load(struct vm *vm, uint32_t levels, uint32_t taken);

/* A message-signalled interrupt: a write of data to 0xFEExxxxx (SDM volume 3,
 * 11.11). Any context. */
void irq_msi(struct vm *vm, uint64_t address, uint32_t data);

/* Delivery as an ICR or a redirection entry describes it; from the I/O APIC and local APICs. */
enum delivery_mode {
	DELIVERY_FIXED = 0,
	DELIVERY_LOWEST = 1,
	DELIVERY_SMI = 2,
	DELIVERY_NMI = 4,
	DELIVERY_INIT = 5,
	DELIVERY_STARTUP = 6,
	DELIVERY_EXTINT = 7
};
struct irq_message {
	uint32_t dest; /* APIC ID or logical destination; 8 bits in xAPIC form, 32 in x2APIC form */
	bool dest_x2apic; /* dest is a 32-bit x2APIC destination */
	bool dest_logical;
	bool level;	   /* trigger mode */
	bool assert_level; /* false only for INIT de-assert */
	uint8_t vector;
	uint8_t mode; /* enum delivery_mode */
};
/* Returns the number of local APICs that took it. Any context. */
unsigned irq_deliver(struct vm *vm, const struct irq_message *m);

/* What the interrupt controllers of the machine plug into the core. Unset members are skipped. */
struct irqchip_ops {
	/* 8259 pair */
	void (*pic_set)(void *pic, unsigned irq, bool level);
	/* INTA cycle: returns the vector (spurious if nothing is pending) */
	uint8_t (*pic_ack)(void *pic);
	/* I/O APIC */
	void (*ioapic_set)(void *ioapic, unsigned pin, bool level);
	/* EOI broadcast of a level-triggered vector by a local APIC */
	void (*ioapic_eoi)(void *ioapic, uint8_t vector);
};
void irq_register_pic(struct vm *vm, const struct irqchip_ops *ops, void *pic);
void irq_register_ioapic(struct vm *vm, const struct irqchip_ops *ops, void *ioapic);

/*
 * The 8259's INTR output, for each change under its lock. The boot vCPU takes it as ExtINT through
 * LINT0 (or directly with its APIC disabled); it is also at pin 0 of the I/O APIC. Any context.
 */
void irq_extint_set(struct vm *vm, bool level);

#endif
