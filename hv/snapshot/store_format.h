/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where each byte of a store lies on disk (docs/snapshot-format.md tells the same in
 * words). Nothing here is a struct: fields are read and written at these offsets,
 * little-endian, and nowhere else (I5). Names and numbers are append-only.
 */
#ifndef AMBER_SNAPSHOT_STORE_FORMAT_H
#define AMBER_SNAPSHOT_STORE_FORMAT_H

#include "hv/lib/types.h"

enum {
	STORE_VERSION = 1,
	STORE_BLOCK = 4096,
	STORE_HEAD_BLOCKS = 16,	 /* superblocks 0 and 1, the rest reserved */
	STORE_MIN_BLOCKS = 512,	 /* a smaller partition is not formatted */
	STORE_CHUNK = 64 * 1024, /* an extent lies within one aligned chunk of its object */
	STORE_CHUNK_BLOCKS = STORE_CHUNK / STORE_BLOCK,
	STORE_TREE_LEVELS = 10, /* a tree of more is refused */
	STORE_NAME_MAX = 63,
	STORE_CHAIN_MAX = 32, /* objects in a chain of parents; a longer one is refused */
};

#define STORE_BLOCKS_MAX (1ULL << 40) /* 4 PiB; block numbers have 48 bits in extents */

/* The superblock: the first 512 bytes of block 0 (even generations) or 1 (odd ones). */
enum store_super_offset {
	SB_MAGIC = 0, /* 8 bytes: "AMBRSTOR" */
	SB_VERSION = 8,
	SB_BLOCK_SIZE = 12,
	SB_COMPAT = 16,	   /* u64: features that a reader and writer may ignore */
	SB_RO_COMPAT = 24, /* u64: features that only a reader may ignore */
	SB_INCOMPAT = 32,  /* u64: enum store_incompat: features that nobody may ignore */
	SB_UUID = 40,	   /* 16 bytes */
	SB_NBLOCKS = 56,
	SB_GENERATION = 64,
	SB_NEXT_OBJECT = 72,
	SB_FREE = 80,	     /* blocks with reference count 0 */
	SB_TREE_PTR = 88,    /* enum store_ptr_offset */
	SB_TREE_LEVEL = 112, /* u32: 0 if the root is a leaf */
	SB_MAP_LEVEL = 116,  /* u32: level of the root of the reference map */
	SB_MAP_GEN = 120,    /* u64: the map's root, as enum store_map_entry_offset */
	SB_MAP_CRC = 128,    /* u32 */
	SB_MAP_SLOT = 132,   /* u32 */
	SB_CRC = 508,	     /* u32: CRC-32C of the 508 bytes before */
	SB_BYTES = 512,
};
#define SB_MAGIC_TEXT "AMBRSTOR"

/* A bit is set by the first commit that needs it, and stays. */
enum store_incompat {
	SBI_PARENTS = 1, /* objects may have parents (OB_PARENT) */
	SBI_DISKS = 2,	 /* there are, or were, disks: OBJ_DISKS, REC_DISK_CHUNK */
	SBI_KNOWN = SBI_PARENTS | SBI_DISKS,
};

/* The header of every metadata block. */
enum store_header_offset {
	MH_MAGIC = 0, /* u32 */
	MH_TYPE = 4,  /* u16: enum store_block_type */
	MH_LEVEL = 6, /* u16: 0 for leaves */
	MH_BLOCK = 8, /* u64: the block's own number */
	MH_GENERATION = 16,
	MH_UUID = 24,  /* 16 bytes: the store's */
	MH_ITEMS = 40, /* u32: items of a tree node; 0 in the map */
	MH_INDEX = 48, /* u64: place of a map node within its level; 0 in the tree */
	MH_CRC = 60,   /* u32: CRC-32C of the block with this field as zeros */
	MH_BYTES = 64,
};
#define MH_MAGIC_VALUE 0x4b4c4241u /* "ABLK" */

enum store_block_type { BLOCK_TREE = 1, BLOCK_MAP_LEAF = 2, BLOCK_MAP_INNER = 3 };

/* A tree node's slots follow the header; their data grow down from the block's end, in slot order.
 */
enum store_slot_offset {
	SLOT_OBJECT = 0,    /* u64 */
	SLOT_OFFSET = 8,    /* u64 */
	SLOT_TYPE = 16,	    /* u32 */
	SLOT_DATA_OFF = 20, /* u16: from the start of the block */
	SLOT_DATA_LEN = 22, /* u16 */
	SLOT_BYTES = 24,
};
enum { NODE_ROOM = STORE_BLOCK - MH_BYTES, NODE_ITEM_MAX = NODE_ROOM / 3 - SLOT_BYTES };

/* The data of an item in an inner node: a child. */
enum store_ptr_offset {
	PTR_BLOCK = 0,
	PTR_GENERATION = 8,
	PTR_CRC = 16, /* u32: the child's MH_CRC */
	PTR_ZERO = 20,
	PTR_BYTES = 24,
};

/*
 * The reference map. Blocks from STORE_HEAD_BLOCKS on form groups; a group begins
 * with the slots of the map nodes that live there, two for each.
 */
enum {
	MAP_LEAF_COUNTS = (STORE_BLOCK - MH_BYTES) / 2, /* u16 counts in a leaf: blocks per group */
	MAP_GROUP_MIN = 32,				/* a shorter last group is not used */
	MAP_LEVELS_MAX = 4,
	MAP_COUNT_MAX = 0xfffe,
};
enum store_map_entry_offset {
	MAP_GEN = 0,   /* u64; 0: the child was never written and is as at formatting */
	MAP_FREE = 8,  /* u64: blocks with count 0 below */
	MAP_CRC = 16,  /* u32: the child's MH_CRC */
	MAP_SLOT = 20, /* u32: which of its two slots holds the child */
	MAP_ENTRY_BYTES = 24,
	MAP_FANOUT = (STORE_BLOCK - MH_BYTES) / MAP_ENTRY_BYTES, /* 168 */
};

/* Objects with fixed numbers hold the lists of the store. */
enum store_object {
	OBJ_CATALOG = 1, /* REC_SNAPSHOT, by hash of the name */
	OBJ_ORPHANS = 2, /* REC_ORPHAN, by object number: begun or half deleted */
	OBJ_EPOCHS = 3,	 /* REC_EPOCH, by hash of the partition's GUID */
	OBJ_DISKS = 4,	 /* REC_VDISK, by hash of the name */
	OBJ_FIRST = 16,	 /* the first of all others */
};

/* Types at and above REC_OPTIONAL may be ignored by a reader that does not know them; others not.
 */
enum store_record {
	REC_SNAPSHOT = 1,
	REC_ORPHAN = 2, /* no data */
	REC_EPOCH = 3,
	REC_VDISK = 4,
	REC_OBJECT = 16,
	REC_DISK = 17,
	REC_EXTENT = 18,
	REC_DISK_CHUNK = 19, /* in objects of KIND_DISK, which have no extents */
	REC_OPTIONAL = 0x8000,
	REC_WORKING_SET = 0x8000, /* in state objects, numbered from 0 */
};

/* Each entry: u64: address of a piece, a multiple of STORE_CHUNK, + how many from there on. */
enum store_working_set {
	WS_ENTRY_BYTES = 8,
	WS_ENTRIES = 160,      /* in a record, at most */
	WS_PIECES_MAX = 16384, /* in all of a snapshot's records */
};

enum store_extent_offset {
	EX_RAW_LEN = 0,	   /* u32: bytes of the object, 1..STORE_CHUNK */
	EX_STORED_LEN = 4, /* u32: bytes after encoding; the rest of the last block is zero */
	EX_CRC = 8,	   /* u32: CRC-32C of the stored blocks, whole */
	EX_ENCODING = 12,  /* u8: enum store_encoding */
	EX_FLAGS = 13,	   /* u8: 0 */
	EX_NRUNS = 14,	   /* u16: 0..STORE_CHUNK_BLOCKS */
	EX_RUNS = 16,	   /* nruns times u64: first block << 16 | number of blocks */
};
enum store_encoding { ENC_NONE = 0, ENC_LZ4 = 1, ENC_ZERO = 2 };

enum store_object_offset {
	OB_KIND = 0,	 /* u32: enum store_object_kind */
	OB_FLAGS = 4,	 /* u32: enum store_object_flag */
	OB_SIZE = 8,	 /* u64: end of the last byte, holes included */
	OB_EXTENTS = 16, /* u64: number of extents */
	OB_RAW = 24,	 /* u64: sum of their raw lengths */
	OB_BLOCKS = 32,	 /* u64: sum of their blocks */
	OB_LINKS = 40, /* u32: snapshots and children that refer to it; of an orphan: no meaning */
	OB_INDEX_CRC = 44, /* u32: CRC-32C over, for each extent in order, its offset (u64) and EX_
			      bytes 0 to 13 */
	OB_CONTENT_CRC = 48, /* u32: CRC-32C of the content (state); 0 (RAM) */
	OB_PARENT = 56,	     /* u64: object that holes fall through to, of the same kind and with a
				smaller number; 0: holes are zeros */
	OB_BYTES = 64,
};
enum store_object_kind { KIND_STATE = 1, KIND_RAM = 2, KIND_DISK = 3 };
enum store_object_flag { OBJ_COMPLETE = 1 };

enum store_snapshot_offset {
	SN_VERSION = 0,	 /* u16: 1 */
	SN_NAME_LEN = 2, /* u16 */
	SN_VM_LEN = 4,	 /* u16 */
	SN_DISKS = 6,	 /* u16: REC_DISK records of the state object */
	SN_FLAGS = 8,	 /* u32: 0 */
	SN_FORMAT = 12,	 /* u32: version of the state tree's schema */
	SN_ID = 16,	 /* 16 bytes */
	SN_PARENT = 32,	 /* 16 bytes: zeros: none */
	SN_CREATED = 48, /* u64: nanoseconds since 1970 */
	SN_STATE = 56,	 /* u64: object */
	SN_RAM = 64,	 /* u64: object */
	SN_MEMORY = 72,	 /* u64: bytes of the machine's RAM */
	SN_STATE_BYTES = 80,
	SN_RAM_CHUNKS = 88,  /* u64: as OB_EXTENTS */
	SN_RAM_RAW = 96,     /* u64: as OB_RAW */
	SN_RAM_BLOCKS = 104, /* u64: as OB_BLOCKS */
	SN_STRINGS = 128,    /* the name, then the VM's name, without NULs */
};

enum store_disk_offset {
	DK_GUID = 0,	  /* 16 bytes: the partition's */
	DK_EPOCH = 16,	  /* u64: its write epoch */
	DK_OVERLAY = 24,  /* u64: object; 0: none */
	DK_FLAGS = 32,	  /* u32: 0 */
	DK_NAME_LEN = 36, /* u16 */
	DK_NAME = 40,
};

/* What a layer of a disk holds of an aligned STORE_CHUNK: a record only if it holds something. */
enum store_disk_chunk_offset {
	DC_DATA = 0,   /* u16: bit i: block i of the chunk is stored */
	DC_ZERO = 2,   /* u16: bit i: block i reads as zeros */
	DC_FLAGS = 4,  /* u32: 0 */
	DC_BLOCKS = 8, /* for each bit in DC_DATA, in ascending order: */
	DC_BLOCK = 0,  /* u64: the block */
	DC_CRC = 8,    /* u32: its CRC-32C */
	DC_BLOCK_BYTES = 12,
};

/* A disk that lives in the store. */
enum store_vdisk_offset {
	VD_VERSION = 0,	    /* u16: 1 */
	VD_NAME_LEN = 2,    /* u16 */
	VD_BASE_LEN = 4,    /* u16 */
	VD_BASE_KIND = 6,   /* u16: enum vdisk_base_kind */
	VD_FLAGS = 8,	    /* u32: 0 */
	VD_TOP = 16,	    /* u64: object: the layer that is written */
	VD_SIZE = 24,	    /* u64: bytes */
	VD_BASE_GUID = 32,  /* 16 bytes: the partition's; else zeros */
	VD_BASE_EPOCH = 48, /* u64: its write epoch */
	VD_BASE_SIZE = 56,  /* u64: bytes */
	VD_BASE_CRC = 64,   /* u32: CRC-32C of the payload file; else 0 */
	VD_STRINGS = 72,    /* the name, then the base's name, without NULs */
};
enum vdisk_base_kind { VDISK_BASE_NONE = 0, VDISK_BASE_PARTITION = 1, VDISK_BASE_PAYLOAD = 2 };

enum store_epoch_offset { EP_GUID = 0, EP_EPOCH = 16, EP_BYTES = 24 };

#endif
