/// Product quantization against the authors' code: golden topics pq_layout, pq_em, pq_finetune.
#include "golden.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/ops/view.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/layer_inputs.hpp"
#include "qdistill/quant/product.hpp"

namespace qdistill_test {

namespace {

/// The authors order blocks by chunk, then by output channel; here they stand as in the weight, the other way round.
Index authors_block(Index block, Index outputs, Index chunks) { return block % chunks * outputs + block / chunks; }

/// Codes in the authors' order as ours, and back.
std::vector<std::uint16_t> to_ours(const std::vector<Index>& codes, Index outputs) {
  const Index chunks = static_cast<Index>(codes.size()) / outputs;
  std::vector<std::uint16_t> out;
  for (Index b = 0; b < static_cast<Index>(codes.size()); ++b)
    out.push_back(static_cast<std::uint16_t>(codes[static_cast<std::size_t>(authors_block(b, outputs, chunks))]));
  return out;
}
std::vector<Index> to_authors(const std::vector<std::uint16_t>& codes, Index outputs) {
  const Index chunks = static_cast<Index>(codes.size()) / outputs;
  std::vector<Index> out(codes.size());
  for (Index b = 0; b < static_cast<Index>(codes.size()); ++b)
    out[static_cast<std::size_t>(authors_block(b, outputs, chunks))] = codes[static_cast<std::size_t>(b)];
  return out;
}

/// The layer that a case is about: a linear one unless it has a stride.
template <class G>
quant::InputRows rows_of(G& g, const Shape& weight) {
  if (weight.rank() == 2) return quant::InputRows(nn::Linear<float>(weight[1], weight[0]));
  const std::vector<Index> stride = g->list("stride", 2, 1), padding = g->list("padding", 2, 0);
  return {weight, Conv2dOptions{.stride = {stride[0], stride[1]}, .padding = {padding[0], padding[1]}}};
}

/// All rows of an input, by output position and then by image, as the cases have them: (rows, length).
template <class T>
Tensor<T> all_rows(const quant::InputRows& rows, const Tensor<T>& x) {
  const Index positions = rows.per_image(x), images = x.shape()[0];
  Tensor<T> out = Tensor<T>::empty({positions * images, rows.length()});
  for (Index p = 0; p < positions; ++p)
    for (Index n = 0; n < images; ++n) rows.read(x, n, p, out.data() + (p * images + n) * rows.length());
  return out;
}

/// The rows of A: chunk by chunk, all rows.
template <class T>
Tensor<T> chunk_rows(const Tensor<T>& rows, Index d) {
  const Index count = rows.shape()[0], chunks = rows.shape()[1] / d;
  Tensor<T> out = Tensor<T>::empty({count * chunks, d});
  for (Index c = 0; c < chunks; ++c)
    for (Index r = 0; r < count; ++r)
      for (Index j = 0; j < d; ++j) out.at({c * count + r, j}) = rows.at({r, c * d + j});
  return out;
}

const bool layout_golden = golden("pq_layout", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.input("weight"), x = g.input("activations");
  const Index d = g->template param<Index>("block_size", 0), outputs = w.shape()[0], length = w.numel() / outputs;
  const Index blocks = w.numel() / d, chunks = length / d;
  Tensor<T> matrix = Tensor<T>::empty({length, outputs}), unrolled = Tensor<T>::empty({d, blocks});
  for (Index i = 0; i < w.numel(); ++i) matrix.at({i % length, i / length}) = w.data()[i];
  for (Index i = 0; i < w.numel(); ++i) unrolled.at({i % d, authors_block(i / d, outputs, chunks)}) = w.data()[i];
  g.compare("matrix", matrix);
  g.compare("unrolled_weight", unrolled);
  const Tensor<T> rows = all_rows(rows_of(g, w.shape()), x);
  g.compare("patches", rows);
  g.compare("unrolled_activations", chunk_rows(rows, d));
  quant::Codebook<T> book{d, g.input("centroids").to_vector(), to_ours(g.indices("assignments").to_vector(), outputs)};
  quant::ProductParametrization<T> p(w.shape(), book, quant::CodewordGradient::mean);
  g.compare("reconstructed", p.effective(nn::Phase::train));
});

const bool em_golden = golden("pq_em", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.input("weight"), start = g.input("init_centroids");
  const Index d = g->template param<Index>("block_size", 0), iterations = g->template param<Index>("iterations", 0);
  const Index outputs = w.shape()[0], blocks = w.numel() / d, k = start.shape()[0];
  const Tensor<T> a = chunk_rows(all_rows(rows_of(g, w.shape()), g.input("activations")), d);
  g.compare("unrolled_activations", a);
  quant::InputGrams inputs{d, std::vector<double>(static_cast<std::size_t>(d * d)),
                           std::vector<double>(static_cast<std::size_t>(d * d))};
  kernels::add_gram(Cpu{}, a.shape()[0], d, a.data(), inputs.each.data());
  kernels::add_gram(Cpu{}, std::min(a.shape()[0], g->template param<Index>("eval_rows", 128)), d, a.data(),
                    inputs.fixed.data());
  // Distances through the map that the search works with.
  const quant::detail::BlockMap<T> map(inputs.each.data(), d);
  Tensor<T> distances = Tensor<T>::empty({k, blocks});
  for (Index b = 0; b < blocks; ++b)
    for (Index c = 0; c < k; ++c) {
      const std::uint16_t code = 0;
      const double sum = kernels::codeword_error(Cpu{}, 1, d, map.rank, w.data() + b * d, &code, start.data() + c * d,
                                                 map.rows.data());
      distances.at({c, authors_block(b, outputs, blocks / outputs)}) = static_cast<T>(std::sqrt(sum));
    }
  g.compare("first_distances", distances);
  std::vector<Index> codes;
  std::vector<T> codewords;
  quant::Codebook<T> book;
  for (Index t = 1; t <= iterations; ++t) {
    book = quant::fit_codebook<T>(w.span(), d, {k, t}, inputs, RandomStream{}, start.span());
    for (const Index code : to_authors(book.codes, outputs)) codes.push_back(code);
    codewords.insert(codewords.end(), book.codewords.begin(), book.codewords.end());
  }
  g->compare_values("assignments", codes);
  g->compare_values("centroids", codewords);
  g->compare_values("objective", book.objective);
  quant::ProductParametrization<T> p(w.shape(), book, quant::CodewordGradient::mean);
  g.compare("decoded", p.effective(nn::Phase::train));
});

const bool finetune_golden = golden("centroid_sgd", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.input("weight"), grads = g.input("grads"), start = g.input("centroids");
  quant::Codebook<T> book{start.shape()[1], start.to_vector(),
                          to_ours(g.indices("assignments").to_vector(), w.shape()[0])};
  quant::ProductParametrization<T> p(w.shape(), book, quant::CodewordGradient::mean);
  const Tensor<T> codewords = p.stored()[0].tensor;
  optim::SGD<T> sgd({codewords}, {.lr = g->template param<double>("lr", 0),
                                  .momentum = g->template param<double>("momentum", 0),
                                  .weight_decay = g->template param<double>("weight_decay", 0),
                                  .nesterov = g->template param<bool>("nesterov", false)});
  std::vector<T> weights, words;
  for (Index step = 0; step < grads.shape()[0]; ++step) {
    sgd.zero_grad();
    p.effective(nn::Phase::train).backward(contiguous(select(grads, 0, step)));
    sgd.step();
    for (const T v : p.effective(nn::Phase::train).to_vector()) weights.push_back(v);
    for (const T v : codewords.to_vector()) words.push_back(v);
  }
  g->compare_values("weights_after", weights);
  g->compare_values("centroids_after", words);
});

const bool loss_golden = golden("pq_distillation_loss", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> student = g.leaf("student");
  const Tensor<T> loss =
      distillation_loss(student, g.input("teacher"), {},
                        {.temperature = g->template param<double>("temperature", 0), .teacher_weight = 1});
  g.compare("loss", loss);
  loss.backward();
  g.compare("grad_student", student.grad());
});

}  // namespace

}  // namespace qdistill_test
