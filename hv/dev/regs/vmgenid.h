/* SPDX-License-Identifier: BSD-2-Clause */
/* vmgenid.c, by which this is included, has no registers. */
#include "hv/core/device_regs.h"

static const struct reg_row vmgenid_rows[] = {{0}};

DEVICE_REGISTERS(vmgenid_registers) = {
    .model = "amber,vmgenid",
    .title = "virtual machine generation ID",
    .sheet = "Microsoft, Virtual Machine Generation ID, 2012",
    .doc = "It has no registers: the guest reads 16 bytes of its memory, of whose place the ACPI "
	   "namespace tells, and general-purpose\nevent 0 says that they have changed.",
    .tests = "test_vmgenid.c",
    .rows = vmgenid_rows,
};
