/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The torture guest: all of its CPUs throw random traffic at ports, device memory, MSRs,
 * CPUID, hypercalls, control registers, page tables, the interrupt controllers, each other,
 * queues, and execute random instructions in all modes. What faults or hangs is given up
 * and something else is done; what ends the machine is rare. Once a second of its time it
 * prints "torture: beat N", how often it did what, and "end".
 *
 * Command line: seed=N, cpus=N (default 1), rest=US (mean time halted after 24 things done),
 * plain=BITS: what the emulator below the hypervisor does not survive, whoever runs in it.
 *
 * - 1: QEMU 7.2 ends at some encodings of vector instructions (it calls a function that it has
 *   not) and of others ("tcg fatal error"; LOCK, shifts and bit tests are left out), and with
 * "invalid tss" at a trap after LTR of a null selector, which it takes.
 * - 2: Bochs 3.0 carries a debug trap that a guest's instruction has met over #VMEXIT, and
 *   raises it in the host's first instruction.
 * - 4: Bochs 3.0 loads the host's RFLAGS at #VMEXIT while the guest's VM is still set, and gives
 * up: "VM is set in long mode !".
 */
#include "torture.h"

enum { CMD_LINE_PTR = 0x228 };

static uint64_t option(const char *s, const char *name, uint64_t value)
{
	for (; *s; s++) {
		const char *a = s, *b = name;

		while (*b && *a == *b)
			a++, b++;
		if (*b)
			continue;
		for (value = 0; *a >= '0' && *a <= '9'; a++)
			value = value * 10 + (uint64_t)(*a - '0');
		break;
	}
	return value;
}

void guest_main(const uint8_t *params)
{
	const char *line = (const char *)(uintptr_t)(*(const uint32_t *)(params + CMD_LINE_PTR));
	uint64_t seed = option(line, "seed=", 1);

	rest_us = (unsigned)option(line, "rest=", 2000) | 1;
	if (rest_us > 1000000)
		rest_us = 1000000;
	plain = (unsigned)option(line, "plain=", 0);
	ncpus = (unsigned)option(line, "cpus=", 1);
	if (ncpus < 1 || ncpus > MAX_CPUS)
		ncpus = 1;
	traps_init();
	cpus_init();
	for (unsigned i = 0; i < MAX_CPUS; i++)
		cpus[i].rng = seed * 0x100000001b3 + i * 0xd1342543de82ef95;
	print("torture: seed %lu, %u CPUs, rest %u us\n", seed, ncpus, rest_us);
	devices_init();
	cpu_start_others();
	print("torture: ready\n");
	cpu_main(&cpus[0]);
}
