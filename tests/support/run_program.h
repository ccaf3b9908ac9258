// Runs the real binary, or starts it to be killed. Output goes through files, so that nothing
// blocks.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "core/files.h"

extern char** environ;

namespace tandem {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal where one killed it
  std::string output, errors;
};

class RunningProgram {
 public:
  RunningProgram(const std::string& folder, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment = {})
      : output_(folder + "/stdout.txt"), errors_(folder + "/stderr.txt") {
    std::vector<std::string> words = {TANDEM_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv, envp;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<std::string> variables = environment;
    for (auto& variable : variables) envp.push_back(variable.data());
    for (char** each = environ; *each != nullptr; ++each) envp.push_back(*each);
    envp.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output_.c_str(), flags, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, errors_.c_str(), flags, 0600);
    const int failed =
        posix_spawn(&pid_, TANDEM_BINARY, &actions, nullptr, argv.data(), envp.data());
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(failed == 0);
  }
  ~RunningProgram() {
    if (ended_) return;
    ::kill(pid_, SIGKILL);
    wait();
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  pid_t pid() const { return pid_; }
  void send(int signal) const { ::kill(pid_, signal); }

  bool ended() {
    if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
    return ended_;
  }

  ProgramResult wait() {
    while (!ended_) {
      if (::waitpid(pid_, &status_, 0) == pid_ || errno != EINTR) ended_ = true;
    }
    return {WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_), read_file(output_),
            read_file(errors_)};
  }

 private:
  std::string output_, errors_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

inline ProgramResult run_program(const std::vector<std::string>& arguments,
                                 const std::vector<std::string>& environment = {}) {
  const TemporaryFolder folder;
  return RunningProgram(folder.path(), arguments, environment).wait();
}

}  // namespace tandem
