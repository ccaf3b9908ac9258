// Attention's GPU kernels against the double-precision reference of kernels/attention, over shapes,
// precisions and ways to choose; what must hold bit for bit; and the engine's attention on a GPU
// against whole matrices on the CPU.
#include "kernels/attention/attention_cuda.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/philox.h"
#include "cuda/plugin.h"
#include "kernels/attention/attention.h"
#include "nn/attention/blocked.h"
#include "nn/attention/two_stream.h"
#include "support/gpu_support.h"

namespace tandem::test::attention_cuda_gpu {
namespace {

using kernels::AttentionShape;
using kernels::AttentionStatus;
using kernels::BlockAttention;
using kernels::BlockAttentionGradient;
using kernels::BlockChoice;

struct Setup {
  AttentionShape shape;
  std::int64_t slots = 0;  // 0: everything is read
  kernels::BlockSelector selector = {};
  bool documents = false, causal = true, some_full = false;
};

std::string name(const Setup& s) {
  const AttentionShape& a = s.shape;
  std::string text;
  for (const std::int64_t n :
       {a.batch, a.tokens, a.heads, a.kv_heads, a.head_dim, a.block_size, s.slots}) {
    text += std::to_string(n) + " ";
  }
  return text + (s.selector.per_head ? "per head " : "") + (s.documents ? "documents " : "") +
         (s.causal ? "" : "both ways ") + (s.some_full ? "some full" : "");
}

std::vector<double> uniform(std::int64_t n, std::uint64_t seed) {
  const RandomStream stream{seed};
  std::vector<double> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(4 * (stream.uniform(i) - 0.5));
  }
  return values;
}

struct Results {
  std::vector<double> o, lse, dq, dk, dv;
};

struct Problem {
  Setup setup;
  std::vector<double> q, k, v, d_o;
  std::vector<std::int32_t> start, chosen;
  std::vector<std::uint8_t> full;

  explicit Problem(const Setup& s) : setup(s) {
    const AttentionShape& a = s.shape;
    const std::int64_t queries = a.batch * a.tokens * a.heads * a.head_dim;
    const std::int64_t keys = a.batch * a.tokens * a.kv_heads * a.head_dim;
    q = uniform(queries, 1);
    k = uniform(keys, 2);
    v = uniform(keys, 3);
    d_o = uniform(queries, 4);
    if (s.documents) {
      const RandomStream stream{5};
      for (std::int64_t b = 0; b < a.batch; ++b) {
        std::int32_t begin = 0;
        for (std::int64_t t = 0; t < a.tokens; ++t) {
          if (stream.uniform(static_cast<std::uint64_t>(b * a.tokens + t)) < 0.03) {
            begin = static_cast<std::int32_t>(t);
          }
          start.push_back(begin);
        }
      }
    }
    if (s.some_full) {
      for (std::int64_t b = 0; b < a.batch; ++b) full.push_back(b % 2 == 0 ? 1 : 0);
    }
    if (s.slots == 0) return;
    chosen.assign(static_cast<std::size_t>(a.batch * s.selector.lists(a) * a.tokens * s.slots), -1);
    auto call = choice();
    call.chosen = chosen.data();
    REQUIRE(select_blocks_ref(call) == AttentionStatus::kOk);
    // The lists of items that read everything may hold anything.
    const std::size_t of_item = chosen.size() / static_cast<std::size_t>(a.batch);
    for (std::size_t b = 0; b < full.size(); ++b) {
      if (full[b] == 0) continue;
      std::fill_n(chosen.begin() + static_cast<std::ptrdiff_t>(b * of_item), of_item, 0x7f7f7f7f);
    }
  }

  BlockChoice<double> choice() const {
    BlockChoice<double> call;
    call.shape = setup.shape;
    call.selector = setup.selector;
    call.slots = setup.slots;
    call.q = q.data();
    call.k = k.data();
    if (setup.documents) call.document_start = start.data();
    call.causal = setup.causal;
    return call;
  }

  std::vector<std::int32_t> chosen_on_gpu(bool tf32) const {
    OnGpu<float> gq(std::vector<float>(q.begin(), q.end()));
    OnGpu<float> gk(std::vector<float>(k.begin(), k.end()));
    OnGpu<std::int32_t> starts(start), lists(std::vector<std::int32_t>(chosen.size(), -7));
    OnGpu<float> pooled(std::vector<float>(k.size()));
    BlockChoice<float> call;
    call.shape = setup.shape;
    call.selector = setup.selector;
    call.slots = setup.slots;
    call.q = gq.data();
    call.k = gk.data();
    if (setup.documents) call.document_start = starts.data();
    call.causal = setup.causal;
    call.chosen = lists.data();
    launch_cuda<decltype(block_choice_cuda)>("block_choice", call, tf32, pooled.data());
    return lists.read();
  }

  // "" where each list is the reference's, or differs in blocks that are as important to within a
  // float's rounding; else what is wrong.
  std::string equally_important(const std::vector<std::int32_t>& found) const {
    const AttentionShape& a = setup.shape;
    const auto call = choice();
    const std::int64_t complete = a.complete_blocks(), lists = setup.selector.lists(a);
    std::vector<double> kbar(
        static_cast<std::size_t>(a.batch * complete * a.kv_heads * a.head_dim));
    std::vector<double> importance(static_cast<std::size_t>(a.batch * lists * a.tokens * complete));
    if (block_keys_ref(call, kbar.data()) != AttentionStatus::kOk ||
        block_importance_ref(call, kbar.data(), importance.data()) != AttentionStatus::kOk) {
      return "the reference refuses";
    }
    for (std::int64_t query = 0; query < a.batch * lists * a.tokens; ++query) {
      const auto of = [&](const std::vector<std::int32_t>& all) {
        const auto begin = all.begin() + query * setup.slots;
        return std::vector<std::int32_t>(begin, begin + setup.slots);
      };
      const auto own = of(found), right = of(chosen);
      if (own == right) continue;
      if (!std::is_sorted(own.begin(), std::find(own.begin(), own.end(), -1))) return "no order";
      const auto sum = [&](const std::vector<std::int32_t>& list, const auto& other) {
        double all = 0;
        for (const std::int32_t block : list) {
          if (block < 0 || std::find(other.begin(), other.end(), block) != other.end()) continue;
          if (block >= complete) return std::nan("");
          all += importance[static_cast<std::size_t>(query * complete + block)];
        }
        return all;
      };
      const double mine = sum(own, right), theirs = sum(right, own);
      if (!(std::abs(mine - theirs) < 1e-5 * (1 + std::abs(theirs)))) {
        return "query " + std::to_string(query) + " has " + std::to_string(mine) + " for " +
               std::to_string(theirs);
      }
    }
    return "";
  }

  template <class T>
  BlockAttention<T> call() const {
    BlockAttention<T> call;
    call.shape = setup.shape;
    call.causal = setup.causal;
    if (setup.slots > 0) {
      call.lists = setup.selector.lists(setup.shape);
      call.slots = setup.slots;
    }
    return call;
  }

  Results expected() const {
    Results r{std::vector<double>(q.size()),
              std::vector<double>(q.size() / static_cast<std::size_t>(setup.shape.head_dim)),
              std::vector<double>(q.size()), std::vector<double>(k.size()),
              std::vector<double>(k.size())};
    auto forward = call<double>();
    forward.q = q.data();
    forward.k = k.data();
    forward.v = v.data();
    forward.o = r.o.data();
    forward.lse = r.lse.data();
    if (!start.empty()) forward.document_start = start.data();
    if (!chosen.empty()) forward.chosen = chosen.data();
    if (!full.empty()) forward.full_items = full.data();
    REQUIRE(attention_forward_ref(forward) == AttentionStatus::kOk);
    BlockAttentionGradient<double> backward;
    backward.forward = forward;
    backward.d_o = d_o.data();
    backward.dq = r.dq.data();
    backward.dk = r.dk.data();
    backward.dv = r.dv.data();
    REQUIRE(attention_backward_ref(backward) == AttentionStatus::kOk);
    return r;
  }

  // Outputs hold a NaN before the call, so that what a kernel leaves out is seen.
  std::vector<std::vector<float>> on_gpu(bool tf32) const {
    const auto floats = [](const std::vector<double>& x) {
      return std::vector<float>(x.begin(), x.end());
    };
    const auto empty = [](std::size_t n) { return std::vector<float>(n, NAN); };
    OnGpu<float> gq(floats(q)), gk(floats(k)), gv(floats(v)), gd(floats(d_o)), o(empty(q.size()));
    OnGpu<float> dq(empty(q.size())), dk(empty(k.size())), dv(empty(k.size()));
    const std::size_t rows = q.size() / static_cast<std::size_t>(setup.shape.head_dim);
    OnGpu<float> lse(empty(rows)), row_sums(empty(rows));
    OnGpu<std::int32_t> starts(start), lists(chosen);
    OnGpu<std::uint8_t> flags(full);
    const AttentionShape& a = setup.shape;
    OnGpu<std::uint32_t> readers(std::vector<std::uint32_t>(static_cast<std::size_t>(
        setup.slots == 0
            ? 1
            : a.batch * setup.selector.lists(a) * a.blocks() * ((a.tokens + 31) / 32))));
    auto forward = call<float>();
    forward.q = gq.data();
    forward.k = gk.data();
    forward.v = gv.data();
    forward.o = o.data();
    forward.lse = lse.data();
    if (!start.empty()) forward.document_start = starts.data();
    if (!chosen.empty()) forward.chosen = lists.data();
    if (!full.empty()) forward.full_items = flags.data();
    launch_cuda<decltype(attention_forward_cuda)>("attention_forward", forward, tf32);
    BlockAttentionGradient<float> backward;
    backward.forward = forward;
    backward.d_o = gd.data();
    backward.dq = dq.data();
    backward.dk = dk.data();
    backward.dv = dv.data();
    launch_cuda<decltype(attention_backward_cuda)>("attention_backward", backward, tf32,
                                                   row_sums.data(), readers.data());
    return {o.read(), lse.read(), dq.read(), dk.read(), dv.read()};
  }
};

// The largest difference, in units of the largest number, or of 1 where all are smaller.
double difference(const std::vector<float>& a, const std::vector<double>& b) {
  double most = 0, size = 1;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(d <= most)) most = d;  // a NaN too
    size = std::max(size, std::abs(b[i]));
  }
  return most / size;
}

void require_right(const Setup& setup) {
  const Problem problem(setup);
  const Results expected = problem.expected();
  for (const bool tf32 : {false, true}) {
    const auto found = problem.on_gpu(tf32);
    const double tolerance = tf32 ? 4e-3 : 4e-6;
    CAPTURE(name(setup), tf32);
    CHECK(difference(found[0], expected.o) < tolerance);
    CHECK(difference(found[1], expected.lse) < tolerance);
    CHECK(difference(found[2], expected.dq) < tolerance);
    CHECK(difference(found[3], expected.dk) < tolerance);
    CHECK(difference(found[4], expected.dv) < tolerance);
    REQUIRE(problem.on_gpu(tf32) == found);
  }
}

}  // namespace

TEST_CASE("full attention on the GPU is the reference's", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::int64_t head_dim : {1, 7, 8, 32, 48, 50, 64, 100, 128}) {
    for (const std::int64_t tokens : {1, 63, 64, 130}) {
      require_right({{2, tokens, 4, 2, head_dim, 16}});
    }
  }
  for (const std::int64_t group : {1, 3, 16, 64}) {
    require_right({{2, 70, 2 * group, 2, 16, 16}});
    require_right({{1, 300, group, 1, 48, 16}, 0, {}, true});
    require_right({{1, 90, group, 1, 32, 16}, 0, {}, true, false});
    require_right({{1, 90, group, 1, 32, 16}, 0, {}, false, false});
  }
  require_right({{1, 2100, 2, 1, 16, 16}});  // more queries than are listed at once
}

TEST_CASE("attention over chosen blocks on the GPU is the reference's", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::int64_t block_size : {1, 4, 5, 8, 16, 24, 32, 64, 128}) {
    for (const std::int64_t group : {1, 4}) {
      for (const bool per_head : {false, true}) {
        const std::int64_t tokens = std::max<std::int64_t>(70, block_size * 5 / 2);
        require_right({{2, tokens, 2 * group, 2, 48, block_size}, 3, {.per_head = per_head}});
        require_right({{2, tokens, 2 * group, 2, 16, block_size}, 2, {.per_head = per_head}, true});
      }
    }
  }
  for (const std::int64_t group : {3, 16, 64}) {
    require_right({{1, 200, group, 1, 64, 16}, 4});
    require_right({{3, 100, group, 1, 128, 8}, 5, {}, true, true, true});
    require_right({{2, 100, group, 1, 32, 16}, 3, {.per_head = true}, true, false, true});
  }
  require_right({{1, 500, 4, 1, 48, 16}, 40});                         // more slots than blocks
  require_right({{1, 4200, 2, 1, 16, 16}, 2, {.force_first = true}});  // one block read by all
}

TEST_CASE("an item's attention on the GPU has the same bits in any batch", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::int64_t slots : {0, 3}) {
    Setup setup{{3, 150, 4, 2, 48, 16}, slots};
    const auto together = Problem(setup).on_gpu(true);
    setup.shape.batch = 1;  // the first item of the same numbers
    const auto alone = Problem(setup).on_gpu(true);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      REQUIRE(std::equal(alone[i].begin(), alone[i].end(), together[i].begin()));
    }
  }
}

// Importances that differ by less than rounding are ties, so that a list may differ from the
// reference's there: the least importance that it has is then that of the reference's list.
TEST_CASE("the choice of blocks on the GPU is the reference's", "[gpu]") {
  if (gpu_missing()) return;
  struct Shape {
    AttentionShape shape;
    std::int64_t slots;
  };
  const std::vector<Shape> all = {{{2, 130, 4, 1, 48, 16}, 3}, {{2, 63, 4, 2, 8, 4}, 2},
                                  {{1, 400, 3, 1, 32, 4}, 7},  {{1, 1100, 2, 2, 16, 8}, 33},
                                  {{1, 300, 16, 1, 64, 8}, 1}, {{1, 90, 64, 1, 100, 5}, 4},
                                  {{3, 15, 4, 1, 16, 16}, 2},  {{1, 700, 8, 2, 128, 3}, 65}};
  for (const auto& [shape, slots] : all) {
    for (int kind = 0; kind < 32; ++kind) {
      Setup setup{shape, slots};
      setup.selector = {
          .per_head = (kind & 1) != 0, .softmax = (kind & 2) == 0, .force_first = (kind & 4) != 0};
      setup.documents = (kind & 8) != 0;
      setup.causal = (kind & 16) == 0;
      const Problem problem(setup);
      CAPTURE(name(setup), setup.selector.softmax, setup.selector.force_first);
      const auto found = problem.chosen_on_gpu(false);
      REQUIRE(problem.chosen_on_gpu(false) == found);
      REQUIRE(problem.equally_important(found) == "");
      const auto rough = problem.chosen_on_gpu(true);
      const std::int64_t differ = std::inner_product(
          rough.begin(), rough.end(), problem.chosen.begin(), std::int64_t{0}, std::plus<>(),
          [](std::int32_t a, std::int32_t b) { return a == b ? 0 : 1; });
      CHECK(static_cast<double>(differ) < 0.1 * static_cast<double>(rough.size()) + 4);
    }
  }
}

TEST_CASE("lists of flagged blocks on the GPU are the flags", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::int64_t blocks : {1, 31, 32, 100}) {
    const std::int64_t rows = 200, slots = 5;
    std::vector<std::uint8_t> flags(static_cast<std::size_t>(rows * blocks));
    const RandomStream stream{11};
    for (std::size_t i = 0; i < flags.size(); ++i) flags[i] = stream.uniform(i) < 0.06 ? 1 : 0;
    std::vector<std::int32_t> expected;
    for (std::int64_t r = 0; r < rows; ++r) {
      std::size_t count = 0;
      for (std::int64_t b = 0; b < blocks && count < 5; ++b) {
        if (flags[static_cast<std::size_t>(r * blocks + b)] == 0) continue;
        expected.push_back(static_cast<std::int32_t>(b));
        ++count;
      }
      for (; count < 5; ++count) expected.push_back(-1);
    }
    OnGpu<std::uint8_t> on_gpu(flags);
    OnGpu<std::int32_t> lists(std::vector<std::int32_t>(expected.size(), 7));
    launch_cuda<decltype(list_blocks_cuda)>("list_blocks",
                                            reinterpret_cast<const bool*>(on_gpu.data()), rows,
                                            blocks, slots, lists.data());
    REQUIRE(lists.read() == expected);
  }
}

TEST_CASE("shapes that the GPU's attention does not take are refused", "[gpu]") {
  if (gpu_missing()) return;
  BlockAttention<float> call;
  call.shape = {1, 8, 2, 1, 129, 4};
  CHECK_THROWS_WITH(launch_cuda<decltype(attention_forward_cuda)>("attention_forward", call, false),
                    Catch::Matchers::Contains("attention_forward"));
}

namespace {

struct Outcome {
  at::Tensor out, dq, dk, dv;
};

// The engine's attention of one problem, on a device and in a type.
Outcome engine(StreamsWanted wanted, std::int64_t tokens, const std::string& score, bool per_head,
               at::Device device, at::ScalarType dtype) {
  torch::manual_seed(9);
  const auto put = [&](const at::Tensor& x) {
    return x.to(torch::kFloat).to(device, dtype).detach().requires_grad_(true);
  };
  const at::Tensor q = put(torch::randn({2, 2, tokens, 4, 8}));
  const at::Tensor k = put(torch::randn({2, 2, tokens, 2, 8}));
  const at::Tensor v = put(torch::randn({2, 2, tokens, 2, 8}));
  const at::Tensor weights = torch::randn({2, 2, tokens, 4, 8}).to(device, dtype);
  AttentionSetting setting{.block_size = 16, .blocks = 3, .selector = {}};
  setting.selector.score = score;
  setting.selector.per_head = per_head;
  setting.keys = torch::tensor({std::int64_t{5}, std::int64_t{6}});
  const AttentionTables tables(tokens, setting.block_size, q);
  Context context;
  LevelPlan& plan = context.plans.attention;
  plan.wanted = wanted;
  plan.running = RunningStream::kMixed;
  plan.full_runs = torch::tensor({1, 0}).to(device, torch::kBool);
  if (wanted == StreamsWanted::kBoth) {
    plan.full_coefficient = plan.sparse_coefficient =
        torch::full({2}, 3.0, torch::dtype(dtype).device(device));
  }
  const at::Tensor out = attention({Level::kAttention, "a"}, q, k, v, setting, tables, context);
  at::Tensor loss = (out * weights).sum();
  if (context.alignment().defined()) loss = loss + context.alignment().sum();
  const auto gradients = torch::autograd::grad({loss}, {q, k, v});
  const auto back = [](const at::Tensor& x) { return x.detach().to(torch::kCPU, torch::kDouble); };
  return {back(out), back(gradients[0]), back(gradients[1]), back(gradients[2])};
}

}  // namespace

TEST_CASE("the engine's attention on a GPU is that of a CPU in double precision", "[gpu]") {
  if (gpu_missing()) return;
  at::globalContext().setAllowTF32CuBLAS(false);
  REQUIRE(takes_blocked(torch::zeros({1, 1, kBlockedCudaTokens, 4, 8}, torch::kCUDA)));
  CHECK_FALSE(takes_blocked(torch::zeros({1, 1, kBlockedCudaTokens - 1, 4, 8}, torch::kCUDA)));
  CHECK_FALSE(takes_blocked(torch::zeros({1, 1, 512, 4, 129}, torch::kCUDA)));
  CHECK_FALSE(takes_blocked(
      torch::zeros({1, 1, 512, 4, 8}, torch::dtype(torch::kDouble).device(torch::kCUDA))));
  for (const auto& [score, selector] : block_selectors().all()) {
    if (selector.learned != nullptr) continue;  // it needs scores of its own
    for (const bool per_head : {false, true}) {
      for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse,
                                         StreamsWanted::kSelected, StreamsWanted::kBoth}) {
        CAPTURE(score, per_head, static_cast<int>(wanted));
        const Outcome gpu = engine(wanted, 301, score, per_head, torch::kCUDA, torch::kFloat);
        const Outcome cpu = engine(wanted, 301, score, per_head, torch::kCPU, torch::kDouble);
        for (const auto& [a, b] :
             {std::pair(gpu.out, cpu.out), {gpu.dq, cpu.dq}, {gpu.dk, cpu.dk}, {gpu.dv, cpu.dv}}) {
          CHECK((a - b).abs().max().item<double>() < 1e-4 * b.abs().max().item<double>());
        }
      }
    }
  }
}

}  // namespace tandem::test::attention_cuda_gpu
