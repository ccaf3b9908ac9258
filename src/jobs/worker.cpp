// Pipes and processes of one worker. A write to a dead worker's pipe must not kill the writer, so
// SIGPIPE is ignored by the pool.
#include "jobs/worker.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "jobs/device.h"

namespace tandem {
namespace {

constexpr const char* kErrorMark = "tandem: error: ";
constexpr const char* kTraceMark =
    "\nException raised from";  // where LibTorch's stack trace begins
constexpr std::size_t kKeptError_bytes = 8192;
constexpr auto kStopWait = std::chrono::seconds(30);

GroupSpec spec_of(const GroupPlan& group, const PoolOptions& options, const std::string& device) {
  GroupSpec spec;
  spec.runs = group.runs;
  spec.device = device;
  spec.storage = group.storage;
  spec.checkpoint_folder = group.folder;
  spec.checkpoint_every_s = options.checkpoint_every_s;
  spec.stop_after_steps = options.stop_after_steps;
  spec.frozen = group.frozen;
  if (is_gpu(device)) {
    spec.host_threads = std::max(
        1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, options.jobs));
  }
  return spec;
}

// Reads what is there; closes the descriptor at the end of the stream.
void read_into(Descriptor& descriptor, LineBuffer& lines) {
  char buffer[1 << 16];
  const ssize_t got = ::read(descriptor.get(), buffer, sizeof buffer);
  if (got > 0) lines.append(buffer, static_cast<std::size_t>(got));
  const bool again = got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK);
  if (got <= 0 && !again) descriptor.close();
}

}  // namespace

Worker::Worker(const GroupPlan& group, int attempt, const PoolOptions& options, std::string device)
    : group_(group), attempt_(attempt), device_(std::move(device)) {
  Program program{options.program, options.arguments, worker_environment(), true};
  unwritten_ = encode_group(spec_of(group, options, device_)) + "\n";
  child_ = spawn(program);
  set_nonblocking(child_.input.get());
  set_nonblocking(child_.output.get());
  set_nonblocking(child_.errors.get());
}

Worker::~Worker() {
  if (reaped_) return;
  terminate();
  child_.input.close();
  child_.output.close();
  child_.errors.close();
  const auto deadline = std::chrono::steady_clock::now() + kStopWait;
  int status = 0;
  while (::waitpid(child_.pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= deadline) ::kill(child_.pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void Worker::read_rows(std::vector<Row>& rows) {
  read_into(child_.output, rows_);
  std::string line;
  while (protocol_error_.empty() && rows_.next(line)) {
    try {
      if (const auto steps = decode_progress(line)) {
        progress_ = steps;
        continue;
      }
      rows.push_back(decode_row(line));
    } catch (const StoreError& error) {
      protocol_error_ = error.what();
      ::kill(child_.pid, SIGKILL);
      return;
    }
    note_state(rows.back());
  }
}

void Worker::note_state(const Row& row) {
  const auto* state = std::get_if<StateRow>(&row.body);
  if (state != nullptr && is_finished(state->state)) final_states_[row.run] = state->state;
}

void Worker::read_log() {
  read_into(child_.errors, log_);
  std::string line;
  while (log_.next(line)) log_line(line);
  if (!child_.errors.open() && !log_.rest().empty()) log_line(log_.rest());
}

void Worker::log_line(const std::string& line) {
  if (line.rfind(kErrorMark, 0) == 0) {
    error_ = line.substr(std::strlen(kErrorMark));
    in_error_ = true;
    return;
  }
  if (in_error_) {
    if (error_.size() < kKeptError_bytes) error_ += "\n" + line;
    return;
  }
  last_line_ = line;
  const std::string name = group_.folder.substr(group_.folder.rfind('/') + 1);
  relay_log_line(line, name.empty() ? "" : fmt::format("[group {}] ", name));
}

void Worker::write() {
  const ssize_t wrote = ::write(child_.input.get(), unwritten_.data(), unwritten_.size());
  if (wrote >= 0) {
    unwritten_.erase(0, static_cast<std::size_t>(wrote));
  } else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
    child_.input.close();
  }
}

void Worker::acknowledge(const Row& row) { acknowledged_[row.run] = row.sequence; }

void Worker::send_acknowledgements() {
  if (acknowledged_.empty()) return;
  unwritten_ += encode_acknowledgement(acknowledged_) + "\n";
  acknowledged_.clear();
}

void Worker::terminate() {
  if (!reaped_) ::kill(child_.pid, SIGTERM);
}

void Worker::reap() {
  child_.input.close();
  status_ = wait_for(child_.pid);
  reaped_ = true;
}

ExitCode Worker::exit_code() const {
  if (!protocol_error_.empty() || !WIFEXITED(status_)) return kExitBug;
  const int code = WEXITSTATUS(status_);
  const bool known = code <= kExitDevice || code == kExitStopped;
  return known ? static_cast<ExitCode>(code) : kExitBug;
}

std::string Worker::message() const {
  if (!protocol_error_.empty()) return "the worker sent a malformed line: " + protocol_error_;
  if (in_error_) return trim(error_.substr(0, error_.find(kTraceMark)));
  std::string message = "the worker ended with " + describe_status(status_);
  if (!last_line_.empty()) message += "; its last words: " + last_line_;
  return message;
}

std::string Worker::trace() const {
  const auto begin = error_.find(kTraceMark);
  return begin == std::string::npos ? "" : error_.substr(begin + 1);
}

}  // namespace tandem
