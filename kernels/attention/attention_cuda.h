// The GPU versions of attention.h, for float. Pointers of a call are device memory, on 16 bytes
// where head_dim is a multiple of 4, and nothing of its lists and documents is checked; head
// dimensions are 128 at most, and a call is of all items. Products are of TF32, or where `tf32` is
// false each is three of them, as exact as a float's to about its rounding. Sums have an order that
// the shape and the lists alone decide, so that equal calls give equal bits. `stream` is a
// cudaStream_t; they return 0 or the CUDA error's code, cudaErrorInvalidValue for a shape that they
// don't take.
#pragma once

#include <cstdint>

#include "kernels/attention/attention.h"

namespace tandem {

constexpr std::int64_t kMostCudaHeadDim = 128;

// The forward pass; lse must be there.
int attention_forward_cuda(kernels::BlockAttention<float> call, bool tf32, void* stream);

// The backward pass. Room that the caller gives: row_sums [B,T,H], and where blocks are chosen
// readers [B,Hs,NB,ceil(T / 32)], a bit of each query that reads the block.
int attention_backward_cuda(kernels::BlockAttentionGradient<float> call, bool tf32, float* row_sums,
                            std::uint32_t* readers, void* stream);

// The choice of blocks, for groups of 64 heads or fewer and 65 blocks of a query or fewer. Room
// that the caller gives: pooled [B,NC,Hkv,D]. Importances are compared as floats, so that those
// which rounding makes equal are ties.
inline bool block_choice_cuda_takes(const kernels::AttentionShape& s, std::int64_t slots) {
  return s.head_dim <= kMostCudaHeadDim && s.group() <= 64 && slots <= 65;
}
int block_choice_cuda(kernels::BlockChoice<float> call, bool tf32, float* pooled, void* stream);

// 0 where the card has these kernels (H100 and later ones) and room for both passes of such a call,
// whose pointers are not looked at; lists and slots are 0 where everything is read. Tiles of wide
// heads, and what a tile's rows read of very many blocks, may be too much for a card's shared
// memory.
int attention_room_cuda(kernels::BlockAttention<float> call, void* stream);

// Lists as BlockAttention::chosen has them, [rows,slots], of flags [rows,blocks]: the first `slots`
// flagged blocks of each row, in ascending order, and -1.
int list_blocks_cuda(const bool* flags, std::int64_t rows, std::int64_t blocks, std::int64_t slots,
                     std::int32_t* lists, void* stream);

}  // namespace tandem
