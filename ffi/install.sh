#!/bin/sh
# Installs libkamacache for C and C++:
#
#   PREFIX=/usr/local [DESTDIR=/stage] [LIBDIR=$PREFIX/lib] [PROFILE=release] sh ffi/install.sh
#
#   include/kamacache.h
#   lib/libkamacache.so.0.1.0  <- libkamacache.so.0 <- libkamacache.so
#   lib/libkamacache.a
#   lib/pkgconfig/kamacache.pc          found again after the whole prefix is moved
#
# PROFILE=dev installs the debug build, which the tests use.
set -eu

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
LIBDIR=${LIBDIR:-$PREFIX/lib}
PROFILE=${PROFILE:-release}
case $PREFIX in /*) ;; *) echo "install.sh: PREFIX=$PREFIX is not an absolute path" >&2; exit 2 ;; esac

cd "$(dirname "$0")/.."
cargo build --quiet --package kamacache-ffi --lib --profile "$PROFILE"
case $PROFILE in dev) out=debug ;; *) out=$PROFILE ;; esac
built=${CARGO_TARGET_DIR:-target}/$out
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soname=libkamacache.so.0

include=$DESTDIR$PREFIX/include
lib=$DESTDIR$LIBDIR
install -d "$include" "$lib/pkgconfig"
install -m 644 include/*.h* "$include"
install -m 755 "$built/libkamacache.so" "$lib/libkamacache.so.$version"
ln -sf "libkamacache.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libkamacache.so"
install -m 644 "$built/libkamacache.a" "$lib/libkamacache.a"

# Relative to where the file lies, so that the prefix can be moved.
up=$(printf '%s' "${LIBDIR#"$PREFIX"/}/pkgconfig" | sed 's,[^/][^/]*,..,g')
cat > "$lib/pkgconfig/kamacache.pc" <<PC
prefix=\${pcfiledir}/$up
libdir=\${prefix}/${LIBDIR#"$PREFIX"/}
includedir=\${prefix}/include

Name: kamacache
Description: In-process distributed read-through cache
URL: https://github.com/kamacache/kamacache
Version: $version
Cflags: -I\${includedir}
Libs: -L\${libdir} -lkamacache
Libs.private: -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
PC
