/* SPDX-License-Identifier: BSD-2-Clause */
/* Telling a guest the time of day over a virtio-console port. */
#ifndef AMBER_CORE_GUEST_CLOCK_H
#define AMBER_CORE_GUEST_CLOCK_H

struct vm;

/* The port's name in the manifest. */
#define GUEST_CLOCK_PORT "org.amber.clock"

/*
 * Sends "time SECONDS.NANOSECONDS\n" (since 1970, UTC) to the machine's clock
 * port, if it has one: after a pause or a restore, when its own idea of the
 * wall clock is behind. The guest's agent sets its clock. Any thread.
 */
void guest_clock_tell(struct vm *vm);

#endif
