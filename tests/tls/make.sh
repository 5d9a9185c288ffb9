#!/bin/sh
# Makes the certificates of the TLS tests anew: an authority, a server certificate for 127.0.0.1 that it signed, another authority that
# signed nothing, and a server certificate that signed itself. They protect nothing.
set -eu
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
for name in authority other self-signed; do
  key "$name.key"
  openssl req -x509 -new -key "$name.key" -days 36500 -subj "/CN=pgkeep test $name" \
    -addext 'subjectAltName=IP:127.0.0.1' -out "$name.pem"
done
key server.key
openssl req -new -key server.key -subj '/CN=pgkeep test server' -out server.csr
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >server.ext
openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -set_serial 1 -days 36500 -extfile server.ext -out server.pem
rm -f authority.key other.key server.csr server.ext
