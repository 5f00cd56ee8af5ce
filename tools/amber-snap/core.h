/* SPDX-License-Identifier: BSD-2-Clause */
/* A snapshot as an ELF core file, for gdb and crash. */
#ifndef AMBER_SNAP_CORE_H
#define AMBER_SNAP_CORE_H

#include "hv/snapshot/snapshot.h"

/*
 * With paging, where the segments of physical memory have their addresses: no address that a CPU
 * knows, so that they hide no mapping.
 */
#define CORE_PHYSICAL 0x1000000000000000ULL

struct core_result {
	unsigned vcpus;
	unsigned mappings; /* with paging */
	bool cut;	   /* there were more mappings than fit */
};

/*
 * Makes path, which must not be there, as sparse as the guest's RAM. paging: also a segment for
 * every range that the boot vCPU's page tables map (ERR_STATE if its paging is off). progress as
 * for snap_verify(). After an error there is no file.
 */
int core_write(struct snap *sn, const char *path, bool paging,
    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct core_result *r,
    struct errmsg *e) MUST_CHECK;

#endif
