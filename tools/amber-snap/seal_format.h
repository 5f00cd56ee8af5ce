/* SPDX-License-Identifier: BSD-2-Clause */
/* Constants of a portable file: docs/snapshot-format.md, "Portable file". */
#ifndef AMBER_SNAP_SEAL_FORMAT_H
#define AMBER_SNAP_SEAL_FORMAT_H

#define SEAL_MAGIC "AMBRPORT"

enum { SEAL_VERSION = 1, SEAL_HEADER = 128, SEAL_FRAME = 65536 };

/* Offsets in the header. */
enum seal_header {
	SH_VERSION = 8, /* 4 */
	SH_FLAGS = 12,	/* 4, enum seal_flag */
	SH_SIZE = 16,	/* 8: bytes of the content */
	SH_PASSES = 24, /* 4: Argon2id's */
	SH_KIB = 28,	/* 4 */
	SH_SALT = 32,	/* 16 */
	SH_STREAM = 48, /* 24: the secret stream's header */
	SH_CRC = 124,	/* 4: of all before */
};

enum seal_flag {
	SEAL_COMPRESSED = 1 << 0, /* the frames together are one Zstandard frame of the content */
	SEAL_ENCRYPTED = 1 << 1,
	SEAL_PASSPHRASE = 1 << 2, /* the key is made from one */
	SEAL_FLAGS = 7,
};

/* What stands before or behind the content of a frame, and what its tag says. */
enum { SEAL_PLAIN_EXTRA = 5, SEAL_CIPHER_EXTRA = 17 };
enum seal_tag { TAG_MORE = 0, TAG_LAST = 3 };

/* A window that a reader has to keep at most, as a power of two (8 MiB). */
enum { SEAL_WINDOW_LOG = 23, SEAL_LEVEL = 3 };
/* Of the content; STORE_MIN_BLOCKS is the least. */
#define SEAL_SIZE_MAX (16ULL << 40)

#endif
