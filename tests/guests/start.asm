; SPDX-License-Identifier: BSD-2-Clause
; The head of a test guest: a bzImage (Linux, Documentation/arch/x86/boot.rst)
; with a 64-bit entry only. Long mode is on, memory below 4 GiB is mapped one to one.

bits 64
extern guest_main
extern guest_bss_start, guest_bss_end, guest_syssize

section .setup
	times 0x1f1 db 0
	db 1				; setup_sects
	dw 0				; root_flags
	dd guest_syssize		; of the payload, in 16 bytes
	dw 0, 0xffff, 0			; ram_size, vid_mode, root_dev
	dw 0xaa55			; boot_flag
	jmp short $ + 0x66		; jump over the header
	db "HdrS"
	dw 0x020f			; protocol version
	dd 0				; realmode_swtch
	dw 0, 0				; start_sys_seg, kernel_version
	db 0				; type_of_loader
	db 1				; loadflags: LOADED_HIGH
	dw 0				; setup_move_size
	dd 0x100000			; code32_start
	dd 0, 0, 0			; ramdisk_image, ramdisk_size, bootsect_kludge
	dw 0				; heap_end_ptr
	db 0, 0				; ext_loader_ver, ext_loader_type
	dd 0				; cmd_line_ptr
	dd 0x7fffffff			; initrd_addr_max
	dd 0x200000			; kernel_alignment
	db 0, 21			; relocatable_kernel, min_alignment
	dw 1				; xloadflags: 64-bit entry
	dd 2047				; cmdline_size
	dd 0				; hardware_subarch
	dq 0				; hardware_subarch_data
	dd 0, 0				; payload_offset, payload_length
	dq 0				; setup_data
	dq 0x200000			; pref_address
	dd 0x400000			; init_size
	dd 0, 0				; handover_offset, kernel_info_offset
	times 1024 - ($ - $$) db 0

section .text.start
	times 0x200 db 0xf4		; the 32-bit entry: not offered
global _start
_start:
	cli
	cld
	mov rsp, stack_top
	mov rbx, rsi			; boot_params
	mov rdi, guest_bss_start
	mov rcx, guest_bss_end
	sub rcx, rdi
	xor eax, eax
	rep stosb
	mov rdi, rbx
	call guest_main
.halt:
	cli
	hlt
	jmp .halt

%include "traps.inc"

section .stack nobits alloc write
	resb 65536
stack_top:
