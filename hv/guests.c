/* SPDX-License-Identifier: BSD-2-Clause */
/* From manifests to machines, at start-up. */
#include "hv/guests.h"

#include <string.h>
#include "hv/core/payload.h"
#include "hv/core/vm.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine.h"

static bool is_manifest(const struct payload *p)
{
	size_t n = strlen(p->name);

	return n > 4 && strcmp(p->name + n - 4, ".dtb") == 0;
}

static int start(const struct vm_config *c, struct errmsg *e)
{
	struct vm *vm;
	int err = vm_create(c, &vm, e);

	if (err)
		return err;
	if (engine_is_frozen(c)) {
		vm_freeze(vm);
		return OK;
	}
	return c->autostart ? vm_start(vm, e) : OK;
}

void guests_start(void (*complain)(const char *text))
{
	struct vm_config *c = heap_alloc(sizeof(*c));
	struct payload p;

	if (!c) {
		complain("error: no memory to read manifests");
		return;
	}
	for (unsigned i = 0; payload_get(i, &p); i++) {
		char text[sizeof(struct errmsg) + sizeof(((struct boot_file *)0)->name) + 16];
		struct errmsg e;
		int err;

		if (!is_manifest(&p))
			continue;
		err = vm_config_parse(p.data, p.size, "/", c, payload_exists, &e);
		if (!err)
			err = start(c, &e);
		if (err) {
			str_format(text, sizeof(text), "error: manifest '%s': %s", p.name, e.text);
			log_info("%s: %s", p.name, e.text);
			complain(text);
		}
	}
	heap_free(c);
}
