/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtual machines and virtual CPUs: the objects and their life cycle.
 */
#ifndef AMBER_CORE_VM_H
#define AMBER_CORE_VM_H

#include "hv/arch/x86/vcpu_state.h"
#include "hv/arch/x86/cpu_model.h"
#include "hv/arch/x86/npt.h"
#include "hv/core/chardev.h"
#include "hv/core/code_cache.h"
#include "hv/core/irq.h"
#include "hv/core/thread.h"
#include "hv/core/tsc_scale.h"
#include "hv/core/vlapic.h"
#include "hv/core/vm_config.h"
#include "hv/core/vtimer.h"

struct vm;
struct vm_mark;
struct gmem;
struct iobus;
struct virt_vcpu; /* the back end's part: VMCB or VMCS and host-side state */
struct virt_vm;
struct pvclock;

enum vm_run_state { VM_STOPPED, VM_RUNNING, VM_PAUSED, VM_FROZEN };

/* Why a machine is not running, or what it last did of its own accord. Names in
 * vm_disposition_text(). */
enum vm_disposition {
	DISP_NONE,
	DISP_RESET,    /* the guest reset itself; it runs on */
	DISP_POWEROFF, /* ACPI S5 or console */
	DISP_HALT,     /* every vCPU halted with interrupts off */
	DISP_TRIPLE_FAULT,
	DISP_DEBUG_EXIT,
	DISP_NO_MEMORY,
	DISP_ERROR, /* something the hypervisor cannot continue; vm->reason says what */
	DISP_SAVED, /* frozen by snapshot save --poweroff */
	DISP_DISK_ERROR,
	DISP_NO_SPACE, /* paused: the store is full; vm_resume() goes on once there is room */
};

/* Requests to a vCPU thread, bits; see vcpu_request(). */
enum vcpu_request {
	VCPU_REQ_EVENT = 1 << 0, /* something to inject: look at the local APIC again */
	VCPU_REQ_PAUSE = 1 << 1, /* park at the next instruction boundary */
	VCPU_REQ_EXIT = 1 << 2,	 /* leave the run loop for good */
	VCPU_REQ_TLB = 1 << 3,	 /* nested mappings changed: flush before the next entry */
	VCPU_REQ_CLOCK =
	    1 << 4, /* VM time was re-anchored: set the TSC offset, tell the paravirtual clock */
};

enum { EXIT_STAT_MAX = 32 };

/* What a guest asked of its machine; carried out by the manager's thread. The greater one wins. */
enum vm_action {
	VM_ACTION_NONE,
	VM_ACTION_PAUSE,
	VM_ACTION_RESET,
	VM_ACTION_POWEROFF,
	VM_ACTION_STOP
};

struct vcpu {
	struct vm *vm;
	unsigned index;	  /* 0..vcpus-1 */
	uint32_t apic_id; /* of its place in the topology (topology.h) */
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
	bool xstate_loaded; /* the guest's vector state is in the CPU while the thread runs */
	int running_on;	    /* the CPU that the thread has, -1 while it has none; atomic */
	bool sleeping;	    /* in sleep_until_request(): atomic */
	bool has_rdtscp, has_xsave;
	int64_t tsc_cpu_offset;		 /* of the CPU for which the TSC offset was computed last */
	unsigned frame_order;		 /* of the frames that hold this struct */
	struct vcpu_state *init_scratch; /* the reset values while an INIT is taken */
	struct code_cache code;
	uint64_t code_root;  /* of the last exit: see virt_ops.run */
	uint8_t device_hits; /* breakpoints that the instruction's accesses of devices have met */
	bool irq_window;     /* asked the back end for an exit when interrupts open */
	uint64_t stat_exits, stat_exit[EXIT_STAT_MAX];
	uint64_t stat_tsc_guest, stat_tsc_host;
};

struct vm {
	struct list link; /* in the list of VMs */
	struct vm_config config;
	struct mutex lock; /* life cycle */
	enum vm_run_state run_state;
	enum vm_disposition disposition;
	enum vm_action action;		/* what the guest asked for; atomic */
	enum vm_action deferred_action; /* for when a paused machine goes on */
	enum vm_disposition action_disposition;
	bool leaving; /* it is being destroyed: no new actions (the manager's lock) */
	bool action_queued, action_busy; /* in the manager's queue, in its hands (its lock) */
	struct list action_link;
	struct spinlock park_lock; /* protects vcpu->parked of all vCPUs */
	struct waitq park_waitq;   /* who waits for vCPUs to park */
	uint64_t noticed_at;	   /* host time of the last notice to the operator */
	char reason[160];	   /* for DISP_ERROR and others: a sentence */
	uint32_t exit_code;	   /* DISP_DEBUG_EXIT: what the guest wrote */
	unsigned nvcpus;
	struct vcpu **vcpus;
	struct gmem *gmem;
	/* the snapshot that RAM is watched against (gmem_track.h), for the next one; zeros: none */
	uint8_t base_id[16];
	char base_name[64];   /* its name when it was taken */
	struct vm_mark *mark; /* vm_mark.c */
	struct npt npt;
	struct iobus *iobus;
	struct cpu_model *cpu_model; /* the CPUID image; stored in snapshots */
	struct virt_vm *virt;
	struct list devices;  /* struct device */
	struct list chardevs; /* struct chardev */
	/* interrupt controllers */
	const struct irqchip_ops *pic_ops, *ioapic_ops;
	void *pic, *ioapic;
	/* interrupt lines with a second source (irq.c), a bit for each GSI; protected by line_lock
	 */
	struct spinlock line_lock;
	bool lines_shared; /* there is one; does not change while a vCPU runs */
	uint32_t lines_first, lines_second, lines_taken;
	/* clock (I10): VM time = host time - time_base while running, time_stopped otherwise */
	struct spinlock clock_lock;
	struct list vtimers;
	unsigned vtimers_running; /* timer functions under way */
	struct timer host_timer;
	bool clock_running;
	uint64_t time_base, time_stopped;
	uint64_t tsc_hz; /* of the guest's TSC as it counts on this host */
	uint64_t
	    tsc_nominal_hz; /* the rate that the machine was made with: tsc_hz within 250 ppm */
	struct tsc_scale tsc_scale; /* guest ticks per host tick */
	bool tsc_exits;		    /* RDTSC exits and is scaled in software */
	uint64_t tsc_offset; /* VM TSC less the scaled TSC that all host CPUs agree on, while the
				clock runs */
	uint64_t resumed_at; /* host time when the first vCPU went on after the last resume; 0: not
				yet */
	uint64_t stat_unhandled_io, stat_unhandled_msr, stat_unhandled_insn;
};

/* Tells a vCPU to look at its requests: an IPI if it is in guest mode, a wake-up if it halts. Any
 * context. */
void vcpu_request(struct vcpu *v, uint32_t bits);

/*
 * Returns when no CPU uses an older nested translation of the VM any more. By a thread with
 * interrupts on, without spinlocks; does not wait for vCPUs that are not in the guest.
 */
void vcpu_flush_all(struct vm *vm);

/* --- life cycle (vm.c). Each takes the VM's mutex; thread context; may wait. ----------- */

/*
 * How a machine is filled at start: loads the payload into guest memory and
 * sets the boot vCPU's state. Set once by main.
 */
extern int (*vm_boot_hook)(struct vm *vm, struct errmsg *e);

/* Builds a machine, stopped. The name must be free. */
int vm_create(const struct vm_config *config, struct vm **out, struct errmsg *e) MUST_CHECK;
/* The same with a CPU model that a snapshot brought, and not yet in the list of VMs. */
int vm_build(const struct vm_config *config, const struct cpu_model *model, struct vm **out,
    struct errmsg *e) MUST_CHECK;
/* Puts a built machine into the list. Returns the one of that name that it has replaced there,
 * which the caller destroys, or NULL. */
struct vm *vm_publish(struct vm *vm);
/* Power-on: reset, boot payload, run. From stopped or frozen. */
int vm_start(struct vm *vm, struct errmsg *e) MUST_CHECK;
int vm_pause(struct vm *vm, struct errmsg *e) MUST_CHECK;
int vm_resume(struct vm *vm, struct errmsg *e) MUST_CHECK;
int vm_reset(struct vm *vm, struct errmsg *e) MUST_CHECK;
int vm_poweroff(struct vm *vm, struct errmsg *e) MUST_CHECK;
/* Stops it if it runs and frees everything. */
void vm_destroy(struct vm *vm);
/* Frees a machine that was built and never published; nobody else knows of it. */
void vm_discard(struct vm *vm);
/* Marks a paused machine frozen: its state is in a snapshot, its memory is of no more use. */
void vm_freeze(struct vm *vm);

/*
 * Stops all vCPUs at an instruction boundary, stops the clock, quiesces the
 * devices (I7) and waits for their requests; and the other way round. With the
 * VM's mutex held. Nest not.
 */
void vm_quiesce(struct vm *vm);
/*
 * The same without a wait for any disk, for the save of a machine that goes on:
 * requests in flight are in the devices' state, and the host goes on writing
 * what they read into guest memory. Only vm_unquiesce() may follow: a machine
 * that is to stand still, stop or go away is quiesced with vm_quiesce().
 */
void vm_quiesce_live(struct vm *vm);
void vm_unquiesce(struct vm *vm);

struct vm *vm_find(const char *name);
/* Calls fn for each VM, in order of creation, with the list's mutex held. */
void vm_foreach(void (*fn)(struct vm *vm, void *arg), void *arg);
const char *vm_state_text(enum vm_run_state s); /* "running", "paused", "stopped", "frozen" */
const char *vm_disposition_text(enum vm_disposition d); /* "none", "reset", "poweroff", ... */

/* A message that the operator should see: "vm 'web': ...". Set by the console; may be NULL. */
extern void (*vm_notice)(struct vm *vm, const char *text);

/* Starts the manager's thread, which carries out what guests ask for. Once. */
int vm_manager_start(void);

/* The vCPU whose APIC ID is id, or NULL. */
struct vcpu *vm_vcpu_by_apic_id(struct vm *vm, uint32_t id);

/* From device models, any context: the guest asked for it. Carried out by the machine's own thread.
 */
void vm_request_reset(struct vm *vm);
void vm_request_poweroff(struct vm *vm);
/* What the guest asked for and was not carried out yet is of no meaning any more. The VM's mutex.
 */
void vm_forget_action(struct vm *vm);
/* Pauses this guest, with a disposition and a reason, for what the operator can mend. Any context.
 */
void vm_hold(struct vm *vm, enum vm_disposition d, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Stops this guest with a disposition and a reason (I4). Any context. */
void vm_fail(struct vm *vm, enum vm_disposition d, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The guest ends its machine and says with what. Any context. */
void vm_debug_exit(struct vm *vm, uint32_t code);

#endif
