# SPDX-License-Identifier: BSD-2-Clause
"""The machines that tools/run can boot an image on.

Each module has missing(platform), why the platform is not to be had; check_options(a), what
is wrong with the command line there; and boot(a, work), which runs the machine to its end.
"""
