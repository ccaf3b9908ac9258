// Signals set a flag that stays until it is cleared.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/files.h"
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

namespace {

// What a process of its own ends with, and what it says on standard error.
template <class Work>
std::pair<int, std::string> ended_by(const Work& work) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    work();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, said};
}

}  // namespace

TEST_CASE("a second SIGINT ends the program at once and says how to go on", "[unit]") {
  for (const int first : {SIGINT, SIGTERM}) {
    const auto [code, said] = ended_by([first] {
      clear_stop();
      install_interrupt_handlers();
      ::raise(first);
      ::raise(SIGINT);
    });
    CHECK(code == 75);
    CHECK_THAT(said, Catch::Matchers::Contains("the same command goes on"));
  }
}

TEST_CASE("with nothing to save the first signal ends the program and no temporary is left",
          "[unit]") {
  const TemporaryFolder folder;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) {
    const auto [code, said] = ended_by([&folder, signal] {
      end_at_interrupt("last words\n");
      atomic_write(folder / "x", [signal](FileSink& sink) {
        sink.write("half");
        ::raise(signal);
      });
    });
    CHECK(code == 75);
    CHECK(said == "last words\n");
    CHECK(std::filesystem::is_empty(folder.path()));
  }
}

TEST_CASE("a signal leaves nothing of files that would have appeared together", "[unit]") {
  const TemporaryFolder folder;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) {
    const auto [code, said] = ended_by([&folder, signal] {
      end_at_interrupt("last words\n");
      OutputFiles files;
      files.add(folder / "new/deep/first", "whole");
      files.add(folder / "new/other/second", [signal](FileSink& sink) {
        sink.write("half");
        ::raise(signal);
      });
      files.commit();
    });
    CHECK(code == 75);
    CHECK(std::filesystem::is_empty(folder.path()));
  }
  const auto [code, said] = ended_by([&folder] {
    end_at_interrupt("last words\n");
    OutputFiles files;
    files.add(folder / "kept/file", "whole");
    files.commit();
    ::raise(SIGINT);
  });
  CHECK(code == 75);
  CHECK(read_file(folder / "kept/file") == "whole");
}

TEST_CASE("an unknown log level is refused", "[unit]") {
  CHECK_THROWS_AS(set_log_level("loud"), ConfigError);
  CHECK_NOTHROW(set_log_level("warn"));
  CHECK_NOTHROW(set_log_level("info"));
}

}  // namespace tandem::test::core_interrupt_unit
