#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Promise: the floor plan's check finds what it is there to find.
. "$(dirname "$0")/lib.sh"

check=$PWD/tools/check-includes
cd "$work" || exit 1
mkdir -p hv/lib hv/core hv/dev boot/efi

# includes FILE HEADER
includes() {
	echo "#include \"$2\"" >"$1"
	"$check" "$1"
}

succeeds 'a floor below' includes hv/core/a.c hv/lib/fmt.h
succeeds 'the same floor' includes hv/core/a.c hv/core/vm.h
succeeds 'a vendor from main.c' includes hv/main.c hv/arch/x86/svm/svm.h
for pair in 'hv/lib/a.c hv/core/vm.h' 'hv/core/a.c hv/arch/x86/svm/svm.h' \
	'hv/dev/a.c hv/snapshot/store.h' 'boot/efi/a.c hv/lib/fmt.h' 'hv/core/a.c hv/nowhere/a.h'; do
	# shellcheck disable=SC2086
	out=$(includes $pair)
	[[ $? == 1 && $out == "${pair% *}:1: "* ]]
	verdict "refuses $pair" $? "$out"
done
