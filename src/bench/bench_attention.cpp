// `tandem bench attention`: attention over chosen blocks in kernels/attention beside full attention
// there, LibTorch's scaled_dot_product_attention, and the engine's reference path in nn/attention,
// which holds whole score matrices. One item, float, one thread. Queries and keys are random, so
// that neighbouring queries choose different blocks: the worst case for caches. GFLOP/s count
// useful operations: 4 d per pair of query and key that is read forward and 10 d backward, 2 d per
// pair of query and pooled key that is scored.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/bench_child.h"
#include "core/error.h"
#include "data/tensor.h"
#include "jobs/provenance.h"
#include "kernels/attention/attention.h"
#include "kernels/spmm/spmm.h"
#include "nn/attention/two_stream.h"

namespace tandem {
namespace {

constexpr std::int64_t kMostFull = 4096;  // tokens up to which everything of T^2 is measured

struct AttentionBenchShape {
  std::int64_t heads, kv_heads, head_dim, block_size, slots;
};

void require(kernels::AttentionStatus status) {
  if (status != kernels::AttentionStatus::kOk)
    throw DeviceError("a kernel refused the benchmark's call");
}

// One layer's q, k, v and output gradient, [1,T,H,d] and [1,T,Hkv,d], and what each side makes.
class AttentionBench {
 public:
  AttentionBench(const AttentionBenchShape& s, std::int64_t tokens)
      : shape_{.batch = 1,
               .tokens = tokens,
               .heads = s.heads,
               .kv_heads = s.kv_heads,
               .head_dim = s.head_dim,
               .block_size = s.block_size},
        slots_(s.slots),
        q_(at::randn({1, tokens, s.heads, s.head_dim})),
        k_(at::randn({1, tokens, s.kv_heads, s.head_dim})),
        v_(at::randn({1, tokens, s.kv_heads, s.head_dim})),
        d_o_(at::randn({1, tokens, s.heads, s.head_dim})) {
    make_outputs();
    select();
    forward(true);
  }

  void make_outputs() {
    chosen_ = at::empty({1, shape_.kv_heads, shape_.tokens, slots_}, at::kInt);
    o_ = at::empty_like(q_);
    lse_ = at::empty({1, shape_.tokens, shape_.heads});
    dq_ = at::empty_like(q_);
    dk_ = at::empty_like(k_);
    dv_ = at::empty_like(v_);
  }
  void forget_outputs() {
    for (at::Tensor* each : {&chosen_, &o_, &lse_, &dq_, &dk_, &dv_}) *each = at::Tensor();
  }

  void select() {
    require(select_blocks(kernels::BlockChoice<float>{.shape = shape_,
                                                      .slots = slots_,
                                                      .q = q_.const_data_ptr<float>(),
                                                      .k = k_.const_data_ptr<float>(),
                                                      .chosen = chosen_.data_ptr<std::int32_t>()}));
  }
  void forward(bool sparse) { require(attention_forward(call(sparse))); }
  void backward(bool sparse) {
    require(attention_backward(
        kernels::BlockAttentionGradient<float>{.forward = call(sparse),
                                               .d_o = d_o_.const_data_ptr<float>(),
                                               .dq = dq_.data_ptr<float>(),
                                               .dk = dk_.data_ptr<float>(),
                                               .dv = dv_.data_ptr<float>()}));
  }

  // LibTorch wants [B,H,T,d], and a key head for each query head.
  void make_library() {
    const auto leaf = [this](const at::Tensor& x) {
      return x.repeat_interleave(shape_.heads / x.size(2), 2)
          .transpose(1, 2)
          .contiguous()
          .requires_grad_();
    };
    library_inputs_ = {leaf(q_), leaf(k_), leaf(v_)};
    library_gradient_ = d_o_.transpose(1, 2).contiguous();
  }
  void library_forward() {
    library_output_ = at::scaled_dot_product_attention(library_inputs_[0], library_inputs_[1],
                                                       library_inputs_[2], {}, 0.0,
                                                       /*is_causal=*/true);
  }
  void library_backward() { differentiate(library_output_, library_inputs_, library_gradient_); }

  void make_engine() {
    const auto leaf = [](const at::Tensor& x) { return x.unsqueeze(0).clone().requires_grad_(); };
    engine_inputs_ = {leaf(q_), leaf(k_), leaf(v_)};
    engine_gradient_ = d_o_.unsqueeze(0);
    tables_ = AttentionTables(shape_.tokens, shape_.block_size, q_);
  }
  void engine_forward() {
    const AttentionSetting setting{
        .block_size = shape_.block_size, .blocks = slots_, .selector = {}};
    Context sparse;
    sparse.plans.attention.wanted = StreamsWanted::kSparse;
    engine_output_ = attention_by_matrices(engine_inputs_[0], engine_inputs_[1], engine_inputs_[2],
                                           setting, tables_, sparse);
  }
  void engine_backward() { differentiate(engine_output_, engine_inputs_, engine_gradient_); }

  // Useful operations.
  double pairs(bool sparse) const {
    const auto n = static_cast<double>(shape_.tokens);
    return static_cast<double>(shape_.heads * shape_.head_dim) *
           (sparse ? static_cast<double>(
                         kernels::attended_pairs(shape_.tokens, shape_.block_size, slots_))
                   : n * (n + 1) / 2);
  }
  double scored() const {
    return static_cast<double>(shape_.heads * shape_.head_dim *
                               kernels::scored_block_pairs(shape_.tokens, shape_.block_size));
  }

 private:
  kernels::BlockAttention<float> call(bool sparse) {
    return {.shape = shape_,
            .q = q_.const_data_ptr<float>(),
            .k = k_.const_data_ptr<float>(),
            .v = v_.const_data_ptr<float>(),
            .chosen = sparse ? chosen_.const_data_ptr<std::int32_t>() : nullptr,
            .lists = shape_.kv_heads,
            .slots = slots_,
            .o = o_.data_ptr<float>(),
            .lse = lse_.data_ptr<float>()};
  }
  static void differentiate(const at::Tensor& output, const std::vector<at::Tensor>& inputs,
                            const at::Tensor& gradient) {
    torch::autograd::grad({output}, inputs, {gradient}, /*retain_graph=*/true);
  }

  kernels::AttentionShape shape_;
  std::int64_t slots_;
  at::Tensor q_, k_, v_, d_o_, chosen_, o_, lse_, dq_, dk_, dv_;
  std::vector<at::Tensor> library_inputs_, engine_inputs_;
  at::Tensor library_output_, library_gradient_, engine_output_, engine_gradient_;
  AttentionTables tables_;
};

BenchSide attention_side(const std::function<void()>& step, std::int64_t steps = 1) {
  return {.run =
              [step](std::int64_t times) {
                for (std::int64_t t = 0; t < times; ++t) step();
                return std::int64_t{0};
              },
          .warm_up = 1,
          .steps = steps};
}

// The median seconds of each piece of work, in rounds of some milliseconds that take turns.
std::vector<double> attention_seconds(const std::vector<std::function<void()>>& works,
                                      std::int64_t rounds) {
  std::vector<BenchSide> sides;
  for (const auto& work : works) {
    const double once = paired_medians({attention_side(work)}, 1).front();
    sides.push_back(attention_side(work, std::max<std::int64_t>(1, std::llround(4e-3 / once))));
  }
  return paired_medians(sides, rounds);
}

// The most memory that work needs beyond what is there before it, with what it returns.
double extra_bytes(const std::function<void()>& work) {
  malloc_trim(0);
  const double before = memory_now("VmRSS:");
  forget_peak();
  work();
  return memory_now("VmHWM:") - before;
}

std::string time_cell(double seconds, double operations) {
  return fmt::format("{:.2f} ({:.0f})", 1e3 * seconds, operations / seconds / 1e9);
}

void bench_attention_shape(const AttentionBenchShape& s) {
  fmt::print(
      "\n{} query heads on {} key heads of {} numbers, blocks of {}, {} per query: ms (GFLOP/s)\n"
      "{:>7} {:>13} {:>13} {:>13} {:>13} {:>13} {:>13} {:>13} {:>10} {:>10}\n",
      s.heads, s.kv_heads, s.head_dim, s.block_size, s.slots, "tokens", "selection", "forward",
      "backward", "full forward", "full backward", "SDPA forward", "SDPA backward", "engine fwd",
      "engine bwd");
  std::string ratios = fmt::format(
      "ratios of times (selection, forward and backward together), and peak memory beyond the "
      "inputs, MB\n{:>7} {:>18} {:>18} {:>18} {:>10} {:>10} {:>8}\n",
      "tokens", "our full / chosen", "SDPA / chosen", "engine / chosen", "chosen", "engine",
      "ratio");
  for (const std::int64_t tokens : {256, 1024, 4096, 16384, 32768}) {
    AttentionBench bench(s, tokens);
    const bool whole = tokens <= kMostFull;
    std::vector<std::function<void()>> works = {
        [&] { bench.select(); }, [&] { bench.forward(true); }, [&] { bench.backward(true); }};
    bench.forget_outputs();
    const double ours_bytes = extra_bytes([&] {
      bench.make_outputs();
      bench.select();
      bench.forward(true);
      bench.backward(true);
    });
    double engine_bytes = 0;
    if (whole) {
      bench.make_library();
      bench.make_engine();
      bench.library_forward();
      engine_bytes = extra_bytes([&] {
        bench.engine_forward();
        bench.engine_backward();
      });
      works.insert(works.end(),
                   {[&] { bench.forward(false); }, [&] { bench.backward(false); },
                    [&] { bench.library_forward(); }, [&] { bench.library_backward(); },
                    [&] { bench.engine_forward(); }, [&] { bench.engine_backward(); }});
    }
    // A backward pass needs what the forward pass of its own kind has left; LibTorch's and the
    // engine's graphs are kept, and ours reads o and lse, whose values do not change its time.
    const std::vector<double> t = attention_seconds(works, tokens < kMostFull ? 9 : 5);
    fmt::print("{:>7} {:>13} {:>13} {:>13}", tokens, time_cell(t[0], 2 * bench.scored()),
               time_cell(t[1], 4 * bench.pairs(true)), time_cell(t[2], 10 * bench.pairs(true)));
    const double ours = t[0] + t[1] + t[2];
    if (whole) {
      fmt::print(" {:>13} {:>13} {:>13} {:>13} {:>10.2f} {:>10.2f}",
                 time_cell(t[3], 4 * bench.pairs(false)), time_cell(t[4], 10 * bench.pairs(false)),
                 time_cell(t[5], 4 * bench.pairs(false)), time_cell(t[6], 10 * bench.pairs(false)),
                 1e3 * t[7], 1e3 * t[8]);
      ratios +=
          fmt::format("{:>7} {:>18.2f} {:>18.2f} {:>18.2f} {:>10.2f} {:>10.2f} {:>8.1f}\n", tokens,
                      (t[3] + t[4]) / ours, (t[5] + t[6]) / ours, (t[7] + t[8]) / ours,
                      ours_bytes / 1e6, engine_bytes / 1e6, engine_bytes / ours_bytes);
    } else {
      ratios += fmt::format("{:>7} {:>18} {:>18} {:>18} {:>10.2f}\n", tokens, "", "", "",
                            ours_bytes / 1e6);
    }
    fmt::print("\n");
    std::fflush(stdout);
  }
  fmt::print("{}", ratios);
}

void bench_attention_targets(const AttentionBenchShape& s, std::int64_t tokens) {
  fmt::print("\nby instruction set, {} query heads on {} of {} numbers, {} tokens: ms (GFLOP/s)\n",
             s.heads, s.kv_heads, s.head_dim, tokens);
  fmt::print("{:>8} {:>13} {:>13} {:>13} {:>13} {:>13}\n", "", "selection", "forward", "backward",
             "full forward", "full backward");
  AttentionBench bench(s, tokens);
  for (const std::string& target : kernels::spmm_targets()) {
    kernels::spmm_use_target(target);
    const std::vector<double> t = attention_seconds(
        {[&] { bench.select(); }, [&] { bench.forward(true); }, [&] { bench.backward(true); },
         [&] { bench.forward(false); }, [&] { bench.backward(false); }},
        5);
    fmt::print("{:>8} {:>13} {:>13} {:>13} {:>13} {:>13}\n", target,
               time_cell(t[0], 2 * bench.scored()), time_cell(t[1], 4 * bench.pairs(true)),
               time_cell(t[2], 10 * bench.pairs(true)), time_cell(t[3], 4 * bench.pairs(false)),
               time_cell(t[4], 10 * bench.pairs(false)));
    std::fflush(stdout);
  }
  kernels::spmm_use_target("");
}

}  // namespace

void bench_attention() {
  at::manual_seed(1);
  fmt::print("processor {}, one thread; instruction set in use: {}\n", processor_name(),
             kernels::spmm_target());
  fmt::print(
      "selection, forward, backward: over chosen blocks; full: every key, our kernels; SDPA: "
      "LibTorch's scaled_dot_product_attention, causal; engine: nn/attention, selection "
      "included\n");
  const AttentionBenchShape small{4, 1, 32, 16, 4}, large{8, 2, 64, 16, 16};
  bench_attention_shape(small);
  bench_attention_shape(large);
  bench_attention_targets(small, 1024);
}

}  // namespace tandem
