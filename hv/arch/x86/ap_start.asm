; SPDX-License-Identifier: BSD-2-Clause
; How a CPU gets from its start-up IPI to C. The first part is copied to the page
; below 1 MiB that the loader reserved; smp.c fills in its parameters.
bits 16

%define IA32_EFER    0xc0000080
%define IA32_FS_BASE 0xc0000100
%define IA32_GS_BASE 0xc0000101
%define EFER_LME_NXE (1 << 8 | 1 << 11)
%define CR4_PAE	     (1 << 5)
%define CR0_START    0x80010033		; PG WP NE ET MP PE: caches on
%define CPU_FS_BLOCK 32			; struct cpu (cpu.h)

extern ap_main
global ap_page_start:data, ap_page_params:data, ap_page_gdt:data, ap_page_long:data
global ap_page_end:data

section .rodata
align 16
ap_page_start:
	cli
	cld
	mov	ax, cs
	mov	ds, ax
	; Straight from real to long mode: no page of 32-bit code between.
	mov	eax, CR4_PAE
	mov	cr4, eax
	mov	eax, [params.start_cr3 - ap_page_start]
	mov	cr3, eax
	mov	ecx, IA32_EFER
	mov	eax, EFER_LME_NXE
	xor	edx, edx
	wrmsr
	o32 lgdt [params.gdtr - ap_page_start]
	mov	eax, CR0_START
	mov	cr0, eax
	jmp	dword far [params.far - ap_page_start]

bits 64
ap_page_long:
	mov	eax, 0x10
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	xor	eax, eax
	mov	fs, eax
	mov	gs, eax
	; One at a time: without a MADT all CPUs come at once.
.wait:
	lock bts dword [rel params.lock], 0
	jnc	.mine
	pause
	jmp	.wait
.mine:
	mov	dword [rel params.arrived], 1
	mov	rsp, [rel params.stack]
	mov	rsi, [rel params.cr3]
	mov	rbx, [rel params.cpu]
	mov	rax, ap_high
	jmp	rax

align 8
ap_page_params:				; struct ap_params (smp.c)
params:
.cpu	dq	0
.stack	dq	0
.cr3	dq	0
.start_cr3 dd	0
.lock	dd	0
.arrived dd	0
.far	dd	0
	dw	0x08
.gdtr	dw	0
	dd	0
align 8
ap_page_gdt:
	dq	0
	dq	0x00af9b000000ffff	; 64-bit code
	dq	0x00cf93000000ffff	; data
ap_page_end:

section .text
ap_high:
	mov	cr3, rsi
	mov	rax, rbx
	mov	rdx, rbx
	shr	rdx, 32
	mov	ecx, IA32_GS_BASE
	wrmsr
	lea	rax, [rbx + CPU_FS_BLOCK]
	mov	rdx, rax
	shr	rdx, 32
	mov	ecx, IA32_FS_BASE
	wrmsr
	xor	ebp, ebp
	call	ap_main
	ud2

section .note.GNU-stack noalloc noexec nowrite progbits
