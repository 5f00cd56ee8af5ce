/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks the firmware about the machine: tables, screen, clock rate, a low page. */
#include "boot/efi/loader.h"

enum {
	UART_COM1 = 0x3f8,
	STALL_US = 10000,
	STALL_TRIES = 3,
	/* A start-up IPI names a page below 1 MiB; from 640 KiB on there is no RAM. */
	LOW_PAGE_MAX = 0x9ffff,
};

static uint64_t config_table(const EFI_GUID *id)
{
	for (UINTN i = 0; i < st->NumberOfTableEntries; i++)
		if (guid_equal(&st->ConfigurationTable[i].VendorGuid, id))
			return (uint64_t)st->ConfigurationTable[i].VendorTable;
	return 0;
}

/* The newer table of two, the older if only that is there. */
static uint64_t newer_table(EFI_GUID newer, EFI_GUID older)
{
	uint64_t at = config_table(&newer);

	return at ? at : config_table(&older);
}

static void query_framebuffer(struct boot_framebuffer *fb)
{
	EFI_GUID id = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;

	if (bs->LocateProtocol(&id, NULL, (void **)&gop) != EFI_SUCCESS || !gop->Mode ||
	    !gop->Mode->Info || gop->Mode->Info->PixelFormat == PixelBltOnly)
		return;
	fb->addr = gop->Mode->FrameBufferBase;
	fb->size = gop->Mode->FrameBufferSize;
	fb->width = gop->Mode->Info->HorizontalResolution;
	fb->height = gop->Mode->Info->VerticalResolution;
	fb->stride = gop->Mode->Info->PixelsPerScanLine;
	fb->format = gop->Mode->Info->PixelFormat;
}

static uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

/* Stall never returns early, but may be late: the shortest of a few is the nearest. */
static uint64_t measure_tsc(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < STALL_TRIES; i++) {
		uint64_t t = rdtsc();

		if (bs->Stall(STALL_US) != EFI_SUCCESS)
			return 0;
		t = rdtsc() - t;
		if (t < best)
			best = t;
	}
	return best * (1000000 / STALL_US);
}

void platform_query(struct boot_info *bi)
{
	EFI_GUID acpi20 = ACPI_20_TABLE_GUID, acpi10 = ACPI_TABLE_GUID;
	EFI_GUID smbios3 = SMBIOS3_TABLE_GUID, smbios = SMBIOS_TABLE_GUID;

	bi->rsdp = newer_table(acpi20, acpi10);
	bi->smbios = newer_table(smbios3, smbios);
	bi->runtime_services = (uint64_t)st->RuntimeServices;
	bi->ap_page = pages_alloc(PAGE_BYTES, LOW_PAGE_MAX);
	bi->uart_port = UART_COM1;
	bi->tsc_hz = measure_tsc();
	query_framebuffer(&bi->fb);
}
