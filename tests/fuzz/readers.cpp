/// Feeds mutated files to the readers of safetensors, packed models, CIFAR and images. A reader may return or throw
/// qdistill::Error; anything else is a failure: a crash, another exception, memory that is not given back, or more
/// memory than a constant times the size of the input (so no reader reserves what a file merely claims).
///
///   fuzz_readers [--runs N | --seconds S] [--seed K] [--only I]
///
/// Run I of seed K always makes the same input, so a failure is repeated by --seed K --only I. Built with
/// QDISTILL_LIBFUZZER=1 and -fsanitize=fuzzer the same check is libFuzzer's entry instead.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "../data/image_samples.hpp"
#include "../formats/formats_model.hpp"
#include "../formats/formats_model_v2.hpp"
#include "counted_memory.hpp"
#include "mutate.hpp"
#include "qdistill/data/cifar.hpp"
#include "qdistill/io/packed.hpp"

#if !defined(QDISTILL_LIBFUZZER)
#define QDISTILL_LIBFUZZER 0
#endif
#if !defined(QDISTILL_TEST_IMAGES)
#define QDISTILL_TEST_IMAGES 0
#endif

namespace {

using namespace qdistill;
using fuzz::Bytes;

constexpr int reader_count = 5;
const char* const reader_names[reader_count] = {"safetensors", "packed", "cifar10", "cifar100", "image"};

/// The most that a reader may hold for an input of n bytes. The widest is parsed JSON, an array object for "[],"; a
/// code of one bit becomes 16.
std::size_t allowance(std::size_t n) { return 60 * n + 20'000; }

/// An image may hold more pixels than its file has bytes: here up to 4096, in blocks of up to 32 x 32.
constexpr data::ImageLimits image_limits{.file_bytes = 1 << 20, .pixels = 4096};
[[maybe_unused]] constexpr std::size_t image_allowance = 32 * 32 * 4096 + (1 << 16);

/// What one input did.
struct Outcome {
  bool accepted = false;
  std::size_t peak = 0;
  const char* failure = nullptr;
};

/// Reads through everything that was accepted.
void use(const io::SafetensorsFile& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    switch (tensor.dtype) {
      case io::Dtype::F64:
      case io::Dtype::F32:
      case io::Dtype::F16:
      case io::Dtype::BF16:
        (void)file.values<float>(name);
        break;
      default:
        (void)file.values<std::int64_t>(name);
    }
  }
}
void use(const io::PackedModel& model) {
  validate(model);
  for (const auto& [name, encoding] : model.tensors) (void)decode_ref(encoding);
}
void use(const data::ImageSet& set) {
  for (const auto label : set.labels) check(label >= 0 && label < set.class_count, "fuzz", "got label ", label);
}

void use(const data::ImageHeader& h) { check(h.height * h.width <= 4096, "fuzz", "got ", h.height, " x ", h.width); }
[[maybe_unused]] void use(const data::RgbImage& image) {
  use(data::ImageHeader{image.height, image.width});
  const auto n = static_cast<std::size_t>(3 * image.height * image.width);
  check(n > 0 && image.pixels.size() == n, "fuzz", "got ", image.pixels.size());
}

template <class Read>
Outcome observe(std::size_t size, Read&& read, std::size_t more = 0) {
  Outcome outcome;
  const std::size_t before = counted_memory.live;
  counted_memory.peak = before;
  const auto note_peak = [&] {
    if (outcome.peak == 0) outcome.peak = counted_memory.peak - before;
  };
  try {
    const auto result = read();
    note_peak();
    outcome.accepted = true;
    try {
      use(result);
    } catch (const Error&) {
      outcome.failure = "an accepted file did not hold what it promised";
    }
  } catch (const Error&) {
    note_peak();
  } catch (const std::exception&) {
    outcome.failure = "an exception that is no qdistill::Error";
  }
  if (outcome.peak > allowance(size) + more) outcome.failure = "memory beyond the allowance";
  if (counted_memory.live != before) outcome.failure = "memory that was not given back";
  return outcome;
}

Outcome feed(int reader, const Bytes& input) {
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  switch (reader) {
    case 0:
      return observe(input.size(), [&] { return io::parse_safetensors(input, "input"); });
    case 1:
      return observe(input.size(), [&] { return io::unpack(io::parse_safetensors(input, "input")); });
    case 2:
      return observe(input.size(), [&] { return data::parse_cifar10(bytes, "input"); });
    case 3:
      return observe(input.size(), [&] { return data::parse_cifar100(bytes, "input"); });
    default:
#if QDISTILL_TEST_IMAGES
      return observe(
          input.size(), [&] { return data::decode_image(bytes, "input", image_limits); }, image_allowance);
#else
      return observe(input.size(), [&] { return data::check_image(bytes, "input", image_limits); });
#endif
  }
}

}  // namespace

#if QDISTILL_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const Outcome outcome = feed(data[0] % reader_count, Bytes(bytes + 1, bytes + size));
  if (outcome.failure) {
    std::fprintf(stderr, "FAILED: %s: %s\n", reader_names[data[0] % reader_count], outcome.failure);
    std::abort();
  }
  return 0;
}

#else

namespace {

/// Valid files for each reader.
std::vector<std::vector<Bytes>> valid_files() {
  std::vector<std::vector<Bytes>> files(reader_count);
  const std::vector<float> f{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> i{7};
  const std::vector<std::uint8_t> u{1, 0, 1};
  const std::vector<std::uint16_t> h{0x3C00, 0xC000};
  const std::vector<io::TensorEntry> entries{
      io::tensor_entry("a", {2, 3}, f),       io::tensor_entry("b", {}, i),
      io::tensor_entry("c.d", {3}, u),        {"half", io::Dtype::F16, {2}, std::as_bytes(std::span(h))},
      {"empty", io::Dtype::BF16, {0, 5}, {}}, {"flags", io::Dtype::BOOL, {3}, std::as_bytes(std::span(u))}};
  files[0] = {io::to_safetensors(entries, {{"format", "pt"}}), io::to_safetensors({})};
  for (const auto& model : {formats_model(), formats_model_v2()})
    for (const bool huffman : {false, true}) files[1].push_back(io::to_packed(model, {.huffman = huffman}));
  for (const int label_bytes : {1, 2}) {
    Bytes records;
    for (std::size_t k = 0; k < 3; ++k) {
      for (int l = 0; l < label_bytes; ++l) records.push_back(static_cast<std::byte>(3 + k));
      for (std::size_t p = 0; p < 3072; ++p) records.push_back(static_cast<std::byte>(p * (k + 1)));
    }
    files[static_cast<std::size_t>(1 + label_bytes)] = {std::move(records)};
  }
  for (const auto& image : {test::baseline_jpeg(), test::progressive_jpeg(), test::pattern_png(9, 14)}) {
    const auto bytes = std::as_bytes(std::span(image));
    files[4].emplace_back(bytes.begin(), bytes.end());
  }
  return files;
}

struct Arguments {
  std::uint64_t runs = 1000, seed = 1, first = 0;
  double seconds = 0;  // if positive, in place of runs
};

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) return false;
    const char* const value = argv[i + 1];
    if (option == "--runs") {
      arguments.runs = std::strtoull(value, nullptr, 10);
    } else if (option == "--seconds") {
      arguments.seconds = std::strtod(value, nullptr);
    } else if (option == "--seed") {
      arguments.seed = std::strtoull(value, nullptr, 10);
    } else if (option == "--only") {
      arguments.first = std::strtoull(value, nullptr, 10);
      arguments.runs = arguments.first + 1;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    std::fprintf(stderr, "usage: %s [--runs N | --seconds S] [--seed K] [--only I]\n", argv[0]);
    return 2;
  }
  const auto files = valid_files();
  std::uint64_t read[reader_count] = {}, accepted[reader_count] = {};
  double most[reader_count] = {};
  for (std::size_t r = 0; r < files.size(); ++r) {
    for (const Bytes& file : files[r]) {
      const Outcome outcome = feed(static_cast<int>(r), file);
      if (outcome.accepted && !outcome.failure) continue;
      std::fprintf(stderr, "FAILED: %s: a valid file was refused, or %s\n", reader_names[r],
                   outcome.failure ? outcome.failure : "nothing else");
      return 1;
    }
  }

  const auto begin = std::chrono::steady_clock::now();
  const auto goes_on = [&](std::uint64_t run) {
    if (arguments.seconds <= 0) return run < arguments.runs;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < arguments.seconds;
  };
  for (std::uint64_t run = arguments.first; goes_on(run); ++run) {
    fuzz::Random random{{arguments.seed, run}};
    // The packed reader has the most to get wrong, and stands for safetensors too.
    const int reader = random.chance(55) ? 1 : static_cast<int>(random.below(reader_count));
    const auto& valid = files[static_cast<std::size_t>(reader)];
    const Bytes input =
        fuzz::mutate(valid[random.below(valid.size())], valid[random.below(valid.size())], reader < 2, random);
    const Outcome outcome = feed(reader, input);
    ++read[reader];
    accepted[reader] += outcome.accepted;
    most[reader] = std::max(most[reader], static_cast<double>(outcome.peak) / static_cast<double>(input.size() + 300));
    if (!outcome.failure) continue;
    std::fprintf(stderr, "FAILED: %s: %s (input of %zu bytes, peak %zu). HINT: repeat with --seed %llu --only %llu\n",
                 reader_names[reader], outcome.failure, input.size(), outcome.peak,
                 static_cast<unsigned long long>(arguments.seed), static_cast<unsigned long long>(run));
    return 1;
  }
  for (int r = 0; r < reader_count; ++r)
    std::printf("%-12s %8llu inputs, %7llu accepted, at most %.1f bytes of memory per byte\n", reader_names[r],
                static_cast<unsigned long long>(read[r]), static_cast<unsigned long long>(accepted[r]), most[r]);
  return 0;
}

#endif
