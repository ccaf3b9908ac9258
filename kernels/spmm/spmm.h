// Products of one sparse layer of one replica, and their gradients, in proportion to the number of
// connections:   y = relu(W^T x + b),   dx_i = sum_o w_io dy_o,   dw_io = <x_i, dy_o>.
//
// Shapes. The dense weight would be W [in, out]; a connection's position is i * out + o. Master
// order of connections: ascending position, that is by input, then by output. The forward pass
// walks them by output (then by input), with the values copied into that order by reorder().
// Activations are feature-major: x [in][stride], y [out][stride]; stride is a multiple of
// kSpmmAlign elements and at least the batch, x and y begin at a multiple of 64 bytes.
// Columns from batch to stride never reach a result, NaN or not; where a kernel writes, it writes
// zeros there. Nothing overlaps.
//
// Order of additions, the same for every vector width:
//   forward, dx   bias or zero, then one fused multiply-add per connection, ascending.
//   dw, db        per batch tile of 256 bytes: 16 partial sums (column mod 16), each ascending;
//                 these pairwise, neighbours first; then the tiles, ascending.
// So AVX2 and AVX-512 give the same bits. The portable target rounds a product before it is added.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem::kernels {

inline constexpr std::int64_t kSpmmAlign = 16;

enum SpmmError : int {
  kSpmmDone = 0,
  kSpmmBadArguments = 1,  // null, negative, misaligned, or (build_pattern) positions out of order
};

// I: std::uint16_t where inputs and outputs are at most 65,536, or std::uint32_t.
template <class I>
struct SparsePattern {
  std::int64_t inputs = 0, outputs = 0, nnz = 0;
  const std::int64_t* by_input = nullptr;   // [inputs + 1]: where an input's connections begin
  const I* output_of = nullptr;             // [nnz]
  const std::int64_t* by_output = nullptr;  // [outputs + 1]
  const I* input_of = nullptr;              // [nnz], by output
  const std::uint32_t* place = nullptr;     // [nnz], by output: the same connection in master order
};

// What build_pattern fills; sizes as above.
template <class I>
struct SparsePatternArrays {
  std::int64_t* by_input;
  I* output_of;
  std::int64_t* by_output;
  I* input_of;
  std::uint32_t* place;
};

// positions: [nnz], strictly ascending, below inputs * outputs. Takes O(nnz + inputs + outputs).
template <class I>
int build_pattern(const std::int64_t* positions, std::int64_t nnz, std::int64_t inputs,
                  std::int64_t outputs, SparsePatternArrays<I> arrays, SparsePattern<I>* pattern);

// values_by_output[k] = values[place[k]]
template <class T>
int reorder(const T* values, const std::uint32_t* place, std::int64_t nnz, T* values_by_output);

// bias may be null. A NaN passes the ReLU.
template <class T, class I>
int spmm_forward(const SparsePattern<I>& pattern, const T* values_by_output, const T* bias,
                 const T* x, std::int64_t stride, std::int64_t batch, bool relu, T* y);

// Both gradients in one walk by input; overwrites. dx may be null (first layer).
// relu_input: x is a ReLU's output, and dx is the gradient before that ReLU (0 where x <= 0), which
// costs nothing here. So between two sparse layers no relu_backward is needed.
template <class T, class I>
int spmm_backward(const SparsePattern<I>& pattern, const T* values, const T* x, const T* dy,
                  std::int64_t stride, std::int64_t batch, bool relu_input, T* dx, T* dvalues);

// db [outputs]
template <class T>
int bias_gradient(const T* dy, std::int64_t outputs, std::int64_t stride, std::int64_t batch,
                  T* db);

// dy = 0 where y <= 0; for a dy that comes from elsewhere than spmm_backward.
template <class T>
int relu_backward(const T* y, std::int64_t outputs, std::int64_t stride, std::int64_t batch, T* dy);

// dz = dy where y > 0 or y is NaN, else 0, and 0 in the columns from batch to stride; db [outputs]
// is what bias_gradient makes of dz. One pass; dz may be dy.
template <class T>
int relu_bias_gradient(const T* y, const T* dy, std::int64_t outputs, std::int64_t stride,
                       std::int64_t batch, T* dz, T* db);

// x [batch][row_stride], of which the first `features` columns count and which may begin anywhere,
// to y [features][stride], with zeros from batch to stride; and back, where the columns of x beyond
// `features` stay as they are. The columns of y beyond the batch are not read.
template <class T>
int to_features(const T* x, std::int64_t batch, std::int64_t features, std::int64_t row_stride,
                std::int64_t stride, T* y);
template <class T>
int from_features(const T* y, std::int64_t batch, std::int64_t features, std::int64_t row_stride,
                  std::int64_t stride, T* x);

// The instruction sets this machine has a version for, best first; the one in use; and, for tests,
// the choice of another ("" is the best). Not while another thread computes.
std::vector<std::string> spmm_targets();
std::string spmm_target();
bool spmm_use_target(const std::string& name);

// The sentences above in double precision, from positions alone.
void spmm_forward_ref(const std::int64_t* positions, std::int64_t nnz, std::int64_t inputs,
                      std::int64_t outputs, const double* values, const double* bias,
                      const double* x, std::int64_t stride, std::int64_t batch, bool relu,
                      double* y);
void spmm_backward_ref(const std::int64_t* positions, std::int64_t nnz, std::int64_t inputs,
                       std::int64_t outputs, const double* values, const double* x,
                       const double* dy, std::int64_t stride, std::int64_t batch, bool relu_input,
                       double* dx, double* dvalues);

}  // namespace tandem::kernels
