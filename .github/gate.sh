#!/usr/bin/env bash
# What action.yml runs: measure MODEL (or take REPORT), judge it, say so in GitHub's ways, and exit as `lidiag gate` does.
set -uo pipefail

say() { printf '%s\n' "$1" >> "${GITHUB_OUTPUT:-/dev/null}"; }

folder=$OUT
if [ -n "$MODEL" ] && [ -n "$REPORT" ] || [ -z "$MODEL$REPORT" ]; then
  echo "::error title=lidiag::Give either model, to measure it, or report, to judge it."
  say "exit-code=4"
  exit 4
elif [ -n "$MODEL" ]; then
  options=(--model "$MODEL" --suite "$SUITE" --out "$OUT")
  while IFS= read -r name; do
    [ -z "$name" ] || options+=(--data "$name")
  done <<< "$DATA"
  "$LIDIAG" run "${options[@]}"
  code=$?
  # 1 and 3 leave a report that the gates below judge; anything else left none.
  if [ "$code" -ne 0 ] && [ "$code" -ne 1 ] && [ "$code" -ne 3 ]; then
    echo "::error title=lidiag::The run ended with exit code $code and left no report to judge."
    say "exit-code=$code"
    exit "$code"
  fi
else
  mkdir -p "$OUT"
  folder=$REPORT
fi

options=("$folder" --junit "$OUT/junit.xml" --github)
[ -z "$GATES" ] || options+=(--gates "$GATES")
[ -z "$BASELINE" ] || options+=(--baseline "$BASELINE")
"$LIDIAG" gate "${options[@]}"
code=$?
say "folder=$OUT"
say "exit-code=$code"
exit "$code"
