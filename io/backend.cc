// SPDX-License-Identifier: Apache-2.0
#include <weir/io/backend.hh>

#include <weir/io/budget.hh>

namespace weir::io {

backend::backend(const budget_options& options)
    : _budget(std::make_unique<class budget>(*this, options)) {}

backend::~backend() = default;

}  // namespace weir::io
