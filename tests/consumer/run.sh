#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the program of this folder against runhouse and runs it: run.sh WAY SOURCE BUILD WORK COMPILER
set -euo pipefail
way=$1 source=$2 build=$3 work=$4 compiler=$5
here="$source/tests/consumer"
prefix="$work/prefix"
flags=(-O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

rm -rf "$work"
mkdir -p "$work"

case "$way" in
  find_package | pkg_config) cmake --install "$build" --prefix "$prefix" >/dev/null ;;
esac
case "$way" in
  find_package | add_subdirectory)
    cmake -G Ninja -S "$here/$way" -B "$work/build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" \
      -DCMAKE_CXX_FLAGS="${flags[*]}" -DRUNHOUSE_SOURCE="$source"
    cmake --build "$work/build"
    program="$work/build/consumer"
    ;;
  pkg_config)
    export PKG_CONFIG_PATH="$prefix/share/pkgconfig"
    program="$work/consumer"
    # Unquoted: it is several arguments.
    "$compiler" -std=c++20 "${flags[@]}" "$here/main.cpp" "$here/light.cpp" $(pkg-config --cflags --libs runhouse) \
      -o "$program"
    ;;
esac

said=$("$program")
if [ "$said" != 5 ]; then
  echo "$program should print 5, and printed: $said"
  exit 1
fi
