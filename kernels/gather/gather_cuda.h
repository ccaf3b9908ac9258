// Rows of bytes by index, as numbers: out[i,f] = rows[index[i],f] * scale + shift, each product and
// sum rounded, as the CPU's separate passes round them. All pointers are device memory; `stream` is
// a cudaStream_t. Returns 0 or the CUDA error's code.
#pragma once

#include <cstdint>

namespace tandem {

template <class T>
int gather_rows_cuda(const std::uint8_t* rows, std::int64_t features, const std::int64_t* index,
                     std::int64_t count, double scale, double shift, T* out, void* stream);

}  // namespace tandem
