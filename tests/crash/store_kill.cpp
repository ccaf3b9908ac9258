// kill -9 of the writer at any moment: what it acknowledged is there, nothing is there twice, and
// the file is whole.
#include <SQLiteCpp/SQLiteCpp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <thread>

#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::store_kill_crash {
namespace {

constexpr int kBatch = 20;
constexpr int kKills = 30;

// Writes batches for ever from sequence `from` on, and tells each batch's end through the pipe.
[[noreturn]] void write_for_ever(const std::string& path, const RunRecord& run, std::int64_t from,
                                 int pipe) {
  try {
    StoreWriter writer(path);
    writer.add_runs({run});
    for (std::int64_t next = from;; next += kBatch) {
      std::vector<Row> rows;
      for (std::int64_t i = next; i < next + kBatch; ++i) {
        const std::string layer = "fc" + std::to_string(i / 500);
        rows.push_back(i % 2 == 0 ? test::metric(run.id, i, i, layer, "gap", 0.5)
                                  : test::eval(run.id, i, 1, 1, i % 100, 100));
      }
      rows.push_back(test::state(run.id, next, "running", next));
      writer.insert(rows);
      const std::int64_t acknowledged = next + kBatch;
      if (::write(pipe, &acknowledged, sizeof acknowledged) != sizeof acknowledged) break;
    }
  } catch (const std::exception&) {
  }
  ::_exit(1);
}

// The child's last acknowledgement, after it was killed `delay_us` after its first.
std::int64_t kill_one(const std::string& path, const RunRecord& run, std::int64_t from,
                      int delay_us) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    write_for_ever(path, run, from, ends[1]);
  }
  ::close(ends[1]);
  if (delay_us % 3 != 0) {  // else killed while it opens
    pollfd wait{ends[0], POLLIN, 0};
    ::poll(&wait, 1, 10000);
  }
  std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  std::int64_t last = from, value = 0;
  while (::read(ends[0], &value, sizeof value) == sizeof value) last = value;
  ::close(ends[0]);
  return last;
}

std::int64_t number(SQLite::Database& db, const char* sql) { return db.execAndGet(sql).getInt64(); }

TEST_CASE("a killed writer loses nothing acknowledged and doubles nothing", "[crash]") {
  const std::uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = test::make_run({});
  std::int64_t acknowledged = 0;
  int progressed = 0;
  for (int i = 0; i < kKills; ++i) {
    // Begin again a little earlier, as a worker does that resends what was not acknowledged.
    const std::int64_t from = std::max<std::int64_t>(0, acknowledged - 3 * kBatch);
    const std::int64_t now = kill_one(path, run, from, static_cast<int>(rng() % 20000));
    progressed += now > acknowledged;
    acknowledged = std::max(acknowledged, now);
    // A reader may come first and find the file as the kill left it.
    if (acknowledged > 0)
      CHECK(StoreReader(path).find_run(run.id).last_sequence + 1 >= acknowledged);
    { StoreWriter recover(path); }
    SQLite::Database db(path, SQLite::OPEN_READWRITE);
    CHECK(db.execAndGet("PRAGMA integrity_check").getString() == "ok");
    CHECK_FALSE(SQLite::Statement(db, "PRAGMA foreign_key_check").executeStep());
    const char* all =
        "SELECT count(*) FROM (SELECT sequence FROM metric UNION ALL SELECT sequence FROM eval)";
    const char* last =
        "SELECT coalesce(max(sequence), -1) FROM (SELECT sequence FROM metric UNION ALL SELECT"
        " sequence FROM eval)";
    CHECK(number(db, last) + 1 >= acknowledged);
    CHECK(number(db, all) == number(db, last) + 1);  // without a gap and without a double
    CHECK(number(db, all) % kBatch == 0);            // batches are whole
  }
  CHECK(progressed >= kKills / 3);
}

}  // namespace
}  // namespace tandem::test::store_kill_crash
