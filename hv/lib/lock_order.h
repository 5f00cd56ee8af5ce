/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one lock order (I8). A lock may be taken only while every lock already
 * held by this CPU (spinlocks) or thread (mutexes) has a smaller rank. Debug
 * builds assert it at each acquisition. Two locks of one rank never nest.
 * Mutexes come before all spinlocks: nothing that sleeps is taken under a spinlock.
 */
#ifndef AMBER_LIB_LOCK_ORDER_H
#define AMBER_LIB_LOCK_ORDER_H

enum lock_rank {
	/* mutexes (may sleep) */
	RANK_CONSOLE = 1, /* one management command at a time */
	RANK_VM_LIST,	  /* the list of VMs */
	RANK_VM,	  /* a VM's life cycle: start, pause, reset, destroy */
	RANK_STORE,	  /* the snapshot store's metadata */
	RANK_DEV,	  /* a device model that touches guest memory (virtio) */
	RANK_GMEM,	  /* a VM's guest memory map */
	RANK_BLOCK,	  /* a block device's life cycle */
	/* spinlocks */
	RANK_SPIN_FIRST = 32,
	RANK_PCI_BUS = RANK_SPIN_FIRST, /* guest PCI configuration space */
	RANK_DEV_SPIN,			/* a device model that never touches guest memory */
	RANK_LINES,			/* interrupt lines with a second source */
	RANK_PIC,			/* its output is an input of the I/O APIC */
	RANK_IOAPIC,
	RANK_IOBUS, /* who answers at which address */
	RANK_VLAPIC,
	RANK_CHARDEV,
	RANK_MANAGER,	 /* what guests ask of their machine */
	RANK_VCPU,	 /* a vCPU's request and halt state */
	RANK_VCLOCK,	 /* a VM's timers */
	RANK_DRV,	 /* a host driver's queue */
	RANK_PCI_CONFIG, /* the host's PCI configuration ports */
	RANK_BLOCK_QUEUE,
	RANK_MUTEX,  /* mutex internals */
	RANK_WAIT,   /* wait queues */
	RANK_TIMER,  /* a CPU's timer queue */
	RANK_SCHED,  /* a CPU's run queue */
	RANK_ASPACE, /* the hypervisor's page tables, which take frames */
	RANK_HEAP,
	RANK_FRAMES,
	RANK_IRQ,    /* the host's interrupt vectors and I/O APICs */
	RANK_RANDOM, /* the generator of random bytes */
	RANK_LOG,
	RANK_SCREEN, /* the console's screen; log lines come from under any lock */
	RANK_UART,
};

#endif
