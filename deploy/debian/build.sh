#!/bin/sh
# Makes a Debian package around a binary that is there: build.sh BINARY [FOLDER]
#
# Debug information is left out, which is most of a binary: lines of births stay, backtraces have names of
# functions without lines. KEEP_DEBUG=1 keeps it.
set -eu
umask 022

binary=${1:?usage: build.sh BINARY [FOLDER]}
out=${2:-.}
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

put() { install -D -m "$1" "$here/$2" "$tree/$3"; }
install -D -m 755 "$binary" "$tree/usr/bin/staunch"
[ -n "${KEEP_DEBUG:-}" ] || strip --strip-debug "$tree/usr/bin/staunch"
put 644 staunch.toml etc/staunch/staunch.toml
put 644 ../systemd/staunch.service usr/lib/systemd/system/staunch.service
put 644 sysusers.conf usr/lib/sysusers.d/staunch.conf
put 644 tmpfiles.conf usr/lib/tmpfiles.d/staunch.conf
put 644 copyright usr/share/doc/staunch/copyright
put 644 ../../LICENSE-MIT usr/share/doc/staunch/LICENSE-MIT
put 644 ../../LICENSE-APACHE usr/share/doc/staunch/LICENSE-APACHE
put 644 conffiles DEBIAN/conffiles
for script in postinst prerm postrm; do put 755 "$script" "DEBIAN/$script"; done

# The configuration that is shipped is right, for this binary.
"$tree/usr/bin/staunch" check --config "$tree/etc/staunch/staunch.toml"

version=$("$binary" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
glibc=$(readelf --version-info "$binary" | grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -V | tail -n 1)
size=$(du -sk --exclude=DEBIAN "$tree" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@GLIBC@/$glibc/" -e "s/@SIZE@/$size/" \
    "$here/control" > "$tree/DEBIAN/control"

dpkg-deb --root-owner-group --build "$tree" "$out/staunch_${version}_${architecture}.deb"
