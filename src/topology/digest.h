// Digests (kernels/digest/digest.h) of parameters over the replica axis: each is of a replica's own
// values as its storage has them, so that they say nothing of the company that it keeps.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/parameter.h"

namespace tandem {

// Returns [R][parameters], and nothing for the replicas that are not wanted [R]. On a GPU the sums
// are made there and come back in one copy.
std::vector<std::vector<std::uint64_t>> digests_of(const std::vector<Parameter*>& parameters,
                                                   const std::vector<char>& wanted);

// Returns the digests of the rows of contiguous values [R,n] by tensor operations, int64 [R] on
// their device, as they are made on a GPU. Other memory than the result is bounded.
at::Tensor row_digests(const at::Tensor& values);

}  // namespace tandem
