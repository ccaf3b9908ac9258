// The lines between writer and worker, the worker's sink, child processes, progress.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <memory>
#include <thread>

#include "core/error.h"
#include "jobs/pipe_sink.h"
#include "jobs/process.h"
#include "jobs/progress.h"
#include "jobs/storage_choice.h"
#include "jobs/worker_protocol.h"

namespace tandem::test::jobs_protocol_unit {
namespace {

struct Pipes {  // as the worker sees them, and as the writer does
  Descriptor lines_in, to_worker, from_worker, rows_out;
  Pipes() {
    std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    lines_in = Descriptor(ends[0]);
    to_worker = Descriptor(ends[1]);
    REQUIRE(::pipe(ends) == 0);
    from_worker = Descriptor(ends[0]);
    rows_out = Descriptor(ends[1]);
  }
  void say(const std::string& line) const {
    const std::string text = line + "\n";
    REQUIRE(::write(to_worker.get(), text.data(), text.size()) ==
            static_cast<ssize_t>(text.size()));
  }
};

Row metric(const std::string& run, std::int64_t sequence) {
  return {run, sequence, MetricRow{sequence, "", "gap", 0.25}};
}

}  // namespace

TEST_CASE("a group comes back from its line", "[unit]") {
  GroupSpec spec;
  for (const char* seed : {"1", "2"}) {
    spec.runs.push_back(Config::resolve(
        {{"weights", "rigl"}, {"seed", seed}, {"lr", "0.037"}, {"data_dir", "/a b"}}));
  }
  spec.device = "cuda";
  spec.storage = {Storage::kSparse, Storage::kMasked};
  spec.checkpoint_folder = "/x/\"quoted\"";
  spec.checkpoint_every_s = 0.1;
  spec.stop_after_steps = 7;
  spec.frozen = {spec.runs[1].id()};
  const std::string line = encode_group(spec);
  CHECK(line.find('\n') == std::string::npos);
  const GroupSpec back = decode_group(line);
  REQUIRE(back.runs.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(back.runs[i].id() == spec.runs[i].id());
    CHECK(back.runs[i].values() == spec.runs[i].values());
  }
  CHECK(back.device == spec.device);
  CHECK(storages_text(back.storage) == "sparse,masked");
  CHECK(back.checkpoint_folder == spec.checkpoint_folder);
  CHECK(back.checkpoint_every_s == spec.checkpoint_every_s);
  CHECK(back.stop_after_steps == 7);
  CHECK(back.frozen == spec.frozen);
}

TEST_CASE("malformed lines are store errors", "[unit]") {
  for (const char* line :
       {"", "{", "[]", "{\"runs\": 3}", "{\"ack\": [1]}", "{\"ack\": {\"a\": \"b\"}}"}) {
    INFO(line);
    CHECK_THROWS_AS(decode_group(line), StoreError);
    CHECK_THROWS_AS(decode_acknowledgement(line), StoreError);
  }
  GroupSpec spec;
  spec.runs = {Config::resolve({{"seed", "1"}})};
  std::string line = encode_group(spec);
  const auto at = line.find("\"seed\":\"1\"");
  REQUIRE(at != std::string::npos);
  line.replace(at, 10, "\"seed\":\"2\"");
  CHECK_THROWS_AS(decode_group(line), StoreError);
  line = encode_group(spec);
  const std::string none = "\"storage\":\"\"";
  REQUIRE(line.find(none) != std::string::npos);
  line.replace(line.find(none), none.size(), "\"storage\":\"hashed\"");
  CHECK_THROWS_AS(decode_group(line), StoreError);
}

TEST_CASE("rows stay pending until they are acknowledged", "[unit]") {
  Pipes pipes;
  PipeSink sink(pipes.lines_in.get(), pipes.rows_out.get());
  for (int i = 0; i < 3; ++i) sink.emit(metric("aa", i));
  sink.emit(metric("bb", 0));
  sink.flush();
  CHECK(sink.unacknowledged().size() == 4);
  pipes.say(encode_acknowledgement({{"aa", 1}}));
  auto left = sink.unacknowledged();
  REQUIRE(left.size() == 2);
  CHECK(left[0].run == "aa");
  CHECK(left[0].sequence == 2);
  pipes.say(encode_acknowledgement({{"aa", 2}, {"bb", 0}, {"cc", 9}}));
  CHECK(sink.unacknowledged().empty());
  char buffer[4096];
  const ssize_t got = ::read(pipes.from_worker.get(), buffer, sizeof buffer);
  LineBuffer lines;
  lines.append(buffer, static_cast<std::size_t>(got));
  std::string line;
  int rows = 0;
  while (lines.next(line)) rows += decode_row(line).run == "aa" ? 1 : 10;
  CHECK(rows == 13);
}

TEST_CASE("a full pipe of rows and a full pipe of acknowledgements don't lock", "[unit]") {
  Pipes pipes;
  PipeSink sink(pipes.lines_in.get(), pipes.rows_out.get());
  constexpr int kRows = 20000;
  std::thread writer([&] {  // reads slowly, answers each line with a long acknowledgement
    LineBuffer lines;
    std::string line;
    char buffer[512];
    for (int rows = 0; rows < kRows;) {
      const ssize_t got = ::read(pipes.from_worker.get(), buffer, sizeof buffer);
      if (got <= 0) break;
      lines.append(buffer, static_cast<std::size_t>(got));
      while (lines.next(line)) {
        const std::string answer =
            encode_acknowledgement({{"aa", rows++}, {std::string(300, 'x'), 0}}) + "\n";
        if (::write(pipes.to_worker.get(), answer.data(), answer.size()) < 0) return;
      }
    }
  });
  for (int i = 0; i < kRows; ++i) sink.emit(metric("aa", i));
  sink.flush();
  while (!sink.unacknowledged().empty()) std::this_thread::yield();
  writer.join();
  SUCCEED();
}

TEST_CASE("a sink whose writer is gone says so and throws", "[unit]") {
  Pipes pipes;
  PipeSink sink(pipes.lines_in.get(), pipes.rows_out.get());
  sink.emit(metric("aa", 0));
  CHECK_FALSE(sink.closed());
  SECTION("both pipes") {
    pipes.to_worker.close();
    pipes.from_worker.close();
    CHECK(sink.closed());
  }
  SECTION("the rows' pipe alone") { pipes.from_worker.close(); }
  CHECK_THROWS_AS(sink.flush(), StoreError);
  CHECK(sink.closed());
  CHECK(sink.unacknowledged().size() == 1);
}

TEST_CASE("the first line is waited for, and the end of the pipe is an error", "[unit]") {
  Pipes pipes;
  PipeSink sink(pipes.lines_in.get(), pipes.rows_out.get());
  pipes.say("hello");
  CHECK(sink.read_line() == "hello");
  pipes.to_worker.close();
  CHECK_THROWS_AS(sink.read_line(), StoreError);
}

TEST_CASE("a child gets its environment, pipes and default signals", "[unit]") {
  ::setenv("TANDEM_TEST_A", "old", 1);
  ChildProcess child = spawn({"/bin/sh",
                              {"-c",
                               "read x; echo $x $TANDEM_TEST_A $TANDEM_TEST_B; echo no >&2; "
                               "kill -15 $$"},
                              {{"TANDEM_TEST_A", "new"}, {"TANDEM_TEST_B", "b"}},
                              true});
  REQUIRE(::write(child.input.get(), "hi\n", 3) == 3);
  char buffer[100];
  const ssize_t got = ::read(child.output.get(), buffer, sizeof buffer);
  CHECK(std::string(buffer, static_cast<std::size_t>(got)) == "hi new b\n");
  CHECK(describe_status(wait_for(child.pid)).rfind("signal 15", 0) == 0);
  CHECK_THROWS_AS(spawn({"/no/such/program", {}, {}}), StoreError);
}

TEST_CASE("workers are reproducible and keep freed memory", "[unit]") {
  const auto environment = worker_environment();
  CHECK(environment.at("MKL_CBWR") == "AUTO,STRICT");
  CHECK(environment.at("OMP_NUM_THREADS") == "1");
  CHECK(environment.count("MALLOC_TRIM_THRESHOLD_") == 1);
}

TEST_CASE("lines are cut wherever the bytes come apart", "[unit]") {
  LineBuffer lines;
  std::string line;
  const std::string text = "one\n\nthree\nrest";
  std::vector<std::string> found;
  for (const char c : text) {
    lines.append(&c, 1);
    while (lines.next(line)) found.push_back(line);
  }
  CHECK(found == std::vector<std::string>{"one", "", "three"});
  CHECK(lines.rest() == "rest");
}

TEST_CASE("durations read well", "[unit]") {
  CHECK(duration_text(0) == "0s");
  CHECK(duration_text(59.4) == "59s");
  CHECK(duration_text(59.6) == "1m00s");
  CHECK(duration_text(3725) == "1h02m");
  CHECK(duration_text(93600) == "1d02h");
}

TEST_CASE("progress counts finished runs; elsewhere than on a terminal it prints plain lines",
          "[unit]") {
  GridPlan plan;
  plan.groups.resize(1);
  for (const char* seed : {"1", "2", "3"}) {
    plan.groups[0].runs.push_back(Config::resolve({{"seed", seed}}));
  }
  std::FILE* out = std::tmpfile();
  REQUIRE(out != nullptr);
  {
    Progress progress(plan, 1, out, 0);
    progress.group_started(plan.groups[0], 1);
    StateRow done;
    done.state = "done";
    progress.rows_committed({{"aa", 0, done}, metric("bb", 5)});
    CHECK(progress.line().rfind("1/3 runs done, 1 group running", 0) == 0);
    progress.tick();
  }
  std::rewind(out);
  char text[200] = {};
  CHECK(std::fgets(text, sizeof text, out) != nullptr);
  CHECK(std::string(text).find("1/3 runs done") == 0);
  CHECK(std::string(text).find('\033') == std::string::npos);
  std::fclose(out);
}

TEST_CASE("progress travels, and rows are no progress", "[unit]") {
  const auto steps = decode_progress(encode_progress({7, 40}));
  REQUIRE(steps.has_value());
  CHECK(steps->done == 7);
  CHECK(steps->all == 40);
  CHECK_FALSE(decode_progress(encode_row({"aa", 0, MetricRow{1, "", "progress", 2}})).has_value());
  CHECK_THROWS_AS(decode_progress("{\"progress\": 3}"), StoreError);
}

namespace {

// Two workers, groups of `runs` runs each, and a clock that the test moves.
struct Forecast {
  GridPlan plan;
  double now = 0;
  std::FILE* out = std::tmpfile();
  std::unique_ptr<Progress> progress;

  explicit Forecast(const std::vector<int>& runs, int jobs) {
    int seed = 0;
    for (const int count : runs) {
      plan.groups.emplace_back();
      for (int i = 0; i < count; ++i) {
        plan.groups.back().runs.push_back(Config::resolve({{"seed", std::to_string(++seed)}}));
      }
    }
    progress = std::make_unique<Progress>(plan, jobs, out, 60, [this] { return now; });
  }
  ~Forecast() {
    progress.reset();
    std::fclose(out);
  }
  void start(std::size_t group) { progress->group_started(plan.groups[group], 1); }
  void tell(std::size_t group, std::int64_t done, std::int64_t all) {
    progress->group_progressed(plan.groups[group], done, all);
  }
  std::string printed() const {
    std::string text;
    std::rewind(out);
    for (int c; (c = std::fgetc(out)) != EOF;) text += static_cast<char>(c);
    return text;
  }
};

}  // namespace

TEST_CASE("the time left is that of the steps left at the group's own pace", "[unit]") {
  Forecast one({1}, 1);
  one.start(0);
  CHECK_FALSE(one.progress->left_s().has_value());
  CHECK(one.progress->line().find("time left not known yet") != std::string::npos);
  one.now = 2;  // loading
  one.tell(0, 10, 1010);
  one.now = 4;
  one.tell(0, 30, 1010);  // 10 a second
  REQUIRE(one.progress->left_s().has_value());
  CHECK(*one.progress->left_s() == Approx(98));
  CHECK(one.progress->line().find("step 30 of 1010, 10 steps/s") != std::string::npos);
  one.now = 102;
  one.tell(0, 1009, 1010);
  CHECK(*one.progress->left_s() < 1);
  one.now = 103;
  one.tell(0, 1010, 1010);
  CHECK_FALSE(
      one.progress->left_s().has_value());  // what is left is not foreseen, and none is said
  CHECK(one.progress->line().find("the last evaluations are under way") != std::string::npos);
}

TEST_CASE("groups that wait are charged what those under way take, over the workers", "[unit]") {
  Forecast grid({2, 2, 4}, 2);
  grid.start(0);
  grid.start(1);
  for (const std::size_t group : {0, 1}) grid.tell(group, 0, 100);
  grid.now = 10;
  for (const std::size_t group : {0, 1}) grid.tell(group, 10, 100);  // 100 s a group, 50 s a run
  REQUIRE(grid.progress->left_s().has_value());
  // 90 + 90 + 4 runs of 50 s, on two workers; no less than the longest.
  CHECK(*grid.progress->left_s() == Approx(200));
  grid.plan.groups[2].predicted_seconds = 40;
  Progress told(grid.plan, 2, grid.out, 60, [&] { return grid.now; });
  for (const std::size_t group : {0, 1}) {
    told.group_started(grid.plan.groups[group], 1);
    told.group_progressed(grid.plan.groups[group], 0, 100);
  }
  grid.now = 20;
  for (const std::size_t group : {0, 1}) told.group_progressed(grid.plan.groups[group], 10, 100);
  CHECK(*told.left_s() == Approx(110));  // earlier runs say 40 s
}

TEST_CASE("a resumed group's pace is that of the steps taken now", "[unit]") {
  Forecast one({1}, 1);
  one.start(0);
  one.tell(0, 900, 1000);
  one.now = 10;
  one.tell(0, 910, 1000);
  CHECK(*one.progress->left_s() == Approx(90));
}

TEST_CASE("without a terminal the first line comes after seconds, then ever fewer", "[unit]") {
  Forecast one({1}, 1);
  one.start(0);
  for (; one.now < 3600; one.now += 0.5) {
    one.tell(0, static_cast<std::int64_t>(one.now), 7200);
    one.progress->tick();
    if (one.now == 5) CHECK(one.printed().find("elapsed") != std::string::npos);
  }
  const std::string text = one.printed();
  const auto lines = std::count(text.begin(), text.end(), '\n');
  CHECK(lines > 50);
  CHECK(lines < 80);
}

}  // namespace tandem::test::jobs_protocol_unit
