; SPDX-License-Identifier: BSD-2-Clause
; The head of a test kernel that can be started as Multiboot, as Multiboot2 and as PVH. With
; FLAT it has the address fields, and the file is no ELF file.

bits 32
extern boot_main
extern image_start, bss_end

MB1_MAGIC equ 0x1badb002
%ifdef FLAT
MB1_FLAGS equ 0x10003			; page-aligned modules, memory; address fields
%else
MB1_FLAGS equ 0x00003
%endif
MB2_MAGIC equ 0xe85250d6

section .head
	align 4
mb1:
	dd MB1_MAGIC, MB1_FLAGS, -(MB1_MAGIC + MB1_FLAGS)
%ifdef FLAT
	dd mb1, image_start, 0, bss_end, start
%endif

	align 8
mb2:
	dd MB2_MAGIC, 0, mb2.end - mb2, -(MB2_MAGIC + (mb2.end - mb2))
	dw 1, 0				; information request: command line, module, memory, map
	dd 24, 1, 3, 4, 6
%ifdef FLAT
	dw 2, 0
	dd 24, mb2, image_start, 0, bss_end
	dw 3, 0
	dd 12, start
	align 8
%endif
	dw 5, 1				; a frame buffer, if there is one
	dd 20, 640, 480, 32
	align 8
	dw 6, 0				; modules on page boundaries
	dd 8
	dw 0, 0
	dd 8
.end:

section .note alloc
	dd 4, 4, 18			; XEN_ELFNOTE_PHYS32_ENTRY
	db "Xen", 0
	dd start

section .text
global start
start:
	cld
	mov esp, stack_top
	push ebx
	push eax
	call boot_main
.halt:
	cli
	hlt
	jmp .halt

section .stack nobits alloc write
	resb 16384
stack_top:
