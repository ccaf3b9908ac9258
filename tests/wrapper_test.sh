#!/usr/bin/env bash
# The wrapper ./tandem without a build: it runs a program that is up to date as it is, asks for a build
# where that is not, and names what it cannot install. It is tried on a copy with a stand-in program.
# usage: wrapper_test.sh SOURCE_DIR
set -uo pipefail
source_dir=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
root="$folder/a checkout"
mkdir -p "$root"/{src,kernels,analysis,cmake,build} "$folder/bin" "$folder/elsewhere"
cp "$source_dir/tandem" "$root/tandem"
cp "$source_dir/cmake/libtorch.txt" "$root/cmake/"
touch "$root/CMakeLists.txt" "$root/CMakePresets.json" "$root/src/main.cpp"

cat >"$root/build/tandem" <<'PROGRAM'
#!/usr/bin/env bash
echo "pid $$ in $PWD"
for argument; do echo "[$argument]"; done
exit 75
PROGRAM
chmod +x "$root/build/tandem"
touch "$root/build/.tandem_built"

# Nothing of the machine may be changed, whoever runs this: the installers are stand-ins that fail.
for name in apt-get sudo cmake ninja; do
  printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\nexit 1\n' "$name" "$folder" >"$folder/bin/$name"
done
printf '#!/bin/sh\nexit 0\n' >"$folder/bin/dpkg-query"
chmod +x "$folder"/bin/*

expect() {  # WHAT, then a command that must succeed
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; failed=1; fi
}
contains() { grep -qF -- "$1" "$folder/out"; }
lacks() { ! grep -qF -- "$1" "$folder/out"; }

run() {  # ./tandem ARG... from another folder; output in out, exit code in code
  rm -f "$folder/calls"
  (cd "$folder/elsewhere" && env -u CI -u TANDEM_LIBTORCH PATH="$folder/bin:$PATH" \
    "$root/tandem" "$@") >"$folder/out" 2>&1
  code=$?
}

run grid 'two words' --help ''
expect "the program's exit code is passed on" [ "$code" = 75 ]
expect "arguments arrive as they are" contains "[two words]"
expect "so do options" contains "[--help]"
expect "so do empty ones" [ "$(grep -cF '[]' "$folder/out")" = 1 ]
expect "the program runs in the caller's folder" contains "in $folder/elsewhere"
expect "nothing is built or installed" [ ! -e "$folder/calls" ]

for word in build test; do
  run "$word" --help
  expect "$word --help says what there is" contains "./tandem build [--times] [TARGET...]"
  expect "and is no failure" [ "$code" = 0 ]
  expect "and builds nothing" [ ! -e "$folder/calls" ]
done
run build --fast
expect "an option that build doesn't have is refused" [ "$code" = 2 ]
expect "by its name" contains "--fast"
expect "before anything is built" [ ! -e "$folder/calls" ]

(cd "$folder/elsewhere" && exec "$root/tandem" x) >"$folder/out" 2>&1 &
wrapper=$!
wait "$wrapper"
expect "the program takes the wrapper's place" contains "pid $wrapper "

touch -d '+1 minute' "$root/src/main.cpp"
run list
expect "a source that changed asks for a build" lacks "[list]"
expect "what cannot be installed ends in exit code 1" [ "$code" = 1 ]
expect "with the command that would install it" contains "apt-get install"
expect "and the packages by name" contains "libsqlitecpp-dev"

rm -f "$root/src/main.cpp"
touch -d '+1 hour' "$root/build/.tandem_built"
rm "$root/build/tandem"
for word in '' --help help; do
  run ${word:+"$word"}
  expect "help without a program says what builds it" contains "./tandem build"
  expect "and builds nothing by itself" [ ! -e "$folder/calls" ]
done
run list
expect "a missing program asks for a build" [ "$code" = 1 ]

exit "$failed"
