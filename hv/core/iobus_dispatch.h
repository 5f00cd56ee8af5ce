/* SPDX-License-Identifier: BSD-2-Clause */
/* The vCPU's side of the I/O bus: finding and calling the device that answers. */
#ifndef AMBER_CORE_IOBUS_DISPATCH_H
#define AMBER_CORE_IOBUS_DISPATCH_H

#include "hv/lib/types.h"

struct vm;

int iobus_create(struct vm *vm) MUST_CHECK;
void iobus_destroy(struct vm *vm);

/*
 * len is 1, 2, 4 (ports) or 1..8 (memory). True if somebody answered; reads
 * that nobody answers give all ones. Thread context, no lock held.
 */
bool iobus_port_read(struct vm *vm, uint16_t port, unsigned len, uint64_t *value);
bool iobus_port_write(struct vm *vm, uint16_t port, unsigned len, uint64_t value);
bool iobus_mmio_read(struct vm *vm, gpa_t addr, unsigned len, uint64_t *value);
bool iobus_mmio_write(struct vm *vm, gpa_t addr, unsigned len, uint64_t value);

#endif
