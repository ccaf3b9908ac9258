// Every option is named by some test: whoever adds one says what it means where that can fail.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <filesystem>
#include <map>
#include <string>

#include "config/option.h"
#include "core/files.h"

namespace tandem::test::app_option_coverage_unit {

namespace {

// Named by no test, with the reason.
const std::map<std::string, std::string>& exceptions() {
  static const std::map<std::string, std::string> all = {};
  return all;
}

bool is_source(const std::filesystem::path& path) {
  return path.extension() == ".cpp" || path.extension() == ".h";
}

// All tests but this one.
std::string test_sources() {
  const std::filesystem::path root = TANDEM_SOURCE_DIR;
  std::string text;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "tests")) {
    if (!is_source(entry.path()) || entry.path().stem() == "app_option_coverage") continue;
    text += read_file(entry.path().string());
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "kernels")) {
    if (entry.path().stem().string().ends_with("_test")) text += read_file(entry.path().string());
  }
  return text;
}

// As a setting "name", an argument --name (with either kind of dash) or a grid's line name = value.
bool names(const std::string& text, const std::string& option) {
  if (text.find('"' + option + '"') != std::string::npos) return true;
  std::string dashed = option;
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  const auto found = [&](const std::string& word, const auto& is_end) {
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      if (at + word.size() < text.size() && is_end(at, at + word.size())) return true;
    }
    return false;
  };
  const auto in_name = [&](std::size_t i) {
    const auto c = static_cast<unsigned char>(text[i]);
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  };
  const auto argument_ends = [&](std::size_t, std::size_t end) { return !in_name(end); };
  const auto is_line = [&](std::size_t begin, std::size_t end) {
    if (begin > 0 && in_name(begin - 1)) return false;
    return text[end] == '=' || text.compare(end, 2, " =") == 0;
  };
  return found("--" + option, argument_ends) || found("--" + dashed, argument_ends) ||
         found(option, is_line);
}

}  // namespace

TEST_CASE("a name counts as a whole, as a setting, an argument or a line", "[unit]") {
  CHECK(names(R"({{"drop_rule", "set"}})", "drop_rule"));
  CHECK(names("--drop-rule set", "drop_rule"));
  CHECK(names("\ndrop_rule = set\n", "drop_rule"));
  CHECK(names("run drop_rule=set", "drop_rule"));
  CHECK_FALSE(names("--drop-rules set", "drop_rule"));
  CHECK_FALSE(names("a drop_rule that", "drop_rule"));
  CHECK_FALSE(names("rule.drop_rule = x", "drop_rule"));
  CHECK_FALSE(names("old_drop_rule=x", "drop_rule"));
}

TEST_CASE("every option is named by a test", "[unit]") {
  const std::string text = test_sources();
  REQUIRE(text.size() > 100'000);
  for (const Option& each : all_options()) {
    INFO("no test names the option " << each.name
                                     << ": write one that fails where its meaning changes, "
                                     << "or give the reason why not in exceptions()");
    CHECK(names(text, each.name) != (exceptions().count(each.name) != 0));
  }
}

}  // namespace tandem::test::app_option_coverage_unit
