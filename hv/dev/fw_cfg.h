/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware configuration interface: where it is, for the tables, and what others put into it.
 */
#ifndef AMBER_DEV_FW_CFG_H
#define AMBER_DEV_FW_CFG_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

struct vm;

enum fw_cfg_ports { FW_CFG_PORTS = 0x510, FW_CFG_PORTS_LEN = 12 };
enum fw_cfg_limits {
	FW_CFG_NAME_SIZE = 56, /* of a file's name, with the terminating zero */
	FW_CFG_FILES_MAX = 32,
	FW_CFG_FILE_MAX =
	    1024 * 1024, /* bytes of a file: it bounds the time that a transfer takes */
};

/* Takes the contents of a file, which are copied; OK, or an error with a message. */
typedef int fw_cfg_give_fn(
    void *to, const char *name, const void *data, size_t len, struct errmsg *e);

/*
 * Gives the machine's firmware a file; the contents are copied. OK and nothing done if the machine
 * has no such interface. Its key is the first that is free: whoever adds files does so while the
 * machine is built, for a restore as for a start, always in the same order and behind those that
 * an earlier version added, since a guest goes on with the keys that it has read. Devices are
 * created in the order of the manifest: this one must have been. Not while the guest runs; takes no
 * lock. ERR_INVAL: no name, or one that is too long; ERR_EXIST, ERR_FULL, ERR_RANGE (more than
 * FW_CFG_FILE_MAX bytes), ERR_NOMEM; with a message.
 */
int fw_cfg_add_file(
    struct vm *vm, const char *name, const void *data, size_t len, struct errmsg *e) MUST_CHECK;

#endif
