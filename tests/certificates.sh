#!/bin/sh
# An authority and one member's certificate for 127.0.0.1, for tests of all
# languages: ca.pem, node.pem and node.key in the folder DIR.
#
#   sh tests/certificates.sh DIR
set -eu
mkdir -p "$1"
cd "$1"
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086
openssl req -x509 $new -days 2 -subj "/CN=test authority" -keyout ca.key -out ca.pem 2> log
# shellcheck disable=SC2086
openssl req $new -subj "/CN=node" -keyout node.key -out node.csr 2>> log
echo "subjectAltName=IP:127.0.0.1" > names
openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out node.pem 2>> log
