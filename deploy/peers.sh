#!/bin/sh
# Install the peers that tests talk to, where that is possible: Debian or Ubuntu, as root. Never fails, and asks nothing
# of anybody when they are there already: what is then still missing, its test says.
set -u
packages="kannel kannel-extras"

missing=
for package in $packages; do
	[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi

install() {
	# shellcheck disable=SC2086  # words are wanted
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends \
		-o Acquire::http::Timeout=10 -o Acquire::Retries=0 -o DPkg::Lock::Timeout=60 $missing >/dev/null 2>&1 </dev/null
}
echo "Installing$missing for the tests (once) ..."
install || { apt-get update --quiet --quiet -o Acquire::http::Timeout=10 -o Acquire::Retries=0 >/dev/null 2>&1 && install; } ||
	echo "apt-get could not install$missing." >&2

# The package starts a gateway of its own, now and at every boot, unless the machine forbids it. Nobody has asked for that.
case "$missing" in
*" kannel "* | *" kannel")
	service kannel stop
	update-rc.d kannel disable
	;;
esac >/dev/null 2>&1
exit 0
