/* SPDX-License-Identifier: BSD-2-Clause */
/* Small helpers of the EFI program: text, status names, page allocation. */
#include <stdarg.h>

#include "boot/efi/loader.h"

static void say_one(const char *text)
{
	CHAR16 wide[128];
	size_t n = 0;

	for (; *text; text++) {
		if (n + 3 > ARRAY_SIZE(wide)) {
			wide[n] = 0;
			st->ConOut->OutputString(st->ConOut, wide);
			n = 0;
		}
		if (*text == '\n')
			wide[n++] = '\r';
		wide[n++] = (unsigned char)*text;
	}
	wide[n] = 0;
	st->ConOut->OutputString(st->ConOut, wide);
}

void say(const char *first, ...)
{
	va_list ap;

	va_start(ap, first);
	for (const char *s = first; s; s = va_arg(ap, const char *))
		say_one(s);
	va_end(ap);
}

void complain(struct boot_info *bi, const char *first, ...)
{
	size_t n = 0;
	va_list ap;

	while (n < BOOT_MAX_COMPLAINT - 1 && bi->complaint[n])
		n++;
	if (n && n < BOOT_MAX_COMPLAINT - 1)
		bi->complaint[n++] = '\n';
	va_start(ap, first);
	for (const char *s = first; s; s = va_arg(ap, const char *))
		while (*s && n < BOOT_MAX_COMPLAINT - 1)
			bi->complaint[n++] = *s++;
	va_end(ap);
	bi->complaint[n] = 0;
}

const char *status_text(EFI_STATUS s)
{
	static const struct {
		EFI_STATUS status;
		const char *text;
	} names[] = {
	    {EFI_LOAD_ERROR, "cannot be loaded"},
	    {EFI_INVALID_PARAMETER, "invalid parameter"},
	    {EFI_UNSUPPORTED, "not supported"},
	    {EFI_NOT_READY, "not ready"},
	    {EFI_DEVICE_ERROR, "device error"},
	    {EFI_OUT_OF_RESOURCES, "out of memory"},
	    {EFI_VOLUME_CORRUPTED, "file system damaged"},
	    {EFI_NO_MEDIA, "no medium"},
	    {EFI_MEDIA_CHANGED, "medium changed"},
	    {EFI_NOT_FOUND, "not found"},
	    {EFI_ACCESS_DENIED, "access denied"},
	    {EFI_TIMEOUT, "timeout"},
	    {EFI_ABORTED, "aborted"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].status == s)
			return names[i].text;
	return "refused by the firmware";
}

bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

bool guid_equal(const EFI_GUID *a, const EFI_GUID *b)
{
	const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;

	for (size_t i = 0; i < sizeof(*a); i++)
		if (x[i] != y[i])
			return false;
	return true;
}

uint64_t pages_alloc(uint64_t bytes, uint64_t max)
{
	EFI_PHYSICAL_ADDRESS at = max;

	if (bs->AllocatePages(AllocateMaxAddress, EfiLoaderData, PAGES(bytes), &at) != EFI_SUCCESS)
		return 0;
	memset((void *)at, 0, PAGES(bytes) * PAGE_BYTES);
	return at;
}

/* The compiler calls these two by itself. */
void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}
