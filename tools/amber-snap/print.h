/* SPDX-License-Identifier: BSD-2-Clause */
/* Device trees as source text, and text within JSON. */
#ifndef AMBER_SNAP_PRINT_H
#define AMBER_SNAP_PRINT_H

#include <stdio.h>

/* Prints a checked tree as dtc -I dtb -O dts does: through dtc and back, every byte is the same. */
void print_dts(FILE *out, const void *fdt);
/* A JSON string with its quotes. */
void print_json_string(FILE *out, const char *s);

#endif
