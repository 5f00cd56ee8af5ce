/* SPDX-License-Identifier: BSD-2-Clause */
/* Random bytes for identifiers that guests see and that nobody may guess. */
#ifndef AMBER_CORE_RANDOM_H
#define AMBER_CORE_RANDOM_H

#include "hv/lib/types.h"

/*
 * Fills p with n bytes. What was given before tells nothing about them, nor they about it. With
 * RDRAND they cannot be guessed; on a CPU without it they come from clocks alone: different each
 * time, but not secret from who knows when the host was started. Any context but under
 * RANK_RANDOM and what comes after it. After time_now() works.
 */
void random_bytes(void *p, size_t n);

#endif
