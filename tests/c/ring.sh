#!/bin/sh
# Two processes of examples/c/cluster.c in one ring: sh ring.sh ./cluster
# Both print the same value for a key, the one that its owner's getter gave.
set -eu
program=$1
work=$(mktemp -d)
a= b=
trap 'kill $a $b 2> /dev/null || true; rm -rf "$work"' EXIT
mkfifo "$work/a.in" "$work/b.in" "$work/a.out" "$work/b.out"
"$program" 127.0.0.1:0 < "$work/a.in" > "$work/a.out" & a=$!
"$program" 127.0.0.1:0 < "$work/b.in" > "$work/b.out" & b=$!
exec 3> "$work/a.in" 4> "$work/b.in" 5< "$work/a.out" 6< "$work/b.out"
read -r address_a <&5
read -r address_b <&6
echo "peers $address_a $address_b" >&3
echo "peers $address_a $address_b" >&4
owned_a=0 owned_b=0
for key in Ann Bob Cid Dan Eve Fay Gus Hal Ida Jim Kay Lee Mia Ned Ola Pat; do
  echo "$key" >&3
  read -r said_a <&5
  echo "$key" >&4
  read -r said_b <&6
  [ "$said_a" = "$said_b" ] || { echo "$key: \"$said_a\" at one node, \"$said_b\" at the other"; exit 1; }
  case $said_a in
    "$key as $address_a read it") owned_a=$((owned_a + 1)) ;;
    "$key as $address_b read it") owned_b=$((owned_b + 1)) ;;
    *) echo "$key: $said_a"; exit 1 ;;
  esac
done
[ "$owned_a" -gt 0 ] && [ "$owned_b" -gt 0 ] || { echo "one node owns all of 16 keys"; exit 1; }
echo nobody >&4
read -r said_b <&6
[ "$said_b" = "no nobody" ]
exec 3>&- 4>&-
wait $a
wait $b
