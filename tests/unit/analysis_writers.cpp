// Tables as HTML, JSON and Typst, read back with a reader that knows the format and nothing of the
// writer: what stands in each cell is what the Markdown shows and what the CSV counts.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "core/text.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_writers_unit {
namespace {

using Catch::Contains;
using Lines = std::vector<std::vector<std::string>>;

struct Written {
  TemporaryFolder folder;
  SmallGrid grid{folder / "r.sqlite", "false", {.last = "cuda"}};
  Table table = build_table(
      StoreReader(folder / "r.sqlite"),
      plan_table({"t",
                  {{"rows", "weights, density"},
                   {"columns",
                    "accuracy@full as R&D <full>, loss@sparse as l_s, accuracy@sparse vs "
                    "weights=static as more"},
                   {"across", "model"},
                   {"where", "seed=1|3|4|5"},
                   {"bold", "tied"},
                   {"title", "A *title* with #signs_ & <tags>"}}}));
  std::string as(const std::string& format) const { return table_writer(format).write(table, {}); }
  // Keys and cells of each row, as text.
  Lines rows() const {
    Lines lines;
    for (const TableRow& row : table.rows) {
      std::vector<std::string> line = row.keys;
      if (row.dagger) line[0] += " †";
      for (const TableCell& cell : row.cells) {
        line.push_back(cell_text(cell));
        for (const std::string& mark : cell.marks)
          line.back() += (line.back().empty() ? "" : " ") + mark;
      }
      lines.push_back(line);
    }
    return lines;
  }
};

std::string replaced(std::string text,
                     const std::vector<std::pair<std::string, std::string>>& all) {
  for (const auto& [from, to] : all)
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  return text;
}

std::string plain_html(const std::string& text) {
  return replaced(std::regex_replace(text, std::regex("<[^>]*>"), ""),
                  {{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&amp;", "&"}});
}

}  // namespace

TEST_CASE("a page has the table's cells, heads and notes, and loads nothing", "[unit]") {
  const Written written;
  const std::string page = written.as("html");
  const std::string body = page.substr(page.find("<tbody>"));
  Lines lines;
  const std::regex row("<tr>(.*)</tr>"), cell("<t[hd][^>]*>(.*?)</t[hd]>");
  for (std::sregex_iterator r(body.begin(), body.end(), row), end; r != end; ++r) {
    const std::string inner = (*r)[1];
    lines.emplace_back();
    for (std::sregex_iterator c(inner.begin(), inner.end(), cell); c != end; ++c)
      lines.back().push_back(plain_html((*c)[1]));
  }
  CHECK(lines == written.rows());
  CHECK_THAT(page, Contains("<th scope=\"col\">R&amp;D &lt;full&gt; (%)") &&
                       Contains("<th scope=\"colgroup\" colspan=\"3\">model=mlp</th>") &&
                       Contains("title=\"the best\"") && Contains("more is better") &&
                       Contains("less is better") && Contains("color-scheme:light dark") &&
                       Contains("<caption>A *title* with #signs_ &amp; &lt;tags&gt;</caption>"));
  CHECK_THAT(page, !Contains("http") && !Contains("<script") && !Contains("url("));
  for (const std::string& note : written.table.notes) {
    CHECK(plain_html(page).find(note) != std::string::npos);
  }
}

TEST_CASE("JSON has every number in full, with its runs", "[unit]") {
  const Written written;
  const auto json = nlohmann::json::parse(written.as("json"));
  REQUIRE(json["rows"].size() == written.table.rows.size());
  for (std::size_t i = 0; i < written.table.rows.size(); ++i) {
    const TableRow& row = written.table.rows[i];
    CHECK(json["rows"][i]["keys"] == row.keys);
    CHECK(json["rows"][i]["dagger"] == row.dagger);
    for (std::size_t j = 0; j < row.cells.size(); ++j) {
      const auto& cell = json["rows"][i]["cells"][j];
      CHECK(cell.contains("value") == row.cells[j].mean.has_value());
      if (row.cells[j].mean) CHECK(cell["value"] == *row.cells[j].mean);
      if (row.cells[j].half) CHECK(cell["ci95_half"] == *row.cells[j].half);
      if (row.cells[j].p) CHECK(cell["p"] == *row.cells[j].p);
      CHECK(cell["n"] == row.cells[j].n);
      CHECK(cell["runs"] == row.cells[j].runs);
      CHECK(cell["text"] == cell_text(row.cells[j]));
    }
  }
  CHECK(json["columns"][0]["label"] == "R&D <full>");
  CHECK(json["columns"][0]["better"] == "higher");
  CHECK(json["columns"][1]["better"] == "lower");
  CHECK(json["columns"][0]["percent_in_text"] == true);
  CHECK(json["notes"] == written.table.notes);
}

// A cell of Typst's is [text] up to a bracket that no backslash precedes, in which a backslash says
// that the next sign is itself.
TEST_CASE("Typst has the table's cells, each sign as itself", "[unit]") {
  const Written written;
  const std::string text = written.as("typst");
  const auto begin = text.find("table.hline(stroke"), end = text.rfind("    table.hline(),");
  REQUIRE(end != std::string::npos);
  Lines lines;
  for (const std::string& line : split(text.substr(begin, end - begin), '\n')) {
    std::vector<std::string> cells;
    int depth = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const bool itself = i > 0 && line[i - 1] == '\\' && depth > 0;
      if (line[i] == '\\' && !itself) continue;
      if (line[i] == '[' && !itself) {
        if (depth++ == 0) cells.emplace_back();
      } else if (line[i] == ']' && !itself) {
        --depth;
      } else if (depth > 0) {
        cells.back() += line[i];
      }
    }
    if (cells.empty()) continue;
    for (std::string& cell : cells) cell = replaced(cell, {{"#strong", ""}, {"#underline", ""}});
    lines.push_back(cells);
  }
  CHECK(lines == written.rows());
  CHECK_THAT(text, Contains("#strong[") &&
                       Contains("caption: [A \\*title\\* with \\#signs\\_ & \\<tags\\>]") &&
                       Contains("<tab:t>") && Contains("table.cell(colspan: 3, align: center)"));
}

TEST_CASE("each format has a name and an ending of its own", "[unit]") {
  std::set<std::string> names, endings;
  for (const TableWriter& writer : table_writers()) {
    names.insert(writer.name);
    endings.insert(writer.ending);
  }
  CHECK(names == std::set<std::string>{"csv", "html", "json", "latex", "markdown", "typst"});
  CHECK(endings.size() == names.size());
}

}  // namespace tandem::test::analysis_writers_unit
