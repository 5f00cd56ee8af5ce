# SPDX-License-Identifier: BSD-2-Clause
# For the tests in this folder: sourced by each; the current folder is the root.
# A test is one line 'ok NAME' or 'not ok NAME: why'. Scratch files go to $work.
# shellcheck shell=bash
set -u
cd "$(dirname "$0")/../.." || exit 1
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# verdict NAME STATUS [WHY]
verdict() {
	if (($2 == 0)); then
		echo "ok $1"
	else
		echo "not ok $1: ${3-}"
	fi
}

# succeeds NAME COMMAND...
succeeds() {
	local name=$1 out
	shift
	out=$("$@" 2>&1)
	verdict "$name" $? "$* failed: $out"
}

# refuses NAME PATTERN COMMAND...: it must fail, and say why on standard error.
refuses() {
	local name=$1 pattern=$2 out
	shift 2
	if out=$("$@" 2>&1 >"$work/refused.out"); then
		verdict "$name" 1 "$* succeeded"
	else
		grep -qE -e "$pattern" <<<"$out"
		verdict "$name" $? "$* says '$out', not '$pattern'"
	fi
}
