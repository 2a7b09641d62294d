// SPDX-License-Identifier: Apache-2.0
#include <weir/core/error.hh>

#include <typeinfo>

#include <cxxabi.h>

#include <weir/core/backtrace.hh>

namespace weir {

namespace {

class weir_category final : public std::error_category {
  public:
    const char* name() const noexcept override { return "weir"; }
    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
            case errc::aborted:
                return "aborted";
            case errc::timed_out:
                return "timed out";
            case errc::overloaded:
                return "overloaded";
            case errc::broken_promise:
                return "promise destroyed without a value";
            case errc::closed:
                return "closed";
            case errc::corrupt:
                return "stored data is damaged";
            case errc::limit_exceeded:
                return "limit exceeded";
            case errc::malformed:
                return "malformed input";
            case errc::duplicate:
                return "exists already";
        }
        return "unknown error";
    }
};

}  // namespace

const std::error_category& category() noexcept {
    static const weir_category instance;
    return instance;
}

std::error_code make_error_code(errc e) noexcept {
    return {static_cast<int>(e), category()};
}

error::error(std::string_view operation, std::string_view subject, std::error_code cause)
    : std::system_error(cause), _operation(operation), _subject(subject) {
    _what = _operation;
    if (!_subject.empty()) {
        _what += ' ';
        _what += _subject;
    }
    _what += ": ";
    _what += cause.message();
}

error::error(std::string_view operation, std::string_view subject, errc cause)
    : error(operation, subject, make_error_code(cause)) {}

error error::from_errno(std::string_view operation, std::string_view subject, int errno_value) {
    return {operation, subject, std::error_code(errno_value, std::generic_category())};
}

std::exception_ptr make_failure(std::string_view operation, std::string_view subject,
                                errc cause) noexcept {
    try {
        return std::make_exception_ptr(error(operation, subject, cause));
    } catch (...) {
        return std::current_exception();
    }
}

namespace {

std::string text_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& known) {
        return known.what();
    } catch (const std::string& text) {
        return text;
    } catch (const char* text) {
        return text;
    } catch (...) {
        const std::type_info* const type = abi::__cxa_current_exception_type();
        return type != nullptr ? "a thrown " + demangled(type->name()) : "not a std::exception";
    }
}

}  // namespace

std::string what_of(const std::exception_ptr& failure) noexcept {
    try {
        return text_of(failure);
    } catch (...) {
        return "(no memory)";  // short enough to need none
    }
}

bool error::is_errno(int errno_value) const noexcept {
    return code() == std::error_code(errno_value, std::generic_category());
}

}  // namespace weir
