// Rows of bytes by index, each through a view of its own:
//   out[i,f] = (sum over t of weight[view[i],f,t] * rows[index[i], from[view[i],f,t]]) * scale +
//   shift
// with every product and sum rounded, taps in order; weight null: 1, which is for one tap. A view
// comes from a table, or is a turn of a square image by an angle (rotation.h), whose taps are found
// as it is gathered. The CPU's version is the reference; the GPU's gives the same bits.
#pragma once

#include <cstdint>

namespace tandem {

struct ViewedRows {
  const std::uint8_t* rows = nullptr;   // [N,features]
  const std::int64_t* index = nullptr;  // [count]
  const std::int64_t* view = nullptr;   // [count]
  const std::int32_t* from = nullptr;   // [views,features,taps]
  const float* weight = nullptr;        // likewise, or null
  std::int64_t features = 0, taps = 1, count = 0;
  double scale = 1, shift = 0;
};

template <class T>
void gather_views(const ViewedRows& viewed, T* out);

struct TurnedRows {
  const std::uint8_t* rows = nullptr;   // [N,side,side]
  const std::int64_t* index = nullptr;  // [count]
  const std::int32_t* angle = nullptr;  // [count], rows of the next
  const double* turn = nullptr;         // [angles,2]: cosine and sine
  std::int64_t side = 0, count = 0;
  double scale = 1, shift = 0;
};

template <class T>
void gather_turned(const TurnedRows& turned, T* out);  // [count,side,side]

// The taps of a whole image of one channel: from and weight, each [height,width,4].
void turned_taps(std::int64_t height, std::int64_t width, double cosine, double sine,
                 std::int32_t* from, float* weight);

// All pointers are device memory; `stream` is a cudaStream_t. Returns 0 or the CUDA error's code.
template <class T>
int gather_views_cuda(const ViewedRows& viewed, T* out, void* stream);
template <class T>
int gather_turned_cuda(const TurnedRows& turned, T* out, void* stream);

}  // namespace tandem
