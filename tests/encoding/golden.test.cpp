/// Huffman lengths, the paper's sizes and the uniform decoder against the golden files.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "qdistill/encoding/paper_size.hpp"
#include "qdistill/io/safetensors.hpp"

using namespace qdistill;
using nlohmann::json;

namespace {

std::string golden_path(const std::string& file) {
  if (const char* folder = std::getenv("QDISTILL_GOLDEN_DIR")) return std::string(folder) + '/' + file;
#if defined(QDISTILL_TEST_DIR)
  return std::string(QDISTILL_TEST_DIR) + "/golden/" + file;
#else
  return "tests/golden/" + file;
#endif
}

struct Topic {
  json description;
  io::SafetensorsFile tensors;

  explicit Topic(const std::string& topic) : tensors(io::load_safetensors(golden_path(topic + ".safetensors"))) {
    std::ifstream(golden_path(topic + ".json")) >> description;
  }
  double scalar(const json& c, const std::string& tensor) const {
    return tensors.values<double>(c["name"].get<std::string>() + '/' + tensor).at(0);
  }
};

/// Levels of every tensor of a case, quantized by the shared formula; pooled counts.
std::vector<std::uint64_t> uniform_counts(const Topic& topic, const json& c, int first, int last) {
  const int bits = c["params"]["bits"];
  const Index bucket_size = c["params"]["bucket_size"].is_null() ? 0 : c["params"]["bucket_size"].get<Index>();
  std::vector<std::uint64_t> counts(std::size_t{1} << bits, 0);
  for (int t = first; t < last; ++t) {
    const auto w = topic.tensors.values<float>(c["name"].get<std::string>() + "/w" + std::to_string(t));
    const auto n = static_cast<Index>(w.size());
    const Index k = bucket_size ? bucket_size : n;
    for (Index begin = 0; begin < n; begin += k) {
      const auto [lo, hi] = std::minmax_element(w.begin() + begin, w.begin() + std::min(begin + k, n));
      const float alpha = *hi - *lo < 1e-10f ? 1.0f : *hi - *lo, beta = *lo;
      for (Index i = begin; i < std::min(begin + k, n); ++i)
        ++counts[static_cast<std::size_t>(quantize_level(w[i], static_cast<float>((1 << bits) - 1), alpha, beta))];
    }
  }
  return counts;
}

/// Nearest points of the scaled weights, half way to the upper one.
std::vector<std::uint64_t> nonuniform_counts(const Topic& topic, const json& c) {
  const int tensors = c["params"]["num_tensors"];
  const Index bucket_size = c["params"]["bucket_size"].is_null() ? 0 : c["params"]["bucket_size"].get<Index>();
  std::vector<std::uint64_t> counts(256, 0);
  for (int t = 0; t < tensors; ++t) {
    const std::string prefix = c["name"].get<std::string>() + '/';
    const auto w = topic.tensors.values<float>(prefix + 'w' + std::to_string(t));
    const auto points = topic.tensors.values<float>(prefix + "points" + std::to_string(t));
    const auto n = static_cast<Index>(w.size());
    const Index k = bucket_size ? bucket_size : n;
    for (Index begin = 0; begin < n; begin += k) {
      const auto [lo, hi] = std::minmax_element(w.begin() + begin, w.begin() + std::min(begin + k, n));
      const float alpha = *hi - *lo < 1e-10f ? 1.0f : *hi - *lo, beta = *lo;
      for (Index i = begin; i < std::min(begin + k, n); ++i) {
        const float z = (w[i] - beta) / alpha;
        std::size_t nearest = 0;
        for (std::size_t p = 1; p < points.size(); ++p)
          if (std::abs(z - points[p]) <= std::abs(z - points[nearest])) nearest = p;
        ++counts[nearest];
      }
    }
  }
  return counts;
}

}  // namespace

TEST_CASE("golden: huffman_size", "[golden][huffman]") {
  const Topic topic("huffman_size");
  int cases = 0;
  for (const auto& c : topic.description["cases"]) {
    const std::string name = c["name"], op = c["op"];
    CAPTURE(name);
    const double rtol = c["rtol"], atol = c["atol"];
    const auto close = [&](double got, const char* output) {
      const double expected = topic.scalar(c, output);
      CAPTURE(output, got, expected);
      CHECK(std::abs(got - expected) <= atol + rtol * std::abs(expected));
    };
    ++cases;
    if (op == "size_reduction") {
      const auto& p = c["params"];
      close(size_reduction(p["bits"], p["bucket_size"].is_null() ? 0 : p["bucket_size"].get<Index>(),
                           p["full_precision_bits"]),
            "ratio");
    } else if (op == "huffman_code_lengths") {
      const auto counts = topic.tensors.values<std::uint64_t>(name + "/counts");
      close(mean_bit_length(counts), "mean_bit_length");
      double bits = 0, total = 0;
      const auto lengths = huffman_lengths(counts);
      for (std::size_t i = 0; i < counts.size(); ++i) {
        bits += static_cast<double>(counts[i]) * lengths[i];
        total += static_cast<double>(counts[i]);
      }
      close(bits / total, "mean_bit_length");
    } else if (op == "huffman_uniform") {
      const int tensors = c["params"]["num_tensors"];
      const Index k = c["params"]["bucket_size"].is_null() ? 0 : c["params"]["bucket_size"].get<Index>();
      const auto numel = [&](int first, int last) {
        double n = 0;
        for (int t = first; t < last; ++t)
          n += static_cast<double>(topic.tensors.at(name + "/w" + std::to_string(t)).numel());
        return n;
      };
      const double all = numel(0, tensors);
      const double h = mean_bit_length(uniform_counts(topic, c, 0, tensors));
      close(h, "mean_bit_length");
      close(size_reduction(h, k), "size_reduction");
      close(paper_size_mb(0, all, h, k), "size_mb_all");
      close(paper_size_mb(all, 0, 0, k), "size_mb_full_precision");
      if (topic.tensors.has(name + "/size_mb_except_first_last")) {
        const double inner = numel(1, tensors - 1);
        close(paper_size_mb(all - inner, inner, mean_bit_length(uniform_counts(topic, c, 1, tensors - 1)), k),
              "size_mb_except_first_last");
      }
    } else {
      REQUIRE(op == "huffman_nonuniform");
      close(mean_bit_length(nonuniform_counts(topic, c)), "mean_bit_length");
    }
  }
  CHECK(cases > 0);
}

TEST_CASE("golden: decode_ref gives the authors' values from their levels and scales", "[golden][encoding]") {
  const Topic topic("uniform_quantization");
  int cases = 0;
  for (const auto& c : topic.description["cases"]) {
    const std::string name = c["name"];
    if (!topic.tensors.has(name + "/levels")) continue;
    CAPTURE(name);
    ++cases;
    UniformEncoding uniform;
    uniform.bits = c["params"]["bits"];
    uniform.bucket_size = c["params"]["bucket_size"].is_null() ? 0 : c["params"]["bucket_size"].get<Index>();
    const auto output = topic.tensors.values<double>(name + "/output");
    for (const auto level : topic.tensors.values<Index>(name + "/levels"))
      if (uniform.codes.size() < output.size()) uniform.codes.push_back(static_cast<std::uint16_t>(level));
    uniform.scale = topic.tensors.values<float>(name + "/alpha");
    uniform.offset = topic.tensors.values<float>(name + "/beta");
    const auto values = decode_ref({topic.tensors.at(name + "/output").shape, uniform});
    REQUIRE(values.size() == output.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      if (std::abs(values[i] - output[i]) > 1e-6 + 1e-5 * std::abs(output[i])) CHECK(values[i] == output[i]);
  }
  CHECK(cases > 0);
}
