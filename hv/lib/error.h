/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors: negative enum values with names (I12), and the one-line message that
 * names the object and the reason for the person at the console.
 */
#ifndef AMBER_LIB_ERROR_H
#define AMBER_LIB_ERROR_H

#include "hv/lib/types.h"

/* name, value, text. Append only: scripts see the names. */
#define ERROR_TABLE(X)                                                                             \
	X(OK, 0, "ok")                                                                             \
	X(ERR_NOMEM, -1, "out of memory")                                                          \
	X(ERR_INVAL, -2, "invalid value")                                                          \
	X(ERR_NOENT, -3, "not found")                                                              \
	X(ERR_EXIST, -4, "exists already")                                                         \
	X(ERR_RANGE, -5, "out of range")                                                           \
	X(ERR_IO, -6, "input/output error")                                                        \
	X(ERR_BUSY, -7, "busy")                                                                    \
	X(ERR_CORRUPT, -8, "damaged")                                                              \
	X(ERR_UNSUPPORTED, -9, "not supported")                                                    \
	X(ERR_NOSPACE, -10, "no space")                                                            \
	X(ERR_STATE, -11, "wrong state")                                                           \
	X(ERR_TIMEOUT, -12, "timed out")                                                           \
	X(ERR_CANCELLED, -13, "cancelled")                                                         \
	X(ERR_FAULT, -14, "bad guest address")                                                     \
	X(ERR_RETRY, -15, "must be restarted")                                                     \
	X(ERR_FULL, -16, "full")

#define ERROR_ENUM(name, value, text) name = (value),
enum error { ERROR_TABLE(ERROR_ENUM) };
#undef ERROR_ENUM

/* The text of an error value; "unknown error" for a value not in the table. */
const char *error_text(int err);

/* A message under construction; the outermost caller prints it after "error: ". */
struct errmsg {
	char text[200];
};

/*
 * Writes the message into *e (NULL is allowed: then nothing is written) and
 * returns err, so that a function can say: return err_set(e, ERR_INVAL, "...").
 */
int err_set(struct errmsg *e, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "fmt..." and ": " before the message that *e already holds; returns err. */
int err_prefix(struct errmsg *e, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

#ifdef __clang_analyzer__
/* The analyzer sees one file at a time: what these return must be told to it. */
#define err_set(e, err, ...)	(err_set(e, err, __VA_ARGS__), (err))
#define err_prefix(e, err, ...) (err_prefix(e, err, __VA_ARGS__), (err))
#endif

#endif
