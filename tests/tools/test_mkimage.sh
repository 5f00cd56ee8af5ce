#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Promise: images are sound, the same arguments make the same bytes, and an update
# replaces the loader and manifests and nothing else.
. "$(dirname "$0")/lib.sh"

esp=$((1 << 20)) # where the first partition begins
image=$work/a.img
printf 'loader one' >"$work/one.efi"
printf 'loader two' >"$work/two.efi"
printf 'a manifest' >"$work/guest.dtb"
printf 'another' >"$work/other.dtb"
head -c 100000 /dev/urandom >"$work/kernel"
head -c $((2 << 20)) /dev/urandom >"$work/disk"

make_image() {
	tools/mkimage --output "$1" --efi "$work/one.efi" --manifest "$work/guest.dtb" \
		--payload "$work/kernel:vmlinuz" --esp-size 40 --store-size 8 \
		--disk empty:4 --disk "full=$work/disk"
}

# partition IMAGE N: its bytes.
partition() {
	local first size
	first=$(sgdisk -i "$2" "$1" | grep -oP 'First sector: \K\d+')
	size=$(sgdisk -i "$2" "$1" | grep -oP 'Partition size: \K\d+')
	dd if="$1" bs=512 skip="$first" count="$size" status=none
}

# keeps IMAGE N FILE: partition N still holds what is in the file.
keeps() {
	partition "$1" "$2" | cmp - "$3"
}

# same IMAGE NAME FILE: the file on the EFI system partition is that file.
same() {
	mtype -i "$1@@$esp" "::$2" 2>/dev/null | cmp - "$3"
}

succeeds 'makes an image' make_image "$image"
succeeds 'gives it a sound partition table' sgdisk -v "$image"
[[ $(sgdisk -v "$image") == *'No problems found'* ]]
verdict 'with no problem found' $? "$(sgdisk -v "$image")"
succeeds 'puts the loader where firmware looks' same "$image" EFI/BOOT/BOOTX64.EFI "$work/one.efi"
succeeds 'puts manifests in amber' same "$image" amber/guest.dtb "$work/guest.dtb"
succeeds 'renames a payload' same "$image" amber/vmlinuz "$work/kernel"
[[ $(sgdisk -p "$image" | awk '$1 ~ /^[0-9]+$/ {print $NF}' | tr '\n' ' ') == *'empty full amber-store '* ]]
verdict 'labels disks and store' $? "$(sgdisk -p "$image")"
succeeds 'fills a disk from a file' keeps "$image" 3 "$work/disk"

make_image "$work/b.img" >/dev/null
succeeds 'the same arguments, the same bytes' cmp "$image" "$work/b.img"

# As if a guest and the hypervisor had written to it.
for number in 2 3 4; do
	first=$(sgdisk -i "$number" "$image" | grep -oP 'First sector: \K\d+')
	head -c 65536 /dev/urandom | dd of="$image" bs=512 seek="$first" conv=notrunc status=none
	partition "$image" "$number" >"$work/before.$number"
done
succeeds 'updates an image' tools/mkimage --update "$image" --efi "$work/two.efi" \
	--manifest "$work/other.dtb"
succeeds 'replaces the loader' same "$image" EFI/BOOT/BOOTX64.EFI "$work/two.efi"
succeeds 'adds a manifest' same "$image" amber/other.dtb "$work/other.dtb"
succeeds 'keeps a payload' same "$image" amber/vmlinuz "$work/kernel"
for number in 2 3 4; do
	succeeds "keeps partition $number" keeps "$image" "$number" "$work/before.$number"
done

refuses 'keeps an image that is there' "$image" make_image "$image"
refuses 'names a missing loader' "$work/none.efi" \
	tools/mkimage --output "$work/c.img" --efi "$work/none.efi"
refuses 'names a missing payload' "$work/none" \
	tools/mkimage --output "$work/c.img" --efi "$work/one.efi" --payload "$work/none"
refuses 'names a wrong disk' 'disk' \
	tools/mkimage --output "$work/c.img" --efi "$work/one.efi" --disk nonsense
refuses 'refuses to update what is no image' "$work/kernel" \
	tools/mkimage --update "$work/kernel" --efi "$work/one.efi"
[[ ! -e $work/c.img ]]
verdict 'leaves no half image behind' $? "$work/c.img is there"
