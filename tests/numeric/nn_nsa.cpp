// Native sparse attention against its equations, by plain loops in double precision, and its
// gradients against central differences.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "data/tensor.h"
#include "nn/attention/module.h"
#include "nn/outline.h"
#include "support/train_support.h"

namespace tandem::test::nn_nsa_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kBatch = 2, kHeads = 4, kKeyHeads = 2, kDim = 4, kWidth = 16;
constexpr std::int64_t kGroup = kHeads / kKeyHeads;

using Vector = std::vector<double>;

Vector numbers(const at::Tensor& x) {
  const at::Tensor flat = x.detach().to(torch::kDouble).contiguous().view({-1});
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Attention of one query over these keys and values; also each key's share.
Vector attend(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
              Vector* shares = nullptr) {
  Vector out(kDim, 0), e;
  double all = 0;
  for (const Vector& key : keys) {
    e.push_back(std::exp(dot(q, key) / std::sqrt(static_cast<double>(kDim))));
    all += e.back();
  }
  for (std::size_t j = 0; j < keys.size(); ++j) {
    if (shares != nullptr) shares->push_back(e[j] / all);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += e[j] / all * values[j][i];
  }
  return out;
}

struct Net {
  std::int64_t tokens;
  std::vector<Config> configs;
  std::unique_ptr<AttentionModule> module;
  at::Tensor x, q, k, v;
  AttentionTables tables;
  std::int64_t block, length, stride, window, blocks;

  Net(std::int64_t t, const Settings& more) : tokens(t) {
    Settings said = small_transformer({{"attention", "nsa"}, {"dtype", "float64"}});
    for (const auto& [name, value] : more) said[name] = value;
    for (const char* seed : {"1", "2"}) {
      said["seed"] = seed;
      configs.push_back(Config::resolve(said));
    }
    const Config& config = configs.front();
    block = config.integer("block_size");
    blocks = config.integer("blocks");
    length = config.integer("nsa_length") > 0 ? config.integer("nsa_length") : block / 2;
    stride = config.integer("nsa_stride") > 0 ? config.integer("nsa_stride") : block / 4;
    window = config.integer("nsa_window") > 0 ? config.integer("nsa_window") : 8 * block;
    ModelShape shape;
    shape.replicas = 2;
    shape.dtype = torch::kFloat64;
    AttentionPlace place{"layer0", configs, shape, kWidth, kHeads, kKeyHeads, kDim, {}};
    place.setting.block_size = block;
    place.setting.blocks = blocks;
    place.setting.selector.force_first = config.flag("attention_forced_first");
    place.setting.selector.nearest = config.integer("attention_forced_nearest");
    module = attention_modules().at("attention_module", "nsa").make(place);
    torch::manual_seed(11);
    const auto real = torch::dtype(torch::kFloat64);
    x = torch::randn({2, kBatch * tokens, kWidth}, real);
    q = torch::randn({2, kBatch, tokens, kHeads, kDim}, real);
    k = torch::randn({2, kBatch, tokens, kKeyHeads, kDim}, real);
    v = torch::randn({2, kBatch, tokens, kKeyHeads, kDim}, real);
    // Gates that differ, and codes that count.
    const at::NoGradGuard no_grad;
    for (Parameter* parameter : module->parameters()) {
      parameter->value = (torch::randn(parameter->value.sizes(), real) * 0.4).requires_grad_(true);
    }
    tables = AttentionTables(tokens, block, q);
  }

  Vector parameter(const std::string& name, std::int64_t r) {
    for (Parameter* each : module->parameters()) {
      if (each->name == "layer0.attention." + name) return numbers(each->value[r]);
    }
    FAIL("no parameter " << name);
    return {};
  }

  at::Tensor run(StreamsWanted wanted, const at::Tensor& full_runs = {}) {
    Context context;
    context.plans.attention.wanted = wanted;
    context.plans.attention.full_runs = full_runs;
    // The keys that a branch makes itself are turned somehow: here doubled.
    const auto rotate = [](const at::Tensor& keys) { return 2 * keys; };
    return module->forward({x, q, k, v, tables, rotate, {}}, context);
  }

  // Keys or values of a branch, [T] of [D].
  std::vector<Vector> of_branch(const std::string& branch, bool keys, std::int64_t r,
                                std::int64_t b, std::int64_t g) {
    std::vector<Vector> all;
    const bool own = configs.front().flag("nsa_separate_kv") && branch != "selected";
    const Vector weight = own ? parameter(branch + (keys ? "_k" : "_v"), r) : Vector();
    for (std::int64_t t = 0; t < tokens; ++t) {
      if (!own) {
        all.push_back(numbers((keys ? k : v)[r][b][t][g]));
        continue;
      }
      const Vector in = numbers(x[r][b * tokens + t]);
      Vector out(kDim, 0);
      for (std::int64_t i = 0; i < kWidth; ++i) {
        for (std::int64_t d = 0; d < kDim; ++d) {
          out[static_cast<std::size_t>(d)] +=
              (keys ? 2 : 1) * in[static_cast<std::size_t>(i)] *
              weight[static_cast<std::size_t>(i * kKeyHeads * kDim + g * kDim + d)];
        }
      }
      all.push_back(out);
    }
    return all;
  }

  std::vector<Vector> compressed(const std::vector<Vector>& rows, bool keys, std::int64_t r) {
    std::vector<Vector> all;
    const bool learned = configs.front().text("nsa_compression") == "mlp";
    const std::string of = keys ? "key" : "value";
    for (std::int64_t first = 0; first + length <= tokens; first += stride) {
      Vector out(kDim, 0);
      if (!learned) {
        for (std::int64_t j = first; j < first + length; ++j) {
          for (std::size_t d = 0; d < out.size(); ++d) {
            out[d] += rows[static_cast<std::size_t>(j)][d] / static_cast<double>(length);
          }
        }
        all.push_back(out);
        continue;
      }
      const Vector position = parameter(of + "_position", r), in = parameter(of + "_in", r),
                   last = parameter(of + "_out", r);
      const std::size_t units = last.size() / kDim;
      for (std::size_t u = 0; u < units; ++u) {
        double h = 0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(length * kDim); ++i) {
          h += (rows[static_cast<std::size_t>(first) + i / kDim][i % kDim] + position[i]) *
               in[i * units + u];
        }
        for (std::size_t d = 0; d < out.size(); ++d)
          out[d] += std::max(0.0, h) * last[u * kDim + d];
      }
      all.push_back(out);
    }
    return all;
  }

  // Outputs of the branches for a query of a head; `chosen` says what is read.
  Vector expected(std::int64_t r, std::int64_t b, std::int64_t h, std::int64_t t, bool full) {
    const std::int64_t g = h / kGroup;
    const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
    const auto slice = [&](const std::vector<Vector>& rows, std::int64_t from) {
      return std::vector<Vector>(rows.begin() + from, rows.begin() + t + 1);
    };
    // Which blocks are read: by all heads of the group.
    const auto ck = compressed(of_branch("compressed", true, r, b, g), true, r);
    const auto cv = compressed(of_branch("compressed", false, r, b, g), false, r);
    std::int64_t before = 0;
    while (before < static_cast<std::int64_t>(ck.size()) && before * stride + length - 1 <= t) {
      ++before;
    }
    const std::vector<Vector> keys(ck.begin(), ck.begin() + before);
    const std::vector<Vector> values(cv.begin(), cv.begin() + before);
    const std::int64_t own = t / block;
    std::vector<std::pair<double, std::int64_t>> order;
    for (std::int64_t j = 0; j < own; ++j) order.emplace_back(0, j);
    Vector out_compressed(kDim, 0);
    for (std::int64_t other = g * kGroup; other < (g + 1) * kGroup; ++other) {
      Vector shares;
      const Vector out = attend(numbers(q[r][b][t][other]), keys, values, &shares);
      if (other == h && before > 0) out_compressed = out;
      for (auto& [minus, j] : order) {
        for (std::int64_t c = 0; c < before; ++c) {
          for (std::int64_t s = 0; s < length / stride; ++s) {  // strides of the compressed key
            minus -= (c + s) / (block / stride) == j ? shares[at(c)] : 0;
          }
        }
      }
    }
    const Config& config = configs.front();
    for (auto& [minus, j] : order) {
      if (own - j <= config.integer("attention_forced_nearest") ||
          (j == 0 && config.flag("attention_forced_first"))) {
        minus = -INFINITY;
      }
    }
    std::stable_sort(order.begin(), order.end());
    std::vector<char> read(at(own + 1), 0);
    read[at(own)] = 1;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(blocks - 1, own); ++i) {
      read[at(order[at(i)].second)] = 1;
    }
    const Vector query = numbers(q[r][b][t][h]);
    const auto all_keys = slice(of_branch("selected", true, r, b, g), 0);
    const auto all_values = slice(of_branch("selected", false, r, b, g), 0);
    std::vector<Vector> some_keys, some_values;
    for (std::int64_t j = 0; j <= t; ++j) {
      if (read[at(j / block)] == 0) continue;
      some_keys.push_back(all_keys[at(j)]);
      some_values.push_back(all_values[at(j)]);
    }
    const std::int64_t from = std::max<std::int64_t>(0, t - window + 1);
    Vector outs[] = {out_compressed, attend(query, some_keys, some_values),
                     attend(query, slice(of_branch("window", true, r, b, g), from),
                            slice(of_branch("window", false, r, b, g), from))};
    const std::string& replaced = config.text("nsa_full");
    const char* const names[] = {"compressed", "selected", "window"};
    const Vector gate = parameter("gate", r), in = numbers(x[r][b * tokens + t]);
    Vector sum(kDim, 0);
    for (std::int64_t c = 0; c < 3; ++c) {
      double z = 0;
      for (std::int64_t i = 0; i < kWidth; ++i) {
        z += in[at(i)] * gate[at(i * 3 * kHeads + c * kHeads + h)];
      }
      if (full && replaced.find(names[c]) != std::string::npos) {
        outs[c] = attend(query, all_keys, all_values);
      }
      for (std::size_t d = 0; d < sum.size(); ++d) sum[d] += outs[c][d] / (1 + std::exp(-z));
    }
    return sum;
  }

  void require_expected(const at::Tensor& out, std::int64_t r, bool full) {
    REQUIRE(out.sizes() == q.sizes());
    for (std::int64_t b = 0; b < kBatch; ++b) {
      for (std::int64_t h = 0; h < kHeads; ++h) {
        for (std::int64_t t = 0; t < tokens; t += 2) {
          CAPTURE(r, b, h, t, full);
          const Vector own = numbers(out[r][b][t][h]), wanted = expected(r, b, h, t, full);
          for (std::size_t d = 0; d < own.size(); ++d) {
            REQUIRE(own[d] == Approx(wanted[d]).epsilon(1e-9).margin(1e-11));
          }
        }
      }
    }
  }
};

}  // namespace

TEST_CASE("the branches of native sparse attention are their equations", "[numeric]") {
  for (const std::string compression : {"mlp", "mean"}) {
    for (const std::string separate : {"false", "true"}) {
      for (const std::int64_t tokens : {3, 30}) {
        DYNAMIC_SECTION(compression << ' ' << separate << ' ' << tokens) {
          Net net(tokens, {{"block_size", "8"},
                           {"blocks", "3"},
                           {"nsa_length", "4"},
                           {"nsa_stride", "2"},
                           {"nsa_window", "5"},
                           {"attention_forced_nearest", "0"},
                           {"nsa_compression", compression},
                           {"nsa_separate_kv", separate},
                           {"nsa_full", separate == "true" ? "compressed,window" : "selected"},
                           {"seed", "1"}});
          for (std::int64_t r = 0; r < 2; ++r) {
            net.require_expected(net.run(StreamsWanted::kSparse), r, false);
            net.require_expected(net.run(StreamsWanted::kFull), r, true);
          }
          const at::Tensor mixed =
              net.run(StreamsWanted::kSelected, torch::tensor({0, 1}).to(torch::kBool));
          CHECK(torch::equal(mixed[0], net.run(StreamsWanted::kSparse)[0]));
          CHECK(torch::equal(mixed[1], net.run(StreamsWanted::kFull)[1]));
        }
      }
    }
  }
}

TEST_CASE("sizes of native sparse attention are in units of a block unless they are said",
          "[numeric]") {
  Net net(40, {{"block_size", "8"}, {"blocks", "3"}});
  CHECK(net.length == 4);
  CHECK(net.stride == 2);
  CHECK(net.window == 64);
  for (std::int64_t r = 0; r < 2; ++r)
    net.require_expected(net.run(StreamsWanted::kSparse), r, false);
}

TEST_CASE("gradients of native sparse attention are differences of its outputs", "[numeric]") {
  Net net(21, {{"block_size", "4"},
               {"blocks", "2"},
               {"nsa_length", "4"},
               {"nsa_stride", "2"},
               {"nsa_window", "6"},
               {"nsa_separate_kv", "true"}});
  torch::manual_seed(5);
  const at::Tensor weights = torch::randn(net.q.sizes(), torch::kFloat64);
  const auto value = [&] { return (net.run(StreamsWanted::kSparse) * weights).sum(); };
  std::vector<at::Tensor*> inputs = {&net.x, &net.q, &net.k, &net.v};
  std::vector<at::Tensor> leaves;
  for (at::Tensor* each : inputs) {
    each->requires_grad_(true);
    leaves.push_back(*each);
  }
  for (Parameter* each : net.module->parameters()) leaves.push_back(each->value);
  const auto gradients = torch::autograd::grad({value()}, leaves);
  const at::NoGradGuard no_grad;
  for (std::size_t l = 0; l < leaves.size(); ++l) {
    at::Tensor flat = leaves[l].detach().view({-1});
    const at::Tensor own = gradients[l].reshape({-1});
    for (std::int64_t i = 1; i < flat.numel(); i += flat.numel() / 6 + 1) {
      CAPTURE(l, i);
      const double was = flat[i].item<double>(), h = 1e-6;
      flat[i] = was + h;
      const double above = value().item<double>();
      flat[i] = was - h;
      const double below = value().item<double>();
      flat[i] = was;
      CHECK(own[i].item<double>() == Approx((above - below) / (2 * h)).epsilon(1e-5).margin(1e-7));
    }
  }
}

TEST_CASE("sizes that do not fit are refused", "[numeric]") {
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(Net(20, {{"block_size", "8"}, {"nsa_stride", "3"}}),
                    Contains("nsa_stride = 3 must divide block_size = 8"));
  CHECK_THROWS_WITH(Net(20, {{"nsa_full", "selected,all"}}), Contains("names 'all'"));
  // Before anything runs.
  CHECK_THROWS_WITH(
      outline_of(Config::resolve(small_transformer({{"attention", "nsa"}, {"nsa_stride", "3"}})))
          .layers(Config::resolve(small_transformer({{"attention", "nsa"}, {"nsa_stride", "3"}})),
                  {}),
      Contains("nsa_stride = 3"));
}

}  // namespace tandem::test::nn_nsa_numeric
