/// Codebooks and product quantization: the k-means and its parts, block sizes, gradient, encoding, inputs of layers.
#include "qdistill/quant/product.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/ops/conv.hpp"
#include "qdistill/ops/view.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/layer_inputs.hpp"
#include "threads.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// A^T A of a random A of `rows` x d whose columns have very different sizes; lower triangle.
template <class T>
std::vector<double> random_gram(Index rows, Index d, std::uint64_t seed, bool anisotropic = true) {
  Tensor<T> a = Tensor<T>::normal({rows, d}, {seed, 3});
  for (Index i = 0; i < a.numel(); ++i)
    if (anisotropic)
      a.data()[i] *= static_cast<T>(std::pow(10.0, -2.0 * static_cast<double>(i % d) / static_cast<double>(d)));
  std::vector<double> gram(static_cast<std::size_t>(d * d));
  kernels::add_gram(Cpu{}, rows, d, a.data(), gram.data());
  return gram;
}

/// (x - y)^T G (x - y) from the lower triangle.
template <class T>
double distance(const std::vector<double>& gram, Index d, const T* x, const T* y) {
  double sum = 0;
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < d; ++j)
      sum += gram[static_cast<std::size_t>(i >= j ? i * d + j : j * d + i)] * static_cast<double>(x[i] - y[i]) *
             static_cast<double>(x[j] - y[j]);
  return sum;
}

template <class T>
std::span<const T> view(const Tensor<T>& t) {
  return t.span();
}

}  // namespace

TEST_CASE("eigenvectors of small symmetric matrices", "[kernels]") {
  for (const Index d : {1, 2, 3, 9, 18, 32}) {
    for (const Index rows : {d / 2, 3 * d}) {  // half the rank, and full
      const std::vector<double> lower = random_gram<double>(rows, d, 5 + static_cast<std::uint64_t>(d));
      const auto n = static_cast<std::size_t>(d * d);
      std::vector<double> a(n), values(static_cast<std::size_t>(d)), v(n);
      for (Index i = 0; i < d * d; ++i)
        a[static_cast<std::size_t>(i)] = lower[static_cast<std::size_t>(i / d >= i % d ? i : i % d * d + i / d)];
      const std::vector<double> full = a;
      kernels::symmetric_eigen(Cpu{}, d, a.data(), values.data(), v.data());
      const double largest = std::max(1e-300, *std::max_element(values.begin(), values.end()));
      INFO(d << " x " << d << " of rank " << std::min(rows, d));
      double worst = 0, worst_product = 0;
      for (Index i = 0; i < d; ++i)
        for (Index j = 0; j < d; ++j) {
          double sum = 0, product = 0;
          for (Index e = 0; e < d; ++e) {
            sum += values[static_cast<std::size_t>(e)] * v[static_cast<std::size_t>(e * d + i)] *
                   v[static_cast<std::size_t>(e * d + j)];
            product += v[static_cast<std::size_t>(i * d + e)] * v[static_cast<std::size_t>(j * d + e)];
          }
          worst = std::max(worst, std::fabs(sum - full[static_cast<std::size_t>(i * d + j)]));
          worst_product = std::max(worst_product, std::fabs(product - (i == j ? 1 : 0)));
        }
      CHECK(worst <= 1e-13 * largest);
      CHECK(worst_product <= 1e-13);
      Index rank = 0;
      for (const double lambda : values) rank += lambda > largest * 1e-12;
      CHECK(rank == std::min(rows, d));
    }
  }
}

TEMPLATE_TEST_CASE("the nearest codeword is the one of a plain search", "[kernels]", float, double) {
  using T = TestType;
  for (const Index n : {1, 63, 64, 65, 1000}) {
    for (const Index d : {1, 4, 9, 25}) {
      for (const Index k : {1, 2, 5, 300}) {
        const Tensor<T> w = Tensor<T>::normal({n, d}, {1, static_cast<std::uint64_t>(n)});
        const Tensor<T> words = Tensor<T>::normal({k, d}, {2, static_cast<std::uint64_t>(k)});
        const Tensor<T> center = Tensor<T>::zeros({d});
        Tensor<T> lanes = Tensor<T>::empty({kernels::lane_elements(n, d)}), half = Tensor<T>::zeros({k});
        for (Index i = 0; i < k * d; ++i) half.data()[i / d] += words.data()[i] * words.data()[i] / 2;
        kernels::blocks_to_lanes<T>(Cpu{}, n, d, d, w.data(), center.data(), nullptr, lanes.data());
        std::vector<std::uint16_t> codes(static_cast<std::size_t>(n));
        kernels::nearest_codewords<T>(Cpu{}, n, d, lanes.data(), k, words.data(), half.data(), codes.data());
        Index worse = 0;
        for (Index i = 0; i < n; ++i) {
          double best = 1e300, got = 0;
          for (Index c = 0; c < k; ++c) {
            double sum = 0;
            for (Index j = 0; j < d; ++j) {
              const double e = static_cast<double>(w.data()[i * d + j]) - static_cast<double>(words.data()[c * d + j]);
              sum += e * e;
            }
            best = std::min(best, sum);
            if (codes[static_cast<std::size_t>(i)] == c) got = sum;
          }
          worse += got > best * (1 + (sizeof(T) == 4 ? 1e-5 : 1e-13)) + (sizeof(T) == 4 ? 1e-6 : 1e-15);
        }
        INFO(n << " blocks of " << d << ", " << k << " codewords");
        CHECK(worse == 0);
      }
    }
  }
}

TEST_CASE("sums over clusters, and the error of a codebook, do not depend on threads", "[kernels]") {
  const Index n = 50001, d = 5, k = 7;
  const Tensor<float> w = Tensor<float>::normal({n, d}, {3, 3}), words = Tensor<float>::normal({k, d}, {3, 4});
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint16_t>(RandomStream{9, 9}.below(i, 6));
  const quant::detail::BlockMap<float> map(random_gram<float>(40, d, 1).data(), d);
  std::vector<double> want(static_cast<std::size_t>(k * d)), first, sums(want.size());
  std::vector<Index> want_counts(static_cast<std::size_t>(k)), counts(want_counts.size());
  double want_error = 0;
  for (Index i = 0; i < n; ++i) {
    const Index c = codes[static_cast<std::size_t>(i)];
    ++want_counts[static_cast<std::size_t>(c)];
    for (Index j = 0; j < d; ++j) want[static_cast<std::size_t>(c * d + j)] += static_cast<double>(w.data()[i * d + j]);
    want_error += distance(random_gram<float>(40, d, 1), d, w.data() + i * d, words.data() + c * d);
  }
  double error = -1;
  for (const int threads : {1, 2, 4}) {
    const Threads t(threads);
    kernels::cluster_sums(Cpu{}, n, d, w.data(), codes.data(), k, sums.data(), counts.data());
    CHECK(counts == want_counts);
    for (std::size_t i = 0; i < sums.size(); ++i) CHECK(sums[i] == Approx(want[i]).epsilon(1e-9));
    const double e =
        kernels::codeword_error(Cpu{}, n, d, map.rank, w.data(), codes.data(), words.data(), map.rows.data());
    CHECK(e == Approx(want_error).epsilon(1e-5));
    if (first.empty()) first = sums, error = e;
    CHECK(first == sums);
    CHECK(error == e);
  }
}

TEST_CASE("each iteration lowers the weighted error, and weighting beats the plain k-means at it", "[quant]") {
  const Index d = 9;
  const Tensor<float> w = Tensor<float>::normal({600, d}, {4, 4});
  const std::vector<double> gram = random_gram<float>(500, d, 2);
  const quant::InputGrams inputs{d, gram, {}};
  const auto book = quant::fit_codebook(view(w), d, {16, 30}, inputs, {1, 1});
  const auto plain = quant::fit_codebook(view(w), d, {16, 30}, {}, {1, 1});
  REQUIRE(book.objective.size() == 30);
  for (std::size_t t = 1; t < book.objective.size(); ++t)
    CHECK(book.objective[t] <= book.objective[t - 1] * (1 + 1e-6));
  CHECK(book.objective.back() < 0.9 * book.objective.front());
  const auto error = [&](const quant::Codebook<float>& b) {
    double sum = 0;
    for (Index i = 0; i < 600; ++i)
      sum += distance(gram, d, w.data() + i * d, b.codewords.data() + b.codes[static_cast<std::size_t>(i)] * d);
    return sum;
  };
  CHECK(std::sqrt(error(book) / 128 / 600) == Approx(book.objective.back()).epsilon(1e-4));
  CHECK(error(book) < 0.9 * error(plain));
}

TEST_CASE("the iteration that draws new inputs uses its own matrix", "[quant]") {
  const Index d = 4;
  const Tensor<double> w = Tensor<double>::normal({200, d}, {4, 5});
  std::vector<double> grams = random_gram<double>(50, d, 1), second = random_gram<double>(50, d, 2);
  const quant::InputGrams first{d, grams, {}};
  grams.insert(grams.end(), second.begin(), second.end());
  const auto one = quant::fit_codebook(view(w), d, {8, 1}, first, {1, 1});
  const auto both = quant::fit_codebook(view(w), d, {8, 2}, {d, grams, {}}, {1, 1});
  const auto then = quant::fit_codebook<double>(view(w), d, {8, 1}, {d, second, {}}, {1, 1}, one.codewords);
  CHECK(both.codewords == then.codewords);
  CHECK(both.codes == then.codes);
  CHECK(both.objective.front() == one.objective.front());
}

TEST_CASE("empty clusters take a part of the largest; equal blocks leave codewords unused", "[quant]") {
  const Index d = 3;
  const Tensor<float> w = Tensor<float>::normal({100, d}, {6, 6});
  const std::vector<float> same(static_cast<std::size_t>(20 * d), 0.5f);  // every codeword the same
  const auto book = quant::fit_codebook<float>(view(w), d, {20, 1}, {}, {1, 1}, same);
  CHECK(book.unused == 0);
  CHECK(std::set<std::uint16_t>(book.codes.begin(), book.codes.end()).size() == 20);
  Tensor<float> few = Tensor<float>::empty({90, d});
  for (Index i = 0; i < few.numel(); ++i) few.data()[i] = static_cast<float>(i / d % 3);
  const auto three = quant::fit_codebook(view(few), d, {5, 10}, {}, {1, 1});
  CHECK(three.unused == 2);
  CHECK(three.objective.back() == 0);
  const Tensor<float> zeros = Tensor<float>::zeros({50, d});
  CHECK(quant::fit_codebook(view(zeros), d, {4, 3}, {}, {1, 1}).unused == 3);
}

TEST_CASE("inputs of lower rank project the codewords; inputs that are zero do not count", "[quant]") {
  const Index d = 4;
  const Tensor<double> w = Tensor<double>::normal({120, d}, {8, 8});
  // Inputs along (1, 1, 0, 0) alone: codewords lie on that line.
  const Tensor<double> a = Tensor<double>::from({1, 1, 0, 0, -2, -2, 0, 0}, {2, d});
  std::vector<double> gram(16);
  kernels::add_gram(Cpu{}, 2, d, a.data(), gram.data());
  const auto line = quant::fit_codebook(view(w), d, {6, 20}, {d, gram, {}}, {1, 1});
  for (Index c = 0; c < 6; ++c) {
    const double* const word = line.codewords.data() + c * d;
    CHECK(word[0] == Approx(word[1]).epsilon(1e-12));
    CHECK(std::fabs(word[2]) + std::fabs(word[3]) < 1e-14);
  }
  const auto dead = quant::fit_codebook(view(w), d, {6, 20}, {d, std::vector<double>(16), {}}, {1, 1});
  CHECK(dead.codewords == quant::fit_codebook(view(w), d, {6, 20}, {}, {1, 1}).codewords);
}

TEST_CASE("a codebook has the same bits for any number of threads", "[quant]") {
  const Index d = 9;
  const Tensor<float> w = Tensor<float>::normal({20000, d}, {5, 5}, 0.0f, 0.02f);
  std::vector<double> grams;
  for (std::uint64_t t = 0; t < 4; ++t)
    for (const double v : random_gram<float>(100, d, t)) grams.push_back(v);
  quant::Codebook<float> first;
  for (const int threads : {1, 2, 4}) {
    const Threads t(threads);
    const auto book = quant::fit_codebook(view(w), d, {64, 4}, {d, grams, {}}, {2, 2});
    if (first.codes.empty()) first = book;
    CHECK(book.codewords == first.codewords);
    CHECK(book.codes == first.codes);
    CHECK(book.objective == first.objective);
  }
}

TEST_CASE("block sizes by layer", "[quant]") {
  const quant::Product small{}, large{.kernels = 2, .pointwise = 8};
  CHECK(small.block_size_of({64, 32, 3, 3}) == 9);
  CHECK(large.block_size_of({64, 32, 3, 3}) == 18);
  CHECK(large.block_size_of({64, 3, 3, 3}) == 9);  // two kernels do not divide three
  CHECK(small.block_size_of({64, 32, 5, 5}) == 25);
  CHECK(small.block_size_of({64, 32, 1, 1}) == 4);
  CHECK(large.block_size_of({64, 32, 1, 1}) == 8);
  CHECK(large.block_size_of({64, 32}) == 4);
  CHECK(small.block_size_of({64, 10}) == 2);
  CHECK(small.block_size_of({64, 7}) == 1);
  CHECK(small.block_size_of({8, 4, 3}) == 3);  // of a one-dimensional convolution
  CHECK(quant::Product{.block_size = 6}.block_size_of({64, 2, 3, 3}) == 6);
  CHECK_THROWS_AS(quant::Product{.block_size = 4}.block_size_of({64, 2, 3, 3}), ShapeError);
  CHECK_THROWS_AS(small.block_size_of({64}), ShapeError);
  CHECK_THROWS_AS(small.block_size_of({0, 4}), ShapeError);
}

TEST_CASE("attached to a network: fewer codewords where it is small, decoding gives the effective weights", "[quant]") {
  manual_seed(5);
  nn::Sequential<float> net(nn::Conv2d<float>(3, 8, 3), nn::BatchNorm2d<float>(8), nn::Conv2d<float>(8, 6, 1));
  CHECK_THROWS_AS(quant::attach(net, quant::Product{}), ShapeError);  // biases are no blocks
  CHECK(quant::attach(net, quant::Product{.codewords = 4}, quant::weights_only()) == 2);
  for (const auto& [name, p] : net.named_parameters()) {
    if (!p->parametrization()) continue;
    const auto& q = dynamic_cast<quant::ProductParametrization<float>&>(*p->parametrization());
    const Index blocks = p->data().numel() / q.block_size();
    INFO(name << ": " << q.description());
    CHECK(q.block_size() == (name == "0.weight" ? 9 : 4));
    CHECK(q.codewords() == codeword_count(blocks, 4));
    const Encoding e = p->encode();
    CHECK(decode_ref(e) == p->effective(nn::Phase::eval).to_vector());
    const auto train = p->effective(nn::Phase::train).to_vector(), eval = p->effective(nn::Phase::eval).to_vector();
    CHECK(train != eval);  // not rounded to float16
    for (std::size_t i = 0; i < train.size(); ++i) CHECK(eval[i] == Approx(train[i]).epsilon(1e-3));
  }
  // The optimizer sees codewords in place of the two weights.
  CHECK(net.parameters().size() == net.named_parameters().size());
  // A codebook for every block keeps the weights.
  const Tensor<double> w = Tensor<double>::normal({4, 8}, {2, 2});
  const auto book = quant::fit_codebook(view(w), 8, {4, 50}, {}, {1, 1});
  const quant::ProductParametrization<double> p(w.shape(), book, quant::CodewordGradient::mean);
  if (book.unused == 0) CHECK(book.objective.back() == 0);
}

TEMPLATE_TEST_CASE("the gradient of a codeword is the mean of its blocks', or their exact sum", "[quant]", float,
                   double) {
  using T = TestType;
  const Shape shape{5, 6, 2};  // 30 blocks of 2
  quant::Codebook<T> book{2, Tensor<T>::normal({4, 2}, {1, 2}).to_vector(), std::vector<std::uint16_t>(30)};
  for (std::size_t i = 0; i < 30; ++i) book.codes[i] = static_cast<std::uint16_t>(RandomStream{3, 3}.below(i, 3));
  const Tensor<T> g = Tensor<T>::normal(shape, {5, 6});
  for (const auto gradient : {quant::CodewordGradient::mean, quant::CodewordGradient::sum}) {
    quant::ProductParametrization<T> p(shape, book, gradient);
    CHECK(p.exact_gradient() == (gradient == quant::CodewordGradient::sum));
    for (const auto phase : {nn::Phase::train, nn::Phase::eval}) {
      const Tensor<T> words = p.stored()[0].tensor;
      words.zero_grad();
      p.effective(phase).backward(g);
      p.effective(phase).backward(g);  // added to what is there
      for (Index c = 0; c < 4; ++c)
        for (Index j = 0; j < 2; ++j) {
          double sum = 0, count = 0;
          for (Index b = 0; b < 30; ++b) {
            if (book.codes[static_cast<std::size_t>(b)] != c) continue;
            sum += static_cast<double>(g.data()[b * 2 + j]), ++count;
          }
          const double share = gradient == quant::CodewordGradient::mean ? std::max(1.0, count) : 1;
          CHECK(static_cast<double>(words.grad().at({c, j})) == Approx(2 * sum / share).margin(1e-5));
        }
    }
  }
  CHECK(live_nodes() <= 2);  // the leaves of what is still in scope
}

TEST_CASE("gradcheck of the exact gradient", "[quant]") {
  quant::Codebook<double> book{3, std::vector<double>(15), {0, 4, 2, 2, 1, 0, 4, 4}};
  const auto f = [&](const std::vector<Tensor<double>>& x) {
    quant::Codebook<double> b = book;
    b.codewords = x[0].to_vector();
    quant::ProductParametrization<double> p({2, 12}, b, quant::CodewordGradient::sum);
    const Tensor<double> w = p.effective(nn::Phase::train);
    if (!grad_enabled()) return w.detach();
    return record("through", w.detach(), inputs(x[0]), [p, w](const Tensor<double>& dw, Gradients<double>& dc) {
      w.backward(dw);
      dc[0].accumulate(p.stored()[0].tensor.grad());
    });
  };
  const auto result = gradcheck(f, {Tensor<double>::normal({5, 3}, {1, 1})});
  INFO(result.message());
  CHECK(result.ok);
  CHECK(result.compared == 15);
}

TEST_CASE("weights and gradients of a large product have the same bits for any number of threads", "[quant]") {
  const Index n = 40000, d = 4, k = 300;
  quant::Codebook<float> book{d, Tensor<float>::normal({k, d}, {1, 2}).to_vector(),
                              std::vector<std::uint16_t>(static_cast<std::size_t>(n))};
  for (std::size_t i = 0; i < book.codes.size(); ++i)
    book.codes[i] = static_cast<std::uint16_t>(RandomStream{3, 3}.below(i, static_cast<std::uint32_t>(k)));
  const Tensor<float> g = Tensor<float>::normal({n, d}, {5, 6});
  std::vector<float> w, grad;
  for (const int threads : {1, 4}) {
    const Threads t(threads);
    quant::ProductParametrization<float> p({n, d}, book, quant::CodewordGradient::mean);
    const Tensor<float> q = p.effective(nn::Phase::train);
    q.backward(g);
    if (w.empty()) w = q.to_vector(), grad = p.stored()[0].tensor.grad().to_vector();
    CHECK(w == q.to_vector());
    CHECK(grad == p.stored()[0].tensor.grad().to_vector());
  }
}

TEST_CASE("codes are part of the state; codes that are none are refused", "[quant]") {
  manual_seed(1);
  nn::Linear<float> a(8, 32), b(8, 32);
  const quant::Product settings{.codewords = 4, .iterations = 5};
  for (auto* const layer : {&a, &b}) quant::attach(*layer, settings, quant::weights_only());
  CHECK(a.weight->effective(nn::Phase::eval).to_vector() != b.weight->effective(nn::Phase::eval).to_vector());
  nn::copy_state(a, b);
  CHECK(a.weight->effective(nn::Phase::eval).to_vector() == b.weight->effective(nn::Phase::eval).to_vector());
  CHECK(a.weight->encode().data.index() == b.weight->encode().data.index());
  CHECK(decode_ref(b.weight->encode()) == b.weight->effective(nn::Phase::eval).to_vector());
  for (const float bad : {-1.0f, 4.0f, 0.5f, std::nanf("")}) {
    Tensor<float> codes = b.weight->parametrization()->stored()[1].tensor;
    codes.data()[3] = bad;
    codes.mark_changed();
    CHECK_THROWS_AS(b.weight->effective(nn::Phase::eval), ValueError);
  }
}

TEST_CASE("what cannot be a product is refused", "[quant]") {
  nn::Linear<float> layer(8, 32);
  const auto attach = [&](const quant::Product& settings) { quant::attach(layer, settings, quant::weights_only()); };
  CHECK_THROWS_AS(attach({.codewords = 0}), ValueError);
  CHECK_THROWS_AS(attach({.codewords = 65537}), ValueError);
  CHECK_THROWS_AS(attach({.iterations = 0}), ValueError);
  CHECK_THROWS_AS(attach({.kernels = 0}), ValueError);
  CHECK_THROWS_AS(attach({.block_size = 3}), ShapeError);
  for (const float bad : {std::nanf(""), HUGE_VALF, 65520.0f}) {  // the last rounds to infinity in float16
    layer.weight->data().data()[5] = bad;
    CHECK_THROWS_AS(attach({}), ValueError);
  }
  const std::vector<double> w(12, 1.0);
  using Weights = std::span<const double>;
  CHECK_THROWS_AS(quant::fit_codebook(Weights(w), 5, {1, 1}, {}, {}), ShapeError);
  CHECK_THROWS_AS(quant::fit_codebook(Weights(w), 4, {4, 1}, {}, {}), ValueError);  // three blocks
  CHECK_THROWS_AS(quant::fit_codebook(Weights(), 4, {1, 1}, {}, {}), ValueError);
  CHECK_THROWS_AS(quant::fit_codebook(Weights(w), 4, {2, 0}, {}, {}), ValueError);
  CHECK_THROWS_AS(quant::fit_codebook(Weights(w), 4, {2, 1}, {3, std::vector<double>(9), {}}, {}), ShapeError);
  CHECK_THROWS_AS(quant::fit_codebook(Weights(w), 4, {2, 1}, {4, std::vector<double>(16, NAN), {}}, {}), ValueError);
  CHECK_THROWS_AS(quant::fit_codebook(Weights(w), 4, {2, 1}, {}, {}, Weights(w).first(4)), ShapeError);
  const quant::Codebook<double> book{4, std::vector<double>(8), {0, 1, 0}};
  using P = quant::ProductParametrization<double>;
  CHECK_THROWS_AS(P({4, 4}, book, quant::CodewordGradient::mean), ShapeError);
  quant::ProductParametrization<float> wide({2, 2}, {2, {1e6f, 0, 0, 0}, {0, 1}}, quant::CodewordGradient::mean);
  CHECK_THROWS_AS(wide.encode(), ValueError);
}

TEST_CASE("rows of a layer's input, times its weights, are its output", "[quant]") {
  struct Case {
    Index in, out, k;
    Conv2dOptions options;
  };
  for (const Case& c : {Case{4, 6, 3, {.padding = 1}}, Case{4, 6, 3, {.stride = {2, 1}, .padding = {0, 2}}},
                        Case{6, 4, 2, {.dilation = {2, 1}, .groups = 2}}, Case{3, 3, 3, {.padding = 1, .groups = 3}},
                        Case{5, 7, 1, {.stride = 2}}}) {
    const Tensor<double> x = Tensor<double>::normal({2, c.in, 7, 6}, {1, 1});
    const Tensor<double> w = Tensor<double>::normal({c.out, c.in / c.options.groups, c.k, c.k}, {1, 2});
    const Tensor<double> y = conv2d(x, w, Tensor<double>{}, c.options);
    const quant::InputRows rows(w.shape(), c.options);
    const Index pixels = y.size(2) * y.size(3), per_group = c.out / c.options.groups;
    REQUIRE(rows.per_image(x) == pixels * c.options.groups);
    std::vector<double> row(static_cast<std::size_t>(rows.length()));
    double worst = 0;
    for (Index n = 0; n < 2; ++n)
      for (Index r = 0; r < rows.per_image(x); ++r) {
        rows.read(x, n, r, row.data());
        for (Index o = r / pixels * per_group; o < (r / pixels + 1) * per_group; ++o) {
          double sum = 0;
          for (Index i = 0; i < rows.length(); ++i)
            sum += row[static_cast<std::size_t>(i)] * w.data()[o * rows.length() + i];
          worst = std::max(worst, std::fabs(sum - y.data()[(n * c.out + o) * pixels + r % pixels]));
        }
      }
    CHECK(worst < 1e-12);
    CHECK_THROWS_AS(rows.per_image(Tensor<double>::zeros({2, c.in + 1, 7, 6})), ShapeError);
  }
  const quant::InputRows linear(nn::Linear<float>(5, 2));
  const Tensor<float> x = Tensor<float>::normal({3, 4, 5}, {1, 1});
  CHECK(linear.per_image(x) == 4);
  std::vector<float> row(5);
  linear.read(x, 2, 1, row.data());
  CHECK(row == std::vector<float>(x.data() + 45, x.data() + 50));
  CHECK_THROWS_AS(linear.per_image(Tensor<float>::zeros({3, 4})), ShapeError);
}

TEST_CASE("a layer's drawn inputs: the same however they come in batches, on any number of threads", "[quant]") {
  const nn::Conv2d<float> layer(4, 10, 3, {.padding = 1});
  const Tensor<float> x = Tensor<float>::normal({12, 4, 5, 5}, {7, 7});
  const quant::InputSampling sampling{.images = 11, .samples = 205, .iterations = 6};  // 20 rows an iteration
  std::vector<quant::InputGrams> got;
  for (const int threads : {1, 4}) {
    const Threads t(threads);
    for (const Index size : {12, 1, 5}) {
      quant::InputSampler<float> sampler(quant::InputRows(layer), 18, sampling, {1, 9});
      CHECK_THROWS_AS(sampler.grams(), ValueError);
      for (Index i = 0; i < 12; i += size) sampler.add(narrow(x, 0, i, std::min(size, 12 - i)));
      got.push_back(sampler.grams());
    }
  }
  for (const auto& g : got) {
    REQUIRE(g.count() == 6);
    // Sums in the order of the images: equal up to rounding where batches differ, in all bits where threads do.
    for (std::size_t i = 0; i < g.each.size(); ++i) CHECK(g.each[i] == Approx(got[0].each[i]).epsilon(1e-12));
    for (std::size_t i = 0; i < g.fixed.size(); ++i) CHECK(g.fixed[i] == Approx(got[0].fixed[i]).epsilon(1e-12));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(got[i].each == got[i + 3].each);
    CHECK(got[i].fixed == got[i + 3].fixed);
  }
  // The trace is the sum of squares of all numbers drawn: over 20 rows of 36, padding included.
  const auto trace = [](const double* g, Index d) {
    double sum = 0;
    for (Index i = 0; i < d; ++i) sum += g[i * d + i];
    return sum;
  };
  const double inside = 13.0 * 13 / (15 * 15);  // of the taps that see a pixel, which has variance 1
  double mean = 0;
  for (Index t = 0; t < 6; ++t) mean += trace(got[0].each.data() + t * 18 * 18, 18) / 6;
  CHECK(mean == Approx(20 * 36 * inside).epsilon(0.1));
  // The fixed sample has 128 rows in A, or all 2 x 20 if those are fewer.
  CHECK(trace(got[0].fixed.data(), 18) == Approx(20 * 36 * inside).epsilon(0.2));
  CHECK(got[0].each[0] != got[0].each[18 * 18]);
  quant::InputSampler<float> many(quant::InputRows(layer), 18, {.images = 12, .samples = 2000, .iterations = 1},
                                  {1, 9});
  many.add(x);
  CHECK(trace(many.grams().fixed.data(), 18) == Approx(128 * 18 * inside).epsilon(0.1));
  CHECK_THROWS_AS(quant::InputSampler<float>(quant::InputRows(layer), 5, sampling, {}), ShapeError);
  CHECK_THROWS_AS(quant::InputSampler<float>(quant::InputRows(layer), 9, {.images = 0}, {}), ValueError);
}

TEST_CASE("layers in the order of the forward pass, once each", "[quant]") {
  struct Net : nn::Module<float> {
    nn::Linear<float>& last = add("last", nn::Linear<float>(8, 4));
    nn::Sequential<float>& body =
        add("body", nn::Sequential<float>(nn::Conv2d<float>(1, 2, 3), nn::Conv2d<float>(2, 2, 1)));
    nn::Linear<float>& unused = add("unused", nn::Linear<float>(8, 4));
    nn::Linear<float>& tied = add("tied", nn::Linear<float>(last.weight));
    Tensor<float> forward(const Tensor<float>& x) override {
      const Tensor<float> y = flatten(body(x), 1);
      const Tensor<float> a = last.forward_relu(y);
      return add_(a, tied(y));
    }
    static Tensor<float> add_(Tensor<float> a, const Tensor<float>& b) {
      for (Index i = 0; i < a.numel(); ++i) a.data()[i] += b.data()[i];
      return a;
    }
    const char* type() const noexcept override { return "Net"; }
  } net;
  const Tensor<float> x = Tensor<float>::normal({1, 1, 4, 4}, {1, 1});
  const auto layers = quant::layers_in_forward_order(net, x);
  std::vector<std::string> names;
  for (const auto& layer : layers) names.push_back(layer.name);
  CHECK(names == std::vector<std::string>{"body.0", "body.1", "last"});
  CHECK((layers[0].convolution && layers[1].convolution && !layers[2].convolution));
  int seen = 0;
  {
    const nn::Observing<float> observing(net.body, [&](const Tensor<float>&) { ++seen; });  // has no weights of its own
    const nn::Observing<float> layer(*layers[1].module, [&](const Tensor<float>& in) { seen += in.shape()[1] == 2; });
    net(x);
  }
  net(x);
  CHECK(seen == 1);
}

}  // namespace qdistill_test
