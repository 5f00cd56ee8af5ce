/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Manifests: what a good one means, the message of each way to be wrong, and
 * that a saved configuration parses to the same again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hv/core/vm_config.h"
#include "hv/lib/state.h"

enum { TREE = 65536 };

static uint8_t tree[TREE] __attribute__((aligned(8)));
static struct vm_config config;
static struct errmsg msg;

/* The node at path; made, with its parents, if it is not there. */
static int node_at(const char *path)
{
	int node = 0;

	while (*path == '/' && path[1]) {
		size_t n = strcspn(path + 1, "/");
		int sub = fdt_subnode_offset_namelen(tree, node, path + 1, (int)n);

		node = sub >= 0 ? sub : fdt_add_subnode_namelen(tree, node, path + 1, (int)n);
		assert_true(node >= 0);
		path += n + 1;
	}
	return node;
}

static void set_text(const char *path, const char *name, const char *v)
{
	assert_int_equal(fdt_setprop_string(tree, node_at(path), name, v), 0);
}

static void set_number(const char *path, const char *name, uint32_t v)
{
	assert_int_equal(fdt_setprop_u32(tree, node_at(path), name, v), 0);
}

static void set_flag(const char *path, const char *name)
{
	assert_int_equal(fdt_setprop_empty(tree, node_at(path), name), 0);
}

static void minimal(const char *root)
{
	assert_int_equal(fdt_create_empty_tree(tree, TREE), 0);
	set_text(root, "compatible", "amber,guest");
	set_text(root, "vm-name", "tiny");
	set_number(root, "memory-mib", 16);
}

/* The manifest of docs/manifest.md. */
static int good(void **state)
{
	minimal("/");
	set_text("/", "vm-name", "debian");
	set_flag("/", "autostart");
	set_number("/", "memory-mib", 256);
	set_text("/", "cpu-model", "host");
	set_number("/cpus", "count", 2);
	set_number("/cpus", "sockets", 1);
	set_number("/cpus", "cores", 2);
	set_number("/cpus", "threads", 1);
	set_text("/boot", "method", "linux");
	set_text("/boot", "kernel", "vmlinuz");
	set_text("/boot", "initrd", "debian.cpio.gz");
	set_text("/boot", "command-line", "console=ttyS0");
	set_text("/devices/serial0", "compatible", "amber,ns16550");
	set_number("/devices/serial0", "index", 0);
	set_text("/devices/disk0", "compatible", "amber,virtio-blk");
	set_number("/devices/disk0", "slot", 4);
	set_text("/devices/disk0", "backend", "debian-disk");
	set_text("/devices/disk0", "serial", "AMBER0001");
	set_text("/devices/console0", "compatible", "amber,virtio-console");
	set_number("/devices/console0", "slot", 5);
	set_text("/devices/console0", "port-name", "org.amber.clock");
	set_text("/devices/exit0", "compatible", "amber,debug-exit");
	return 0;
}

static int parse(void)
{
	memset(&msg, 0, sizeof(msg));
	return vm_config_parse(tree, TREE, "/", &config, NULL, &msg);
}

static void refused(const char *text)
{
	assert_int_not_equal(parse(), OK);
	assert_string_equal(msg.text, text);
}

static const struct config_dev *device(const char *name)
{
	for (uint32_t i = 0; i < config.ndevs; i++)
		if (strcmp(config.devs[i].name, name) == 0)
			return &config.devs[i];
	fail_msg("no device '%s'", name);
	return NULL;
}

static void test_good(void **state)
{
	const struct config_dev *d;

	assert_int_equal(parse(), OK);
	assert_string_equal(config.name, "debian");
	assert_true(config.autostart);
	assert_int_equal(config.memory, 256 * MIB);
	assert_int_equal(config.vcpus, 2);
	assert_int_equal(config.cores, 2);
	assert_int_equal(config.boot, BOOT_LINUX);
	assert_string_equal(config.kernel, "vmlinuz");
	assert_string_equal(config.initrd, "debian.cpio.gz");
	assert_string_equal(config.cmdline, "console=ttyS0");
	assert_int_equal(config.ndevs, 4);
	d = device("serial0");
	assert_int_equal(d->kind, CONFIG_UART);
	assert_int_equal(d->uart_index, 0);
	d = device("disk0");
	assert_int_equal(d->kind, CONFIG_VIRTIO_BLK);
	assert_string_equal(d->model, "amber,virtio-blk");
	assert_int_equal(d->pci_slot, 4);
	assert_string_equal(d->backend, "debian-disk");
	assert_string_equal(d->serial, "AMBER0001");
	assert_false(d->read_only);
	d = device("console0");
	assert_int_equal(d->pci_slot, 5);
	assert_string_equal(d->port_name, "org.amber.clock");
	d = device("exit0");
	assert_int_equal(d->kind, CONFIG_DEBUG_EXIT);
	assert_int_equal(d->io_base, 0xf4);
	assert_int_equal(d->io_size, 4);
	assert_int_equal(d->pci_slot, 0);
}

static void test_boot_methods(void **state)
{
	static const char *const words[] = {"linux", "multiboot", "multiboot2", "pvh"};

	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		good(state);
		set_text("/boot", "method", words[i]);
		assert_int_equal(parse(), OK);
		assert_int_equal(config.boot, BOOT_LINUX + i);
		fdt_delprop(tree, node_at("/boot"), "kernel");
		refused("/boot: kernel is missing");
	}
}

static void firmware(void)
{
	minimal("/");
	set_text("/boot", "method", "firmware");
	set_text("/boot", "rom", "OVMF_CODE.fd");
	set_text("/devices/flash0", "compatible", "amber,flash");
	set_text("/devices/flash0", "backend", "store:vars");
	set_text("/devices/flash0", "base", "OVMF_VARS.fd");
}

static void set_module(const char *name, const char *file, const char *line)
{
	char path[64];

	snprintf(path, sizeof(path), "/boot/modules/%s", name);
	set_text(path, "file", file);
	if (line)
		set_text(path, "command-line", line);
}

static const struct config_module *config_module(const char *name)
{
	for (uint32_t i = 0; i < config.nmodules; i++)
		if (strcmp(config.modules[i].name, name) == 0)
			return &config.modules[i];
	fail_msg("no module '%s'", name);
	return NULL;
}

/* libfdt puts new nodes first, and their order is the modules'. */
static void test_modules(void **state)
{
	assert_int_equal(parse(), OK);
	assert_int_equal(config.nmodules, 0);
	set_text("/boot", "method", "multiboot");
	set_module("last", "b.bin", "");
	set_module("exec", "b.bin", "exec --root=$(x)");
	set_module("first", "a.bin", NULL);
	assert_int_equal(parse(), OK);
	assert_int_equal(config.nmodules, 3);
	assert_string_equal(config.modules[0].name, "first");
	assert_string_equal(config.modules[1].name, "exec");
	assert_string_equal(config.modules[2].name, "last");
	assert_string_equal(config_module("first")->file, "a.bin");
	assert_string_equal(config_module("first")->string, "");
	assert_string_equal(config_module("exec")->string, "exec --root=$(x)");
	assert_string_equal(config_module("last")->file, "b.bin");
	assert_string_equal(config.initrd, "debian.cpio.gz"); /* is one too */
	/* Linux takes them, but no strings */
	set_text("/boot", "method", "linux");
	refused("/boot/modules/exec: command-line: not with method \"linux\"");
	fdt_delprop(tree, node_at("/boot/modules/exec"), "command-line");
	assert_int_equal(parse(), OK);
}

static void test_module_mistakes(void **state)
{
	char text[VM_MAX_STRING + 1], name[16];

	set_module("a", "a.bin", NULL);
	set_text("/boot/modules", "file", "a.bin");
	refused("/boot/modules: unknown property 'file'");
	good(state);
	set_text("/boot/modules/a", "command-line", "a");
	refused("/boot/modules/a: file is missing");
	set_text("/boot/modules/a", "file", "../a");
	refused("/boot/modules/a: file: must be a file name of letters, digits, '.', '_', '+', '~' "
		"and '-'");
	set_module("a", "a.bin", "tab\t");
	refused("/boot/modules/a: command-line: must be printable ASCII text");
	set_module("a", "a.bin", "");
	node_at("/boot/modules/a/b");
	refused("/boot/modules/a: unknown node 'b'");
	good(state);
	set_module("module@0", "a.bin", NULL);
	refused("/boot/modules/module@0: must be a name of a-z, 0-9, '_' and '-', not beginning "
		"with '_' or '-'");
	good(state);
	node_at("/boot/module");
	refused("/boot: unknown node 'module'");
	good(state);
	set_text("/boot", "method", "multiboot");
	memset(text, 'x', sizeof(text));
	text[VM_MAX_STRING] = 0;
	set_module("a", "a.bin", text);
	refused("/boot/modules/a: command-line: longer than 511 characters");
	set_module("a", "a.bin", text + 1);
	assert_int_equal(parse(), OK);
	assert_int_equal(strlen(config.modules[0].string), VM_MAX_STRING - 1);
	for (int i = 1; i <= VM_MAX_MODULES; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		assert_int_equal(parse(), OK);
		assert_int_equal(config.nmodules, i);
		set_module(name, "a.bin", NULL);
	}
	refused("/boot/modules: more than 32 modules");
	firmware();
	set_module("a", "a.bin", NULL);
	refused("/boot/modules: not with method \"firmware\"");
}

static void test_firmware(void **state)
{
	firmware();
	assert_int_equal(parse(), OK);
	assert_int_equal(config.boot, BOOT_FIRMWARE);
	assert_true(vm_config_has_firmware(&config));
	assert_string_equal(config.rom, "OVMF_CODE.fd");
	assert_int_equal(device("flash0")->kind, CONFIG_FLASH);
	assert_true(config_writes_disk(device("flash0")));
	/* firmware asks fw_cfg: it is there without being named, once */
	assert_string_equal(device("fwcfg")->model, "amber,fw-cfg");
	assert_int_equal(config.ndevs, 2);
	set_text("/devices/asked", "compatible", "amber,fw-cfg");
	assert_int_equal(parse(), OK);
	assert_int_equal(config.ndevs, 2);
}

static void test_firmware_mistakes(void **state)
{
	firmware();
	set_text("/boot", "kernel", "vmlinuz");
	refused("/boot: kernel: not with method \"firmware\"");
	firmware();
	set_text("/boot", "command-line", "quiet");
	refused("/boot: command-line: not with method \"firmware\"");
	firmware();
	fdt_delprop(tree, node_at("/boot"), "rom");
	refused("/boot: rom is missing");
	good(state);
	set_text("/boot", "rom", "OVMF_CODE.fd");
	refused("/boot: rom: not with method \"linux\"");
	firmware();
	set_text("/devices/flash0", "backend", "a-partition");
	fdt_delprop(tree, node_at("/devices/flash0"), "base");
	refused("/devices/flash0: backend: must be 'store:NAME'");
	firmware();
	set_text("/devices/flash1", "compatible", "amber,flash");
	set_text("/devices/flash1", "backend", "store:other");
	refused("/devices/flash0: there is one already, flash1"); /* the last is first */
	firmware();
	set_text("/devices/fwcfg", "compatible", "amber,hpet");
	refused("/: the name 'fwcfg' is another device's");
	good(state);
	set_text("/devices/flash0", "compatible", "amber,flash");
	set_text("/devices/flash0", "backend", "store:vars");
	refused("/devices/flash0: amber,flash: only with the boot method \"firmware\"");
}

static void test_defaults(void **state)
{
	uint8_t first[16];

	minimal("/");
	set_text("/boot", "method", "none");
	assert_int_equal(parse(), OK);
	assert_int_equal(config.vcpus, 1);
	assert_int_equal(config.sockets * config.cores * config.threads, 1);
	assert_string_equal(config.cpu_model, "x86-64-v2");
	assert_false(config.autostart);
	assert_int_equal(config.ndevs, 0);
	/* the UUID: always the same for a name, another for another name, marked as derived */
	memcpy(first, config.uuid, 16);
	assert_int_equal(config.uuid[6] >> 4, 8);
	assert_int_equal(config.uuid[8] >> 6, 2);
	parse();
	assert_memory_equal(first, config.uuid, 16);
	set_text("/", "vm-name", "tinz");
	parse();
	assert_memory_not_equal(first, config.uuid, 16);
}

static void test_topology_default(void **state)
{
	minimal("/");
	set_text("/boot", "method", "none");
	set_number("/cpus", "count", 8);
	set_number("/cpus", "threads", 2);
	assert_int_equal(parse(), OK);
	assert_int_equal(config.sockets, 1);
	assert_int_equal(config.cores, 4);
	assert_int_equal(config.threads, 2);
}

static void test_uuid(void **state)
{
	static const uint8_t expect[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01,
	    0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF};

	set_text("/", "uuid", "01234567-89ab-cdef-0123-456789ABCDEF");
	assert_int_equal(parse(), OK);
	assert_memory_equal(config.uuid, expect, 16);
}

static void test_slots_are_assigned(void **state)
{
	fdt_delprop(tree, node_at("/devices/disk0"), "slot");
	set_number("/devices/console0", "slot", 4);
	set_text("/devices/disk1", "compatible", "amber,virtio-blk");
	set_text("/devices/disk1", "backend", "other");
	assert_int_equal(parse(), OK);
	assert_int_equal(device("console0")->pci_slot, 4);
	assert_int_equal(device("disk0")->pci_slot + device("disk1")->pci_slot, 5 + 6);
	assert_int_equal(device("serial0")->pci_slot, 0);
}

static void test_slots_run_out(void **state)
{
	char path[64];

	for (int i = 0; i < 28; i++) {
		snprintf(path, sizeof(path), "/devices/con%02d", i);
		set_text(path, "compatible", "amber,virtio-console");
	}
	assert_int_equal(parse(), ERR_INVAL);
	assert_non_null(strstr(msg.text, "no slot is left in 4 to 30"));
}

/* One wrong thing in the good manifest, and what is said about it. */
struct row {
	const char *path, *name;
	enum { TEXT, NUMBER, FLAG, NODE, DELETE } kind;
	const char *text;
	uint32_t number;
	const char *message;
};
static const struct row rows[] = {
    {"/", "colour", TEXT, "red", 0, "/: unknown property 'colour'"},
    {"/", "compatible", TEXT, "amber,host", 0, "/: compatible: must be \"amber,guest\""},
    {"/", "compatible", DELETE, NULL, 0, "/: compatible is missing"},
    {"/", "vm-name", DELETE, NULL, 0, "/: vm-name is missing"},
    {"/", "vm-name", TEXT, "Debian", 0,
	"/: vm-name: must be a name of a-z, 0-9, '_' and '-', not beginning with '_' or '-'"},
    {"/", "vm-name", TEXT, "", 0,
	"/: vm-name: must be a name of a-z, 0-9, '_' and '-', not beginning with '_' or '-'"},
    {"/", "vm-name", TEXT, "a2345678901234567890123456789012", 0,
	"/: vm-name: longer than 31 characters"},
    {"/", "vm-name", NUMBER, NULL, 0x61626300, NULL}, /* looks like a string: accepted */
    {"/", "vm-name", NUMBER, NULL, 0x61006200, "/: vm-name: must be one string"},
    {"/", "vm-name", NUMBER, NULL, 0x61626364, "/: vm-name: must be one string"},
    {"/", "vm-name", FLAG, NULL, 0, "/: vm-name: must be one string"},
    {"/", "autostart", TEXT, "yes", 0, "/: autostart: takes no value"},
    {"/", "memory-mib", DELETE, NULL, 0, "/: memory-mib is missing"},
    {"/", "memory-mib", NUMBER, NULL, 15, "/: memory-mib: 15 is not in 16 to 1048576"},
    {"/", "memory-mib", NUMBER, NULL, 1048578, "/: memory-mib: 1048578 is not in 16 to 1048576"},
    {"/", "memory-mib", NUMBER, NULL, 257, "/: memory-mib: 257 is not a multiple of 2"},
    {"/", "memory-mib", TEXT, "256 MiB", 0, "/: memory-mib: must be one number"},
    {"/", "uuid", TEXT, "01234567-89ab-cdef-0123-456789abcdeg", 0,
	"/: uuid: must be like \"01234567-89ab-cdef-0123-456789abcdef\""},
    {"/", "uuid", TEXT, "01234567-89ab-cdef-01234-56789abcdef", 0,
	"/: uuid: must be like \"01234567-89ab-cdef-0123-456789abcdef\""},
    {"/gpus", NULL, NODE, NULL, 0, "/: unknown node 'gpus'"},
    {"/boot", NULL, DELETE, NULL, 0, "/: node 'boot' is missing"},
    {"/cpus", "count", NUMBER, NULL, 0, "/cpus: count: 0 is not in 1 to 64"},
    {"/cpus", "count", NUMBER, NULL, 65, "/cpus: count: 65 is not in 1 to 64"},
    {"/cpus", "count", DELETE, NULL, 0, "/cpus: count is missing"},
    {"/cpus", "threads", NUMBER, NULL, 2,
	"/cpus: 1 sockets of 2 cores of 2 threads are not 2 CPUs"},
    {"/cpus/cpu0", NULL, NODE, NULL, 0, "/cpus: unknown node 'cpu0'"},
    {"/boot", "method", TEXT, "floppy", 0,
	"/boot: method: must be \"none\" or \"linux\" or \"multiboot\" or \"multiboot2\" or "
	"\"pvh\" or \"firmware\""},
    {"/boot", "method", TEXT, "none", 0, "/boot: command-line: not with method \"none\""},
    {"/devices/exit0", "io-base", NUMBER, NULL, 0,
	"/devices/exit0: io-base: 0 is not in 1 to 65535"},
    {"/devices/exit0", "io-base", NUMBER, NULL, 0xfffd,
	"/devices/exit0: 4 ports from 0xfffd on are more than there are"},
    {"/devices/exit0", "io-size", NUMBER, NULL, 5, "/devices/exit0: io-size: 5 is not in 1 to 4"},
    {"/devices/exit0", "slot", NUMBER, NULL, 5, "/devices/exit0: unknown property 'slot'"},
    {"/boot", "kernel", DELETE, NULL, 0, "/boot: kernel is missing"},
    {"/boot", "kernel", TEXT, "", 0, "/boot: kernel is missing"},
    {"/boot", "kernel", TEXT, "../vmlinuz", 0,
	"/boot: kernel: must be a file name of letters, digits, '.', '_', '+', '~' and '-'"},
    {"/boot", "command-line", TEXT, "a\nb", 0, "/boot: command-line: must be printable ASCII text"},
    {"/devices", "count", NUMBER, NULL, 1, "/devices: unknown property 'count'"},
    {"/devices/disk0", "index", NUMBER, NULL, 1, "/devices/disk0: unknown property 'index'"},
    {"/devices/disk0", "slot", NUMBER, NULL, 5, NULL}, /* either of the two is named */
    {"/devices/disk0", "slot", NUMBER, NULL, 0, "/devices/disk0: slot: 0 is not in 1 to 30"},
    {"/devices/disk0", "slot", NUMBER, NULL, 31, "/devices/disk0: slot: 31 is not in 1 to 30"},
    {"/devices/disk0", "backend", DELETE, NULL, 0, "/devices/disk0: backend is missing"},
    {"/devices/disk0", "serial", TEXT, "123456789012345678901", 0,
	"/devices/disk0: serial: longer than 20 characters"},
    {"/devices/disk0", "compatible", TEXT, "amber,floppy", 0,
	"/devices/disk0: compatible: no device model 'amber,floppy'"},
    {"/devices/disk0", "compatible", DELETE, NULL, 0, "/devices/disk0: compatible is missing"},
    {"/devices/disk0/part", NULL, NODE, NULL, 0, "/devices/disk0: unknown node 'part'"},
    {"/devices/Disk", NULL, NODE, NULL, 0,
	"/devices/Disk: must be a name of a-z, 0-9, '_' and '-', not beginning with '_' or '-'"},
    {"/devices/serial0", "index", NUMBER, NULL, 4, "/devices/serial0: index: 4 is not in 0 to 3"},
    {"/devices/serial0", "index", DELETE, NULL, 0, "/devices/serial0: index is missing"},
    {"/devices/serial0", "slot", NUMBER, NULL, 9, "/devices/serial0: unknown property 'slot'"},
};

static void apply(const struct row *r)
{
	int node = node_at(r->path);

	switch (r->kind) {
	case TEXT:
		set_text(r->path, r->name, r->text);
		break;
	case NUMBER:
		set_number(r->path, r->name, r->number);
		break;
	case FLAG:
		set_flag(r->path, r->name);
		break;
	case NODE:
		break;
	case DELETE:
		assert_int_equal(
		    r->name ? fdt_delprop(tree, node, r->name) : fdt_del_node(tree, node), 0);
		break;
	}
}

static void test_each_mistake(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		good(NULL);
		apply(&rows[i]);
		if (rows[i].message)
			refused(rows[i].message);
	}
}

/* libfdt puts new nodes first: the earlier of the two in the tree is the later made. */
static void test_overlaps(void **state)
{
	set_number("/devices/disk0", "slot", 5);
	refused("/devices/disk0: slot 5 is taken by console0");
	good(NULL);
	set_text("/devices/serial1", "compatible", "amber,ns16550");
	set_number("/devices/serial1", "index", 0);
	refused("/devices/serial0: index 0 is taken by serial1");
	good(NULL);
	set_text("/devices/disk1", "compatible", "amber,virtio-blk");
	set_text("/devices/disk1", "backend", "debian-disk");
	refused("/devices/disk0: backend 'debian-disk' is written by disk1 or by this disk");
	set_flag("/devices/disk1", "read-only");
	refused("/devices/disk0: backend 'debian-disk' is written by disk1 or by this disk");
	set_flag("/devices/disk0", "read-only");
	assert_int_equal(parse(), OK);
}

static void test_fw_cfg(void **state)
{
	set_text("/devices/fwcfg0", "compatible", "amber,fw-cfg");
	assert_int_equal(parse(), OK);
	assert_int_equal(device("fwcfg0")->kind, CONFIG_FW_CFG);
	assert_string_equal(device("fwcfg0")->model, "amber,fw-cfg");
	assert_int_equal(device("fwcfg0")->pci_slot, 0);
	set_number("/devices/fwcfg0", "slot", 9);
	refused("/devices/fwcfg0: unknown property 'slot'");
	good(NULL);
	set_text("/devices/fwcfg0", "compatible", "amber,fw-cfg");
	set_text("/devices/fwcfg1", "compatible", "amber,fw-cfg");
	refused("/devices/fwcfg0: there is one already, fwcfg1");
	good(NULL);
	set_text("/devices/test0", "compatible", "amber,testdev");
	set_text("/devices/test1", "compatible", "amber,testdev");
	refused("/devices/test0: there is one already, test1");
}

static void test_hpet(void **state)
{
	set_text("/devices/timers", "compatible", "amber,hpet");
	assert_int_equal(parse(), OK);
	assert_int_equal(device("timers")->kind, CONFIG_HPET);
	assert_string_equal(device("timers")->model, "amber,hpet");
	assert_int_equal(device("timers")->pci_slot, 0);
	set_number("/devices/timers", "slot", 6);
	refused("/devices/timers: unknown property 'slot'");
	good(NULL);
	set_text("/devices/timers", "compatible", "amber,hpet");
	set_text("/devices/more", "compatible", "amber,hpet");
	refused("/devices/timers: there is one already, more");
}

static void test_disk_of_the_store(void **state)
{
	set_text("/devices/disk0", "base", "debian-disk");
	refused("/devices/disk0: base: only with a backend 'store:NAME'");
	good(NULL);
	set_number("/devices/disk0", "size-mib", 64);
	refused("/devices/disk0: size-mib: only with a backend 'store:NAME'");
	set_text("/devices/disk0", "backend", "store:web");
	set_text("/devices/disk0", "base", "debian-disk");
	assert_int_equal(parse(), OK);
	assert_string_equal(device("disk0")->base, "debian-disk");
	assert_true(device("disk0")->disk_size == 64 * MIB);
	set_number("/devices/disk0", "size-mib", 0);
	refused("/devices/disk0: size-mib: 0 is not in 1 to 1073741824");
}

static void test_too_many_devices(void **state)
{
	char path[64];

	for (int i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "/devices/u%02d", i);
		set_text(path, "compatible", "amber,ns16550");
		set_number(path, "index", 3);
	}
	refused("/devices: more than 32 devices");
}

/* A name that a program wrote twice; dtc would not. */
static void test_duplicate(void **state)
{
	char *p = NULL;

	set_text("/", "vm-namf", "other");
	for (int i = 0; i + 8 < TREE && !p; i++)
		if (memcmp(tree + i, "vm-namf", 8) == 0)
			p = (char *)tree + i;
	assert_non_null(p);
	p[6] = 'e';
	assert_int_not_equal(parse(), OK);
	assert_non_null(strstr(msg.text, "name"));
}

static bool only_vmlinuz(const char *name)
{
	return strcmp(name, "vmlinuz") == 0;
}

static void test_payloads(void **state)
{
	assert_int_equal(vm_config_parse(tree, TREE, "/", &config, only_vmlinuz, &msg), ERR_NOENT);
	assert_string_equal(msg.text, "/boot: initrd: no file 'debian.cpio.gz' on the boot volume");
	fdt_delprop(tree, node_at("/boot"), "initrd");
	set_module("b", "initrd", NULL);
	set_module("a", "vmlinuz", NULL);
	assert_int_equal(vm_config_parse(tree, TREE, "/", &config, only_vmlinuz, &msg), ERR_NOENT);
	assert_string_equal(msg.text, "/boot/modules/b: file: no file 'initrd' on the boot volume");
}

static void test_long_command_line(void **state)
{
	char line[VM_MAX_CMDLINE + 1];

	memset(line, 'x', sizeof(line));
	line[VM_MAX_CMDLINE - 1] = 0;
	set_text("/boot", "command-line", line);
	assert_int_equal(parse(), OK);
	assert_int_equal(strlen(config.cmdline), VM_MAX_CMDLINE - 1);
	line[VM_MAX_CMDLINE - 1] = 'x';
	line[VM_MAX_CMDLINE] = 0;
	set_text("/boot", "command-line", line);
	refused("/boot: command-line: longer than 2047 characters");
}

static void test_not_a_tree(void **state)
{
	memset(tree, 0, sizeof(tree));
	assert_int_not_equal(parse(), OK);
	assert_int_not_equal(vm_config_parse(tree, 0, "/", &config, NULL, &msg), OK);
}

static void test_other_root(void **state)
{
	minimal("/config");
	set_text("/config/boot", "method", "floppy");
	assert_int_not_equal(vm_config_parse(tree, TREE, "/config", &config, NULL, &msg), OK);
	assert_string_equal(msg.text, "/config/boot: method: must be \"none\" or \"linux\" or "
				      "\"multiboot\" or \"multiboot2\" or \"pvh\" or \"firmware\"");
	set_text("/config/boot", "method", "none");
	assert_int_equal(vm_config_parse(tree, TREE, "/config", &config, NULL, &msg), OK);
	assert_int_equal(vm_config_parse(tree, TREE, "/nothing", &config, NULL, &msg), ERR_NOENT);
}

static void *grow(void *old, size_t old_size, size_t new_size)
{
	return realloc(old, new_size);
}

/* What is saved in a snapshot parses to the same configuration. */
static void round_trip(void)
{
	static struct vm_config back;
	struct state_writer w;
	size_t size;
	void *blob;

	sw_init(&w, grow);
	sw_begin(&w, "config");
	vm_config_save(&config, &w);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &blob, &size, &msg), OK);
	assert_int_equal(vm_config_parse(blob, size, "/config", &back, NULL, &msg), OK);
	for (uint32_t i = 0; i < back.ndevs; i++)
		assert_memory_equal(&back.devs[i], &config.devs[i], sizeof(back.devs[i]));
	assert_memory_equal(&back, &config, sizeof(back));
	free(blob);
	free(w.buf);
}

static void test_round_trip(void **state)
{
	assert_int_equal(parse(), OK);
	round_trip();
	set_flag("/devices/disk0", "read-only");
	set_number("/devices/serial0", "index", 2);
	set_text("/devices/fwcfg0", "compatible", "amber,fw-cfg");
	set_text("/devices/timers", "compatible", "amber,hpet");
	fdt_delprop(tree, node_at("/devices/disk0"), "slot");
	assert_int_equal(parse(), OK);
	round_trip();
	set_text("/boot", "method", "pvh");
	set_module("exec", "exec.static", "exec $(task)");
	set_module("ext2fs", "ext2fs.static", NULL);
	assert_int_equal(parse(), OK);
	assert_int_equal(config.nmodules, 2);
	round_trip();
	minimal("/");
	set_text("/boot", "method", "none");
	assert_int_equal(parse(), OK);
	round_trip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_good, good),
	    cmocka_unit_test_setup(test_boot_methods, good),
	    cmocka_unit_test_setup(test_defaults, good),
	    cmocka_unit_test_setup(test_topology_default, good),
	    cmocka_unit_test_setup(test_uuid, good),
	    cmocka_unit_test_setup(test_slots_are_assigned, good),
	    cmocka_unit_test_setup(test_slots_run_out, good),
	    cmocka_unit_test_setup(test_each_mistake, good),
	    cmocka_unit_test_setup(test_overlaps, good),
	    cmocka_unit_test_setup(test_fw_cfg, good),
	    cmocka_unit_test_setup(test_hpet, good),
	    cmocka_unit_test_setup(test_modules, good),
	    cmocka_unit_test_setup(test_module_mistakes, good),
	    cmocka_unit_test(test_firmware),
	    cmocka_unit_test(test_firmware_mistakes),
	    cmocka_unit_test_setup(test_disk_of_the_store, good),
	    cmocka_unit_test_setup(test_too_many_devices, good),
	    cmocka_unit_test_setup(test_duplicate, good),
	    cmocka_unit_test_setup(test_payloads, good),
	    cmocka_unit_test_setup(test_long_command_line, good),
	    cmocka_unit_test_setup(test_not_a_tree, good),
	    cmocka_unit_test_setup(test_other_root, good),
	    cmocka_unit_test_setup(test_round_trip, good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
