// Tables as LaTeX: what stands in them, that it says the CSV's numbers, what is marked as the best,
// and, where pdflatex is there, that it compiles.
#include <fmt/format.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "config/data_score.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "support/skip.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_latex_unit {
namespace {

using Catch::Matchers::Contains;

// Rows of correct answers of a thousand, by seed.
struct Marked {
  explicit Marked(const std::vector<std::pair<std::string, std::vector<int>>>& rows,
                  const std::vector<std::string>& densities = {"0.1"})
      : path(folder / "r.sqlite") {
    StoreWriter writer(path);
    for (const std::string& density : densities) {
      for (const auto& [method, correct] : rows) {
        for (std::size_t i = 0; i < correct.size(); ++i) {
          const RunRecord run = make_run(
              {{"weights", method}, {"density", density}, {"seed", std::to_string(i + 1)}});
          writer.add_runs({run});
          // The order of the methods is the other way round at another density.
          const int right = density == densities.front() ? correct[i] : 1000 - correct[i];
          writer.insert({readout(run.id, 0, right, "full", {}),
                         readout(run.id, 1, right, "sparse", std::stod(density)),
                         state(run.id, 2, "done")});
        }
      }
    }
  }
  Table table(const Settings& settings) const {
    return build_table(StoreReader(path), plan_table({"t", settings}));
  }
  TemporaryFolder folder;
  std::string path;
};

std::map<std::string, Standing> standings(const Table& table, std::size_t column = 0) {
  std::map<std::string, Standing> found;
  for (const TableRow& row : table.rows) {
    found[join(row.keys, " ")] = row.cells[column].standing;
  }
  return found;
}

// The paired t test of `first` and `second` has p = .034, and each differs from `near` by noise.
const std::vector<int> kFirst = {912, 908, 915, 910, 913}, kSecond = {901, 909, 904, 902, 907},
                       kNear = {911, 909, 914, 911, 912};

}  // namespace

TEST_CASE("the best of a column, what is tied with it, and the next", "[unit]") {
  const Marked two({{"static", kSecond}, {"ssa", kFirst}});
  const Settings columns = {{"columns", "accuracy@full, loss@full"}, {"bold", "tied"}};
  const Table alone = two.table(columns);
  CHECK(standings(alone) ==
        std::map<std::string, Standing>{{"ssa", Standing::kBest}, {"static", Standing::kSecond}});
  // Accuracy 1 - loss of the fixture: the least loss is the best.
  CHECK(standings(alone, 1) == standings(alone, 0));
  // Five pairs can't have a p below 5% by their ranks, so that no row is told from the best.
  Settings ranks = columns;
  ranks["test"] = "wilcoxon";
  CHECK(standings(two.table(ranks)) ==
        std::map<std::string, Standing>{{"ssa", Standing::kBest}, {"static", Standing::kTied}});
  // Two comparisons: .034 is above .05 / 2, so that nothing is told from the best.
  const Marked three({{"static", kSecond}, {"ssa", kFirst}, {"rigl", kNear}});
  CHECK(standings(three.table(columns)) ==
        std::map<std::string, Standing>{
            {"rigl", Standing::kTied}, {"ssa", Standing::kBest}, {"static", Standing::kTied}});
  Settings best = columns;
  best["bold"] = "best";
  CHECK(standings(three.table(best)) ==
        std::map<std::string, Standing>{
            {"rigl", Standing::kSecond}, {"ssa", Standing::kBest}, {"static", Standing::kNone}});
  CHECK(standings(three.table({{"columns", "accuracy@full"}})) ==
        std::map<std::string, Standing>{
            {"rigl", Standing::kNone}, {"ssa", Standing::kNone}, {"static", Standing::kNone}});
}

TEST_CASE("fewer seeds are not called the best, and two pairs are no test", "[unit]") {
  const Marked fewer({{"static", kSecond}, {"ssa", {950, 951, 952}}, {"rigl", kNear}});
  CHECK(standings(fewer.table({{"columns", "accuracy@full"}, {"bold", "best"}})) ==
        std::map<std::string, Standing>{
            {"rigl", Standing::kBest}, {"ssa", Standing::kNone}, {"static", Standing::kSecond}});
  const Marked pairs({{"static", {900, 901}}, {"ssa", {901, 900}}, {"rigl", {899, 900}}});
  const auto found = standings(pairs.table({{"columns", "accuracy@full"}, {"bold", "tied"}}));
  CHECK(found.at("ssa") == Standing::kBest);  // equal means are both the best
  CHECK(found.at("static") == Standing::kBest);
  CHECK(found.at("rigl") == Standing::kSecond);
}

TEST_CASE("rows are compared among those that agree", "[unit]") {
  const Marked both({{"static", kSecond}, {"ssa", kFirst}}, {"0.1", "0.05"});
  const Settings settings = {
      {"rows", "density, weights"}, {"columns", "accuracy@full"}, {"bold", "tied"}};
  CHECK(standings(both.table(settings)).at("0.05 static") == Standing::kNone);
  Settings within = settings;
  within["within"] = "density";
  const Table table = both.table(within);
  CHECK(standings(table) == std::map<std::string, Standing>{{"0.1 ssa", Standing::kBest},
                                                            {"0.1 static", Standing::kSecond},
                                                            {"0.05 ssa", Standing::kSecond},
                                                            {"0.05 static", Standing::kBest}});
  CHECK_THAT(to_markdown(table), Contains("| accuracy@full (%) ↑ |") && Contains("| **91.16 ±") &&
                                     Contains("| <u>90.46 ±") &&
                                     Contains("among the rows of one density"));
}

TEST_CASE("which way is better can be said, and what can't be marked is told", "[unit]") {
  const Marked two({{"static", kSecond}, {"ssa", kFirst}});
  const Table said =
      two.table({{"columns", "accuracy@full as right"}, {"bold", "best"}, {"lower", "right"}});
  CHECK(standings(said).at("static") == Standing::kBest);
  const Table none = two.table({{"columns", "steps"}, {"bold", "best"}});
  REQUIRE(none.warnings.size() >= 1);
  CHECK_THAT(none.warnings.back(), Contains("nothing is marked"));
  const auto refuses = [](Settings settings, const std::string& text) {
    settings.emplace("columns", "accuracy@full as right");
    CHECK_THROWS_WITH(plan_table({"t", settings}), Contains(text));
  };
  refuses({{"bold", "first"}}, "best");
  refuses({{"bold", "best"}, {"higher", "rigth"}}, "right");
  refuses({{"bold", "best"}, {"higher", "right"}, {"lower", "right"}}, "give it once");
  refuses({{"bold", "best"}, {"within", "density"}}, "weights");
  refuses({{"within", "weights"}}, "bold = none");
  CHECK_THROWS_WITH(
      plan_table({"t", {{"contrast.a", "loss of weights=ssa vs weights=set"}, {"bold", "best"}}}),
      Contains("contrasts"));
}

TEST_CASE("LaTeX of a small grid, to the byte", "[unit]") {
  const TemporaryFolder folder;
  const SmallGrid grid(folder / "r.sqlite");
  const Table table = build_table(
      StoreReader(folder / "r.sqlite"),
      plan_table({"small",
                  {{"rows", "weights"},
                   {"columns",
                    "accuracy@full as Full, accuracy@sparse vs weights=static as gain_%, "
                    "accuracy@sparse*4"},
                   {"grid", "small"},
                   {"title", "Two methods at 10%"}}}));
  const std::string latex = to_latex(table), notes = "\\begin{minipage}";
  CHECK(latex.substr(0, latex.find(notes)) ==
        R"(% small: made by tandem table from 10 runs; don't edit.
% It needs array, booktabs, siunitx.
\providecommand{\best}[1]{\textbf{#1}}
\providecommand{\secondbest}[1]{\underline{#1}}
\begin{table}[tb]
\centering
\sisetup{group-digits=none,retain-explicit-plus=true}
\caption{Two methods at 10\%}
\label{tab:small}
\begin{tabular}{l S[table-format=2.2]@{\,}c@{\,}S[table-format=1.2,table-number-alignment=left]@{\ }l S[table-format=+1.2]@{\,}c@{\,}S[table-format=1.2,table-number-alignment=left]@{\ }l r}
\toprule
weights & \multicolumn{4}{c}{Full (\%) $\uparrow$} & \multicolumn{4}{c}{gain\_\% (\%)} & \multicolumn{1}{c}{accuracy@sparse*4 (\%) $\uparrow$} \\
\midrule
static & 88.33 & $\pm$ & 0.27 & [1] &  & &  &  &  \\
ssa$^\dagger$ & 90.30 & $\pm$ & 0.20 &  & +2.00 & $\pm$ & 0.00 & [2] &  \\
\bottomrule
\end{tabular}

)");
  CHECK_THAT(latex.substr(latex.find(notes)),
             Contains("{\\linewidth}\\footnotesize\nMeans over seeds; $\\pm$ is the half width of "
                      "Student's 95\\% interval of the mean.") &&
                 Contains("\n\n$^\\dagger$ has runs on device cuda") &&
                 Contains("\n\n[1] 1 of 5 diverged (seed 2).\n") &&
                 Catch::Matchers::EndsWith("\\end{minipage}\n\\end{table}\n"));
}

namespace {

// The numbers of each line of a table's body, in their order, without LaTeX.
std::vector<std::vector<double>> numbers_of(const std::string& latex) {
  const std::size_t begin = latex.find("\\midrule\n") + 9;
  std::string body = latex.substr(begin, latex.find("\\bottomrule", begin) - begin);
  body = std::regex_replace(body, std::regex("\\$\\\\pm\\$|\\\\phantom\\{[^}]*\\}"), "");
  body = std::regex_replace(body, std::regex("\\\\(best|secondbest)"), "");
  body = std::regex_replace(body, std::regex("\\(p[^)]*\\)"), "");
  body = std::regex_replace(body, std::regex("[${}*]"), "");
  std::vector<std::vector<double>> all;
  for (const std::string& line : split(body, '\n')) {
    std::vector<double> numbers;
    for (const std::string& cell : split(line, '&')) {
      const auto number =
          parse_real(trim(std::regex_replace(cell, std::regex("\\\\\\\\|\\+"), "")));
      if (number) numbers.push_back(*number);
    }
    if (!numbers.empty()) all.push_back(numbers);
  }
  return all;
}

}  // namespace

TEST_CASE("LaTeX and CSV say the same numbers", "[unit]") {
  const Marked three({{"static", kSecond}, {"ssa", kFirst}, {"rigl", {91, 95, 92, 90, 99}}});
  const Table table = three.table(
      {{"columns", "accuracy@full, loss@full, accuracy@sparse vs weights=rigl"}, {"bold", "tied"}});
  std::vector<std::vector<double>> expected;
  for (const std::string& line : split(to_csv(table), '\n')) {
    const std::vector<std::string> cells = split(line, ',');
    std::vector<double> numbers;
    // weights, then mean, half, n and diverged of each column; the last also has p and holm.
    for (std::size_t i = 1; i + 1 < cells.size(); i += 4) {
      for (const std::size_t at : {i, i + 1}) {
        const auto value = parse_real(cells[at]);
        if (!value || i > 9) continue;
        const bool loss = i == 5;
        const double unit = loss ? 1e-3 : 1e-2;
        numbers.push_back(std::round(*value * (loss ? 1 : 100) / unit) * unit);
      }
    }
    if (!numbers.empty()) expected.push_back(numbers);
  }
  CHECK_THAT(to_latex(table), Contains(" & {\\best{91.16}} & ") &&
                                  Contains(" & {\\secondbest{90.46}} & ") &&
                                  Contains("\nrigl & 9.34 & "));
  const Marked two({{"ssa", kFirst}, {"rigl", {91, 95, 92, 90, 99}}});
  CHECK_THAT(to_latex(two.table({{"columns", "accuracy@full"}, {"bold", "best"}})),
             Contains("\nrigl & {\\phantom{0}\\secondbest{9.34}} & "));
  CHECK_THAT(to_latex(table, {.plain = true}), Contains(" & \\best{91.16} & "));
  for (const bool plain : {false, true}) {
    const auto found = numbers_of(to_latex(table, {.plain = plain}));
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      REQUIRE(found[i].size() == expected[i].size());
      for (std::size_t j = 0; j < found[i].size(); ++j) {
        CHECK(found[i][j] == Approx(expected[i][j]).margin(1e-9));
      }
    }
  }
}

TEST_CASE("columns of each value of across have a head over them", "[unit]") {
  const Marked both({{"static", kSecond}, {"ssa", kFirst}}, {"0.1", "0.05"});
  const Table table =
      both.table({{"across", "density"}, {"columns", "accuracy@full as a, loss@full as b"}});
  CHECK_THAT(
      to_latex(table, {.plain = true}),
      Contains("& \\multicolumn{6}{c}{density=0.1} & \\multicolumn{6}{c}{density=0.05} \\\\\n"
               "\\cmidrule(lr){2-7}\\cmidrule(lr){8-13}\n"));
}

TEST_CASE("tables compile", "[unit]") {
  if (std::system("command -v pdflatex >/dev/null 2>&1 && kpsewhich siunitx.sty >/dev/null") != 0) {
    skip("pdflatex and siunitx are not here (Debian: texlive-latex-recommended, texlive-science)");
    return;
  }
  const Marked both({{"static", kSecond}, {"ssa", kFirst}, {"rigl", {91, 95, 92, 90, 99}}},
                    {"0.1", "0.05"});
  const Settings settings = {{"rows", "density, weights"},
                             {"columns",
                              "accuracy@full as 100% ~a_b^c{d}\\e #1 & <f>, loss@full, "
                              "accuracy@sparse vs weights=rigl, train_flops"},
                             {"bold", "tied"},
                             {"within", "density"},
                             {"title", "A & B: 50% of #1, $5"}};
  Settings across = settings;
  across["rows"] = "weights";
  across["across"] = "density";
  across.erase("within");
  std::string document =
      "\\documentclass{article}\n\\usepackage{array,booktabs,siunitx,longtable}\n"
      "\\begin{document}\n";
  for (const bool plain : {false, true}) {
    for (const bool longtable : {false, true}) {
      for (const Settings& each : {settings, across}) {
        document += to_latex(both.table(each), {.plain = plain, .longtable = longtable});
      }
    }
  }
  document += to_latex(
      both.table({{"contrast.a", "accuracy@full of weights=ssa density=0.1 vs weights=static"}}));
  std::ofstream(both.folder / "doc.tex") << document << "\\end{document}\n";
  const std::string command = fmt::format(
      "cd '{}' && pdflatex -halt-on-error -interaction=nonstopmode doc.tex >out.txt 2>&1",
      std::filesystem::path(both.path).parent_path().string());
  const int code = std::system(command.c_str());
  CAPTURE(code == 0 ? "" : read_file(both.folder / "out.txt"));
  REQUIRE(code == 0);
}

}  // namespace tandem::test::analysis_latex_unit
