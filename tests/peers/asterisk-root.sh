#!/bin/sh
# asterisk-root.sh DIR: unpack Debian's Asterisk, with its Russian voice, into a folder of its own (270 MB, some 15 s).
#
# Debian 12 has no Asterisk, and one of another release cannot be installed beside its libraries; nothing of this machine is
# changed. Needs root and mmdebstrap; takes the mirror that apt uses (or DEBIAN_MIRROR). Does nothing where it is done already.
set -eu
root=${1:?usage: asterisk-root.sh DIR}
packages=asterisk,asterisk-modules,asterisk-config,asterisk-core-sounds-ru-gsm,asterisk-core-sounds-en-gsm

[ -e "$root/.suite" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "Only root can unpack Asterisk for the tests." >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "Asterisk for the tests needs mmdebstrap." >&2; exit 1; }
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep '/debian/*$' | head -n 1)}
[ -n "$mirror" ] || { echo "apt knows no mirror of Debian; set DEBIAN_MIRROR." >&2; exit 1; }

mkdir -p "$(dirname "$root")"
part=$(cd "$(dirname "$root")" && pwd)/$(basename "$root").part
trap 'rm -rf "$part"' EXIT
# The newest has Asterisk 22; the older one is kept for when it cannot be had. A mirror's release file may be past its date.
for suite in sid bullseye; do
	rm -rf "$part"
	mmdebstrap --quiet --variant=extract --mode=root --include="$packages" --aptopt='APT::Install-Recommends "false"' \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "1"' --aptopt='Acquire::http::Timeout "20"' "$suite" "$part" \
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" || continue
	# What the packages' own scripts would have done: the folder of each language, and on a merged system the old paths.
	for folder in bin sbin lib lib64; do
		[ -e "$part/$folder" ] || ln -s "usr/$folder" "$part/$folder"
	done
	for language in ru en; do
		for voice in "$part/usr/share/asterisk/sounds/${language}"_*; do
			[ -e "$part/usr/share/asterisk/sounds/$language" ] || ln -s "$(basename "$voice")" "$part/usr/share/asterisk/sounds/$language"
		done
	done
	[ -x "$part/usr/sbin/asterisk" ] || continue
	echo "$suite" >"$part/.suite"
	rm -rf "$root"
	mv "$part" "$root"
	exit 0
done
echo "No release of Debian gave an Asterisk." >&2
exit 1
