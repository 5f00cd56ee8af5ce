/* SPDX-License-Identifier: BSD-2-Clause */
/* The management console on the host's serial port. */
#ifndef AMBER_CONSOLE_CONSOLE_H
#define AMBER_CONSOLE_CONSOLE_H

#include "hv/core/chardev.h"
#include "hv/lib/types.h"

/*
 * Starts the console's thread, which greets with the text given (lines end in
 * \n; may be empty) and prompts. From here on log lines and notices do not
 * garble the line being typed. After uart_start(). Once. ERR_NOMEM or OK.
 */
int console_start(const char *greeting) MUST_CHECK;

/* Prints a line at once, wherever the operator is. Any context; any lock held but the UART's. */
void console_notice(const char *text);

/*
 * Joins the terminal to a guest's serial device until Ctrl-] is typed. In the
 * console's thread.
 */
void console_attach(struct chardev *dev);

#endif
