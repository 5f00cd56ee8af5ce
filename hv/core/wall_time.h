/* SPDX-License-Identifier: BSD-2-Clause */
/* Start of the wall clock; wall_time() itself is declared in hv/core/vtimer.h. */
#ifndef AMBER_CORE_WALL_TIME_H
#define AMBER_CORE_WALL_TIME_H

/* Reads the time of day. Once, after efi_rt_init() and tsc_init(). */
void wall_time_init(void);

#endif
