/* SPDX-License-Identifier: BSD-2-Clause */
/* What the ACPI tables say of the HPET; its registers are at MEMMAP_HPET. */
#ifndef AMBER_DEV_HPET_H
#define AMBER_DEV_HPET_H

#include "hv/core/vm_config.h"

enum {
	HPET_TIMERS = 8,
	HPET_SIZE = 0x400,
	/* No periodic interrupt is merged with the one before at this period or a longer one: 20 us
	 */
	HPET_MIN_PERIOD = 2000,
};

/* The low half of the general capabilities and ID register (2.3.4). */
#define HPET_ID                                                                                    \
	(0x8086U << 16 |		/* vendor */                                               \
	    1U << 15 |			/* legacy replacement route */                             \
	    1U << 13 |			/* the main counter has 64 bits */                         \
	    (HPET_TIMERS - 1) << 8 | 1) /* number of the last timer; revision */

/* True if the machine has one. */
static inline bool hpet_present(const struct vm_config *c)
{
	for (uint32_t i = 0; i < c->ndevs; i++)
		if (c->devs[i].kind == CONFIG_HPET)
			return true;
	return false;
}

#endif
