// Signal handlers: one that ends the program, and one that sets a lock-free flag.
#include "core/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace tandem {
namespace {

constexpr const char* kEndedTwice =
    "\ntandem: ended at once; what was committed and the last checkpoints are kept, and the same "
    "command goes on from there\n";

std::atomic<int> first_signal{0};
std::atomic<const char*> last_words{nullptr};
static_assert(std::atomic<int>::is_always_lock_free &&
              std::atomic<const char*>::is_always_lock_free);

// Only what a signal handler may call.
[[noreturn]] void end_now(const char* line) {
  remove_temporaries();
  [[maybe_unused]] const ssize_t told = ::write(STDERR_FILENO, line, std::strlen(line));
  ::_exit(kExitStopped);
}

extern "C" void note_signal(int signal) {
  int none = 0;
  const bool first = first_signal.compare_exchange_strong(none, signal);
  if (!first && signal == SIGINT) end_now(kEndedTwice);
}

extern "C" void end_at_signal(int) { end_now(last_words.load()); }

void install(void (*handler)(int)) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) {
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, nullptr) != 0) {
      throw std::runtime_error(std::string("cannot install a signal handler: ") +
                               std::strerror(errno));
    }
  }
}

}  // namespace

void end_at_interrupt(const char* last_line) {
  last_words.store(last_line);
  install(end_at_signal);
}

void install_interrupt_handlers() { install(note_signal); }

bool stop_requested() { return first_signal.load(std::memory_order_relaxed) != 0; }
int stop_signal() { return first_signal.load(std::memory_order_relaxed); }
void request_stop(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
}
void clear_stop() { first_signal.store(0); }

}  // namespace tandem
