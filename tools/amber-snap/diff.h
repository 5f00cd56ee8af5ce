/* SPDX-License-Identifier: BSD-2-Clause */
/* What is different between two snapshots. */
#ifndef AMBER_SNAP_DIFF_H
#define AMBER_SNAP_DIFF_H

#include <stdio.h>

#include "hv/snapshot/snapshot.h"

struct diff_totals {
	uint64_t registers, properties; /* the latter: all else in the state trees */
	uint64_t pages, ranges;
};

/*
 * Prints registers, properties and ranges of memory that differ, as they are found: a line each,
 * or with json the members "registers", "properties" and "ranges" of an object that the caller
 * ends. *begun: something was printed, also if an error comes later. Memory that it needs does not
 * depend on the guests' size.
 */
int diff_print(FILE *out, struct snap *a, struct snap *b, bool json, struct diff_totals *t,
    bool *begun, struct errmsg *e) MUST_CHECK;

#endif
