// How far a grid is: on a terminal one line that is rewritten, elsewhere a plain line now and then.
#pragma once

#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <string>

#include "jobs/worker_pool.h"

namespace tandem {

class Progress : public PoolObserver {
 public:
  // `out` is usually stderr; `seconds_between` applies where it is no terminal.
  Progress(const GridPlan& plan, int jobs, std::FILE* out, double seconds_between = 10);
  ~Progress() override;

  void group_started(const GroupPlan& group, int attempt) override;
  void group_ended(const GroupPlan& group) override;
  void rows_committed(const std::vector<Row>& rows) override;
  void tick() override;
  void clear();  // takes the line off the terminal

  std::string line() const;

 private:
  double elapsed_s() const;
  std::optional<double> steps_per_second() const;
  std::optional<double> left_s() const;

  using Clock = std::chrono::steady_clock;
  std::FILE* out_;
  bool terminal_;
  double seconds_between_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point printed_ = Clock::now();
  std::int64_t total_ = 0, finished_ = 0, running_groups_ = 0;
  std::optional<double> predicted_s_;
  std::map<std::string, std::int64_t> steps_;  // run -> last step seen
  std::int64_t stepped_ = 0;                   // steps of all runs since each one's first row
};

// "8s", "3m05s", "2h07m", "1d03h".
std::string duration_text(double seconds);

}  // namespace tandem
