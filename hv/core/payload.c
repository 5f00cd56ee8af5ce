/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's files. */
#include "hv/core/payload.h"

#include <string.h>
#include "hv/mm/mm.h"

static struct boot_file files[BOOT_MAX_FILES];
static unsigned nfiles;

void payload_init(const struct boot_info *bi)
{
	nfiles = MIN(bi->nfiles, (unsigned)BOOT_MAX_FILES);
	memcpy(files, bi->files, nfiles * sizeof(files[0]));
	for (unsigned i = 0; i < nfiles; i++)
		files[i].name[sizeof(files[i].name) - 1] = '\0';
}

bool payload_get(unsigned n, struct payload *out)
{
	if (n >= nfiles)
		return false;
	*out = (struct payload){files[n].name, phys_to_virt(hpa(files[n].addr)), files[n].size};
	return true;
}

bool payload_find(const char *name, struct payload *out)
{
	for (unsigned i = 0; payload_get(i, out); i++)
		if (strcmp(out->name, name) == 0)
			return true;
	return false;
}

bool payload_exists(const char *name)
{
	struct payload p;

	return payload_find(name, &p);
}
