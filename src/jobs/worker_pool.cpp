// The poll loop. Order within one turn: read, commit when due, acknowledge, reap, start. A worker
// that has ended is judged only after its last rows are committed, and its group's folder is
// removed after that, so that a kill between any two of these repeats work but loses none.
#include "jobs/worker_pool.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <memory>
#include <set>

#include "core/interrupt.h"
#include "core/log.h"
#include "jobs/device.h"
#include "jobs/worker.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kTick_ms = 200;

class WorkerPool {
 public:
  WorkerPool(StoreWriter& store, const PoolOptions& options, PoolObserver& observer)
      : store_(store),
        options_(options),
        devices_(devices_of(options.device)),
        observer_(observer) {}

  // Where a commit failed: all are asked to stop before the first is waited for.
  ~WorkerPool() {
    for (auto& worker : workers_) worker->terminate();
  }

  PoolResult run(const std::vector<GroupPlan>& groups) {
    std::signal(SIGPIPE, SIG_IGN);
    for (const auto& group : groups) {
      queue_.push_back({&group, 1});
      finished_.insert(group.finished.begin(), group.finished.end());
    }
    while (true) {
      if (stop_requested() && !stopping_) stop();
      while (!stopping_ && !queue_.empty() && workers_.size() < jobs()) start_next();
      if (workers_.empty()) break;
      wait();
      if (commit_is_due()) commit();
      reap_ended();
      observer_.tick();
    }
    result_.stopped = result_.stopped || stopping_;
    return std::move(result_);
  }

 private:
  struct Task {
    const GroupPlan* group;
    int attempt;
  };

  std::size_t jobs() const { return static_cast<std::size_t>(std::max(1, options_.jobs)); }

  static bool wants(const GroupPlan& group, const std::string& run) {
    return std::find(group.frozen.begin(), group.frozen.end(), run) == group.frozen.end();
  }

  // Runs of the group that still need a final state.
  std::vector<std::string> open_runs(const GroupPlan& group) const {
    std::vector<std::string> runs;
    for (const auto& run : group.runs) {
      const std::string id = run.id();
      if (wants(group, id) && finished_.count(id) == 0) runs.push_back(id);
    }
    return runs;
  }

  void start_next() {
    const Task task = queue_.front();
    queue_.pop_front();
    write_group_file(options_.database, *task.group);
    for (const auto& run : open_runs(*task.group)) store_.begin_attempt(run);
    workers_.push_back(
        std::make_unique<Worker>(*task.group, task.attempt, options_, least_busy_device()));
    observer_.group_started(*task.group, task.attempt);
  }

  // The device with the fewest workers.
  std::string least_busy_device() const {
    const auto workers_on = [this](const std::string& device) {
      return std::count_if(workers_.begin(), workers_.end(),
                           [&](const auto& worker) { return worker->device() == device; });
    };
    return *std::min_element(
        devices_.begin(), devices_.end(),
        [&](const std::string& a, const std::string& b) { return workers_on(a) < workers_on(b); });
  }

  void stop() {
    stopping_ = true;
    log_info("stopping: waiting for the workers' checkpoints (Ctrl-C once more: at once)");
    for (auto& worker : workers_) worker->terminate();
  }

  void wait() {
    std::vector<pollfd> polled;
    for (const auto& worker : workers_) {
      polled.push_back({worker->rows_descriptor(), POLLIN, 0});
      polled.push_back({worker->log_descriptor(), POLLIN, 0});
      polled.push_back({worker->wants_to_write() ? worker->input_descriptor() : -1, POLLOUT, 0});
    }
    if (::poll(polled.data(), polled.size(), kTick_ms) <= 0) return;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      if (polled[3 * i].revents != 0) read_rows(*workers_[i]);
      if (polled[3 * i + 1].revents != 0) workers_[i]->read_log();
      if (polled[3 * i + 2].revents != 0) workers_[i]->write();
    }
  }

  void read_rows(Worker& worker) {
    const std::size_t before = rows_.size();
    worker.read_rows(rows_);
    senders_.resize(rows_.size(), &worker);
    if (before == 0 && !rows_.empty()) first_row_ = Clock::now();
    if (const auto steps = worker.take_progress()) {
      observer_.group_progressed(worker.group(), steps->done, steps->all);
    }
  }

  bool commit_is_due() const {
    if (rows_.empty()) return false;
    const std::chrono::duration<double> age = Clock::now() - first_row_;
    return rows_.size() >= options_.commit_rows || age.count() >= options_.commit_every_s;
  }

  void commit() {
    if (rows_.empty()) return;
    // A run that had ended before keeps what is stored of it: another machine may have ended it.
    std::vector<Row> wanted;
    for (const Row& row : rows_) {
      if (finished_.count(row.run) == 0) wanted.push_back(row);
    }
    store_.insert(wanted);
    for (std::size_t i = 0; i < rows_.size(); ++i) senders_[i]->acknowledge(rows_[i]);
    for (auto& worker : workers_) worker->send_acknowledgements();
    observer_.rows_committed(rows_);
    rows_.clear();
    senders_.clear();
  }

  void reap_ended() {
    for (auto& worker : workers_) {
      if (worker->talking()) continue;
      commit();
      worker->reap();
      judge(*worker);
      observer_.group_ended(worker->group());
      worker.reset();
    }
    workers_.erase(std::remove(workers_.begin(), workers_.end(), nullptr), workers_.end());
  }

  void judge(const Worker& worker) {
    for (const auto& [run, state] : worker.final_states()) {
      if (!finished_.insert(run).second) continue;
      ++(state == "done" ? result_.done : result_.diverged);
    }
    const auto open = open_runs(worker.group());
    switch (worker.exit_code()) {
      case kExitDone:
        if (open.empty()) return remove_group_folder(worker.group().folder);
        return fail(open, "the worker ended without this run's last row", kExitBug);
      case kExitStopped:
        result_.stopped = true;
        for (const auto& run : open) store_.set_state(run, "stopped");
        return;
      default:
        return judge_failure(worker, open);
    }
  }

  void judge_failure(const Worker& worker, const std::vector<std::string>& open) {
    const ExitCode code = worker.exit_code();
    if (!worker.trace().empty()) log_debug(worker.trace());
    const bool lasting = code == kExitConfig || code == kExitData || code == kExitDevice;
    if (stopping_) {
      for (const auto& run : open) store_.set_state(run, "stopped", worker.message());
    } else if (!lasting && worker.attempt() < options_.attempts) {
      log_warn(fmt::format("a group of {} runs failed and is tried once more: {}",
                           worker.group().runs.size(), worker.message()));
      queue_.push_front({&worker.group(), worker.attempt() + 1});
    } else {
      fail(open, worker.message(), code);
    }
  }

  void fail(const std::vector<std::string>& runs, const std::string& message, ExitCode code) {
    for (const auto& run : runs) {
      store_.set_state(run, "failed", message);
      result_.failures.push_back({run, message, code});
    }
  }

  StoreWriter& store_;
  const PoolOptions& options_;
  std::vector<std::string> devices_;
  PoolObserver& observer_;
  std::deque<Task> queue_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Row> rows_;
  std::vector<Worker*> senders_;  // of rows_
  Clock::time_point first_row_;
  std::set<std::string> finished_;  // ids of runs with a final state
  PoolResult result_;
  bool stopping_ = false;
};

}  // namespace

PoolResult run_groups(StoreWriter& store, const std::vector<GroupPlan>& groups,
                      const PoolOptions& options, PoolObserver& observer) {
  return WorkerPool(store, options, observer).run(groups);
}

}  // namespace tandem
