/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device model is (I9). A model registers one descriptor in the linker
 * section "device_models"; a descriptor that lacks a mandatory member does not
 * pass the unit test that walks the section.
 *
 * Everything that a snapshot carries lies in one plain struct, described by one
 * table (hv/lib/state.h). Save, check and load are derived from it by the core:
 *   save:  quiesce, and drain if the save ends the guest; the struct is copied; encoded later
 *   check: decoded into a scratch struct with per-field maxima, then model->check
 *   load:  the scratch struct is copied over the state, then model->loaded
 * so a model cannot save what it does not load, or load what it did not check.
 */
#ifndef AMBER_CORE_DEVICE_H
#define AMBER_CORE_DEVICE_H

#include "hv/core/vm_config.h"
#include "hv/lib/list.h"
#include "hv/lib/state.h"
#include "hv/lib/types.h"

struct vm;
struct device;
struct blk_dev;

/* When a model is created and in which order reset, resumed and loaded. */
enum device_class {
	DEVCLASS_IRQCHIP,  /* one of each in every machine */
	DEVCLASS_PLATFORM, /* one of each in every machine */
	DEVCLASS_BUS,	   /* one of each in every machine */
	DEVCLASS_CONFIG,   /* one per node of the manifest whose 'compatible' names it */
};

struct device_model {
	const char *compatible; /* "amber,i8254": append-only, it is in every snapshot */
	uint32_t version; /* of the state table; raised when a field is added or changes meaning */
	enum device_class class;
	/* Snapshots of older versions lack its record (platform devices only): it is then as after
	 * a reset. */
	bool optional;
	const char *doc; /* one line: what it is, which datasheet */
	size_t state_size;
	const struct state_field *fields;
	/* Allocates dev->priv (with the state inside), registers ports, lines, chardevs. cfg is
	 * NULL for platform devices. */
	int (*create)(struct device *dev, const struct config_dev *cfg, struct errmsg *e);
	/* Frees all that create made; called also after a half-done machine. */
	void (*destroy)(struct device *dev);
	/* Power-on state; vCPUs are parked. */
	void (*reset)(struct device *dev);
	/* vCPUs are parked: from the return until drain or resume neither the state nor what the
	 * guest sees of the device changes. Requests that the host is at work on are recorded, not
	 * waited for (I7); running counters are folded into the state. */
	void (*quiesce)(struct device *dev);
	/* After quiesce: waits until the host is done with every request, and records that. Nothing
	 * of the device uses guest memory from then on. Optional: for models whose requests
	 * outlive quiesce. */
	void (*drain)(struct device *dev);
	/* Before vCPUs run again, after a pause or a restore: re-arm timers, kick queues,
	 * re-evaluate lines. */
	void (*resume)(struct device *dev);
	/* Semantic check of a decoded state beyond per-field maxima; changes nothing. Message
	 * without prefix. */
	int (*check)(const struct device *dev, const void *state, struct errmsg *e);
	/* After the new state is in place: recompute what is derived (BAR mappings, caches). Cannot
	 * fail. */
	void (*loaded)(struct device *dev);
};

struct device {
	struct list link; /* in the VM, in order of class and creation */
	const struct device_model *model;
	struct vm *vm;
	char name[32]; /* "i8254" or the manifest's node name: unique in the VM, names its record */
	void *state;   /* the model's state struct */
	void *priv;    /* the model's object */
	struct blk_dev *disk; /* of the host, that the guest writes by it; NULL: none */
};

#define DEVICE_MODEL(ident)                                                                        \
	static const struct device_model ident;                                                    \
	static const struct device_model *const ident##_entry                                      \
	    __attribute__((used, section("device_models"))) = &ident;                              \
	static const struct device_model ident

extern const struct device_model *const __start_device_models[], *const __stop_device_models[];

/* By compatible string, or NULL. */
const struct device_model *device_model_find(const char *compatible);
/* The first device of a model in the VM, or NULL. */
struct device *device_find(struct vm *vm, const char *compatible);

#endif
