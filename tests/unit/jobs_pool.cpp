// The writer's side against workers that are shell scripts: rows committed and acknowledged,
// failures retried once and then told, the polite stop.
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <map>

#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "jobs/planner.h"
#include "jobs/worker_pool.h"

namespace tandem::test::jobs_pool_unit {
namespace {

// `body` is run with $ids set to the group's run ids; `rows FIRST LAST` sends a run's metric rows
// FIRST..LAST, `state NAME SEQUENCE` its state, for $id.
struct Fixture {
  TemporaryFolder folder;
  std::string database = folder / "t.sqlite";
  StoreWriter store{database};
  std::vector<Config> runs;
  std::vector<GroupPlan> groups;
  PoolOptions options;
  PoolObserver observer;

  Fixture(const std::string& body, int n_groups, int runs_per_group = 2) {
    set_log_level("off");
    write_script(body);
    std::vector<RunRecord> records;
    for (int g = 0; g < n_groups; ++g) {
      GroupPlan group;
      for (int i = 0; i < runs_per_group; ++i) {
        runs.push_back(Config::resolve({{"seed", std::to_string(runs.size() + 1)}}));
        group.runs.push_back(runs.back());
        records.push_back(
            {.id = runs.back().id(), .canonical = runs.back().canonical(), .values = {}});
      }
      group.folder = group_folder(database, group.runs);
      groups.push_back(group);
    }
    store.add_runs(records);
    options.database = database;
    options.jobs = 2;
    options.commit_every_s = 0.02;
    options.program = "/bin/sh";
    options.arguments = {folder / "worker.sh"};
  }
  ~Fixture() {
    set_log_level("info");
    clear_stop();
  }

  void write_script(const std::string& body) {
    const std::string metric = encode_row({"RUNID", 123456789, MetricRow{7, "", "gap", 0.5}});
    StateRow state;
    state.state = "STATENAME";
    atomic_write(folder / "metric", metric + "\n");
    atomic_write(folder / "state", encode_row({"RUNID", 123456789, state}) + "\n");
    atomic_write(folder / "worker.sh", "cd '" + folder.path() + "'\n" +
                                           R"(read -r group
ids=$(printf '%s' "$group" | grep -o '"id":"[0-9a-f]*"' | cut -d'"' -f4)
rows() { for s in $(seq $1 $2); do sed "s/RUNID/$id/; s/123456789/$s/" metric; done; }
state() { sed "s/RUNID/$id/; s/123456789/$2/; s/STATENAME/$1/" state; }
)" + body + "\n");
  }

  PoolResult run() { return run_groups(store, groups, options, observer); }
  std::map<std::string, int> states() const {
    std::map<std::string, int> counts;
    for (const auto& record : StoreReader(database).runs()) ++counts[record.state];
    return counts;
  }
  std::string value(const std::string& sql) const {
    return StoreReader(database).query(sql).rows.at(0).at(0);
  }
};

}  // namespace

TEST_CASE("rows are committed and acknowledged, and the groups' folders go", "[unit]") {
  // Each worker ends only when its last row is acknowledged.
  Fixture f(R"(for id in $ids; do rows 0 49; state done 50; done
for id in $ids; do while ! grep -q "$id\":50" acks$$ 2>/dev/null; do read -r ack || exit 1; echo "$ack" >> acks$$; done; done)",
            3);
  const PoolResult result = f.run();
  CHECK(result.done == 6);
  CHECK(result.failures.empty());
  CHECK_FALSE(result.stopped);
  CHECK(f.states() == std::map<std::string, int>{{"done", 6}});
  CHECK(f.value("SELECT count(*) FROM metric") == "300");
  CHECK(f.value("SELECT max(attempt) FROM run") == "1");
  for (const auto& group : f.groups) CHECK_FALSE(std::filesystem::exists(group.folder));
}

TEST_CASE("the folder of a running group names its runs", "[unit]") {
  Fixture f(R"(for id in $ids; do state done 0; done; cp checkpoints/*/*/group.json seen)", 1);
  CHECK(f.run().done == 2);
  for (const auto& run : f.runs) {
    CHECK(read_file(f.folder / "seen").find(run.id()) != std::string::npos);
  }
}

TEST_CASE("a failed group is tried once more", "[unit]") {
  Fixture f(R"(for id in $ids; do rows 0 4; done
mkdir first_$(echo $ids | cut -c1-8) 2>/dev/null && kill -9 $$
for id in $ids; do state diverged 5; done)",
            2);
  const PoolResult result = f.run();
  CHECK(result.diverged == 4);
  CHECK(result.failures.empty());
  CHECK(f.value("SELECT min(attempt) FROM run") == "2");
  CHECK(f.value("SELECT count(*) FROM metric") == "20");
}

TEST_CASE("a group that fails twice is marked with its message, the others go on", "[unit]") {
  Fixture f(R"(case "$group" in *'"seed":"1"'*) for id in $ids; do rows 1 2; done
  echo "warming up" >&2; echo "tandem: error: no luck today" >&2; exit 4;; esac
for id in $ids; do state done 0; done)",
            3);
  const PoolResult result = f.run();
  CHECK(result.done == 4);
  REQUIRE(result.failures.size() == 2);
  CHECK(result.failures[0].message == "no luck today");
  CHECK(result.failures[0].code == kExitStore);
  CHECK(f.states() == std::map<std::string, int>{{"done", 4}, {"failed", 2}});
  CHECK(f.value("SELECT max(attempt) FROM run") == "2");
  CHECK(f.value("SELECT message FROM run WHERE state = 'failed' LIMIT 1") == "no luck today");
}

TEST_CASE("missing data isn't tried again", "[unit]") {
  Fixture f("echo 'tandem: error: no such file' >&2; exit 3", 1);
  const PoolResult result = f.run();
  REQUIRE(result.failures.size() == 2);
  CHECK(result.failures[0].code == kExitData);
  CHECK(f.value("SELECT max(attempt) FROM run") == "1");
}

TEST_CASE("a worker's death and its nonsense are told", "[unit]") {
  std::string expected;
  std::string body;
  SECTION("signal") { body = "echo 'last words' >&2; kill -9 $$", expected = "signal 9"; }
  SECTION("nonsense") { body = "echo '{\"run\": 3'; exec sleep 30", expected = "malformed line"; }
  SECTION("silence") { body = "exit 0", expected = "without this run's last row"; }
  SECTION("no error text") { body = "exit 9", expected = "exit code 9"; }
  Fixture f(body, 1, 1);
  const PoolResult result = f.run();
  REQUIRE(result.failures.size() == 1);
  CHECK(result.failures[0].message.find(expected) != std::string::npos);
  CHECK(result.failures[0].code == kExitBug);
}

TEST_CASE("a stop is passed on, and what is not done is stopped", "[unit]") {
  Fixture f(R"(trap 'for id in $ids; do rows 3 4; done; exit 75' TERM
for id in $ids; do rows 0 2; done; touch ready
while true; do sleep 0.02; done)",
            3);
  struct StopWhenReady : PoolObserver {
    std::string path;
    void tick() override {
      if (std::filesystem::exists(path)) request_stop(SIGTERM);
    }
  } observer;
  observer.path = f.folder / "ready";
  f.options.jobs = 1;
  const PoolResult result = run_groups(f.store, f.groups, f.options, observer);
  CHECK(result.stopped);
  CHECK(f.states() == std::map<std::string, int>{{"stopped", 2}, {"queued", 4}});
  CHECK(f.value("SELECT count(*) FROM metric") == "10");
  CHECK(std::filesystem::exists(f.groups[0].folder));
}

TEST_CASE("frozen and finished runs of a resumed group keep their state", "[unit]") {
  Fixture f("", 1, 3);
  f.groups[0].frozen = {f.runs[0].id()};
  f.groups[0].finished = {f.runs[1].id()};
  f.store.set_state(f.runs[1].id(), "diverged");
  f.write_script("id=" + f.runs[2].id() + "; state done 9");
  const PoolResult result = f.run();
  CHECK(result.done == 1);
  CHECK(f.states() == std::map<std::string, int>{{"done", 1}, {"queued", 1}, {"diverged", 1}});
}

}  // namespace tandem::test::jobs_pool_unit
