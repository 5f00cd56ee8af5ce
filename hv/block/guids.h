/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The GPT partition types of Amber's own, as the text that people and tools use
 * and as the 16 bytes of a partition entry (first three fields little-endian).
 * tools/mkimage reads the texts from this file: they are said once.
 */
#ifndef AMBER_BLOCK_GUIDS_H
#define AMBER_BLOCK_GUIDS_H

/* The reserved partition that holds the snapshot store. */
#define GUID_STORE_TEXT "7e3a9d52-41c6-4c0f-9d5b-0a4b65725f31"
#define GUID_STORE_BYTES                                                                           \
	{                                                                                          \
		0x52, 0x9d, 0x3a, 0x7e, 0xc6, 0x41, 0x0f, 0x4c, 0x9d, 0x5b, 0x0a, 0x4b, 0x65,      \
		    0x72, 0x5f, 0x31                                                               \
	}

/* A partition that is a guest's disk; manifests find it by its label. */
#define GUID_GUEST_DISK_TEXT "7e3a9d52-41c6-4c0f-9d5b-0a4b65725f32"
#define GUID_GUEST_DISK_BYTES                                                                      \
	{                                                                                          \
		0x52, 0x9d, 0x3a, 0x7e, 0xc6, 0x41, 0x0f, 0x4c, 0x9d, 0x5b, 0x0a, 0x4b, 0x65,      \
		    0x72, 0x5f, 0x32                                                               \
	}

#endif
