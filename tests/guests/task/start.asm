; SPDX-License-Identifier: BSD-2-Clause
; The head of the kernel of hardware tasks: Multiboot leaves it in 32-bit protected mode,
; where it stays. What tasks run that are no C functions is here, too.

extern task_main, task_gdt, tss16_seen, user_seen

MB_MAGIC equ 0x1badb002
CODE equ 0x08
DATA equ 0x10
MAIN equ 0x20

section .head
	align 4
	dd MB_MAGIC, 3, -(MB_MAGIC + 3)

section .text
bits 32
global start
start:
	cli
	cld
	mov esp, stack_top
	lgdt [gdtr]
	jmp CODE:.flat
.flat:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov fs, eax
	mov gs, eax
	mov ss, eax
	call task_main
.halt:
	cli
	hlt
	jmp .halt

; A task: calls its function, EBX, with EDI; then goes back by IRET, or by a jump to the
; main task if the function says so, and on from here when it is entered again.
global task_entry, task_entry_error
task_entry:
	push edi
	call ebx
	add esp, 4
	test eax, eax
	jnz .jump
	iretd
	jmp task_entry
.jump:
	jmp MAIN:0
	jmp task_entry

; The same for exceptions that push an error code.
task_entry_error:
	pop dword [task_error]
	push edi
	call ebx
	add esp, 4
	iretd
	jmp task_entry_error

; A task of 16 bits, with 32-bit code: its segment begins here, its stack has 16 bits.
global tss16_entry
tss16_entry:
	pushfd
	pop dword [tss16_seen]
	str [tss16_seen + 4]
	mov [tss16_seen + 8], ebx
	mov [tss16_seen + 12], esp
	mov [tss16_seen + 16], fs
	mov ebx, 0x5678
	iretd
	jmp tss16_entry

; A task of CPL 3.
global user_entry
user_entry:
	mov [user_seen], cs
	mov [user_seen + 4], ss
	pushfd
	pop dword [user_seen + 8]
	iretd
	jmp user_entry

; Virtual-8086 code, copied below 1 MiB.
global v86_code, v86_end
v86_code:
bits 16
	mov ax, cs
	int 0x81
	jmp v86_code
v86_end:
bits 32

; The debug exception's handler, an interrupt gate.
global debug_handler
extern debug_seen
debug_handler:
	push eax
	mov eax, dr6
	mov [debug_seen], eax
	str [debug_seen + 4]
	mov eax, [esp + 4]
	mov [debug_seen + 8], eax
	xor eax, eax
	mov dr6, eax
	pop eax
	iretd

; Where a switch that faults is gone on from: EIP as the fault left it, then here.
global try_call, try_call_end
try_call:
	push ebx
	push esi
	push edi
	push ebp
	mov eax, [esp + 20]
	mov [far_pointer + 4], eax
	call far [far_pointer]
try_call_end:
	pop ebp
	pop edi
	pop esi
	pop ebx
	ret
section .data
	align 8
far_pointer:
	dd 0, 0
global task_error
task_error:
	dd 0
gdtr:
	dw 64 * 8 - 1
	dd task_gdt

section .stack nobits alloc write align=16
	resb 16384
stack_top:
