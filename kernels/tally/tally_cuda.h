// The GPU version of tally.h, with all pointers in device memory. Returns 0 or the CUDA error's
// code.
#pragma once

#include "kernels/tally/tally.h"

namespace tandem::kernels {

template <class T>
int add_tally_cuda(const TallyTerm<T>& term, double* loss, std::int64_t* correct,
                   std::uint8_t* bits, void* stream);

}  // namespace tandem::kernels
