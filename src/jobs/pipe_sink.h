// The worker's row sink: rows go out on one pipe, acknowledgements come in on another. Writing
// waits with poll() for either pipe, so that two full pipes can't lock the two processes. A thread
// turns rows into lines and sends them while training goes on; only who asks for a flush, or is
// ahead of it by a hundred thousand rows, waits for the pipe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "jobs/process.h"
#include "jobs/worker_protocol.h"
#include "plan/group.h"

namespace tandem {

class PipeSink : public RowSink {
 public:
  // The descriptors stay the caller's. Makes both of them non-blocking.
  PipeSink(int lines_in, int rows_out);
  ~PipeSink() override;  // what is unsent by then is lost, as it is where the process ends
  PipeSink(const PipeSink&) = delete;
  PipeSink& operator=(const PipeSink&) = delete;

  std::string read_line();  // waits; throws StoreError where the pipe closes first

  void emit(Row row) override;  // sends now and then by itself, so that followers see it early
  std::vector<Row> unacknowledged() override;
  void flush() override;
  void report_progress(std::int64_t done, std::int64_t all) override;  // sends now and then

  // Whether the writer is gone. Cheap enough to be asked at each step.
  bool closed();

 private:
  using Sent = std::variant<Row, StepsDone>;

  void put(Sent what);
  void send_now_and_then();
  // Of who holds io_.
  void take_waiting();
  void send();
  void read_acknowledgements();
  void read_available();
  void wait(short events_out);
  [[noreturn]] void fail();

  int in_, out_;
  std::mutex io_;  // of all that is from here to closed_
  LineBuffer lines_;
  std::map<std::string, std::deque<Row>> pending_;  // by run, in the order of its sequence numbers
  std::string unsent_;
  std::exception_ptr error_;  // what ended the thread
  std::atomic<bool> closed_ = false;

  std::mutex queue_;  // of all that is from here to ends_; taken after io_
  std::condition_variable woken_;
  std::vector<Sent> waiting_;
  bool ends_ = false;

  std::int64_t told_ms_ = 0;
  std::thread sender_;
};

}  // namespace tandem
