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

; Called by world_switch() in svm_run.c: RDI the guest's VMCB, RSI its general
; registers, RDX the host's VMCB. Returns what RSI was in RBX; keeps RBP and RSP
; only: the caller knows.
; Interrupts are off at entry and at return. A host interrupt or NMI that ended
; the guest's run is still pending then and is taken once the caller allows it.
global svm_enter
svm_enter:
	push rbp
	mov rbp, rsp
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
	pop rax
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
	mov rbx, rax
	pop rax
	vmload				; the host's FS, GS, TR
	cli
	stgi
	; nothing of the guest's registers stays behind for speculation to use
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
