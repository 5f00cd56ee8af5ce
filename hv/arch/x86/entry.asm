; SPDX-License-Identifier: BSD-2-Clause
; The image header and the first instructions: stack, per-CPU block and canary, so
; that C code can run. State on entry: hv/boot_info.h.
bits 64
default rel

%define IA32_FS_BASE 0xc0000100
%define IA32_GS_BASE 0xc0000101
%define CPU_FS_BLOCK 32			; struct cpu (cpu.h)
%define CANARY       0x28		; in the FS block
%define BOOT_STACK   0x4000

extern hv_main, cpus, hv_mem_size, hv_file_size

section .header progbits alloc noexec nowrite align=16
	dq	0x0031524542414d41	; BOOT_INFO_MAGIC
	dq	hv_entry
	dq	hv_mem_size
	dq	hv_file_size

section .text
global hv_entry:function
hv_entry:
	cli
	cld
	mov	rsp, boot_stack_top
	xor	ebp, ebp
	mov	r12, rdi		; boot_info
	xor	eax, eax
	mov	fs, eax			; clears the bases too on some CPUs: before the MSRs
	mov	gs, eax

	mov	rbx, cpus		; the boot CPU has number 0
	mov	[rbx], rbx		; self
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

	; The canary: RDRAND where there is one, stirred with the time in any case.
	; One value for all CPUs, since threads move between them.
	mov	r13, 0x9e3779b97f4a7c15
	push	rbx
	mov	eax, 1
	xor	ecx, ecx
	cpuid
	pop	rbx
	bt	ecx, 30			; CPUID 1 ECX: RDRAND
	jnc	.time
	rdrand	rax
	jnc	.time
	xor	r13, rax
.time:
	rdtsc
	shl	rdx, 32
	or	rax, rdx
	xor	r13, rax
	mov	rax, 0xbf58476d1ce4e5b9
	imul	r13, rax
	mov	rax, r13
	shr	rax, 31
	xor	r13, rax
	xor	r13b, r13b		; a zero byte stops overruns by strings
	mov	[rbx + CPU_FS_BLOCK + CANARY], r13

	mov	rdi, r12
	call	hv_main
	ud2

; The page below the boot CPU's stack is left unmapped (paging.c).
section .bss align=4096
global boot_stack_guard:data, boot_stack_top:data
boot_stack_guard:
	resb	0x1000
	resb	BOOT_STACK
boot_stack_top:

section .note.GNU-stack noalloc noexec nowrite progbits
