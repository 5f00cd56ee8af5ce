; SPDX-License-Identifier: BSD-2-Clause
; The switch from one thread's stack to another's.
bits 64

section .text
global context_switch:function

; void context_switch(void **save, void *load)
; What a callee may clobber, the compiler has saved already; FS and GS belong to the
; CPU, RFLAGS.IF is off on both sides. Order: struct saved_context (context.c).
context_switch:
	push	rbp
	push	rbx
	push	r12
	push	r13
	push	r14
	push	r15
	mov	[rdi], rsp
	mov	rsp, rsi
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	rbx
	pop	rbp
	ret

section .note.GNU-stack noalloc noexec nowrite progbits
