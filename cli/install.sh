#!/bin/sh
# Puts the kamacache command, its completions and manual pages into
# DESTDIR/PREFIX. What `make cli-install` runs, in the profile PROFILE.
set -eu
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-/usr/local}
PROFILE=${PROFILE:-release}
root=${DESTDIR:-}$PREFIX
out=$PROFILE
[ "$PROFILE" = dev ] && out=debug
made=target/cli-install

cargo build --quiet --package kamacache-cli --profile "$PROFILE" --target-dir target
rm -rf "$made"
mkdir -p "$made"
command=target/$out/kamacache
for shell in bash zsh fish; do
  "$command" completions $shell > "$made/$shell"
done
"$command" man "$made/man1"

install -D -m 755 "$command" "$root/bin/kamacache"
install -D -m 644 "$made/bash" "$root/share/bash-completion/completions/kamacache"
install -D -m 644 "$made/zsh" "$root/share/zsh/site-functions/_kamacache"
install -D -m 644 "$made/fish" "$root/share/fish/vendor_completions.d/kamacache.fish"
for page in "$made"/man1/*.1; do
  install -D -m 644 "$page" "$root/share/man/man1/$(basename "$page")"
done
echo "installed $root/bin/kamacache"
