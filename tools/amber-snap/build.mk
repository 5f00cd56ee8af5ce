# SPDX-License-Identifier: BSD-2-Clause
# build/amber-snap: the store's own sources, compiled for the host. Included by the main Makefile.
TOOL_CFLAGS := $(COMMON) -DAMBER_HOST=1
AMBER_SNAP_C := $(sort $(wildcard tools/amber-snap/*.c)) \
	$(addprefix hv/snapshot/,store.c store_cache.c store_tree.c store_node.c store_refmap.c store_object.c \
	store_check.c catalog.c snapshot.c snap_copy.c snap_tree.c ram_stream.c ram_read.c ram_flatten.c content_index.c \
	compress.c disk_object.c vdisk.c disk_copy.c overlay_layers.c working_set.c) \
	$(addprefix hv/lib/,state.c error.c fmt.c cursor.c crc32c.c bitmap.c) hv/block/gpt.c hv/arch/x86/vcpu_state.c
AMBER_SNAP_O := $(AMBER_SNAP_C:%.c=$(B)/tools/%.o)

$(B)/tools/%.o: %.c
	@mkdir -p $(@D)
	$(HOSTCC) $(TOOL_CFLAGS) -MMD -MP -c $< -o $@
$(B)/amber-snap: $(AMBER_SNAP_O)
	$(HOSTCC) $(TOOL_CFLAGS) -o $@ $^ -lfdt -llz4 -lsodium -lzstd

# its tests run it
$(B)/unit/test_amber_snap $(B)/unit/test_snap_core $(B)/unit/test_snap_seal \
		$(B)/unit/test_snap_diff $(B)/unit/test_snap_disks: | $(B)/amber-snap

# build/amber-fields: the state tables as documentation; every device model is linked in
MODEL_C := $(shell grep -l '^DEVICE_MODEL' hv/dev/*.c)
$(B)/amber-fields: $(U)/obj/tools/amber-fields/main.o $(MODEL_C:%.c=$(U)/obj/%.o) \
		$(U)/libamber.a $(U)/libfake.a
	$(HOSTCC) $(UNIT_CFLAGS) -o $@ $^ $(U)/libamber.a -lfdt -llz4
# build/amber-devices: their registers as documentation; so are all that have a table
REGS_C := $(sort $(MODEL_C) $(shell grep -l '^#include "hv/dev/regs/' hv/dev/*.c) hv/core/vlapic_regs.c)
$(B)/amber-devices: $(U)/obj/tools/amber-devices/main.o $(REGS_C:%.c=$(U)/obj/%.o) \
		$(U)/libamber.a $(U)/libfake.a
	$(HOSTCC) $(UNIT_CFLAGS) -o $@ $^ $(U)/libamber.a -lfdt -llz4
# the tests that walk all models need all of them linked
$(U)/test_device_models $(U)/test_device_regs: $(U)/%: $(U)/obj/tests/unit/%.o \
		$(REGS_C:%.c=$(U)/obj/%.o) $(U)/libamber.a $(U)/libfake.a
	$(HOSTCC) $(UNIT_CFLAGS) -o $@ $^ $(U)/libamber.a -lcmocka -lfdt -llz4

.PHONY: fields devices
fields: $(B)/amber-fields ## write docs/state-records.md from the state tables
	$(B)/amber-fields > docs/state-records.md
devices: $(B)/amber-devices ## write docs/devices.md from the register tables
	$(B)/amber-devices > docs/devices.md

.PHONY: tools
tools: $(B)/amber-snap ## build the host tools: build/amber-snap

-include $(AMBER_SNAP_O:.o=.d)
