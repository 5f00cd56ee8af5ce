#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Promise: what any released version has written into a store is read by this one, to the last bit.
. "$(dirname "$0")/lib.sh"

tests/golden/check "$work" || verdict 'tests/golden/check' 1 'broke off'
