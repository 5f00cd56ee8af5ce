/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads the configuration from the volume that the loader was started from: every
 * \amber\*.dtb, then each file that one of them names, once. Nothing here stops the
 * boot: a damaged or missing configuration still gets the operator a console, with
 * the complaint printed there.
 */
#include "boot/efi/loader.h"

enum {
	NAME_MAX = sizeof(((struct boot_file *)0)->name) - 1,
	MANIFEST_MAX = 1 << 20, /* bytes; a manifest of a few KiB is a large one */
	READ_CHUNK = 4 << 20,	/* some firmware bounces a whole read through low memory */
	INFO_BYTES = sizeof(EFI_FILE_INFO) + 256 * sizeof(CHAR16), /* FAT: 255 characters */
};

struct folder {
	struct boot_info *bi;
	EFI_FILE_PROTOCOL *dir;
	const char *manifest; /* whose payloads are being loaded; NULL: manifests themselves */
};

union file_info {
	EFI_FILE_INFO info;
	uint8_t room[INFO_BYTES];
};

/* Printable ASCII without what separates folders; false if too long or otherwise odd. */
static bool narrow_name(const CHAR16 *wide, char name[NAME_MAX + 1])
{
	size_t n = 0;

	for (; wide[n]; n++) {
		if (n == NAME_MAX || wide[n] < ' ' || wide[n] > '~')
			return false;
		name[n] = (char)wide[n];
	}
	name[n] = 0;
	return true;
}

/* A payload's name comes out of a manifest: a plain name in \amber, nothing that leads elsewhere.
 */
static bool widen_name(const char *name, CHAR16 wide[NAME_MAX + 1])
{
	size_t n = 0;

	for (; name[n]; n++) {
		if (n == NAME_MAX || name[n] < ' ' || name[n] > '~' || name[n] == '/' ||
		    name[n] == '\\' || name[n] == ':')
			return false;
		wide[n] = (unsigned char)name[n];
	}
	wide[n] = 0;
	return !text_equal(name, ".") && !text_equal(name, "..");
}

static bool is_manifest(const char *name)
{
	static const char suffix[] = ".dtb";
	size_t len = 0;

	while (name[len])
		len++;
	if (len < sizeof(suffix))
		return false;
	for (size_t i = 0; i < sizeof(suffix) - 1; i++) {
		char c = name[len - (sizeof(suffix) - 1) + i];

		if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != suffix[i])
			return false;
	}
	return true;
}

static const char *read_all(EFI_FILE_PROTOCOL *file, uint8_t *to, uint64_t size)
{
	while (size) {
		UINTN n = size < READ_CHUNK ? size : READ_CHUNK;
		EFI_STATUS s = file->Read(file, &n, to);

		if (s != EFI_SUCCESS)
			return status_text(s);
		if (!n)
			return "shorter than its folder entry says";
		to += n;
		size -= n;
	}
	return NULL;
}

/* Returns what is wrong, NULL if the file is in memory now. */
static const char *load_opened(EFI_FILE_PROTOCOL *file, struct boot_file *out, uint64_t max)
{
	EFI_GUID info_id = EFI_FILE_INFO_ID;
	union file_info u;
	UINTN size = sizeof(u);
	uint64_t room;
	const char *wrong;
	EFI_STATUS s = file->GetInfo(file, &info_id, &size, &u);

	if (s != EFI_SUCCESS)
		return status_text(s);
	if (u.info.Attribute & EFI_FILE_DIRECTORY)
		return "is a folder";
	if (u.info.FileSize > max)
		return "too large";
	/* A page even for an empty file, so that it has an address. */
	room = u.info.FileSize ? u.info.FileSize : 1;
	out->addr = pages_alloc(room, UINT64_MAX);
	if (!out->addr)
		return "out of memory";
	out->size = u.info.FileSize;
	wrong = read_all(file, (uint8_t *)out->addr, out->size);
	if (wrong)
		bs->FreePages(out->addr, PAGES(room));
	return wrong;
}

/* Returns what is wrong, or NULL; also if there is none and none must be. */
static const char *open_and_load(struct folder *f, const char *name, uint64_t max, bool must)
{
	struct boot_info *bi = f->bi;
	struct boot_file *out = &bi->files[bi->nfiles];
	CHAR16 wide[NAME_MAX + 1];
	EFI_FILE_PROTOCOL *file;
	const char *wrong;
	EFI_STATUS s;

	if (!widen_name(name, wide))
		return must ? "not a plain file name" : NULL;
	if (bi->nfiles == BOOT_MAX_FILES)
		return "too many files";
	s = f->dir->Open(f->dir, &file, wide, EFI_FILE_MODE_READ, 0);
	if (s == EFI_NOT_FOUND && !must)
		return NULL;
	if (s != EFI_SUCCESS)
		return status_text(s);
	wrong = load_opened(file, out, max);
	file->Close(file);
	if (wrong)
		return wrong;
	for (size_t i = 0; (out->name[i] = name[i]); i++)
		;
	bi->nfiles++;
	return NULL;
}

/* must: complain if there is no such file. */
static void load(struct folder *f, const char *name, uint64_t max, bool must)
{
	const char *wrong;

	for (uint32_t i = 0; i < f->bi->nfiles; i++)
		if (text_equal(f->bi->files[i].name, name))
			return;
	wrong = open_and_load(f, name, max, must);
	if (wrong && f->manifest)
		complain(f->bi, f->manifest, ": payload '", name, "': ", wrong, NULL);
	else if (wrong)
		complain(f->bi, name, ": ", wrong, NULL);
}

static void load_payload(void *arg, const char *name, bool must)
{
	load(arg, name, UINT64_MAX - PAGE_BYTES, must);
}

/* FAT keeps names in the order of their creation: sorted, guests start in a predictable one. */
static void sort_files(struct boot_info *bi)
{
	for (uint32_t i = 1; i < bi->nfiles; i++)
		for (uint32_t j = i; j > 0; j--) {
			struct boot_file *a = &bi->files[j - 1], *b = &bi->files[j], t;
			size_t k = 0;

			while (a->name[k] && a->name[k] == b->name[k])
				k++;
			if (a->name[k] <= b->name[k])
				break;
			t = *a, *a = *b, *b = t;
		}
}

static void load_manifests(struct folder *f)
{
	union file_info u;

	for (;;) {
		char name[NAME_MAX + 1];
		UINTN size = sizeof(u);
		EFI_STATUS s = f->dir->Read(f->dir, &size, &u);

		if (s != EFI_SUCCESS) {
			complain(f->bi, "folder '\\amber': ", status_text(s), NULL);
			return;
		}
		if (!size)
			return;
		if (u.info.Attribute & EFI_FILE_DIRECTORY || !narrow_name(u.info.FileName, name) ||
		    !is_manifest(name))
			continue;
		load(f, name, MANIFEST_MAX, true);
	}
}

static EFI_STATUS open_folder(EFI_HANDLE image, EFI_FILE_PROTOCOL **dir)
{
	EFI_GUID loaded_id = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	EFI_GUID fs_id = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
	EFI_LOADED_IMAGE_PROTOCOL *loaded;
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *fs;
	EFI_FILE_PROTOCOL *root;
	CHAR16 path[] = u"\\amber";
	EFI_STATUS s = bs->HandleProtocol(image, &loaded_id, (void **)&loaded);

	if (s == EFI_SUCCESS)
		s = bs->HandleProtocol(loaded->DeviceHandle, &fs_id, (void **)&fs);
	if (s == EFI_SUCCESS)
		s = fs->OpenVolume(fs, &root);
	if (s == EFI_SUCCESS) {
		s = root->Open(root, dir, path, EFI_FILE_MODE_READ, 0);
		root->Close(root);
	}
	return s;
}

void files_load(struct boot_info *bi, EFI_HANDLE image)
{
	struct folder f = {.bi = bi};
	EFI_STATUS s = open_folder(image, &f.dir);

	if (s != EFI_SUCCESS) {
		complain(bi, "folder '\\amber' on the boot volume: ", status_text(s), NULL);
		return;
	}
	load_manifests(&f);
	sort_files(bi);

	uint32_t manifests = bi->nfiles;

	for (uint32_t i = 0; i < manifests; i++) {
		f.manifest = bi->files[i].name;
		dtb_names((const void *)bi->files[i].addr, bi->files[i].size, load_payload, &f);
	}
	if (!manifests)
		complain(bi, "folder '\\amber': holds no guest manifest (*.dtb)", NULL);
	f.dir->Close(f.dir);
}
