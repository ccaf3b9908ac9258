// The worker process: one thread (on a CPU), subnormals flushed to zero (a decayed weight would
// else slow every product), and a lock on the group's folder, since the worker of a killed writer
// may still be saving its checkpoint there.
#include "jobs/worker_main.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/parallel.h"
#include "data/content.h"
#include "jobs/device.h"
#include "jobs/pipe_sink.h"
#include "jobs/run_group.h"
#include "jobs/worker_protocol.h"

namespace tandem {
namespace {

constexpr auto kLockWait = std::chrono::seconds(60);

FileLock lock_folder(const std::string& folder) {
  ensure_folder(folder);
  const auto deadline = std::chrono::steady_clock::now() + kLockWait;
  while (true) {
    try {
      return FileLock(folder + "/lock");
    } catch (const StoreError&) {
      if (std::chrono::steady_clock::now() >= deadline || stop_requested()) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void prepare_process() {
  std::signal(SIGPIPE, SIG_IGN);
  install_interrupt_handlers();
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  at::set_num_threads(1);
  at::globalContext().setFlushDenormal(true);
}

}  // namespace

ExitCode worker_main(int lines_in, int rows_out) {
  prepare_process();
  PipeSink sink(lines_in, rows_out);
  GroupSpec spec = decode_group(sink.read_line());
  set_log_level(spec.runs.at(0).text("log_level"));
  log_to_parent();
  spec.device = resolve_device(spec.device);
  set_host_threads(spec.host_threads);
  expect_content(spec.runs.front());  // of all of its runs
  std::optional<FileLock> lock;
  if (!spec.checkpoint_folder.empty()) lock.emplace(lock_folder(spec.checkpoint_folder));
  spec.should_stop = [&sink] { return stop_requested() || sink.closed(); };
  const GroupEnd end = run_group(spec, sink);
  sink.flush();
  return end == GroupEnd::kDone ? kExitDone : kExitStopped;
}

}  // namespace tandem
