/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AHCI (Serial ATA Advanced Host Controller Interface 1.3.1): registers, the
 * structures in memory, and what the two halves of the driver share: ahci.c has
 * the controller, ahci_port.c a port and its disk.
 */
#ifndef AMBER_DRV_AHCI_H
#define AMBER_DRV_AHCI_H

#include "hv/block/block.h"
#include "hv/core/thread.h"
#include "hv/drv/ata.h"
#include "hv/drv/pci.h"
#include "hv/lib/types.h"

enum { AHCI_PORTS = 32, AHCI_SLOTS = 32 };

/* Controller registers (section 3.1). */
enum ahci_reg {
	AHCI_CAP = 0x00,
	AHCI_GHC = 0x04,
	AHCI_IS = 0x08,
	AHCI_PI = 0x0c,
	AHCI_VS = 0x10,
	AHCI_CAP2 = 0x24,
	AHCI_BOHC = 0x28,
	AHCI_PORT0 = 0x100, /* the registers of port 0 */
	AHCI_PORT_SIZE = 0x80,
};
enum ahci_cap {
	AHCI_CAP_NCS = 0x1f << 8, /* command slots, less one */
	AHCI_CAP_SCLO = 1 << 24,
	AHCI_CAP_SNCQ = 1 << 30,
};
#define AHCI_CAP_S64A (1u << 31)
enum ahci_ghc { AHCI_GHC_HR = 1 << 0, AHCI_GHC_IE = 1 << 1 };
#define AHCI_GHC_AE (1u << 31)
enum ahci_cap2 { AHCI_CAP2_BOH = 1 << 0 };
enum ahci_bohc { AHCI_BOHC_BOS = 1 << 0, AHCI_BOHC_OOS = 1 << 1, AHCI_BOHC_BB = 1 << 4 };

/* Port registers (section 3.3). */
enum ahci_port_reg {
	PX_CLB = 0x00,
	PX_CLBU = 0x04,
	PX_FB = 0x08,
	PX_FBU = 0x0c,
	PX_IS = 0x10,
	PX_IE = 0x14,
	PX_CMD = 0x18,
	PX_TFD = 0x20,
	PX_SIG = 0x24,
	PX_SSTS = 0x28,
	PX_SCTL = 0x2c,
	PX_SERR = 0x30,
	PX_SACT = 0x34,
	PX_CI = 0x38,
};
/* PxIS and PxIE (section 3.3.5) */
enum px_is {
	PX_IS_DHRS = 1 << 0, /* register FIS from the device */
	PX_IS_PSS = 1 << 1,
	PX_IS_DSS = 1 << 2,
	PX_IS_SDBS = 1 << 3, /* Set Device Bits FIS: queued commands done */
	PX_IS_UFS = 1 << 4,  /* unknown FIS */
	PX_IS_DPS = 1 << 5,
	PX_IS_PCS = 1 << 6,   /* something was plugged in */
	PX_IS_PRCS = 1 << 22, /* the link went or came */
	PX_IS_OFS = 1 << 24,  /* more data than room for it */
	PX_IS_INFS = 1 << 26, /* interface error that the controller retries */
	PX_IS_IFS = 1 << 27,  /* interface error, fatal */
	PX_IS_HBDS = 1 << 28, /* host memory: data error */
	PX_IS_HBFS = 1 << 29, /* host memory: fatal */
	PX_IS_TFES = 1 << 30, /* the device reports an error */
};
#define PX_IS_DONE (PX_IS_DHRS | PX_IS_PSS | PX_IS_SDBS)
#define PX_IS_LINK                                                                                 \
	(PX_IS_UFS | PX_IS_PCS | PX_IS_PRCS | PX_IS_OFS | PX_IS_IFS | PX_IS_HBDS | PX_IS_HBFS)
#define PX_IS_ERROR (PX_IS_LINK | PX_IS_TFES)
enum px_cmd {
	PX_CMD_ST = 1 << 0,
	PX_CMD_SUD = 1 << 1,
	PX_CMD_POD = 1 << 2,
	PX_CMD_CLO = 1 << 3,
	PX_CMD_FRE = 1 << 4,
	PX_CMD_FR = 1 << 14,
	PX_CMD_CR = 1 << 15,
	PX_CMD_ICC_ACTIVE = 1 << 28,
};
#define PX_CMD_ICC 0xf0000000U
enum px_sctl {
	PX_SCTL_DET = 0xf,
	PX_SCTL_DET_RESET = 1,
	PX_SCTL_IPM_NONE = 3 << 8, /* no partial or slumber states */
};
enum px_ssts { PX_SSTS_DET = 0xf, PX_SSTS_DET_UP = 3 };
enum px_sig { PX_SIG_ATA = 0x00000101 };
#define PX_SIG_ATAPI 0xeb140101u
#define PX_SIG_PM    0x96690101u

/* Command header (section 4.2.2). */
struct ahci_header {
	uint16_t flags; /* FIS length in dwords; AHCI_HEADER_* */
	uint16_t prdtl;
	uint32_t prdbc;
	uint32_t ctba, ctbau;
	uint32_t reserved[4];
};
_Static_assert(sizeof(struct ahci_header) == 32, "AHCI 1.3.1, section 4.2.2");
enum { AHCI_HEADER_WRITE = 1 << 6 };

/* Physical region descriptor (section 4.2.3.3). */
struct ahci_prd {
	uint32_t dba, dbau;
	uint32_t reserved;
	uint32_t dbc; /* bytes less one: odd, at most 4 MiB less one */
};
_Static_assert(sizeof(struct ahci_prd) == 16, "AHCI 1.3.1, section 4.2.3.3");

/* Command table (section 4.2.3): 128-byte aligned, and so is its size with 64 regions. */
struct ahci_table {
	uint8_t cfis[64];
	uint8_t acmd[16];
	uint8_t reserved[48];
	struct ahci_prd prd[BLK_MAX_SG];
};
_Static_assert(sizeof(struct ahci_table) % 128 == 0, "AHCI 1.3.1, section 4.2.2: CTBA");

/* All memory of a port that the controller reads and writes: one block of frames. */
struct ahci_dma {
	struct ahci_header header[AHCI_SLOTS]; /* 1 KiB aligned */
	uint8_t fis[256];		       /* received FIS; 256-byte aligned */
	uint8_t unused[256];
	uint8_t block[SECTOR_SIZE]; /* data of IDENTIFY and TRIM */
	struct ahci_table table[AHCI_SLOTS] __attribute__((aligned(128)));
};
_Static_assert(offsetof(struct ahci_dma, fis) % 256 == 0, "AHCI 1.3.1, section 3.3.3");
enum { AHCI_DMA_ORDER = 4 };
_Static_assert(sizeof(struct ahci_dma) <= PAGE_SIZE << AHCI_DMA_ORDER, "frames of a port");

enum ahci_state {
	AHCI_READY,
	AHCI_RECOVERING, /* the port's thread has it; requests queue up */
	AHCI_DEAD,	 /* requests fail at once */
};

struct ahci_slot {
	struct blk_req *req;
	uint64_t deadline;
};

/* A port with a disk. */
struct ahci_port {
	struct blk_dev dev;
	volatile uint8_t *regs;
	struct ahci_dma *dma;
	unsigned number;
	unsigned depth; /* slots in use, 1..32 */
	bool ncq;
	struct ata_disk disk;

	struct spinlock lock; /* requests: down to watch */
	enum ahci_state state;
	struct list pending; /* requests that wait for a slot, oldest first */
	uint32_t issued;     /* slots with a command */
	bool alone; /* the one command issued is not queued: nothing else until it is done */
	struct ahci_slot slot[AHCI_SLOTS];
	bool watching;
	struct timer watch; /* runs only while requests are in flight */

	/*
	 * What wakes the thread, under a lock of its own, taken inside the other: the
	 * interrupt handler never waits while commands are being issued.
	 */
	struct spinlock wake_lock;
	uint32_t
	    irq_status; /* PxIS bits taken by the interrupt handler and not yet by the thread */
	bool check;	/* the watch timer wants the thread to look */
	struct waitq wq;

	/* the thread's own */
	unsigned timeouts; /* in a row, with no request completed between them */
	uint32_t error_tfd, error_is;
	bool timed_out;
};

/*
 * Takes over port 'number' with the registers at regs, whose link is up: finds
 * out what is there and prepares it for requests. *out = NULL and OK for
 * something that is no disk. name: the block device's. Thread context; waits.
 */
int ahci_port_create(volatile uint8_t *regs, unsigned number, uint32_t cap, const char *name,
    struct ahci_port **out, struct errmsg *e) MUST_CHECK;
/* Starts the port's thread and interrupts, and registers the disk. Thread context; waits. */
int ahci_port_start(struct ahci_port *p, struct errmsg *e) MUST_CHECK;
/* Interrupt context: takes the port's interrupt status and wakes its thread. */
void ahci_port_interrupt(struct ahci_port *p);

/* Starts the link of a port without memory of its own yet. */
void ahci_port_power_up(volatile uint8_t *regs);
/* True if something is connected and the link is up; waits while it comes up. Thread context. */
bool ahci_port_link(volatile uint8_t *regs);

#endif
