// `tandem bench store`: what commands cost on databases of 1,000 runs and of ten times as many, up
// to --runs. The runs are copies of finished runs of a real database, all of their rows under new
// ids, in grids of 1,000; each command is a process of its own, whose time and largest memory are
// its own.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/bench_child.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/text.h"
#include "jobs/provenance.h"
#include "store/store.h"

namespace tandem {
namespace {

constexpr std::int64_t kGridRuns = 1000, kMostSources = 64;
constexpr std::int64_t kRowsPerInsert = 20000;
constexpr std::int64_t kMostSeeds = 100000;  // that one range of a grid file may have
constexpr double kBytesPerRun = 40e3;  // of the first copies, before it is known what they take
constexpr double kRoom = 3;            // of what copies take, with the log beside them

struct Source {
  RunRecord record;
  std::vector<Row> rows;
};

std::optional<double> number_at(const QueryResult& q, std::size_t row, std::size_t column) {
  if (q.null[row][column]) return std::nullopt;
  return parse_real(q.rows[row][column]);
}

LevelRead level_at(const QueryResult& q, std::size_t row, std::size_t first) {
  return {q.rows[row][first], number_at(q, row, first + 1), q.rows[row][first + 2]};
}

// All rows of a run but the bits per example, in their order.
std::vector<Row> rows_of(const StoreReader& store, const std::string& id) {
  std::vector<Row> rows;
  const auto add = [&](const QueryResult& q, const auto& body) {
    for (std::size_t i = 0; i < q.rows.size(); ++i) {
      rows.push_back({id, *parse_integer(q.rows[i][0]), body(q, i)});
    }
  };
  const StoreReader own = store.only({id});
  add(own.query("SELECT sequence, stage, step, task, attention_readout, attention_budget,"
                " coalesce(attention_unit, ''), weights_readout, weights_budget,"
                " coalesce(weights_unit, ''), masked, split, n_correct, n_total, loss FROM v_eval"),
      [](const QueryResult& q, std::size_t i) {
        EvalRow e;
        e.stage = *parse_integer(q.rows[i][1]);
        e.step = *parse_integer(q.rows[i][2]);
        e.task = *parse_integer(q.rows[i][3]);
        e.readout.attention = level_at(q, i, 4);
        e.readout.weights = level_at(q, i, 7);
        e.readout.masked = q.rows[i][10] == "1";
        e.split = q.rows[i][11];
        e.n_correct = *parse_integer(q.rows[i][12]);
        e.n_total = *parse_integer(q.rows[i][13]);
        e.loss = number_at(q, i, 14).value_or(0);
        return RowBody(e);
      });
  add(own.query("SELECT sequence, step, layer, name, value FROM v_metric WHERE value IS NOT NULL"),
      [](const QueryResult& q, std::size_t i) {
        return RowBody(MetricRow{*parse_integer(q.rows[i][1]), q.rows[i][2], q.rows[i][3],
                                 number_at(q, i, 4).value_or(0)});
      });
  add(own.query("SELECT l.sequence, p.json FROM run_provenance l JOIN provenance p ON p.id ="
                " l.provenance ORDER BY l.attempt DESC LIMIT 1"),
      [](const QueryResult& q, std::size_t i) { return RowBody(ProvenanceRow{q.rows[i][1]}); });
  std::int64_t last = 0;
  for (const Row& row : rows) last = std::max(last, row.sequence);
  StateRow state;
  state.state = "done";
  state.train_seconds = 1;
  rows.push_back({id, last + 1, state});
  return rows;
}

std::vector<Source> sources_in(const std::string& database) {
  const StoreReader store(database);
  std::vector<RunRecord> runs = store.runs();
  // Those with the most rows: a database that keeps little of some runs should not look small.
  std::stable_sort(runs.begin(), runs.end(), [](const RunRecord& a, const RunRecord& b) {
    return a.last_sequence > b.last_sequence;
  });
  std::vector<Source> sources;
  for (const RunRecord& run : runs) {
    if (run.state != "done" || static_cast<std::int64_t>(sources.size()) == kMostSources) continue;
    sources.push_back({run, rows_of(store, run.id)});
  }
  if (sources.empty()) {
    throw ConfigError(
        database +
        " has no finished run to copy; ./tandem demo trains some in minutes, and --db "
        "names another database");
  }
  return sources;
}

// The same run with a seed of its own.
RunRecord copy_of(const RunRecord& source, std::int64_t number) {
  RunRecord copy = source;
  copy.canonical.clear();
  const std::string seed = std::to_string(1000000 + number);
  for (const auto& line : split(source.canonical, '\n')) {
    const std::string text(line);
    if (!text.empty() && text.rfind("seed=", 0) != 0) copy.canonical += text + "\n";
  }
  copy.canonical += "seed=" + seed + "\n";
  copy.id = sha256(copy.canonical);
  const auto values = values_of(copy);
  copy.values.assign(values.begin(), values.end());
  return copy;
}

// Runs work in a process of its own. What a measured command is said to take at most is never less
// than what the process that starts it holds, so that one must stay small.
template <class Work>
void apart(const std::string& what, const Work& work) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      work();
      code = 0;
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    std::fflush(stdout);
    ::_exit(code);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) < 0 || status != 0) {
    throw DeviceError(fmt::format("the process for {} ended with status {}", what, status));
  }
}

// Copies `first` to `last` - 1.
void add_copies(const std::string& path, const std::vector<Source>& sources, std::int64_t first,
                std::int64_t last) {
  StoreWriter writer(path);
  for (std::int64_t grid = first / kGridRuns; grid < last / kGridRuns; ++grid) {
    std::vector<RunRecord> runs;
    std::vector<Row> rows;
    for (std::int64_t i = grid * kGridRuns; i < (grid + 1) * kGridRuns; ++i) {
      const Source& source = sources[static_cast<std::size_t>(i) % sources.size()];
      runs.push_back(copy_of(source.record, i));
      for (Row row : source.rows) {
        row.run = runs.back().id;
        rows.push_back(std::move(row));
      }
    }
    writer.add_runs(runs);
    std::vector<std::string> ids;
    for (const RunRecord& run : runs) ids.push_back(run.id);
    writer.add_grid("copies_" + std::to_string(grid), "copies.ini", "", ids);
    for (std::size_t at = 0; at < rows.size(); at += kRowsPerInsert) {
      const auto end = std::min(rows.size(), at + static_cast<std::size_t>(kRowsPerInsert));
      writer.insert({rows.begin() + static_cast<std::ptrdiff_t>(at),
                     rows.begin() + static_cast<std::ptrdiff_t>(end)});
    }
  }
}

std::string plan_file(const std::string& folder, std::int64_t runs) {
  const std::string file = folder + "/plan.ini";
  const std::int64_t seeds = std::min(runs / 2, kMostSeeds);
  std::ofstream lines(file);
  lines << "data = fashion_mnist\nweights = rigl, set\nseed = 1.." << seeds << "\n";
  if (runs / 2 > seeds) lines << "batch = 128.." << 127 + runs / 2 / seeds << "\n";
  return file;
}

void report(const std::string& database, const std::string& folder, std::int64_t runs) {
  const std::string grid = "copies_0", file = plan_file(folder, kGridRuns);
  const std::vector<std::pair<std::string, std::vector<std::string>>> commands = {
      {"opening: query columns", {"query", "columns"}},
      {"query accuracy --grid", {"query", "accuracy", "--grid", grid}},
      {"query continual --grid", {"query", "continual", "--grid", grid}},
      {"query runs --grid", {"query", "runs", grid}},
      {"table of a grid",
       {"table", "--grid", grid, "--rows", "weights,density", "--columns", "accuracy"}},
      {"table with metrics",
       {"table", "--grid", grid, "--rows", "weights,density", "--columns", "metric:train_loss"}},
      {"query accuracy --all", {"query", "accuracy", "--all"}},
      {"status of another grid", {"grid", "status", file}},
      {"plan of another grid", {"grid", "plan", file}},
      {"db export of a grid", {"db", "export", "--format", "wide", "--grid", grid}},
      {"db share of a grid", {"db", "share", "--grid", grid, "--out", folder + "/runs.sql.xz"}},
      {"db merge of what is there", {"db", "merge", folder + "/runs.sql.xz"}},
  };
  std::error_code unseen;
  const auto bytes = static_cast<double>(std::filesystem::file_size(database, unseen));
  fmt::print("{:>9} {:<25} {:>9} {:>9}\n", runs, "database", "",
             fmt::format("{:.0f} MB", bytes / 1e6));
  for (const auto& [name, words] : commands) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--db", database});
    const ProgramCost cost = cost_of_program(all);
    fmt::print("{:>9} {:<25} {:>7.2f} s {:>6.0f} MB\n", runs, name, cost.seconds, cost.megabytes);
    std::fflush(stdout);
  }
}

void report_plan(const std::string& folder, std::int64_t runs) {
  const ProgramCost cost =
      cost_of_program({"grid", "plan", plan_file(folder, runs), "--db", folder + "/none.sqlite"});
  fmt::print("{:>9} {:<25} {:>7.2f} s {:>6.0f} MB\n", runs, "plan of as many runs", cost.seconds,
             cost.megabytes);
}

}  // namespace

void bench_store(const std::string& database, std::int64_t most_runs) {
  apart("reading the runs", [&] {
    const std::vector<Source> sources = sources_in(database);
    std::size_t rows = 0;
    for (const Source& source : sources) rows += source.rows.size();
    fmt::print("{}\n{} runs of {} are copied, {} rows each on average\n", processor_name(),
               sources.size(), database, rows / sources.size());
  });
  const TemporaryFolder folder;
  const std::string copies = folder / "copies.sqlite";
  fmt::print("{:>9} {:<25} {:>9} {:>9}\n", "runs", "what", "time", "memory");
  std::int64_t made = 0;
  double bytes_per_run = kBytesPerRun;
  for (std::int64_t size = kGridRuns; size <= most_runs; size *= 10) {
    const auto room = static_cast<double>(std::filesystem::space(folder.path()).available);
    if (room < bytes_per_run * static_cast<double>(size)) {
      fmt::print("{:>9} left out: {} has {:.0f} MB of room\n", size, folder.path(), room / 1e6);
      break;
    }
    apart("writing the copies", [&] {
      const std::vector<Source> sources = sources_in(database);
      const auto begin = std::chrono::steady_clock::now();
      add_copies(copies, sources, made, size);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
      fmt::print("{:>9} {:<25} {:>7.2f} s\n", size - made, "runs written", taken.count());
    });
    made = size;
    bytes_per_run =
        kRoom * static_cast<double>(std::filesystem::file_size(copies)) / static_cast<double>(size);
    report(copies, folder.path(), size);
    report_plan(folder.path(), size);
  }
}

}  // namespace tandem
