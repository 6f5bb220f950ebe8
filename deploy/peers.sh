#!/bin/sh
# Install the peers that tests talk to, where that is possible: programs of Debian or Ubuntu as root, packages of npm and PyPI
# as anybody. Never fails, and asks nothing of anybody when they are there already: what is then still missing, its test says.
#
# To pin the packages again, in tests/peers/graphql: `npm install --package-lock-only`, and for NAME of clients and codegen
# `uv pip compile --universal --python-version 3.11 --generate-hashes --no-build --no-emit-index-url --no-emit-find-links
# --custom-compile-command "see deploy/peers.sh" NAME.in --output-file NAME.lock`.
set -u
cd "$(dirname "$0")/.." || exit 0
# kannel: SMS. postfix: letters. mmdebstrap makes the root of Asterisk, espeak-ng and sox its recordings. chromium: the pages.
# openssh: banks that exchange files.
packages="kannel kannel-extras postfix mmdebstrap espeak-ng sox chromium fonts-dejavu-core openssh-server openssh-client"
graphql=tests/peers/graphql
venvs=.venv-peers

# A program that did not come from a package of Debian will do too.
command -v node >/dev/null && command -v npm >/dev/null || packages="$packages nodejs npm"
[ -n "$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx)" ] || packages="$packages nginx"

missing=
for package in $packages; do
	[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done

install() {
	# shellcheck disable=SC2086  # words are wanted
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends \
		-o Acquire::http::Timeout=10 -o Acquire::Retries=0 -o DPkg::Lock::Timeout=60 $missing >/dev/null 2>&1 </dev/null
}
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	# Postfix would ask what kind of mail server this is to be: none, the tests bring their own configuration.
	echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections 2>/dev/null
	echo "Installing$missing for the tests (once) ..."
	install || { apt-get update --quiet --quiet -o Acquire::http::Timeout=10 -o Acquire::Retries=0 >/dev/null 2>&1 && install; } ||
		echo "apt-get could not install$missing." >&2

	# These packages start a server of their own, now and at every boot, unless the machine forbids it. Nobody has asked for that.
	for service in kannel nginx postfix openssh-server; do
		case "$missing " in
		*" $service "*)
			[ "$service" = openssh-server ] && service=ssh
			service "$service" stop
			update-rc.d "$service" disable
			;;
		esac
	done >/dev/null 2>&1
fi

# What is installed by a lock has a stamp: the lock's checksum and the place, because a copied environment points to the old
# one. It is written last, so that what was interrupted is done again from nothing; what failed is not left half done.
stamp_of() { echo "$(cksum <"$1") $PWD"; }
is_ready() { [ "$(cat "$2/.ready" 2>/dev/null)" = "$(stamp_of "$1")" ]; }

# Most of these want Node 20; with an older one they are missing, which their tests say.
for folder in $graphql tests/peers/smpp tests/peers/web; do
	lock=$folder/package-lock.json
	if [ ! -f "$lock" ] || is_ready "$lock" "$folder/node_modules" || ! command -v npm >/dev/null; then
		continue
	fi
	rm -rf "$folder/node_modules"
	if [ "$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')" -ge 20 ] 2>/dev/null; then
		echo "Installing the packages of npm in $folder for the tests (once) ..."
		if (cd "$folder" && npm ci --silent) >/dev/null 2>&1 </dev/null; then
			stamp_of "$lock" >"$folder/node_modules/.ready"
		else
			rm -rf "$folder/node_modules"
			echo "npm could not install $lock." >&2
		fi
	else
		echo "The packages of npm in $folder need Node 20 or newer." >&2
	fi
done

if [ "$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null && [ ! -e "$venvs/asterisk/.suite" ]; then
	echo "Unpacking Asterisk for the tests (once) ..."
	sh tests/peers/asterisk-root.sh "$venvs/asterisk" >/dev/null 2>&1 </dev/null || echo "Asterisk could not be unpacked." >&2
fi

python=.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
for name in clients codegen; do
	lock=$graphql/$name.lock
	venv=$venvs/$name
	is_ready "$lock" "$venv" && continue
	echo "Installing the GraphQL $name of PyPI for the tests (once) ..."
	rm -rf "$venv"
	if { "$python" -m venv "$venv" && "$venv/bin/python" -m pip install --quiet --quiet --no-input --disable-pip-version-check \
		--timeout 60 --retries 1 --require-hashes --only-binary :all: -r "$lock"; } >/dev/null 2>&1 </dev/null; then
		stamp_of "$lock" >"$venv/.ready"
	else
		rm -rf "$venv"
		echo "pip could not install $lock." >&2
	fi
done
exit 0
