/* SPDX-License-Identifier: BSD-2-Clause */
/* APIC IDs of a topology. */
#include "hv/arch/x86/topology.h"

static uint8_t bits_for(uint32_t count)
{
	uint8_t n = 0;

	while (BIT(n) < count)
		n++;
	return n;
}

void apic_ids_make(struct apic_ids *ids, const struct cpu_topology *t)
{
	*ids = (struct apic_ids){
	    .threads = t->threads,
	    .cores = t->cores,
	    .thread_bits = bits_for(t->threads),
	    .core_bits = bits_for(t->cores),
	};
}

uint32_t apic_id_of(const struct apic_ids *ids, unsigned index)
{
	unsigned thread = index % ids->threads, core = index / ids->threads;
	unsigned package = core / ids->cores;

	core %= ids->cores;
	return (package << ids->core_bits | core) << ids->thread_bits | thread;
}

bool apic_id_index(const struct apic_ids *ids, uint32_t id, uint64_t *index)
{
	uint32_t thread = id & (uint32_t)(BIT(ids->thread_bits) - 1);
	uint32_t core = id >> ids->thread_bits & (uint32_t)(BIT(ids->core_bits) - 1);
	uint64_t package = id >> (ids->thread_bits + ids->core_bits);

	*index = (package * ids->cores + core) * ids->threads + thread;
	return thread < ids->threads && core < ids->cores;
}
