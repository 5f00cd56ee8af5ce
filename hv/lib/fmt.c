/* SPDX-License-Identifier: BSD-2-Clause */
/* Formatting into a bounded buffer, and reading numbers back out of text. */
#include "hv/lib/fmt.h"
#include <string.h>
#include "hv/lib/error.h"

/* Where the text goes; len counts on behind the end of the buffer. */
struct sink {
	char *buf;
	size_t size;
	size_t len;
};

enum spec_flag {
	FLAG_LEFT = 1 << 0,  /* - */
	FLAG_ZERO = 1 << 1,  /* 0 */
	FLAG_PLUS = 1 << 2,  /* + */
	FLAG_SPACE = 1 << 3, /* blank */
	FLAG_ALT = 1 << 4,   /* # */
};

/* One conversion specification. */
struct spec {
	unsigned flags;
	int width;
	int precision; /* -1: none given */
	unsigned size; /* bytes of an integer argument */
	char conv;
};

static void put(struct sink *s, char c)
{
	if (s->len + 1 < s->size)
		s->buf[s->len] = c;
	s->len++;
}

static void put_text(struct sink *s, const char *text, size_t n)
{
	while (n--)
		put(s, *text++);
}

static void put_fill(struct sink *s, char c, int n)
{
	while (n-- > 0)
		put(s, c);
}

/* Fields wider than this are nobody's intention. */
#define WIDTH_MAX 4096

static int parse_number(const char **fmt)
{
	int n = 0;

	while (**fmt >= '0' && **fmt <= '9') {
		if (n < WIDTH_MAX)
			n = n * 10 + (**fmt - '0');
		(*fmt)++;
	}
	return MIN(n, WIDTH_MAX);
}

static unsigned parse_flags(const char **fmt)
{
	static const char letters[] = "-0+ #"; /* in the order of enum spec_flag */
	unsigned flags = 0;

	for (;; (*fmt)++) {
		const char *p = **fmt ? strchr(letters, **fmt) : NULL;

		if (!p)
			return flags;
		flags |= 1u << (p - letters);
	}
}

static unsigned parse_length(const char **fmt)
{
	switch (**fmt) {
	case 'h':
		if (*++*fmt != 'h')
			return sizeof(short);
		++*fmt;
		return sizeof(char);
	case 'l':
		if (*++*fmt == 'l')
			++*fmt;
		return sizeof(long);
	case 'z':
	case 't':
	case 'j':
		++*fmt;
		return sizeof(long);
	default:
		return sizeof(int);
	}
}

static uint64_t arg_unsigned(va_list *ap, unsigned size)
{
	switch (size) {
	case 1:
		return (uint8_t)va_arg(*ap, unsigned);
	case 2:
		return (uint16_t)va_arg(*ap, unsigned);
	case 4:
		return va_arg(*ap, unsigned);
	default:
		return va_arg(*ap, uint64_t);
	}
}

static int64_t arg_signed(va_list *ap, unsigned size)
{
	switch (size) {
	case 1:
		return (int8_t)va_arg(*ap, int);
	case 2:
		return (int16_t)va_arg(*ap, int);
	case 4:
		return va_arg(*ap, int);
	default:
		return va_arg(*ap, int64_t);
	}
}

/* Digits of v, last first; returns how many. */
static int digits(char *out, uint64_t v, unsigned base, bool upper)
{
	const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	int n = 0;

	for (; v; v /= base)
		out[n++] = set[v % base];
	return n;
}

/* prefix is the sign, or 0x. */
static void put_integer(
    struct sink *s, const struct spec *sp, uint64_t v, unsigned base, const char *prefix)
{
	char buf[24];
	int n = digits(buf, v, base, sp->conv == 'X');
	int prefix_len = (int)strlen(prefix);
	int zeros = (sp->precision < 0 ? 1 : sp->precision) - n;
	int pad;

	if (base == 8 && (sp->flags & FLAG_ALT) && zeros <= 0)
		zeros = 1;
	if (zeros < 0)
		zeros = 0;
	pad = sp->width - prefix_len - zeros - n;
	if ((sp->flags & FLAG_ZERO) && !(sp->flags & FLAG_LEFT) && sp->precision < 0 && pad > 0) {
		zeros += pad;
		pad = 0;
	}
	if (!(sp->flags & FLAG_LEFT))
		put_fill(s, ' ', pad);
	put_text(s, prefix, (size_t)prefix_len);
	put_fill(s, '0', zeros);
	while (n)
		put(s, buf[--n]);
	if (sp->flags & FLAG_LEFT)
		put_fill(s, ' ', pad);
}

static void put_signed(struct sink *s, const struct spec *sp, int64_t v)
{
	const char *sign = sp->flags & FLAG_PLUS ? "+" : sp->flags & FLAG_SPACE ? " " : "";

	put_integer(s, sp, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0 ? "-" : sign);
}

static void put_string(struct sink *s, const struct spec *sp, const char *text)
{
	size_t n;
	int pad;

	if (!text)
		text = "(null)";
	n = sp->precision < 0 ? strlen(text) : strnlen(text, (size_t)sp->precision);
	pad = sp->width > (int)n ? sp->width - (int)n : 0;
	if (!(sp->flags & FLAG_LEFT))
		put_fill(s, ' ', pad);
	put_text(s, text, n);
	if (sp->flags & FLAG_LEFT)
		put_fill(s, ' ', pad);
}

static void parse_spec(const char **fmt, struct spec *sp, va_list *ap)
{
	sp->flags = parse_flags(fmt);
	if (**fmt == '*') {
		int w = va_arg(*ap, int);

		++*fmt;
		if (w < 0) {
			sp->flags |= FLAG_LEFT;
			w = w < -WIDTH_MAX ? WIDTH_MAX : -w;
		}
		sp->width = MIN(w, WIDTH_MAX);
	} else {
		sp->width = parse_number(fmt);
	}
	sp->precision = -1;
	if (**fmt == '.') {
		++*fmt;
		if (**fmt == '*') {
			int p = va_arg(*ap, int);

			++*fmt;
			sp->precision = p < 0 ? -1 : MIN(p, WIDTH_MAX);
		} else {
			sp->precision = parse_number(fmt);
		}
	}
	sp->size = parse_length(fmt);
	sp->conv = **fmt;
	if (sp->conv)
		++*fmt;
}

static void convert(struct sink *s, const struct spec *sp, va_list *ap)
{
	uint64_t v;
	char c[2] = {0};

	switch (sp->conv) {
	case 'd':
	case 'i':
		put_signed(s, sp, arg_signed(ap, sp->size));
		break;
	case 'u':
		put_integer(s, sp, arg_unsigned(ap, sp->size), 10, "");
		break;
	case 'x':
	case 'X':
		v = arg_unsigned(ap, sp->size);
		put_integer(s, sp, v, 16,
		    !(sp->flags & FLAG_ALT) || !v ? ""
		    : sp->conv == 'x'		  ? "0x"
						  : "0X");
		break;
	case 'o':
		put_integer(s, sp, arg_unsigned(ap, sp->size), 8, "");
		break;
	case 'p':
		put_integer(s, sp, (uintptr_t)va_arg(*ap, void *), 16, "0x");
		break;
	case 'c': {
		struct spec one = *sp;

		c[0] = (char)va_arg(*ap, int);
		one.precision = -1;
		if (c[0])
			put_string(s, &one, c);
		else
			put(s, 0);
		break;
	}
	case 's':
		put_string(s, sp, va_arg(*ap, const char *));
		break;
	case '%':
		put(s, '%');
		break;
	default: /* show what nobody can read, rather than drop it */
		put(s, '%');
		if (sp->conv)
			put(s, sp->conv);
	}
}

int str_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct sink s = {.buf = buf, .size = size};
	va_list args;

	va_copy(args, ap); /* an array type as a parameter: only a copy has an address to pass on */
	while (*fmt) {
		struct spec sp;

		if (*fmt != '%') {
			put(&s, *fmt++);
			continue;
		}
		fmt++;
		parse_spec(&fmt, &sp, &args);
		convert(&s, &sp, &args);
	}
	va_end(args);
	if (size)
		buf[MIN(s.len, size - 1)] = 0;
	return (int)s.len;
}

int str_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = str_vformat(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

bool str_copy(char *dst, size_t size, const char *src)
{
	size_t n = strnlen(src, size);

	if (!size)
		return false;
	memcpy(dst, src, MIN(n, size - 1));
	dst[MIN(n, size - 1)] = 0;
	return n < size;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* The power of two that a suffix letter stands for, or -1. */
static int suffix_shift(char c)
{
	static const char letters[] = "KMGT";
	const char *p = c ? strchr(letters, c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c) : NULL;

	return p ? 10 * (int)(p - letters + 1) : -1;
}

int str_to_u64(const char *s, bool suffix, uint64_t *out)
{
	unsigned base = 10;
	uint64_t v = 0;
	int shift;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	if (digit_value(*s) >= (int)base)
		return ERR_INVAL;
	for (; digit_value(*s) < (int)base; s++)
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit_value(*s), &v))
			return ERR_RANGE;
	if (suffix && *s) {
		shift = suffix_shift(*s++);
		if (shift < 0)
			return ERR_INVAL;
		if (*s == 0 && v > UINT64_MAX >> shift)
			return ERR_RANGE;
		v <<= shift;
	}
	if (*s)
		return ERR_INVAL;
	*out = v;
	return OK;
}
