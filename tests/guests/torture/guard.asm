; SPDX-License-Identifier: BSD-2-Clause
; Into danger and back: calls that may be given up, entry of any mode, and the
; code below 1 MiB by which other CPUs come (back) to long mode.

bits 64
section .text

; guard_call(cpu, fn): a trap that gives up goes on at guard_resume with the stack of here.
global guard_call, guard_resume
guard_call:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [rdi], rsp
	call rsi
guard_resume:
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; enter(struct entry *, cr3)
global enter
enter:
	cli
	mov cr3, rsi
	mov rsp, rdi
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rdi
	pop rsi
	pop rbp
	pop rbx
	pop rdx
	pop rcx
	pop rax
	iretq

; Copied to 8000h. What it is told (cpu.c): see 'low' there.
LOW		equ 0x8e00
LOW_TRIP	equ LOW		; enum trip
LOW_CR3		equ LOW + 4
LOW_ENTRY	equ LOW + 8	; of the kernel, in long mode
LOW_GDTR	equ LOW + 16
LOW_IDTR	equ LOW + 24	; with gates of 32 bits
LOW_TSS32	equ LOW + 32	; selector of the first CPU's
LOW_IDTR64	equ LOW + 128
LOW_FRAME	equ LOW + 40	; POPAD's, then IRETD's
LOW_FAR		equ LOW + 120	; real mode: where to

%define AT(label) (label - trampoline + 0x8000)

section .rodata
global trampoline, trampoline_real_trap, trampoline_protected_trap, trampoline_end
bits 16
trampoline:
	cli
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7000
	cmp byte [LOW_TRIP], 1
	jne to_protected
	mov sp, LOW_FRAME
	popad
	mov sp, 0x7000
	sti
	jmp far [LOW_FAR]

; every vector of real mode
trampoline_real_trap:
	cli
	xor ax, ax
	mov ds, ax
	mov byte [LOW_TRIP], 0
to_protected:
	o32 lgdt [LOW_GDTR]
	o32 lidt [LOW_IDTR]	; an NMI may come at any time
	mov eax, 0x11
	mov cr0, eax
	jmp dword 0x48:AT(protected)

bits 32
protected:
	mov ax, 0x18
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov fs, ax
	mov gs, ax
	mov esp, 0x6000
	cmp byte [LOW_TRIP], 2
	jb go_long
	mov eax, 1
	cpuid
	shr ebx, 24
	and ebx, 7
	lea eax, [ebx * 8]
	add eax, [LOW_TSS32]
	ltr ax
	mov esp, LOW_FRAME
	popad
	iretd

; every vector of protected mode, with error code or without
trampoline_protected_trap:
	mov ax, 0x18
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov byte [LOW_TRIP], 0
go_long:
	xor eax, eax
	mov dr7, eax
	inc eax
	cpuid
	shr ebx, 24
	and ebx, 7
	mov edi, ebx
	mov eax, 0x620		; PAE, OSFXSR, OSXMMEXCPT
	mov cr4, eax
	mov eax, [LOW_CR3]
	mov cr3, eax
	mov ecx, 0xc0000080
	mov eax, 0x901		; SCE, LME, NXE
	xor edx, edx
	wrmsr
	lea eax, [edi * 2]
	lea eax, [eax * 8 + 0x60]
	ltr ax			; for the stacks of what may come in the next step
	mov eax, 0x80010033	; PG, WP, NE, ET, MP, PE
	lidt [LOW_IDTR64]
	mov cr0, eax
	jmp dword 0x10:AT(in_long)

bits 64
in_long:
	lea ebx, [edi + 1]
	shl ebx, 16
	add ebx, 6 << 20	; STACKS
	mov esp, ebx
	sub esp, 64
	mov eax, [LOW_ENTRY]
	call rax
	hlt
trampoline_end:
