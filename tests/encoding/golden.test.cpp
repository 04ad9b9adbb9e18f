/// Sizes and code lengths of the authors' code (golden topics huffman_size and pq_size).
#include "golden.hpp"

#include <catch2/catch.hpp>
#include <fstream>

#include "qdistill/encoding/huffman.hpp"
#include "qdistill/encoding/paper_size.hpp"
#include "qdistill/encoding/product_size.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"

namespace qdistill_test {

namespace {

/// Counts of the uniform levels of tensors w[first] .. w[last - 1], pooled.
std::vector<std::uint64_t> uniform_counts(const GoldenCase& c, int first, int last) {
  kernels::UniformRule<double> rule;
  rule.levels = Index{1} << c.param<int>("bits", 0);
  rule.bucket_size = c.param<Index>("bucket_size", 0);
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(rule.levels), 0);
  for (int t = first; t < last; ++t) {
    const Tensor<double> w = c.tensor<double>("w" + std::to_string(t));
    std::vector<std::uint16_t> codes(static_cast<std::size_t>(w.numel()));
    kernels::UniformResult<double> out;
    out.codes = codes.data();
    kernels::uniform_quantize(Cpu{}, w.numel(), w.data(), rule, out);
    for (const auto code : codes) ++counts[code];
  }
  return counts;
}

/// Counts of the positions of the nearest points; half way goes to the upper one.
std::vector<std::uint64_t> nonuniform_counts(const GoldenCase& c) {
  std::vector<std::uint64_t> counts(256, 0);
  for (int t = 0; t < c.param<int>("num_tensors", 0); ++t) {
    const Tensor<double> w = c.tensor<double>("w" + std::to_string(t));
    const std::vector<double> points = c.tensor<double>("points" + std::to_string(t)).to_vector();
    const Index bucket = c.param<Index>("bucket_size", 0);
    const Index buckets = bucket_count(w.numel(), bucket);
    std::vector<double> alpha(static_cast<std::size_t>(buckets)), beta(alpha.size());
    kernels::UniformRule<double> rule;
    rule.levels = 2, rule.bucket_size = bucket;
    kernels::UniformResult<double> out;
    out.alpha = alpha.data(), out.beta = beta.data();
    kernels::uniform_quantize(Cpu{}, w.numel(), w.data(), rule, out);
    for (Index i = 0; i < w.numel(); ++i) {
      const auto b = static_cast<std::size_t>(buckets > 1 ? i / bucket : 0);
      const double z = (w.data()[i] - beta[b]) / alpha[b];
      std::size_t best = 0;
      for (std::size_t k = 1; k < points.size(); ++k)
        if (z >= (points[k - 1] + points[k]) / 2) best = k;
      ++counts[best];
    }
  }
  return counts;
}

const bool uniform_sizes = golden("huffman_uniform", [](auto g) {
  const int tensors = g->template param<int>("num_tensors", 0);
  const Index k = g->template param<Index>("bucket_size", 0);
  const auto numel = [&](int first, int last) {
    double n = 0;
    for (int t = first; t < last; ++t) n += static_cast<double>(g->shape("w" + std::to_string(t)).numel());
    return n;
  };
  const double all = numel(0, tensors), h = mean_bit_length(uniform_counts(*g, 0, tensors));
  g->compare_value("mean_bit_length", h);
  g->compare_value("size_reduction", size_reduction(h, k));
  g->compare_value("size_mb_all", paper_size_mb(0, all, h, k));
  g->compare_value("size_mb_full_precision", paper_size_mb(all, 0, 0, k));
  if (!g->has("size_mb_except_first_last")) return;
  const double inner = numel(1, tensors - 1);
  g->compare_value("size_mb_except_first_last",
                   paper_size_mb(all - inner, inner, mean_bit_length(uniform_counts(*g, 1, tensors - 1)), k));
});

const bool nonuniform_sizes = golden(
    "huffman_nonuniform", [](auto g) { g->compare_value("mean_bit_length", mean_bit_length(nonuniform_counts(*g))); });

const bool code_lengths = golden("huffman_code_lengths", [](auto g) {
  std::vector<std::uint64_t> counts;
  for (const Index n : g.indices("counts").to_vector()) counts.push_back(static_cast<std::uint64_t>(n));
  g->compare_value("mean_bit_length", mean_bit_length(counts));
  double bits = 0, total = 0;
  const auto lengths = huffman_lengths(counts);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    bits += static_cast<double>(counts[i]) * lengths[i];
    total += static_cast<double>(counts[i]);
  }
  g->compare_value("mean_bit_length", bits / total);
});

const bool reduction = golden("size_reduction", [](auto g) {
  g->compare_value("ratio",
                   size_reduction(g->template param<double>("bits", 0), g->template param<Index>("bucket_size", 0),
                                  g->template param<double>("full_precision_bits", 32)));
});

/// The published settings: one codebook for each tensor named in the case, the network's other numbers in float32.
const bool product_sizes = golden("pq_model_size", [](auto g) {
  std::ifstream in(golden_dir() + "/parameter_counts.json");
  const auto counts = nlohmann::json::parse(in).at("counts");
  const auto architecture = g->params().at("architecture").template get<std::string>();
  Index others = counts.at(architecture).template get<Index>();
  ProductSize model;
  std::vector<Index> used, blocks;
  std::vector<double> layers;
  for (const auto& dims : g->params().at("shapes")) {
    const auto shape = dims.template get<std::vector<Index>>();
    const bool linear = shape.size() == 2, pointwise = !linear && shape[2] == 1;
    const char* const d_name = linear ? "block_fc" : pointwise ? "block_1x1" : "block_conv3x3";
    const char* const k_name = linear ? "k_fc" : pointwise ? "k_1x1" : "k_conv";
    const Index n = checked_numel("test", shape), d = g->template param<Index>(d_name, 0);
    const Index k = codeword_count(n / d, g->template param<Index>(k_name, 0));
    ProductSize layer;
    for (ProductSize* const size : {&layer, &model}) size->add_product(n, d, k);
    used.push_back(k), blocks.push_back(d), layers.push_back(layer.total_mb());
    others -= n;
  }
  model.add_other(others);
  g->compare_values("k_used", used);
  g->compare_values("block_size", blocks);
  g->compare_values("layer_mb", layers);
  g->compare_value("index_mb", model.index_mb());
  g->compare_value("centroids_mb", model.centroids_mb());
  g->compare_value("other_mb", model.other_mb());
  g->compare_value("total_mb", model.total_mb());
  g->compare_value("uncompressed_mb", model.uncompressed_mb());
  g->compare_value("ratio", model.ratio());
});

}  // namespace

}  // namespace qdistill_test
