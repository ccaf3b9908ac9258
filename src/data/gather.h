// Batches are gathered by index from a data set that lies on the device. There is no host
// branch on a tensor and no copy from the host, so that a step that gathers can be captured as a
// CUDA graph.
//
// Shapes: R replicas (runs of the group), B examples of a batch, N examples of the data set, F
// inputs of an example, L bytes of a corpus, context the tokens of a sequence, Q those of them that
// are asked.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "data/input_view.h"

namespace tandem {

struct DeviceDataset {
  Dataset::Kind kind = Dataset::Kind::kImages;
  at::Tensor inputs;                  // as Dataset has them
  at::Tensor labels;                  // int64 [N]; undefined of sequences
  at::Tensor asked, answers;          // int64 [N,Q] of listed sequences
  at::Tensor documents;               // int64 [D], where each begins; undefined: not told apart
  at::ScalarType dtype = at::kFloat;  // type of gathered images
  double scale = 1, shift = 0;        // x = u8 * scale + shift
};

// Moves the tensors to the device, once.
DeviceDataset to_device(const Dataset& dataset, at::Device device, at::ScalarType dtype);

// The views of each run's tasks on the device.
struct DeviceViews {
  at::Tensor from;    // int32 [R tasks, F, taps]; undefined: inputs are seen as they are
  at::Tensor weight;  // float, likewise; undefined: 1
};
// [R][tasks]; the views of all runs have as many taps.
DeviceViews to_device(const std::vector<std::vector<InputView>>& views, at::Device device);

// The angle of each example of each run on the device.
struct DeviceAngles {
  at::Tensor number;  // int32 [R,N]; undefined: inputs are seen as they are
  at::Tensor turn;    // double [angles,2], the cosine and sine of each
};
// [R]; the angles of all runs lie on the same arcs.
DeviceAngles to_device(const std::vector<std::shared_ptr<const ExampleAngles>>& angles,
                       at::Device device);

// `indices` are int64 [R,B] on the device.
at::Tensor gather_images(const DeviceDataset& dataset, const at::Tensor& indices);  // [R,B,F]
// The same through views: `view`, int64 [R,B], are rows of the tables.
at::Tensor gather_images(const DeviceDataset& dataset, const at::Tensor& indices,
                         const DeviceViews& views, const at::Tensor& view);
// The same of images that are seen under angles of their own: row r of `indices` with run r's.
at::Tensor gather_images(const DeviceDataset& dataset, const at::Tensor& indices,
                         const DeviceAngles& angles);
at::Tensor gather_labels(const DeviceDataset& dataset, const at::Tensor& indices);  // int64 [R,B]
// Returns inputs and targets, each int64 [R,B,context], of windows that begin at `starts`, int64
// [R,B]; targets are one byte later than inputs.
std::pair<at::Tensor, at::Tensor> gather_windows(const DeviceDataset& dataset,
                                                 const at::Tensor& starts, std::int64_t context);

// The same of packed documents: inputs carry where their document begins within the window
// (data/packed.h), 0 where it begins before it; `counted`, bool [R,B,context], are the targets that
// belong to their input's document.
struct PackedWindows {
  at::Tensor x, target, counted;
};
PackedWindows gather_packed(const DeviceDataset& dataset, const at::Tensor& starts,
                            std::int64_t context);

// Sequences that are asked at some of their places: x and target (0 where nothing is asked) int64
// [R,B,T], the places int64 [R,B,Q].
struct AskedSequences {
  at::Tensor x, target, asked;
};
AskedSequences gather_sequences(const DeviceDataset& dataset, const at::Tensor& indices);
// The same in tasks' own tokens: `tokens`, int64 [tables,V], has what stands for each token, and
// `table`, int64 [R,B], says which of its rows is an example's.
AskedSequences gather_sequences(const DeviceDataset& dataset, const at::Tensor& indices,
                                const at::Tensor& tokens, const at::Tensor& table);

// Of rows [R,N,...] those that are asked, `asked` int64 [R,M]: [R,M,...]. Undefined: all of them.
at::Tensor asked_rows(const at::Tensor& rows, const at::Tensor& asked);

}  // namespace tandem
