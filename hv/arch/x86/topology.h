/* SPDX-License-Identifier: BSD-2-Clause */
/* Which CPU of which core of which package a machine's n-th one is, and its APIC ID. */
#ifndef AMBER_X86_TOPOLOGY_H
#define AMBER_X86_TOPOLOGY_H

#include "hv/lib/types.h"

/* threads: of each core; cores: of each package. */
struct cpu_topology {
	uint32_t sockets, cores, threads;
};

/*
 * How APIC IDs are made: package, core and thread are fields, so wide that their highest
 * number fits (SDM volume 3, 9.9.1; APM volume 3, E.4.7, ApicIdSize). What does not fill a
 * power of two leaves a gap. With one thread, one core and no widths, an ID is the index.
 */
struct apic_ids {
	uint32_t threads, cores;
	uint8_t thread_bits, core_bits;
};

/* The highest ID of an xAPIC: the byte's highest value is the broadcast. */
enum { XAPIC_ID_MAX = 254 };

/* Fills *ids for a topology, all of whose numbers are at least 1. */
void apic_ids_make(struct apic_ids *ids, const struct cpu_topology *t);
/* The ID of the index-th CPU: threads are counted first, then cores, then packages. */
uint32_t apic_id_of(const struct apic_ids *ids, unsigned index);
/* The CPU that has the ID. False: it lies in a gap. The index may be beyond the last CPU. */
bool apic_id_index(const struct apic_ids *ids, uint32_t id, uint64_t *index);

#endif
