/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtual machines and virtual CPUs: the objects and their life cycle.
 */
#ifndef AMBER_CORE_VM_H
#define AMBER_CORE_VM_H

#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/chardev.h"
#include "hv/core/irq.h"
#include "hv/core/thread.h"
#include "hv/core/vlapic.h"
#include "hv/core/vm_config.h"
#include "hv/core/vtimer.h"

struct vm;
struct gmem;
struct iobus;
struct virt_vcpu; /* the back end's part: VMCB or VMCS and host-side state */
struct virt_vm;

enum vm_run_state { VM_STOPPED, VM_RUNNING, VM_PAUSED, VM_FROZEN };

/* Why a machine is not running, or what it last did of its own accord. Names in vm_disposition_text(). */
enum vm_disposition {
	DISP_NONE,
	DISP_RESET,	   /* the guest reset itself; it runs on */
	DISP_POWEROFF,	   /* ACPI S5 or console */
	DISP_HALT,	   /* every vCPU halted with interrupts off */
	DISP_TRIPLE_FAULT,
	DISP_DEBUG_EXIT,
	DISP_NO_MEMORY,
	DISP_ERROR,	   /* something the hypervisor cannot continue; vm->reason says what */
	DISP_SAVED,	   /* frozen by snapshot save --poweroff */
	DISP_DISK_ERROR,
};

/* Requests to a vCPU thread, bits; see vcpu_request(). */
enum vcpu_request {
	VCPU_REQ_EVENT = 1 << 0, /* something to inject: look at the local APIC again */
	VCPU_REQ_PAUSE = 1 << 1, /* park at the next instruction boundary */
	VCPU_REQ_EXIT = 1 << 2,	 /* leave the run loop for good */
	VCPU_REQ_TLB = 1 << 3,	 /* nested mappings changed: flush before the next entry */
};

enum { EXIT_STAT_MAX = 32 };

struct vcpu {
	struct vm *vm;
	unsigned index;	  /* 0..vcpus-1 */
	uint32_t apic_id;
	struct thread *thread;
	struct vcpu_state state; /* I1: valid for the groups in 'valid', see virt_ops.h */
	uint32_t valid, dirty;	 /* enum vcpu_group: in state / newer than the hardware's copy */
	struct virt_vcpu *virt;
	struct vlapic lapic;
	/* request bits: atomic */
	uint32_t requests;
	/* protected by lock */
	struct spinlock lock;
	struct waitq waitq; /* halted, parked */
	bool parked;
	int in_guest_cpu;   /* CPU number while in guest mode, -1 otherwise; atomic */
	bool nmi_pending;
	uint64_t stat_exits, stat_exit[EXIT_STAT_MAX];
	uint64_t stat_tsc_guest, stat_tsc_host;
};

struct vm {
	struct list link; /* in the list of VMs */
	struct vm_config config;
	struct mutex lock; /* life cycle */
	enum vm_run_state run_state;
	enum vm_disposition disposition;
	char reason[160]; /* for DISP_ERROR and others: a sentence */
	unsigned nvcpus;
	struct vcpu **vcpus;
	struct gmem *gmem;
	struct iobus *iobus;
	struct virt_vm *virt;
	struct list devices;  /* struct device */
	struct list chardevs; /* struct chardev */
	/* interrupt controllers */
	const struct irqchip_ops *pic_ops, *ioapic_ops;
	void *pic, *ioapic;
	/* clock (I10): VM time = host time - time_base while running, time_stopped otherwise */
	struct spinlock clock_lock;
	struct list vtimers;
	struct timer host_timer;
	bool clock_running;
	uint64_t time_base, time_stopped;
	uint64_t tsc_hz; /* of the guest's TSC */
	uint64_t stat_unhandled_io, stat_unhandled_msr;
};

/* Tells a vCPU to look at its requests: an IPI if it is in guest mode, a wake-up if it halts. Any context. */
void vcpu_request(struct vcpu *v, uint32_t bits);

/* The vCPU whose APIC ID is id, or NULL. */
struct vcpu *vm_vcpu_by_apic_id(struct vm *vm, uint32_t id);

/* From device models, any context: the guest asked for it. Carried out by the machine's own thread. */
void vm_request_reset(struct vm *vm);
void vm_request_poweroff(struct vm *vm);
/* Stops this guest with a disposition and a reason (I4). Any context. */
void vm_fail(struct vm *vm, enum vm_disposition d, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
