; SPDX-License-Identifier: BSD-2-Clause
; The world switch. Selectors, their bases, CR3, RSP and RIP of the host are the
; VMCS's to load: an NMI finds the host's world on either side.

bits 64
default rel
section .text

%define VMCS_HOST_RSP 0x6c14

; Offsets in struct vcpu_state.gpr (enum gpr); RSP lives in the VMCS.
%define RAX_ 0
%define RCX_ 8
%define RDX_ 16
%define RBX_ 24
%define RBP_ 40
%define RSI_ 48
%define RDI_ 56
%define R8_  64
%define R9_  72
%define R10_ 80
%define R11_ 88
%define R12_ 96
%define R13_ 104
%define R14_ 112
%define R15_ 120

; Called by world_switch() in vmx_run.c: RSI the guest's general registers, RDX
; whether the VMCS has been launched. Returns what RSI was in RBX, and in RAX 0
; after an exit, 1 if the entry failed; keeps RBP and RSP only: the caller knows.
; Interrupts are off at entry and at return. A host interrupt that ended the
; guest's run is still pending then and is taken once the caller allows it.
global vmx_enter:function
vmx_enter:
	push rbp
	mov rbp, rsp
	push rsi			; register file
	mov eax, VMCS_HOST_RSP
	vmwrite rax, rsp
	test edx, edx			; no MOV below changes the flags
	mov rax, [rsi + RAX_]
	mov rcx, [rsi + RCX_]
	mov rdx, [rsi + RDX_]
	mov rbx, [rsi + RBX_]
	mov rbp, [rsi + RBP_]
	mov rdi, [rsi + RDI_]
	mov r8,  [rsi + R8_]
	mov r9,  [rsi + R9_]
	mov r10, [rsi + R10_]
	mov r11, [rsi + R11_]
	mov r12, [rsi + R12_]
	mov r13, [rsi + R13_]
	mov r14, [rsi + R14_]
	mov r15, [rsi + R15_]
	mov rsi, [rsi + RSI_]
	jnz .resume
	vmlaunch
	jmp .failed
.resume:
	vmresume
.failed:
	pop rbx
	mov eax, 1
	jmp forget

; HOST_RIP: an exit arrives here with the host's RSP.
global vmx_exit:function
vmx_exit:
	push rax
	mov rax, [rsp + 8]		; register file
	mov [rax + RCX_], rcx
	mov [rax + RDX_], rdx
	mov [rax + RBX_], rbx
	mov [rax + RBP_], rbp
	mov [rax + RSI_], rsi
	mov [rax + RDI_], rdi
	mov [rax + R8_],  r8
	mov [rax + R9_],  r9
	mov [rax + R10_], r10
	mov [rax + R11_], r11
	mov [rax + R12_], r12
	mov [rax + R13_], r13
	mov [rax + R14_], r14
	mov [rax + R15_], r15
	pop qword [rax + RAX_]
	pop rbx
	xor eax, eax
forget:	; nothing of the guest's registers stays behind for speculation to use
	xor ecx, ecx
	xor edx, edx
	xor esi, esi
	xor edi, edi
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
	xor r12d, r12d
	xor r13d, r13d
	xor r14d, r14d
	xor r15d, r15d
	pop rbp
	ret

section .note.GNU-stack noalloc noexec nowrite progbits
