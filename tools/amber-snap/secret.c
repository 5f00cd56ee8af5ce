/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys of portable files. */
#define _GNU_SOURCE /* ppoll */
#include "tools/amber-snap/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { PASSPHRASE_MAX = 1023 };
/* For new files: half a second on a PC of 2020. */
enum { PASSES = 3, KIB_OF_MEMORY = 256 << 10 };

_Static_assert(SECRET_KEY == crypto_secretstream_xchacha20poly1305_KEYBYTES, "size of a key");
_Static_assert(SECRET_SALT == crypto_pwhash_SALTBYTES, "size of a salt");

struct passphrase {
	char text[PASSPHRASE_MAX + 1];
	size_t len;
};

/* --- files --------------------------------------------------------------------------- */

/* At most size bytes; how many, or an error. */
static ssize_t read_file(const char *path, void *buf, size_t size, struct errmsg *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got = fd < 0 ? -1 : 1;

	while (got > 0 && n < size) {
		got = read(fd, (uint8_t *)buf + n, size - n);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			n += (size_t)got;
	}
	if (got < 0)
		err_set(e, fd < 0 ? ERR_NOENT : ERR_IO, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return got < 0 ? -1 : (ssize_t)n;
}

static int read_key(const char *path, uint8_t key[SECRET_KEY], struct errmsg *e)
{
	uint8_t buf[SECRET_KEY + 1];
	ssize_t n = read_file(path, buf, sizeof(buf), e);
	int err = n < 0 ? ERR_IO : OK;

	if (!err && n != SECRET_KEY)
		err = err_set(
		    e, ERR_INVAL, "%s: not a key file: a key is %d bytes", path, SECRET_KEY);
	if (!err)
		memcpy(key, buf, SECRET_KEY);
	sodium_memzero(buf, sizeof(buf));
	return err;
}

int secret_keygen(const char *path, struct errmsg *e)
{
	uint8_t key[SECRET_KEY];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = OK;

	if (fd < 0)
		return err_set(
		    e, errno == EEXIST ? ERR_EXIST : ERR_IO, "%s: %s", path, strerror(errno));
	randombytes_buf(key, sizeof(key));
	if (write(fd, key, sizeof(key)) != sizeof(key) || fsync(fd))
		err = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	sodium_memzero(key, sizeof(key));
	close(fd);
	if (err)
		unlink(path);
	return err;
}

/* --- passphrases --------------------------------------------------------------------- */

/* Cuts at the end of the line; there has to be something before it. */
static int finish(struct passphrase *p, const char *where, size_t n, struct errmsg *e)
{
	const char *end = memchr(p->text, '\n', n);

	p->len = end ? (size_t)(end - p->text) : n;
	if (p->len == 0)
		return err_set(e, ERR_INVAL, "%s: no passphrase", where);
	if (p->len > PASSPHRASE_MAX)
		return err_set(
		    e, ERR_RANGE, "%s: a passphrase has at most %d bytes", where, PASSPHRASE_MAX);
	return OK;
}

static void interrupted(int sig)
{
}

/*
 * A prompt, and the line that comes. Signals are let in only while it waits: one that came between
 * the prompt and the reading would be lost, and the reading go on.
 */
static ssize_t prompt_and_read(int tty, const char *prompt, struct passphrase *p)
{
	struct pollfd poll = {.fd = tty, .events = POLLIN};
	sigset_t stops, before;
	ssize_t n = -1;

	sigemptyset(&stops);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGTERM);
	sigprocmask(SIG_BLOCK, &stops, &before);
	if (write(tty, prompt, strlen(prompt)) == (ssize_t)strlen(prompt) &&
	    ppoll(&poll, 1, NULL, &before) == 1)
		n = read(tty, p->text, sizeof(p->text));
	sigprocmask(SIG_SETMASK, &before, NULL);
	return n;
}

/* One line from the terminal, which does not show it. Ctrl-C leaves the terminal as it was. */
static int ask(int tty, const char *prompt, struct passphrase *p, struct errmsg *e)
{
	struct sigaction stop = {.sa_handler = interrupted}, old_int, old_term;
	struct termios old, quiet;
	ssize_t n = -1;

	if (tcgetattr(tty, &old))
		return err_set(e, ERR_IO, "/dev/tty: %s", strerror(errno));
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	quiet.c_lflag |= ECHONL;
	sigaction(SIGINT, &stop, &old_int);
	sigaction(SIGTERM, &stop, &old_term);
	if (tcsetattr(tty, TCSAFLUSH, &quiet) == 0)
		n = prompt_and_read(tty, prompt, p);
	tcsetattr(tty, TCSAFLUSH, &old);
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	if (n < 0)
		return err_set(e, ERR_CANCELLED, "passphrase: cancelled");
	return finish(p, "terminal", (size_t)n, e);
}

static int ask_on_terminal(struct passphrase *p, bool twice, struct errmsg *e)
{
	struct passphrase again = {.len = 0};
	int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC), err;

	if (tty < 0)
		return err_set(e, ERR_INVAL,
		    "no terminal to ask for the passphrase: say --key-file or --passphrase-file");
	err = ask(tty, "Passphrase: ", p, e);
	if (!err && twice)
		err = ask(tty, "The same again: ", &again, e);
	if (!err && twice && (p->len != again.len || memcmp(p->text, again.text, p->len) != 0))
		err = err_set(e, ERR_INVAL, "the passphrases differ");
	sodium_memzero(&again, sizeof(again));
	close(tty);
	return err;
}

static int read_passphrase(
    struct passphrase *p, const struct secret_source *from, bool twice, struct errmsg *e)
{
	ssize_t n;

	if (!from->passphrase_file)
		return ask_on_terminal(p, twice, e);
	n = read_file(from->passphrase_file, p->text, sizeof(p->text), e);
	return n < 0 ? ERR_IO : finish(p, from->passphrase_file, (size_t)n, e);
}

/* Argon2id, version 1.3, one lane. */
static int derive(struct secret *s, const struct secret_source *from, bool twice, struct errmsg *e)
{
	struct passphrase p = {.len = 0};
	int err = read_passphrase(&p, from, twice, e);

	if (!err && crypto_pwhash(s->key, sizeof(s->key), p.text, p.len, s->salt, s->passes,
			(size_t)s->kib * KIB, crypto_pwhash_ALG_ARGON2ID13))
		err = err_set(e, ERR_NOMEM, "passphrase: Argon2id needs %u KiB of memory", s->kib);
	sodium_memzero(&p, sizeof(p));
	return err;
}

/* --- both ---------------------------------------------------------------------------- */

int secret_make(struct secret *s, const struct secret_source *from, struct errmsg *e)
{
	*s = (struct secret){.passphrase = !from->key_file};
	if (from->key_file)
		return read_key(from->key_file, s->key, e);
	s->passes = PASSES;
	s->kib = KIB_OF_MEMORY;
	randombytes_buf(s->salt, sizeof(s->salt));
	return derive(s, from, true, e);
}

int secret_find(struct secret *s, const struct secret_source *from, struct errmsg *e)
{
	if (!s->passphrase) {
		if (!from->key_file)
			return err_set(
			    e, ERR_INVAL, "encrypted with a key: say --key-file with its file");
		return read_key(from->key_file, s->key, e);
	}
	if (from->key_file)
		return err_set(e, ERR_INVAL, "encrypted with a passphrase, not with a key file");
	if (s->passes < 1 || s->passes > SECRET_PASSES_MAX || s->kib < SECRET_KIB_MIN ||
	    s->kib > SECRET_KIB_MAX)
		return err_set(e, ERR_CORRUPT,
		    "Argon2id with %u passes over %u KiB: allowed are 1 to %d passes over %d to %d",
		    s->passes, s->kib, SECRET_PASSES_MAX, SECRET_KIB_MIN, SECRET_KIB_MAX);
	return derive(s, from, false, e);
}

void secret_forget(struct secret *s)
{
	sodium_memzero(s, sizeof(*s));
}
