/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMX back end, for main.c. */
#ifndef AMBER_VMX_H
#define AMBER_VMX_H

#include "hv/core/virt_ops.h"

extern const struct virt_ops vmx_ops;

#endif
