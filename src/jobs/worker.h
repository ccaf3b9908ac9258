// One worker process as the pool sees it: its pipes, what it has sent, what it died of.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "jobs/planner.h"
#include "jobs/process.h"
#include "jobs/worker_pool.h"
#include "jobs/worker_protocol.h"
#include "store/rows.h"

namespace tandem {

class Worker {
 public:
  // On this one of the options' devices.
  Worker(const GroupPlan& group, int attempt, const PoolOptions& options, std::string device);
  // Asks it to stop, closes its pipes and waits for it; kills it where it doesn't end soon.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const GroupPlan& group() const { return group_; }
  int attempt() const { return attempt_; }
  const std::string& device() const { return device_; }

  int rows_descriptor() const { return child_.output.get(); }
  int log_descriptor() const { return child_.errors.get(); }
  int input_descriptor() const { return child_.input.get(); }
  bool wants_to_write() const { return child_.input.open() && !unwritten_.empty(); }
  bool talking() const { return child_.output.open() || child_.errors.open(); }

  void read_rows(std::vector<Row>& rows);  // appends; a malformed line ends the worker as failed
  void read_log();
  void write();
  void acknowledge(const Row& row);  // collects; send_acknowledgements() queues them as one line
  void send_acknowledgements();
  void terminate();

  // After both pipes have closed.
  void reap();
  ExitCode exit_code() const;   // kExitBug for a signal
  std::string message() const;  // why it failed, from its standard error
  std::string trace() const;    // the stack trace that came with it, or ""
  const std::map<std::string, std::string>& final_states() const { return final_states_; }
  // What it last said of its steps, once each time.
  std::optional<StepsDone> take_progress() { return std::exchange(progress_, std::nullopt); }

 private:
  void note_state(const Row& row);
  void log_line(const std::string& line);

  const GroupPlan& group_;
  int attempt_;
  std::string device_;
  ChildProcess child_;
  LineBuffer rows_, log_;
  std::string error_, last_line_;  // from "tandem: error:" on; of the others
  bool in_error_ = false;
  std::string unwritten_;
  std::map<std::string, std::int64_t> acknowledged_;
  std::map<std::string, std::string> final_states_;  // run -> done or diverged
  std::optional<StepsDone> progress_;
  std::string protocol_error_;
  bool reaped_ = false;
  int status_ = 0;
};

}  // namespace tandem
