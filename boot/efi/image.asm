; SPDX-License-Identifier: BSD-2-Clause
; The hypervisor's flat image as part of the EFI program, so that one file boots.
section .rodata align=16
global hv_blob, hv_blob_end
hv_blob:
	incbin HV_BIN
hv_blob_end:

section .note.GNU-stack noalloc noexec nowrite progbits
