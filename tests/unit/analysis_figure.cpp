// Figures: which points are drawn, what the CSV beside them says, scripts that gnuplot can read.
#include <catch2/catch.hpp>
#include <set>

#include "analysis/figure.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_figure_unit {
namespace {

using Catch::Contains;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// Trials of two methods with kept mass, one without it, one diverged, one that is not done.
struct Trials {
  Trials() {
    StoreWriter writer(path);
    for (const auto& [method, decay] :
         {std::pair("ssa", "0.001"), std::pair("dense", "0"), std::pair("it's_ssa", "0.0001"),
          std::pair("static", "0"), std::pair("ssa", "0.1"), std::pair("ssa", "0.2")}) {
      runs.push_back(test::make_run({{"weights", method}, {"weight_decay", decay}}));
    }
    std::vector<std::string> ids;
    for (const RunRecord& run : runs) ids.push_back(run.id);
    writer.add_grid("g/tuning", "g.ini", "", ids);
    writer.add_runs(runs);
    for (std::size_t i = 0; i < 4; ++i) {
      writer.insert({test::readout(ids[i], 0, 900 + static_cast<int>(i), "sparse", 0.1)});
      if (i < 3) {
        writer.insert(
            {test::metric(ids[i], 1, 50, "weights", "kept_mass", 0.25),
             test::metric(ids[i], 2, 100, "weights", "kept_mass", 0.5 + 0.125 * double(i))});
      }
      writer.insert({test::state(ids[i], 3, "done")});
    }
    writer.insert({test::state(ids[4], 0, "diverged")});
  }
  TemporaryFolder folder;
  std::string path = folder / "r.sqlite";
  std::vector<RunRecord> runs;
};

}  // namespace

TEST_CASE("trials with kept mass are drawn, all that ended are in the CSV", "[unit]") {
  const Trials trials;
  const Figure figure = figure_kind("trials").make(StoreReader(trials.path), {"g", {}});
  CHECK(figure.summary ==
        "3 of 6 trials drawn; 1 have no kept mass (their dormant weights are zero); "
        "1 diverged; 1 are not done; density 0.1, 3 trials, share of the variance of accuracy: "
        "1.00 by a line in kept mass");
  CHECK(count(figure.csv, "\n") == 6);
  CHECK_THAT(figure.csv, Contains("run,weights,") && Contains(",kept_mass,accuracy\n"));
  CHECK_THAT(figure.csv, Contains(trials.runs[0].id +
                                  ",ssa,full,fashion_mnist,0.1,0,0.001,1,own,done,0.5,0.9\n"));
  CHECK_THAT(figure.csv, Contains(trials.runs[3].id + ",static") && Contains(",done,,0.903\n"));
  CHECK_THAT(figure.script, Contains("0.5 90 0.001\n") && Contains("0.625 90.1 0\n"));
  CHECK(figure.script.find("0.25 ") == std::string::npos);
  CHECK(count(figure.script, "\nplot ") == 3);  // of which one is the legend
  CHECK_THAT(figure.script, Contains("title 'it''s_ssa'") && Contains("validation accuracy"));
  CHECK(count(figure.script, "keyentry") == 3);
  CHECK_THAT(gnuplot_script(figure, "a.svg"), Contains("set terminal svg") && Contains("'a.svg'"));
  CHECK_THAT(gnuplot_script(figure, "a.png"), Contains("set terminal pngcairo"));
  CHECK_THROWS_WITH(gnuplot_script(figure, "a.pdf"), Contains(".svg or .png"));
  CHECK_THROWS_WITH(figure_kind("trials").make(StoreReader(trials.path), {"h", {}}),
                    Contains("unknown grid 'h'"));
  const Figure some = figure_kind("trials").make(StoreReader(trials.path),
                                                 {"g", {}, parse_conditions("weights=ssa")});
  CHECK_THAT(some.summary, Contains("1 of 3 trials drawn"));
  CHECK(count(some.script, "keyentry") == 1);
}

// Five trials at density 0.1 and one, which explains nothing, at 0.05.
// accuracy y = .90 .92 .91 .95 .82, mean .90; Syy = 0 + 4 + 1 + 25 + 64 = 94 (1e-4)
// kept mass x = .2 .4 .6 .8 .5, mean .5; Sxx = .09 + .01 + .01 + .09 + 0 = .2,
//   Sxy = 0 - .002 + .001 + .015 + 0 = .014: R^2 = .014^2 / (.2 * .0094) = .104255
// log10 decay -4 -3 -2 -1 of the first four (the fifth has 0), y's mean .92: Syy = 4 + 0 + 1 + 9 =
// 14,
//   Sxx = 5, Sxy = 3 + 0 - .5 + 4.5 = 7 (1e-2): R^2 = 49 / 70 = .7
// methods a a b b b: means .91 and .893333, between 2 * 1 + 3 * 4/9 = 10/3 of 94: .035461
TEST_CASE("a figure of trials says how much of the score each axis explains", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  {
    StoreWriter writer(path);
    struct Trial {
      const char *method, *decay, *density;
      int correct;
      double mass;
    };
    std::vector<std::string> ids;
    for (const Trial& t :
         {Trial{"a", "0.0001", "0.1", 900, 0.2}, Trial{"a", "0.001", "0.1", 920, 0.4},
          Trial{"b", "0.01", "0.1", 910, 0.6}, Trial{"b", "0.1", "0.1", 950, 0.8},
          Trial{"b", "0", "0.1", 820, 0.5}, Trial{"a", "0.1", "0.05", 300, 0.9}}) {
      const RunRecord run = test::make_run(
          {{"weights", t.method}, {"weight_decay", t.decay}, {"density", t.density}});
      writer.add_runs({run});
      ids.push_back(run.id);
      writer.insert({test::readout(run.id, 0, t.correct, "sparse", std::stod(t.density)),
                     test::metric(run.id, 1, 9, "weights", "kept_mass", t.mass),
                     test::state(run.id, 2, "done")});
    }
    writer.add_grid("g/tuning", "g.ini", "", ids);
  }
  const Figure figure = figure_kind("trials").make(StoreReader(path), {"g", {}});
  CHECK(figure.summary ==
        "6 of 6 trials drawn; density 0.1, 5 trials, share of the variance of accuracy: 0.70 by a "
        "line in log10 weight decay (4 trials), 0.10 by a line in kept mass, 0.04 by the method");
  CHECK_THAT(figure.script, Contains("'density 0.1, by method'") &&
                                Contains("'R^2 0.10 on kept mass; eta^2 0.04 on the method'") &&
                                Contains("'density 0.1, by weight decay'") &&
                                Contains("'R^2 0.70 on log10 weight decay'") &&
                                Contains("'density 0.05, by method'"));
}

TEST_CASE("curves are means over seeds at each budget, with Student's band", "[unit]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const Figure figure = figure_kind("curve").make(StoreReader(folder / "r.sqlite"), {"small", {}});
  CHECK_THAT(figure.csv, Contains("method,density,budget,accuracy_percent,ci95_half,n,runs\n"));
  CHECK_THAT(figure.csv, Contains("\nssa,0.1,0.05,80.3,") && Contains("\nssa,0.1,0.1,89.6,"));
  CHECK_THAT(figure.csv, Contains("\nssa,0.1,1,90.3,") && Contains(",5," + grid.runs[5].id + " "));
  CHECK(count(figure.csv, "\nstatic,") == 3);
  CHECK_THAT(figure.script, Contains("filledcurves") && Contains("validation accuracy (%)"));
  CHECK_THAT(figure.script, Contains("set nonlinear y") && Contains("maxrows 2"));
  CHECK(count(figure.script, "\nplot ") == 2);
  const auto only = parse_conditions("weights=ssa");
  CHECK(count(figure_kind("curve").make(StoreReader(folder / "r.sqlite"), {"small", {}, only}).csv,
              "\nstatic,") == 0);
}

TEST_CASE("a legend is as high and wide as its names want", "[unit]") {
  const std::vector<std::string> many(40, "a name"), one = {std::string(60, 'n')};
  CHECK(Panels(1, 1, 0, many).height() > 40 * 15);
  CHECK(Panels(1, 1, 0, one).width() > Panels(1, 1, 0, many).width() + 54 * 6);
  // In a plot as high as the figure, so that gnuplot needs no second column for it.
  const std::string legend = Panels(1, 1, 0, many).legend();
  CHECK_THAT(legend, Contains("maxrows 40") && Contains("set bmargin at screen 0\n"));
  CHECK(count(legend, "keyentry") == 40);
}

TEST_CASE("a figure without points has no script", "[unit]") {
  const TemporaryFolder folder;
  {
    StoreWriter writer(folder / "r.sqlite");
    writer.add_grid("e/tuning", "e.ini", "", {});
  }
  CHECK(figure_kind("trials").make(StoreReader(folder / "r.sqlite"), {"e", {}}).script.empty());
}

TEST_CASE("a grid without trials is told so by its own name", "[unit]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const StoreReader store(folder / "r.sqlite");
  CHECK_THROWS_WITH(figure_kind("trials").make(store, {"small", {}}),
                    Contains("grid small has no tuning trials") && !Contains("small/tuning"));
}

// Task-IL and class-IL, and a second learning rate, of one method.
TEST_CASE("the runs of a line are alike but for their seeds", "[unit]") {
  const TemporaryFolder folder;
  {
    StoreWriter writer(folder / "r.sqlite");
    for (const char* scenario : {"task_il", "class_il"})
      for (const char* lr : {"0.1", "0.2"})
        for (const char* seed : {"1", "2"}) {
          const RunRecord run =
              test::make_run({{"scenario", scenario}, {"lr", lr}, {"seed", seed}});
          writer.add_runs({run});
          writer.insert({test::readout(run.id, 0, *lr == '0' && scenario[0] == 't' ? 900 : 500,
                                       "sparse", 0.1),
                         test::state(run.id, 1, "done")});
        }
  }
  const Figure figure = figure_kind("curve").make(StoreReader(folder / "r.sqlite"), {"", {}});
  CHECK_THAT(figure.summary, Contains("4 lines of 8 runs"));
  CHECK_THAT(figure.csv, Contains("\n\"dense, task_il, lr 0.1\",0.1,0.1,90,") &&
                             Contains("\n\"dense, class_il, lr 0.2\",0.1,0.1,50,"));
  CHECK(count(figure.csv, ",2,") == 4);  // n
}

// At budgets 0.05, 0.1, 0.2, 0.4 and 1 dense has all; ssa lacks 0.2, and sam all from 0.2 to 0.4.
TEST_CASE("a budget that a line lacks breaks it", "[unit]") {
  const TemporaryFolder folder;
  {
    StoreWriter writer(folder / "r.sqlite");
    for (const std::string method : {"dense", "ssa", "sam"}) {
      const RunRecord run = test::make_run({{"weights", method}});
      writer.add_runs({run});
      writer.insert({test::readout(run.id, 0, 500, "sparse", 0.05),
                     test::readout(run.id, 1, 600, "sparse", 0.1),
                     test::readout(run.id, 2, 900, "full", {}), test::state(run.id, 9, "done")});
      if (method == "dense") writer.insert({test::readout(run.id, 3, 700, "sparse", 0.2)});
      if (method != "sam") writer.insert({test::readout(run.id, 4, 800, "sparse", 0.4)});
    }
  }
  const Figure figure = figure_kind("curve").make(StoreReader(folder / "r.sqlite"), {"", {}});
  const std::string first = "0.05 50 50 50\n0.1 60 60 60\n", last = "1 90 90 90\nEOD";
  CHECK_THAT(figure.script, Contains(first + "0.2 70 70 70\n0.4 80 80 80\n" + last));
  CHECK_THAT(figure.script, Contains(first + "\n0.4 80 80 80\n" + last));
  CHECK_THAT(figure.script, Contains(first + "\n" + last));
  CHECK_THAT(figure.script, Contains("alone << EOD\n" + last));  // its interval is a bar
  CHECK(count(figure.script, "with yerrorbars") == 1);
  // Nobody has what lies between 0.1 and 1, and the line is broken all the same.
  const Figure one = figure_kind("curve").make(StoreReader(folder / "r.sqlite"),
                                               {"", {}, parse_conditions("weights=sam")});
  CHECK_THAT(one.script, Contains(first + "\n" + last));
}

// At the trained density both read-outs of attention were measured, at the others the sparse alone.
TEST_CASE("a line of budgets keeps to one read-out of attention", "[unit]") {
  const TemporaryFolder folder;
  {
    StoreWriter writer(folder / "r.sqlite");
    const RunRecord run = test::make_run({{"attention", "ssa"}, {"blocks", "2"}});
    writer.add_runs({run});
    const auto read = [&](std::int64_t at, int correct, bool sparse, double density) {
      Row row = test::readout(run.id, at, correct, "sparse", density);
      auto& readout = std::get<EvalRow>(row.body).readout;
      readout.attention.stream = sparse ? "sparse" : "full";
      if (sparse) readout.attention.budget = 2;
      return row;
    };
    writer.insert({read(0, 990, false, 0.1), read(1, 700, true, 0.1), read(2, 600, true, 0.05),
                   read(3, 800, true, 0.2), test::state(run.id, 9, "done")});
  }
  const Figure figure = figure_kind("curve").make(StoreReader(folder / "r.sqlite"), {"", {}});
  CHECK_THAT(figure.script, Contains("0.05 60 60 60\n0.1 70 70 70\n0.2 80 80 80\n"));
  CHECK_THAT(figure.csv, !Contains(",99,"));
}

TEST_CASE("forty names have styles of their own", "[unit]") {
  std::set<std::string> points, lines, symbols;
  for (std::size_t i = 0; i < 40; ++i) {
    points.insert(point_style(i));
    lines.insert(line_style(i).substr(line_style(i).find("lc")));  // colour and dash
    if (i < 15) symbols.insert(point_style(i).substr(0, point_style(i).find(" lc")));
  }
  CHECK(points.size() == 40);
  CHECK(lines.size() == 40);
  CHECK(symbols.size() == 15);
}

// In pixels from the top, of a figure of two rows: a title is inside the figure, nearer to its own
// panel than to what is above, and clear of the axis below the panel above.
TEST_CASE("titles belong to their panels", "[unit]") {
  const Panels panels(1, 2, 0, {"a"});
  const auto at = [&](int panel, const std::string& what) {
    const std::string text = panels.place(panel, "title", "below it");
    const std::size_t begin = text.find(what);
    REQUIRE(begin != std::string::npos);
    const std::string key = what == "set label 1" ? ", screen " : "at screen ";
    return (1 - std::stod(text.substr(text.find(key, begin) + key.size()))) * panels.height();
  };
  constexpr double kHalfLine = 9, kAxis = 48;  // tics and the label of the axis
  for (const int panel : {0, 1}) {
    const double title = at(panel, "set label 1"), own = at(panel, "set tmargin");
    const double above = panel == 0 ? 0 : at(0, "set bmargin") + kAxis;
    CHECK(title - kHalfLine > above);
    CHECK(title < own);
    CHECK(own - title < title - (panel == 0 ? -10 : at(0, "set bmargin")));
  }
}

TEST_CASE("the figure of task sequences has each method's forgetting and its matrix", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  {
    StoreWriter writer(path);
    for (const char* method : {"dense", "rigl"}) {
      for (int seed = 1; seed <= 3; ++seed) {
        const RunRecord run = test::make_run(
            {{"weights", method}, {"scenario", "split"}, {"seed", std::to_string(seed)}});
        writer.add_runs({run});
        const int end = (method[0] == 'd' ? 60 : 70) + seed;
        writer.insert({test::eval(run.id, 0, 1, 1, 90, 100), test::eval(run.id, 1, 1, 2, 10, 100),
                       test::eval(run.id, 2, 2, 1, end, 100), test::eval(run.id, 3, 2, 2, 80, 100),
                       test::state(run.id, 4, "done", 200)});
      }
    }
  }
  const Figure figure = figure_kind("continual").make(StoreReader(path), {"", {}});
  CHECK_THAT(figure.summary, Contains("2 methods of 6 runs, validation split, own read-out"));
  CHECK_THAT(figure.script, Contains("validation split, own read-out; bars"));
  // Task 1 at the end: 61, 62, 63 of dense; 90 - 62 is forgotten. Student's t with 2 degrees is
  // 4.3026527, over sqrt(3).
  CHECK_THAT(figure.csv, Contains("dense\",r_2_1,62,2.4841377,3,"));
  CHECK_THAT(figure.csv, Contains("dense\",f_chaudhry,28,2.4841377,3,"));
  CHECK_THAT(figure.csv, Contains("rigl\",f_chaudhry,18,2.4841377,3,"));
  CHECK_THAT(figure.csv, Contains("rigl\",learning_accuracy,85,"));
  CHECK_THAT(figure.script, Contains("with xyerrorbars") && Contains("with boxxyerror"));
  // What has one task has no sequence to draw.
  const SmallGrid single(folder / "single.sqlite");
  CHECK(figure_kind("continual")
            .make(StoreReader(folder / "single.sqlite"), {"small", {}})
            .script.empty());
}

// Two seeds, measured at steps 100 and 200; at 100 on two tasks of 100 and 300 examples, of which
// 50 + i and 150 are right: (200 + i) / 400. Student's interval begins at three seeds.
TEST_CASE("a course has each measure at every step at which it was taken", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  {
    StoreWriter writer(path);
    for (int i = 0; i < 2; ++i) {
      const RunRecord run = test::make_run({{"seed", std::to_string(i + 1)}});
      writer.add_runs({run});
      std::vector<Row> rows = {test::eval(run.id, 0, 0, 1, 50 + i, 100),
                               test::eval(run.id, 1, 0, 2, 150, 300),
                               test::eval(run.id, 2, 1, 1, 90 + i, 100),
                               test::metric(run.id, 3, 100, "attention/layer1", "entropy", 2),
                               test::metric(run.id, 4, 100, "attention/layer2", "entropy", 4 + i),
                               test::metric(run.id, 5, 200, "attention/layer1", "entropy", 1),
                               test::metric(run.id, 6, 200, "", "once", 1)};
      for (std::size_t at : {0U, 1U, 2U}) {
        auto& eval = std::get<EvalRow>(rows[at].body);
        eval.step = at == 2 ? 200 : 100;
        eval.loss = at == 0 ? 1 : 2;
      }
      writer.insert(rows);
      writer.insert({test::state(run.id, 9, "done", 200)});
    }
  }
  const StoreReader store(path);
  const auto course = [&](const std::string& measures) {
    return figure_kind("course").make(store, {"", {}, {}, "", parse_measures(measures)});
  };
  const Figure figure = course("accuracy@full as right, loss@full, metric:entropy@attention");
  CHECK_THAT(figure.csv, Contains("panel,method,step,mean,ci95_half,n,runs\n"));
  CHECK_THAT(figure.csv, Contains("\nright,\"dense, full\",100,50.125,,2,") &&
                             Contains("\nright,\"dense, full\",200,90.5,,2,"));
  CHECK_THAT(figure.csv, Contains("\nloss@full,\"dense, full\",100,1.75,,2,"));
  CHECK_THAT(figure.csv, Contains("entropy@attention,\"dense, full\",100,3.25,,2,") &&
                             Contains("entropy@attention,\"dense, full\",200,1,,2,"));
  CHECK_THAT(figure.script, Contains("'right'") && Contains("'validation accuracy (%)'") &&
                                Contains("'validation loss (nats)'"));
  CHECK(count(figure.script, "\nplot ") == 4);
  // What is not said is the streams that a method trains.
  CHECK_THAT(course("").csv, Contains("accuracy@own,\"dense, full\",100,50.125,"));
  const Figure still = course("metric:once");
  CHECK(still.script.empty());
  CHECK_THAT(still.summary, Contains("no run has values at two steps or more: metric:once") &&
                                Contains("probe_every"));
  CHECK_THROWS_WITH(course("acc@own"), Contains("acc@own has no course"));
  CHECK_THROWS_WITH(course("seconds"), Contains("seconds has no course"));
}

// The third seed ends before step 300, where two values have no interval.
TEST_CASE("a band ends where its width is not known, and its line goes on", "[unit]") {
  const TemporaryFolder folder;
  {
    StoreWriter writer(folder / "r.sqlite");
    for (int i = 0; i < 3; ++i) {
      const RunRecord run = test::make_run({{"seed", std::to_string(i + 1)}});
      writer.add_runs({run});
      writer.insert({test::metric(run.id, 0, 100, "", "entropy", 2),
                     test::metric(run.id, 1, 200, "", "entropy", 3)});
      if (i < 2) writer.insert({test::metric(run.id, 2, 300, "", "entropy", 4)});
      writer.insert({test::state(run.id, 9, "done")});
    }
  }
  const Figure figure = figure_kind("course").make(
      StoreReader(folder / "r.sqlite"), {"", {}, {}, "", parse_measures("metric:entropy")});
  const std::string known = "100 2 2 2\n200 3 3 3\n";
  CHECK_THAT(figure.script, Contains("$panel0line0 << EOD\n" + known + "300 4 4 4\nEOD\n") &&
                                Contains("$panel0line0band << EOD\n" + known) &&
                                Contains("$panel0line0band using 1:3:4 with filledcurves"));
  CHECK(count(figure.script, "300 4 4 4") == 1);
}

// Three seeds with values v, v + 1, v + 2 at 1, 4 and 16: the interval is 4.3026527 / sqrt(3).
TEST_CASE("a family is drawn against the number in its names", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  {
    StoreWriter writer(path);
    for (int i = 0; i < 3; ++i) {
      const RunRecord run = test::make_run({{"seed", std::to_string(i + 1)}});
      writer.add_runs({run});
      writer.insert({test::metric(run.id, 0, 9, "attention", "recall_full_1", 5 + i),
                     test::metric(run.id, 1, 9, "attention", "recall_full_4", 4 + i),
                     test::metric(run.id, 2, 9, "attention", "recall_full_16", 3 + i),
                     test::metric(run.id, 3, 9, "attention", "recall_whole_full", 9),
                     test::metric(run.id, 4, 9, "attention", "recall_full_1_of", 9),
                     test::state(run.id, 9, "done")});
    }
  }
  const StoreReader store(path);
  const auto family = [&](const std::string& measures) {
    return figure_kind("family").make(store, {"", {}, {}, "", parse_measures(measures)});
  };
  const Figure figure = family("metric:recall_full_*@attention as all keys, metric:depth_*");
  CHECK(figure.csv.find("all keys,\"dense, full\",1,6,2.4841377,3,") != std::string::npos);
  CHECK_THAT(figure.csv, Contains("all keys,\"dense, full\",4,5,2.4841377,3,") &&
                             Contains("all keys,\"dense, full\",16,4,2.4841377,3,"));
  CHECK(count(figure.csv, "\n") == 4);
  CHECK_THAT(figure.script, Contains("set logscale x 2\n") && Contains("'all keys'"));
  CHECK_THAT(figure.summary,
             Contains("1 panels of 3 runs") && Contains("no run has a metric of metric:depth_*"));
  CHECK_THROWS_WITH(family("metric:recall_full_1@attention"), Contains("with one *"));
  CHECK_THROWS_WITH(family("accuracy@full"), Contains("with one *"));
  CHECK_THROWS_WITH(family(""), Contains("--measures"));
}

TEST_CASE("a kind of figure is found by its name, or the nearest is named", "[unit]") {
  CHECK(figure_kind("curve").name == "curve");
  CHECK_THROWS_WITH(figure_kind("cuvre"), Contains("curve"));
  CHECK(figure_kinds().size() >= 5);
}

}  // namespace tandem::test::analysis_figure_unit
