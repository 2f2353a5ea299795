#!/bin/sh
# Plays with a scores node and checks its replies: sh check.sh ./scores
set -eu
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sql() { command -v sqlite3 > /dev/null && sqlite3 "$1" "$2" || python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])' "$1" "$2"; }
sql "$work/scores.db" "CREATE TABLE scores (name TEXT PRIMARY KEY, score INTEGER); INSERT INTO scores VALUES ('Tom', 630), ('Jack', 589);"

printf '%s\n' 'get Tom' 'get Tom' 'get nobody' 'set Sam 5 6 7' 'get Sam' 'delete Sam' 'peek Sam' 'peek Tom' 'burst 50 Jack' 'dance' quit > "$work/commands"
cat > "$work/expected" <<'EXPECTED'
{"ready":true,"address":"127.0.0.1:PORT"}
{"ok":true,"value":"630"}
{"ok":true,"value":"630"}
{"ok":false,"code":"NOT_FOUND","message":"key \"nobody\" not found"}
{"ok":true}
{"ok":true,"value":"5 6 7"}
{"ok":true}
{"ok":true,"value":null}
{"ok":true,"value":"630"}
{"ok":true,"n":50,"values":["589"]}
{"ok":false,"code":"INVALID_ARGUMENT","message":"unknown command: get set delete peek burst owner members peers stats quit"}
{"ok":true}
EXPECTED
"$program" --listen 127.0.0.1:0 --db "$work/scores.db" --log "$work/log" < "$work/commands" > "$work/replies"
sed 's/127.0.0.1:[0-9]*/127.0.0.1:PORT/' "$work/replies" | diff "$work/expected" -
# One getter call each for Tom, nobody and Jack.
[ "$(wc -l < "$work/log")" = 3 ]
grep -q '{"node":"c","address":"127.0.0.1:[1-9][0-9]*","key":"Jack","time_ms":[0-9]*}' "$work/log"

if "$program" --db "$work/none.db" 2> "$work/err"; then exit 1; fi
grep -q none.db "$work/err"
code=0
"$program" --frobnicate 2> "$work/err" || code=$?
[ "$code" = 2 ] && grep -q usage "$work/err"
