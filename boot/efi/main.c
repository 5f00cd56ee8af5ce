/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The EFI program: places the hypervisor that it carries in memory, collects what
 * it needs to know (hv/boot_info.h), ends the firmware's boot services and jumps.
 * Until then every error is one sentence on the firmware's console and a return to
 * the firmware; after that nothing can fail.
 */
#include "boot/efi/loader.h"

EFI_SYSTEM_TABLE *st;
EFI_BOOT_SERVICES *bs;

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
/* gnu-efi's start-up code calls efi_main up to 3.0.15, _entry from 3.0.18 on. */
EFI_STATUS _entry(EFI_HANDLE image, EFI_SYSTEM_TABLE *table) __attribute__((alias("efi_main")));

enum {
	STACK_BYTES = 64 << 10,
	IMAGE_MAX = 64 << 20, /* linker.ld holds to the same */
	EXIT_TRIES = 8,
	CR4_LA57 = 1 << 12,
};
#define IMAGE_ALIGN (2ULL << 20)
#define FOUR_GIB    (1ULL << 32)

static const char *check_cpu(void)
{
	uint64_t cr4;

	/* To leave five-level paging, long mode has to be left: no firmware known uses it. */
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	return cr4 & CR4_LA57 ? "the firmware runs with 5-level paging, which is not supported"
			      : NULL;
}

static const char *check_image(const struct hv_image_header *h)
{
	uint64_t blob = (uint64_t)hv_blob_end - (uint64_t)hv_blob;

	if (blob < sizeof(*h) || h->magic != BOOT_INFO_MAGIC)
		return "the hypervisor image has no header";
	if (h->file_size != blob || h->mem_size < blob || h->mem_size > IMAGE_MAX)
		return "the hypervisor image's header has impossible sizes";
	if (h->entry < HV_IMAGE_BASE || h->entry - HV_IMAGE_BASE >= h->file_size)
		return "the hypervisor image's entry lies outside of it";
	return NULL;
}

/* Below 4 GiB, aligned for large pages: allocated with room to align, the rest given back. */
static const char *place_image(struct boot_info *bi, const struct hv_image_header *h)
{
	uint64_t size = (h->mem_size + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
	uint64_t room = size + IMAGE_ALIGN - PAGE_BYTES;
	uint64_t got = pages_alloc(room, FOUR_GIB - 1), at;

	if (!got)
		return "out of memory for the hypervisor image";
	at = (got + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
	if (at > got)
		bs->FreePages(got, PAGES(at - got));
	if (got + room > at + size)
		bs->FreePages(at + size, PAGES(got + room - at - size));
	memcpy((void *)at, hv_blob, h->file_size);
	bi->image_phys = at;
	bi->image_size = size;
	return NULL;
}

static struct boot_info *make_info(void)
{
	struct boot_info *bi = (void *)pages_alloc(sizeof(*bi), FOUR_GIB - 1);

	if (bi) {
		bi->magic = BOOT_INFO_MAGIC;
		bi->version = BOOT_INFO_VERSION;
		bi->size = sizeof(*bi);
	}
	return bi;
}

static void report(const struct boot_info *bi)
{
	char count[3] = {'0' + bi->nfiles / 10, '0' + bi->nfiles % 10, 0};

	say("Amber ", AMBER_VERSION, ": ", bi->nfiles < 10 ? count + 1 : count,
	    bi->nfiles == 1 ? " file" : " files", " loaded\n", NULL);
	if (bi->complaint[0])
		say(bi->complaint, "\n", NULL);
}

/*
 * Nothing between taking the map and ExitBootServices: any call may change the map
 * and so void its key. After a first refusal only these two are allowed at all.
 */
static EFI_STATUS exit_boot_services(EFI_HANDLE image, struct efi_map *m)
{
	EFI_STATUS s = EFI_LOAD_ERROR;

	for (int i = 0; i < EXIT_TRIES && s != EFI_SUCCESS; i++) {
		s = map_take(m);
		if (s == EFI_SUCCESS)
			s = bs->ExitBootServices(image, m->key);
	}
	return s;
}

/* Returns only to say why not. */
static const char *boot(EFI_HANDLE image)
{
	const struct hv_image_header *h = (const void *)hv_blob;
	struct handover to = {0};
	struct efi_map map = {0};
	const char *wrong = check_cpu();

	if (!wrong)
		wrong = check_image(h);
	if (wrong)
		return wrong;
	to.info = make_info();
	to.stack_top = pages_alloc(STACK_BYTES, FOUR_GIB - 1);
	if (!to.info || !to.stack_top)
		return "out of memory";
	to.stack_top += STACK_BYTES;
	to.entry = h->entry;
	wrong = place_image(to.info, h);
	if (wrong)
		return wrong;

	/* Loading large payloads may take longer than the firmware's watchdog waits. */
	bs->SetWatchdogTimer(0, 0, 0, NULL);
	files_load(to.info, image);
	platform_query(to.info);
	report(to.info);

	if (map_prepare(&map) != EFI_SUCCESS)
		return "the firmware gives no memory map";
	to.cr3 = paging_build(&map, to.info->image_phys, to.info->image_size);
	if (!to.cr3)
		return "out of memory for page tables";
	if (exit_boot_services(image, &map) != EFI_SUCCESS)
		return "the firmware refuses to end its boot services";

	__asm__ volatile("cli");
	devices_quiet();
	map_convert(&map, to.info);
	enter_hypervisor(&to);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	const char *wrong;

	st = table;
	bs = table->BootServices;
	wrong = boot(image);
	say("Amber cannot start: ", wrong, ".\n", NULL);
	return EFI_LOAD_ERROR;
}
