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
# looks for it there (design brief, section 5). The compiler knows memcpy() and its
# kin though there is no library: a copy of a few bytes is a few instructions.
HV_CFLAGS := $(COMMON) -ffreestanding -fbuiltin -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone \
	-mgeneral-regs-only -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
	-fno-strict-aliasing -fno-common -fstack-protector-strong -mstack-protector-guard=tls \
	-mstack-protector-guard-reg=fs -mstack-protector-guard-offset=40 \
	-fno-delete-null-pointer-checks -fcf-protection=none -ffunction-sections -fdata-sections \
	-falign-loops=1 -DAMBER_VERSION='"$(VERSION)"'
ifeq ($(DEBUG),1)
HV_CFLAGS += -DAMBER_DEBUG=1 -fsanitize=undefined -fno-sanitize=alignment
endif
# These two files define what the compiler would otherwise put calls to, or knows by other types.
$(O)/hv/lib/string.o $(O)/hv/arch/x86/ubsan.o: HV_CFLAGS += -fno-builtin
# What no guest waits for is compiled for size: the aim for the image is 512 KiB (docs/benchmarks.md).
COLD_C := $(wildcard hv/main.c hv/guests.c hv/console/*.c hv/drv/*.c hv/block/*.c) \
	$(addprefix hv/dev/,acpi_dsdt.c acpi_link.c acpi_tables.c aml.c disk_backend.c flash.c fw_cfg.c mp_table.c \
	pc.c smbios.c) \
	$(addprefix hv/core/,selftest.c exit_task.c vm.c vm_config.c vm_config_check.c boot_image.c \
	boot_firmware.c boot_linux.c boot_multiboot.c boot_multiboot2.c boot_pvh.c elf.c payload.c random.c) \
	$(addprefix hv/arch/x86/,acpi.c backtrace.c cpu.c cpu_model.c cpu_model_table.c efi_rt.c \
	emul_alu.c emul_segment.c emul_vector.c ioapic.c paging.c panic.c rtc.c smp.c tsc.c vcpu_state.c svm/svm.c \
	svm/svm_qemu.c vmx/vmx.c vmx/vmx_caps.c vmx/vmx_dump.c vmx/vmx_vmcs.c) \
	$(addprefix hv/lib/,fmt.c state.c) \
	$(filter-out %/ram_stream.c %/compress.c,$(wildcard hv/snapshot/*.c))
$(COLD_C:%.c=$(O)/%.o): private HV_CFLAGS += -Os
HV_C := $(sort $(shell find hv -name '*.c'))
HV_S := $(sort $(shell find hv -name '*.asm'))
HV_OBJ := $(HV_C:%.c=$(O)/%.o) $(HV_S:%.asm=$(O)/%.asm.o)
HV_LIBS := /usr/lib/x86_64-linux-gnu/libfdt.a /usr/lib/x86_64-linux-gnu/liblz4.a

# --- host builds of the pure parts (unit tests, fuzzers, tools) ----------------
# A test links against this archive; what it does not pull in is not linked.
# Whatever core functions are still missing come from tests/unit/fake/*.c.
PURE_C := $(filter-out hv/lib/string.c hv/lib/log.c,$(wildcard hv/lib/*.c)) \
	$(wildcard hv/arch/x86/emul*.c hv/arch/x86/walk.c hv/arch/x86/vcpu_state.c \
	hv/arch/x86/cpu_model*.c hv/arch/x86/npt.c hv/arch/x86/topology.c) \
	$(addprefix hv/arch/x86/,$(foreach f,state event run exit,vmx/vmx_$(f).c) \
	$(foreach f,state event run,svm/svm_$(f).c)) \
	$(wildcard hv/core/vlapic*.c hv/core/irq.c hv/core/vm_config.c hv/core/vm_config_check.c hv/core/chardev.c \
	hv/core/iobus.c hv/core/boot_*.c hv/core/elf.c hv/core/e820.c hv/core/device.c hv/core/pvclock.c \
	hv/core/tsc_scale.c) \
	$(wildcard hv/block/*.c hv/dev/*.c hv/snapshot/*.c) \
	$(wildcard hv/console/line.c hv/console/table.c hv/console/json.c \
	hv/console/output.c hv/console/progress.c)
FAKE_C := $(wildcard tests/unit/fake/*.c)
UNIT_C := $(wildcard tests/unit/test_*.c)
FUZZ_C := $(wildcard tests/fuzz/fuzz_*.c)

U := $(B)/unit
UNIT_CFLAGS := $(COMMON) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -DAMBER_HOST=1
# Without sanitizers, for runs of minutes ('make soak').
FAST := $(B)/fast
FAST_CFLAGS := $(COMMON) -DAMBER_HOST=1
UNIT_BIN := $(UNIT_C:tests/unit/%.c=$(U)/%)

F := $(B)/fuzz
FUZZ_CFLAGS := $(COMMON) -O1 -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all -DAMBER_HOST=1
FUZZ_BIN := $(FUZZ_C:tests/fuzz/%.c=$(F)/%)

.PHONY: all
all: $(B)/BOOTX64$(if $(filter 1,$(DEBUG)),-debug).EFI ## build the hypervisor: build/BOOTX64.EFI (default)

include Makefile.boot
include tests/guests/build.mk

# Another compiler, other flags: all is compiled again. Another commit: what prints it.
NAMES_COMMIT := $(patsubst %.c,$(O)/%.o,$(shell grep -rl --include='*.c' AMBER_COMMIT hv))
$(NAMES_COMMIT): private HV_CFLAGS += -DAMBER_COMMIT='"$(COMMIT)"'
$(NAMES_COMMIT): $(O)/commit
STAMP = @mkdir -p $(@D); cmp -s $@ - <<<"$$STAMPED" || cat > $@ <<<"$$STAMPED"
$(O)/commit: export STAMPED = $(COMMIT)
$(O)/flags: export STAMPED = $(CC) $(HV_CFLAGS) $(EFI_CFLAGS) $(COLD_C)
$(U)/flags: export STAMPED = $(HOSTCC) $(UNIT_CFLAGS)
$(F)/flags: export STAMPED = $(FUZZ_CFLAGS)
$(O)/commit $(O)/flags $(U)/flags $(F)/flags: FORCE
	$(STAMP)

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) -MMD -MP -c $< -o $@
$(O)/%.asm.o: %.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -I. -MD $(@:.o=.d) -o $@ $<

# --- unit tests ----------------------------------------------------------------
$(U)/obj/%.o: %.c $(U)/flags
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@
$(U)/libamber.a: $(PURE_C:%.c=$(U)/obj/%.o)
	@rm -f $@; ar rcsD $@ $^
$(U)/libfake.a: $(FAKE_C:%.c=$(U)/obj/%.o)
	@rm -f $@; ar rcsD $@ $^
$(U)/%: $(U)/obj/tests/unit/%.o $(U)/libamber.a $(U)/libfake.a
	$(HOSTCC) $(UNIT_CFLAGS) -o $@ $< $(U)/libamber.a $(U)/libfake.a $(U)/libamber.a $(U)/libfake.a \
		-lcmocka -lfdt -llz4 -lunicorn -lZydis
.PRECIOUS: $(U)/obj/%.o $(F)/obj/%.o

# --- fuzzers ---------------------------------------------------------------------
$(F)/obj/%.o: %.c $(F)/flags
	@mkdir -p $(@D)
	clang $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@
$(F)/libamber.a: $(PURE_C:%.c=$(F)/obj/%.o) $(FAKE_C:%.c=$(F)/obj/%.o)
	@rm -f $@; ar rcsD $@ $^
$(F)/fuzz_%: $(F)/obj/tests/fuzz/fuzz_%.o $(F)/libamber.a
	clang -fsanitize=fuzzer,address,undefined -o $@ $< $(F)/libamber.a -lfdt -llz4

.PHONY: fuzzers
fuzzers: $(FUZZ_BIN) ## build the fuzzers

# --- every check -------------------------------------------------------------------
# Each part prints '<part>: N passed, N failed, N skipped'; tests/run adds them up.
JOBS ?= $(shell nproc)
# What the tests with the debug build are: those that reach every lock and every stack.
DEBUG_TESTS ?= boot console lifecycle save_restore corrupt hostile torture
# Intel CPUs beside tools/run's (Ice Lake): the first with unrestricted guest, and one between.
INTEL_MODELS ?= corei5_arrandale_m520,corei7_haswell_4770
MODEL_TESTS ?= boot state save_restore
# On Bochs' AMD CPU: QEMU's, beside it, has the whole list, and so has Bochs' Intel CPU.
SVM_TESTS ?= boot one_cpu_host lifecycle three_guests hostile torture golden portable_model save_restore \
	random_moments live_io live_save live_cancel rewind clones generation disk_deep working_set \
	hpet_timers boot_methods journey state state_live state_journey emul arch_paging_host
GUEST_FILES := $(GUEST_BZ) $(GUEST_BOOT) $(GUEST_ARCH) $(B)/guests/debian.cpio.gz $(KERNEL)/vmlinuz
TEST_ARGS ?=
# Builds what it can, runs what there is; fails if either fails. Several may run at a time,
# but one builds.
BUILD_THEN = @mkdir -p $(B); flock $(B)/lock $(MAKE) --no-print-directory -kj$(JOBS) $(1); \
	built=$$?; $(2) && exit $$built

.PHONY: test test-build test-unit test-fuzz test-tools test-qemu test-qemu-debug lint soak bench \
	test-bochs-vmx test-bochs-svm test-intel-models test-guests
test: setup ## install what is missing, then run every check
	@tests/run $(TEST_ARGS)
test-build: ## gcc and clang, release and debug; two builds that are the same byte for byte
	@tests/build
test-unit: ## run the unit tests on the host, under ASan and UBSan
	$(call BUILD_THEN,$(UNIT_BIN),tests/unit/run $(UNIT_BIN))
test-fuzz: ## run each fuzzer for a fixed count of inputs
	$(call BUILD_THEN,$(FUZZ_BIN),tests/fuzz/run $(FUZZ_BIN))
test-tools: ## test the programs in tools/
	$(call BUILD_THEN,$(EFI_OUT) $(addprefix $(B)/amber-,snap fields devices),tests/tools/run)
test-qemu: ## run the whole-machine tests (TEST_ARGS: names, --platform, --seed, --list)
	$(call BUILD_THEN,$(EFI_OUT) $(B)/amber-snap $(GUEST_FILES),tests/qemu/run $(TEST_ARGS))
test-qemu-debug: ## run some of them on the debug build
	$(call BUILD_THEN,$(B)/BOOTX64-debug.EFI $(B)/amber-snap $(GUEST_FILES),\
		tests/qemu/run --loader $(B)/BOOTX64-debug.EFI $(DEBUG_TESTS))
test-bochs-vmx: ## run the whole-machine tests on Bochs' Intel CPU
test-bochs-svm: ## run those that reach the CPU on Bochs' AMD CPU (SVM_TESTS; empty: all)
test-bochs-vmx test-bochs-svm: test-%:
	@tools/bochs >/dev/null || true # without it, the tests say that they are skipped
	$(call BUILD_THEN,$(EFI_OUT) $(B)/amber-snap $(GUEST_FILES),\
		tests/qemu/run --platform $* $(TEST_ARGS) $(if $(filter %-svm,$@),$(SVM_TESTS)))
test-guests: ## boot every guest of 'make guests' until it works (PLATFORM, TEST_ARGS)
	$(call BUILD_THEN,$(EFI_OUT) $(GUEST_BOOT),tests/qemu/run --guests --platform $(PLATFORM) $(TEST_ARGS))
test-intel-models: ## run some of them on older Intel CPUs (INTEL_MODELS)
	@tools/bochs >/dev/null || true
	$(call BUILD_THEN,$(EFI_OUT) $(B)/amber-snap $(GUEST_FILES),\
		tests/qemu/run --platform bochs-vmx --cpu $(INTEL_MODELS) $(MODEL_TESTS))
lint: ## check formatting and the floor plan; look for mistakes with clang-tidy and cppcheck
	@tools/lint
soak: ## the long figures: random moments, repetitions, walks, hours of fuzzing (SOAK_ARGS)
	@$(MAKE) --no-print-directory -j$(JOBS) $(EFI_OUT) $(B)/amber-snap $(GUEST_FILES) $(FUZZ_BIN) \
		$(U)/test_engine_walk
	@$(MAKE) --no-print-directory -j$(JOBS) U=$(FAST) UNIT_CFLAGS='$(FAST_CFLAGS)' \
		$(FAST)/test_emul_diff $(FAST)/test_emul_cpu
	@tests/soak $(SOAK_ARGS)
bench: ## count instructions per exit and per snapshot; writes build/bench.json
	@$(MAKE) --no-print-directory -j$(JOBS) $(EFI_OUT) $(B)/amber-snap $(GUEST_FILES)
	@tests/qemu/bench $(BENCH_ARGS)

.PHONY: clean
clean: ## remove build/ (guest disks and snapshots in build/amber.img too)
	rm -rf $(B)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(filter-out %.d,$(MAKEFILE_LIST)) | \
		sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 20

include tools/amber-snap/build.mk

-include $(HV_OBJ:.o=.d)
-include $(shell find $(U) $(F) -name '*.d' 2>/dev/null)
