#!/bin/sh
# Makes the Debian package of the C library: dist/libkamacache_<version>_<arch>.deb,
# with the shared and the static library, the headers, the man pages and the
# examples.
#
#   [PROFILE=release] [OUT=dist] sh ffi/deb.sh
#
# It is what `make install` puts under /usr, with what dpkg wants beside it. It
# needs dpkg-deb and strip; not root.
set -eu
cd "$(dirname "$0")/.."
PROFILE=${PROFILE:-release}
OUT=${OUT:-dist}
for tool in dpkg-deb dpkg strip; do
  command -v $tool > /dev/null || { echo "deb.sh: there is no $tool: on Debian, apt-get install dpkg-dev binutils" >&2; exit 1; }
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
repository=$(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
triplet=$(cc -print-multiarch 2> /dev/null || true)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

PREFIX=/usr LIBDIR=/usr/lib${triplet:+/$triplet} DESTDIR=$stage PROFILE=$PROFILE STRIP=1 sh ffi/install.sh
mkdir -p "$stage/DEBIAN"
install -m 644 LICENSE "$stage/usr/share/doc/kamacache/copyright"
gzip -9n "$stage"/usr/share/man/man[37]/*

# The newest glibc that it takes is what the library asks for.
glibc=$(readelf -V "$stage/usr/lib${triplet:+/$triplet}/libkamacache.so.$version" | grep -o 'GLIBC_2\.[0-9]*' | sort -V | tail -n 1 | sed 's/GLIBC_//')
cat > "$stage/DEBIAN/control" <<CONTROL
Package: libkamacache
Version: $version
Architecture: $arch
Section: libdevel
Priority: optional
Maintainer: The kamacache authors <kamacache@users.noreply.github.com>
Homepage: $repository
Installed-Size: $(du -ks "$stage/usr" | cut -f 1)
Depends: libc6 (>= ${glibc:-2.31}), libgcc-s1
Description: in-process distributed read-through cache, C and C++ library
 Nodes in the processes of an application form one ring: each key has one owner,
 whose getter loads it once, however many ask. This package has the shared and
 the static library, the headers, pkg-config and CMake files, man pages
 (kamacache(7)) and examples.
CONTROL
printf 'activate-noawait ldconfig\n' > "$stage/DEBIAN/triggers"
printf 'libkamacache 0 libkamacache (>= %s)\n' "$version" > "$stage/DEBIAN/shlibs"
(cd "$stage" && find usr -type f -exec md5sum {} + | sort -k 2 > DEBIAN/md5sums)
chmod 644 "$stage"/DEBIAN/*
mkdir -p "$OUT"
dpkg-deb --root-owner-group -Zxz --build "$stage" "$OUT/libkamacache_${version}_$arch.deb"
