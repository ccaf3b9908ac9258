// Digests of a run's tensors: what they are of, when they are logged, and that they tell the same
// of a run wherever it is stored and whoever trains with it.
#include <catch2/catch.hpp>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "support/resume_support.h"
#include "topology/digest.h"
#include "train/trainer.h"

namespace tandem::test::train_digests_numeric {

using namespace tandem::test;

namespace {

// SplitMix64's number i of the seed that an element's bits are, added up from the last to the
// first.
template <class Bits>
std::uint64_t plain_digest(const at::Tensor& values) {
  const at::Tensor flat = values.reshape({-1}).contiguous();
  std::uint64_t sum = 0;
  for (std::int64_t i = flat.numel() - 1; i >= 0; --i) {
    Bits bits;
    std::memcpy(&bits, static_cast<const char*>(flat.const_data_ptr()) + i * sizeof bits,
                sizeof bits);
    std::uint64_t z = bits + static_cast<std::uint64_t>(i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    sum += z ^ (z >> 31);
  }
  return sum;
}

std::uint64_t plain_digest_of(const at::Tensor& values) {
  return values.element_size() == 4 ? plain_digest<std::uint32_t>(values)
                                    : plain_digest<std::uint64_t>(values);
}

std::vector<DigestRow> digest_rows(const MemorySink& sink, const Config& run) {
  std::vector<DigestRow> rows;
  for (const auto& [key, line] : sink.rows()) {
    if (key.first != run.id()) continue;
    const RowBody body = decode_row(line).body;
    if (const auto* row = std::get_if<DigestRow>(&body)) rows.push_back(*row);
  }
  return rows;
}

std::vector<std::int64_t> steps_of(const std::vector<DigestRow>& rows) {
  std::vector<std::int64_t> steps;
  for (const DigestRow& row : rows) steps.push_back(row.step);
  return steps;
}

}  // namespace

TEST_CASE("digests are of the tensors of a checkpoint, in every storage and type", "[numeric]") {
  for (const char* method : {"dense", "set", "rigl_teacher"}) {
    for (const char* storage : {"masked", "sparse"}) {
      for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
        if (method == std::string("dense") && storage == std::string("sparse")) continue;
        CAPTURE(method, storage, c10::toString(dtype));
        Settings said = busy_method(method, "sgd", 10, 4);
        said["storage"] = storage;
        Settings other = said;
        other["seed"] = "2";
        TrainerOptions options;
        options.dtype = dtype;
        Trainer trainer({small_run(said), small_run(other)}, options);
        trainer.begin_stage(0);
        for (std::int64_t s = 0; s < 10; ++s) trainer.advance(0, s, 1);
        const std::vector<std::string> names = trainer.parameter_names();
        const auto digests = trainer.digests({1, 1});
        for (std::int64_t r = 0; r < 2; ++r) {
          std::size_t at = 0;
          for (const auto& [name, values] : trainer.save(r)) {
            if (name.rfind("parameter/", 0) != 0) continue;
            CAPTURE(name);
            REQUIRE(names.at(at) == name.substr(10));
            REQUIRE(digests.at(r).at(at) == plain_digest_of(values));
            ++at;
          }
          REQUIRE(at == names.size());
          REQUIRE(at == digests[r].size());
        }
        CHECK(digests[0] != digests[1]);
        const auto second = trainer.digests({0, 1});
        CHECK(second[0].empty());
        CHECK(second[1] == digests[1]);
      }
    }
  }
}

// What a GPU does, done by a CPU's tensors.
TEST_CASE("tensor operations give the digests that the kernel gives", "[numeric]") {
  torch::manual_seed(5);
  const std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {
      {1, 1}, {3, 7}, {5, 1000}, {2, (1 << 21) + 3}, {700, 3001}};
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const auto& [rows, columns] : shapes) {
      CAPTURE(rows, columns);
      at::Tensor values = torch::randn({rows, columns}, dtype);
      values.view(-1)[0] = -0.0;
      const at::Tensor sums = row_digests(values);
      for (const std::int64_t r : {std::int64_t{0}, rows / 2, rows - 1}) {
        CHECK(static_cast<std::uint64_t>(sums[r].item<std::int64_t>()) ==
              plain_digest_of(values[r]));
      }
    }
  }
  const at::Tensor values = torch::randn({1, 50}), turned = values.flip(1);
  CHECK_FALSE(torch::equal(row_digests(values), row_digests(turned)));
}

TEST_CASE("a step has one row of digests, at evaluations and at logged updates", "[numeric]") {
  const Config rigl = small_run(
      {{"weights", "rigl"}, {"steps", "40"}, {"update_interval", "9"}, {"eval_every", "1"}});
  const Config ste = small_run({{"weights", "ste"}, {"steps", "250"}, {"refresh_interval", "1"}});
  for (const Config& config : {rigl, ste}) {
    TemporaryFolder folder("tandem-digests");
    GroupSpec spec;
    spec.runs = {config};
    spec.checkpoint_folder = folder / "group";
    MemorySink sink;
    run_group(spec, sink);
    std::set<std::int64_t> looked;
    for (const auto& [key, line] : sink.rows()) {
      const RowBody body = decode_row(line).body;
      if (const auto* row = std::get_if<TopologyRow>(&body)) looked.insert(row->step);
      if (const auto* row = std::get_if<EvalRow>(&body)) looked.insert(row->step);
    }
    const std::vector<DigestRow> rows = digest_rows(sink, config);
    CHECK(steps_of(rows) == std::vector<std::int64_t>(looked.begin(), looked.end()));
    CHECK(rows.size() < 12);
    // The last ones are those of the final weights.
    const auto saved = load_checkpoint(folder / ("final/" + config.id()));
    REQUIRE(saved);
    std::size_t compared = 0;
    for (const auto& [name, values] : saved->tensors) {
      const std::string prefix = config.id() + "/parameter/";
      if (name.rfind(prefix, 0) != 0) continue;
      const auto& names = rows.back().tensors;
      const auto at = std::find(names.begin(), names.end(), name.substr(prefix.size()));
      REQUIRE(at != names.end());
      CHECK(rows.back().digests[static_cast<std::size_t>(at - names.begin())] ==
            plain_digest_of(values));
      ++compared;
    }
    CHECK(compared == rows.back().tensors.size());
  }
}

TEST_CASE("a sequence has digests of the weights that it begins with", "[numeric]") {
  const Config config = small_run(small_sequence());
  GroupSpec spec;
  spec.runs = {config};
  MemorySink sink;
  run_group(spec, sink);
  const std::vector<DigestRow> rows = digest_rows(sink, config);
  REQUIRE(rows.size() > 2);
  CHECK(rows.front().step == 0);
  CHECK(rows.front().digests != rows.back().digests);
}

// A stop right after the last step: its update has told the digests that the evaluation after the
// stop would tell again.
TEST_CASE("a run that stops where both are due tells them once", "[numeric]") {
  Settings said = busy_method("set", "sgd", 12, 4);
  said["update_end"] = "1";
  for (const std::int64_t stop : {4, 6, 12}) {
    CAPTURE(stop);
    require_resumable(pair_of(said), stop);
  }
}

// Its rows keep their numbers: those after the checkpoint may be stored already.
TEST_CASE("a group that was begun without digests goes on without", "[numeric]") {
  const Config config = small_run(busy_method("set", "sgd", 30, 5));
  TemporaryFolder folder("tandem-digests");
  GroupSpec spec;
  spec.runs = {config};
  spec.checkpoint_folder = folder / "group";
  spec.stop_after_steps = 3;  // before the first
  MemorySink sink;
  REQUIRE(run_group(spec, sink) == GroupEnd::kStopped);
  auto checkpoint = load_checkpoint(spec.checkpoint_folder);
  REQUIRE(checkpoint);
  nlohmann::json state = nlohmann::json::parse(checkpoint->state);
  CHECK(state["runs"][config.id()].erase("digested") == 1);
  checkpoint->state = state.dump();
  save_checkpoint(spec.checkpoint_folder, *checkpoint);
  spec.stop_after_steps = 10;
  while (run_group(spec, sink) == GroupEnd::kStopped) {
  }
  CHECK(digest_rows(sink, config).empty());
  CHECK(sink.results().size() > 5);
}

}  // namespace tandem::test::train_digests_numeric
