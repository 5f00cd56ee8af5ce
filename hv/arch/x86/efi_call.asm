; SPDX-License-Identifier: BSD-2-Clause
; A call in the firmware's convention, on its page table and a stack of its own.
bits 64

section .text
global efi_call:function

; uint64_t efi_call(uint64_t fn, uint64_t cr3, void *stack_top, const uint64_t args[5])
; The convention preserves rbx, rbp, rdi, rsi, r12..r15 (UEFI 2.10, 2.3.4.2).
efi_call:
	push	rbp
	mov	rbp, rsp
	push	rbx
	push	r12
	mov	rbx, cr3
	mov	r12, rcx
	mov	rax, rdi
	mov	rsp, rdx
	sub	rsp, 48			; home of four arguments, the fifth, alignment
	mov	cr3, rsi
	mov	r10, [r12 + 32]
	mov	[rsp + 32], r10
	mov	rcx, [r12]
	mov	rdx, [r12 + 8]
	mov	r8, [r12 + 16]
	mov	r9, [r12 + 24]
	call	rax
	mov	cr3, rbx
	cld
	lea	rsp, [rbp - 16]
	pop	r12
	pop	rbx
	pop	rbp
	ret

section .note.GNU-stack noalloc noexec nowrite progbits
