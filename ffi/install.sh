#!/bin/sh
# Installs libkamacache for C and C++:
#
#   PREFIX=/usr/local [DESTDIR=/stage] [LIBDIR=$PREFIX/lib] [PROFILE=release] sh ffi/install.sh
#
#   include/kamacache.h, include/kamacache.hpp
#   lib/libkamacache.so.0.1.0  <- libkamacache.so.0 <- libkamacache.so
#   lib/libkamacache.a
#   lib/pkgconfig/kamacache.pc
#   lib/cmake/KamaCache/                find_package(KamaCache): KamaCache::kamacache, KamaCache::static
#   share/man/man3, share/man/man7      man kamacache
#   share/doc/kamacache/html, examples
#   share/kamacache/valgrind.supp       valgrind --suppressions=: what is allocated once
#
# pkg-config and CMake find their files again after the whole prefix is moved.
# An item of the header that is not documented is an error, before anything is
# installed.
#
# PROFILE=dev installs the debug build, which the tests use; STRIP=1 leaves out
# debugging symbols.
set -eu

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
LIBDIR=${LIBDIR:-$PREFIX/lib}
PROFILE=${PROFILE:-release}
PYTHON=${PYTHON:-python3}
STRIP=${STRIP:-}
case $PREFIX in /*) ;; *) echo "install.sh: PREFIX=$PREFIX is not an absolute path" >&2; exit 2 ;; esac
case $LIBDIR in "$PREFIX"/*) ;; *) echo "install.sh: LIBDIR=$LIBDIR is not below PREFIX=$PREFIX: one could not move the whole" >&2; exit 2 ;; esac

cd "$(dirname "$0")/.."
cargo build --quiet --package kamacache-ffi --lib --profile "$PROFILE"
case $PROFILE in dev) out=debug ;; *) out=$PROFILE ;; esac
built=${CARGO_TARGET_DIR:-target}/$out
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soname=libkamacache.so.0

reference=$(mktemp -d)
trap 'rm -rf "$reference"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$PYTHON" ffi/reference include/kamacache.h ffi/reference/guide.txt examples/c/cluster.c "$reference" "$version" > /dev/null

include=$DESTDIR$PREFIX/include
lib=$DESTDIR$LIBDIR
install -d "$include" "$lib/pkgconfig" "$lib/cmake/KamaCache"
install -m 644 include/*.h* "$include"
install -m 755 ${STRIP:+--strip} "$built/libkamacache.so" "$lib/libkamacache.so.$version"
ln -sf "libkamacache.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libkamacache.so"
install -m 644 "$built/libkamacache.a" "$lib/libkamacache.a"
if [ -n "$STRIP" ]; then strip --strip-debug "$lib/libkamacache.a"; fi

share=$DESTDIR$PREFIX/share
install -d "$share/man/man3" "$share/man/man7" "$share/doc/kamacache/html" "$share/doc/kamacache/examples/c" "$share/doc/kamacache/examples/cpp"
install -m 644 "$reference"/man/man3/*.3 "$share/man/man3"
install -m 644 "$reference"/man/man7/*.7 "$share/man/man7"
install -m 644 "$reference"/html/index.html "$share/doc/kamacache/html"
install -m 644 examples/c/*.[ch] examples/c/Makefile examples/c/CMakeLists.txt "$share/doc/kamacache/examples/c"
install -m 644 examples/cpp/*.cpp "$share/doc/kamacache/examples/cpp"
install -d "$share/kamacache"
install -m 644 ffi/valgrind.supp "$share/kamacache/valgrind.supp"

# What a static library leaves to be linked. The unwinder is the compiler's to add:
# libgcc_s, or libgcc_eh with -static.
private="util rt pthread m dl c"

# Relative to where the files lie, so that the prefix can be moved.
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
Libs.private:$(printf " -l%s" $private)
PC

cat > "$lib/cmake/KamaCache/KamaCacheConfig.cmake" <<CMAKE
# KamaCache::kamacache, the shared library; KamaCache::static, the static one.
get_filename_component(_kamacache_prefix "\${CMAKE_CURRENT_LIST_DIR}/../$up" ABSOLUTE)
set(_kamacache_lib "\${_kamacache_prefix}/${LIBDIR#"$PREFIX"/}")
if(NOT TARGET KamaCache::kamacache)
  add_library(KamaCache::kamacache SHARED IMPORTED)
  set_target_properties(KamaCache::kamacache PROPERTIES
    IMPORTED_LOCATION "\${_kamacache_lib}/libkamacache.so.$version"
    IMPORTED_SONAME "$soname"
    INTERFACE_INCLUDE_DIRECTORIES "\${_kamacache_prefix}/include")
  add_library(KamaCache::static STATIC IMPORTED)
  set_target_properties(KamaCache::static PROPERTIES
    IMPORTED_LOCATION "\${_kamacache_lib}/libkamacache.a"
    INTERFACE_INCLUDE_DIRECTORIES "\${_kamacache_prefix}/include"
    INTERFACE_LINK_LIBRARIES "$(echo $private | tr ' ' ';')")
endif()
unset(_kamacache_prefix)
unset(_kamacache_lib)
CMAKE

# The same rule as the soname's: libkamacache.so.N is compatible with every older N.x.
cat > "$lib/cmake/KamaCache/KamaCacheConfigVersion.cmake" <<CMAKE
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION OR
   NOT PACKAGE_FIND_VERSION_MAJOR VERSION_EQUAL "${version%%.*}")
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
CMAKE
