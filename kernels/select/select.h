// Marks the k largest or smallest of n scores, exactly; ties go to the smaller index.
// -0 and +0 tie. NaN comes after every number, both for the largest and for the smallest.
#pragma once

#include <cstdint>

namespace tandem {

enum SelectError : int {
  kSelectDone = 0,
  kSelectBadArguments = 1,  // a negative size, or a null pointer where something has to be read
  kSelectTooFew = 2,        // fewer than k positions are eligible; `chosen` is then untouched
};

// Writes 1 on what is chosen and 0 elsewhere. eligible: flags (zero or not); null = all.
int select_top(const float* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
               bool largest, std::uint8_t* chosen);
int select_top(const double* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
               bool largest, std::uint8_t* chosen);

// A stable sort by (score, index) in double precision.
int select_top_ref(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   std::int64_t k, bool largest, std::uint8_t* chosen);

}  // namespace tandem
