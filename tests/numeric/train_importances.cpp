// Importances of a net that is more than linear layers with a row an example, against central
// differences of its own outputs, example by example, in double precision.
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <string>

#include "continual/strategy.h"
#include "core/files.h"
#include "support/step_support.h"
#include "topology/connections.h"

namespace tandem::test::train_importances_numeric {

using namespace tandem::test;

namespace {

// Two short texts, a task each.
std::string corpora(const TemporaryFolder& folder) {
  for (const char first : {'a', 'o'}) {
    std::string text;
    for (int i = 0; i < 900; ++i) text.push_back(static_cast<char>(first + i * i % 13 % 7));
    atomic_write(folder / std::string(1, first), text);
  }
  return folder.path() + "/a|" + folder.path() + "/o";
}

// [R,n] what is derived of each example: the log probability of its symbols, or the sum of squares
// of all outputs.
at::Tensor values_of(Trainer& trainer, const Batch& batch, const std::string& strategy,
                     bool sparse) {
  const at::NoGradGuard no_grad;
  Context context;
  context.plans.attention.wanted = trainer.run(0).config.text("attention") == "full"
                                       ? StreamsWanted::kFull
                                       : StreamsWanted::kSparse;
  if (trainer.run(0).config.text("attention") == "ssa") {
    context.plans.attention.wanted = StreamsWanted::kFull;
  }
  context.plans.weights.wanted = sparse ? StreamsWanted::kSparse : StreamsWanted::kFull;
  const at::Tensor z = trainer.model().forward(batch.x, context);  // [R,n,T,V]
  if (strategy == "mas") return z.square().sum({2, 3});
  const at::Tensor target = batch.target.view({z.size(0), z.size(1), z.size(2), 1});
  return (z - z.logsumexp(-1, /*keepdim=*/true)).gather(-1, target).sum({2, 3});
}

}  // namespace

TEST_CASE("importances of windows are means of powers of each window's own gradient", "[numeric]") {
  const TemporaryFolder folder;
  const std::string corpus = corpora(folder);
  for (const std::string strategy : {"ewc_empirical", "mas"}) {
    for (const std::string weights : {"dense", "static", "ssa"}) {
      for (const std::string storage : {"masked", "sparse"}) {
        if (weights != "static" && storage == "sparse") continue;
        DYNAMIC_SECTION(strategy << ' ' << weights << ' ' << storage) {
          std::vector<Config> runs;
          // More examples than are taken at once, and not as many in each run.
          for (const std::string examples : {"0", "5"}) {
            runs.push_back(
                Config::resolve(small_transformer({{"corpus", corpus},
                                                   {"scenario", "domain_il"},
                                                   {"tasks_by", "corpus"},
                                                   {"tasks", "2"},
                                                   {"strategy", strategy},
                                                   {"fisher_examples", examples},
                                                   {"weights", weights},
                                                   {"attention", "ssa"},
                                                   {"seed", std::to_string(runs.size() + 1)},
                                                   {"storage", storage},
                                                   {"steps", "4"}})));
          }
          TrainerOptions options = in_double();
          if (storage == "sparse") {
            options.storage.assign(14, Storage::kSparse);
          }
          Trainer trainer(runs, options);
          trainer.begin_stage(0);
          trainer.advance(0, 0, 4);
          std::vector<std::vector<std::int64_t>> examples;
          std::size_t most = 0;
          for (std::int64_t r = 0; r < 2; ++r) {
            examples.push_back(trainer.batches().of_stage(r));
            most = std::max(most, examples.back().size());
          }
          REQUIRE(most > 16);
          trainer.end_stage(0);
          const bool sparse = weights == "static";
          // The run that takes all of them: which ones the other takes is its own to draw.
          const auto n = static_cast<std::int64_t>(examples[0].size());
          examples[1] = examples[0];
          const Batch batch = trainer.batches().make(examples, n, OutputsOf::kAll);
          std::int64_t compared = 0, dormant = 0;
          for (Parameter* parameter : trainer.model().parameters()) {
            CAPTURE(parameter->name);
            const at::Tensor importance =
                parameter->segment(parameter->slots.at(strategy + ".importance").values, 0);
            at::Tensor active;
            if (sparse && parameter->connections != nullptr && parameter->connections->is_dense()) {
              active = parameter->connections->dense_flags()[0];
            }
            at::Tensor own = parameter->segment(parameter->flat().detach(), 0);
            for (std::int64_t i = 3; i < own.numel(); i += own.numel() / 5 + 1) {
              CAPTURE(i);
              if (active.defined() && active[i].item<int>() == 0) {
                ++dormant;
                CHECK(importance[i].item<double>() == 0);
                continue;
              }
              const double was = own[i].item<double>(), h = 1e-5;
              const auto at = [&](double value) {
                const at::NoGradGuard no_grad;
                own[i] = value;
                return values_of(trainer, batch, strategy, sparse)[0];
              };
              const at::Tensor slope = (at(was + h) - at(was - h)) / (2 * h);
              at(was);
              const double expected =
                  (strategy == "mas" ? slope.abs() : slope.square()).mean().item<double>();
              CHECK(importance[i].item<double>() == Approx(expected).epsilon(1e-4).margin(1e-9));
              ++compared;
            }
          }
          CHECK(compared > 40);
          CHECK((dormant > 20) == (sparse && storage == "masked"));
        }
      }
    }
  }
}

}  // namespace tandem::test::train_importances_numeric
