/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine whose vCPUs never run: requests to them and from them are recorded. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/core/iobus_dispatch.h"
#include "hv/lib/log.h"
#include "tests/unit/fake/fake.h"

static struct vcpu *new_vcpu(struct vm *vm, unsigned index)
{
	struct vcpu *v = aligned_alloc(64, ALIGN_UP(sizeof(*v), 64));

	*v = (struct vcpu){.vm = vm, .index = index, .apic_id = index, .running_on = -1};
	spinlock_init(&v->lock, RANK_VCPU);
	waitq_init(&v->waitq);
	return v;
}

struct vm *fake_vm_new(unsigned nvcpus, uint64_t ram_bytes)
{
	struct fake_vm *f = calloc(1, sizeof(*f));
	struct vm *vm = &f->vm;

	snprintf(vm->config.name, sizeof(vm->config.name), "fake");
	vm->config.vcpus = nvcpus;
	vm->config.memory = ram_bytes;
	mutex_init(&vm->lock, RANK_VM);
	spinlock_init(&vm->clock_lock, RANK_VCLOCK);
	list_init(&vm->devices);
	list_init(&vm->chardevs);
	list_init(&vm->vtimers);
	vm->tsc_hz = 2000000000;
	vm->run_state = VM_RUNNING;
	f->ram = ram_bytes ? calloc(1, ram_bytes) : NULL;
	f->ram_bytes = ram_bytes;
	ASSERT(iobus_create(vm) == OK);
	vm->nvcpus = nvcpus;
	vm->vcpus = calloc(nvcpus ? nvcpus : 1, sizeof(vm->vcpus[0]));
	for (unsigned i = 0; i < nvcpus; i++) {
		vm->vcpus[i] = new_vcpu(vm, i);
		vlapic_init(&vm->vcpus[i]->lapic, vm->vcpus[i]);
		vlapic_reset(&vm->vcpus[i]->lapic, false);
	}
	return vm;
}

void fake_vm_free(struct vm *vm)
{
	struct fake_vm *f = fake_of(vm);

	while (!list_empty(&vm->devices))
		fake_device_destroy(LIST_ENTRY(vm->devices.prev, struct device, link));
	ASSERT(f->dma_outstanding == 0);
	iobus_destroy(vm);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		free(vm->vcpus[i]);
	free(vm->vcpus);
	free(f->ram);
	free(f);
}

void vcpu_request(struct vcpu *v, uint32_t bits)
{
	__atomic_fetch_or(&v->requests, bits, __ATOMIC_SEQ_CST);
}

void vcpu_flush_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_request(vm->vcpus[i], VCPU_REQ_TLB);
}

struct vcpu *vm_vcpu_by_apic_id(struct vm *vm, uint32_t id)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		if (vm->vcpus[i]->apic_id == id)
			return vm->vcpus[i];
	}
	return NULL;
}

void vm_request_reset(struct vm *vm)
{
	fake_of(vm)->reset_requests++;
}

void vm_request_poweroff(struct vm *vm)
{
	fake_of(vm)->poweroff_requests++;
}

void vm_fail(struct vm *vm, enum vm_disposition d, const char *fmt, ...)
{
	struct fake_vm *f = fake_of(vm);
	va_list ap;

	f->fails++;
	f->fail_disposition = d;
	va_start(ap, fmt);
	vsnprintf(f->fail_text, sizeof(f->fail_text), fmt, ap);
	va_end(ap);
}

void vm_debug_exit(struct vm *vm, uint32_t code)
{
	vm->exit_code = code;
	vm_fail(vm, DISP_DEBUG_EXIT, "exit code %u", code);
}

void vm_hold(struct vm *vm, enum vm_disposition d, const char *fmt, ...)
{
	struct fake_vm *f = fake_of(vm);
	va_list ap;

	f->holds++;
	f->fail_disposition = d;
	va_start(ap, fmt);
	vsnprintf(f->fail_text, sizeof(f->fail_text), fmt, ap);
	va_end(ap);
}
