// Sending and acknowledging, without ever blocking on one pipe while the other needs attention.
// Whoever holds the lock of the pipes sends, the thread or a flush, so that rows keep their order.
#include "jobs/pipe_sink.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "core/error.h"

namespace tandem {
namespace {

constexpr std::size_t kSendAt_rows = 256, kMostWaiting_rows = 1 << 17, kWriteAt_bytes = 1 << 16;
constexpr std::int64_t kTellEvery_ms = 500;
constexpr auto kSendEvery = std::chrono::milliseconds(300);

std::int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

PipeSink::PipeSink(int lines_in, int rows_out) : in_(lines_in), out_(rows_out) {
  set_nonblocking(in_);
  set_nonblocking(out_);
  sender_ = std::thread([this] { send_now_and_then(); });
}

PipeSink::~PipeSink() {
  {
    const std::lock_guard<std::mutex> lock(queue_);
    ends_ = true;
  }
  woken_.notify_one();
  sender_.join();
}

void PipeSink::send_now_and_then() {
  while (true) {
    {
      std::unique_lock<std::mutex> lock(queue_);
      woken_.wait_for(lock, kSendEvery,
                      [this] { return ends_ || waiting_.size() >= kSendAt_rows; });
      if (ends_) return;
      if (waiting_.empty()) continue;
    }
    const std::lock_guard<std::mutex> lock(io_);
    try {
      send();
    } catch (...) {
      error_ = std::current_exception();  // for who flushes or asks next
      closed_ = true;
      return;
    }
  }
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
  const std::lock_guard<std::mutex> lock(io_);
  std::string line;
  while (!lines_.next(line)) {
    if (closed_) fail();
    wait(0);
    read_available();
  }
  return line;
}

void PipeSink::put(Sent what) {
  std::size_t count = 0;
  {
    const std::lock_guard<std::mutex> lock(queue_);
    waiting_.push_back(std::move(what));
    count = waiting_.size();
  }
  if (count == kSendAt_rows) woken_.notify_one();
  if (count >= kMostWaiting_rows) flush();
}

void PipeSink::emit(Row row) { put(std::move(row)); }

void PipeSink::report_progress(std::int64_t done, std::int64_t all) {
  const std::int64_t now = now_ms();
  if (done < all && now - told_ms_ < kTellEvery_ms) return;
  told_ms_ = now;
  put(StepsDone{done, all});
}

// Turns what waits into lines, and its rows into rows that are not acknowledged.
void PipeSink::take_waiting() {
  std::vector<Sent> taken;
  {
    const std::lock_guard<std::mutex> lock(queue_);
    taken.swap(waiting_);
  }
  for (Sent& each : taken) {
    if (auto* row = std::get_if<Row>(&each)) {
      unsent_ += encode_row(*row);
      pending_[row->run].push_back(std::move(*row));
    } else {
      unsent_ += encode_progress(std::get<StepsDone>(each));
    }
    unsent_ += '\n';
  }
}

std::vector<Row> PipeSink::unacknowledged() {
  const std::lock_guard<std::mutex> lock(io_);
  take_waiting();
  read_acknowledgements();
  std::vector<Row> rows;
  for (const auto& [run, of_run] : pending_) rows.insert(rows.end(), of_run.begin(), of_run.end());
  return rows;
}

void PipeSink::send() {
  take_waiting();
  std::size_t sent = 0;
  while (sent < unsent_.size()) {
    read_acknowledgements();
    if (closed_) fail();
    const std::size_t some = std::min(kWriteAt_bytes, unsent_.size() - sent);
    const ssize_t wrote = ::write(out_, unsent_.data() + sent, some);
    if (wrote >= 0) {
      sent += static_cast<std::size_t>(wrote);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait(POLLOUT);
    } else if (errno != EINTR) {
      closed_ = true;
    }
  }
  unsent_.clear();
  read_acknowledgements();
  if (closed_) fail();
}

void PipeSink::flush() {
  const std::lock_guard<std::mutex> lock(io_);
  if (error_) std::rethrow_exception(error_);
  send();
}

// While the thread sends it finds out by itself.
bool PipeSink::closed() {
  const std::unique_lock<std::mutex> lock(io_, std::try_to_lock);
  if (lock.owns_lock()) read_acknowledgements();
  return closed_;
}

}  // namespace tandem
