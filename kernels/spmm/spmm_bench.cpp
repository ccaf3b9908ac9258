// The sparse layer in float beside Eigen: sparse times dense, and dense times dense. GFLOP/s count
// useful operations: 2 per connection and column forward, 4 backward (dx and dw). One thread.
// Eigen has no run-time dispatch: it is compiled here for the build's baseline, SSE2 by default,
// and is 1.5 to 2 times (sparse) or 2.3 times (dense) as fast with -march=native.
#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <Eigen/SparseCore>
#include <algorithm>
#include <memory>
#include <random>
#include <tuple>
#include <vector>

#include "kernels/spmm/spmm.h"

namespace tandem::kernels {
namespace {

using Dense = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Sparse = Eigen::SparseMatrix<float, Eigen::RowMajor>;
using Index = std::uint16_t;

// Rows of a dense Eigen matrix begin at a multiple of 64 bytes only in memory that we align.
class Activations {
 public:
  Activations(std::int64_t features, std::int64_t stride) : room_(features * stride + 16) {
    for (auto& v : room_) v = 0.5f;
    void* from = room_.data();
    std::size_t bytes = room_.size() * sizeof(float);
    data_ = static_cast<float*>(std::align(64, features * stride * sizeof(float), from, bytes));
  }
  float* data() { return data_; }

 private:
  std::vector<float> room_;
  float* data_;
};

struct Layer {
  std::int64_t outputs, inputs, batch;
  std::vector<std::int64_t> positions, by_input, by_output;
  std::vector<Index> output_of, input_of;
  std::vector<std::uint32_t> place;
  std::vector<float> values, values_by_output, dvalues, bias;
  SparsePattern<Index> pattern;
  Activations x, y, dx;

  explicit Layer(const benchmark::State& state)
      : outputs(state.range(0)),
        inputs(state.range(1)),
        batch(state.range(2)),
        by_input(inputs + 1),
        by_output(outputs + 1),
        bias(outputs, 0.1f),
        x(inputs, batch),
        y(outputs, batch),
        dx(inputs, batch) {
    std::mt19937_64 random(1);
    std::bernoulli_distribution exists(1 - static_cast<double>(state.range(3)) / 1000);
    for (std::int64_t p = 0; p < inputs * outputs; ++p) {
      if (exists(random)) positions.push_back(p);
    }
    output_of.resize(positions.size());
    input_of.resize(positions.size());
    place.resize(positions.size());
    values.assign(positions.size(), 0.01f);
    values_by_output = dvalues = values;
    build();
  }
  int build() {
    return build_pattern<Index>(
        positions.data(), nnz(), inputs, outputs,
        {by_input.data(), output_of.data(), by_output.data(), input_of.data(), place.data()},
        &pattern);
  }
  std::int64_t nnz() const { return static_cast<std::int64_t>(positions.size()); }
  // flops: per connection and column
  void report(benchmark::State& state, double flops) const {
    state.counters["GFLOP/s"] = benchmark::Counter(flops * static_cast<double>(nnz() * batch) / 1e9,
                                                   benchmark::Counter::kIsIterationInvariantRate);
  }
};

void forward(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    spmm_forward(l.pattern, l.values_by_output.data(), l.bias.data(), l.x.data(), l.batch, l.batch,
                 true, l.y.data());
  }
  l.report(state, 2);
  state.SetLabel(spmm_target());
}

void backward(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    spmm_backward(l.pattern, l.values.data(), l.x.data(), l.y.data(), l.batch, l.batch, true,
                  l.dx.data(), l.dvalues.data());
  }
  l.report(state, 4);
  state.SetLabel(spmm_target());
}

void first_layer_backward(benchmark::State& state) {
  Layer l(state);
  float* none = nullptr;
  for (auto _ : state) {
    spmm_backward(l.pattern, l.values.data(), l.x.data(), l.y.data(), l.batch, l.batch, false, none,
                  l.dvalues.data());
  }
  l.report(state, 2);
}

// What a step needs besides: the values in the other order, and the bias gradient.
void reorder_and_bias(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    reorder(l.values.data(), l.place.data(), l.nnz(), l.values_by_output.data());
    bias_gradient(l.y.data(), l.outputs, l.batch, l.batch, l.bias.data());
  }
}

// Times a batch [batch][inputs] on its way to features and back, and the copy that bounds it.
void transposed(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    to_features(l.x.data(), l.batch, l.inputs, l.inputs, l.batch, l.dx.data());
    benchmark::ClobberMemory();
  }
}

void transposed_back(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    from_features(l.x.data(), l.batch, l.inputs, l.inputs, l.batch, l.dx.data());
    benchmark::ClobberMemory();
  }
}

void copied(benchmark::State& state) {
  Layer l(state);
  const std::int64_t count = l.batch * l.inputs;
  for (auto _ : state) {
    std::copy(l.x.data(), l.x.data() + count, l.dx.data());
    benchmark::ClobberMemory();
  }
}

void relu_and_bias_gradient(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    relu_bias_gradient(l.x.data(), l.dx.data(), l.inputs, l.batch, l.batch, l.dx.data(),
                       l.bias.data());
    benchmark::ClobberMemory();
  }
}

void pattern_built(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) benchmark::DoNotOptimize(l.build());
}

Eigen::Map<Dense> matrix(Activations& a, std::int64_t features, std::int64_t batch) {
  return {a.data(), features, batch};
}

void eigen_sparse_forward(benchmark::State& state) {
  Layer l(state);
  std::vector<Eigen::Triplet<float>> entries;
  for (const std::int64_t p : l.positions)
    entries.emplace_back(p % l.outputs, p / l.outputs, 0.01f);
  Sparse w(l.outputs, l.inputs);
  w.setFromTriplets(entries.begin(), entries.end());
  auto y = matrix(l.y, l.outputs, l.batch);
  for (auto _ : state) {
    y.noalias() = w * matrix(l.x, l.inputs, l.batch);
    benchmark::ClobberMemory();
  }
  l.report(state, 2);
}

// As it would train: dx by the sparse product, dw by one dot per connection.
void eigen_sparse_backward(benchmark::State& state) {
  Layer l(state);
  std::vector<Eigen::Triplet<float>> entries;
  for (const std::int64_t p : l.positions)
    entries.emplace_back(p / l.outputs, p % l.outputs, 0.01f);
  Sparse w(l.inputs, l.outputs);
  w.setFromTriplets(entries.begin(), entries.end());
  auto x = matrix(l.x, l.inputs, l.batch), dy = matrix(l.y, l.outputs, l.batch),
       dx = matrix(l.dx, l.inputs, l.batch);
  for (auto _ : state) {
    dx.noalias() = w * dy;
    for (std::int64_t i = 0; i < l.inputs; ++i) {
      for (std::int64_t e = l.by_input[i]; e < l.by_input[i + 1]; ++e) {
        l.dvalues[e] = x.row(i).dot(dy.row(l.output_of[e]));
      }
    }
    benchmark::ClobberMemory();
  }
  l.report(state, 4);
}

void eigen_dense_forward(benchmark::State& state) {
  Layer l(state);
  const Dense w = Dense::Constant(l.outputs, l.inputs, 0.01f);
  auto y = matrix(l.y, l.outputs, l.batch);
  for (auto _ : state) {
    y.noalias() = w * matrix(l.x, l.inputs, l.batch);
    benchmark::ClobberMemory();
  }
  l.report(state, 2);
}

void shapes(benchmark::internal::Benchmark* b, const std::vector<int>& sparsity_per_mille) {
  b->ArgNames({"out", "in", "batch", "sparsity_per_mille"})->Unit(benchmark::kMicrosecond);
  for (const auto& [out, in, batch] :
       {std::tuple{1000, 784, 64}, {1000, 1000, 128}, {4096, 1024, 128}}) {
    for (const int sparsity : sparsity_per_mille) b->Args({out, in, batch, sparsity});
  }
}
void sparse_shapes(benchmark::internal::Benchmark* b) {
  shapes(b, {500, 800, 900, 950, 980, 990, 999});
}
void dense_shapes(benchmark::internal::Benchmark* b) { shapes(b, {0}); }
void layout_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"out", "in", "batch", "sparsity_per_mille"})->Unit(benchmark::kMicrosecond);
  for (const int in : {784, 1000, 1024, 3072}) b->Args({in, in, 128, 999});
}

BENCHMARK(forward)->Apply(sparse_shapes);
BENCHMARK(backward)->Apply(sparse_shapes);
BENCHMARK(first_layer_backward)->Apply(sparse_shapes);
BENCHMARK(reorder_and_bias)->Apply(sparse_shapes);
BENCHMARK(transposed)->Apply(layout_shapes);
BENCHMARK(transposed_back)->Apply(layout_shapes);
BENCHMARK(copied)->Apply(layout_shapes);
BENCHMARK(relu_and_bias_gradient)->Apply(layout_shapes);
BENCHMARK(pattern_built)->Apply(sparse_shapes);
BENCHMARK(eigen_sparse_forward)->Apply(sparse_shapes);
BENCHMARK(eigen_sparse_backward)->Apply(sparse_shapes);
BENCHMARK(eigen_dense_forward)->Apply(dense_shapes);

}  // namespace
}  // namespace tandem::kernels
