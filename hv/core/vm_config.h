/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine's configuration, parsed from a manifest or from the /config node of
 * a snapshot: one schema, one parser (docs/manifest.md).
 */
#ifndef AMBER_CORE_VM_CONFIG_H
#define AMBER_CORE_VM_CONFIG_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

#define VM_NAME_MAX    31
#define VM_MAX_VCPUS   64
#define VM_MAX_DEVICES 32
#define VM_MAX_CMDLINE 2048
#define VM_MAX_MODULES 32
#define VM_MAX_STRING  512 /* of a module */

enum boot_method {
	BOOT_NONE,
	BOOT_LINUX,
	BOOT_MULTIBOOT,
	BOOT_MULTIBOOT2,
	BOOT_PVH,
	BOOT_FIRMWARE
};

enum config_dev_kind {
	CONFIG_UART,
	CONFIG_VIRTIO_BLK,
	CONFIG_VIRTIO_CONSOLE,
	CONFIG_FW_CFG,
	CONFIG_HPET,
	CONFIG_DEBUG_EXIT,
	CONFIG_TESTDEV,
	CONFIG_FLASH,
};

/* A back end that begins so is a disk of the store. */
#define CONFIG_STORE_PREFIX "store:"

struct config_dev {
	enum config_dev_kind kind;
	char name[VM_NAME_MAX + 1]; /* node name: "serial0", "disk0" */
	char model[32];		    /* compatible string: "amber,virtio-blk" */
	uint8_t pci_slot;	    /* PCI devices: 1..31, unique; 0: assigned in order from 4 */
	uint8_t uart_index;	    /* UARTs: 0..3 for COM1..COM4 */
	uint16_t io_base;	    /* debug exits: the first port */
	uint8_t io_size;	    /* debug exits: how many ports */
	char backend[64]; /* disks: partition label, "guid:..." or "store:NAME"; empty for others */
	char base[64];	  /* disks of the store, if made anew: the partition or payload below */
	uint64_t disk_size; /* the same: bytes; 0: the base's */
	bool read_only;
	char serial[21];    /* disks: the serial number shown to the guest */
	char port_name[32]; /* virtio consoles: the name of the port, e.g. "org.amber.clock" */
};

/* A file that a kernel is given beside its initrd. */
struct config_module {
	char name[VM_NAME_MAX + 1]; /* node name */
	char file[64];
	char string[VM_MAX_STRING]; /* what the kernel is told of it; empty: the file's name */
};

struct vm_config {
	char name[VM_NAME_MAX + 1]; /* [a-z0-9][a-z0-9_-]* */
	uint8_t uuid[16];	    /* given or derived from the name */
	bool autostart;
	uint32_t vcpus;
	uint32_t sockets, cores, threads; /* product = vcpus */
	uint64_t memory;		  /* bytes, multiple of 2 MiB */
	char cpu_model[32];
	uint32_t tsc_khz; /* rate of the guest's TSC; 0: the host's */
	enum boot_method boot;
	char kernel[64], initrd[64]; /* payload file names; initrd may be empty */
	char rom[64];		     /* the same, of BOOT_FIRMWARE */
	char cmdline[VM_MAX_CMDLINE];
	uint32_t nmodules;
	struct config_module modules[VM_MAX_MODULES];
	uint32_t ndevs;
	struct config_dev devs[VM_MAX_DEVICES];
};

/*
 * Parses and validates the manifest in the flattened tree at blob; node is the
 * root of the configuration ("/" in a file, "/config" in a snapshot). Every
 * property is known or refused: the message names the node's path and the reason.
 * payload_exists (may be NULL) is asked for each payload name.
 */
int vm_config_parse(const void *blob, size_t size, const char *root, struct vm_config *out,
    bool (*payload_exists)(const char *name), struct errmsg *e);
/* The same of a tree that sr_check_tree() has passed already. */
int vm_config_read(const void *fdt, const char *root, struct vm_config *out,
    bool (*payload_exists)(const char *name), struct errmsg *e) MUST_CHECK;

/* Firmware starts the machine: it has ROM below 4 GiB (gmem_rom.h), and what firmware asks for. */
static inline bool vm_config_has_firmware(const struct vm_config *c)
{
	return c->boot == BOOT_FIRMWARE;
}

/* A device with a disk behind it that the machine writes. */
static inline bool config_writes_disk(const struct config_dev *d)
{
	return (d->kind == CONFIG_VIRTIO_BLK || d->kind == CONFIG_FLASH) && !d->read_only;
}

/* Gives the machine another name, and the UUID that follows from it. ERR_INVAL: not a legal name.
 */
int vm_config_rename(struct vm_config *c, const char *name, struct errmsg *e) MUST_CHECK;

struct state_writer;
/* Writes the same schema back as properties and nodes of the current node. */
void vm_config_save(const struct vm_config *c, struct state_writer *w);

#endif
