// What a command writes is whole, goes where it was sent, and is what its name says; what it could
// not write is an error.
#include <fmt/format.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_output_cli {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A database with one finished run, and a grid file of it.
struct Finished {
  TemporaryFolder folder;
  std::string db = folder / "r.sqlite", file = folder / "one.grid", id;
  Finished() {
    atomic_write(file,
                 "name = one\nweights = set\ndensity = 0.2\ntrain_examples = 300\nsteps = 4\n"
                 "widths = 16\ndevice = cpu\n[table t]\nrows = weights\ncolumns = "
                 "accuracy@sparse\n");
    const ProgramResult made = run_program({"grid", "run", file, "--db", db});
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
    id = StoreReader(db).runs().at(0).id;
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
  }
};

int exit_of(const std::string& line) {
  const int status = std::system(line.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("output that can't be written is exit code 4, of every command", "[cli]") {
  const Finished made;
  const std::vector<std::string> lines = {"--help",
                                          "--version",
                                          "help run",
                                          "run --help",
                                          "list methods",
                                          "list options",
                                          "doctor",
                                          "query",
                                          "query runs --db {db}",
                                          "query \"SELECT 1\" --db {db}",
                                          "why {id} --db {db}",
                                          "tail {id} --db {db}",
                                          "table {file} --db {db}",
                                          "grid plan {file} --db {db}",
                                          "grid status {file} --db {db}",
                                          "grid run {file} --db {db}",
                                          "export {id} --db {db} --out {folder}/x.safetensors",
                                          "table {file} --db {db} --out /dev/stdout"};
  for (const std::string& line : lines) {
    const std::string command =
        fmt::format(fmt::runtime(line), fmt::arg("db", made.db), fmt::arg("id", made.id),
                    fmt::arg("file", made.file), fmt::arg("folder", made.folder.path()));
    INFO(command);
    CHECK(exit_of(TANDEM_BINARY " " + command + " > /dev/full 2> " + (made.folder / "errors")) ==
          4);
    const std::string said = read_file(made.folder / "errors");
    CHECK((contains(said, "could not be written") || contains(said, "cannot write /dev/stdout")));
  }
  CHECK(exit_of(TANDEM_BINARY " --version >&- 2> /dev/null") == 4);
  CHECK(exit_of(TANDEM_BINARY " --version > /dev/null") == 0);
}

TEST_CASE("devices and links that --out names stay what they are", "[cli]") {
  const Finished made;
  const auto write = [&](const std::string& out) {
    return run_program({"export", made.id, "--db", made.db, "--out", out});
  };
  CHECK(write("/dev/null").exit_code == 0);
  CHECK(fs::is_character_file("/dev/null"));
  CHECK(write("/dev/full").exit_code == kExitStore);
  CHECK(fs::is_character_file("/dev/full"));
  fs::create_symlink("far.safetensors", made.folder / "link.safetensors");
  REQUIRE(write(made.folder / "link.safetensors").exit_code == 0);
  CHECK(fs::is_symlink(made.folder / "link.safetensors"));
  CHECK(SafetensorsFile::open(made.folder / "far.safetensors").metadata().at("run") == made.id);
  const std::string whole = read_file(made.folder / "far.safetensors");
  CHECK(exit_of(fmt::format("{} export {} --db {} --out /dev/stdout > {} 2> /dev/null",
                            TANDEM_BINARY, made.id, made.db, made.folder / "piped")) == 0);
  CHECK(read_file(made.folder / "piped").rfind(whole, 0) == 0);
  const ProgramResult table =
      run_program({"table", made.file, "--db", made.db, "--out", "/dev/null"});
  CHECK(table.exit_code == 0);
  CHECK_FALSE(fs::exists("/dev/null.md"));
  CHECK_FALSE(fs::exists("/dev/null.lineage.json"));
}

TEST_CASE("a file is what its ending says, or is refused with the endings there are", "[cli]") {
  const Finished made;
  const auto table = [&](const std::string& name, std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"table", made.file, "--db",
                                      made.db, "--out",   made.folder / name};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  };
  REQUIRE(table("a.csv").exit_code == 0);
  CHECK(read_file(made.folder / "a.csv").rfind("weights,", 0) == 0);
  REQUIRE(table("a.md").exit_code == 0);
  CHECK(contains(read_file(made.folder / "a.md"), "| "));
  REQUIRE(table("stem").exit_code == 0);
  CHECK(read_file(made.folder / "stem.csv") == read_file(made.folder / "a.csv"));
  CHECK(read_file(made.folder / "stem.md") == read_file(made.folder / "a.md"));
  REQUIRE(table("a.tex").exit_code == 0);
  CHECK(contains(read_file(made.folder / "a.tex"), "\\usepackage") == false);
  CHECK(contains(read_file(made.folder / "a.tex"), "\\begin{tabular}{l S["));
  REQUIRE(table("p.tex", {"--plain", "--longtable", "--bold", "best"}).exit_code == 0);
  CHECK(contains(read_file(made.folder / "p.tex"), "\\begin{longtable}{l r"));
  const std::size_t before = made.entries();
  for (const char* name : {"a.rst", "a.htm", "new/a.txt"}) {
    const ProgramResult refused = table(name);
    CHECK(refused.exit_code == kExitConfig);
    CHECK(contains(refused.errors, "ends in .csv, .html, .json, .tex, .md, .typ"));
  }
  CHECK(contains(table("b.md", {"--plain"}).errors, "--plain is of LaTeX"));
  CHECK(contains(table("b.tex", {"--bold", "first"}).errors, "best"));
  CHECK(table("b.md", {"--format", "csv"}).exit_code == kExitConfig);
  CHECK(table("b", {"--format", "csv"}).exit_code == kExitConfig);
  CHECK(table("a.csv", {"--format", "csv"}).exit_code == 0);
  const ProgramResult weights =
      run_program({"export", made.id, "--db", made.db, "--out", made.folder / "w.npz"});
  CHECK(weights.exit_code == kExitConfig);
  CHECK(contains(weights.errors, ".safetensors"));
  CHECK(made.entries() == before);
}

TEST_CASE("a figure that can't be drawn leaves what was there", "[cli]") {
  const Finished made;
  atomic_write(made.folder / "f.csv", "good points\n");
  atomic_write(made.folder / "f.svg", "a good figure\n");
  // No trials: nothing to draw.
  const ProgramResult empty =
      run_program({"plot", made.file, "trials", "--db", made.db, "--out", made.folder / "f.svg"});
  CHECK(empty.exit_code != 0);
  // A gnuplot that fails, and none.
  ensure_folder(made.folder / "bin");
  atomic_write(made.folder / "bin/gnuplot", "#!/bin/sh\necho no terminal >&2\nexit 3\n");
  REQUIRE(::chmod((made.folder / "bin/gnuplot").c_str(), 0755) == 0);
  for (const std::string& path : std::vector<std::string>{made.folder / "bin", "/none"}) {
    const ProgramResult failed =
        run_program({"plot", made.file, "curve", "--db", made.db, "--out", made.folder / "f.svg"},
                    {"PATH=" + path});
    INFO(failed.errors);
    CHECK(failed.exit_code != 0);
  }
  CHECK(read_file(made.folder / "f.csv") == "good points\n");
  CHECK(read_file(made.folder / "f.svg") == "a good figure\n");
  const ProgramResult points =
      run_program({"plot", made.file, "curve", "--db", made.db, "--out", made.folder / "g.csv"});
  INFO(points.errors);
  CHECK(points.exit_code == 0);
  CHECK(contains(read_file(made.folder / "g.csv"), "density"));
}

TEST_CASE("a command that is interrupted while it writes leaves nothing", "[cli]") {
  const TemporaryFolder folder;
  const std::string db = folder / "r.sqlite", file = folder / "one.grid";
  atomic_write(file,
               "name = one\ndensity = 0.2\ntrain_examples = 300\nsteps = 1\nwidths = 1500,1500\n"
               "batch = 4\ndevice = cpu\nprobes = topology\ncurve = false\nvalidation = 0.001\n");
  const ProgramResult made = run_program({"grid", "run", file, "--db", db});
  INFO(made.errors);
  REQUIRE(made.exit_code == 0);
  const std::string id = StoreReader(db).runs().at(0).id, out = folder / "new/deep/net.safetensors";
  // Some 14 MB are written; an export that was faster than the signal is tried again.
  ProgramResult ended;
  for (int tries = 0; tries < 20 && ended.exit_code != kExitStopped; ++tries) {
    fs::remove_all(folder / "new");
    const TemporaryFolder streams;
    RunningProgram running(streams.path(), {"export", id, "--db", db, "--out", out});
    while (!fs::exists(folder / "new/deep") && !running.ended()) {
    }
    running.send(SIGINT);
    ended = running.wait();
    if (ended.exit_code == kExitDone) CHECK(SafetensorsFile::open(out).metadata().at("run") == id);
  }
  CHECK(ended.exit_code == kExitStopped);
  CHECK(contains(ended.errors, "nothing half-written is left"));
  CHECK_FALSE(fs::exists(folder / "new"));

  // A gnuplot that takes its time.
  ensure_folder(folder / "bin");
  ensure_folder(folder / "tmp");
  atomic_write(folder / "bin/gnuplot",
               "#!/bin/sh\n: > \"" + (folder / "begun") + "\"\nexec /bin/sleep 10\n");
  REQUIRE(::chmod((folder / "bin/gnuplot").c_str(), 0755) == 0);
  const TemporaryFolder streams;
  RunningProgram drawing(streams.path(),
                         {"plot", file, "curve", "--db", db, "--out", folder / "plots/f.svg"},
                         {"PATH=" + (folder / "bin"), "TMPDIR=" + (folder / "tmp")});
  while (!fs::exists(folder / "begun") && !drawing.ended()) {
  }
  drawing.send(SIGINT);
  const ProgramResult stopped = drawing.wait();
  INFO(stopped.errors);
  CHECK(stopped.exit_code == kExitStopped);
  CHECK(fs::is_empty(folder / "tmp"));
  CHECK_FALSE(fs::exists(folder / "plots"));
}

TEST_CASE("paths that can be no file are told as such", "[cli]") {
  const TemporaryFolder folder;
  const std::string loop = folder / "loop", run = "run";
  fs::create_symlink("loop", loop);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  atomic_write(folder / "empty", "");
  atomic_write(folder / "binary", std::string("a\0b = c\n", 8));
  const std::vector<std::string> base = {"run", "--steps", "1", "--device", "cpu"};
  const auto with = [](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  struct Bad {
    std::vector<std::string> arguments;
    int code;
  };
  const std::vector<Bad> lines = {
      {{"query", "runs", "--db", loop}, 4},
      {{"query", "runs", "--db", folder.path()}, 4},
      {{"query", "runs", "--db", folder / "pipe"}, 4},
      {{"query", "runs", "--db", "/dev/zero"}, 4},
      {{"query", "runs", "--db", folder / "empty"}, 4},
      {{"query", "runs", "--db", folder / "binary"}, 4},
      {with(base, {"--db", loop}), 4},
      {with(base, {"--db", loop + "/x.sqlite"}), 4},
      {with(base, {"--db", folder / "pipe"}), 4},
      {with(base, {"--db", "/dev/full"}), 4},
      {with(base, {"--db", folder / "a.sqlite", "--data-dir", loop}), 3},
      {with(base, {"--db", folder / "a.sqlite", "--data", "bytes", "--corpus", loop}), 3},
      {with(base, {"--db", folder / "a.sqlite", "--data", "bytes", "--corpus", "/dev/zero"}), 3},
      {{"grid", "plan", loop}, 2},
      {{"grid", "plan", folder.path()}, 2},
      {{"grid", "plan", "/dev/zero"}, 2},
      {{"grid", "plan", folder / "empty"}, 2},
      {{"grid", "plan", folder / "binary"}, 2},
      {{"grid", "run", folder / "none.ini"}, 2},
      {{"why", loop, "--db", loop}, 4},
      {{"why", folder.path()}, 3},
      {{"why", folder / "binary"}, 3},
      {{"plot", "grid", "curve", "--db", loop}, 4},
      {{"table", loop}, 2},
      {{"doctor", "--data-dir", loop}, 0}};
  for (const Bad& bad : lines) {
    const ProgramResult result = run_program(bad.arguments);
    INFO(bad.arguments[0] << " ... " << bad.arguments.back() << ": " << result.errors);
    CHECK(result.exit_code == bad.code);
    CHECK_FALSE(contains(result.errors, "a bug"));
  }
  // Nothing came of any of them.
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 4);
}

TEST_CASE("a byte-order mark at the head of a grid file is read over", "[cli]") {
  const TemporaryFolder folder;
  atomic_write(folder / "g.ini", "\xEF\xBB\xBFname = marked\nsteps = 4\ndevice = cpu\n");
  const ProgramResult plan =
      run_program({"grid", "plan", folder / "g.ini", "--db", folder / "r.sqlite"});
  INFO(plan.errors);
  CHECK(plan.exit_code == 0);
  CHECK(contains(plan.output, "grid marked:"));
}

}  // namespace tandem::test::app_output_cli
