#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The installed library serves pkg-config, CMake and, as a subproject, meson.
# timeout: 1200
. "$WEIR_ROOT/tests/support/script.sh"

here=$WEIR_ROOT/tests/install
prefix=$TMPDIR/installed/usr/local
export CXX=clang++-19

install_library() {
    DESTDIR=$TMPDIR/installed meson install -C "$WEIR_BUILD" --no-rebuild --tags devel
    find "$prefix" -name libweir.a | grep .
    test -e "$prefix/include/weir/core/error.hh"
    # Nothing of this machine's folders is written into what others build with.
    ! grep -rn -e "$WEIR_ROOT" -e /usr/lib/ "$(library_folder)/pkgconfig" "$(library_folder)/cmake"
}

library_folder() {
    dirname "$(find "$prefix" -name libweir.a)"
}

# Runs the service, asks it once, and waits for its end.
serves() {
    local address process
    coproc service { exec "$1"; }
    process=$service_PID  # bash forgets the variable when the process ends
    trap "kill -9 $process 2>/dev/null || true" EXIT
    read -r -t 60 address <&"${service[0]}"
    test "$(curl --silent --show-error --fail --max-time 60 "http://$address/")" = installed
    wait "$process"
}

# What a plain "meson setup" builds, where nothing is that only applications and tests need.
builds_the_library_alone() {
    local folder=$TMPDIR/alone
    mkdir "$TMPDIR/few"
    for package in fmt hwloc; do
        ln -s "$(pkg-config --variable=pcfiledir $package)/$package.pc" "$TMPDIR/few/"
    done
    printf "[binaries]\ncmake = 'not-here'\n" >"$TMPDIR/few.ini"
    PKG_CONFIG_LIBDIR=$TMPDIR/few PKG_CONFIG_PATH='' \
        meson setup "$folder" "$WEIR_ROOT" --native-file "$TMPDIR/few.ini"
    ninja -C "$folder" -n all >"$TMPDIR/steps"
    grep -q 'static target libweir.a' "$TMPDIR/steps"
    ! grep -E '(tests|apps)/' "$TMPDIR/steps"
    # Not lib64 where Debian's multiarch tools are missing: CMake and pkg-config don't look there.
    meson configure "$folder" | grep -qE '^ *libdir +lib '
}

builds_an_application_by_name() {
    meson setup "$TMPDIR/named" "$WEIR_ROOT"
    ninja -C "$TMPDIR/named" -n apps/broker/weir-broker >"$TMPDIR/steps"
    grep -q 'target apps/broker/weir-broker' "$TMPDIR/steps"
    ! grep -E 'tests/|_sim|pipeline_' "$TMPDIR/steps"
}

by_pkg_config() {
    local flags
    flags=$(PKG_CONFIG_PATH=$(library_folder)/pkgconfig pkg-config --cflags --libs weir)
    $CXX -std=c++20 -o "$TMPDIR/service" "$here/service.cc" $flags
    serves "$TMPDIR/service"
    flags=$(PKG_CONFIG_PATH=$(library_folder)/pkgconfig pkg-config --cflags --libs weir-sim)
    $CXX -std=c++20 -o "$TMPDIR/simulated" "$here/simulated.cc" $flags
    "$TMPDIR/simulated"
}

by_cmake() {
    cmake -G Ninja -S "$here/cmake" -B "$TMPDIR/cmake" -DCMAKE_PREFIX_PATH="$prefix"
    cmake --build "$TMPDIR/cmake"
    serves "$TMPDIR/cmake/service"
    "$TMPDIR/cmake/simulated"
}

# Its build folder stays, so that the library is compiled there once and not for each run; and
# quickly, as it serves one request.
by_meson_subproject() {
    local folder=$WEIR_BUILD/install-test
    mkdir -p "$folder/subprojects"
    ln -sfn "$WEIR_ROOT" "$folder/subprojects/weir"
    cp "$here/meson/meson.build" "$here"/*.cc "$folder/"
    [ -e "$folder/build/build.ninja" ] ||
        CXX="ccache $CXX" meson setup "$folder/build" "$folder" --force-fallback-for=weir,weir-sim \
            -Doptimization=0 -Ddebug=false
    ninja -C "$folder/build" service simulated
    serves "$folder/build/service"
    "$folder/build/simulated"
}

check "a plain setup builds the library alone and needs nothing else" builds_the_library_alone
check "an application is built by its name, with what it needs" builds_an_application_by_name
check "the library installs headers, archives, pkg-config and CMake files" install_library
check "a service and its simulation build by pkg-config" by_pkg_config
check "a service and its simulation build by CMake" by_cmake
check "a service and its simulation build with weir as a meson subproject" by_meson_subproject
finish
