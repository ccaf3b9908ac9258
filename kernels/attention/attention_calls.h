// What the checked functions of attention.h hand to the versions in Highway vectors, one per
// instruction set.
#pragma once

#include "kernels/attention/attention.h"

// As in kernels/spmm.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

namespace tandem::kernels {

constexpr std::int64_t kPanel = 64;       // keys (blocks, where blocks are chosen) packed together
constexpr std::int64_t kTileRows = 64;    // of queries and heads that read all keys together
constexpr std::int64_t kWeights = 16384;  // about so many numbers of a tile's weights at a time,
constexpr std::int64_t kMostKeys = 1024;  // of so many keys at most

inline std::int64_t end_of(const ItemRange& items, std::int64_t batch) {
  return items.count < 0 ? batch : items.first + items.count;
}

void attention_run(const BlockAttention<float>& call);
void attention_run(const BlockAttention<double>& call);
void attention_run(const BlockAttentionGradient<float>& call);
void attention_run(const BlockAttentionGradient<double>& call);
void choice_run(const BlockChoice<float>& call);
void choice_run(const BlockChoice<double>& call);

}  // namespace tandem::kernels
