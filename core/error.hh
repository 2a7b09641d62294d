// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <system_error>

namespace weir {

/// What weir itself can fail with, where no errno says it better.
enum class errc {
    aborted = 1,     ///< an abort_source was triggered before the work was done
    timed_out,       ///< a deadline passed
    overloaded,      ///< a named limit was reached and the caller may not wait
    broken_promise,  ///< a promise was destroyed without a value
    closed,          ///< the gate, queue, ring or connection no longer takes work
    corrupt,         ///< stored data does not agree with its checksum or structure
    limit_exceeded,  ///< the input asks for more than a named limit allows
    malformed,       ///< the input does not follow its format
    duplicate,       ///< what must be unique exists already
};

const std::error_category& category() noexcept;
std::error_code make_error_code(errc) noexcept;

/// A failure: which operation, on what, and why. what() reads "operation subject: cause".
/// thread   any; copied between shards freely
class error : public std::system_error {
  public:
    error(std::string_view operation, std::string_view subject, std::error_code cause);
    error(std::string_view operation, std::string_view subject, errc cause);
    /// errno_value  positive, as in errno
    static error from_errno(std::string_view operation, std::string_view subject, int errno_value);

    const char* what() const noexcept override { return _what.c_str(); }
    const std::string& operation() const noexcept { return _operation; }
    const std::string& subject() const noexcept { return _subject; }
    bool is(errc cause) const noexcept { return code() == make_error_code(cause); }
    /// errno_value  positive, as in errno
    bool is_errno(int errno_value) const noexcept;

  private:
    std::string _operation;
    std::string _subject;
    std::string _what;
};

/// The error as a future fails with it; std::bad_alloc where there is no memory for the error.
std::exception_ptr make_failure(std::string_view operation, std::string_view subject,
                                errc cause) noexcept;

/// What a failure says of itself, whatever was thrown: what() of a std::exception, else the name of
/// its type; "(no memory)" where there is none for the text.
std::string what_of(const std::exception_ptr& failure) noexcept;

}  // namespace weir

template <>
struct std::is_error_code_enum<weir::errc> : std::true_type {};
