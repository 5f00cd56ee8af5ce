/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables behind CPU models: features and policies. For cpu_model*.c and their test. */
#ifndef AMBER_X86_CPU_MODEL_TABLE_H
#define AMBER_X86_CPU_MODEL_TABLE_H

#include "hv/arch/x86/cpu_model.h"

enum cpuid_reg { EAX, EBX, ECX, EDX };

/* Where a feature's bit comes from. */
enum feature_source {
	FROM_HOST, /* the host must have it, or it is not shown */
	ALWAYS,	   /* done in software: shown on every host */
	HEADLINE,  /* FROM_HOST, and the first to be named when a level is not reached */
};

struct feature {
	uint32_t leaf, subleaf;
	uint8_t reg, bit;
	uint8_t source;
	uint8_t level; /* x86-64-vN from which on portable models have it; 0: only 'host' */
	const char *name;
};

/* Everything a guest may see; what is not listed is hidden. In the manuals' order. */
extern const struct feature cpu_features[];
extern const size_t cpu_features_count;

/*
 * A named policy. 'host' is made from what the CPU underneath has. The portable
 * ones are the same image, byte for byte, on every CPU: each value below and in
 * the table of features, nothing from the host.
 */
struct cpu_policy {
	const char *name;
	uint8_t level; /* 0: everything in the table that the host has */
	uint8_t phys_bits;
	uint32_t signature;   /* CPUID 1 EAX */
	const char *vendor;   /* twelve characters */
	const char brand[48]; /* leaves 80000002 to 80000004; ends with NUL */
};

/* NULL: no such policy. */
const struct cpu_policy *cpu_policy_find(const char *name);

/* Leaves 80000005 and 80000006 of every portable model. */
extern const struct cpuid_regs cpu_portable_l1, cpu_portable_l2;

#endif
