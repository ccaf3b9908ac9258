// Products with a mask as selections: out_i = m_i ? w_i : 0. A dormant NaN or infinity does not
// leak, as it would through a multiplication. Flags are bytes, zero or not. 0 = done, 1 = bad
// arguments.
#pragma once

#include <cstdint>

namespace tandem {

int masked_copy(const float* w, const std::uint8_t* m, std::int64_t n, float* out);
int masked_copy(const double* w, const std::uint8_t* m, std::int64_t n, double* out);

// Segments of n values each; where full[r] is set the segment is copied whole.
int masked_copy_selected(const float* w, const std::uint8_t* m, std::int64_t segments,
                         std::int64_t n, const std::uint8_t* full, float* out);
int masked_copy_selected(const double* w, const std::uint8_t* m, std::int64_t segments,
                         std::int64_t n, const std::uint8_t* full, double* out);

int multiply_mask_in_place(float* g, const std::uint8_t* m, std::int64_t n);
int multiply_mask_in_place(double* g, const std::uint8_t* m, std::int64_t n);

}  // namespace tandem
