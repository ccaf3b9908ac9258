// The tensor path of attention against the plain loops of kernels/attention, its selection against
// brute force, and the facts that two-stream training rests on. Everything in double.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "nn/attention/metrics.h"
#include "nn/attention/module.h"
#include "nn/attention/selector.h"
#include "nn/attention/two_stream.h"
#include "nn/attention/view.h"

namespace tandem::test::nn_attention_numeric {
namespace {

using kernels::AttentionShape;

struct Problem {
  std::int64_t replicas, batch, tokens, heads, kv_heads, head_dim;
  AttentionSetting setting;
  at::Tensor q, k, v;
  AttentionTables tables;

  Problem(std::vector<std::int64_t> sizes, AttentionSetting s, std::uint64_t seed = 7)
      : replicas(sizes[0]),
        batch(sizes[1]),
        tokens(sizes[2]),
        heads(sizes[3]),
        kv_heads(sizes[4]),
        head_dim(sizes[5]),
        setting(s) {
    torch::manual_seed(seed);
    const auto real = torch::dtype(torch::kFloat64);
    q = torch::randn({replicas, batch, tokens, heads, head_dim}, real) * 1.5;
    k = torch::randn({replicas, batch, tokens, kv_heads, head_dim}, real) * 1.5;
    v = torch::randn({replicas, batch, tokens, kv_heads, head_dim}, real);
    tables = AttentionTables(tokens, setting.block_size, q);
  }

  AttentionShape shape() const {
    return {.batch = replicas * batch,
            .tokens = tokens,
            .heads = heads,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .block_size = setting.block_size};
  }
  kernels::BlockSelector selector() const {
    return {.per_head = setting.selector.per_head,
            .softmax = setting.selector.score == "softmax",
            .force_first = setting.selector.force_first};
  }
  at::Tensor run(StreamsWanted wanted, std::vector<char> full_runs = {}) const {
    Context context;
    context.plans.attention.wanted = wanted;
    return run(context, full_runs);
  }
  at::Tensor run(Context& context, const std::vector<char>& full_runs = {},
                 const Epilogue& post = {}) const {
    if (!full_runs.empty()) {
      context.plans.attention.running = RunningStream::kMixed;
      context.plans.attention.full_runs =
          torch::tensor(std::vector<int>(full_runs.begin(), full_runs.end())).to(torch::kBool);
    }
    return attention({Level::kAttention, "site"}, q, k, v, setting, tables, context, post);
  }
  Problem replica(std::int64_t r) const {
    Problem one = *this;
    one.replicas = 1;
    one.q = q.narrow(0, r, 1).clone();
    one.k = k.narrow(0, r, 1).clone();
    one.v = v.narrow(0, r, 1).clone();
    return one;
  }
};

// The reference's output over the blocks that it chooses itself (or over everything).
at::Tensor reference(const Problem& p, bool sparse) {
  const AttentionShape shape = p.shape();
  std::vector<std::int32_t> chosen;
  if (sparse) {
    chosen = kernels::select_blocks_ref(shape, p.selector(), p.setting.blocks,
                                        p.q.data_ptr<double>(), p.k.data_ptr<double>());
  }
  at::Tensor out = torch::zeros_like(p.q);
  const kernels::BlockAttention<double> call{.shape = shape,
                                             .q = p.q.data_ptr<double>(),
                                             .k = p.k.data_ptr<double>(),
                                             .v = p.v.data_ptr<double>(),
                                             .chosen = sparse ? chosen.data() : nullptr,
                                             .lists = p.selector().lists(shape),
                                             .slots = p.setting.blocks,
                                             .o = out.data_ptr<double>()};
  REQUIRE(kernels::attention_forward_ref(call) == kernels::AttentionStatus::kOk);
  return out;
}

// The reference's lists as flags [R,B,L,T,NB].
at::Tensor reference_choice(const Problem& p) {
  const AttentionShape shape = p.shape();
  const auto chosen = kernels::select_blocks_ref(shape, p.selector(), p.setting.blocks,
                                                 p.q.data_ptr<double>(), p.k.data_ptr<double>());
  const std::int64_t lists = p.selector().lists(shape);
  at::Tensor flags =
      torch::zeros({p.replicas, p.batch, lists, p.tokens, shape.blocks()}, torch::kBool);
  bool* flag = flags.data_ptr<bool>();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i] < 0) continue;
    const auto row = static_cast<std::int64_t>(i) / p.setting.blocks;
    flag[row * shape.blocks() + chosen[i]] = true;
  }
  return flags;
}

bool close(const at::Tensor& a, const at::Tensor& b) { return torch::allclose(a, b, 1e-11, 1e-12); }

AttentionSetting setting_of(std::int64_t block_size, std::int64_t blocks, bool per_head = false,
                            bool softmax = true, bool force_first = false) {
  AttentionSetting setting{.block_size = block_size, .blocks = blocks, .selector = {}};
  setting.selector.score = softmax ? "softmax" : "dot";
  setting.selector.per_head = per_head;
  setting.selector.force_first = force_first;
  return setting;
}

// Lengths with and without a short tail, shorter than a block, any group size.
std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (const bool per_head : {false, true}) {
    for (const bool softmax : {false, true}) {
      for (const bool first : {false, true}) {
        for (const std::int64_t blocks : {1, 2, 3}) {
          const AttentionSetting s = setting_of(4, blocks, per_head, softmax, first);
          all.emplace_back(std::vector<std::int64_t>{2, 2, 24, 4, 1, 6}, s);
          all.emplace_back(std::vector<std::int64_t>{1, 2, 19, 6, 2, 4}, s);
          all.emplace_back(std::vector<std::int64_t>{1, 1, 5, 3, 3, 2}, s);
          all.emplace_back(std::vector<std::int64_t>{1, 1, 3, 2, 1, 2}, s);
        }
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("attention equals the reference in both streams", "[numeric]") {
  for (const Problem& p : problems()) {
    CHECK(close(p.run(StreamsWanted::kFull), reference(p, false)));
    CHECK(close(p.run(StreamsWanted::kSparse), reference(p, true)));
  }
}

TEST_CASE("block selection equals brute force", "[numeric]") {
  for (const Problem& p : problems()) {
    CHECK(torch::equal(select_blocks(p.q, p.k, p.setting, p.tables), reference_choice(p)));
  }
}

TEST_CASE("ties go to the smaller block, and a short tail is only ever the own block",
          "[numeric]") {
  for (const bool softmax : {true, false}) {
    Problem p({1, 1, 11, 2, 1, 2}, setting_of(2, 3, false, softmax));
    p.k = torch::ones_like(p.k);
    const at::Tensor chosen = select_blocks(p.q, p.k, p.setting, p.tables)[0][0][0];  // [T,NB]
    CHECK(torch::equal(chosen, reference_choice(p)[0][0][0]));
    const at::Tensor last = torch::tensor({1, 1, 0, 0, 0, 1}).to(torch::kBool);
    CHECK(torch::equal(chosen[10], last));
    CHECK(chosen.slice(0, 0, 10).select(1, 5).sum().item<std::int64_t>() == 0);
  }
  // Importance that saturates ties with no forced value: the own block is first by rule.
  Problem p({1, 1, 6, 1, 1, 2}, setting_of(2, 1));
  const at::Tensor chosen = select_blocks(p.q, p.k, p.setting, p.tables)[0][0][0];
  for (std::int64_t t = 0; t < 6; ++t) CHECK(chosen[t][t / 2].item<bool>());
}

TEST_CASE("grouped heads equal heads with keys of their own", "[numeric]") {
  for (const std::int64_t group : {1, 2, 3, 6}) {
    const Problem p({2, 2, 18, 6, 6 / group, 4}, setting_of(4, 2, /*per_head=*/true));
    Problem wide = p;
    wide.kv_heads = 6;
    wide.k = p.k.repeat_interleave(group, 3).contiguous();
    wide.v = p.v.repeat_interleave(group, 3).contiguous();
    CHECK(close(p.run(StreamsWanted::kFull), wide.run(StreamsWanted::kFull)));
    CHECK(close(p.run(StreamsWanted::kSparse), wide.run(StreamsWanted::kSparse)));
  }
}

TEST_CASE("sparse equals full when the budget covers everything", "[numeric]") {
  for (const std::int64_t blocks : {5, 6, 100}) {
    const Problem p({2, 1, 19, 4, 2, 4}, setting_of(4, blocks));
    CHECK(torch::equal(p.run(StreamsWanted::kSparse), p.run(StreamsWanted::kFull)));
    Context at_budget;
    at_budget.plans.attention.wanted = StreamsWanted::kSparse;
    at_budget.plans.attention.blocks = 1;
    CHECK_FALSE(torch::equal(p.run(at_budget), p.run(StreamsWanted::kFull)));
  }
  const Problem p({2, 1, 19, 4, 2, 4}, setting_of(4, 1));
  Context at_budget;
  at_budget.plans.attention.wanted = StreamsWanted::kSparse;
  at_budget.plans.attention.blocks = 5;
  CHECK(torch::equal(p.run(at_budget), p.run(StreamsWanted::kFull)));
}

TEST_CASE("each replica of a selected or two-stream pass runs its own stream, bit for bit",
          "[numeric]") {
  const Problem p({3, 2, 22, 4, 2, 4}, setting_of(4, 2));
  const std::vector<char> full_runs = {1, 0, 1};
  const at::Tensor full = p.run(StreamsWanted::kFull), sparse = p.run(StreamsWanted::kSparse);
  const at::Tensor selected = p.run(StreamsWanted::kSelected, full_runs);
  const at::Tensor both = p.run(StreamsWanted::kBoth, full_runs);
  for (std::int64_t r = 0; r < 3; ++r) {
    const bool runs_full = full_runs[static_cast<std::size_t>(r)] != 0;
    CHECK(torch::equal(selected[r], runs_full ? full[r] : sparse[r]));
    CHECK(torch::equal(both[r], selected[r]));
    CHECK_FALSE(torch::equal(full[r], sparse[r]));
  }
}

TEST_CASE("a replica computes the same bits alone and in company", "[numeric]") {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const auto dtype : {torch::kFloat64, torch::kFloat32}) {
    Problem p({3, 2, 19, 6, 2, 4}, setting_of(4, 2));
    p.q = p.q.to(dtype), p.k = p.k.to(dtype), p.v = p.v.to(dtype);
    p.tables = AttentionTables(p.tokens, p.setting.block_size, p.q);
    for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
      const at::Tensor together = p.run(wanted);
      for (std::int64_t r = 0; r < 3; ++r) {
        CHECK(torch::equal(together.narrow(0, r, 1), p.replica(r).run(wanted)));
      }
    }
  }
  at::set_num_threads(threads);
}

namespace {

struct Offered {
  at::Tensor queries, weights, selected, values;
};

Offered offered(const Problem& p) {
  Offered result;
  Context context;
  context.plans.attention.wanted = StreamsWanted::kSparse;
  context.observe_attention = [&](const std::string& layer, const AttentionView& view) {
    CHECK(layer == "site");
    result.queries = torch::arange(p.tokens);
    result.weights = view.weights(result.queries);
    result.selected = selected_keys(view.chosen(result.queries), result.queries, p.heads,
                                    p.setting.block_size, p.tokens);
    result.values = view.v;
  };
  p.run(context);
  return result;
}

}  // namespace

TEST_CASE("h_full - h_sparse = delta (h_drop - h_sparse), and Theorem 1", "[numeric]") {
  for (const bool per_head : {false, true}) {
    const Problem p({2, 2, 21, 4, 2, 4}, setting_of(4, 2, per_head));
    const Offered seen = offered(p);
    const at::Tensor full = p.run(StreamsWanted::kFull).transpose(2, 3);  // [R,B,H,T,D]
    const at::Tensor sparse = p.run(StreamsWanted::kSparse).transpose(2, 3);
    const at::Tensor values = p.v.transpose(2, 3).repeat_interleave(2, 2);
    const at::Tensor left_out = seen.weights * seen.selected.logical_not();
    const at::Tensor delta = dropped_mass(seen.weights, seen.selected);
    const at::Tensor drop = torch::matmul(left_out / delta.clamp_min(1e-300).unsqueeze(-1), values);
    const at::Tensor identity = delta.unsqueeze(-1) * (drop - sparse);
    CHECK(close(full - sparse, torch::where(delta.unsqueeze(-1) > 0, identity, 0.0)));
    CHECK(delta.max().item<double>() > 0.1);

    const StreamGap gap = stream_gap(seen.weights, seen.selected, seen.values, seen.queries);
    CHECK(close(gap.error, (full - sparse).norm(2, -1)));
    CHECK(close(gap.dropped, delta));
    CHECK((gap.error <= gap.bound + 1e-12).all().item<bool>());
    CHECK(close(gap.drop_distance * delta, gap.error));
    // The bound is near where everything that is left out is alike and opposite to what is kept.
    CHECK((gap.error / gap.bound.clamp_min(1e-300)).max().item<double>() > 0.3);
  }
}

TEST_CASE("kept, oracle and entropy of attention", "[numeric]") {
  const Problem p({1, 2, 19, 4, 2, 4}, setting_of(4, 3));
  const Offered seen = offered(p);
  CHECK(close(seen.weights.sum(-1), torch::ones({1, 2, 4, 19}, torch::kFloat64)));
  const at::Tensor kept = kept_mass(seen.weights, seen.selected);
  CHECK(close(kept + dropped_mass(seen.weights, seen.selected), torch::ones_like(kept)));
  // Sharing a choice costs mass, and no selector beats the oracle under the same constraint.
  const at::Tensor shared = oracle_mass(seen.weights, seen.queries, 4, 3, 2);
  const at::Tensor own = oracle_mass(seen.weights, seen.queries, 4, 3, 1);
  const auto by_group = [](const at::Tensor& x) { return x.view({1, 2, 2, 2, 19}).sum(3); };
  CHECK((by_group(kept) <= by_group(shared) + 1e-12).all().item<bool>());
  CHECK((shared <= own + 1e-12).all().item<bool>());
  CHECK((kept < shared - 1e-6).any().item<bool>());
  CHECK(close(oracle_mass(seen.weights, seen.queries, 4, 5, 2), torch::ones_like(kept)));
  // The last query of head 0: the tail block holds 3 keys; best 2 of the 4 past blocks by hand.
  const at::Tensor row = seen.weights[0][0][0][18];
  std::vector<double> past;
  for (std::int64_t b = 0; b < 4; ++b) {
    past.push_back(row.slice(0, 4 * b, 4 * b + 4).sum().item<double>());
  }
  std::sort(past.rbegin(), past.rend());
  CHECK(own[0][0][0][18].item<double>() ==
        Approx(past[0] + past[1] + row.slice(0, 16).sum().item<double>()));
  const at::Tensor flat = torch::ones({8, 8}, torch::kFloat64).tril();
  const at::Tensor uniform = flat / flat.sum(-1, true);
  CHECK(entropy_bits(uniform)[7].item<double>() == Approx(3));
  CHECK(entropy_bits(uniform)[0].item<double>() == 0);
}

namespace {

at::Tensor gate_of(const Problem& p) {
  torch::manual_seed(3);
  return torch::sigmoid(torch::randn({p.replicas, p.batch, p.tokens, p.heads}, torch::kFloat64));
}

Context aligning(Alignment::Site site, double full_coefficient, double sparse_coefficient,
                 std::int64_t replicas) {
  Context context;
  context.plans.attention.wanted = StreamsWanted::kBoth;
  context.plans.attention.full_coefficient =
      torch::full({replicas}, full_coefficient, torch::kFloat64);
  context.plans.attention.sparse_coefficient =
      torch::full({replicas}, sparse_coefficient, torch::kFloat64);
  context.plans.attention.site = site;
  return context;
}

}  // namespace

TEST_CASE("at equal lambdas the stop-gradients are redundant and the value doubles", "[numeric]") {
  Problem p({2, 2, 21, 4, 2, 4}, setting_of(4, 2));
  for (at::Tensor* leaf : {&p.q, &p.k, &p.v}) leaf->requires_grad_(true);
  for (const auto site : {Alignment::Site::kPre, Alignment::Site::kPost}) {
    const at::Tensor gate = gate_of(p).requires_grad_(true);
    const Epilogue post = [&gate](const at::Tensor& out) { return out * gate.unsqueeze(-1); };
    Context context = aligning(site, 1, 1, 2);
    const at::Tensor running = p.run(context, {1, 0}, post);
    const auto gradient = torch::autograd::grad({context.alignment().sum()}, {p.q, p.k, p.v}, {},
                                                /*retain_graph=*/true);

    at::Tensor full = p.run(StreamsWanted::kFull), sparse = p.run(StreamsWanted::kSparse);
    CHECK(torch::equal(running[0], (full * gate.unsqueeze(-1))[0]));
    CHECK(torch::equal(running[1], (sparse * gate.unsqueeze(-1))[1]));
    const bool gated = site == Alignment::Site::kPost;
    if (gated) full = post(full), sparse = post(sparse);
    const at::Tensor unstopped =
        torch::smooth_l1_loss(full, sparse, at::Reduction::None).mean({1, 2, 3, 4});
    CHECK(close(context.alignment(), 2 * unstopped));
    const auto expected = torch::autograd::grad({unstopped.sum()}, {p.q, p.k, p.v}, {}, true);
    for (std::size_t i = 0; i < 3; ++i) CHECK(close(gradient[i], expected[i]));
    CHECK(gradient[0].abs().max().item<double>() > 1e-6);
    const auto to_gate = torch::autograd::grad({context.alignment().sum()}, {gate}, {}, true, false,
                                               /*allow_unused=*/true);
    CHECK(to_gate[0].defined() == gated);
  }
}

TEST_CASE("attention passes a gradient check in both streams", "[numeric]") {
  Problem p({1, 1, 7, 2, 1, 2}, setting_of(2, 2));
  torch::manual_seed(5);
  const at::Tensor direction = torch::randn_like(p.q);
  for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
    const auto loss = [&] { return (p.run(wanted) * direction).sum(); };
    for (at::Tensor* x : {&p.q, &p.k, &p.v}) {
      x->requires_grad_(true);
      const at::Tensor gradient = torch::autograd::grad({loss()}, {*x})[0];
      x->requires_grad_(false);
      const double step = 1e-6;
      double* value = x->data_ptr<double>();
      for (std::int64_t i = 0; i < x->numel(); ++i) {
        const double before = value[i];
        value[i] = before + step;
        const double above = loss().item<double>();
        value[i] = before - step;
        const double below = loss().item<double>();
        value[i] = before;
        CHECK(gradient.flatten()[i].item<double>() ==
              Approx((above - below) / (2 * step)).margin(1e-7));
      }
    }
  }
}

}  // namespace tandem::test::nn_attention_numeric
