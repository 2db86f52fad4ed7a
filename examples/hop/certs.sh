#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes certificates for agents that send to each other, with openssl:
#
#     certs.sh DIR NAME...
#
# DIR/ca.pem and DIR/ca.key are the authority: made by the first run, and used by all later ones. For each NAME it writes DIR/NAME.pem and DIR/NAME.key. A
# hop knows a sender by that name; a receiver is reached as NAME, localhost or 127.0.0.1, and under each name or address in the environment variable SANS
# ("DNS:collector.example,IP:10.0.0.7"). A NAME that has a certificate gets a new one, which a running agent takes up by itself.
# DAYS is how long they are good, 365 if it is not set.
#
# Other examples and tests call this script: keep what it takes and what it writes.
set -eu
umask 077
if [ $# -lt 2 ]; then
	echo "usage: certs.sh DIR NAME..." >&2
	exit 2
fi
dir=$1
shift
days=${DAYS:-365}
mkdir -p "$dir"
work=$(mktemp -d "$dir/.certs.XXXXXX")
trap 'rm -rf "$work"' EXIT

# key FILE makes a private key.
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

if [ ! -e "$dir/ca.key" ]; then
	key "$work/ca.key"
	openssl req -x509 -new -sha256 -key "$work/ca.key" -days 3650 -subj "/CN=penstock example authority" -out "$work/ca.pem" \
		-addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
	mv "$work/ca.pem" "$dir/ca.pem"
	mv "$work/ca.key" "$dir/ca.key"
fi

for name in "$@"; do
	key "$work/$name.key"
	cat >"$work/$name.ext" <<-EXT
		basicConstraints = critical, CA:FALSE
		keyUsage = critical, digitalSignature
		extendedKeyUsage = clientAuth, serverAuth
		subjectAltName = DNS:$name, DNS:localhost, IP:127.0.0.1${SANS:+, $SANS}
	EXT
	openssl req -new -sha256 -key "$work/$name.key" -subj "/CN=$name" -out "$work/$name.csr"
	openssl x509 -req -sha256 -in "$work/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -set_serial "0x$(openssl rand -hex 16 | sed 's/^./1/')" \
		-days "$days" -extfile "$work/$name.ext" -out "$work/$name.pem" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
	mv "$work/$name.key" "$dir/$name.key"
	mv "$work/$name.pem" "$dir/$name.pem"
done
