#!/bin/sh
# All C tests, against an installed package: installs libkamacache into a prefix
# under target/, then checks the header, the library file, the reference, the
# package, the test programs, the conformance rows and the examples. What takes
# longer is in abi.sh, deb.sh and long.sh.
#
#   sh tests/c/run.sh            PROFILE=release for the optimised library,
#                                QUICK=1 without sanitizers and valgrind
#
# Its last line is "N passed, N failed"; it exits 1 when any failed.
set -u
cd "$(dirname "$0")/../.."
root=$PWD
work=$root/target/c-tests
prefix=$work/prefix
PROFILE=${PROFILE:-dev}
passed=0
failed=0

# check NAME COMMAND...: one test; its output is shown when it fails.
check() {
  title=$1
  shift
  if "$@" > "$work/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok $title"
  else
    failed=$((failed + 1))
    echo "FAILED $title"
    sed 's/^/  /' "$work/log"
  fi
}

# count NAME COMMAND...: a program that ends with "N passed, N failed".
count() {
  title=$1
  shift
  timeout 120 "$@" > "$work/log" 2>&1
  code=$?
  sed "s/^/  $title: /" "$work/log" | grep -v ': ok '
  line=$(tail -n 1 "$work/log")
  p=$(echo "$line" | sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p')
  f=$(echo "$line" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
  passed=$((passed + ${p:-0}))
  failed=$((failed + ${f:-0}))
  if [ -z "$p" ] || { [ "$code" != 0 ] && [ "$f" = 0 ]; }; then
    failed=$((failed + 1))
    echo "FAILED $title: exit code $code"
  fi
}

# package NAME PROBE...: makes sure of a Debian package, or says what is missing.
package() {
  debian=$1
  shift
  "$@" > /dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get install -y -qq "$debian" > /dev/null 2>&1 ||
      { apt-get update -qq && apt-get install -y -qq "$debian"; } > /dev/null 2>&1
  fi
  "$@" > /dev/null 2>&1 && return
  echo "tests/c/run.sh: missing the Debian package $debian: apt-get install $debian" >&2
  exit 1
}

mkdir -p "$work" "$work/examples"
package gcc command -v gcc
package g++ command -v g++
package binutils command -v readelf
package pkg-config command -v pkg-config
package cmake command -v cmake
package libjansson-dev pkg-config --exists jansson
package libsqlite3-dev pkg-config --exists sqlite3
package libuv1-dev pkg-config --exists libuv

# Installed into a stage, and moved from there: no file may know where it was.
stage=$work/stage
rm -rf "$prefix" "$stage"
PREFIX=/opt/staged DESTDIR=$stage PROFILE=$PROFILE sh ffi/install.sh || exit 1
mv "$stage/opt/staged" "$prefix"
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
export LD_LIBRARY_PATH="$prefix/lib"
flags=$(pkg-config --cflags --libs kamacache)

# ---- the header compiles alone, as every C and C++ ----
warnings="-Wall -Wextra -Wpedantic -Werror"
echo '#include <kamacache.h>' > "$work/header.c"
echo '#include <kamacache.h>' > "$work/header.cpp"
for cc in gcc clang; do
  command -v $cc > /dev/null || { echo "skipped $cc: not installed"; continue; }
  for std in c99 c11 c17 c2x; do
    check "header $cc $std" $cc -std=$std $warnings -Wstrict-prototypes -fsyntax-only -I"$prefix/include" "$work/header.c"
  done
  for std in c++11 c++14 c++17 c++20; do
    check "header $cc $std" $cc -x c++ -std=$std $warnings -fsyntax-only -I"$prefix/include" "$work/header.cpp"
  done
done

echo '#include <kamacache.hpp>' > "$work/wrapper.cpp"
for cc in g++ clang++; do
  command -v $cc > /dev/null || { echo "skipped $cc: not installed"; continue; }
  for std in c++17 c++20; do
    for exceptions in -fexceptions -fno-exceptions; do
      check "wrapper $cc $std $exceptions" $cc -std=$std $exceptions $warnings -fsyntax-only -I"$prefix/include" "$work/wrapper.cpp"
    done
  done
done

# ---- the library file ----
so=$prefix/lib/libkamacache.so
exported() { nm -D --defined-only "$so" | awk '{print $3}' | sort; }
# A function of C that the wrapper does not use must have a reason: the wrapper's own user data; arrays of C.
wrapped() {
  for name in $(cat ffi/symbols.txt); do
    case $name in kamacache_group_user_data | kamacache_results_clear | *_options_init_sized) continue ;; esac
    grep -q "$name\b" include/kamacache.hpp || { echo "$name"; missing=1; }
  done
  [ -z "${missing:-}" ]
}
check "kamacache.hpp has everything of kamacache.h" wrapped
declared() { grep -o '\bkamacache_[a-z_]*(' "$prefix/include/kamacache.h" | tr -d '(' | sort -u; }
same_symbols() {
  exported > "$work/exported"
  # Macros and function types are declared like functions, and are none.
  declared | grep -v -e '_options_init$' -e '^kamacache_version()$' > "$work/declared"
  diff "$work/declared" "$work/exported"
}
check "exported symbols are the declared functions" same_symbols
listed_symbols() { exported | diff ffi/symbols.txt -; }
check "exported symbols are those of ffi/symbols.txt, no more and no less" listed_symbols
has() { readelf -dW "$so" | grep -q "$1"; }
check "soname" has 'SONAME.*\[libkamacache\.so\.0\]'
check "nodelete" has 'FLAGS_1.*NODELETE'
no_textrel() { ! readelf -dW "$so" | grep -q TEXTREL; }
check "no text relocations" no_textrel
no_exec_stack() { readelf -lW "$so" | grep GNU_STACK | grep -qv 'RWE'; }
check "no executable stack" no_exec_stack

# ---- the reference ----
reference() { "${PYTHON:-python3}" ffi/reference "$1" ffi/reference/guide.txt examples/c/cluster.c "$work/reference"; }
every_name_has_a_page() {
  grep -ohE '\bkamacache_[a-z_]+' include/kamacache.h | sort -u | while read -r name; do
    case $name in kamacache_group_ | kamacache_load_ | kamacache_options_init*) continue ;; esac
    [ -e "$prefix/share/man/man3/$name.3" ] || { echo "no page for $name"; return 1; }
  done
}
check "every name of the header has a man page" every_name_has_a_page
example_is_in_the_manual() { MANPATH=$prefix/share/man MANWIDTH=300 man --warnings=all -E UTF-8 7 kamacache 2> "$work/warnings" | grep -q 'kamacache_node_open(&node_options, &node, &err);' && [ ! -s "$work/warnings" ]; }
if command -v man > /dev/null; then
  check "man 7 kamacache has the program of examples/c/cluster.c, and no warning" example_is_in_the_manual
  pages_are_clean() { for page in "$prefix"/share/man/man3/*.3; do MANPATH=$prefix/share/man man --warnings=all -l "$page" 2>&1 > /dev/null; done | tee "$work/warnings" | grep . && return 1; true; }
  check "no page has a warning" pages_are_clean
fi
# Each of these is one thing that a reader would miss.
refused() {
  sed "$1" include/kamacache.h > "$work/worse.h"
  ! cmp -s include/kamacache.h "$work/worse.h" && ! reference "$work/worse.h" 2> "$work/said" && grep -q "$2" "$work/said" && [ ! -e "$work/reference/man" ]
}
rm -rf "$work/reference"
check "a field without a comment is refused" refused '/Memory budget of the group/,/at least 65,536/d' 'kamacache_group_options: max_bytes has no comment'
check "a parameter without a comment is refused" refused '/@param drain_ms/d' 'kamacache_node_close: @param'
check "a function that says nothing of threads is refused" refused '/never blocks and never loads/d' 'kamacache_group_peek.*Threads'
check "a code without a comment is refused" refused '/A fault of the library/d' 'KAMACACHE_INTERNAL has no comment'
check "a function without a comment is refused" refused '/Frees an error and its message/d' 'kamacache_error_free has no comment'
check "the reference of the header as it is" reference include/kamacache.h

# ---- the test programs ----
mkdir -p "$work/bin"
export CERTIFICATES="$work/certificates"
check "certificates for the tests" sh tests/certificates.sh "$CERTIFICATES"
for source in tests/c/*.c; do
  name=$(basename "$source" .c)
  extra=
  link=$flags
  case $name in
    conformance) extra=$(pkg-config --cflags --libs jansson) ;;
    unload) link="$(pkg-config --cflags kamacache) -ldl" ;; # on its own, it loads the library
  esac
  # shellcheck disable=SC2086
  check "build $name" gcc -std=c11 -D_GNU_SOURCE -g -O1 $warnings -Wstrict-prototypes "$source" -o "$work/bin/$name" $link $extra -lpthread
  [ "$name" = conformance ] && continue
  [ -x "$work/bin/$name" ] && count "$name" "$work/bin/$name"
done
count conformance "$work/bin/conformance" tests/conformance/*.json

for variant in c++17 c++20 c++20-fno-exceptions; do
  # shellcheck disable=SC2046,SC2086
  check "build wrapper $variant" g++ $(echo "-std=$variant" | sed 's/-fno/ -fno/') -g -O0 $warnings tests/c/wrapper.cpp \
    -o "$work/bin/wrapper-$variant" $flags -lpthread
  count "wrapper $variant" "$work/bin/wrapper-$variant"
done

# Nothing is said at exit, and what runs then works.
ends_quietly() {
  g++ -std=c++17 -g -O0 $warnings tests/c/exit.cpp -o "$work/bin/exit" $flags -lpthread || return 1
  timeout 120 "$work/bin/exit" > "$work/said" 2> "$work/stderr" || return 1
  cat "$work/stderr"
  [ ! -s "$work/stderr" ] && printf '%s\n' 'the getter had returned' 'in a thread: in a thread' \
    'between calls: between calls, set OK, v, INVALID_ARGUMENT' 'at exit: at exit' \
    'the functions were freed' | diff - "$work/said"
}
check "nodes that end with their process and with their scope" ends_quietly
mixes() {
  g++ -std=c++17 -fno-exceptions -DWITHOUT_EXCEPTIONS $warnings -c tests/c/mixed.cpp -o "$work/bin/without.o" $flags &&
    g++ -std=c++17 $warnings -c tests/c/mixed.cpp -o "$work/bin/with.o" $flags &&
    g++ "$work/bin/without.o" "$work/bin/with.o" -o "$work/bin/mixed" $flags -lpthread &&
    [ "$("$work/bin/mixed")" = "GETTER_FAILED 1" ]
}
check "objects with and without exceptions in one program" mixes
# The program in the comment of kamacache.hpp, as it stands there.
comment_example() {
  {
    echo '#include <kamacache.hpp>'
    echo '#include <iostream>'
    echo 'static std::string read_from_database(std::string_view key) { return "the value of " + std::string(key); }'
    echo 'int main() {'
    sed -n '/^ \*\//q; s/^ \*   //p' include/kamacache.hpp
    echo '  std::cout << text << std::endl;'
    echo '}'
  } > "$work/comment.cpp"
  g++ -std=c++17 -g $warnings -fsanitize=address,undefined -fno-sanitize-recover=all "$work/comment.cpp" -o "$work/bin/comment" $flags -lpthread &&
    says "$work/bin/comment" "the value of Tom"
}
# What it was before: a view of a value that is freed at once.
view_of_a_temporary() {
  sed 's/kamacache::Value score = scores.get("Tom");//; s/= score;/= scores.get("Tom");/' "$work/comment.cpp" > "$work/dangling.cpp"
  grep -q 'text = scores.get' "$work/dangling.cpp" && ! g++ -std=c++17 -fsyntax-only "$work/dangling.cpp" $flags
}

# ---- the same under ASan and UBSan, and under valgrind ----
# shellcheck disable=SC2086
sanitized() {
  gcc -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all "tests/c/$1.c" -o "$work/bin/$1-san" $flags -lpthread &&
    timeout 120 "$work/bin/$1-san" ${2-}
}
# shellcheck disable=SC2086
sanitized_cpp() {
  g++ -std=c++20 -g -O0 -fsanitize=address,undefined -fno-sanitize-recover=all tests/c/wrapper.cpp -o "$work/bin/wrapper-san" $flags -lpthread &&
    timeout 120 "$work/bin/wrapper-san"
}
no_leaks() {
  CHECK_SLOWLY=1 timeout 300 valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --error-exitcode=9 "$work/bin/$1"
}
# What valgrind runs takes as long as all the rest, and one core: beside the rest.
under_valgrind="smoke misuse async many cluster interface"
valgrind_all() {
  for program in $under_valgrind; do
    no_leaks "$program" > "$work/valgrind-$program" 2>&1
    echo $? > "$work/valgrind-$program.code"
  done
}
valgrind_said() { cat "$work/valgrind-$1" && return "$(cat "$work/valgrind-$1.code")"; }
if [ -z "${QUICK:-}" ]; then
  command -v valgrind > /dev/null && valgrind_all &
  beside=$!
  for program in $under_valgrind options log; do
    check "sanitizers $program" sanitized "$program"
  done
  check "sanitizers wrapper" sanitized_cpp
  check "sanitizers stress, with a peer that is killed" sanitized stress 4000
fi

# ---- static linking, a moved prefix, C++ ----
# shellcheck disable=SC2086
static() {
  gcc -std=c11 -D_GNU_SOURCE tests/c/smoke.c -o "$work/bin/static" $(pkg-config --cflags kamacache) "$prefix/lib/libkamacache.a" \
    $(pkg-config --static --libs-only-l kamacache | sed 's/-lkamacache//') -lpthread &&
    ! readelf -d "$work/bin/static" | grep -q libkamacache &&
    "$work/bin/static"
}
check "static link with Libs.private" static
# shellcheck disable=SC2046
all_static() {
  gcc -static -std=c11 -D_GNU_SOURCE tests/c/smoke.c -o "$work/bin/all-static" $(pkg-config --static --cflags --libs kamacache) &&
    ! readelf -d "$work/bin/all-static" | grep -q NEEDED && "$work/bin/all-static"
}
check "gcc -static with pkg-config --static" all_static
nothing_else_staged() { [ "$(find "$stage" ! -type d | wc -l)" = 0 ]; }
check "DESTDIR gets everything, PREFIX nothing" nothing_else_staged
knows_no_path() { ! grep -rIl -e "$stage" -e /opt/staged -e "$root" "$prefix/lib/pkgconfig" "$prefix/lib/cmake" "$prefix/include" "$prefix/share"; }
check "no installed text knows where it lies" knows_no_path
finds_itself() { pkg-config --cflags --libs kamacache | grep -q -e "-I$prefix/lib/pkgconfig/../../include .*-L$prefix/lib/pkgconfig/../../lib -lkamacache\|-I$prefix/include .*-L$prefix/lib -lkamacache"; }
check "pkg-config finds the moved prefix" finds_itself
cp -r "$prefix" "$work/again"
rm -rf "$work/moved" && mv "$work/again" "$work/moved"
# shellcheck disable=SC2086
cpp() {
  g++ -x c++ -std=c++17 -D_GNU_SOURCE $warnings tests/c/smoke.c -o "$work/bin/smoke-cpp" $flags -lpthread && "$work/bin/smoke-cpp"
}
check "the smoke tests as C++" cpp

# ---- the examples, built as a user would, with pkg-config and with CMake ----
says() {
  "$1" > "$work/said" && printf '%s\n' "$2" | diff - "$work/said"
}
check "the example of kamacache.hpp's comment runs, under ASan" comment_example
check "a view of a temporary value does not compile" view_of_a_temporary
hello='loading Tom
Tom is 630
Tom is 630
loading nobody
nobody: key "nobody" not found'
hello_cpp='Tom is 630
NOT_FOUND: key "nobody" not found'
loop_says() {
  "$1" | sort > "$work/said" && printf '%s\n' 'Jack is Jack' 'Tom is Tom' 'nobody: key "nobody" not found' | diff - "$work/said"
}
raii_cpp='GETTER_FAILED 33: no square of a negative number here
7 * 7 = 49
12 * 12 = 144, after its node is gone'
poll_says() {
  printf 'Tom\nJonathan\nnobody\n\n' | "$1" | sort > "$work/said" && printf '%s\n' ': refused' 'Jonathan is 8' 'Tom is 3' 'nobody: NOT_FOUND' | diff - "$work/said"
}
examples_run() {
  says "$1/hello" "$hello" && says "$1/hello-cpp" "$hello_cpp" && says "$1/raii-cpp" "$raii_cpp" && says "$1/later" "the value of Tom" &&
    loop_says "$1/loop" && poll_says "$1/poll" && loop_says "$1/uv" && sh tests/c/ring.sh "$1/cluster"
}
no_library_path() { env -u LD_LIBRARY_PATH "$@"; }
installed=$prefix/share/doc/kamacache/examples # as a user has them
check "build the installed examples with pkg-config" make -s -C "$installed/c" BUILD="$work/examples" clean all cpp uv
check "the examples run" examples_run "$work/examples"
check "the scores node answers" no_library_path sh examples/c/check.sh "$work/examples/scores"
by_cmake() {
  rm -rf "$work/cmake" && cmake -S "$work/moved/share/doc/kamacache/examples/c" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/moved" && cmake --build "$work/cmake"
}
check "build the examples with CMake, from a moved prefix" by_cmake
outside_project() {
  mkdir -p "$work/outside" && printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(outside C)' "find_package(KamaCache $1 REQUIRED)" \
    "add_executable(hello $root/examples/c/hello.c)" "target_link_libraries(hello KamaCache::$2 ${3-})" > "$work/outside/CMakeLists.txt"
  rm -rf "$work/outside/build" && cmake -S "$work/outside" -B "$work/outside/build" -DCMAKE_PREFIX_PATH="$work/moved" &&
    cmake --build "$work/outside/build" && says "$work/outside/build/hello" "$hello"
}
for version in 0 0.1 0.1.0; do
  check "find_package(KamaCache $version)" outside_project $version kamacache
done
check "KamaCache::static in a program that is all static" outside_project 0.1 static -static
newer_is_refused() { ! outside_project "$1" kamacache; }
check "find_package(KamaCache 1) finds none" newer_is_refused 1
check "find_package(KamaCache 0.99) finds none" newer_is_refused 0.99
check "the examples run, built with CMake" examples_run "$work/cmake"
check "the scores node answers, built with CMake" no_library_path sh examples/c/check.sh "$work/cmake/scores"
check "the static one runs, built with CMake" says "$work/cmake/hello-static" "$hello"
dynamic() { readelf -d "$work/cmake/hello" | grep -q 'libkamacache\.so\.0' && ! readelf -d "$work/cmake/hello-static" | grep -q libkamacache; }
check "CMake linked the one by its soname, the other not at all" dynamic

if [ -z "${QUICK:-}" ]; then
  wait "$beside"
  check "valgrind: a getter frees the handle that called it" timeout 300 valgrind --quiet --error-exitcode=9 "$work/bin/lifetime" handles
  suppressed() {
    timeout 300 valgrind --quiet --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all --error-exitcode=9 \
      --suppressions="$prefix/share/kamacache/valgrind.supp" "$work/bin/smoke"
  }
  command -v valgrind > /dev/null && check "valgrind.supp hides what is allocated once, and nothing else is left" suppressed
  for program in $under_valgrind; do
    if command -v valgrind > /dev/null; then
      check "valgrind $program" valgrind_said "$program"
    else
      echo "skipped valgrind $program: not installed"
    fi
  done
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
