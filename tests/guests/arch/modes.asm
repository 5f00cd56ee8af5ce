; SPDX-License-Identifier: BSD-2-Clause
; A visit to another mode of the CPU and back: 64-bit mode, compatibility mode, 32-bit
; protected mode without paging, and from there whatever the desk says. What is run
; there is a snippet, copied to 11000h, that returns near; a fault ends it.

extern resume_at, resume_sp

CODE32 equ 0x08
CODE64 equ 0x10
DATA equ 0x18
CODE16 equ 0x48			; based at BASE, as real mode's segments are
DATA16 equ 0x50
MSR_EFER equ 0xc0000080
EFER_LMA equ 1 << 10
CR0_PG equ 1 << 31
VECTORS equ 64
FIRST_IRQ equ 32

; The 64 KiB below 1 MiB that everything with segments of 16 bits happens in.
BASE equ 0x10000
BASE_SEG equ BASE >> 4
DESK equ 0xc00
SNIPPET equ 0x1000
STACK equ 0x8000

; struct desk of modes.c
EAX_ equ 0
ECX_ equ 4
EDX_ equ 8
EBX_ equ 12
ESI_ equ 16
EDI_ equ 20
EBP_ equ 24
VECTOR equ 28
ERROR equ 32
EIP_ equ 36
CR2_ equ 40
IRQS equ 44
KIND equ 48
NEW_CR0 equ 52
NEW_CR3 equ 56
NEW_CR4 equ 60
NEW_EFER equ 64
KIND_32 equ 0
KIND_16 equ 1
KIND_REAL equ 2
KIND_UNREAL equ 3
KIND_COMPAT equ 4

%define LOW(label) label - modes_low

; Registers from and to the desk. %1: where it is
%macro TAKE 1
	mov ecx, [%1 + ECX_]
	mov edx, [%1 + EDX_]
	mov ebx, [%1 + EBX_]
	mov esi, [%1 + ESI_]
	mov edi, [%1 + EDI_]
	mov ebp, [%1 + EBP_]
	mov eax, [%1 + EAX_]
%endmacro
%macro PUT 1
	mov [%1 + EAX_], eax
	mov [%1 + ECX_], ecx
	mov [%1 + EDX_], edx
	mov [%1 + EBX_], ebx
	mov [%1 + ESI_], esi
	mov [%1 + EDI_], edi
	mov [%1 + EBP_], ebp
%endmacro

section .text
bits 64
global visit
visit:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [saved_sp], rsp
	mov [resume_sp], rsp		; a fault in compatibility mode goes on here
	mov qword [resume_at], back
	sidt [saved_idt]
	mov rax, cr0
	mov [saved_cr0], rax
	mov rax, cr3
	mov [saved_cr3], rax
	mov rax, cr4
	mov [saved_cr4], rax
	mov ecx, MSR_EFER
	rdmsr
	and eax, ~EFER_LMA
	mov [saved_efer], eax
	push CODE32
	push down
	o64 retf

bits 32
down:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, BASE + STACK
	cmp dword [BASE + DESK + KIND], KIND_COMPAT
	je run32
	lidt [idt32_at]
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	mov ecx, MSR_EFER
	mov eax, [BASE + DESK + NEW_EFER]
	xor edx, edx
	wrmsr
	mov eax, [BASE + DESK + NEW_CR4]
	mov cr4, eax
	mov eax, [BASE + DESK + NEW_CR3]
	mov cr3, eax
	mov eax, [BASE + DESK + NEW_CR0]
	mov cr0, eax
	cmp dword [BASE + DESK + KIND], KIND_32
	jne to16
run32:
	TAKE BASE + DESK
	call [snippet_at]
	PUT BASE + DESK
	cmp dword [BASE + DESK + KIND], KIND_COMPAT
	jne home
	jmp CODE64:back

to16:
	mov eax, DATA16
	mov ss, eax
	mov esp, STACK
	cmp dword [BASE + DESK + KIND], KIND_REAL
	jne .flat
	mov ds, eax
	mov es, eax
.flat:
	jmp CODE16:LOW(entry16)

; From any protected mode, with any segments: to where the visit began.
home:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov esp, BASE + STACK
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	mov ecx, MSR_EFER
	mov eax, [saved_efer]
	xor edx, edx
	wrmsr
	mov eax, [saved_cr4]
	mov cr4, eax
	mov eax, [saved_cr3]
	mov cr3, eax
	mov eax, [saved_cr0]
	mov cr0, eax
	jmp CODE64:back

bits 64
back:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, [saved_sp]
	mov [resume_at], rax
	lidt [saved_idt]
	cld
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; --- protected mode's traps: a fault ends the snippet, an interrupt is counted ----------

bits 32
%assign i 0
%rep VECTORS
trap32_%+i:
%if i != 8 && (i < 10 || i > 14) && i != 17
	push dword 0
%endif
	push dword i
	jmp trap32
%assign i i + 1
%endrep

trap32:
	push eax
	push ds
	mov eax, DATA
	mov ds, eax
	mov eax, [esp + 8]
	cmp eax, FIRST_IRQ
	jae .irq
	mov [BASE + DESK + VECTOR], eax
	mov eax, [esp + 12]
	mov [BASE + DESK + ERROR], eax
	mov eax, [esp + 16]
	mov [BASE + DESK + EIP_], eax
	mov eax, cr2
	mov [BASE + DESK + CR2_], eax
	mov eax, [esp + 4]
	PUT BASE + DESK
	jmp home
.irq:
	inc dword [BASE + DESK + IRQS]
	pop ds
	pop eax
	add esp, 8
	iretd

; --- what is copied to BASE ---------------------------------------------------------------

section .rodata
global modes_low, modes_low_end
bits 16
modes_low:
	times 16 db 0		; what unreal mode writes at the end of the segment below
entry16:
	cmp dword [cs:DESK + KIND], KIND_16
	je run16
	mov eax, cr0
	and al, ~1
	mov cr0, eax
	jmp BASE_SEG:LOW(.real)
.real:
	mov ax, BASE_SEG
	mov ss, ax
	o32 lidt [cs:LOW(ivt_at)]
	cmp dword [cs:DESK + KIND], KIND_UNREAL
	jne .segments
	xor ax, ax			; the limits stay 4 GiB
.segments:
	mov ds, ax
	mov es, ax
run16:
	TAKE cs:DESK
	call [cs:LOW(snippet16_at)]
done16:
	PUT ss:DESK
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE32:home

%assign i 0
%rep VECTORS
trap16_%+i:
	push word i
	jmp trap16
%assign i i + 1
%endrep

trap16:
	push eax
	push bp
	mov bp, sp			; BP, EAX, vector, IP, CS, FLAGS
	cmp word [bp + 6], FIRST_IRQ
	jae .irq
	movzx eax, word [bp + 6]
	mov [ss:DESK + VECTOR], eax
	movzx eax, word [bp + 8]
	mov [ss:DESK + EIP_], eax
	pop bp
	pop eax
	jmp done16
.irq:
	inc dword [ss:DESK + IRQS]
	pop bp
	pop eax
	add sp, 2
	iret

snippet16_at:
	dw SNIPPET
ivt_at:
	dw 1023
	dd 0
modes_low_end:

section .rodata
global modes_traps32, modes_traps16
modes_traps32:
%assign i 0
%rep VECTORS
	dd trap32_%+i
%assign i i + 1
%endrep
modes_traps16:				; in the segment
%assign i 0
%rep VECTORS
	dw LOW(trap16_%+i)
%assign i i + 1
%endrep

section .data
	align 8
snippet_at:
	dd BASE + SNIPPET
	dw 0
idt32_at:
	dw VECTORS * 8 - 1
	dd modes_idt32

section .bss nobits alloc write align=16
global modes_idt32
modes_idt32: resq VECTORS
saved_sp: resq 1
saved_cr0: resq 1
saved_cr3: resq 1
saved_cr4: resq 1
saved_efer: resq 1
saved_idt: resb 16
