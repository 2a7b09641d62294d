# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/**/*_test.sh. A test is a function named by a sentence:
#   check "a fresh log is empty" log_is_empty
# The function runs in a subshell with -e; what it prints is shown only when it fails.
set -u

_failed=0

check() {
    local name=$1 log status
    shift
    log=$(mktemp)
    # Not in a condition: there -e would have no effect inside.
    set +e
    (set -e; "$@") >"$log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        echo "ok $name"
    else
        echo "not ok $name"
        echo "  exit status $status"
        sed 's/^/  /' "$log"
        _failed=1
    fi
    rm -f "$log"
}

skip() {
    echo "skip $1: $2"
}

# The last line of a script: its exit status.
finish() {
    exit $_failed
}
