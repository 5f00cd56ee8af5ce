/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine with a CPU model and a topology, for what tells the guest of them. */
#ifndef AMBER_TESTS_MODEL_H
#define AMBER_TESTS_MODEL_H

#include "hv/arch/x86/cpu_model.h"
#include "tests/unit/fake/fake.h"

/* A made-up AMD CPU that has everything. */
static inline struct cpuid_regs model_host(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs all = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};

	switch (leaf) {
	case 0:
		return (struct cpuid_regs){0x20, 0x68747541, 0x444d4163, 0x69746e65};
	case 1:
		all.eax = 0x00800f12;
		all.ebx = 0x00100800; /* CLFLUSH lines of 64 bytes */
		return all;
	case 7:
		return sub == 0 ? all : (struct cpuid_regs){0, 0, 0, 0};
	case 0xd:
		if (sub == 2)
			return (struct cpuid_regs){256, 576, 0, 0};
		return all;
	case 0x80000000:
		return (struct cpuid_regs){0x8000001f, 0, 0, 0};
	case 0x80000008:
		return (struct cpuid_regs){48 | 48 << 8, 0xffffffff, 0, 0};
	default:
		return all;
	}
}

/* The model is in use until the next call. */
static inline struct vm *model_vm_new(
    uint32_t sockets, uint32_t cores, uint32_t threads, uint64_t memory, uint64_t ram)
{
	static struct cpu_model model;
	const struct cpu_topology topo = {sockets, cores, threads};
	struct vm *v = fake_vm_new(sockets * cores * threads, ram);
	struct errmsg e;

	memset(&model, 0, sizeof(model));
	if (cpu_model_create(&model, "x86-64-v2", model_host, &topo, 2000000000, &e))
		fail_msg("model: %s", e.text);
	v->cpu_model = &model;
	for (unsigned i = 0; i < v->nvcpus; i++) {
		v->vcpus[i]->apic_id = apic_id_of(&model.apic_ids, i);
		vlapic_reset(&v->vcpus[i]->lapic, false);
	}
	v->tsc_nominal_hz = 2000000000;
	v->config.vcpus = v->nvcpus;
	v->config.sockets = sockets;
	v->config.cores = cores;
	v->config.threads = threads;
	v->config.memory = memory;
	return v;
}

#endif
