/* SPDX-License-Identifier: BSD-2-Clause */
/* The machines that the boot volume's manifests describe. */
#ifndef AMBER_GUESTS_H
#define AMBER_GUESTS_H

/*
 * Makes a machine of every manifest (payload *.dtb) and starts those that ask
 * for it and are not frozen. What is wrong with one is told through complain;
 * the others start all the same. In a thread; after the disks are there.
 */
void guests_start(void (*complain)(const char *text));

#endif
