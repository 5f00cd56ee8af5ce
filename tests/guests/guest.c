/* SPDX-License-Identifier: BSD-2-Clause */
/* The test guests' own small library. */
#include "guest.h"

#include <stdarg.h>

enum { COM1 = 0x3f8, LSR = 5, LSR_THRE = 0x20, PM1A_CNT = 0x604 };

void *memcpy(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);

void *memcpy(void *d, const void *s, size_t n)
{
	void *r = d;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	return r;
}

void *memset(void *d, int c, size_t n)
{
	void *r = d;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return r;
}

void putc(char c)
{
	if (c == '\n')
		putc('\r');
	while (!(inb(COM1 + LSR) & LSR_THRE))
		;
	outb(COM1, (uint8_t)c);
}

static void number(uint64_t v, unsigned base)
{
	char buf[24];
	unsigned n = 0;

	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		putc(buf[--n]);
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		unsigned longs = 0;
		uint64_t v;

		if (*fmt != '%') {
			putc(*fmt);
			continue;
		}
		for (fmt++; *fmt == 'l'; fmt++)
			longs++;
		if (*fmt == 's') {
			for (const char *s = va_arg(ap, const char *); *s; s++)
				putc(*s);
			continue;
		}
		if (*fmt == 'c') {
			putc((char)va_arg(ap, int));
			continue;
		}
		v = longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned);
		if (*fmt == 'd' && !longs && (int)v < 0) {
			putc('-');
			v = (uint64_t) - (int64_t)(int)v;
		}
		number(v, *fmt == 'x' ? 16 : 10);
	}
	va_end(ap);
}

extern const uint64_t guest_stubs[256];
void (*trap_handler[256])(struct trap_frame *f);
void guest_trap(struct trap_frame *f);

void guest_trap(struct trap_frame *f)
{
	if (trap_handler[f->vector]) {
		trap_handler[f->vector](f);
		return;
	}
	print("trap %lu error 0x%lx rip 0x%lx rsp 0x%lx rflags 0x%lx\n", f->vector, f->error,
	    f->rip, f->rsp, f->rflags);
	for (;;)
		__asm__ volatile("cli; hlt");
}

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, reserved;
};

void traps_init(void)
{
	static struct gate idt[256];
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) r = {sizeof(idt) - 1, (uint64_t)idt};

	for (unsigned i = 0; i < 256; i++) {
		uint64_t a = guest_stubs[i];

		idt[i] = (struct gate){
		    (uint16_t)a, 0x10, 0, 0x8e, (uint16_t)(a >> 16), (uint32_t)(a >> 32), 0};
	}
	__asm__ volatile("lidt %0" : : "m"(r));
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

void x2apic_init(void)
{
	wrmsr(0x1b, rdmsr(0x1b) | 1 << 10 | 1 << 11);
	wrmsr(0x80f, 0x1ff);
	wrmsr(0x808, 0);
}

void poweroff(void)
{
	__asm__ volatile("outw %0, %1"
			 :
			 : "a"((uint16_t)(5 << 10 | 1 << 13)), "Nd"((uint16_t)PM1A_CNT));
	for (;;)
		__asm__ volatile("cli; hlt");
}
