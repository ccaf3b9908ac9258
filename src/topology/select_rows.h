// These mark the counts[q] largest or smallest entries of each row of a tensor [Q,n]. The choice is
// exact and the same on every device: ties go to the smaller index, NaN comes last, and -0 ties
// with +0.
//
// Shapes: Q rows, n entries of a row, G groups of m consecutive inputs, out the layer's outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "topology/random_ranks.h"

namespace tandem {

// Returns uint8 [Q,n]. `eligible` is uint8 [Q,n], or undefined where all are; every row must have
// counts[q] eligible positions.
at::Tensor select_rows(const at::Tensor& scores, const at::Tensor& eligible,
                       const std::vector<std::int64_t>& counts, bool largest);
// Does the same by two stable sorts, without a look at the values from the host; a GPU runs this in
// double.
at::Tensor select_rows_by_sort(const at::Tensor& scores, const at::Tensor& eligible,
                               const std::vector<std::int64_t>& counts, bool largest);
// Marks counts[q] of the eligible entries at random. A row whose count is 0 draws nothing. `held`
// is how many are eligible in each row, where the caller knows it; elsewhere they are counted,
// which waits for a GPU.
at::Tensor random_rows(const at::Tensor& eligible, const std::vector<std::int64_t>& counts,
                       const std::vector<RandomStream>& streams,
                       const std::vector<std::int64_t>& held = {});

// These do the same within groups along dimension 2 of [Q,G,m,out], with counts [Q,G,out] on any
// device; a group's random stream is keyed by its row's stream and its place among the row's
// groups.
at::Tensor select_groups(const at::Tensor& scores, const at::Tensor& eligible,
                         const at::Tensor& counts, bool largest);
at::Tensor random_groups(const at::Tensor& eligible, const at::Tensor& counts,
                         const std::vector<RandomStream>& streams);

}  // namespace tandem
