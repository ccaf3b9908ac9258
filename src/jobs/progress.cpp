#include "jobs/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

// A pace is one of some time, and of some steps.
constexpr double kShortestPace_s = 1;
constexpr double kFirstLine_s = 3, kSecondLine_s = 10;

}  // namespace

Progress::Progress(const GridPlan& plan, int jobs, std::FILE* out, double seconds_between,
                   std::function<double()> now_s)
    : out_(out),
      terminal_(::isatty(::fileno(out)) == 1),
      seconds_between_(seconds_between),
      now_s_(now_s ? std::move(now_s) : seconds_now),
      start_s_(now_s_()),
      printed_s_(start_s_),
      jobs_(std::max(1, jobs)) {
  for (const auto& group : plan.groups) {
    total_ += static_cast<std::int64_t>(open_runs(group));
    waiting_[&group] = group.predicted_seconds;
  }
}

Progress::~Progress() { clear(); }

std::size_t Progress::open_runs(const GroupPlan& group) {
  return group.runs.size() - group.frozen.size() - group.finished.size();
}

void Progress::group_started(const GroupPlan& group, int) {
  waiting_.erase(&group);
  running_[&group] = {};
  running_[&group].begun_s = now_s_();
}

void Progress::group_ended(const GroupPlan& group) {
  const auto found = running_.find(&group);
  if (found == running_.end()) return;
  if (found->second.trained()) {
    ended_s_ += now_s_() - found->second.begun_s;
    ended_runs_ += open_runs(group);
  }
  running_.erase(found);
}

void Progress::group_progressed(const GroupPlan& group, std::int64_t done, std::int64_t all) {
  const auto found = running_.find(&group);
  if (found == running_.end()) return;
  Running& own = found->second;
  if (!own.first_s) {
    own.first_s = now_s_();
    own.first_done = done;
  }
  own.done = done;
  own.all = all;
  own.told_s = now_s_();
}

void Progress::rows_committed(const std::vector<Row>& rows) {
  for (const auto& row : rows) {
    const auto* state = std::get_if<StateRow>(&row.body);
    if (state != nullptr && (is_finished(state->state) || state->state == "failed")) ++finished_;
  }
  finished_ = std::min(finished_, total_);
}

std::optional<double> Progress::Running::steps_per_second() const {
  if (!first_s || done <= first_done || told_s - *first_s < kShortestPace_s) return std::nullopt;
  return static_cast<double>(done - first_done) / (told_s - *first_s);
}

std::optional<double> Progress::run_steps_per_second() const {
  double rate = 0;
  for (const auto& [group, own] : running_) {
    const auto pace = own.steps_per_second();
    if (pace && !own.trained()) rate += *pace * static_cast<double>(open_runs(*group));
  }
  if (rate <= 0) return std::nullopt;
  return rate;
}

// What a run of a group takes from its start on, by the groups that have ended and those under way.
std::optional<double> Progress::whole_seconds_per_run() const {
  double seconds = ended_s_;
  std::size_t runs = ended_runs_;
  for (const auto& [group, own] : running_) {
    const auto pace = own.steps_per_second();
    if (!pace) continue;
    seconds += static_cast<double>(own.all) / *pace;
    runs += open_runs(*group);
  }
  if (runs == 0) return std::nullopt;
  return seconds / static_cast<double>(runs);
}

bool Progress::only_evaluates() const {
  return waiting_.empty() && !running_.empty() &&
         std::all_of(running_.begin(), running_.end(),
                     [](const auto& each) { return each.second.trained(); });
}

std::optional<double> Progress::left_s() const {
  double longest = 0, sum = 0;
  if (running_.empty() && waiting_.empty()) return std::nullopt;
  for (const auto& [group, own] : running_) {
    if (own.trained()) continue;
    const auto pace = own.steps_per_second();
    double left = 0;
    if (pace) {
      left = static_cast<double>(own.all - own.done) / *pace - (now_s_() - own.told_s);
    } else if (group->predicted_seconds) {
      left = *group->predicted_seconds - (now_s_() - own.begun_s);
    } else {
      return std::nullopt;
    }
    longest = std::max(longest, left);
    sum += std::max(0.0, left);
  }
  const auto per_run = whole_seconds_per_run();
  for (const auto& [group, predicted] : waiting_) {
    if (!predicted && !per_run) return std::nullopt;
    const double whole = predicted ? *predicted : *per_run * static_cast<double>(open_runs(*group));
    longest = std::max(longest, whole);
    sum += whole;
  }
  if (only_evaluates()) return std::nullopt;
  return std::max({0.0, longest, sum / jobs_});
}

// Says, where one group alone is under way, which step of how many it has reached.
std::string Progress::steps_text() const {
  if (running_.size() != 1) return "";
  const Running& own = running_.begin()->second;
  return own.first_s ? fmt::format(", step {} of {}", own.done, own.all) : "";
}

std::string Progress::line() const {
  std::string text = fmt::format("{}/{} runs done, {} group{} running{}", finished_, total_,
                                 running_.size(), running_.size() == 1 ? "" : "s", steps_text());
  if (const auto rate = run_steps_per_second()) {
    text += fmt::format(", {:.{}f} steps/s", *rate, *rate < 10 ? 1 : 0);
  }
  text += ", " + duration_text(elapsed_s()) + " elapsed";
  if (const auto left = left_s()) {
    text += ", about " + duration_text(*left) + " left";
  } else if (only_evaluates()) {
    text += ", trained; the last evaluations are under way";
  } else if (!running_.empty()) {
    text += ", time left not known yet";
  }
  return text;
}

// The first line comes early, so that nobody wonders; then ever fewer.
double Progress::seconds_to_next_line() const {
  if (terminal_) return 0.5;
  const double age = printed_s_ - start_s_;
  const double wait = age < kFirstLine_s ? kFirstLine_s : std::max(kSecondLine_s, age / 3);
  return std::min(seconds_between_, wait);
}

void Progress::tick() {
  const double now = now_s_();
  if (now - printed_s_ < seconds_to_next_line()) return;
  printed_s_ = now;
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
