/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ticket spinlocks that keep interrupts off while held. On the host (unit
 * tests) the interrupt part vanishes and the rest stays.
 */
#ifndef AMBER_LIB_SPINLOCK_H
#define AMBER_LIB_SPINLOCK_H

#include "hv/lib/lock_order.h"
#include "hv/lib/types.h"

struct spinlock {
	uint16_t next, owner;
	uint16_t rank; /* enum lock_rank */
};

#define SPINLOCK_INIT(r)                                                                           \
	{                                                                                          \
		0, 0, (r)                                                                          \
	}

static inline void spinlock_init(struct spinlock *l, enum lock_rank rank)
{
	*l = (struct spinlock)SPINLOCK_INIT((uint16_t)rank);
}

#ifdef AMBER_DEBUG
void lockdep_spin_acquire(const struct spinlock *l);
void lockdep_spin_release(const struct spinlock *l);
#else
static inline void lockdep_spin_acquire(const struct spinlock *l)
{
	(void)l;
}
static inline void lockdep_spin_release(const struct spinlock *l)
{
	(void)l;
}
#endif

#if __STDC_HOSTED__
static inline uint64_t irq_save(void)
{
	return 0;
}
static inline void irq_restore(uint64_t flags)
{
	(void)flags;
}
#else
static inline uint64_t irq_save(void)
{
	uint64_t flags;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	return flags;
}
static inline void irq_restore(uint64_t flags)
{
	if (flags & 0x200) /* RFLAGS.IF */
		__asm__ volatile("sti" : : : "memory");
}
#endif

/* Takes the lock with interrupts off; returns what spin_unlock wants back. Any context. */
static inline uint64_t spin_lock(struct spinlock *l)
{
	uint64_t flags = irq_save();
	uint16_t me = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);

	lockdep_spin_acquire(l);
	while (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != me)
		__builtin_ia32_pause();
	return flags;
}
static inline void spin_unlock(struct spinlock *l, uint64_t flags)
{
	lockdep_spin_release(l);
	__atomic_store_n(&l->owner, (uint16_t)(l->owner + 1), __ATOMIC_RELEASE);
	irq_restore(flags);
}

#endif
