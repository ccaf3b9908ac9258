// Sending and acknowledging, without ever blocking on one pipe while the other needs attention.
#include "jobs/pipe_sink.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "core/error.h"
#include "jobs/worker_protocol.h"

namespace tandem {
namespace {

constexpr std::size_t kSendAt_bytes = 1 << 16;
constexpr std::int64_t kSendEvery_ms = 300, kTellEvery_ms = 500;

std::int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

PipeSink::PipeSink(int lines_in, int rows_out) : in_(lines_in), out_(rows_out), sent_ms_(now_ms()) {
  set_nonblocking(in_);
  set_nonblocking(out_);
}

void PipeSink::fail() {
  throw StoreError(
      "the process that writes the results is gone: this worker stops; start the grid again to "
      "resume");
}

void PipeSink::read_available() {
  char buffer[1 << 14];
  while (!closed_) {
    const ssize_t got = ::read(in_, buffer, sizeof buffer);
    if (got > 0) {
      lines_.append(buffer, static_cast<std::size_t>(got));
    } else if (got == 0) {
      closed_ = true;
    } else if (errno != EINTR) {
      closed_ = errno != EAGAIN && errno != EWOULDBLOCK;
      return;
    }
  }
}

void PipeSink::read_acknowledgements() {
  read_available();
  std::string line;
  while (lines_.next(line)) {
    for (const auto& [run, sequence] : decode_acknowledgement(line)) {
      auto& rows = pending_[run];
      while (!rows.empty() && rows.front().sequence <= sequence) rows.pop_front();
    }
  }
}

void PipeSink::wait(short events_out) {
  pollfd both[2] = {{in_, POLLIN, 0}, {out_, events_out, 0}};
  ::poll(both, events_out != 0 ? 2 : 1, -1);
  if (events_out != 0 && (both[1].revents & (POLLERR | POLLNVAL)) != 0) closed_ = true;
}

std::string PipeSink::read_line() {
  std::string line;
  while (!lines_.next(line)) {
    if (closed_) fail();
    wait(0);
    read_available();
  }
  return line;
}

void PipeSink::emit(Row row) {
  unsent_ += encode_row(row);
  unsent_ += '\n';
  pending_[row.run].push_back(std::move(row));
  if (unsent_.size() >= kSendAt_bytes || now_ms() - sent_ms_ >= kSendEvery_ms) flush();
}

void PipeSink::report_progress(std::int64_t done, std::int64_t all) {
  const std::int64_t now = now_ms();
  if (done < all && now - told_ms_ < kTellEvery_ms) return;
  told_ms_ = now;
  unsent_ += encode_progress({done, all}) + "\n";
  flush();
}

std::vector<Row> PipeSink::unacknowledged() {
  read_acknowledgements();
  std::vector<Row> rows;
  for (const auto& [run, of_run] : pending_) rows.insert(rows.end(), of_run.begin(), of_run.end());
  return rows;
}

void PipeSink::flush() {
  std::size_t sent = 0;
  while (sent < unsent_.size()) {
    read_acknowledgements();
    if (closed_) fail();
    const ssize_t wrote = ::write(out_, unsent_.data() + sent, unsent_.size() - sent);
    if (wrote >= 0) {
      sent += static_cast<std::size_t>(wrote);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait(POLLOUT);
    } else if (errno != EINTR) {
      closed_ = true;
    }
  }
  unsent_.clear();
  sent_ms_ = now_ms();
  if (closed()) fail();
}

bool PipeSink::closed() {
  read_acknowledgements();
  return closed_;
}

}  // namespace tandem
