/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine that a command names. */
#ifndef AMBER_CONSOLE_CALL_VM_H
#define AMBER_CONSOLE_CALL_VM_H

#include "hv/console/table.h"
#include "hv/core/vm.h"

/* By the command's argument 'arg', which is there; NULL with the command failed (ERR_NOENT). */
static inline struct vm *call_vm(struct console_call *c, const char *arg)
{
	struct vm *vm = vm_find(call_arg(c, arg));

	if (!vm)
		(void)call_fail(c, ERR_NOENT, "no vm '%s'", call_arg(c, arg));
	return vm;
}

#endif
