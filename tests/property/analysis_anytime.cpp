// Measures of what happens inside of tasks, of random courses of training, against plain loops over
// these; and that a query for some runs reads no other's evaluations.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::analysis_anytime_property {
namespace {

constexpr int kTotal = 1000;

// One evaluation of all tasks.
struct Moment {
  std::int64_t stage = 0, step = 0;
  bool ends = false;  // the stage begins with it: the task before has just ended
  std::vector<int> correct;
};

struct Course {
  int tasks = 0;
  std::vector<Moment> moments;

  double accuracy(const Moment& at, int task) const {
    return static_cast<double>(at.correct[static_cast<std::size_t>(task - 1)]) / kTotal;
  }
  std::vector<double> since_end(int task) const {
    std::vector<double> all;
    for (const Moment& each : moments) {
      if (each.stage >= task) all.push_back(accuracy(each, task));
    }
    return all;
  }
};

Course random_course(std::mt19937& random, bool first_steps) {
  const auto below = [&random](int n) {
    return static_cast<int>(random() % static_cast<unsigned>(n));
  };
  Course course;
  course.tasks = 2 + below(3);
  std::int64_t step = 0;
  for (std::int64_t stage = 0; stage <= course.tasks; ++stage) {
    const auto add = [&](std::int64_t at, bool ends) {
      Moment& made = course.moments.emplace_back();
      made = {stage, at, ends, {}};
      for (int j = 0; j < course.tasks; ++j) made.correct.push_back(below(kTotal + 1));
    };
    add(step, true);
    if (stage == course.tasks) break;
    std::vector<std::int64_t> inside = {1 + below(100)};
    for (int i = below(40); i > 0; --i) inside.push_back(1 + below(300));
    for (int b = 1; first_steps && b <= 10; ++b) inside.push_back(b);
    std::sort(inside.begin(), inside.end());
    inside.erase(std::unique(inside.begin(), inside.end()), inside.end());
    for (const std::int64_t each : inside) add(step + each, false);
    step += 310;
  }
  return course;
}

std::vector<Row> rows_of(const Course& course, const std::string& run) {
  std::vector<Row> rows;
  for (const Moment& each : course.moments) {
    for (int j = 1; j <= course.tasks; ++j) {
      Row row = test::eval(run, static_cast<std::int64_t>(rows.size()) + 1, each.stage, j,
                           each.correct[static_cast<std::size_t>(j - 1)], kTotal);
      std::get<EvalRow>(row.body).step = each.step;
      rows.push_back(row);
    }
  }
  return rows;
}

using Measures = std::map<std::string, double>;

void add_windowed(const Course& course, std::size_t window, const std::string& name,
                  Measures& measures) {
  double fall = 0, rise = 0;
  for (int i = 1; i < course.tasks; ++i) {
    const std::vector<double> e = course.since_end(i);
    double most_fall = 0, most_rise = 0;
    for (std::size_t n = 0; n < e.size(); ++n) {
      for (std::size_t m = n + 1 < window ? 0 : n + 1 - window; m < n; ++m) {
        most_fall = std::max(most_fall, e[m] - e[n]);
        most_rise = std::max(most_rise, e[n] - e[m]);
      }
    }
    fall += most_fall;
    rise += most_rise;
  }
  measures["wf_" + name] = fall / (course.tasks - 1);
  measures["wp_" + name] = rise / (course.tasks - 1);
}

Measures stability(const Course& course) {
  Measures measures;
  double least = 0, gaps = 0;
  int switches = 0;
  for (int i = 1; i < course.tasks; ++i) {
    const std::vector<double> e = course.since_end(i);
    least += *std::min_element(e.begin() + 1, e.end());
    for (int k = i; k < course.tasks; ++k) {
      double before = 0, after = 2;
      std::int64_t begun = 0;
      for (const Moment& each : course.moments) {
        if (each.stage != k) continue;
        if (each.ends) {
          begun = each.step;
          before = course.accuracy(each, i);
        } else if (each.step <= begun + 100) {
          after = std::min(after, course.accuracy(each, i));
        }
      }
      gaps += before - after;
      ++switches;
    }
  }
  measures["min_acc"] = least / (course.tasks - 1);
  measures["wc_acc"] = course.accuracy(course.moments.back(), course.tasks) / course.tasks +
                       (1 - 1.0 / course.tasks) * measures["min_acc"];
  measures["stability_gap_100"] = gaps / switches;
  add_windowed(course, 10, "10", measures);
  add_windowed(course, 100, "100", measures);
  return measures;
}

Measures anytime(const Course& course, bool first_steps) {
  double sum = 0, area = 0;
  int points = 0;
  std::int64_t before = 0;
  for (const Moment& each : course.moments) {
    const int seen = static_cast<int>(each.stage) + (each.ends ? 0 : 1);
    if (seen == 0) continue;
    double mean = 0;
    for (int j = 1; j <= seen; ++j) mean += course.accuracy(each, j) / seen;
    sum += mean;
    area += mean * static_cast<double>(each.step - before);
    before = each.step;
    ++points;
  }
  Measures measures = {{"aaa", sum / points},
                       {"a_auc", area / static_cast<double>(course.moments.back().step)}};
  if (!first_steps) return measures;
  double starts = 0;
  for (int k = 1; k <= course.tasks; ++k) {
    std::int64_t begun = -1;
    for (const Moment& each : course.moments) {
      if (each.stage != k - 1) continue;
      if (each.ends) begun = each.step;
      if (each.step <= begun + 10) starts += course.accuracy(each, k);
    }
  }
  measures["lca_10"] = starts / (11 * course.tasks);
  return measures;
}

// NAN where there is no value.
double value_of(const StoreReader& reader, const std::string& measure, const std::string& view,
                const std::string& where) {
  const QueryResult found = reader.query("SELECT " + measure + " FROM " + view + " WHERE " + where);
  REQUIRE(found.rows.size() == 1);
  return found.null[0][0] ? std::nan("") : std::stod(found.rows[0][0]);
}

}  // namespace

TEST_CASE("measures inside of tasks against plain loops", "[property]") {
  const char* given = std::getenv("TANDEM_TEST_SEED");
  const auto seed = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                     : std::random_device()();
  INFO("replay with TANDEM_TEST_SEED=" << seed);
  std::mt19937 random(seed);
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  std::vector<std::pair<RunRecord, Course>> runs;
  {
    StoreWriter writer(path);
    std::vector<std::string> ids;
    for (int i = 0; i < 6; ++i) {
      RunRecord run =
          test::make_run({{"tasks", "4"}, {"scenario", "domain_il"}, {"seed", std::to_string(i)}});
      writer.add_runs({run});
      runs.emplace_back(run, random_course(random, i % 2 == 0));
      writer.insert(rows_of(runs.back().second, run.id));
      ids.push_back(run.id);
    }
    writer.add_grid("all", "all.ini", "", ids);
    writer.add_grid("one", "one.ini", "", {ids[2]});
  }
  const StoreReader whole(path);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto& [run, course] = runs[i];
    const StoreReader alone = whole.only({run.id});
    for (const std::string view : {"v_stability", "v_anytime"}) {
      const Measures expected =
          view == "v_stability" ? stability(course) : anytime(course, i % 2 == 0);
      for (const auto& [name, value] : expected) {
        INFO(i << " " << name);
        const double found = value_of(whole, name, view, "run = '" + run.id + "'");
        CHECK(found == Approx(value).epsilon(1e-12).margin(1e-14));
        CHECK(value_of(alone, name, view, "true") == found);
      }
    }
    if (i % 2 != 0) {
      CHECK(std::isnan(value_of(whole, "lca_10", "v_anytime", "run = '" + run.id + "'")));
    }
  }
}

TEST_CASE("a query for some runs reads no other's evaluations", "[property]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  StoreWriter writer(path);
  const StoreReader reader(path);
  for (const std::string view : {"v_stability", "v_anytime"}) {
    for (const std::string where :
         {"run = 'abc'", "run IN (SELECT run_id FROM grid_run WHERE grid = 'g')",
          "strategy = 'er' AND density = 0.1 AND NOT masked"}) {
      INFO(view << " WHERE " << where);
      const QueryResult plan =
          reader.query("EXPLAIN QUERY PLAN SELECT * FROM " + view + " WHERE " + where);
      int searches = 0;
      for (const auto& row : plan.rows) {
        const std::string& what = row.back();
        INFO(what);
        CHECK(what.rfind("SCAN e", 0) != 0);
        searches += what.rfind("SEARCH e USING PRIMARY KEY (run=?", 0) == 0;
      }
      CHECK(searches >= 2);
    }
  }
}

}  // namespace tandem::test::analysis_anytime_property
