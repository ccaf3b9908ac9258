// Steps are taken from the rows as they are committed; the time left from earlier runs where they
// predict it, else from the share of runs that are finished.
#include "jobs/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

std::optional<std::int64_t> step_of(const RowBody& body) {
  return std::visit(
      [](const auto& row) -> std::optional<std::int64_t> {
        if constexpr (requires { row.step; }) return row.step;
        return std::nullopt;
      },
      body);
}

}  // namespace

Progress::Progress(const GridPlan& plan, int jobs, std::FILE* out, double seconds_between)
    : out_(out), terminal_(::isatty(::fileno(out)) == 1), seconds_between_(seconds_between) {
  for (const auto& group : plan.groups) {
    total_ +=
        static_cast<std::int64_t>(group.runs.size() - group.frozen.size() - group.settled.size());
  }
  if (jobs > 0) predicted_s_ = plan.predicted_seconds;
}

Progress::~Progress() { clear(); }

void Progress::group_started(const GroupPlan&, int) { ++running_groups_; }

void Progress::group_ended(const GroupPlan&) { --running_groups_; }

void Progress::rows_committed(const std::vector<Row>& rows) {
  for (const auto& row : rows) {
    if (const auto step = step_of(row.body)) {
      const auto [last, first] = steps_.emplace(row.run, *step);
      if (!first && *step > last->second) {
        stepped_ += *step - last->second;
        last->second = *step;
      }
    }
    const auto* state = std::get_if<StateRow>(&row.body);
    if (state != nullptr && (is_finished(state->state) || state->state == "failed")) ++finished_;
  }
  finished_ = std::min(finished_, total_);
}

double Progress::elapsed_s() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

std::optional<double> Progress::steps_per_second() const {
  if (stepped_ == 0 || elapsed_s() < 1) return std::nullopt;
  return static_cast<double>(stepped_) / elapsed_s();
}

std::optional<double> Progress::left_s() const {
  if (predicted_s_ && *predicted_s_ > elapsed_s()) return *predicted_s_ - elapsed_s();
  if (finished_ == 0 || finished_ == total_) return std::nullopt;
  return elapsed_s() * static_cast<double>(total_ - finished_) / static_cast<double>(finished_);
}

std::string Progress::line() const {
  std::string text = fmt::format("{}/{} runs done, {} group{} running", finished_, total_,
                                 running_groups_, running_groups_ == 1 ? "" : "s");
  if (const auto rate = steps_per_second()) text += fmt::format(", {:.0f} steps/s", *rate);
  text += ", " + duration_text(elapsed_s()) + " elapsed";
  if (const auto left = left_s()) text += ", about " + duration_text(*left) + " left";
  return text;
}

void Progress::tick() {
  const double since = std::chrono::duration<double>(Clock::now() - printed_).count();
  if (since < (terminal_ ? 0.5 : seconds_between_)) return;
  printed_ = Clock::now();
  const std::string text = line();
  // The cursor goes back to the line's begin, so that a log line takes its place.
  std::fprintf(out_, terminal_ ? "\033[K%s\r" : "%s\n", text.c_str());
  std::fflush(out_);
}

void Progress::clear() {
  if (!terminal_) return;
  std::fputs("\033[K", out_);
  std::fflush(out_);
}

std::string duration_text(double seconds) {
  const auto s = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

}  // namespace tandem
