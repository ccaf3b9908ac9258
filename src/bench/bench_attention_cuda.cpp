// `tandem bench attention --device cuda`: attention's GPU kernels over chosen blocks and over
// everything, as the engine calls them, beside the engine's whole score matrices and LibTorch's
// scaled_dot_product_attention in float (with TF32 products, as ours) and in bfloat16. Queries and
// keys are random, so that neighbouring queries choose different blocks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "nn/attention/blocked.h"
#include "nn/attention/two_stream.h"

namespace tandem {
namespace {

struct CudaShape {
  std::int64_t heads, kv_heads, head_dim, block_size, slots;
};

constexpr double kMostMatrixBytes = 3e10;  // of scores, for what holds them whole

// What has a forward and a backward pass; the backward one is of a graph that is kept.
struct Passes {
  std::vector<at::Tensor> inputs;
  std::function<at::Tensor()> output;
  at::Tensor made, gradient;

  void forward() { made = output(); }
  void backward() {
    if (!gradient.defined()) gradient = at::randn_like(made);
    torch::autograd::grad({made}, inputs, {gradient}, /*retain_graph=*/true);
  }
};

class CudaBench {
 public:
  CudaBench(const CudaShape& s, std::int64_t items, std::int64_t tokens)
      : shape_(s), items_(items), tokens_(tokens) {
    const auto drawn = [&](std::int64_t heads) {
      return at::randn({1, items, tokens, heads, s.head_dim}, at::device(at::kCUDA))
          .requires_grad_(true);
    };
    q_ = drawn(s.heads);
    k_ = drawn(s.kv_heads);
    v_ = drawn(s.kv_heads);
    setting_ = {.block_size = s.block_size, .blocks = s.slots, .selector = {}};
    tables_ = AttentionTables(tokens, s.block_size, q_);
    select();
  }

  void select() { lists_ = lists_of_blocks(q_, k_, setting_, tables_); }

  Passes kernels(bool chosen) {
    return {{q_, k_, v_},
            [this, chosen] {
              return blocked_attention(q_, k_, v_, shape_.block_size, tables_,
                                       chosen ? lists_ : at::Tensor(), {});
            },
            {},
            {}};
  }

  Passes matrices(StreamsWanted wanted) {
    return {{q_, k_, v_},
            [this, wanted] {
              Context context;
              context.plans.attention.wanted = wanted;
              return attention_by_matrices(q_, k_, v_, setting_, tables_, context);
            },
            {},
            {}};
  }

  Passes library(at::ScalarType dtype) {
    const std::int64_t group = shape_.heads / shape_.kv_heads;
    const auto of_heads = [&](const at::Tensor& x, std::int64_t repeats) {
      return x.detach()[0]
          .to(dtype)
          .repeat_interleave(repeats, 2)
          .transpose(1, 2)
          .contiguous()
          .requires_grad_(true);
    };
    const std::vector<at::Tensor> in = {of_heads(q_, 1), of_heads(k_, group), of_heads(v_, group)};
    return {in,
            [in] { return at::scaled_dot_product_attention(in[0], in[1], in[2], {}, 0, true); },
            {},
            {}};
  }

  double pairs(bool chosen) const {
    return static_cast<double>(items_ * shape_.heads * shape_.head_dim) *
           static_cast<double>(kernels::attended_pairs(tokens_, shape_.block_size,
                                                       chosen ? shape_.slots : tokens_));
  }
  bool has_matrices() const {
    return 4.0 * static_cast<double>(items_ * shape_.heads * tokens_ * tokens_) * 6 <
           kMostMatrixBytes;
  }

 private:
  CudaShape shape_;
  std::int64_t items_, tokens_;
  AttentionSetting setting_;
  AttentionTables tables_;
  at::Tensor q_, k_, v_, lists_;
};

// Median seconds, in rounds of some milliseconds that take turns.
std::vector<double> seconds_on_gpu(const std::vector<std::function<void()>>& works) {
  const auto wait = [] { cuda_api().synchronize(); };
  std::vector<BenchSide> sides;
  for (const auto& work : works) {
    const auto times = [work](std::int64_t steps) {
      for (std::int64_t i = 0; i < steps; ++i) work();
      return std::int64_t{0};
    };
    const double once = paired_medians({{times, 2, 1}}, 1, wait).front();
    sides.push_back({times, 1, std::max<std::int64_t>(1, std::llround(5e-3 / once))});
  }
  return paired_medians(sides, 5, wait);
}

std::string cell(double seconds, double operations) {
  return fmt::format("{:.3f} ({:.0f})", 1e3 * seconds, operations / seconds / 1e12);
}

void bench_cuda_shape(const CudaShape& s, std::int64_t items,
                      const std::vector<std::int64_t>& lengths) {
  fmt::print(
      "\n{} sequences, {} query heads on {} key heads of {} numbers, blocks of {}, {} per query: "
      "ms "
      "(useful TFLOP/s)\n{:>7} {:>10} {:>24} {:>24} {:>24} {:>24} {:>20} {:>20} {:>9} {:>9}\n",
      items, s.heads, s.kv_heads, s.head_dim, s.block_size, s.slots, "tokens", "selection",
      "chosen: fwd, bwd", "full: fwd, bwd", "SDPA float: fwd, bwd", "SDPA bf16: fwd, bwd",
      "matrices full", "matrices chosen", "full", "chosen");
  for (const std::int64_t tokens : lengths) {
    CudaBench bench(s, items, tokens);
    std::vector<Passes> passes = {bench.kernels(true), bench.kernels(false),
                                  bench.library(at::kFloat), bench.library(at::kBFloat16)};
    if (bench.has_matrices()) {
      passes.push_back(bench.matrices(StreamsWanted::kFull));
      passes.push_back(bench.matrices(StreamsWanted::kSparse));
    }
    std::vector<std::function<void()>> works = {[&] { bench.select(); }};
    for (Passes& each : passes) {
      each.forward();
      works.emplace_back([&each] { each.forward(); });
      works.emplace_back([&each] { each.backward(); });
    }
    const std::vector<double> t = seconds_on_gpu(works);
    fmt::print("{:>7} {:>10.3f}", tokens, 1e3 * t[0]);
    for (std::size_t i = 0; i < 4; ++i) {
      const double pairs = bench.pairs(i == 0);
      fmt::print(" {:>24}", cell(t[1 + 2 * i], 4 * pairs) + ", " + cell(t[2 + 2 * i], 10 * pairs));
    }
    if (bench.has_matrices()) {
      fmt::print(" {:>20} {:>20}", fmt::format("{:.3f}, {:.3f}", 1e3 * t[9], 1e3 * t[10]),
                 fmt::format("{:.3f}, {:.3f}", 1e3 * t[11], 1e3 * t[12]));
      // How much faster the kernels are; the matrices' chosen pass chooses as well.
      fmt::print(" {:>9.2f} {:>9.2f}", (t[9] + t[10]) / (t[3] + t[4]),
                 (t[11] + t[12]) / (t[0] + t[1] + t[2]));
    }
    fmt::print("\n");
    std::fflush(stdout);
  }
}

}  // namespace

void bench_attention_cuda() {
  at::manual_seed(1);
  at::globalContext().setAllowTF32CuBLAS(true);
  fmt::print("{}; products in TF32 but for the columns of bfloat16\n", cuda_api().device_text(0));
  fmt::print(
      "chosen, full: the kernels; matrices: the engine's whole score matrices, selection included; "
      "the last columns: how many times faster the kernels are than these, forward and backward "
      "together\n");
  bench_cuda_shape({4, 1, 32, 4, 2}, 1024, {64, 128});
  bench_cuda_shape({4, 1, 48, 16, 2}, 128, {128, 256, 512, 1024, 2048});
  bench_cuda_shape({32, 2, 64, 16, 16}, 1, {2048, 8192});
}

}  // namespace tandem
