; SPDX-License-Identifier: BSD-2-Clause
; The jump: from the firmware's page tables and stack to the hypervisor's entry.
bits 64
default rel

%define CR4_PGE   (1 << 7)
%define CR4_PCIDE (1 << 17)

section .text
global enter_hypervisor:function

; void enter_hypervisor(const struct handover *h): cr3, stack_top, entry, info.
; This code is mapped one to one on both sides of the change of CR3.
enter_hypervisor:
	cli
	cld
	mov	rax, [rdi]
	mov	rsp, [rdi + 8]
	mov	rcx, [rdi + 16]
	mov	rdi, [rdi + 24]
	; Without PGE no translation of the firmware survives the load of CR3, and
	; without PCIDE its low bits mean what they did on an 80386.
	mov	rdx, cr4
	and	rdx, ~(CR4_PGE | CR4_PCIDE)
	mov	cr4, rdx
	mov	cr3, rax
	xor	ebp, ebp		; ends the hypervisor's backtraces
	jmp	rcx

section .note.GNU-stack noalloc noexec nowrite progbits
