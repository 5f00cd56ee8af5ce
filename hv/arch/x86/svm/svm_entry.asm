; SPDX-License-Identifier: BSD-2-Clause
; The world switch. From VMLOAD of the guest to VMLOAD of the host, TR, FS and
; GS are the guest's: GIF stays 0 and nothing here may fault (design brief, 5).

bits 64
default rel
section .text

; Offsets in struct vcpu_state.gpr (enum gpr); RAX and RSP live in the VMCB.
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

; void svm_enter(uint64_t guest_vmcb, uint64_t *gpr, uint64_t host_vmcb)
; Interrupts are off at entry and at return. A host interrupt or NMI that ended
; the guest's run is still pending then and is taken once the caller allows it.
global svm_enter
svm_enter:
	push rbp
	mov rbp, rsp
	push rbx
	push r12
	push r13
	push r14
	push r15
	push rdx			; host VMCB, for VMLOAD afterwards
	push rsi			; register file
	clgi
	sti				; with GIF 0: lets a physical interrupt end the guest's run
	mov rax, rdi
	vmload
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
	vmrun
	vmsave			; VMRUN restored the host's RAX: the guest's VMCB
	push rsi
	mov rsi, [rsp + 8]
	mov [rsi + RCX_], rcx
	mov [rsi + RDX_], rdx
	mov [rsi + RBX_], rbx
	mov [rsi + RBP_], rbp
	mov [rsi + RDI_], rdi
	mov [rsi + R8_],  r8
	mov [rsi + R9_],  r9
	mov [rsi + R10_], r10
	mov [rsi + R11_], r11
	mov [rsi + R12_], r12
	mov [rsi + R13_], r13
	mov [rsi + R14_], r14
	mov [rsi + R15_], r15
	pop rax
	mov [rsi + RSI_], rax
	mov rax, [rsp + 8]
	vmload				; the host's FS, GS, TR
	cli
	stgi
	add rsp, 16
	; nothing of the guest's registers stays behind for speculation to use
	xor ecx, ecx
	xor edx, edx
	xor esi, esi
	xor edi, edi
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbx
	pop rbp
	ret
