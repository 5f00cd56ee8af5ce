; SPDX-License-Identifier: BSD-2-Clause
; The head of a kernel that holds the machine against the manuals: started as
; Multiboot in 32-bit protected mode, it goes on in long mode with the lowest 4 GiB
; mapped one to one; so do the other CPUs, from real mode.

extern arch_start, arch_ap_start

MB_MAGIC equ 0x1badb002
CODE32 equ 0x08
CODE64 equ 0x10
DATA equ 0x18
CR4_PAE equ 1 << 5
CR0_PE_PG equ 0x80000001
MSR_EFER equ 0xc0000080
EFER_LME_NXE equ 0x900
STACK equ 16384
CPUS equ 8

section .head
	align 4
	dd MB_MAGIC, 3, -(MB_MAGIC + 3)

section .text
bits 32
global start
start:
	cli
	cld
	mov esp, arch_stack_top
	mov edi, arch_pml4		; one page of the top, one of pointers, four of 2 MiB pages
	mov dword [edi], arch_pdpt + 7
	mov edi, arch_pdpt
	mov eax, arch_pd + 7
	mov ecx, 4
.pdpt:
	mov [edi], eax
	add edi, 8
	add eax, 4096
	loop .pdpt
	mov edi, arch_pd
	mov eax, 0x87
	mov ecx, 2048
.pd:
	mov [edi], eax
	add edi, 8
	add eax, 0x200000
	loop .pd
	mov edx, arch_start
	jmp to_long_mode

; EDX: where to go on; ESP: with which stack
to_long_mode:
	lgdt [arch_gdtr]
	mov eax, cr4
	or eax, CR4_PAE
	mov cr4, eax
	mov eax, arch_pml4
	mov cr3, eax
	push edx
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME_NXE
	wrmsr
	pop edx
	mov eax, cr0
	and eax, ~0x60000000		; CD, NW: what a CPU has after INIT
	or eax, CR0_PE_PG
	mov cr0, eax
	jmp CODE64:.long

bits 64
.long:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov esp, esp
	mov eax, edx
	mov edi, ebx			; Multiboot's information, on the first CPU
	xor ebp, ebp
	call rax
.halt:
	cli
	hlt
	jmp .halt

; The other CPUs start in a copy of this at a page below 1 MiB.
bits 16
global arch_trampoline, arch_trampoline_end
arch_trampoline:
	cli
	mov ax, cs
	mov ds, ax
	o32 lgdt [.gdtr - arch_trampoline]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE32:ap32
.gdtr:
	dw 16 * 8 * 4 - 1
	dd arch_gdt
arch_trampoline_end:

bits 32
ap32:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, 1			; a stack each, by order of arrival
	lock xadd [arch_ap_count], eax
	inc eax
	imul eax, STACK
	lea esp, [eax + arch_stacks + STACK]
	mov edx, arch_ap_start
	jmp to_long_mode

bits 64
%include "traps.inc"

section .data
	align 8
global arch_ap_count
arch_ap_count:
	dd 0
	dw 0
global arch_gdtr
arch_gdtr:
	dw 16 * 8 * 4 - 1
	dq arch_gdt
	align 16
global arch_gdt
arch_gdt:
	dq 0
	dq 0x00cf9b000000ffff		; 08 code, 32 bits
	dq 0x00af9b000000ffff		; 10 code, 64 bits
	dq 0x00cf93000000ffff		; 18 data
	dq 0x00009b000000ffff		; 20 code, 16 bits, limit 64 KiB
	dq 0x000093000000ffff		; 28 data, limit 64 KiB
	dq 0x00cff3000000ffff		; 30 data, CPL 3
	dq 0x00affb000000ffff		; 38 code, 64 bits, CPL 3
	dq 0x00cffb000000ffff		; 40 code, 32 bits, CPL 3
	times 55 dq 0			; 48: of the test's own; 80 on: task states

section .bss nobits alloc write align=4096
	align 4096
global arch_pml4, arch_pdpt, arch_pd
arch_pml4: resb 4096
arch_pdpt: resb 4096
arch_pd: resb 4 * 4096

section .stack nobits alloc write align=16
	resb 4096
global user_stack_top
user_stack_top:
arch_stacks:
	resb STACK
arch_stack_top:
	resb (CPUS - 1) * STACK
