// The ranks of methods over data sets or settings on one scale (Demsar, JMLR 7, 2006): better ones
// stand to the right, and a bar joins methods that no pair's test tells apart (ranks.h). A scale
// for each measure, below each other.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "analysis/figure.h"
#include "analysis/query.h"
#include "analysis/ranks.h"
#include "analysis/run_data.h"
#include "analysis/table_paired.h"
#include "analysis/table_ranks.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

// Pixels.
constexpr int kRankWidth = 760, kRankTop = 70, kRankLine = 24, kRankBottom = 24, kRankBar = 9;
constexpr int kLeastMargin = 90, kLetter = 8, kLeastScale = 300;

struct RankScale {
  std::string title, subtitle;
  std::vector<std::string> names;
  RankStudy study;
  std::vector<std::size_t> order;  // by rising mean rank

  int bars() const { return static_cast<int>(study.groups.size()); }
  int height() const {
    const auto rows = static_cast<int>((names.size() + 1) / 2);
    return kRankTop + kRankBar * (bars() + 1) + kRankLine * rows + kRankBottom;
  }
};

int margin_of(const std::vector<RankScale>& scales) {
  std::size_t longest = 0;
  for (const RankScale& scale : scales)
    for (const std::string& name : scale.names) longest = std::max(longest, name.size());
  return std::max(kLeastMargin, kLetter * static_cast<int>(longest + 8));
}

class RankScript {
 public:
  RankScript(int width, int height, int margin) : width_(width), height_(height), margin_(margin) {}

  // Of a scale whose upper edge is `top` pixels below the figure's.
  void add(const RankScale& scale, int top) {
    const auto k = static_cast<double>(scale.names.size());
    const int axis = top + kRankTop;
    text(scale.title, 12, top + 16, "left");
    text(scale.subtitle, 12, top + 34, "left", " textcolor rgb '#555555' font ',11'");
    const auto x = [&](double rank) {  // rank 1, the best, at the right
      return margin_ + static_cast<int>((width_ - 2 * margin_) * (k - rank) / (k - 1));
    };
    line(x(k), axis, x(1), axis, "lw 1.5");
    for (int rank = 1; rank <= static_cast<int>(k); ++rank) {
      line(x(rank), axis - 5, x(rank), axis, "lw 1.5");
      text(std::to_string(rank), x(rank), axis - 14, "center");
    }
    int bar = axis;
    for (const auto& group : scale.study.groups) {
      bar += kRankBar;
      line(x(scale.study.mean_ranks[group.back()]) - 4, bar,
           x(scale.study.mean_ranks[group.front()]) + 4, bar, "lw 5");
    }
    // The better half is named at the right, the best of it first; the other at the left.
    const std::size_t half = (scale.order.size() + 1) / 2;
    const int first = axis + kRankBar * (scale.bars() + 1);
    for (std::size_t i = 0; i < scale.order.size(); ++i) {
      const bool right = i < half;
      const auto row = static_cast<int>(right ? i : scale.order.size() - 1 - i);
      const std::size_t method = scale.order[i];
      const int at = x(scale.study.mean_ranks[method]), y = first + kRankLine * row + 8;
      const int edge = right ? width_ - margin_ + 12 : margin_ - 12;
      const std::string colour_text = fmt::format("lc rgb '{}'", colour(i));
      line(at, axis, at, y, colour_text + " lw 1.5");
      line(at, y, edge, y, colour_text + " lw 1.5");
      const std::string rank = fmt::format("{:.2f}", scale.study.mean_ranks[method]);
      text(right ? rank + "  " + scale.names[method] : scale.names[method] + "  " + rank,
           edge + (right ? 4 : -4), y, right ? "left" : "right");
    }
  }
  std::string script() const {
    return "unset border\nunset tics\nunset key\nset lmargin at screen 0\nset rmargin at screen 1\n"
           "set tmargin at screen 1\nset bmargin at screen 0\n" +
           script_ + "plot [0:1] [0:1] NaN notitle\n";
  }

 private:
  std::string place(int x, int y) const {
    return fmt::format("screen {:.5f}, screen {:.5f}", static_cast<double>(x) / width_,
                       1 - static_cast<double>(y) / height_);
  }
  void line(int x0, int y0, int x1, int y1, const std::string& style) {
    script_ += fmt::format("set arrow from {} to {} nohead {}{}\n", place(x0, y0), place(x1, y1),
                           style.find("lc") == std::string::npos ? "lc rgb 'black' " : "", style);
  }
  void text(const std::string& what, int x, int y, const std::string& where,
            const std::string& style = "") {
    script_ += fmt::format("set label {} at {} {} noenhanced{}\n", quoted(what), place(x, y), where,
                           style);
  }

  int width_, height_, margin_;
  std::string script_;
};

RankScale scale_of(const RunSet& set, const TablePlan& plan, const Measure& measure,
                   const std::string& split) {
  const RankedRuns ranked = ranked_runs(set, plan, measure, split);
  RankScale scale;
  scale.title = measure.label;
  scale.study = rank_study(ranked.scores, is_higher_better(plan, measure));
  for (const auto& method : ranked.methods) scale.names.push_back(join(method, ", "));
  scale.order.resize(scale.names.size());
  std::iota(scale.order.begin(), scale.order.end(), std::size_t{0});
  std::stable_sort(scale.order.begin(), scale.order.end(), [&](std::size_t a, std::size_t b) {
    return scale.study.mean_ranks[a] < scale.study.mean_ranks[b];
  });
  scale.subtitle = fmt::format("mean rank over {} values of {}, {} split", scale.study.blocks,
                               join(plan.over, ", "), split);
  if (scale.study.p) scale.subtitle += ", Friedman " + p_text(*scale.study.p);
  if (ranked.left_out > 0) scale.subtitle += fmt::format("; {} left out", ranked.left_out);
  if (scale.study.out_of_reach) scale.subtitle += "; too few to tell any pair apart";
  return scale;
}

std::string ranks_csv(const std::vector<RankScale>& scales) {
  std::string text = csv_line({"measure", "method", "mean_rank", "blocks", "against", "p_holm"});
  for (const RankScale& scale : scales) {
    for (const std::size_t i : scale.order) {
      for (const std::size_t j : scale.order) {
        if (i == j) continue;
        text +=
            csv_line({scale.title, scale.names[i], real_to_text(scale.study.mean_ranks[i]),
                      std::to_string(scale.study.blocks), scale.names[j],
                      scale.study.out_of_reach ? "" : real_to_text(scale.study.pairwise[i][j])});
      }
    }
  }
  return text;
}

Figure ranks_figure(const StoreReader& store, const FigureRuns& runs) {
  if (runs.ranked.empty() || runs.over.empty() || runs.measures.empty()) {
    throw ConfigError(
        "ranks need --measures, --ranked and --over, such as --measures accuracy@own --ranked "
        "weights --over data,density");
  }
  TablePlan plan = plan_table({"ranks",
                               {{"ranks", join(runs.ranked, ",")},
                                {"over", join(runs.over, ",")},
                                {"columns", runs.measures.front().text}}});
  plan.grid = runs.grid;
  plan.wanted = runs.wanted;
  plan.where = runs.where;
  plan.measures = runs.measures;
  const RunSet set = select_runs(store, plan);
  const std::string split = split_shown(set, plan);
  std::vector<RankScale> scales;
  for (const Measure& measure : runs.measures)
    scales.push_back(scale_of(set, plan, measure, split));
  Figure figure;
  figure.width = std::max(kRankWidth, 2 * margin_of(scales) + kLeastScale);
  for (const RankScale& scale : scales) figure.height += scale.height();
  RankScript script(figure.width, figure.height, margin_of(scales));
  int top = 0;
  for (const RankScale& scale : scales) {
    script.add(scale, top);
    top += scale.height();
  }
  figure.script = script.script();
  figure.csv = ranks_csv(scales);
  figure.summary = fmt::format("{} scales of {} runs", scales.size(), set.runs.size());
  const std::string missing = missing_note(set, plan);
  if (!missing.empty()) figure.summary += "; " + missing;
  return figure;
}

TANDEM_REGISTERED = declare_figure(
    {.name = "ranks",
     .text =
         "mean ranks of --ranked over the values of --over, a scale for each measure, with bars "
         "over what no test tells apart",
     .make = ranks_figure,
     .of_measures = true,
     .of_ranks = true});

}  // namespace
}  // namespace tandem
