// SPDX-License-Identifier: Apache-2.0
#include <weir/core/assert.hh>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <typeinfo>

#include <unistd.h>

#include <weir/core/backtrace.hh>
#include <weir/core/shard.hh>

namespace weir {

namespace {

[[noreturn]] void abort_with_backtrace() {
    backtrace::here(2).write(STDERR_FILENO);
    std::abort();
}

/// returns  "shard 1", or what else this thread is, in `text`
const char* name_of_here(char (&text)[24]) {
    if (!on_a_shard()) {
        return "no shard";
    }
    std::snprintf(text, sizeof text, "shard %u", static_cast<unsigned>(this_shard().id()));
    return text;
}

}  // namespace

void assertion_failed(const char* condition, std::source_location where) {
    char here[24];
    std::fprintf(stderr, "%s: %s:%u: %s: assertion failed: %s\n", name_of_here(here),
                 where.file_name(), static_cast<unsigned>(where.line()), where.function_name(),
                 condition);
    abort_with_backtrace();
}

void destroyed_too_soon(const char* what, const char* name, const char* by) noexcept {
    char here[24];
    std::fprintf(stderr,
                 "%s: %s%s%s was destroyed before its %s had ended%s: with_closing(x, fn) sees to "
                 "that, whatever fn throws\n",
                 name_of_here(here), what, *name == '\0' ? "" : " ", name, by,
                 std::uncaught_exceptions() > 0 ? ", as an exception passed by" : "");
    abort_with_backtrace();
}

void destroyed_too_soon(const char* what, const std::type_info& type, const char* by) noexcept {
    destroyed_too_soon(what, demangled(type.name()).c_str(), by);
}

void wrong_shard(const char* what, const char* name, shard_id owner) noexcept {
    char here[24];
    char of[24] = "no shard";
    if (owner != detail::no_shard) {
        std::snprintf(of, sizeof of, "shard %u", static_cast<unsigned>(owner));
    }
    std::fprintf(stderr, "%s: %s%s%s of %s was used here: it belongs to one shard, for life\n",
                 name_of_here(here), what, *name == '\0' ? "" : " ", name, of);
    abort_with_backtrace();
}

void detail::check_no_shard(const char* what, const char* name, shard_id owner) noexcept {
    if (owner != shard_id_here() && owner != no_shard) {
        wrong_shard(what, name, owner);
    }
}

void no_such_shard(shard_id asked, unsigned count) noexcept {
    char here[24];
    std::fprintf(stderr, "%s: a call to shard %u: this host has %u, numbered from 0\n",
                 name_of_here(here), static_cast<unsigned>(asked), count);
    abort_with_backtrace();
}

}  // namespace weir
