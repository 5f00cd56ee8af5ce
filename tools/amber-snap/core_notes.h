/* SPDX-License-Identifier: BSD-2-Clause */
/* The notes of an ELF core file: what the vCPUs' registers were. */
#ifndef AMBER_SNAP_CORE_NOTES_H
#define AMBER_SNAP_CORE_NOTES_H

#include "hv/arch/x86/vcpu_state.h"

/* Bytes that core_notes_put() writes for one vCPU. */
size_t core_notes_size(void);
/*
 * NT_PRSTATUS and NT_FPREGSET, as Linux has them in a process's core file (gdb takes the vCPU for
 * a thread, number i + 1), and QEMU's note of dump-guest-memory with control registers, segments
 * and descriptor tables.
 */
void core_notes_put(uint8_t *out, unsigned i, const struct vcpu_state *s);

#endif
