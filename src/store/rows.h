// What a worker tells the writer. A row carries (run, sequence number); the store takes each such
// pair once, so that sending again after a kill is harmless. Rows travel as JSON lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace tandem {

// How one level of a net was read.
struct LevelRead {
  std::string stream = "full";  // "none" (no such level), "full", "sparse", or a branch's own name
  std::optional<double> budget = {};  // of "sparse", in `unit`
  std::string unit = {};              // "density", "blocks", "top_p"; "" where there is no budget
  bool operator==(const LevelRead&) const = default;
};

// How a net was read: what tells two evaluations of the same run, step and task apart. It is stored
// once, in the table readout.
struct ReadoutRecord {
  LevelRead attention = {.stream = "none"}, weights = {};
  bool masked = false;   // logits masked to the task's classes
  std::string net = {};  // "task": each task through its own net; "": one net for all
  std::optional<std::int64_t> context = {};  // tokens, where it is not the trained length
  std::string scaling = {};                  // of positions beyond the trained length
  std::string statistics = {};               // of batch normalisation, where the net has it
  std::string condition = {};  // of the examples, "NAME=VALUE": distance, depth, length, ...
  bool operator==(const ReadoutRecord&) const = default;
};
// A text that is equal exactly where the read-outs are: "attention=sparse:4:blocks weights=full".
// Parts that are as by default are left out, so that a new part leaves old texts as they are.
std::string identity_of(const ReadoutRecord& readout);

// One evaluation of one run on one task, in one read-out. Counts first: metrics are views over
// them.
struct EvalRow {
  std::int64_t stage =
      0;  // tasks finished; 0 = before any training. A single-task run ends in stage 1
  std::int64_t step = 0;
  std::int64_t task = 0;  // which task's examples, from 1
  ReadoutRecord readout = {};
  std::string split = "validation";  // "train", "validation", "test"
  std::int64_t n_correct = 0, n_total = 0;
  double loss = 0;                // mean over n_total, nats
  std::string example_bits = {};  // one bit per example, final evaluations only; hex-free raw bytes
};

struct MetricRow {
  std::int64_t step = 0;
  std::string layer;  // "" = the whole net
  std::string name;   // e.g. "kept_mass", "entropy", "gap", "train_loss"
  double value = 0;
};

struct TopologyRow {
  std::int64_t step = 0;
  std::string layer;
  std::int64_t nnz = 0, dropped = 0, grown = 0;
  std::string mask_hash;  // 16 hex digits of the set of active positions, see topology/active_set.h
};

// Digests (kernels/digest/digest.h) of all parameters of the run after `step` of its steps, as its
// storage has them: equal digests are equal bits. At most one row a step.
struct DigestRow {
  std::int64_t step = 0;
  std::vector<std::string> tensors;    // names, as checkpoints have them
  std::vector<std::uint64_t> digests;  // of each
};

// State of the run: "running", "done", "diverged", "failed", "stopped".
struct StateRow {
  std::string state;
  std::int64_t step = 0;
  double train_seconds = 0, eval_seconds = 0, probe_seconds = 0;  // this run's share of its group's
  double train_flops = 0;                                         // measured from the sets in use
  double inference_flops = 0;                                     // per example, sparse read-out
  std::string message = {};
};

struct ProvenanceRow {
  std::string json;  // one object: revision, machine, libraries, data files, threads, argv, device
};

using RowBody = std::variant<EvalRow, MetricRow, TopologyRow, StateRow, ProvenanceRow, DigestRow>;

struct Row {
  std::string run;  // run id, 64 hex digits
  std::int64_t sequence = 0;
  RowBody body;
};

std::string encode_row(const Row& row);   // one line, no newline inside
Row decode_row(const std::string& line);  // throws StoreError on a malformed line

}  // namespace tandem
