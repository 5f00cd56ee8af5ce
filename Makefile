# Amber. 'make help' lists the targets.
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
LD := ld
NASM := nasm
OBJCOPY := objcopy
HOSTCC ?= gcc
DEBUG ?= 0

B := build
ifeq ($(DEBUG),1)
O := $(B)/debug
else
O := $(B)/release
endif

VERSION := $(shell cat VERSION)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wpointer-arith -Wwrite-strings -Wundef -Wno-unused-parameter
REPRO := -ffile-prefix-map=$(CURDIR)/= -gno-record-gcc-switches
COMMON := -std=gnu11 -O2 -g -I. $(WARN) $(REPRO)

# --- the hypervisor -----------------------------------------------------------
# General registers only; the canary lies at FS:0x28 because Debian's libfdt.a
# looks for it there (design brief, section 5).
HV_CFLAGS := $(COMMON) -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone \
	-mgeneral-regs-only -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
	-fno-strict-aliasing -fno-common -fstack-protector-strong -mstack-protector-guard=tls \
	-mstack-protector-guard-reg=fs -mstack-protector-guard-offset=40 \
	-fno-delete-null-pointer-checks -fcf-protection=none -ffunction-sections -fdata-sections \
	-DAMBER_VERSION='"$(VERSION)"' -DAMBER_COMMIT='"$(COMMIT)"'
ifeq ($(DEBUG),1)
HV_CFLAGS += -DAMBER_DEBUG=1 -fsanitize=undefined -fno-sanitize=alignment
endif
HV_C := $(sort $(shell find hv -name '*.c'))
HV_S := $(sort $(shell find hv -name '*.asm'))
HV_OBJ := $(HV_C:%.c=$(O)/%.o) $(HV_S:%.asm=$(O)/%.asm.o)
HV_LIBS := /usr/lib/x86_64-linux-gnu/libfdt.a /usr/lib/x86_64-linux-gnu/liblz4.a

# --- host builds of the pure parts (unit tests, fuzzers, tools) ----------------
# A test links against this archive; what it does not pull in is not linked.
# Whatever core functions are still missing come from tests/unit/fake/*.c.
PURE_C := $(filter-out hv/lib/string.c hv/lib/log.c,$(wildcard hv/lib/*.c)) \
	$(wildcard hv/arch/x86/emul*.c hv/arch/x86/walk.c hv/arch/x86/vcpu_state.c \
	hv/arch/x86/cpu_model.c hv/arch/x86/npt.c) \
	$(wildcard hv/core/vlapic*.c hv/core/irq.c hv/core/vm_config.c hv/core/chardev.c \
	hv/core/iobus.c hv/core/boot_linux.c hv/core/e820.c hv/core/device.c hv/core/pvclock.c) \
	$(wildcard hv/block/*.c hv/dev/*.c hv/snapshot/*.c) \
	$(wildcard hv/console/line.c hv/console/table.c hv/console/json.c \
	hv/console/output.c hv/console/progress.c)
FAKE_C := $(wildcard tests/unit/fake/*.c)
UNIT_C := $(wildcard tests/unit/test_*.c)
FUZZ_C := $(wildcard tests/fuzz/fuzz_*.c)

U := $(B)/unit
UNIT_CFLAGS := $(COMMON) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -DAMBER_HOST=1
UNIT_BIN := $(UNIT_C:tests/unit/%.c=$(U)/%)

F := $(B)/fuzz
FUZZ_CFLAGS := $(COMMON) -O1 -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all -DAMBER_HOST=1
FUZZ_BIN := $(FUZZ_C:tests/fuzz/%.c=$(F)/%)

.PHONY: all
all: $(B)/BOOTX64$(if $(filter 1,$(DEBUG)),-debug).EFI ## build the hypervisor: build/BOOTX64.EFI (default)

include Makefile.boot
include tests/guests/build.mk

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) -MMD -MP -c $< -o $@
$(O)/%.asm.o: %.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -I. -MD $(@:.o=.d) -o $@ $<

# --- unit tests ----------------------------------------------------------------
$(U)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@
$(U)/libamber.a: $(PURE_C:%.c=$(U)/obj/%.o)
	@rm -f $@; ar rcsD $@ $^
$(U)/libfake.a: $(FAKE_C:%.c=$(U)/obj/%.o)
	@rm -f $@; ar rcsD $@ $^
$(U)/%: $(U)/obj/tests/unit/%.o $(U)/libamber.a $(U)/libfake.a
	$(HOSTCC) $(UNIT_CFLAGS) -o $@ $< $(U)/libamber.a $(U)/libfake.a $(U)/libamber.a \
		-lcmocka -lfdt -llz4 -lunicorn -lZydis
.PRECIOUS: $(U)/obj/%.o $(F)/obj/%.o

.PHONY: test-unit
test-unit: $(UNIT_BIN) ## run the unit tests on the host, under ASan and UBSan
	@tests/unit/run $(UNIT_BIN)

# --- fuzzers ---------------------------------------------------------------------
$(F)/obj/%.o: %.c
	@mkdir -p $(@D)
	clang $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@
$(F)/libamber.a: $(PURE_C:%.c=$(F)/obj/%.o) $(FAKE_C:%.c=$(F)/obj/%.o)
	@rm -f $@; ar rcsD $@ $^
$(F)/fuzz_%: $(F)/obj/tests/fuzz/fuzz_%.o $(F)/libamber.a
	clang -fsanitize=fuzzer,address,undefined -o $@ $< $(F)/libamber.a -lfdt -llz4

.PHONY: fuzzers
fuzzers: $(FUZZ_BIN) ## build the fuzzers

.PHONY: clean
clean: ## remove build/ (guest disks and snapshots in build/amber.img too)
	rm -rf $(B)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

include tools/amber-snap/build.mk

-include $(HV_OBJ:.o=.d)
-include $(shell find $(U) $(F) -name '*.d' 2>/dev/null)
