; SPDX-License-Identifier: BSD-2-Clause
; The 256 gates. Each pushes its vector (and 0 where the CPU pushes no error code)
; and joins the common path, which builds a struct trap_frame (traps.h). Every gate
; switches stacks (IST), so nothing is pushed below the interrupted RSP.
bits 64

extern trap_dispatch

section .text
global trap_stubs:function

%define STUB_SIZE 16			; idt.c counts on it
align STUB_SIZE
trap_stubs:
%assign vector 0
%rep 256
	align	STUB_SIZE
  ; exceptions with an error code (SDM volume 3, table 6-1)
  %if vector != 8 && vector != 10 && vector != 11 && vector != 12 && vector != 13 && vector != 14 && vector != 17 && vector != 21 && vector != 29 && vector != 30
	push	0
  %endif
	push	strict dword vector
	jmp	strict near trap_common
  %assign vector vector + 1
%endrep

align 16
trap_common:
	push	rax
	push	rbx
	push	rcx
	push	rdx
	push	rsi
	push	rdi
	push	rbp
	push	r8
	push	r9
	push	r10
	push	r11
	push	r12
	push	r13
	push	r14
	push	r15
	cld
	mov	rdi, rsp		; aligned: 22 quadwords from an aligned top
	call	trap_dispatch
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	r11
	pop	r10
	pop	r9
	pop	r8
	pop	rbp
	pop	rdi
	pop	rsi
	pop	rdx
	pop	rcx
	pop	rbx
	pop	rax
	add	rsp, 16			; vector, error code
	iretq

section .note.GNU-stack noalloc noexec nowrite progbits
