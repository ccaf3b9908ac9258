// How far a grid is: on a terminal one line that is rewritten, elsewhere a plain line now and then,
// the first after a few seconds.
//
// The time left is what the groups under way say of themselves: of each the steps left at the pace
// that it has had since its first report. Groups that wait are charged what earlier runs of the
// kind took, where there are any, and else what the groups under way take for each of their runs;
// all are shared out over the workers. Evaluations after the last step are not foreseen: where only
// they are left, the line says so and gives no time.
#pragma once

#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "jobs/worker_pool.h"

namespace tandem {

class Progress : public PoolObserver {
 public:
  // `out` is usually stderr; `seconds_between` is the longest wait between lines where it is no
  // terminal. `now_s` is a clock, for tests.
  Progress(const GridPlan& plan, int jobs, std::FILE* out, double seconds_between = 60,
           std::function<double()> now_s = {});
  ~Progress() override;

  void group_started(const GroupPlan& group, int attempt) override;
  void group_ended(const GroupPlan& group) override;
  void group_progressed(const GroupPlan& group, std::int64_t done, std::int64_t all) override;
  void rows_committed(const std::vector<Row>& rows) override;
  void tick() override;
  void clear();  // takes the line off the terminal

  std::string line() const;
  std::optional<double> left_s() const;  // none: not known yet, or not foreseen

 private:
  struct Running {
    double begun_s = 0;             // when it was started
    std::optional<double> first_s;  // when it first said how far it is
    std::int64_t first_done = 0, done = 0, all = 0;
    double told_s = 0;  // when it last said so
    bool trained() const { return first_s && done >= all; }
    std::optional<double> steps_per_second() const;
  };

  double elapsed_s() const { return now_s_() - start_s_; }
  static std::size_t open_runs(const GroupPlan& group);
  std::optional<double> run_steps_per_second() const;
  std::optional<double> whole_seconds_per_run() const;
  bool only_evaluates() const;
  std::string steps_text() const;
  double seconds_to_next_line() const;

  std::FILE* out_;
  bool terminal_;
  double seconds_between_;
  std::function<double()> now_s_;
  double start_s_ = 0, printed_s_ = 0;
  int jobs_ = 1;
  std::int64_t total_ = 0, finished_ = 0;
  std::map<const GroupPlan*, Running> running_;
  std::map<const GroupPlan*, std::optional<double>> waiting_;  // the seconds that earlier runs took
  double ended_s_ = 0;          // of groups that have ended: their time, and
  std::size_t ended_runs_ = 0;  // their runs
};

// "8s", "3m05s", "2h07m", "1d03h".
std::string duration_text(double seconds);

}  // namespace tandem
