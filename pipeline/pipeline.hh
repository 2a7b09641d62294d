// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything that a program needs to describe, model and deploy pipelines.
// IWYU pragma: begin_exports
#include <weir/pipeline/balance.hh>
#include <weir/pipeline/combinators.hh>
#include <weir/pipeline/deployment.hh>
#include <weir/pipeline/ends.hh>
#include <weir/pipeline/policies.hh>
#include <weir/pipeline/shapes.hh>
// IWYU pragma: end_exports
