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
$(G)/start.o: tests/guests/start.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<
$(G)/%.elf: $(G)/%.o $(G)/guest.o $(G)/start.o tests/guests/guest.ld
	$(LD) -nostdlib -static --build-id=none -z noexecstack -z max-page-size=0x1000 --no-warn-rwx-segments \
		-T tests/guests/guest.ld -o $@ $(G)/start.o $< $(G)/guest.o
$(G)/%.bz: $(G)/%.elf
	$(OBJCOPY) -O binary $< $@
.PRECIOUS: $(G)/%.o $(G)/%.elf

.PHONY: test-guests-build
test-guests-build: $(GUEST_BZ)
