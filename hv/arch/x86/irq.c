/* SPDX-License-Identifier: BSD-2-Clause */
/* Which function a vector belongs to, and interrupts between CPUs. */
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/lapic.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"

enum { VECTORS = 256 };

static struct {
	void (*fn)(void *arg);
	void *arg;
	const char *name; /* NULL: free; set last */
	uint64_t count;	  /* approximate: CPUs do not exclude each other */
} table[VECTORS];
static struct spinlock lock = SPINLOCK_INIT(RANK_IRQ);

static void entry_fill(unsigned v, void (*fn)(void *), void *arg, const char *name)
{
	table[v].fn = fn;
	table[v].arg = arg;
	table[v].count = 0;
	__atomic_store_n(&table[v].name, name, __ATOMIC_RELEASE);
}

int irq_vector_alloc(void (*fn)(void *arg), void *arg, const char *name)
{
	uint64_t flags = spin_lock(&lock);
	int vector = ERR_FULL;

	for (int v = IRQ_VECTOR_FIRST; v <= IRQ_VECTOR_LAST; v++) {
		if (table[v].name)
			continue;
		entry_fill((unsigned)v, fn, arg, name);
		vector = v;
		break;
	}
	spin_unlock(&lock, flags);
	return vector;
}

void irq_vector_free(int vector)
{
	uint64_t flags = spin_lock(&lock);

	ASSERT(vector >= IRQ_VECTOR_FIRST && vector <= IRQ_VECTOR_LAST);
	__atomic_store_n(&table[vector].name, NULL, __ATOMIC_RELEASE);
	spin_unlock(&lock, flags);
}

void irq_vector_set(uint8_t vector, void (*fn)(void *arg), void *arg, const char *name)
{
	entry_fill(vector, fn, arg, name);
}

const char *irq_vector_info(uint8_t vector, uint64_t *count)
{
	*count = table[vector].count;
	return __atomic_load_n(&table[vector].name, __ATOMIC_ACQUIRE);
}

/* A vector that nobody asked for: the local APIC's spurious one, the 8259's, or a stray device. */
static void unexpected(uint8_t vector)
{
	uint32_t isr = lapic_read(LAPIC_ISR + vector / 32 * 0x10);

	if (isr >> vector % 32 & 1) {
		log_warn("interrupt vector 0x%x on CPU %u: nobody's", vector, cpu_id());
		lapic_eoi();
	}
}

void irq_dispatch(uint8_t vector)
{
	struct cpu *c = this_cpu();

	c->irq_depth++;
	c->stat_irqs++;
	if (LIKELY(__atomic_load_n(&table[vector].name, __ATOMIC_ACQUIRE) != NULL)) {
		table[vector].count++;
		if (table[vector].fn)
			table[vector].fn(table[vector].arg);
		lapic_eoi();
	} else {
		unexpected(vector);
	}
	c->irq_depth--;
}

void irq_msi_compose(unsigned cpu, uint8_t vector, uint64_t *address, uint32_t *data)
{
	/* Physical destination, no redirection hint; fixed delivery, edge. */
	*address = 0xfee00000 | (uint64_t)(cpu_by_id(cpu)->apic_id & 0xff) << 12;
	*data = vector;
}

void ipi_send(unsigned cpu, uint8_t vector)
{
	this_cpu()->stat_ipis++;
	lapic_send(cpu_by_id(cpu)->apic_id, vector);
}

void ipi_broadcast(uint8_t vector)
{
	this_cpu()->stat_ipis++;
	lapic_send_others(vector);
}

void ipi_kick(unsigned cpu)
{
	ipi_send(cpu, IRQ_VECTOR_KICK);
}
