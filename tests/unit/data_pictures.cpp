// Readers of colour images and of one's own: what stands in the files, pixel by pixel, against
// files written here; what is refused names the file.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <jpeglib.h>  // after <cstdio>, which it needs
#include <png.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "data/content.h"
#include "data/data_facts.h"
#include "data/dataset.h"
#include "data/npy.h"
#include "data/picture_file.h"
#include "data/pictures.h"
#include "unit/data_files.h"

namespace tandem::test::data_pictures_unit {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

std::string bytes_of(const std::vector<std::uint8_t>& values) {
  return {values.begin(), values.end()};
}

// Rows of pixels with all of their channels.
void write_png(const std::string& path, int height, int width, int channels,
               const std::vector<std::uint8_t>& rows) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = channels == 1 ? PNG_FORMAT_GRAY : channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_RGBA;
  fs::create_directories(fs::path(path).parent_path());
  REQUIRE(png_image_write_to_file(&image, path.c_str(), 0, rows.data(), 0, nullptr) != 0);
}

// Of one row of 16-bit grey values, or of 8-bit ones with a gamma of 1.
void write_odd_png(const std::string& path, const std::vector<std::uint16_t>& values, int bits) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  REQUIRE(file != nullptr);
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, file);
  png_set_IHDR(png, info, static_cast<png_uint_32>(values.size()), 1, bits, PNG_COLOR_TYPE_GRAY,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (bits == 8) png_set_gAMA(png, info, 1.0);
  png_write_info(png, info);
  std::vector<std::uint8_t> row;
  for (const std::uint16_t value : values) {
    if (bits == 16) row.push_back(static_cast<std::uint8_t>(value >> 8));
    row.push_back(static_cast<std::uint8_t>(value & 0xFF));
  }
  png_write_row(png, row.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  std::fclose(file);
}

void write_jpeg(const std::string& path, int height, int width, int channels,
                const std::vector<std::uint8_t>& rows) {
  fs::create_directories(fs::path(path).parent_path());
  jpeg_compress_struct info{};
  jpeg_error_mgr error{};
  info.err = jpeg_std_error(&error);
  jpeg_create_compress(&info);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  REQUIRE(file != nullptr);
  jpeg_stdio_dest(&info, file);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    std::vector<std::uint8_t> row(
        rows.begin() + static_cast<std::ptrdiff_t>(info.next_scanline) * width * channels,
        rows.begin() + static_cast<std::ptrdiff_t>(info.next_scanline + 1) * width * channels);
    JSAMPROW at = row.data();
    jpeg_write_scanlines(&info, &at, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::fclose(file);
}

void write_npy(const std::string& path, const std::string& type, const std::string& shape,
               const std::string& values, int version = 1) {
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", type, shape);
  const std::size_t before = version == 1 ? 10 : 12;
  header += std::string(64 - (before + header.size() + 1) % 64, ' ') + "\n";
  std::string text = "\x93NUMPY";
  text += static_cast<char>(version);
  text += '\0';
  text += static_cast<char>(header.size() & 0xFF);
  text += static_cast<char>(header.size() >> 8);
  if (version > 1) text += std::string(2, '\0');
  fs::create_directories(fs::path(path).parent_path());
  atomic_write(path, text + header + values);
}

std::vector<int> row_of(const Dataset& data, std::int64_t example) {
  const at::Tensor row = data.inputs[example].to(at::kInt).contiguous();
  return {row.data_ptr<int>(), row.data_ptr<int>() + row.numel()};
}

std::vector<std::int64_t> labels_of(const Dataset& data) {
  const auto* labels = data.labels.const_data_ptr<std::int64_t>();
  return {labels, labels + data.labels.numel()};
}

std::shared_ptr<const Dataset> load(const std::string& data, const std::string& folder,
                                    const Settings& more = {}) {
  Settings said = {{"data", data}, {"data_dir", folder}, {"validation", "0"}};
  for (const auto& [name, value] : more) said[name] = value;
  return load_dataset(Config::resolve(said));
}

// Pixel i of record n, channel c is n + 10 c + i % 7.
std::string cifar_records(int first, int count, int label_bytes) {
  std::string bytes;
  for (int n = first; n < first + count; ++n) {
    if (label_bytes == 2) bytes += static_cast<char>(19);
    bytes += static_cast<char>(n % 10);
    for (int c = 0; c < 3; ++c) {
      for (int i = 0; i < 1024; ++i) bytes += static_cast<char>(n + 10 * c + i % 7);
    }
  }
  return bytes;
}

}  // namespace

TEST_CASE("the binary CIFAR sets, channel by channel", "[unit]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "cifar10");
  atomic_write(folder / "cifar10/data_batch_1.bin", cifar_records(0, 12, 1));
  atomic_write(folder / "cifar10/data_batch_2.bin", cifar_records(12, 8, 1));
  atomic_write(folder / "cifar10/test_batch.bin", cifar_records(30, 10, 1));
  const auto data = load("cifar10", folder.path());
  CHECK(data->train.size() == 20);
  CHECK(data->test.size() == 10);
  CHECK(data->classes == 10);
  CHECK(data->features == 3072);
  CHECK(data->channels == 3);
  CHECK(data->height == 32);
  const auto row = row_of(*data, 13);
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < 1024; ++i)
      REQUIRE(row[static_cast<std::size_t>(c * 1024 + i)] == 13 + 10 * c + i % 7);
  }
  CHECK(labels_of(*data)[13] == 3);
  CHECK(data->files.size() == 3);

  fs::create_directories(folder / "cifar100");
  atomic_write(folder / "cifar100/train.bin", cifar_records(0, 10, 2));
  atomic_write(folder / "cifar100/test.bin", cifar_records(3, 4, 2));
  const auto fine = load("cifar100", folder.path());
  CHECK(fine->classes == 100);
  CHECK(labels_of(*fine)[3] == 3);  // the fine label, not the coarse one
  CHECK(row_of(*fine, 3) == row_of(*data, 3));

  atomic_write(folder / "cifar10/data_batch_2.bin", cifar_records(12, 8, 1).substr(1));
  CHECK_THROWS_WITH(load("cifar10", folder.path(), {{"train_examples", "5"}}),
                    Contains("data_batch_2.bin") && Contains("records of 3073 bytes"));
  std::string wrong = cifar_records(0, 1, 1);
  wrong[0] = 11;
  atomic_write(folder / "cifar10/data_batch_2.bin", wrong);
  CHECK_THROWS_WITH(load("cifar10", folder.path(), {{"train_examples", "6"}}),
                    Contains("expected labels 0..9, found 11"));
  fs::remove(folder / "cifar10/test_batch.bin");
  CHECK_THROWS_WITH(load("cifar10", folder.path(), {{"train_examples", "7"}}),
                    Contains("test_batch.bin"));
}

TEST_CASE("EMNIST is turned upright and its letters count from 0", "[unit]") {
  const TemporaryFolder folder;
  // One image of 2 x 2, stored column by column: a b / c d is a c b d.
  const auto write = [&](const std::string& part, const std::string& pixels,
                         const std::string& labels) {
    const auto count = static_cast<std::uint32_t>(labels.size());
    atomic_write(folder / ("emnist-letters-" + part + "-images-idx3-ubyte"),
                 idx_bytes({count, 2, 2}, pixels));
    atomic_write(folder / ("emnist-letters-" + part + "-labels-idx1-ubyte"),
                 idx_bytes({count}, labels));
  };
  write("train", "\x01\x03\x02\x04", "\x1a");
  write("test", "\x05\x07\x06\x08", "\x01");
  const auto data = load("emnist_letters", folder.path());
  CHECK(row_of(*data, 0) == std::vector<int>{1, 2, 3, 4});
  CHECK(row_of(*data, 1) == std::vector<int>{5, 6, 7, 8});
  CHECK(labels_of(*data) == std::vector<std::int64_t>{25, 0});
  CHECK(data->classes == 26);
  write("train", "\x01\x03\x02\x04", std::string(1, '\0'));
  CHECK_THROWS_WITH(load("emnist_letters", folder.path(), {{"normalize", "standardized"}}),
                    Contains("expected labels 1..26, found 0"));
}

TEST_CASE("images are padded in their middle, and normalised by constants", "[unit]") {
  const TemporaryFolder folder;
  write_npy(folder / "train_images.npy", "|u1", "(2, 2, 3)",
            bytes_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  write_npy(folder / "train_labels.npy", "<i8", "(2,)",
            std::string("\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16));
  write_npy(folder / "test_images.npy", "|u1", "(1, 2, 3)", bytes_of({20, 21, 22, 23, 24, 25}));
  write_npy(folder / "test_labels.npy", "|u1", "(1,)", bytes_of({1}), 2);
  const Settings padded = {{"pad_to", "5"},
                           {"normalize", "constants"},
                           {"pixel_mean", "0.1"},
                           {"pixel_deviation", "0.2752"}};
  const auto data = load("images", folder.path(), padded);
  CHECK(data->features == 25);
  CHECK(data->classes == 2);
  CHECK(data->mean == 0.1);
  CHECK(data->deviation == 0.2752);
  const std::vector<int> first = {0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 4, 5,
                                  6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  CHECK(row_of(*data, 0) == first);
  CHECK(labels_of(*data) == std::vector<std::int64_t>{0, 1, 1});
  CHECK(load("images", folder.path())->features == 6);
  CHECK_THROWS_WITH(load("images", folder.path(), {{"pad_to", "2"}}),
                    Contains("pad_to = 2 is less than the 2x3 pixels"));
  // What a network sees is told from the data, and the data's hash is of the files, not of the
  // frame.
  Settings said = {{"data", "images"}, {"data_dir", folder.path()}, {"validation", "0"}};
  const auto hash = [&](const Settings& more) {
    Settings all = said;
    for (const auto& [name, value] : more) all[name] = value;
    return content_of(Config::resolve(all), ContentMemory(""));
  };
  CHECK(hash({}) == hash({{"pad_to", "5"}}));
  CHECK(hash({}) != hash({{"image_size", "2"}}));
  const std::string wide = hash({});
  CHECK_THROWS_WITH(load("images", folder.path(), {{"test_share", "0.5"}}),
                    Contains("test split of its own"));
  // The same bytes in another shape are other pictures.
  write_npy(folder / "train_images.npy", "|u1", "(2, 3, 2)",
            bytes_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  write_npy(folder / "test_images.npy", "|u1", "(1, 3, 2)", bytes_of({20, 21, 22, 23, 24, 25}));
  CHECK(hash({}) != wide);
  said["pad_to"] = "5";
  CHECK(seen_data(Config::resolve(said)).features == 25);
  CHECK(seen_data(Config::resolve(said)).classes == 2);
}

TEST_CASE("arrays of NumPy: types, versions, colour and what is refused", "[unit]") {
  const TemporaryFolder folder;
  const auto path = [&folder](const std::string& name) { return folder / name; };
  write_npy(path("a.npy"), "<i4", "(3,)", std::string("\1\0\0\0\xff\xff\xff\xff\0\1\0\0", 12), 3);
  CHECK(read_npy_integers(path("a.npy")) == std::vector<std::int64_t>{1, -1, 256});
  write_npy(path("b.npy"), "<u2", "(2,)", std::string("\1\1\2\0", 4));
  CHECK(read_npy_integers(path("b.npy")) == std::vector<std::int64_t>{257, 2});
  write_npy(path("c.npy"), "<f4", "(1,)", std::string(4, '\0'));
  CHECK_THROWS_WITH(read_npy_integers(path("c.npy")), Contains("type <f4"));
  CHECK_THROWS_WITH(read_npy_bytes(path("c.npy")), Contains("uint8, pixels of 0 to 255"));
  write_npy(path("d.npy"), "|u1", "(2, 2)", "abc");
  CHECK_THROWS_WITH(read_npy_bytes(path("d.npy")), Contains("2x2 values") && Contains("3 bytes"));
  CHECK_THROWS_WITH(read_npy_integers(path("d.npy")), Contains("one dimension"));
  write_npy(path("column.npy"), "|u1", "(3, 1)", bytes_of({4, 0, 2}));
  CHECK(read_npy_integers(path("column.npy")) == std::vector<std::int64_t>{4, 0, 2});
  write_npy(path("one_hot.npy"), "|u1", "(1, 3)", bytes_of({0, 1, 0}));
  CHECK_THROWS_WITH(read_npy_integers(path("one_hot.npy")), Contains("found 1x3"));
  atomic_write(path("e.npy"), "no numpy at all");
  CHECK_THROWS_WITH(read_npy_bytes(path("e.npy")), Contains("a .npy file"));

  // [N,H,W,3] becomes channels of rows.
  write_npy(path("rgb/train_images.npy"), "|u1", "(2, 1, 2, 3)",
            bytes_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  write_npy(path("rgb/train_labels.npy"), "|u1", "(2,)", bytes_of({0, 1}));
  write_npy(path("rgb/test_images.npy"), "|u1", "(1, 1, 2, 3)", bytes_of({1, 2, 3, 4, 5, 6}));
  write_npy(path("rgb/test_labels.npy"), "|u1", "(1,)", bytes_of({0}));
  const auto data = load("images", path("rgb"));
  CHECK(data->channels == 3);
  CHECK(row_of(*data, 0) == std::vector<int>{1, 4, 2, 5, 3, 6});
  CHECK(row_of(*data, 1) == std::vector<int>{7, 10, 8, 11, 9, 12});
  fs::remove(path("rgb/test_labels.npy"));
  CHECK_THROWS_WITH(load("images", path("rgb"), {{"train_examples", "1"}}),
                    Contains("test_labels.npy beside it"));
}

TEST_CASE("pictures: PNG to the pixel, JPEG within rounding, damaged ones by name", "[unit]") {
  const TemporaryFolder folder;
  write_png(folder / "grey.png", 2, 3, 1, {1, 2, 3, 4, 5, 6});
  const PictureFile grey = read_picture(folder / "grey.png");
  CHECK(grey.channels == 1);
  CHECK(grey.height == 2);
  CHECK(grey.width == 3);
  CHECK(grey.pixels == std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6});
  write_png(folder / "colour.png", 1, 2, 3, {10, 20, 30, 40, 50, 60});
  CHECK(read_picture(folder / "colour.png").pixels ==
        std::vector<std::uint8_t>{10, 40, 20, 50, 30, 60});
  write_png(folder / "alpha.png", 1, 2, 4, {10, 20, 30, 255, 40, 50, 60, 255});
  const PictureFile alpha = read_picture(folder / "alpha.png");
  CHECK(alpha.channels == 3);
  CHECK(alpha.pixels == std::vector<std::uint8_t>{10, 40, 20, 50, 30, 60});

  // Values are as they are stored.
  write_odd_png(folder / "deep.png", {0x4040, 0xC0C0, 0xFFFF}, 16);
  CHECK(read_picture(folder / "deep.png").pixels == std::vector<std::uint8_t>{64, 192, 255});
  write_odd_png(folder / "gamma.png", {64, 192, 255}, 8);
  CHECK(read_picture(folder / "gamma.png").pixels == std::vector<std::uint8_t>{64, 192, 255});

  std::vector<std::uint8_t> slope;
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) slope.push_back(static_cast<std::uint8_t>(8 * y + 4 * x));
  }
  write_jpeg(folder / "slope.jpg", 16, 16, 1, slope);
  const PictureFile read = read_picture(folder / "slope.jpg");
  REQUIRE(read.pixels.size() == slope.size());
  for (std::size_t i = 0; i < slope.size(); ++i) CHECK(std::abs(read.pixels[i] - slope[i]) <= 2);

  const std::string whole = read_file(folder / "slope.jpg");
  atomic_write(folder / "cut.jpg", whole.substr(0, whole.size() / 2));
  CHECK_THROWS_WITH(read_picture(folder / "cut.jpg"),
                    Contains("cut.jpg") && Contains("a damaged JPEG"));
  write_jpeg(folder / "inks.jpg", 8, 8, 4, std::vector<std::uint8_t>(256, 90));
  CHECK_THROWS_WITH(read_picture(folder / "inks.jpg"),
                    Contains("inks.jpg") && Contains("CMYK") && !Contains("damaged"));
  const std::string png = read_file(folder / "grey.png");
  atomic_write(folder / "cut.png", png.substr(0, png.size() - 20));
  CHECK_THROWS_WITH(read_picture(folder / "cut.png"), Contains("cut.png") && Contains("PNG"));
  atomic_write(folder / "text.png", "not a picture");
  CHECK_THROWS_AS(read_picture(folder / "text.png"), DataError);
}

TEST_CASE("a folder for each class: labels by name, one size, a drawn test split", "[unit]") {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& name, std::uint8_t value) {
    write_png(folder / name, 2, 2, 1, {value, value, value, value});
  };
  for (int i = 0; i < 6; ++i) {
    put(fmt::format("set/cat/{}.png", i), static_cast<std::uint8_t>(10 + i));
    put(fmt::format("set/dog/{}.png", i), static_cast<std::uint8_t>(50 + i));
  }
  atomic_write(folder / "set/notes.txt", "not a class");
  const auto data = load("images", folder / "set", {{"test_share", "0.25"}});
  CHECK(data->train.size() == 9);
  CHECK(data->test.size() == 3);
  CHECK(data->classes == 2);
  const auto labels = labels_of(*data);
  std::set<int> values;
  for (std::int64_t i = 0; i < 12; ++i) {
    const int value = row_of(*data, i)[0];
    CHECK(labels[static_cast<std::size_t>(i)] == (value >= 50));
    values.insert(value);
  }
  CHECK(values.size() == 12);
  REQUIRE(data->files.size() == 1);
  CHECK_THAT(data->files[0].path, Contains("(12 pictures)"));

  for (const char* name : {"two/train/a/1.png", "two/train/b/1.png", "two/test/b/2.png"}) {
    put(name, 7);
  }
  const auto two = load("images", folder / "two");
  CHECK(two->train.size() == 2);
  CHECK(labels_of(*two) == std::vector<std::int64_t>{0, 1, 1});
  write_png(folder / "two/test/b/3.png", 4, 4, 3, std::vector<std::uint8_t>(48, 9));
  CHECK_THROWS_WITH(load("images", folder / "two", {{"validation", "0.5"}}),
                    Contains("3.png") && Contains("--image-size"));
  const auto sized = load("images", folder / "two", {{"image_size", "4"}});
  CHECK(sized->features == 48);  // grey ones in colour, since one is
  CHECK(row_of(*sized, 0) == std::vector<int>(48, 7));
  CHECK(row_of(*sized, 3) == std::vector<int>(48, 9));
  put("two/test/c/1.png", 1);
  CHECK_THROWS_WITH(load("images", folder / "two", {{"image_size", "5"}}),
                    Contains("class c has no training pictures"));
  CHECK_THROWS_WITH(load("images", ""), Contains("--data-dir"));
  fs::create_directories(folder / "empty");
  CHECK_THROWS_WITH(load("images", folder / "empty"), Contains("PNG or JPEG"));
}

// What is written to standard error meanwhile.
template <class Work>
std::string errors_of(const Work& work) {
  const TemporaryFolder folder;
  std::FILE* file = std::fopen((folder / "stderr").c_str(), "wb");
  REQUIRE(file != nullptr);
  std::fflush(stderr);
  const int before = ::dup(2);
  ::dup2(::fileno(file), 2);
  work();
  std::fflush(stderr);
  ::dup2(before, 2);
  ::close(before);
  std::fclose(file);
  return read_file(folder / "stderr");
}

TEST_CASE("what may hold pictures and is not read is named", "[unit]") {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& name) {
    write_png(folder / name, 2, 2, 1, {1, 2, 3, 4});
  };
  const auto refused = [&](const std::string& set, const std::string& name,
                           const std::string& why) {
    CAPTURE(set);
    CHECK_THROWS_WITH(load("images", folder / set),
                      Contains(folder / (set + "/" + name) + ":") && Contains(why));
  };
  for (const std::string set : {"empty", "kinds", "deep", "loose", "beside"}) {
    const std::string in = set == "beside" ? "beside/train" : set;
    for (const char* name : {"/cat/1.png", "/cat/2.png", "/dog/1.png", "/dog/2.png"}) {
      put(in + name);
    }
  }
  fs::create_directories(folder / "empty/eel");
  refused("empty", "eel", "expected pictures of class eel, found an empty folder");
  fs::create_directories(folder / "kinds/eel");
  for (const char* name : {"1.bmp", "2.webp", "3.gif"}) {
    atomic_write(folder / (std::string("kinds/eel/") + name), "x");
  }
  refused("kinds", "eel", "found none, but 3 others, as " + (folder / "kinds/eel/1.bmp"));
  put("deep/dog/puppies/3.png");
  refused("deep", "dog/puppies", "found a folder in it; move its pictures up");
  put("loose/3.png");
  refused("loose", "3.png", "found one outside of any");
  put("beside/val/cat/1.png");
  refused("beside", "val", "found another folder beside them");

  // Beside good pictures they are counted.
  for (const char* name : {"cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/2.png"}) {
    put(std::string("mixed/") + name);
  }
  atomic_write(folder / "mixed/cat/4.webp", "x");
  atomic_write(folder / "mixed/dog/notes.txt", "x");
  const std::string said = errors_of([&] { load("images", folder / "mixed"); });
  CHECK_THAT(said, Contains("2 files beside the pictures of classes are not read, as " +
                            (folder / "mixed/cat/4.webp")));
  CHECK(errors_of([&] {
          fs::remove(folder / "mixed/cat/4.webp");
          fs::remove(folder / "mixed/dog/notes.txt");
          load("images", folder / "mixed", {{"train_examples", "2"}});
        }).empty());
}

TEST_CASE("a class that a drawn split leaves no training picture", "[unit]") {
  const TemporaryFolder folder;
  for (int i = 0; i < 8; ++i) {
    const auto value = static_cast<std::uint8_t>(i);
    write_png(folder / fmt::format("set/{}/1.png", "abcdefgh"[i]), 1, 1, 1, {value});
  }
  CHECK_THROWS_WITH(load("images", folder / "set", {{"test_share", "0.5"}}),
                    Contains("test_share = 0.5 drew all pictures of class ") &&
                        Contains("(1 of them)") && Contains("give another --test-share"));
  std::string images;
  for (char i = 0; i < 8; ++i) images += i;
  write_npy(folder / "array/images.npy", "|u1", "(8, 1, 1)", images);
  write_npy(folder / "array/labels.npy", "|u1", "(8, 1)", images);
  CHECK_THROWS_WITH(
      load("images", folder / "array", {{"test_share", "0.25"}}),
      Contains("test_share = 0.25 drew all pictures of class ") && Contains(folder / "array"));
}

TEST_CASE("IDX files of colour have their channels last", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "faces",
               idx_bytes({4, 1, 2, 3}, bytes_of({1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                                 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24})));
  atomic_write(folder / "names", idx_bytes({4}, std::string("\0\1\0\1", 4)));
  atomic_write(folder / "test_faces", idx_bytes({1, 1, 2, 3}, "abcdef"));
  atomic_write(folder / "test_names", idx_bytes({1}, "\1"));
  const auto data = load("images", folder.path());
  CHECK(data->channels == 3);
  CHECK(row_of(*data, 1) == std::vector<int>{7, 10, 8, 11, 9, 12});
  CHECK(row_of(*data, 4) == std::vector<int>{'a', 'd', 'b', 'e', 'c', 'f'});
  atomic_write(folder / "test_faces", idx_bytes({1, 1, 2, 5}, "abcdefghij"));
  CHECK_THROWS_WITH(load("images", folder.path(), {{"train_examples", "1"}}),
                    Contains("expected [N,H,W] or [N,H,W,3]") && Contains("the last of 5"));
}

TEST_CASE("IDX files of any name", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "latest_faces", idx_bytes({4, 1, 2}, "abcdefgh"));
  atomic_write(folder / "names", idx_bytes({4}, std::string("\0\1\0\1", 4)));
  const auto one = load("images", folder.path(), {{"test_share", "0.25"}});
  CHECK(one->train.size() == 3);
  CHECK(one->test.size() == 1);
  atomic_write(folder / "test_faces", idx_bytes({1, 1, 2}, "xy"));
  CHECK_THROWS_WITH(load("images", folder.path(), {{"train_examples", "1"}}),
                    Contains("test_faces") && Contains("found one"));
  atomic_write(folder / "test_names", idx_bytes({1}, "\2"));
  atomic_write(folder / "names", idx_bytes({4}, std::string("\0\1\2\1", 4)));
  const auto two = load("images", folder.path());
  CHECK(two->train.size() == 4);
  CHECK(two->classes == 3);
  CHECK(labels_of(*two) == std::vector<std::int64_t>{0, 1, 2, 1, 2});
  atomic_write(folder / "names", idx_bytes({4}, std::string("\0\3\0\3", 4)));
  CHECK_THROWS_WITH(load("images", folder.path(), {{"train_examples", "2"}}),
                    Contains("every label 0 to 3, found none of 1"));
}

}  // namespace tandem::test::data_pictures_unit
