// Rows of a [Q,n] tensor, each with a count of its own: the counts[q] largest or smallest are
// marked. Exact, ties to the smaller index, NaN last, -0 tying with +0, the same on every device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "topology/random_ranks.h"

namespace tandem {

// eligible: uint8 [Q,n], or undefined for all. Returns uint8 [Q,n]. Every row must have counts[q]
// eligible positions.
at::Tensor select_rows(const at::Tensor& scores, const at::Tensor& eligible,
                       const std::vector<std::int64_t>& counts, bool largest);
// By two stable sorts, without a look at the values from the host: what a GPU runs in double.
at::Tensor select_rows_by_sort(const at::Tensor& scores, const at::Tensor& eligible,
                               const std::vector<std::int64_t>& counts, bool largest);
// counts[q] of the eligible at random. A row whose count is 0 draws nothing. held: how many are
// eligible in each row, where the caller knows; else they are counted, which waits for a GPU.
at::Tensor random_rows(const at::Tensor& eligible, const std::vector<std::int64_t>& counts,
                       const std::vector<RandomStream>& streams,
                       const std::vector<std::int64_t>& held = {});

// The same within groups along dimension 2 of [Q,G,m,out], with counts [Q,G,out] on any device; a
// group's random stream is keyed by its row's stream and its place among the row's groups.
at::Tensor select_groups(const at::Tensor& scores, const at::Tensor& eligible,
                         const at::Tensor& counts, bool largest);
at::Tensor random_groups(const at::Tensor& eligible, const at::Tensor& counts,
                         const std::vector<RandomStream>& streams);

}  // namespace tandem
