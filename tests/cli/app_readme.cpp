// What README.md and the pages of docs/ show is true: their commands run, their SQL means what they
// say, their grid file is the one that is shipped, and their links lead somewhere.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/text.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_readme_cli {
namespace {

namespace fs = std::filesystem;

const fs::path& source() {
  static const fs::path folder = TANDEM_SOURCE_DIR;
  return folder;
}

std::string page(const std::string& name) { return read_file((source() / name).string()); }

// Commands of README.md that this test does not run, and why. They are compared without comments.
const std::map<std::string, std::string>& too_long() {
  static const std::map<std::string, std::string> reasons = {
      {"./tandem build",
       "the wrapper's own; it compiles for minutes and tests/wrapper_test.sh has "
       "the wrapper"},
      {"./tandem demo", "trains for minutes; its grids are those of experiments/smoke"},
      {"./tandem bench sparse", "measures for minutes, with a program of its own"},
  };
  return reasons;
}

// Runs of README.md are run at a size of seconds, and so are its grids, whose files are cut to that
// size in the folder where the commands run: a table shows the runs that its file stands for.
const std::vector<std::string> kShort = {"--train-examples", "300", "--epochs", "1",
                                         "--widths",         "16",  "--device", "cpu"};
const std::map<std::string, std::string> kShortFile = {
    {"epochs", "1"}, {"widths", "16"}, {"density", "0.1"}, {"trials", "2"}};

// Lines of code blocks: between fences, or indented by four spaces outside of them.
std::vector<std::string> code_lines(const std::string& text) {
  std::vector<std::string> lines;
  bool fenced = false;
  for (const std::string& line : split(text, '\n')) {
    if (line.rfind("```", 0) == 0) {
      fenced = !fenced;
    } else if (fenced || line.rfind("    ", 0) == 0) {
      lines.push_back(trim(line));
    }
  }
  return lines;
}

// A '#' after two spaces begins a comment.
std::string without_comment(const std::string& line) {
  return trim(line.substr(0, line.find("  #")));
}

std::vector<std::string> tandem_commands(const std::string& text) {
  std::vector<std::string> commands;
  for (const std::string& line : code_lines(text)) {
    if (line.rfind("./tandem ", 0) == 0) commands.push_back(without_comment(line));
  }
  return commands;
}

// The README's question after what forgets least, asked of the class-incremental grid: the least
// comes first, each weights method is there with finetune and with er, and joint, which trains all
// tasks at once and forgets none, is not.
void check_least_forgotten(const std::string& query) {
  const QueryResult rows = StoreReader("results/tandem.sqlite").query(query);
  CHECK(rows.rows.size() == 8);
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    CHECK(rows.rows[i].at(1) != "joint");
    CHECK(rows.rows[i].at(4) == "3");
    if (i > 0) CHECK(std::stod(rows.rows[i - 1].at(2)) <= std::stod(rows.rows[i].at(2)));
  }
}

// As a shell splits a line that has double quotes and nothing else special.
std::vector<std::string> words_of(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false, any = false;
  for (const char c : command) {
    if (c == '"') {
      quoted = !quoted;
      any = true;
    } else if (c == ' ' && !quoted) {
      if (any || !word.empty()) words.push_back(word);
      word.clear();
      any = false;
    } else {
      word += c;
    }
  }
  if (any || !word.empty()) words.push_back(word);
  return words;
}

// The commands name paths from the project's root and write below results/: they run in a folder of
// their own that has the grid files.
class Workplace {
 public:
  Workplace() : before_(fs::current_path()) {
    fs::create_directory(folder_ / "experiments");
    for (const auto& entry : fs::directory_iterator(source() / "experiments")) {
      if (entry.path().extension() == ".ini") shorten(entry.path());
    }
    fs::current_path(folder_.path());
  }
  ~Workplace() { fs::current_path(before_); }

 private:
  void shorten(const fs::path& file) const {
    std::string text = "train_examples = 300\ndevice = cpu\n";
    for (const std::string& line : split(read_file(file.string()), '\n')) {
      const auto shorter = kShortFile.find(trim(line.substr(0, line.find('='))));
      const bool sets = line.find('=') != std::string::npos && shorter != kShortFile.end();
      text += (sets ? shorter->first + " = " + shorter->second : line) + "\n";
    }
    atomic_write((fs::path(folder_ / "experiments") / file.filename()).string(), text);
  }

  fs::path before_;
  TemporaryFolder folder_;
};

// A finished run that has a mask, by the first digits of its id: what RUN stands for.
std::string some_run() {
  const QueryResult rows = StoreReader("results/tandem.sqlite")
                               .query(
                                   "SELECT run FROM v_run WHERE weights = 'rigl' AND state = "
                                   "'done' AND scenario = 'single' LIMIT 1");
  REQUIRE(rows.rows.size() == 1);
  return rows.rows[0][0].substr(0, 12);
}

// The program's arguments, with RUN replaced and training made short.
std::vector<std::string> arguments_of(const std::string& command) {
  std::vector<std::string> words = words_of(command);
  words.erase(words.begin());  // ./tandem
  for (std::string& word : words) {
    if (word == "RUN") word = some_run();
  }
  if (words[0] == "run") words.insert(words.end(), kShort.begin(), kShort.end());
  return words;
}

// What an ini file says: its lines without comments, blanks and the order of spaces.
std::vector<std::string> settings_of(const std::string& text) {
  std::vector<std::string> lines;
  for (const std::string& raw : split(text, '\n')) {
    const std::string line = trim(raw.substr(0, raw.find('#')));
    if (!line.empty()) lines.push_back(std::regex_replace(line, std::regex(" +"), " "));
  }
  return lines;
}

std::string fenced_block(const std::string& text, const std::string& language) {
  const std::string fence = "```" + language + "\n";
  const std::size_t begin = text.find(fence);
  REQUIRE(begin != std::string::npos);
  const std::size_t end = text.find("```", begin + fence.size());
  return text.substr(begin + fence.size(), end - begin - fence.size());
}

}  // namespace

TEST_CASE("the pages' query gives one row per run and read-out", "[cli]") {
  const std::string text = page("docs/store.md");
  const std::size_t begin = text.find("\"\"\"") + 3;
  const std::string sql = text.substr(begin, text.find("\"\"\"", begin) - begin);
  REQUIRE(sql.find("FROM v_eval") != std::string::npos);

  const TemporaryFolder folder;
  const std::string db = folder / "r.sqlite";
  for (const char* weights : {"dense", "rigl"}) {
    const ProgramResult made =
        run_program({"run", "--weights", weights, "--train-examples", "300", "--steps", "4",
                     "--widths", "16", "--density", "0.2", "--final", "--db", db});
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
  }
  const QueryResult rows = StoreReader(db).query(sql);
  // dense in both read-outs, RigL in the one it has; no other budgets of their curves.
  REQUIRE(rows.rows.size() == 3);
}

TEST_CASE("every command of the README runs", "[cli]") {
  const std::vector<std::string> commands = tandem_commands(page("README.md"));
  REQUIRE(commands.size() > 10);
  for (const auto& [command, reason] : too_long()) {
    INFO("'" << command << "' is listed as too long and README.md has it no more");
    CHECK(std::find(commands.begin(), commands.end(), command) != commands.end());
  }
  const Workplace workplace;
  // Grids come first, so that each command finds runs to look at.
  std::vector<std::string> in_order;
  for (const bool training : {true, false}) {
    for (const std::string& command : commands) {
      const bool trains = command.rfind("./tandem grid run ", 0) == 0;
      if (trains == training && too_long().count(command) == 0) in_order.push_back(command);
    }
  }
  bool asked = false;
  for (const std::string& command : in_order) {
    const ProgramResult result = run_program(arguments_of(command));
    INFO(command << "\n" << result.output << result.errors);
    const bool lacks_gnuplot = result.errors.find("gnuplot draws figures") != std::string::npos;
    CHECK((result.exit_code == 0 || lacks_gnuplot));
    if (command.find("f_chaudhry") != std::string::npos) {
      check_least_forgotten(words_of(command).at(2));
      asked = true;
    }
  }
  CHECK(asked);
  CHECK(fs::exists("results/first/table.md"));
  CHECK(fs::exists("results/first/table.lineage.json"));
  CHECK(fs::exists("net.safetensors"));
}

TEST_CASE("the README's grid file is the shipped one", "[cli]") {
  CHECK(settings_of(fenced_block(page("README.md"), "ini")) ==
        settings_of(page("experiments/first.ini")));
}

TEST_CASE("the criterion that CONTRIBUTING.md shows is the shipped file", "[cli]") {
  CHECK(fenced_block(page("CONTRIBUTING.md"), "cpp") ==
        page("src/topology/criterion_averaged_gradient.cpp"));
}

TEST_CASE("links of the pages lead somewhere", "[cli]") {
  std::vector<std::string> pages = {"README.md", "CONTRIBUTING.md", "kernels/README.md"};
  for (const auto& entry : fs::directory_iterator(source() / "docs")) {
    if (entry.path().extension() == ".md")
      pages.push_back("docs/" + entry.path().filename().string());
  }
  for (const auto& entry : fs::directory_iterator(source() / "results")) {
    if (fs::exists(entry.path() / "README.md")) {
      pages.push_back("results/" + entry.path().filename().string() + "/README.md");
    }
  }
  const std::regex link("\\]\\(([^)#]+)\\)");
  std::size_t count = 0;
  for (const std::string& name : pages) {
    const std::string text = page(name);
    for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it) {
      const std::string target = (*it)[1].str();
      if (target.find("://") != std::string::npos) continue;
      INFO(name << " links " << target);
      CHECK(fs::exists((source() / name).parent_path() / target));
      ++count;
    }
  }
  REQUIRE(count > 30);
}

TEST_CASE("grid files that the README names are there", "[cli]") {
  const std::string readme = page("README.md");
  const std::regex named("(experiments/[a-z_/]+\\.ini|CITATION\\.cff|CONTRIBUTING\\.md)");
  std::size_t count = 0;
  for (std::sregex_iterator it(readme.begin(), readme.end(), named), end; it != end; ++it) {
    CAPTURE(it->str());
    REQUIRE(fs::exists(source() / it->str()));
    ++count;
  }
  REQUIRE(count > 3);
}

}  // namespace tandem::test::app_readme_cli
