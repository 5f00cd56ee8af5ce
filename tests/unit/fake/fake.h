/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fakes of the core interfaces for unit tests: what on the machine needs a CPU,
 * a scheduler or nested paging is replaced by something small that a test can
 * set, advance and look into. Pure sources always win over a fake, since
 * libamber.a is linked first.
 *
 * A device model is in the section "device_models" only if its object is
 * linked: a test of a model includes the model's .c file.
 */
#ifndef AMBER_TESTS_FAKE_H
#define AMBER_TESTS_FAKE_H

#include <stdio.h>

#include "hv/core/device.h"
#include "hv/core/gmem.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/thread.h"
#include "hv/core/vm.h"

enum { FAKE_THREADS = 16 };

struct fake_vm {
	struct vm vm;
	/* guest memory: one array at guest-physical address 0 */
	uint8_t *ram;
	uint64_t ram_bytes;
	uint64_t gmem_fail_start, gmem_fail_len; /* accesses that touch this range give ERR_FAULT */
	int gmem_fail_error;			 /* or this, if it is not OK */
	bool gmem_fail_writes_only;
	uint8_t *rom; /* MEMMAP_ROM_SIZE bytes; NULL: none */
	uint64_t rom_hidden_start, rom_hidden_size;
	unsigned gmem_accesses; /* so far; each could have waited */
	int dma_outstanding;	/* gmem_dma_map() less gmem_dma_unmap() */
	/* what was asked for */
	unsigned reset_requests, poweroff_requests, fails, holds;
	enum vm_disposition fail_disposition; /* of the last vm_fail() or vm_hold() */
	char fail_text[256];
	/* fake_irq_attach(): levels and rising edges seen by the two chips */
	bool pic_level[16], ioapic_level[GSI_COUNT];
	unsigned pic_edges[16], ioapic_edges[GSI_COUNT];
	unsigned eoi_count[256];
	uint8_t pic_vector; /* what the recording 8259 answers to INTA */
};

/* A stopped-clock machine at VM time 0; APIC IDs are the vCPU indexes; local APICs in power-on
 * state. */
struct vm *fake_vm_new(unsigned nvcpus, uint64_t ram_bytes);
void fake_vm_free(struct vm *vm);
static inline struct fake_vm *fake_of(struct vm *vm)
{
	return CONTAINER_OF(vm, struct fake_vm, vm);
}

/*
 * The clocks. VM time moves only by these; armed vtimers fire in the order of
 * their deadlines, each at its deadline. Host time and wall clock move along.
 */
void fake_time_set(struct vm *vm, uint64_t ns); /* >= now */
void fake_time_advance(struct vm *vm, uint64_t ns);
/* Moves the clock in one step, then fires what is overdue: a late wake-up. */
void fake_time_jump(struct vm *vm, uint64_t ns);
/* The earliest armed deadline, or UINT64_MAX. */
uint64_t fake_time_next(const struct vm *vm);
void fake_wall_set(uint64_t ns_since_1970);
extern uint64_t fake_host_time; /* what time_now() returns */

/* Ports and device memory, dispatched as an exit would; unclaimed reads give all ones. */
uint32_t fake_io_read(struct vm *vm, uint16_t port, unsigned len);
void fake_io_write(struct vm *vm, uint16_t port, unsigned len, uint32_t value);
uint64_t fake_mmio_read(struct vm *vm, uint64_t addr, unsigned len);
void fake_mmio_write(struct vm *vm, uint64_t addr, unsigned len, uint64_t value);
/* True if a region answers there. */
bool fake_io_claimed(struct vm *vm, uint16_t port);
bool fake_mmio_claimed(struct vm *vm, uint64_t addr);

/* The host memory behind one piece of a DMA map. */
void *fake_sg_ptr(const struct sg *sg);

/* Registers recording 8259 and I/O APIC; the levels are in fake_of(vm)->pic_level and so on. */
void fake_irq_attach(struct vm *vm);
/* Software-enables every local APIC (SVR bit 8), so that messages land in them. */
void fake_lapics_enable(struct vm *vm);
/* True if the vector is in the IRR of the vCPU's local APIC. */
bool fake_lapic_irr(struct vm *vm, unsigned cpu, uint8_t vector);
/* Accepts and ends the highest pending interrupt; its vector, or -1 if there is none. */
int fake_lapic_take(struct vm *vm, unsigned cpu);

/*
 * Creates a device as the machine does (create, reset, resume); cfg is NULL for
 * platform devices. NULL and a message if the model is not linked or refuses.
 * fake_vm_free() destroys it.
 */
struct device *fake_device_create(
    struct vm *vm, const char *compatible, const struct config_dev *cfg, struct errmsg *e);
void fake_device_destroy(struct device *dev);
/* Encodes state, decodes it, and runs all checks on the result; changes nothing in dev. */
int fake_device_check(struct device *dev, const void *state, struct errmsg *e);
/* Loads a state that passes fake_device_check(): copy, loaded, resume. */
int fake_device_load(struct device *dev, const void *state, struct errmsg *e);
/*
 * Saves, encodes, decodes, compares, checks, loads, resumes; also refuses a
 * field table that leaves a part of the state struct out.
 */
int fake_device_roundtrip(struct device *dev, struct errmsg *e);

/* The allocation after the next n fails, once; -1: none does. */
void fake_heap_fail_after(int n);
/* Allocations that are not freed. */
int fake_heap_outstanding(void);
/* Blocks of frames that are not given back. */
unsigned fake_frames_outstanding(void);

/* Everything logged since the last clear. */
const char *fake_log_text(void);
void fake_log_clear(void);

/* Threads do not run by themselves: what thread_create() recorded. */
struct thread {
	char name[32];
	void (*fn)(void *arg);
	void *arg;
	unsigned flags, weight;
	bool used, ran;
};
extern struct thread fake_threads[FAKE_THREADS];
/* Runs the function of a thread not yet run, to its return; false if there is none. */
bool fake_thread_run_next(void);
/* Called by waitq_wait() with the lock released: lets a test make the condition true. NULL: abort.
 */
extern void (*fake_wait_hook)(struct waitq *q);

#endif
