/* SPDX-License-Identifier: BSD-2-Clause */
/* The time of day for guests that listen. */
#include "hv/core/guest_clock.h"

#include <string.h>
#include "hv/core/vm.h"
#include "hv/lib/fmt.h"

static struct chardev *find_port(struct vm *vm, const char *name)
{
	struct list *pos;

	LIST_FOREACH(pos, &vm->chardevs)
	{
		struct chardev *c = LIST_ENTRY(pos, struct chardev, link);

		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

void guest_clock_tell(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *d = &vm->config.devs[i];
		uint64_t now = wall_time();
		struct chardev *c;
		char text[48];
		int len;

		if (d->kind != CONFIG_VIRTIO_CONSOLE || strcmp(d->port_name, GUEST_CLOCK_PORT) != 0)
			continue;
		c = find_port(vm, d->name);
		len = str_format(text, sizeof(text), "time %llu.%09llu\n",
		    (unsigned long long)(now / 1000000000), (unsigned long long)(now % 1000000000));
		/* what nobody has read yet is stale */
		if (c && len > 0) {
			chardev_drop_input(c);
			chardev_write(c, text, (uint32_t)len);
		}
	}
}
