#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Promise: every tool explains itself, and says which file is wrong and why.
. "$(dirname "$0")/lib.sh"

for tool in tools/* build/amber-snap; do
	[[ -f $tool ]] || continue
	out=$("$tool" --help 2>&1)
	[[ $? == 0 && ${out,,} == *usage* ]]
	verdict "$tool --help" $? "$out"
	refuses "$tool --nonsense" . "$tool" --nonsense
	[[ ! -s $work/refused.out ]]
	verdict "$tool: errors go to standard error" $? "$(cat "$work/refused.out")"
done

refuses 'run: no image' "$work/none.img" tools/run --image "$work/none.img"
refuses 'run: wrong platform' 'abacus' tools/run --image x --platform abacus
refuses 'amber-snap: no image' "$work/none.img" build/amber-snap "$work/none.img" list
echo hello >"$work/text"
refuses 'amber-snap: no store' "$work/text" build/amber-snap "$work/text" list
refuses 'amber-snap: no such command' 'frobnicate' build/amber-snap "$work/text" frobnicate
succeeds 'setup --list' tools/setup --list
succeeds 'setup --check' tools/setup --check
