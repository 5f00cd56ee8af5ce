# From objects to something that boots: the link of the hypervisor, the EFI
# program that carries it, the disk image, and the emulator to run it in.

# --- link ------------------------------------------------------------------------
# Twice: the symbol table that the hypervisor prints its own backtraces with is
# made from the first link and becomes part of the second (tools/gen-symbols).
HV_LDFLAGS := -nostdlib -static --gc-sections --build-id=none -z max-page-size=0x1000 \
	-z noexecstack --orphan-handling=error -T linker.ld
# The command is three screens long.
HV_LINK = @echo "$(LD) -T linker.ld -o $@ ..."; $(LD) $(HV_LDFLAGS) -o $@ $(filter %.o,$^) --start-group $(HV_LIBS) --end-group

$(O)/pass1.elf: $(HV_OBJ) linker.ld Makefile.boot
	$(HV_LINK)
$(O)/%.sym: $(O)/%.elf
	@nm -n $< > $@
$(O)/ksyms.S: $(O)/pass1.sym tools/gen-symbols
	@tools/gen-symbols $< > $@ || { rm -f $@; exit 1; }
$(O)/ksyms.o: $(O)/ksyms.S
	$(CC) -c $< -o $@
$(O)/amber.elf: $(HV_OBJ) $(O)/ksyms.o $(O)/pass1.sym linker.ld Makefile.boot
	$(HV_LINK)
	@nm -n $@ > $(O)/amber.sym
	@tools/gen-symbols --check $(O)/pass1.sym $(O)/amber.sym || { rm -f $@; exit 1; }
$(O)/amber.bin: $(O)/amber.elf
	$(OBJCOPY) -O binary -j .text -j .rodata -j .data $< $@

# --- the EFI program -------------------------------------------------------------
# gnu-efi: a shared object with its own relocator, turned into PE by objcopy. The
# loader runs on the firmware's stack and descriptor tables: no stack protector,
# no red zone. Functions of the firmware are called with its own convention.
GNUEFI_LIB := $(patsubst %/,%,$(dir $(firstword $(wildcard /usr/lib/crt0-efi-x86_64.o \
	/usr/lib/gnuefi/crt0-efi-x86_64.o /usr/lib/x86_64-linux-gnu/gnuefi/crt0-efi-x86_64.o))))
EFI_CFLAGS := -std=gnu11 -Os -g -I. -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 \
	$(WARN) $(REPRO) -ffreestanding -fpic -fshort-wchar -fno-stack-protector -mno-red-zone \
	-mgeneral-regs-only -fno-strict-aliasing -fcf-protection=none \
	-fno-asynchronous-unwind-tables -DGNU_EFI_USE_MS_ABI -DAMBER_VERSION='"$(VERSION)"'
EFI_C := $(sort $(wildcard boot/efi/*.c))
EFI_OBJ := $(EFI_C:%.c=$(O)/%.o) $(O)/boot/efi/enter.asm.o $(O)/boot/efi/image.asm.o
# Another image than the one built here, for tests of the loader alone.
HV_BIN ?= $(O)/amber.bin
EFI_OUT := $(B)/BOOTX64$(if $(filter 1,$(DEBUG)),-debug).EFI

$(O)/boot/efi/%.o: boot/efi/%.c Makefile.boot
	@mkdir -p $(@D)
	$(CC) $(EFI_CFLAGS) -MMD -MP -c $< -o $@
$(O)/boot/efi/image.asm.o: boot/efi/image.asm $(HV_BIN)
	@mkdir -p $(@D)
	$(NASM) -f elf64 -DHV_BIN='"$(HV_BIN)"' -o $@ $<
$(O)/loader.so: $(EFI_OBJ) Makefile.boot
	$(LD) -nostdlib -znocombreloc -shared -Bsymbolic --build-id=none -z noexecstack \
		--no-undefined -T $(GNUEFI_LIB)/elf_x86_64_efi.lds -o $@ \
		$(GNUEFI_LIB)/crt0-efi-x86_64.o $(EFI_OBJ) -L$(GNUEFI_LIB) -lgnuefi
$(EFI_OUT): $(O)/loader.so
	@mkdir -p $(@D)
	SOURCE_DATE_EPOCH=0 $(OBJCOPY) -j .text -j .sdata -j .data -j .rodata -j .dynamic \
		-j .dynsym -j .rel -j .rela -j '.rel.*' -j '.rela.*' -j .reloc --target=efi-app-x86_64 $< $@
ifneq ($(DEBUG),1)
$(B)/BOOTX64-debug.EFI: FORCE
	@$(MAKE) --no-print-directory DEBUG=1 $@
endif
.PHONY: FORCE
FORCE:

-include $(EFI_C:%.c=$(O)/%.d)

# --- guests ------------------------------------------------------------------------
# dtc thinks that a property called "name" must repeat the node's name; in a
# manifest it is the guest's. All guests but this one have images of their own: tools/guest.
DTC := dtc
GUEST_DTB := $(B)/guests/debian.dtb
KERNEL := .cache/guest

$(B)/guests/%.dtb: guests/%.dts
	@mkdir -p $(@D)
	$(DTC) -I dts -O dtb -o $@ $<
$(B)/guests/debian.cpio.gz: $(shell find guests/initramfs -type f) $(KERNEL)/version
	guests/initramfs/build $(KERNEL) $@
$(KERNEL)/version $(KERNEL)/vmlinuz:
	tools/setup

# --- image and emulator --------------------------------------------------------------
IMAGE := $(B)/amber$(if $(filter 1,$(DEBUG)),-debug).img
PLATFORM ?= qemu-svm
GUEST ?= debian
RUN_ARGS ?=

# Makes an image once; later only the files on it are replaced, never its store and disks.
.PHONY: image
image: $(EFI_OUT) $(GUEST_DTB) $(B)/guests/debian.cpio.gz $(KERNEL)/vmlinuz ## make or update build/amber.img
	@tools/mkimage $(if $(wildcard $(IMAGE)),--update $(IMAGE),--output $(IMAGE) \
		--disk debian-disk:64) --efi $(EFI_OUT) $(GUEST_DTB:%=--manifest %) \
		--payload $(KERNEL)/vmlinuz --payload $(B)/guests/debian.cpio.gz
	@echo "$(IMAGE): $(if $(wildcard $(IMAGE)),updated,made)"

.PHONY: setup
setup: ## install what is missing on this machine, fetch the guest's kernel
	@tools/setup

# A make of its own for the rest: this one has looked for libraries before set-up.
.PHONY: run
run: setup ## boot build/amber.img in QEMU, console on this terminal; GUEST=NAME: another guest
ifeq ($(GUEST),debian)
	@$(MAKE) --no-print-directory image
	@tools/run --platform $(PLATFORM) --image $(IMAGE) $(RUN_ARGS)
else
	@$(MAKE) --no-print-directory $(EFI_OUT)
	@tools/guest run $(GUEST) --platform $(PLATFORM) -- $(RUN_ARGS)
endif

.PHONY: guests
guests: ## list the other guests for make run GUEST=NAME
	@tools/guest list
