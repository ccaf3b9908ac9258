#include "jobs/unstored.h"

#include <poll.h>

#include <csignal>

#include "core/error.h"
#include "jobs/worker.h"

namespace tandem {
namespace {

constexpr int kLook_ms = 200;

void wait_for_output(Worker& worker, std::vector<Row>& rows) {
  pollfd polled[] = {{worker.rows_descriptor(), POLLIN, 0},
                     {worker.log_descriptor(), POLLIN, 0},
                     {worker.wants_to_write() ? worker.input_descriptor() : -1, POLLOUT, 0}};
  if (::poll(polled, std::size(polled), kLook_ms) <= 0) return;
  if (polled[0].revents != 0) worker.read_rows(rows);
  if (polled[1].revents != 0) worker.read_log();
  if (polled[2].revents != 0) worker.write();
}

}  // namespace

void train_unstored(const GroupPlan& group, const std::string& device, PoolObserver& observer,
                    const std::function<bool(const std::vector<Row>&)>& take) {
  std::signal(SIGPIPE, SIG_IGN);
  GroupPlan unstored = group;
  unstored.folder.clear();
  Worker worker(unstored, 1, PoolOptions(), device);
  while (worker.talking()) {
    std::vector<Row> rows;
    wait_for_output(worker, rows);
    if (const auto steps = worker.take_progress()) {
      observer.group_progressed(group, steps->done, steps->all);
    }
    // As if they were stored, so that the worker need not keep them.
    for (const Row& row : rows) worker.acknowledge(row);
    worker.send_acknowledgements();
    if (!rows.empty() && !take(rows)) return;
    observer.tick();
  }
  worker.reap();
  if (worker.exit_code() != kExitDone) throw Error(worker.exit_code(), worker.message());
}

}  // namespace tandem
