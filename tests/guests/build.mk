# Test guests: bzImages from tests/guests/*.c (all but the library guest.c).
G := $(B)/guests
GUEST_C := $(filter-out tests/guests/guest.c,$(wildcard tests/guests/*.c))
GUEST_BZ := $(GUEST_C:tests/guests/%.c=$(G)/%.bz)
GUEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie \
	-mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing $(REPRO) -Itests/guests

$(G)/%.o: tests/guests/%.c tests/guests/guest.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c $< -o $@
$(G)/start.o: tests/guests/start.asm tests/guests/traps.inc
	@mkdir -p $(@D)
	$(NASM) -f elf64 -I tests/guests/ -o $@ $<
$(G)/%.elf: $(G)/%.o $(G)/guest.o $(G)/start.o tests/guests/guest.ld
	$(LD) -nostdlib -static --build-id=none -z noexecstack -z max-page-size=0x1000 --no-warn-rwx-segments \
		-T tests/guests/guest.ld -o $@ $(G)/start.o $< $(G)/guest.o
$(G)/%.bz: $(G)/%.elf
	$(OBJCOPY) -O binary $< $@
.PRECIOUS: $(G)/%.o $(G)/%.elf

# The torture guest is made of several files.
TORTURE := $(patsubst tests/guests/torture/%.c,$(G)/torture/%.o,$(wildcard tests/guests/torture/*.c)) \
	$(G)/torture/guard.o
$(G)/torture/%.o: tests/guests/torture/%.c tests/guests/torture/torture.h tests/guests/guest.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c $< -o $@
$(G)/torture/guard.o: tests/guests/torture/guard.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<
$(G)/torture.elf: $(TORTURE) $(G)/guest.o $(G)/start.o tests/guests/guest.ld
	$(LD) -nostdlib -static --build-id=none -z noexecstack -z max-page-size=0x1000 --no-warn-rwx-segments \
		-T tests/guests/guest.ld -o $@ $(G)/start.o $(TORTURE) $(G)/guest.o
GUEST_BZ += $(G)/torture.bz

# The kernel for Multiboot and PVH: an ELF file of 32 bits, the same as one of 64, and a flat file.
GUEST_BOOT := $(addprefix $(G)/,boot.elf boot64.elf boot.bin)
BOOT_LINK = $(LD) -m elf_i386 -nostdlib -static --build-id=none -z noexecstack \
	--no-warn-rwx-segments -T tests/guests/boot/boot.ld
$(G)/boot/boot.o: tests/guests/boot/boot.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -mno-red-zone,$(GUEST_CFLAGS)) -m32 -c $< -o $@
$(G)/boot/start.o $(G)/boot/flat.o: tests/guests/boot/start.asm
	@mkdir -p $(@D)
	$(NASM) -f elf32 $(if $(findstring flat,$@),-DFLAT) -o $@ $<
$(G)/boot.elf: $(G)/boot/start.o $(G)/boot/boot.o tests/guests/boot/boot.ld
	$(BOOT_LINK) -o $@ $(filter %.o,$^)
$(G)/boot64.elf: $(G)/boot.elf
	$(OBJCOPY) -O elf64-x86-64 $< $@
$(G)/boot/flat.elf: $(G)/boot/flat.o $(G)/boot/boot.o tests/guests/boot/boot.ld
	$(BOOT_LINK) -o $@ $(filter %.o,$^)
$(G)/boot.bin: $(G)/boot/flat.elf
	$(OBJCOPY) -O binary $< $@

# The kernels that hold the machine against the manuals: 64-bit code in an ELF file of 32 bits,
# which is what Multiboot loaders take.
GUEST_ARCH := $(patsubst tests/guests/arch/%.c,$(G)/arch_%.elf,\
	$(filter-out %/arch.c,$(wildcard tests/guests/arch/*.c)))
$(G)/arch/%.o: tests/guests/arch/%.c tests/guests/arch/arch.h tests/guests/guest.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c $< -o $@
$(G)/arch/start.o: tests/guests/arch/start.asm tests/guests/traps.inc
	@mkdir -p $(@D)
	$(NASM) -f elf64 -I tests/guests/ -o $@ $<
$(G)/arch/%_asm.o: tests/guests/arch/%.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<
$(G)/arch_modes.elf64: $(G)/arch/modes_asm.o
$(G)/arch_%.elf64: $(G)/arch/start.o $(G)/arch/%.o $(G)/arch/arch.o $(G)/guest.o \
		tests/guests/arch/arch.ld
	$(LD) -nostdlib -static --build-id=none -z noexecstack -z max-page-size=0x1000 \
		--no-warn-rwx-segments -T tests/guests/arch/arch.ld -o $@ $(filter %.o,$^)
$(G)/arch_%.elf: $(G)/arch_%.elf64
	$(OBJCOPY) -O elf32-i386 $< $@
# The one that stays in 32-bit protected mode: hardware tasks.
GUEST_ARCH += $(G)/arch_task.elf
$(G)/task/task.o: tests/guests/task/task.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -mno-red-zone,$(GUEST_CFLAGS)) -m32 -c $< -o $@
$(G)/task/start.o: tests/guests/task/start.asm
	@mkdir -p $(@D)
	$(NASM) -f elf32 -o $@ $<
$(G)/arch_task.elf: $(G)/task/start.o $(G)/task/task.o tests/guests/arch/arch.ld
	$(LD) -m elf_i386 -nostdlib -static --build-id=none -z noexecstack --no-warn-rwx-segments \
		-T tests/guests/arch/arch.ld -o $@ $(filter %.o,$^)
.PRECIOUS: $(G)/arch/%.o $(G)/arch_%.elf64

.PHONY: test-guests-build
test-guests-build: $(GUEST_BZ) $(GUEST_BOOT) $(GUEST_ARCH)
