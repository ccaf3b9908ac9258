// From wanted runs and a store's records to groups.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <numeric>

#include "config/option.h"
#include "core/error.h"
#include "core/files.h"
#include "jobs/checkpoint.h"
#include "jobs/planner.h"
#include "jobs/run_group.h"

namespace tandem::test::jobs_planner_unit {
namespace {

Config run_of(const std::string& weights, int seed) {
  return Config::resolve({{"weights", weights}, {"seed", std::to_string(seed)}, {"steps", "100"}},
                         false);
}

RunRecord record_of(const Config& run, const std::string& state, std::int64_t attempt = 1,
                    double seconds = 0) {
  RunRecord record;
  record.id = run.id();
  record.canonical = run.canonical();
  record.state = state;
  record.attempt = attempt;
  record.seconds = seconds;
  for (const auto& option : all_options()) {
    if (option.scope == OptionScope::kRun) {
      record.values.emplace_back(option.name, run.text(option.name));
    }
  }
  return record;
}

struct Fixture {
  TemporaryFolder folder;
  PlannerInput input;
  Fixture() {
    input.database = folder / "t.sqlite";
    input.key = [](const Config& run) { return run.text("weights"); };
    input.size = [](const Config&, const std::string&, const std::vector<Storage>&) { return 8; };
  }
  void want(const std::string& weights, int seeds) {
    for (int seed = 1; seed <= seeds; ++seed) input.wanted.push_back(run_of(weights, seed));
  }
  std::vector<std::size_t> sizes() const {
    std::vector<std::size_t> sizes;
    for (const auto& group : plan_groups(input).groups) sizes.push_back(group.runs.size());
    std::sort(sizes.rbegin(), sizes.rend());
    return sizes;
  }
  // A stored group of the runs with a checkpoint.
  GroupPlan store(const std::vector<Config>& runs, int format = kCheckpointFormat) const {
    GroupPlan group;
    group.runs = runs;
    group.folder = group_folder(input.database, runs);
    write_group_file(input.database, group);
    save_checkpoint(group.folder, {fmt::format(R"({{"format":{}}})", format), {}});
    return group;
  }
};

using Sizes = std::vector<std::size_t>;

}  // namespace

TEST_CASE("groups have one key, at most their size, and every wanted run once", "[unit]") {
  Fixture f;
  f.want("dense", 20);
  f.want("rigl", 3);
  const GridPlan plan = plan_groups(f.input);
  std::size_t total = 0;
  for (const auto& group : plan.groups) {
    CHECK(group.runs.size() <= 8);
    CHECK_FALSE(group.resumed);
    for (const auto& run : group.runs) {
      CHECK(run.text("weights") == group.runs.front().text("weights"));
    }
    total += group.runs.size();
  }
  CHECK(total == 23);
}

TEST_CASE("every worker gets something to do", "[unit]") {
  Fixture f;
  f.want("dense", 8);
  f.input.jobs = 1;
  CHECK(f.sizes() == Sizes{8});
  f.input.jobs = 2;
  CHECK(f.sizes() == Sizes{4, 4});
  f.input.jobs = 3;
  CHECK(f.sizes() == Sizes{3, 3, 2});
  f.input.jobs = 100;
  CHECK(f.sizes() == Sizes(8, 1));
  f.want("rigl", 1);
  f.input.jobs = 2;
  const Sizes sizes = f.sizes();
  CHECK(sizes.front() <= 5);
  CHECK(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}) == 9);
}

TEST_CASE("finished runs are left out, failed and stopped ones are not", "[unit]") {
  Fixture f;
  f.want("dense", 5);
  const char* states[] = {"done", "diverged", "failed", "stopped", "queued"};
  for (std::size_t i = 0; i < 5; ++i) {
    f.input.known.push_back(record_of(f.input.wanted[i], states[i]));
  }
  const GridPlan plan = plan_groups(f.input);
  CHECK(plan.finished.size() == 2);
  REQUIRE(plan.groups.size() == 1);
  CHECK(plan.groups[0].runs.size() == 3);
}

TEST_CASE("a stored group is resumed as it was, before all others", "[unit]") {
  Fixture f;
  f.want("dense", 4);
  const std::vector<Config> members = {f.input.wanted[2], f.input.wanted[0], run_of("dense", 77),
                                       run_of("dense", 78)};
  const GroupPlan stored = f.store(members);
  f.input.known = {record_of(members[0], "stopped"), record_of(members[1], "running"),
                   record_of(members[2], "stopped"), record_of(members[3], "diverged")};
  const GridPlan plan = plan_groups(f.input);
  REQUIRE(plan.groups.size() == 2);
  const GroupPlan& resumed = plan.groups[0];
  CHECK(resumed.resumed);
  CHECK(resumed.folder == stored.folder);
  REQUIRE(resumed.runs.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(resumed.runs[i].id() == members[i].id());
  CHECK(resumed.frozen == std::vector<std::string>{members[2].id()});
  CHECK(resumed.finished == std::vector<std::string>{members[3].id()});
  CHECK(plan.groups[1].runs.size() == 2);
  CHECK(plan.useless_folders.empty());
}

TEST_CASE("a group that lies where earlier versions put it is found and taken in", "[unit]") {
  Fixture f;
  f.want("dense", 2);
  const GroupPlan stored = f.store(f.input.wanted);
  const std::string name = std::filesystem::path(stored.folder).filename();
  const std::string old = f.folder / "checkpoints/" + name;
  std::filesystem::rename(stored.folder, old);
  f.input.known = {record_of(f.input.wanted[0], "stopped"),
                   record_of(f.input.wanted[1], "stopped")};
  GridPlan plan = plan_groups(f.input);
  REQUIRE(plan.groups.size() == 1);
  CHECK(plan.groups[0].resumed);
  CHECK(plan.groups[0].folder == old);
  adopt_group(f.input.database, plan.groups[0]);
  CHECK(plan.groups[0].folder == stored.folder);
  CHECK(has_checkpoint(stored.folder));
  CHECK_FALSE(std::filesystem::exists(old));
  adopt_group(f.input.database, plan.groups[0]);
  CHECK(plan.groups[0].folder == stored.folder);

  PlannerInput other = f.input;
  other.database = f.folder / "other.sqlite";
  CHECK_FALSE(plan_groups(other).groups.at(0).resumed);
}

TEST_CASE("final weights are a database's own; what lies in common stands in for none", "[unit]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite", run(64, 'c');
  CHECK(final_folder(a, run) != final_folder(b, run));
  const std::string common = folder / "checkpoints/final/" + run;
  save_checkpoint(common, {"{}", {}});
  CHECK(final_folder(a, run) == common);
  save_checkpoint(checkpoint_root(a) + "/final/" + run, {"{}", {}});
  CHECK(final_folder(a, run) == checkpoint_root(a) + "/final/" + run);
  CHECK(final_folder(b, run) == common);
}

TEST_CASE("how a run was to be stored when it was first planned stays", "[unit]") {
  Fixture f;
  f.want("static", 4);
  f.input.key = [](const Config& run) { return run.text("weights"); };
  f.input.storage = [](const Config&, const std::string&) {
    return std::vector<Storage>{Storage::kMasked, Storage::kMasked};
  };
  for (const auto& run : f.input.wanted) f.input.known.push_back(record_of(run, "queued", 0));
  f.input.known[1].storage = "sparse,masked";  // as another machine, or another day, timed it
  f.input.known[2].state = "failed";
  f.input.known[2].attempt = 1;
  f.input.known[2].storage = "sparse,masked";
  f.input.known[3].storage = "";
  std::map<std::string, std::string> storage;
  for (const auto& group : plan_groups(f.input).groups) {
    for (const auto& run : group.runs) storage[run.text("seed")] = storages_text(group.storage);
  }
  CHECK(storage ==
        std::map<std::string, std::string>{
            {"1", "masked,masked"}, {"2", "sparse,masked"}, {"3", "sparse,masked"}, {"4", ""}});
  f.input.device = "cuda:0";
  CHECK_THROWS_WITH(plan_groups(f.input), Catch::Contains("--device cpu"));
  f.input.known[2].attempt = 0;
  for (const auto& group : plan_groups(f.input).groups) CHECK_FALSE(any_sparse(group.storage));
}

TEST_CASE("a run that once stood still in a group begins anew in another", "[unit]") {
  Fixture f;
  f.want("dense", 2);
  GroupPlan stored = f.store(f.input.wanted);
  const std::string behind = f.input.wanted[1].id();
  stored.frozen = {behind};
  write_group_file(f.input.database, stored);
  f.input.known = {record_of(f.input.wanted[0], "stopped"),
                   record_of(f.input.wanted[1], "stopped")};
  const GridPlan plan = plan_groups(f.input);
  REQUIRE(plan.groups.size() == 2);
  CHECK(plan.groups[0].resumed);
  CHECK(plan.groups[0].frozen == std::vector<std::string>{behind});
  CHECK_FALSE(plan.groups[1].resumed);
  REQUIRE(plan.groups[1].runs.size() == 1);
  CHECK(plan.groups[1].runs[0].id() == behind);
}

TEST_CASE("a stored group that can't be resumed here is useless", "[unit]") {
  Fixture f;
  f.want("dense", 2);
  const GroupPlan stored = f.store(f.input.wanted);
  SECTION("its runs never began in this database") {}
  SECTION("one of them did not") {
    f.input.known = {record_of(f.input.wanted[0], "stopped"),
                     record_of(f.input.wanted[1], "queued", 0)};
  }
  SECTION("all are finished") {
    f.input.known = {record_of(f.input.wanted[0], "done"), record_of(f.input.wanted[1], "done")};
  }
  SECTION("it has no checkpoint") {
    remove_checkpoints(stored.folder);
    f.input.known = {record_of(f.input.wanted[0], "running"),
                     record_of(f.input.wanted[1], "running")};
  }
  const GridPlan plan = plan_groups(f.input);
  CHECK(plan.useless_folders == std::vector<std::string>{stored.folder});
  for (const auto& group : plan.groups) CHECK_FALSE(group.resumed);
}

TEST_CASE("runs of one key with other storages don't share a group", "[unit]") {
  Fixture f;
  f.want("rigl", 6);
  f.want("dense", 2);
  std::vector<std::string> asked;
  f.input.storage = [&](const Config& run, const std::string& device) -> std::vector<Storage> {
    asked.push_back(run.id() + device);
    if (run.text("weights") == "dense") return {};
    return {run.text("seed") <= "4" ? Storage::kSparse : Storage::kMasked, Storage::kMasked};
  };
  f.input.size = [](const Config&, const std::string&, const std::vector<Storage>& storage) {
    return any_sparse(storage) ? 2 : 8;
  };
  const GridPlan plan = plan_groups(f.input);
  CHECK(asked.size() == 8);
  REQUIRE(plan.groups.size() == 4);
  std::map<std::string, std::size_t> runs;
  for (const auto& group : plan.groups) runs[storages_text(group.storage)] += group.runs.size();
  CHECK(runs ==
        std::map<std::string, std::size_t>{{"", 2}, {"masked,masked", 2}, {"sparse,masked", 4}});
}

TEST_CASE("a stored group keeps its storages, whatever would be chosen now", "[unit]") {
  Fixture f;
  f.want("rigl", 2);
  GroupPlan stored = f.store(f.input.wanted);
  stored.storage = {Storage::kSparse, Storage::kMasked};
  write_group_file(f.input.database, stored);
  f.input.known = {record_of(f.input.wanted[0], "stopped"),
                   record_of(f.input.wanted[1], "stopped")};
  f.input.storage = [](const Config&, const std::string&) {
    return std::vector<Storage>{Storage::kMasked, Storage::kMasked};
  };
  const GridPlan plan = plan_groups(f.input);
  REQUIRE(plan.groups.size() == 1);
  CHECK(plan.groups[0].resumed);
  CHECK(storages_text(plan.groups[0].storage) == "sparse,masked");
  f.input.device = "cuda:0";
  CHECK_THROWS_WITH(plan_groups(f.input), Catch::Contains("--device cpu"));
}

TEST_CASE("runs of a checkpoint that another version wrote begin anew, and it is said", "[unit]") {
  Fixture f;
  f.want("dense", 2);
  const GroupPlan stored = f.store(f.input.wanted, kCheckpointFormat - 1);
  f.input.known = {record_of(f.input.wanted[0], "stopped"),
                   record_of(f.input.wanted[1], "stopped")};
  const GridPlan plan = plan_groups(f.input);
  CHECK(plan.outdated_folders == std::vector<std::string>{stored.folder});
  CHECK(plan.useless_folders.empty());
  REQUIRE(plan.groups.size() == 1);
  CHECK_FALSE(plan.groups[0].resumed);
  CHECK(plan.groups[0].runs.size() == 2);
}

TEST_CASE("another database's group is left alone, as is one that nobody wants", "[unit]") {
  Fixture f;
  f.want("dense", 2);
  SECTION("another database") {
    PlannerInput other = f.input;
    GroupPlan group;
    group.runs = f.input.wanted;
    const std::string database = f.folder / "other.sqlite";
    group.folder = group_folder(database, group.runs);
    CHECK(group.folder != group_folder(f.input.database, group.runs));
    write_group_file(database, group);
    save_checkpoint(group.folder, {"{}", {}});
    f.input.known = {record_of(f.input.wanted[0], "stopped"),
                     record_of(f.input.wanted[1], "stopped")};
  }
  SECTION("not wanted") {
    const std::vector<Config> others = {run_of("rigl", 1)};
    f.store(others);
    f.input.known = {record_of(others[0], "stopped")};
  }
  SECTION("torn group.json") {
    const GroupPlan stored = f.store(f.input.wanted);
    atomic_write(stored.folder + "/group.json", "{\"database\":");
  }
  SECTION("storages of another version") {
    const GroupPlan stored = f.store(f.input.wanted);
    std::string facts = read_file(stored.folder + "/group.json");
    const std::string none = "\"storage\":\"\"";
    REQUIRE(facts.find(none) != std::string::npos);
    facts.replace(facts.find(none), none.size(), "\"storage\":\"hashed\"");
    atomic_write(stored.folder + "/group.json", facts);
  }
  const GridPlan plan = plan_groups(f.input);
  CHECK(plan.useless_folders.empty());
  REQUIRE(plan.groups.size() == 1);
  CHECK_FALSE(plan.groups[0].resumed);
}

TEST_CASE("longest predicted first, unknown before all", "[unit]") {
  Fixture f;
  f.want("dense", 2);
  f.want("set", 2);
  f.want("rigl", 2);
  f.input.known = {
      record_of(run_of("dense", 90), "done", 1, 10), record_of(run_of("dense", 91), "done", 1, 30),
      record_of(run_of("set", 90), "done", 1, 50), record_of(run_of("set", 91), "failed", 1, 5000)};
  const GridPlan plan = plan_groups(f.input);
  REQUIRE(plan.groups.size() == 3);
  CHECK(plan.groups[0].runs[0].text("weights") == "rigl");
  CHECK_FALSE(plan.groups[0].predicted_seconds);
  CHECK(plan.groups[1].runs[0].text("weights") == "set");
  CHECK(plan.groups[1].predicted_seconds == Approx(100));
  CHECK(plan.groups[2].predicted_seconds == Approx(40));
  CHECK_FALSE(plan.predicted_seconds);
  f.input.known.push_back(record_of(run_of("rigl", 90), "done", 1, 5));
  f.input.jobs = 2;
  const GridPlan known = plan_groups(f.input);
  CHECK(known.groups[0].runs[0].text("weights") == "set");
  CHECK(known.predicted_seconds.value() < 150);
}

TEST_CASE("numbers that a replica may have of its own don't part a group", "[unit]") {
  const auto key = [](const std::string& decay) {
    return group_key(
        Config::resolve({{"weights", "alternate"}, {"dormant_decay", decay}, {"steps", "9"}}));
  };
  CHECK(key("1e-3") == key("1e-5"));
  CHECK(key("1e-3") != key("0"));
}

TEST_CASE("a group's folder depends on its runs, not on their order", "[unit]") {
  const Config a = run_of("dense", 1), b = run_of("dense", 2);
  CHECK(group_folder("x/t.sqlite", {a, b}) == group_folder("x/t.sqlite", {b, a}));
  CHECK(group_folder("x/t.sqlite", {a, b}) != group_folder("x/t.sqlite", {a}));
  CHECK(group_folder("x/t.sqlite", {a}).rfind("x/checkpoints/t.sqlite/", 0) == 0);
  CHECK(group_folder("t.sqlite", {a}).rfind("./checkpoints/t.sqlite/", 0) == 0);
}

}  // namespace tandem::test::jobs_planner_unit
