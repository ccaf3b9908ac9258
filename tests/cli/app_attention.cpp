// `tandem attention`: the numbers of a map are those of a plain pass over the exported weights,
// written down here.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>

#include "config/config.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "jobs/checkpoint.h"
#include "store/store.h"
#include "support/run_program.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::app_attention_cli {
namespace {

using Catch::Contains;

constexpr std::size_t kTokens = 32, kWidth = 16, kHeads = 4, kKeyHeads = 2, kHeadDim = 4;

struct TrainedModel {
  TemporaryFolder folder;
  std::string db = folder / "one.sqlite", id;

  explicit TrainedModel(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"run",
                                      "--device=cpu",
                                      "--db=" + db,
                                      "--data=mqar",
                                      "--model=transformer",
                                      "--context=32",
                                      "--vocabulary=64",
                                      "--pairs=4",
                                      "--train-sequences=64",
                                      "--validation-sequences=8",
                                      "--test-sequences=8",
                                      "--layers=2",
                                      "--width=16",
                                      "--heads=4",
                                      "--kv-heads=2",
                                      "--block-size=4",
                                      "--blocks=2",
                                      "--steps=30",
                                      "--batch=8",
                                      "--lr=0.02"};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult run = run_program(words);
    INFO(run.errors);
    REQUIRE(run.exit_code == 0);
    id = StoreReader(db).runs().at(0).id;
  }
  ProgramResult draw(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"attention", id, "--db", db};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }
};

struct MapLine {
  std::int64_t query_token, key_token;
  double weight;
  bool chosen;
};
using MapLines = std::map<std::pair<std::size_t, std::size_t>, MapLine>;

MapLines lines_of(const std::string& csv, const std::string& run) {
  std::istringstream text(csv);
  std::string line;
  std::getline(text, line);
  CHECK(line == "run,query,key,query_token,key_token,weight,chosen");
  MapLines lines;
  while (std::getline(text, line)) {
    const std::vector<std::string> words = split(line, ',');
    REQUIRE(words.size() == 7);
    CHECK(run.rfind(words[0], 0) == 0);
    lines[{std::stoul(words[1]), std::stoul(words[2])}] = {
        std::stoll(words[3]), std::stoll(words[4]), std::stod(words[5]), words[6] == "1"};
  }
  return lines;
}

// x of the first layer after its norm, times a weight [in,out], the columns of one head.
std::vector<std::vector<double>> projected(const std::vector<std::vector<double>>& x,
                                           const SafetensorsFile& file, const std::string& name,
                                           std::size_t head) {
  const TensorView& view = file.at(name);
  const auto* weight = static_cast<const float*>(view.data);
  const auto outputs = static_cast<std::size_t>(view.shape[1]);
  std::vector<std::vector<double>> result;
  for (std::size_t t = 0; t < x.size(); ++t) {
    std::vector<double> own(kHeadDim);
    for (std::size_t d = 0; d < kHeadDim; ++d) {
      for (std::size_t i = 0; i < kWidth; ++i) {
        own[d] += x[t][i] * double(weight[i * outputs + head * kHeadDim + d]);
      }
    }
    // Rotary positions in the halves convention, theta 10000.
    std::vector<double> turned(kHeadDim);
    for (std::size_t d = 0; d < kHeadDim / 2; ++d) {
      const double angle = double(t) * std::pow(10000.0, -2.0 * double(d) / double(kHeadDim));
      turned[d] = own[d] * std::cos(angle) - own[d + kHeadDim / 2] * std::sin(angle);
      turned[d + kHeadDim / 2] = own[d + kHeadDim / 2] * std::cos(angle) + own[d] * std::sin(angle);
    }
    result.push_back(turned);
  }
  return result;
}

}  // namespace

TEST_CASE("a map's weights are those of the exported net", "[cli]") {
  const TrainedModel model({"--attention=ssa"});
  const std::string csv = model.folder / "map.csv", exported = model.folder / "net.safetensors";
  const ProgramResult drawn =
      model.draw({"--layer", "0", "--head", "3", "--sequence", "2", "--out", csv});
  INFO(drawn.errors);
  REQUIRE(drawn.exit_code == 0);
  CHECK_THAT(drawn.output, Contains("32 queries and keys"));
  REQUIRE(run_program({"export", model.id, "--db", model.db, "--out", exported}).exit_code == 0);
  const SafetensorsFile file = SafetensorsFile::open(exported);
  const MapLines lines = lines_of(read_file(csv), model.id);
  REQUIRE(lines.size() == kTokens * (kTokens + 1) / 2);

  const auto* embedding = static_cast<const float*>(file.at("embedding").data);
  const auto* gain = static_cast<const float*>(file.at("layer0.attention_norm").data);
  std::vector<std::vector<double>> x;
  for (std::size_t t = 0; t < kTokens; ++t) {
    const auto token = static_cast<std::size_t>(lines.at({t, t}).query_token);
    CHECK(lines.at({t, t}).key_token == lines.at({t, t}).query_token);
    std::vector<double> row(kWidth);
    double square = 0;
    for (std::size_t i = 0; i < kWidth; ++i) {
      row[i] = double(embedding[token * kWidth + i]);
      square += row[i] * row[i] / double(kWidth);
    }
    for (std::size_t i = 0; i < kWidth; ++i) row[i] *= double(gain[i]) / std::sqrt(square + 1e-5);
    x.push_back(row);
  }
  const auto q = projected(x, file, "layer0.q.weight", 3);
  const auto k = projected(x, file, "layer0.k.weight", 3 / (kHeads / kKeyHeads));
  for (std::size_t t = 0; t < kTokens; ++t) {
    std::vector<double> row;
    double whole = 0;
    std::size_t blocks = 0;
    for (std::size_t j = 0; j <= t; ++j) {
      double score = 0;
      for (std::size_t d = 0; d < kHeadDim; ++d) score += q[t][d] * k[j][d];
      row.push_back(std::exp(score / std::sqrt(double(kHeadDim))));
      whole += row.back();
      const bool chosen = lines.at({t, j}).chosen;
      if (j / 4 == t / 4) CHECK(chosen);
      if (j % 4 == 0) blocks += chosen;
      CHECK(chosen == lines.at({t, j - j % 4}).chosen);
    }
    CHECK(blocks == std::min<std::size_t>(2, t / 4 + 1));
    for (std::size_t j = 0; j <= t; ++j) {
      CHECK(lines.at({t, j}).weight == Approx(row[j] / whole).epsilon(1e-4).margin(1e-6));
    }
  }
}

TEST_CASE("maps of nets whose weights are sparse, of later layers, and of first tokens", "[cli]") {
  const TrainedModel model({"--attention=moba", "--weights=rigl", "--density=0.5"});
  const std::string whole = model.folder / "whole.csv", first = model.folder / "first.csv",
                    sparse = model.folder / "sparse.csv";
  REQUIRE(model.draw({"--layer", "1", "--out", whole}).exit_code == 0);
  REQUIRE(model.draw({"--layer", "1", "--tokens", "9", "--out", first}).exit_code == 0);
  REQUIRE(model.draw({"--layer", "1", "--read-out", "sparse", "--out", sparse}).exit_code == 0);
  CHECK(read_file(sparse) == read_file(whole));  // dormant weights are zero
  const MapLines all = lines_of(read_file(whole), model.id),
                 some = lines_of(read_file(first), model.id);
  REQUIRE(some.size() == 45);
  for (const auto& [place, line] : some) {
    CHECK(line.weight == Approx(all.at(place).weight).margin(1e-5));
    CHECK(line.key_token == all.at(place).key_token);
  }
}

TEST_CASE("a map is drawn by gnuplot, or refused with what to say instead", "[cli]") {
  const TrainedModel model({"--attention=nsa"});
  for (const char* name : {"map.svg", "map.png"}) {
    const std::string out = model.folder / name;
    const ProgramResult drawn = model.draw({"--out", out});
    INFO(drawn.errors);
    if (drawn.errors.find("not on the PATH") != std::string::npos) continue;
    REQUIRE(drawn.exit_code == 0);
    CHECK(read_file(out).size() > 2000);
    CHECK_FALSE(read_file(model.folder / "map.csv").empty());
  }
  const auto refused = [&](const std::vector<std::string>& words, const std::string& said) {
    const ProgramResult result = model.draw(words);
    CHECK(result.exit_code != 0);
    CHECK_THAT(result.errors, Contains(said));
  };
  const std::string csv = model.folder / "no.csv";
  refused({"--layer", "2", "--out", csv}, "--layer 2: run");
  refused({"--head", "4", "--out", csv}, "has 4 query heads, counted from 0; give at most 3");
  refused({"--sequence", "8", "--out", csv}, "8 sequences of validation");
  refused({"--out", "map.pdf"}, ".svg or .png");
  CHECK_FALSE(std::filesystem::exists(csv));
}

// Of the same net, as if a GPU had trained it: its products there were rounded, those here are not.
TEST_CASE("a map of a run that a GPU trained is drawn on the CPU", "[cli]") {
  const TrainedModel model({});
  const std::string own = model.folder / "own.csv", other = model.folder / "other.csv";
  REQUIRE(model.draw({"--out", own}).exit_code == 0);
  Settings said =
      Config::from_canonical(StoreReader(model.db).find_run(model.id).canonical).values();
  said["tf32"] = "true";
  const RunRecord there = record_of(Config::resolve(said, false));
  REQUIRE(there.id != model.id);
  {
    StoreWriter writer(model.db);
    writer.add_runs({there});
    writer.insert({state(there.id, 0, "done", 30)});
  }
  const std::string nets = model.folder / "checkpoints/one.sqlite/final/";
  auto net = load_checkpoint(nets + model.id);
  REQUIRE(net);
  for (auto& [name, tensor] : net->tensors) {  // each begins with its run
    REQUIRE(name.rfind(model.id, 0) == 0);
    name.replace(0, model.id.size(), there.id);
  }
  save_checkpoint(nets + there.id, *net);
  const ProgramResult drawn =
      run_program({"attention", there.id, "--db", model.db, "--out", other});
  INFO(drawn.errors);
  REQUIRE(drawn.exit_code == 0);
  const auto weights = [](const std::string& file, const std::string& run) {
    std::vector<double> all;
    for (const auto& [place, line] : lines_of(read_file(file), run)) all.push_back(line.weight);
    return all;
  };
  CHECK(weights(other, there.id) == weights(own, model.id));
}

}  // namespace tandem::test::app_attention_cli
