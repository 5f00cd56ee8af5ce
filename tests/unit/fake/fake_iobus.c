/* SPDX-License-Identifier: BSD-2-Clause */
/* Port and memory accesses as an exit would make them, over the real bus. */
#include "hv/core/iobus_dispatch.h"
#include "tests/unit/fake/fake.h"

uint32_t fake_io_read(struct vm *vm, uint16_t port, unsigned len)
{
	uint64_t value;

	iobus_port_read(vm, port, len, &value);
	return (uint32_t)value;
}

void fake_io_write(struct vm *vm, uint16_t port, unsigned len, uint32_t value)
{
	iobus_port_write(vm, port, len, value);
}

uint64_t fake_mmio_read(struct vm *vm, uint64_t addr, unsigned len)
{
	uint64_t value;

	iobus_mmio_read(vm, gpa(addr), len, &value);
	return value;
}

void fake_mmio_write(struct vm *vm, uint64_t addr, unsigned len, uint64_t value)
{
	iobus_mmio_write(vm, gpa(addr), len, value);
}

/* A claim is seen by an overlapping one being refused. */
bool fake_io_claimed(struct vm *vm, uint16_t port)
{
	struct io_region probe = {.name = "probe", .start = port, .size = 1};
	bool claimed = iobus_map_port(vm, &probe) == ERR_EXIST;

	iobus_unmap_port(vm, &probe);
	return claimed;
}

bool fake_mmio_claimed(struct vm *vm, uint64_t addr)
{
	struct io_region probe = {.name = "probe", .start = addr, .size = 1};
	bool claimed = iobus_map_mmio(vm, &probe) == ERR_EXIST;

	iobus_unmap_mmio(vm, &probe);
	return claimed;
}
