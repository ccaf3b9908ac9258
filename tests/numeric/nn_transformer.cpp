// The transformer: gradients by finite differences in double, causality, replicas alone and in
// company, its operations against plain composition, and what it refuses.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "methods/method.h"
#include "nn/elementwise.h"
#include "nn/model.h"
#include "nn/transformer_ops.h"

namespace tandem::test::nn_transformer_numeric {
namespace {

constexpr std::int64_t kVocabulary = 11;

Settings tiny(Settings more = {}) {
  Settings said = {{"model", "transformer"}, {"context", "10"}, {"layers", "2"},
                   {"width", "8"},           {"heads", "4"},    {"kv_heads", "2"},
                   {"block_size", "3"},      {"blocks", "2"},   {"ff_width", "8"}};
  for (const auto& [name, text] : more) said[name] = text;
  return said;
}

std::unique_ptr<Model> build(const std::vector<std::string>& seeds, const Settings& more = {},
                             at::ScalarType dtype = torch::kFloat64) {
  std::vector<Config> configs;
  for (const std::string& seed : seeds) {
    Settings said = tiny(more);
    said["seed"] = seed;
    configs.push_back(Config::resolve(said));
  }
  const ModelShape shape{
      .replicas = static_cast<std::int64_t>(seeds.size()), .outputs = kVocabulary, .dtype = dtype};
  return models().at("model", "transformer")(configs, shape);
}

at::Tensor tokens_of(std::int64_t replicas, std::int64_t batch, std::int64_t length) {
  torch::manual_seed(1);
  return torch::randint(kVocabulary, {replicas, batch, length}, torch::kInt64);
}

// A loss without transcendental functions or a mean, whose gradient is one bit for bit.
at::Tensor weighted(const at::Tensor& logits) {
  torch::manual_seed(9);
  return (logits * torch::randn(logits.sizes().slice(1), logits.options().requires_grad(false)))
      .sum();
}

// Larger weights than a new net has, so that attention is far from uniform.
void scramble(Model& model) {
  torch::manual_seed(2);
  torch::NoGradGuard no_grad;
  for (Parameter* p : model.parameters()) {
    p->value.add_(torch::randn(p->value.sizes(), torch::kFloat64).to(p->value.dtype()), 0.5);
  }
}

at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& tokens) {
  const std::int64_t length = tokens.size(2);
  const at::Tensor log_p = torch::log_softmax(logits.narrow(2, 0, length - 1), -1);
  return -log_p.gather(-1, tokens.narrow(2, 1, length - 1).unsqueeze(-1)).mean();
}

Context context_of(StreamsWanted wanted, std::vector<char> full_runs = {}) {
  Context context;
  context.plans.attention.wanted = wanted;
  if (!full_runs.empty()) {
    context.plans.attention.running = RunningStream::kMixed;
    context.plans.attention.full_runs =
        torch::tensor(std::vector<int>(full_runs.begin(), full_runs.end())).to(torch::kBool);
  }
  return context;
}

// Largest difference between autograd and central differences over a sample of every parameter.
double gradient_error(Model& model, const std::function<at::Tensor(bool)>& loss) {
  std::vector<at::Tensor> leaves;
  for (Parameter* p : model.parameters()) leaves.push_back(p->value);
  const auto gradients = torch::autograd::grad({loss(true)}, leaves);
  torch::NoGradGuard no_grad;
  double worst = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    double* value = leaves[i].data_ptr<double>();
    const std::int64_t n = leaves[i].numel(), stride = std::max<std::int64_t>(1, n / 7);
    for (std::int64_t j = 0; j < n; j += stride) {
      const double before = value[j], step = 1e-5;
      value[j] = before + step;
      const double above = loss(false).item<double>();
      value[j] = before - step;
      const double below = loss(false).item<double>();
      value[j] = before;
      const double numeric = (above - below) / (2 * step);
      worst = std::max(worst, std::abs(numeric - gradients[i].flatten()[j].item<double>()));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("the transformer passes a gradient check in every wanted", "[numeric]") {
  const auto model = build({"1", "2"});
  scramble(*model);
  const at::Tensor tokens = tokens_of(2, 1, 10);
  const auto loss_in = [&](StreamsWanted wanted, std::vector<char> full_runs) {
    return [&model, &tokens, wanted, full_runs](bool) {
      Context context = context_of(wanted, full_runs);
      return next_token_loss(model->forward(tokens, context), tokens);
    };
  };
  CHECK(gradient_error(*model, loss_in(StreamsWanted::kFull, {})) < 1e-7);
  CHECK(gradient_error(*model, loss_in(StreamsWanted::kSparse, {})) < 1e-7);
  CHECK(gradient_error(*model, loss_in(StreamsWanted::kSelected, {0, 1})) < 1e-7);
}

TEST_CASE("the alignment of the transformer passes a gradient check", "[numeric]") {
  const auto model = build({"1", "2"});
  scramble(*model);
  const at::Tensor tokens = tokens_of(2, 1, 10);
  for (const auto site : {Alignment::Site::kPre, Alignment::Site::kPost}) {
    // At equal lambdas the value is twice that whose gradient is taken.
    const auto loss = [&](bool for_gradient) {
      Context context = context_of(StreamsWanted::kBoth, {1, 0});
      context.plans.attention.site = site;
      context.plans.attention.full_coefficient = context.plans.attention.sparse_coefficient =
          torch::full({2}, 3.0, torch::kFloat64);
      const at::Tensor task = next_token_loss(model->forward(tokens, context), tokens);
      return task + context.alignment().sum() * (for_gradient ? 1.0 : 0.5);
    };
    CHECK(gradient_error(*model, loss) < 1e-6);
  }
}

TEST_CASE("a later token changes nothing before it, in either stream", "[numeric]") {
  for (const char* selector : {"group", "head"}) {
    const auto model = build({"1"}, {{"attention", "moba"}, {"attention_selector", selector}});
    scramble(*model);
    const at::Tensor tokens = tokens_of(1, 1, 10);
    for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
      Context first = context_of(wanted);
      const at::Tensor before = model->forward(tokens, first);
      for (const std::int64_t at : {2, 5, 9}) {
        at::Tensor changed = tokens.clone();
        changed[0][0][at] = (tokens[0][0][at] + 1).remainder(kVocabulary);
        Context second = context_of(wanted);
        const at::Tensor after = model->forward(changed, second);
        CHECK(torch::equal(after.narrow(2, 0, at), before.narrow(2, 0, at)));
        CHECK_FALSE(torch::equal(after[0][0][at], before[0][0][at]));
      }
    }
  }
}

TEST_CASE("replicas of a transformer compute the same bits alone and in company", "[numeric]") {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const char* heads : {"4", "2"}) {
    const Settings more = {{"heads", heads}, {"kv_heads", "1"}};
    const std::vector<std::string> seeds = {"1", "2", "3"};
    const auto group = build(seeds, more, torch::kFloat32);
    const at::Tensor tokens = tokens_of(3, 3, 10);
    Context context = context_of(StreamsWanted::kSelected, {1, 0, 1});
    const at::Tensor logits = group->forward(tokens, context);
    weighted(logits).backward();
    for (std::int64_t r = 0; r < 3; ++r) {
      const auto alone = build({seeds[static_cast<std::size_t>(r)]}, more, torch::kFloat32);
      Context own = context_of(r == 1 ? StreamsWanted::kSparse : StreamsWanted::kFull);
      const at::Tensor mine = tokens.narrow(0, r, 1);
      const at::Tensor own_logits = alone->forward(mine, own);
      weighted(own_logits).backward();
      CHECK(torch::equal(own_logits[0], logits[r]));
      const auto in_group = group->parameters(), by_itself = alone->parameters();
      for (std::size_t i = 0; i < in_group.size(); ++i) {
        INFO(in_group[i]->name);
        CHECK(torch::equal(in_group[i]->value.grad()[r], by_itself[i]->value.grad()[0]));
      }
    }
  }
  at::set_num_threads(threads);
}

TEST_CASE("the transformer offers its layers by name", "[numeric]") {
  const auto model = build({"1"}, {{"layers", "1"}});
  std::vector<std::string> names;
  for (const Linear* linear : model->linears()) names.push_back(linear->name());
  CHECK(names == std::vector<std::string>{"layer0.q", "layer0.k", "layer0.v", "layer0.o",
                                          "layer0.ff_gate", "layer0.ff_up", "layer0.ff_down"});
  CHECK(model->sites(Level::kAttention) == 1);
  CHECK(model->sites(Level::kWeights) == 0);  // no connections yet
  CHECK(model->parameters().size() == 1 + 3 + 7 + 1);
  CHECK(build({"1"}, {{"layers", "1"}, {"head_gate", "false"}})->parameters().size() == 11);
  std::set<std::string> seen, sites, viewed;
  Context context = context_of(StreamsWanted::kBoth, {1});
  context.observe_tensor = [&](const std::string& layer, const std::string& what,
                               const at::Tensor&) { seen.insert(layer + " " + what); };
  context.observe_attention = [&](const std::string& layer, const AttentionView&) {
    viewed.insert(layer);
  };
  context.observe_site = [&](const Site& site, const at::Tensor& full, const at::Tensor& sparse) {
    sites.insert(site.layer);
    CHECK(full.sizes() == sparse.sizes());
  };
  const at::Tensor logits = model->forward(tokens_of(1, 2, 10), context);
  CHECK(logits.sizes() == at::IntArrayRef({1, 2, 10, kVocabulary}));
  CHECK(sites == std::set<std::string>{"layer0.attention"});
  CHECK(seen == std::set<std::string>{"layer0.attention attention_gate", "layer0.ff activation"});
  CHECK(viewed == std::set<std::string>{"layer0.attention"});
}

TEST_CASE("attention's operations are counted exactly", "[numeric]") {
  const auto model = build({"1"});  // T 10, width 8, 2 layers, BS 3, 2 key heads of 2
  CHECK(model->attention_flops(true, 2) == 2 * 4 * 8 * 55);
  // Pairs at S = 2: own blocks 1 2 3 1 2 3 1 2 3 1, three more from token 3 on; selector: pooled
  // scores of 1 2 3 complete blocks at tokens 2-4, 5-7, 8-9, and the means of the keys.
  const double pairs = 19 + 7 * 3, scored = 3 * 1 + 3 * 2 + 2 * 3;
  CHECK(model->attention_flops(false, 2) == 2 * (4 * 8 * pairs + 2 * 8 * scored + 10 * 4));
  CHECK(model->attention_flops(false, 100) > model->attention_flops(true, 100));
}

TEST_CASE("impossible transformers are refused with what to do", "[numeric]") {
  CHECK_THROWS_AS(build({"1"}, {{"width", "10"}}), ConfigError);       // heads 4
  CHECK_THROWS_AS(build({"1"}, {{"kv_heads", "3"}}), ConfigError);     // heads 4
  CHECK_THROWS_AS(build({"1"}, {{"width", "12"}}), ConfigError);       // head width 3
  CHECK_THROWS_AS(build({"1"}, {{"block_size", "11"}}), ConfigError);  // context 10
  CHECK_THROWS_AS(build({"1"}, {{"blocks", "0"}}), ConfigError);
  CHECK_NOTHROW(build({"1"}, {{"blocks", "99"}}));
}

TEST_CASE("attention methods fill their policies", "[numeric]") {
  const auto of = [](const Settings& more) {
    return policies_of(Config::resolve(tiny(more)), Level::kAttention);
  };
  CHECK(of({{"attention", "full"}}).schedule.kind == Schedule::Kind::kFull);
  const Policies moba = of({{"attention", "moba"},
                            {"attention_selector", "head"},
                            {"attention_selector_score", "dot"},
                            {"attention_forced_first", "true"}});
  CHECK(moba.schedule.kind == Schedule::Kind::kSparse);
  CHECK((moba.selector.per_head && moba.selector.score == "dot" && moba.selector.force_first));
  const Policies alternate = of({{"attention", "alternate"}, {"attention_p", "0.25"}});
  CHECK(alternate.schedule.kind == Schedule::Kind::kBernoulli);
  CHECK(alternate.schedule.p == 0.25);
  CHECK(alternate.alignment.alpha == 0);
  CHECK((!alternate.selector.per_head && alternate.selector.score == "softmax"));
  const Policies ssa = of({{"attention", "ssa"}});
  CHECK(ssa.schedule.p == 0.5);
  CHECK(ssa.alignment.alpha == 10);
  CHECK(ssa.alignment.lambda_full == 1);
  CHECK(ssa.alignment.lambda_sparse == 1);
  CHECK(ssa.alignment.distance == Alignment::Distance::kSmoothL1);
  CHECK(ssa.alignment.site == Alignment::Site::kPre);
  CHECK_FALSE(ssa.alignment.propagated);
  CHECK(of({{"attention", "ssa"}, {"attention_gate_in_loss", "true"}}).alignment.site ==
        Alignment::Site::kPost);
}

TEST_CASE("one head's gate avoids a product of width 1 and agrees with it", "[numeric]") {
  const auto model = build({"1"}, {{"heads", "1"}, {"kv_heads", "1"}});
  scramble(*model);
  const at::Tensor tokens = tokens_of(1, 2, 10);
  Context context = context_of(StreamsWanted::kFull);
  CHECK(gradient_error(*model, [&](bool) {
          Context own = context_of(StreamsWanted::kFull);
          return next_token_loss(model->forward(tokens, own), tokens);
        }) < 1e-7);
}

TEST_CASE("elementwise functions give a replica the same bits whatever its size", "[numeric]") {
  torch::manual_seed(10);
  for (const std::int64_t share : {1, 7, 31, 32, 33, 240}) {
    const at::Tensor x = torch::randn({3, share}).requires_grad_(true);
    for (const auto f : {sigmoid_reproducible, silu_reproducible, gelu_reproducible}) {
      const at::Tensor y = f(x);
      const at::Tensor gradient = torch::autograd::grad({y.sum()}, {x})[0];
      for (std::int64_t r = 0; r < 3; ++r) {
        const at::Tensor own = x.detach().narrow(0, r, 1).clone().requires_grad_(true);
        CHECK(torch::equal(f(own)[0], y[r]));
        CHECK(torch::equal(torch::autograd::grad({f(own).sum()}, {own})[0][0], gradient[r]));
      }
    }
    CHECK(torch::allclose(sigmoid_reproducible(x), torch::sigmoid(x)));
    CHECK(torch::allclose(silu_reproducible(x), torch::silu(x)));
    CHECK(torch::allclose(gelu_reproducible(x), torch::gelu(x)));
  }
}

TEST_CASE("rms_norm equals its formula, gradients included", "[numeric]") {
  torch::manual_seed(4);
  const at::Tensor x = torch::randn({2, 5, 6}, torch::kFloat64).requires_grad_(true);
  const at::Tensor gain = torch::randn({2, 6}, torch::kFloat64).requires_grad_(true);
  const at::Tensor direction = torch::randn({2, 5, 6}, torch::kFloat64);
  const at::Tensor y = rms_norm(x, gain);
  const at::Tensor plain = x / (x.square().mean(-1, true) + 1e-5).sqrt() * gain.unsqueeze(1);
  CHECK(torch::allclose(y, plain, 1e-12, 1e-13));
  const auto got = torch::autograd::grad({(y * direction).sum()}, {x, gain});
  const auto wanted = torch::autograd::grad({(plain * direction).sum()}, {x, gain});
  for (std::size_t i = 0; i < 2; ++i) CHECK(torch::allclose(got[i], wanted[i], 1e-11, 1e-12));
}

TEST_CASE("rotary positions keep lengths and see distances only", "[numeric]") {
  torch::manual_seed(6);
  const auto real = torch::dtype(torch::kFloat64);
  const at::Tensor row = torch::randn({1, 1, 1, 1, 6}, real), other = torch::randn_like(row);
  const RotaryTables tables(9, 6, 100.0, row);
  const at::Tensor q = rotate(row.expand({1, 1, 9, 1, 6}), tables).view({9, 6});
  const at::Tensor k = rotate(other.expand({1, 1, 9, 1, 6}), tables).view({9, 6});
  CHECK(torch::allclose(q.norm(2, -1), row.norm().expand({9}), 1e-12, 1e-12));
  const at::Tensor products = torch::mm(q, k.t());
  CHECK(torch::allclose(products.diagonal(2), products[0][2].expand({7}), 1e-11, 1e-12));
  CHECK_FALSE(torch::allclose(products[0][1], products[0][2]));
  // Pair (i, i + 3) of position 1 turns by 100^(-2 i / 6).
  const double angle = std::pow(100.0, -2.0 / 6.0), a = row.flatten()[1].item<double>(),
               b = row.flatten()[4].item<double>();
  CHECK(q[1][1].item<double>() == Approx(a * std::cos(angle) - b * std::sin(angle)));
  CHECK(q[1][4].item<double>() == Approx(b * std::cos(angle) + a * std::sin(angle)));
}

TEST_CASE("embedding rows and their gradient", "[numeric]") {
  torch::manual_seed(8);
  const at::Tensor table = torch::randn({2, 5, 3}, torch::kFloat64).requires_grad_(true);
  const at::Tensor tokens = torch::tensor({{0, 4, 4, 1}, {2, 2, 2, 3}}, torch::kInt64);
  const at::Tensor rows = embed(table, tokens), direction = torch::randn_like(rows);
  const at::Tensor gradient = torch::autograd::grad({(rows * direction).sum()}, {table})[0];
  for (std::int64_t r = 0; r < 2; ++r) {
    const at::Tensor one_hot = torch::one_hot(tokens[r], 5).to(torch::kFloat64);
    CHECK(torch::equal(rows[r], table[r].index_select(0, tokens[r])));
    CHECK(torch::allclose(gradient[r], torch::mm(one_hot.t(), direction[r]), 1e-13, 1e-14));
  }
}

}  // namespace tandem::test::nn_transformer_numeric
