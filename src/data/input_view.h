// How the inputs of a data set are seen, by a task or each in its own way: each of its F pixels is
// a weighted sum of a few pixels of the source (of one with weight 1 where pixels are permuted, of
// four where an image is rotated). Nothing of the data set is copied: views are applied where a
// batch is gathered.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

struct InputView {
  std::int64_t taps = 1;           // source pixels of each pixel
  std::vector<std::int32_t> from;  // [F, taps]
  std::vector<float> weight = {};  // [F, taps]; empty: 1
};

// Pixel i of the view is pixel order[i] of the source.
InputView permuted_view(const std::vector<std::int64_t>& order);

// The extent of an image, whose channels lie one after the other, each row by row.
struct ImageExtent {
  std::int64_t height = 0, width = 0, channels = 1;
};

// The image turned about its centre by an angle in degrees, counter-clockwise as it is seen;
// bilinear, each channel alike, and 0 where it shows what lies outside of it.
InputView rotated_view(const ImageExtent& image, double degrees);

// Square images each of which is seen under an angle of its own, turned as by rotated_view(). Few
// numbers say all angles: they lie on arcs, and count on from one arc to the next.
struct ExampleAngles {
  struct Arc {
    double first = 0;        // degrees
    std::int64_t count = 0;  // of angles, once round: the k-th, from 0, is first + k 360 / count
  };
  std::vector<Arc> arcs;
  std::vector<std::int32_t> number;  // [N] of the angle of each example of the data set
};

// The angles of all arcs in degrees, from 0 to below 360.
std::vector<double> degrees_of(const std::vector<ExampleAngles::Arc>& arcs);

}  // namespace tandem
