#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Promise: a platform that is not to be had is named with the reason, by tools/run and by
# the tests, which then skip; what an emulator cannot do is refused, not ignored.
. "$(dirname "$0")/lib.sh"

truncate -s 1M "$work/image"
for option in --icount --gdb --debug-int '--drive-bus ahci' "--monitor unix:$work/m"; do
	# shellcheck disable=SC2086
	refuses "run: no $option with Bochs" "${option%% *}.*bochs-svm" \
		tools/run --platform bochs-svm --image "$work/image" $option
done
refuses 'run: no --icount with KVM' 'icount.*KVM' \
	tools/run --platform qemu-kvm --image "$work/image" --icount
refuses 'run: an image is needed' '--image' tools/run --platform bochs-vmx
refuses 'run: --smp 0' '--smp' tools/run --platform bochs-vmx --image "$work/image" --smp 0
refuses 'run: a socket is unix:' 'unix:PATH' \
	tools/run --platform bochs-vmx --image "$work/image" --serial tcp:1

# status NAME WANTED COMMAND...: standard error goes to $work/err
status() {
	local name=$1 wanted=$2 got
	shift 2
	"$@" >"$work/out" 2>"$work/err"
	got=$?
	[[ " $wanted " == *" $got "* ]]
	verdict "$name" $? "$* ended with status $got: $(<"$work/err")"
}

# says NAME PATTERN FILE
says() {
	grep -qE -e "$2" "$3"
	verdict "$1" $? "not '$2' but '$(<"$3")'"
}

# A machine without a package archive, and a cache with nothing in it.
printf 'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "%s";\n' "$work/none" >"$work/apt.conf"
export AMBER_CACHE=$work/cache
status 'bochs --check: not built' 1 tools/bochs --check
says 'bochs --check: what to do' 'tools/bochs builds it' "$work/err"
status 'bochs: no archive' 1 env APT_CONFIG="$work/apt.conf" tools/bochs
says 'bochs: in one line why' '^bochs: no package archive' "$work/err"
status 'bochs --check: not to be had' 1 tools/bochs --check
says 'bochs --check: the same reason' 'not to be had: no package archive' "$work/err"
status 'run: status 4 without Bochs' 4 tools/run --platform bochs-vmx --image "$work/image"
says 'run: why there is no Bochs' 'bochs-vmx: .*no package archive' "$work/err"
status 'the tests go on without Bochs' 0 tests/qemu/run --platform bochs-vmx boot
says 'the tests say that they are skipped' 'SKIPPED: .*no package archive' "$work/out"
says 'the tests count them' 'machine: 0 passed, 0 failed, 1 skipped' "$work/out"
unset AMBER_CACHE
status 'run --check: KVM, or why not' '0 4' tools/run --platform qemu-kvm --check
status 'run --check: QEMU' 0 tools/run --check

tools/bochs --check >/dev/null 2>&1 || exit 0
status 'Bochs: ended after --timeout' 124 timeout 60 tools/run --platform bochs-svm \
	--image "$work/image" --timeout 2 --serial "unix:$work/serial"
[[ ! -e $work/serial && ! -e $work/image.lock ]]
verdict 'Bochs: leaves no socket and no lock' $? "$(ls "$work")"
status 'Bochs: a CPU that it does not know' 1 timeout 60 tools/run --platform bochs-svm \
	--image "$work/image" --timeout 50 --cpu abacus
says 'Bochs: names that CPU' 'abacus' "$work/err"
