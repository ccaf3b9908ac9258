// `tandem worker`: what the pool starts. Rows go out on a copy of standard output, which itself is
// turned to standard error, so that nothing that prints can get between them.
#include <fcntl.h>
#include <unistd.h>

#include "app/command.h"
#include "config/part.h"
#include "jobs/worker_main.h"

namespace tandem {
namespace {

ExitCode run_worker(const Arguments& args) {
  if (!args.empty()) throw ConfigError("tandem worker is started by other commands, not by hand");
  const int rows_out = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (rows_out < 0 || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    throw StoreError("tandem worker needs its standard output and error open");
  }
  return worker_main(STDIN_FILENO, rows_out);
}

TANDEM_REGISTERED = declare_command({.name = "worker",
                                     .summary = "train one group of runs (internal)",
                                     .usage = "worker",
                                     .hidden = true,
                                     .run = run_worker});

}  // namespace
}  // namespace tandem
