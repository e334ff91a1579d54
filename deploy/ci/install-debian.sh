#!/bin/sh
# Install from Debian what the tests need and cannot get from a package index: CalculiX with its test decks, Docker, and what
# makes images out of Debian's packages or stands in for one. Idempotent; starts nothing.
set -eu

PACKAGES="calculix-ccx calculix-ccx-test busybox-static docker.io mmdebstrap"

missing=""
for package in $PACKAGES; do
	dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
has_decks() {
	ls /usr/share/doc/calculix-ccx-test/examples/test/*.inp >/dev/null 2>&1
}

if [ -z "$missing" ] && has_decks; then
	echo "CalculiX, its test decks, Docker and mmdebstrap are here."
	exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
	echo "Missing:${missing:- the test decks}. Run as root: $0" >&2
	exit 1
fi

# Images made for containers leave out documentation, and the decks lie in /usr/share/doc: let these through.
if grep -rqs 'path-exclude.*/usr/share/doc' /etc/dpkg/dpkg.cfg.d; then
	echo 'path-include=/usr/share/doc/calculix-ccx-test/*' >/etc/dpkg/dpkg.cfg.d/zz-calculix-decks
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing
has_decks || apt-get install -y -qq --no-install-recommends --reinstall calculix-ccx-test # was here, without its documentation
