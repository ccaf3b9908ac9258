// A net goes from one run to another: by `tandem export` and --init-from, with its content in the
// other's id, in grids with a file for each seed, resumed without it and replayed with it.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/safetensors.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_initial_net_cli {
namespace {

using Catch::Matchers::Contains;
using Words = std::vector<std::string>;

struct Place {
  TemporaryFolder folder;
  std::string db = folder / "r/runs.sqlite";

  ProgramResult call(const Words& words) const {
    return run_program(words, {"TANDEM_CACHE=" + (folder / "cache")});
  }
  // `more` may say otherwise.
  ProgramResult run(const Words& more) const {
    Words words = {"run", "--device=cpu", "--db", db};
    for (const std::string each : {"--widths=20", "--batch=32", "--steps=12", "--density=0.2",
                                   "--train-examples=400", "--curve=false"}) {
      const std::string name = each.substr(0, each.find('=') + 1);
      const bool said = std::any_of(more.begin(), more.end(), [&](const std::string& word) {
        return word.rfind(name, 0) == 0;
      });
      if (!said) words.push_back(each);
    }
    words.insert(words.end(), more.begin(), more.end());
    return call(words);
  }
  // The id of the run that was added last.
  std::string last() const {
    return StoreReader(db).query("SELECT id FROM run ORDER BY key DESC LIMIT 1").rows.at(0).at(0);
  }
  std::string trained(const Words& more) const {
    const ProgramResult result = run(more);
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    return last();
  }
  std::string exported(const std::string& id, const std::string& name,
                       const Words& more = {}) const {
    const std::string path = folder / name;
    Words words = {"export", id, "--out", path, "--db", db};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult result = call(words);
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    return path;
  }
  std::string ask(const std::string& sql) const {
    std::string text;
    for (const auto& row : StoreReader(db).query(sql).rows) {
      for (const auto& field : row) text += field + " ";
    }
    return text;
  }
};

void expect_same_tensors(const std::string& one, const std::string& other) {
  const SafetensorsFile a = SafetensorsFile::open(one), b = SafetensorsFile::open(other);
  REQUIRE(a.tensors().size() == b.tensors().size());
  for (const TensorView& tensor : a.tensors()) {
    CAPTURE(tensor.name);
    const TensorView& same = b.at(tensor.name);
    REQUIRE(same.bytes() == tensor.bytes());
    CHECK(std::memcmp(same.data, tensor.data, tensor.bytes()) == 0);
  }
}

}  // namespace

TEST_CASE("what is exported is what a run begins with, to the bit", "[cli]") {
  const Place place;
  // A step too small to change anything.
  const Words still = {"--steps=1", "--lr=1e-30", "--weight-decay=0", "--seed=8"};
  const std::vector<Words> methods = {
      {"--weights=dense"},
      {"--weights=static"},
      {"--weights=rigl", "--storage=sparse", "--update-interval=5"},
      {"--weights=static", "--activation=k_subtract", "--switch-after=100"},
  };
  std::size_t turn = 0;
  for (const Words& method : methods) {
    CAPTURE(method);
    const bool turned = turn++ % 2 == 1;
    const Words layout = {"--layout", turned ? "torch" : "tandem"};
    const std::string first = place.exported(place.trained(method), "one.safetensors", layout);
    Words next = method;
    next.insert(next.end(), still.begin(), still.end());
    next.insert(next.end(), {"--init-from", first});
    const std::string second = place.exported(place.trained(next), "two.safetensors", layout);
    if (turn == methods.size()) continue;  // its buffers count the step's examples
    expect_same_tensors(first, second);
  }
}

TEST_CASE("the content of the file is the run's, its path is not", "[cli]") {
  const Place place;
  const std::string dense = place.trained({"--weights=dense"});
  const std::string file = place.exported(dense, "net.safetensors");
  const ProgramResult begun = place.run({"--weights=ssa", "--init-from", file});
  INFO(begun.errors);
  REQUIRE(begun.exit_code == 0);
  CHECK_THAT(begun.errors, Contains("gives 4 tensors") && Contains("largest weights"));
  const std::string run = place.last();
  const std::string hash = sha256_file(file);
  CHECK(place.ask("SELECT init_hash FROM v_run WHERE run = '" + run + "'") == hash + " ");
  CHECK_THAT(place.ask("SELECT init_net FROM v_run WHERE run = '" + run + "'"), Contains("dense-"));
  const std::string why = place.call({"why", run, "--db", place.db}).output;
  CHECK_THAT(why, Contains("began with the net dense-") && Contains(hash) && Contains(file));

  const std::string moved = place.folder / "moved.safetensors";
  std::filesystem::rename(file, moved);
  CHECK(place.run({"--weights=ssa", "--init-from", moved}).exit_code == 0);
  CHECK(place.ask("SELECT count(*), max(attempt) FROM run") == "2 1 ");
  // Without the file it is known by what it began from.
  CHECK(place.run({"--weights=ssa", "--init-from", file}).exit_code == 0);
  CHECK(place.ask("SELECT count(*), max(attempt) FROM run") == "2 1 ");

  const std::string other = place.trained({"--weights=dense", "--seed=2"});
  place.exported(other, "moved.safetensors");
  CHECK(place.run({"--weights=ssa", "--init-from", moved}).exit_code == 0);
  CHECK(place.ask("SELECT count(*), count(DISTINCT init_hash), count(DISTINCT init_net) FROM v_run "
                  "WHERE weights = 'ssa'") == "2 2 1 ");
  const ProgramResult refused =
      place.run({"--weights=ssa", "--init-from", moved, "--init-hash", hash});
  CHECK(refused.exit_code == kExitData);
  CHECK_THAT(refused.errors, Contains(hash) && Contains(moved));
}

TEST_CASE("files that a run can't begin with are refused before anything runs", "[cli]") {
  const Place place, empty;
  const std::string run = place.trained({"--weights=static"});
  const std::string file = place.exported(run, "net.safetensors");
  const std::string cut = place.folder / "cut.safetensors", text = place.folder / "text";
  const std::string bytes = read_file(file);
  atomic_write(cut, bytes.substr(0, bytes.size() - 100));
  atomic_write(text, "no tensors at all");
  const auto refused = [&](const Words& more, ExitCode code, const Words& says) {
    const ProgramResult result = empty.run(more);
    CAPTURE(more, result.errors);
    CHECK(result.exit_code == code);
    for (const std::string& each : says) CHECK_THAT(result.errors, Contains(each));
    CHECK_FALSE(path_exists(empty.db));
  };
  refused({"--init-from", empty.folder / "none-{seed}"}, kExitData,
          {"none-1", "is not there", "tandem export"});
  refused({"--init-from", cut}, kExitData, {cut, "cut off"});
  refused({"--init-from", text}, kExitData, {text, "safetensors"});
  refused({"--init-from", file, "--widths=30"}, kExitConfig,
          {file, "layer0.", "20", "30", "widths = 30 (the file's net has 20)"});
  refused({"--init-from", file, "--widths=20,20"}, kExitConfig, {file, "layer1.weight"});
  refused({"--init-from", file, "--layer-norm"}, kExitConfig,
          {"norm0.gain", "--init-strict=false"});
  refused({"--init-from", file, "--weights=set", "--density=0.3"}, kExitConfig,
          {file, "connections", "density = 0.3", "--init-mask"});
  refused({"--init-from", file, "--init-scale=fan_in"}, kExitConfig, {"--init-scale"});
  refused({"--init-mask=magnitude", "--weights=static"}, kExitConfig, {"--init-from"});
  CHECK(empty.run({"--init-from", file, "--layer-norm", "--init-strict=false", "--steps=2"})
            .exit_code == 0);
}

TEST_CASE("a run that was stopped goes on without the file that it began with", "[cli]") {
  const Place place;
  const std::string file = place.exported(place.trained({"--weights=dense"}), "net.safetensors");
  const Words words = {"--weights=set", "--init-from", file};
  const std::string whole = place.trained(words);
  const std::string accuracy =
      place.ask("SELECT n_correct FROM v_eval WHERE run = '" + whole + "'");
  const Place other;
  Words stopped = words;
  stopped.emplace_back("--stop-after-steps=5");
  CHECK(other.run(stopped).exit_code == kExitStopped);
  std::filesystem::rename(file, file + ".away");
  CHECK(other.run(words).exit_code == 0);
  CHECK(other.last() == whole);
  CHECK(other.ask("SELECT n_correct FROM v_eval") == accuracy);

  Words fresh = words;
  fresh.emplace_back("--lr=0.02");
  const ProgramResult refused = other.run(fresh);
  CHECK(refused.exit_code == kExitData);
  CHECK_THAT(refused.errors, Contains(file));

  // Trained once more it begins with the file, wherever that is.
  const ProgramResult gone = place.call({"replay", whole, "--db", place.db});
  CHECK(gone.exit_code == kExitData);
  CHECK_THAT(gone.errors, Contains(file) && Contains("--init-from"));
  const ProgramResult again =
      place.call({"replay", whole, "--db", place.db, "--init-from", file + ".away"});
  INFO(again.errors);
  CHECK(again.exit_code == 0);
  CHECK_THAT(again.output, Contains("the same to the bit"));
  std::filesystem::rename(file + ".away", file);
  CHECK(place.call({"replay", whole, "--db", place.db}).exit_code == 0);
}

TEST_CASE("a grid begins each seed with its own net and sets it beside drawn weights", "[cli]") {
  const Place place;
  for (const char* seed : {"1", "2"}) {
    const std::string run = place.trained({"--weights=dense", "--seed", seed});
    place.exported(run, fmt::format("dense-{}.safetensors", seed));
  }
  const std::string file = place.folder / "starts.ini";
  atomic_write(file, fmt::format(R"(name = starts
widths = 20
batch = 32
steps = 12
train_examples = 400
curve = false
density = 0.2
weights = ssa
device = cpu
seed = 1..2
init_from = {{}}, {0}/dense-{{seed}}.safetensors
[table starts]
rows = init_net
columns = accuracy@own
)",
                                 place.folder.path()));
  const auto grid = [&](const char* action) {
    return place.call({"grid", action, file, "--db", place.db, "--jobs=1"});
  };
  const ProgramResult run = grid("run");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK(place.ask("SELECT count(*), count(DISTINCT init_hash), count(DISTINCT init_net) FROM v_run "
                  "WHERE weights = 'ssa' AND init_hash <> ''") == "2 2 1 ");
  const std::string settings =
      "SELECT count(DISTINCT s.setting) FROM v_setting s JOIN v_run r ON r.run = s.run WHERE "
      "r.weights = 'ssa'";
  CHECK(place.ask(settings) == "2 ");
  const ProgramResult table = place.call({"table", file, "--db", place.db});
  INFO(table.output << table.errors);
  CHECK(table.exit_code == 0);
  CHECK_THAT(table.output, Contains("| dense-"));
  CHECK_THAT(table.errors, !Contains("init_hash"));
  CHECK_THAT(grid("plan").output, Contains("4 runs, 4 finished, 0 to do"));
  // A third seed has no file.
  const ProgramResult missing =
      place.call({"grid", "run", file, "--db", place.db, "--jobs=1", "--seed=1..3"});
  CHECK(missing.exit_code == kExitData);
  CHECK_THAT(missing.errors, Contains("dense-3.safetensors"));
  // Elsewhere the database knows.
  for (const char* seed : {"1", "2"}) {
    std::filesystem::remove(place.folder / fmt::format("dense-{}.safetensors", seed));
  }
  CHECK_THAT(grid("plan").output, Contains("4 runs, 4 finished, 0 to do"));
  CHECK(place.call({"table", file, "--db", place.db}).output == table.output);
}

TEST_CASE("the help says how a run begins with a net", "[cli]") {
  const Place place;
  const std::string help = place.call({"run", "--help-all"}).output;
  for (const char* each : {"--init-from", "--init-net", "--init-strict", "--init-mask", "{seed}"}) {
    CHECK_THAT(help, Contains(each));
  }
}

}  // namespace tandem::test::app_initial_net_cli
