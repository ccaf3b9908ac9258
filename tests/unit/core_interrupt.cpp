// Signals set a flag that stays until it is cleared.
#include <signal.h>

#include <catch2/catch.hpp>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"

namespace tandem::test::core_interrupt_unit {

TEST_CASE("each stop signal is noted, the first one wins", "[unit]") {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) {
    struct sigaction before = {};
    ::sigaction(signal, nullptr, &before);
    clear_stop();
    install_interrupt_handlers();
    CHECK_FALSE(stop_requested());
    CHECK(stop_signal() == 0);
    ::raise(signal);
    CHECK(stop_requested());
    CHECK(stop_signal() == signal);
    request_stop(SIGTERM + 100);
    CHECK(stop_signal() == signal);
    clear_stop();
    ::sigaction(signal, &before, nullptr);
  }
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) ::signal(signal, SIG_DFL);
}

TEST_CASE("a second SIGINT would end the program", "[unit]") {
  clear_stop();
  install_interrupt_handlers();
  ::raise(SIGINT);
  struct sigaction now = {};
  ::sigaction(SIGINT, nullptr, &now);
  CHECK(now.sa_handler == SIG_DFL);
  clear_stop();
  for (const int signal : {SIGTERM, SIGUSR2}) ::signal(signal, SIG_DFL);
}

TEST_CASE("an unknown log level is refused", "[unit]") {
  CHECK_THROWS_AS(set_log_level("loud"), ConfigError);
  CHECK_NOTHROW(set_log_level("warn"));
  CHECK_NOTHROW(set_log_level("info"));
}

}  // namespace tandem::test::core_interrupt_unit
