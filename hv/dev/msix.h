/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSI-X (PCI Local Bus Specification 3.0, 6.8.2): table, pending bits and
 * capability of one function. A masked vector keeps its message pending until
 * it is unmasked: no interrupt is lost by masking.
 */
#ifndef AMBER_DEV_MSIX_H
#define AMBER_DEV_MSIX_H

#include "hv/dev/pci_bus.h"

enum {
	MSIX_MAX_VECTORS = 8,
	MSIX_BAR_SIZE = 4096,
	MSIX_PBA_OFFSET = 0x800, /* the table is at 0 */
};

struct msix_state {
	uint64_t address[MSIX_MAX_VECTORS];
	uint32_t data[MSIX_MAX_VECTORS];
	uint32_t control[MSIX_MAX_VECTORS];
	uint64_t pending;
};
#define MSIX_STATE_FIELDS(T, m)                                                                    \
	STATE_ARRAY(T, m.address, "msix-address", MSIX_MAX_VECTORS, STATE_ANY,                     \
	    "message address of each vector"),                                                     \
	    STATE_ARRAY(T, m.data, "msix-data", MSIX_MAX_VECTORS, UINT32_MAX, "message data"),     \
	    STATE_ARRAY(                                                                           \
		T, m.control, "msix-control", MSIX_MAX_VECTORS, 1, "vector control: 1 is masked"), \
	    STATE_INT(T, m.pending, "msix-pending", STATE_ANY, "pending bits, one per vector")

struct msix {
	struct pci_function *f;
	struct msix_state *st;
	struct spinlock lock; /* rank RANK_DEV_SPIN: protects st and message_control */
	unsigned nvec, cap;
	uint16_t message_control; /* copy of the capability's register */
};

/* Adds the capability and base address register 'bar'; nvec 1..MSIX_MAX_VECTORS. Before
 * pci_function_register(). */
void msix_init(
    struct msix *m, struct pci_function *f, struct msix_state *st, unsigned nvec, unsigned bar);
/* Sends the vector's message, now or when it is unmasked. Vectors outside of the table are ignored.
 * Any context. */
void msix_raise(struct msix *m, unsigned vector);
/* The guest switched MSI-X on: INTx is not used. Any context. */
bool msix_enabled(struct msix *m);
/* From the function's config_written, bus lock held. */
void msix_config_written(struct msix *m, unsigned off, unsigned len);

void msix_reset(struct msix *m);
int msix_check(const struct msix *m, const struct msix_state *st, struct errmsg *e);
/* Sends what is pending and not masked; after a load. */
void msix_resume(struct msix *m);

#endif
