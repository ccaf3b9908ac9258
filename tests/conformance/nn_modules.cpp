// Every attention method with every selector that it reads, held to what its module claims: a query
// sees no later token; a budget that covers every block is full attention; and a run is the same to
// the bit alone, in company and resumed.
#include <algorithm>
#include <catch2/catch.hpp>

#include "config/option.h"
#include "core/error.h"
#include "core/files.h"
#include "data/packed.h"
#include "data/tensor.h"
#include "jobs/run_check.h"
#include "methods/method.h"
#include "nn/attention/module.h"
#include "nn/attention/selector.h"
#include "nn/model.h"
#include "support/resume_support.h"
#include "support/train_support.h"

namespace tandem::test::nn_modules_conformance {

using namespace tandem::test;

namespace {

struct Way {
  std::string method, score, lists;
};

// What an attention method can be told of how it chooses blocks.
std::vector<Way> ways() {
  std::vector<Way> all;
  for (const Part& method : parts_of("attention")) {
    const auto reads = [&method](const char* name) {
      return std::count(method.uses.begin(), method.uses.end(), name) != 0;
    };
    if (!reads("attention_selector_score")) {
      all.push_back({method.name, "", ""});
      continue;
    }
    for (const auto& [score, selector] : block_selectors().all()) {
      for (const char* lists : {"group", "head"}) all.push_back({method.name, score, lists});
    }
  }
  return all;
}

Settings settings_of(const Way& way, const Settings& more = {}) {
  Settings said = small_transformer({{"attention", way.method}});
  if (!way.score.empty()) {
    said["attention_selector_score"] = way.score;
    said["attention_selector"] = way.lists;
  }
  for (const auto& [name, value] : more) said[name] = value;
  return said;
}

std::unique_ptr<Model> build(const Config& config) {
  ModelShape shape;
  shape.replicas = 1;
  shape.outputs = 256;
  shape.dtype = torch::kFloat64;
  return models().at("model", "transformer")({config}, shape);
}

at::Tensor logits(Model& model, const at::Tensor& x, StreamsWanted wanted) {
  const at::NoGradGuard no_grad;
  Context context;
  context.plans.attention.wanted = wanted;
  return model.forward(x, context);
}

void require_same_in_every_company(Settings said) {
  const Settings more = {{"steps", "8"},
                         {"curve", "true"},
                         {"evaluation_windows", "6"},
                         {"probes", "default,attention_gradient"},
                         {"probe_every", "3"}};
  for (const auto& [name, value] : more) said[name] = value;
  std::vector<Config> runs;
  for (const char* seed : {"1", "2", "3"}) {
    said["seed"] = seed;
    runs.push_back(Config::resolve(said));
  }
  const Outcome together = run_disturbed(runs, 0);
  const Outcome disturbed = run_disturbed(runs, 3);
  REQUIRE(disturbed.weights == together.weights);
  REQUIRE(disturbed.rows == together.rows);
  const Outcome alone = run_disturbed({runs[1]}, 0);
  REQUIRE(alone.rows.size() > 5);
  for (const auto& [key, line] : alone.rows) {
    CAPTURE(line);
    REQUIRE(together.rows.at(key) == line);
  }
  REQUIRE(together.weights.find(alone.weights) != std::string::npos);
}

}  // namespace

TEST_CASE("no query of a causal module sees a later token", "[conformance]") {
  for (const Way& way : ways()) {
    DYNAMIC_SECTION(way.method << ' ' << way.score << ' ' << way.lists) {
      const auto model = build(Config::resolve(settings_of(way)));
      torch::manual_seed(2);
      const at::Tensor x = torch::randint(0, 256, {1, 2, 32}, torch::kInt64);
      for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
        const at::Tensor before = logits(*model, x, wanted);
        for (const std::int64_t cut : {1, 9, 16, 31}) {
          at::Tensor other = x.clone();
          other.slice(2, cut).add_(7).remainder_(256);
          const at::Tensor after = logits(*model, other, wanted);
          CAPTURE(cut, wanted == StreamsWanted::kFull);
          CHECK(torch::allclose(before.slice(2, 0, cut), after.slice(2, 0, cut), 1e-10, 1e-12));
          CHECK_FALSE(torch::allclose(before.slice(2, cut), after.slice(2, cut), 1e-10, 1e-12));
        }
      }
    }
  }
}

// Documents of these lengths in one sequence.
at::Tensor packed_sequence(const at::Tensor& tokens, const std::vector<std::int64_t>& lengths) {
  at::Tensor starts = torch::zeros_like(tokens);
  std::int64_t begin = 0;
  for (const std::int64_t length : lengths) {
    starts.slice(2, begin, begin + length).fill_(begin);
    begin += length;
  }
  return packed(tokens, starts);
}

TEST_CASE("a document that begins with a block is computed among others as alone",
          "[conformance]") {
  const std::vector<std::int64_t> lengths = {12, 4, 16};
  for (const Way& way : ways()) {
    for (const char* blocks : {"2", "3"}) {
      DYNAMIC_SECTION(way.method << ' ' << way.score << ' ' << way.lists << ' ' << blocks) {
        const auto model =
            build(Config::resolve(settings_of(way, {{"documents", "pack"}, {"blocks", blocks}})));
        torch::manual_seed(4);
        const at::Tensor x = torch::randint(0, 256, {1, 2, 32}, torch::kInt64);
        for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
          const at::Tensor together = logits(*model, packed_sequence(x, lengths), wanted);
          std::int64_t begin = 0;
          for (const std::int64_t length : lengths) {
            const at::Tensor alone =
                logits(*model, x.slice(2, begin, begin + length).contiguous(), wanted);
            CAPTURE(begin, wanted == StreamsWanted::kFull);
            CHECK(torch::allclose(together.slice(2, begin, begin + length), alone, 1e-9, 1e-11));
            begin += length;
          }
          // As one text it is something else.
          CHECK_FALSE(torch::allclose(logits(*model, x, wanted).slice(2, 12), together.slice(2, 12),
                                      1e-6, 1e-8));
        }
      }
    }
  }
}

TEST_CASE("no document reads another, wherever it begins", "[conformance]") {
  const std::vector<std::int64_t> lengths = {5, 9, 1, 17};
  for (const Way& way : ways()) {
    DYNAMIC_SECTION(way.method << ' ' << way.score << ' ' << way.lists) {
      const auto model = build(Config::resolve(settings_of(way, {{"documents", "pack"}})));
      torch::manual_seed(4);
      const at::Tensor x = torch::randint(0, 256, {1, 2, 32}, torch::kInt64);
      for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
        const at::Tensor before = logits(*model, packed_sequence(x, lengths), wanted);
        CHECK(before.isfinite().all().item<bool>());
        std::int64_t begin = 0;
        for (const std::int64_t length : lengths) {
          const std::int64_t end = begin + length;
          at::Tensor others = (x + 7).remainder(256);
          others.slice(2, begin, end).copy_(x.slice(2, begin, end));
          const at::Tensor after = logits(*model, packed_sequence(others, lengths), wanted);
          CAPTURE(begin, wanted == StreamsWanted::kFull);
          CHECK(torch::allclose(before.slice(2, begin, end), after.slice(2, begin, end), 1e-10,
                                1e-12));
          CHECK_FALSE(torch::allclose(before, after, 1e-6, 1e-8));
          begin = end;
        }
      }
    }
  }
}

TEST_CASE("packed documents: alone, in company and resumed", "[conformance]") {
  for (const Way& way : ways()) {
    if (way.lists == "head" || (way.score != "" && way.score != "softmax" && way.score != "random"))
      continue;
    DYNAMIC_SECTION(way.method << ' ' << way.score) {
      require_same_in_every_company(
          settings_of(way, {{"documents", "pack"}, {"corpus", TANDEM_SOURCE_DIR "/src/core"}}));
    }
  }
}

TEST_CASE("a budget of all blocks is full attention where a module claims it", "[conformance]") {
  for (const Way& way : ways()) {
    DYNAMIC_SECTION(way.method << ' ' << way.score << ' ' << way.lists) {
      const Config config = Config::resolve(settings_of(way, {{"blocks", "8"}}));
      const auto model = build(config);
      const std::string module = policies_of(config, Level::kAttention).module;
      ModelShape shape;
      const std::vector<Config> configs = {config};
      AttentionPlace place{"layer0", configs, shape, 16, 4, 2, 4, {}};
      place.setting.block_size = 4;
      const bool claims =
          attention_modules().at("attention_module", module).make(place)->claims().covers_is_full;
      const at::Tensor x = torch::randint(0, 256, {1, 2, 32}, torch::kInt64);
      CHECK(torch::equal(logits(*model, x, StreamsWanted::kFull),
                         logits(*model, x, StreamsWanted::kSparse)) == claims);
    }
  }
}

TEST_CASE("attention methods with every selector: alone, in company and resumed", "[conformance]") {
  for (const Way& way : ways()) {
    if (way.lists == "head" && way.score != "random") continue;
    DYNAMIC_SECTION(way.method << ' ' << way.score << ' ' << way.lists) {
      require_same_in_every_company(settings_of(way));
    }
  }
}

TEST_CASE("how attention's streams are drawn and aligned: alone, in company and resumed",
          "[conformance]") {
  const std::vector<Settings> all = {
      {{"attention_draw", "turns"}, {"attention_draw_steps", "2"}, {"weights", "alternate"}},
      {{"attention_align_every", "3"}, {"attention_draw_steps", "3"}},
      {{"attention_shuffle_target", "true"}, {"attention_distance", "cosine"}},
      {{"attention_selector_score", "subblock"},
       {"attention_subblocks", "2"},
       {"attention_top_p", "0.6"},
       {"blocks", "3"}},
      {{"attention_selector_score", "strided"}, {"attention_stride", "2"}, {"blocks", "3"}},
      {{"attention_draw", "layer"}},
      {{"attention_draw", "layer"}, {"attention_alpha", "0"}},
      {{"attention_gap_target", "0.05"},
       {"attention_gap_rate", "0.05"},
       {"attention_align_every", "2"}},
      {{"attention_choice", "streaming"}, {"blocks", "4"}},
      {{"attention_entropy_penalty", "0.1"}},
      {{"attention_selector_score", "indexer"},
       {"attention_indexer_pool", "mean"},
       {"attention_indexer_heads", "1"},
       {"attention_top_p", "0.8"},
       {"attention_entropy_penalty", "0.1"},
       {"attention_alpha", "0"}},
      {{"attention_selector_score", "indexer"},
       {"attention_indexer_target", "chosen"},
       {"attention_indexer_weight", "0.5"}}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    DYNAMIC_SECTION(i) {
      require_same_in_every_company(settings_of({"ssa", "softmax", "group"}, all[i]));
    }
  }
}

}  // namespace tandem::test::nn_modules_conformance
