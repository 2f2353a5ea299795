#!/bin/sh
# The Debian package: made, installed, used, removed without a trace. Without root
# it is unpacked instead.
#
#   [PROFILE=dev] sh tests/c/deb.sh
set -eu
cd "$(dirname "$0")/../.."
work=$PWD/target/c-deb
rm -rf "$work"
mkdir -p "$work"
PROFILE=${PROFILE:-dev} OUT=$work sh ffi/deb.sh > /dev/null
package=$(ls "$work"/libkamacache_*.deb)

# as_user FLAGS: builds the smallest example with them and runs it.
as_user() {
  # shellcheck disable=SC2086
  cc examples/c/hello.c -o "$work/hello" $1
  "$work/hello" | grep -q '^Tom is 630$'
}

dpkg-deb --info "$package" | grep -q "^ Depends: libc6 (>= 2\.[0-9]*), libgcc-s1$"
dpkg-deb --contents "$package" > "$work/contents"
for file in include/kamacache.h include/kamacache.hpp lib/.*/libkamacache.so.0 lib/.*/libkamacache.a lib/.*/pkgconfig/kamacache.pc \
  lib/.*/cmake/KamaCache/KamaCacheConfig.cmake share/man/man7/kamacache.7.gz share/man/man3/kamacache_group_get.3.gz share/doc/kamacache/copyright; do
  grep -q " \./usr/$file" "$work/contents" || { echo "FAILED: the package has no usr/$file" >&2; exit 1; }
done
if grep -v ' root/root ' "$work/contents"; then
  echo "FAILED: files of another owner than root" >&2
  exit 1
fi
echo "ok the package has what it should: $(wc -l < "$work/contents") files and folders, $(du -h "$package" | cut -f 1)"

if [ "$(id -u)" != 0 ]; then
  dpkg-deb --extract "$package" "$work/root"
  pc=$(dirname "$(find "$work/root" -name kamacache.pc)")
  as_user "$(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs kamacache) -Wl,-rpath,$(dirname "$pc")"
  echo "ok unpacked, and a program runs with it; not root, so it is not installed"
  exit 0
fi
dpkg -s libkamacache > /dev/null 2>&1 && { echo "deb.sh: libkamacache is installed on this machine; it is left alone" >&2; exit 1; }
trap 'dpkg --purge libkamacache > /dev/null 2>&1 || true' EXIT
dpkg -i "$package" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
env -u PKG_CONFIG_PATH -u LD_LIBRARY_PATH pkg-config --modversion kamacache > /dev/null
as_user "$(env -u PKG_CONFIG_PATH pkg-config --cflags --libs kamacache)"
dpkg --verify libkamacache | grep -v " /usr/share/\(man\|doc\)/" > "$work/verify" || true # small images leave those out
[ ! -s "$work/verify" ] || { cat "$work/verify"; exit 1; }
echo "ok installed: a program is built with pkg-config alone, and finds the library through ldconfig"
dpkg -L libkamacache | while read -r path; do [ -d "$path" ] || echo "$path"; done > "$work/files"
dpkg -r libkamacache > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
while read -r path; do
  if [ -e "$path" ]; then
    echo "FAILED: $path is left after dpkg -r" >&2
    exit 1
  fi
done < "$work/files"
! dpkg -s libkamacache > /dev/null 2>&1 || ! dpkg -s libkamacache | grep -q '^Status: .*installed$' || exit 1
echo "ok removed: none of its $(wc -l < "$work/files") files is left"
