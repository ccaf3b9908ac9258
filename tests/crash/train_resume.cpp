// Stopped at any step and resumed, a run ends with the same rows and the same weights as if it had
// never been disturbed.
#include <catch2/catch.hpp>
#include <random>

#include "support/resume_support.h"

namespace tandem::test::train_resume_crash {

using namespace tandem::test;

TEST_CASE("a stopped run resumes to the same bits", "[crash]") {
  // One representative of each policy kind: growth with a gradient, random growth with drawn
  // values, a budget schedule, random streams with alignment, two passes.
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 generator(seed);
  for (const std::string name : {"rigl", "set", "gmp", "ssa", "sandwich"}) {
    const auto stop = static_cast<std::int64_t>(3 + generator() % 20);
    CAPTURE(name, stop);
    require_resumable(
        pair_of({{"weights", name},
                 {"eval_every", "1"},
                 {name == "rigl" ? "update_interval" : "lr", name == "rigl" ? "4" : "0.05"}}),
        stop);
  }
}

TEST_CASE("a steered alpha and draws of layers and blocks resume to the same bits", "[crash]") {
  const Settings steered = {{"weights", "ssa"},
                            {"weights_gap_target", "0.05"},
                            {"weights_gap_rate", "0.3"},
                            {"weights_align_every", "2"},
                            {"steps", "40"},
                            {"refresh_interval", "9"}};
  Settings layers = steered, blocks = steered;
  layers["weights_draw"] = "layer";
  layers["weights_distance"] = "cosine";
  blocks["weights_draw_steps"] = "4";
  blocks["weights_p_schedule"] = "cosine";
  blocks["weights_shuffle_target"] = "true";
  blocks["weights_counterpart"] = "propagated";
  for (const Settings& said : {layers, blocks}) {
    require_resumable(pair_of(said), 7);
    const Outcome outcome = run_disturbed(pair_of(said), 0);
    int logged = 0;
    for (const auto& [key, line] : outcome.rows) {
      logged += line.find("alpha_factor") != std::string::npos;
    }
    REQUIRE(logged > 2);
  }
}

TEST_CASE("supersets outside which weights are zero resume to the same bits", "[crash]") {
  for (const char* method : {"ssa", "alternate", "topkast"}) {
    for (const char* storage : {"masked", "sparse"}) {
      CAPTURE(method, storage);
      Settings said = {
          {"weights", method},         {"storage", storage},         {"steps", "40"},
          {"refresh_interval", "9"},   {"optimizer", "adamw"},       {"lr", "0.01"},
          {"superset_density", "0.4"}, {"superset_outside", "zero"}, {"eval_every", "1"}};
      if (method == std::string("ssa")) said["superset_random"] = "true";
      require_resumable(pair_of(said), 7);
    }
  }
}

TEST_CASE("nested masks and pulls within layers resume to the same bits", "[crash]") {
  const Settings base = {{"steps", "40"},
                         {"refresh_interval", "9"},
                         {"weights_nested", "1,0.5,0.2"},
                         {"eval_every", "1"}};
  Settings alternate = base, whole = base, ssa = base;
  alternate["weights"] = "alternate";
  whole["weights"] = "alternate";
  whole["density"] = "1";
  ssa["weights"] = "ssa";
  ssa["weights_detach"] = "true";
  ssa["weights_draw"] = "layer";
  for (const Settings& said : {alternate, whole, ssa}) {
    CAPTURE(said);
    require_resumable(pair_of(said), 7);
  }
}

TEST_CASE("a stopped run with sparse storage resumes to the same bits", "[crash]") {
  for (const std::string name : {"rigl", "set", "gmp"}) {
    Settings said = busy_method(name, "adamw", 40, 5);
    said["storage"] = "sparse";
    std::vector<Config> runs = pair_of(said);
    said["density"] = "0.4";  // a segment of another length
    runs.push_back(small_run(said));
    require_resumable(runs, 7);
  }
}

TEST_CASE("a stopped task sequence resumes to the same bits", "[crash]") {
  for (const char* storage : {"masked", "sparse"}) {
    Settings said = small_sequence();
    said["storage"] = storage;
    require_resumable(pair_of(said), 7);
  }
}

TEST_CASE("a run that diverged between two boundaries ends as diverged after a stop", "[crash]") {
  const Config wild = small_run({{"lr", "1e30"}, {"clip", "0"}, {"steps", "40"}});
  const Config calm = small_run({{"steps", "40"}, {"clip", "0"}});
  for (const auto& runs : {std::vector<Config>{wild}, std::vector<Config>{wild, calm}}) {
    const Outcome undisturbed = run_disturbed(runs, 0, "cpu", true);
    int diverged = 0;
    for (const auto& [key, line] : undisturbed.rows) diverged += line.rfind("diverged", 0) == 0;
    REQUIRE(diverged == 1);
    for (const std::int64_t stop : {2, 3, 7}) {
      CAPTURE(runs.size(), stop);
      REQUIRE(run_disturbed(runs, stop, "cpu", true).rows == undisturbed.rows);
    }
  }
}

TEST_CASE("a run that diverges says what to try where its strategy holds on to weights",
          "[crash]") {
  const TemporaryFolder folder;
  for (const std::string strategy : {"mas", "finetune"}) {
    Settings said = {{"scenario", "class_il"},
                     {"strategy", strategy},
                     {"tasks", "2"},
                     {"steps", "20"},
                     {"clip", "0"}};
    said[strategy == "mas" ? "stability" : "lr"] = "1e+30";
    GroupSpec spec;
    spec.runs = {small_run(said)};
    spec.device = "cpu";
    spec.checkpoint_folder = folder / strategy;
    MemorySink sink;
    REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
    std::string message;
    for (const Row& row : sink.unacknowledged()) {
      const auto* state = std::get_if<StateRow>(&row.body);
      if (state != nullptr && state->state == "diverged") message = state->message;
    }
    CAPTURE(message);
    REQUIRE(message.find("not finite after ") != std::string::npos);
    const bool told = message.find("try a smaller --stability (here 1e+30) or --lr (here " +
                                   spec.runs[0].text("lr") + ")") != std::string::npos;
    CHECK(told == (strategy == "mas"));
    CHECK((message.find("--stability") != std::string::npos) == told);
  }
}

}  // namespace tandem::test::train_resume_crash
