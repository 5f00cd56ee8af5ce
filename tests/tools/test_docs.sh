#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Promise: the pages that are made from tables in the sources are what the tables say now.
. "$(dirname "$0")/lib.sh"

succeeds 'docs/state-records.md is current (make fields)' \
	diff -u docs/state-records.md <(build/amber-fields)
succeeds 'docs/devices.md is current (make devices)' diff -u docs/devices.md <(build/amber-devices)
