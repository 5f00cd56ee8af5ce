/* SPDX-License-Identifier: BSD-2-Clause */
/* The SVM back end, for main.c. */
#ifndef AMBER_SVM_H
#define AMBER_SVM_H

#include "hv/core/virt_ops.h"

extern const struct virt_ops svm_ops;

#endif
