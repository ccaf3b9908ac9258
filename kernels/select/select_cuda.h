// The GPU version of select.h, over rows at once: chosen[q,i] = 1 for the counts[q] largest (or
// smallest) scores of row q among the eligible positions (null: all), 0 elsewhere. Ties go to the
// smaller index, -0 equals +0, and a NaN comes after every number. scores [rows,n], counts [rows]
// and all else are device memory; `stream` is a cudaStream_t. A count that exceeds what is eligible
// chooses all of it. Returns 0 or the CUDA error's code.
#pragma once

#include <cstdint>

namespace tandem {

int select_top_cuda(const float* scores, const std::uint8_t* eligible, std::int64_t rows,
                    std::int64_t n, const std::int64_t* counts, bool largest, std::uint8_t* chosen,
                    void* stream);

}  // namespace tandem
