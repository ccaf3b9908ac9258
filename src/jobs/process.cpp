// posix_spawn: the child gets default signal actions and an empty signal mask.
#include "jobs/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/error.h"

extern char** environ;

namespace tandem {
namespace {

struct Pipe {
  Descriptor read, write;
};

// Above the standard descriptors, so that dup2 in the child can't overwrite one before its turn.
Descriptor above_standard(int value) {
  Descriptor low(value);
  if (value > STDERR_FILENO) return low;
  return Descriptor(::fcntl(value, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw StoreError(fmt::format(
        "cannot make a pipe to a worker: {}; raise the limit of open files", std::strerror(errno)));
  }
  return {above_standard(ends[0]), above_standard(ends[1])};
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& over) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (over.count(text.substr(0, text.find('='))) == 0) merged.push_back(text);
  }
  for (const auto& [name, value] : over) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct SpawnAttributes {
  posix_spawnattr_t value;
  explicit SpawnAttributes(bool own_group) {
    posix_spawnattr_init(&value);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&value, &none);
    posix_spawnattr_setsigdefault(&value, &all);
    posix_spawnattr_setpgroup(&value, 0);
    const short group = own_group ? POSIX_SPAWN_SETPGROUP : 0;
    posix_spawnattr_setflags(
        &value, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | group));
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&value); }
};

struct SpawnActions {
  posix_spawn_file_actions_t value;
  SpawnActions(int input, int output, int errors) {
    posix_spawn_file_actions_init(&value);
    posix_spawn_file_actions_adddup2(&value, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&value, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&value, errors, STDERR_FILENO);
  }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&value); }
};

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close();
    value_ = other.release();
  }
  return *this;
}

int Descriptor::release() {
  const int value = value_;
  value_ = -1;
  return value;
}

void Descriptor::close() {
  if (value_ >= 0) ::close(value_);
  value_ = -1;
}

ChildProcess spawn(const Program& program) {
  Pipe input = make_pipe(), output = make_pipe(), errors = make_pipe();
  const SpawnActions actions(input.read.get(), output.write.get(), errors.write.get());
  const SpawnAttributes attributes(program.own_group);
  std::vector<std::string> words = {program.path};
  words.insert(words.end(), program.arguments.begin(), program.arguments.end());
  std::vector<std::string> environment = merged_environment(program.environment);
  ChildProcess child;
  const int failed =
      ::posix_spawn(&child.pid, program.path.c_str(), &actions.value, &attributes.value,
                    pointers(words).data(), pointers(environment).data());
  if (failed != 0) {
    throw StoreError(
        fmt::format("cannot start {}: {}; is the file there and executable, and is "
                    "there memory left?",
                    program.path, std::strerror(failed)));
  }
  child.input = std::move(input.write);
  child.output = std::move(output.read);
  child.errors = std::move(errors.read);
  return child;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

void set_nonblocking(int descriptor) {
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

bool LineBuffer::next(std::string& line) {
  const auto end = bytes_.find('\n', searched_);
  if (end == std::string::npos) {
    searched_ = bytes_.size();
    return false;
  }
  line.assign(bytes_, 0, end);
  bytes_.erase(0, end + 1);
  searched_ = 0;
  return true;
}

}  // namespace tandem
