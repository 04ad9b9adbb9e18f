/// Single kernels: matrix products of network shapes, the convolutions of the CIFAR-10 teacher and student in their
/// three directions and in both modes, fake-quantization, and the copy that bounds what streams through memory.
/// Counters: gflops (direct algorithm, 2 operations per multiply-add) or gbytes_per_second. `openblas/...`: the product
/// and OpenBLAS's in turn, in this process; counters gflops, openblas_gflops and ratio (above 1: ours is faster).
#include <cmath>

#include "common.hpp"
#include "openblas.hpp"
#include "qdistill/core/random.hpp"
#include "qdistill/core/tensor.hpp"
#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/conv_data.hpp"
#include "qdistill/kernels/cpu/conv_weights.hpp"
#include "qdistill/kernels/cpu/gemm.hpp"
#include "qdistill/kernels/cpu/points.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"

namespace qdistill_bench {

Tensor<float> random(const Shape& shape, std::uint64_t stream) {
  return Tensor<float>::uniform(shape, {1, stream}, -1.0f, 1.0f);
}

struct Product {
  const char* name;
  Index m, n, k;
  bool trans_a = false, trans_b = false;

  void operator()(const Tensor<float>& a, const Tensor<float>& b, Tensor<float>& c) const {
    kernels::gemm(Cpu{}, trans_a, trans_b, m, n, k, a.data(), trans_a ? m : k, b.data(), trans_b ? k : n, c.data(), n);
  }
  double gigaflops() const { return 2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

void gemm_case(const Product& p) {
  add_case(p.name, [p](benchmark::State& state) {
    const Tensor<float> a = random({p.m, p.k}, 1), b = random({p.k, p.n}, 2);
    Tensor<float> c = Tensor<float>::empty({p.m, p.n});
    rate(state, "gflops", p.gigaflops(), timed(state, 1, [&] { p(a, b, c); }));
  });
}

void openblas_case(const Product& p) {
  const auto body = [p](benchmark::State& state) {
    const OpenBlas* const blas = OpenBlas::find();
    if (!blas) return state.SkipWithError("libopenblas.so.0 was not found");
    blas->set_threads(num_threads());
    const Tensor<float> a = random({p.m, p.k}, 1), b = random({p.k, p.n}, 2);
    Tensor<float> c = Tensor<float>::empty({p.m, p.n}), other = Tensor<float>::empty({p.m, p.n});
    const Pairs pairs = alternate(
        state, 2, [&] { p(a, b, c); },
        [&] { blas->product(p.trans_a, p.trans_b, p.m, p.n, p.k, a.data(), b.data(), other.data()); });
    for (Index i = 0; i < c.numel(); ++i)
      if (!(std::abs(c.data()[i] - other.data()[i]) < 1e-2f)) return state.SkipWithError("OpenBLAS's product differs");
    state.counters["gflops"] = p.gigaflops() / pairs.ours;
    state.counters["openblas_gflops"] = p.gigaflops() / pairs.other;
    state.counters["ratio"] = pairs.ratio;
    state.SetLabel(blas->description());
  };
  add_case(text("openblas/", p.name), body, benchmark::kMillisecond, Clock::manual);
}

enum class Direction { forward, backward_data, backward_weights };

/// Square images of `side`, kernels of `k`, same padding. The case's name has all of it: batch x channels x height x
/// width of the input, then output channels and kernel.
struct Layer {
  const char* net;
  Index in, side, out, k;
};

void conv_case(const Layer& l, Direction direction, ConvMode mode) {
  const char* const what = direction == Direction::forward         ? "forward"
                           : direction == Direction::backward_data ? "backward_data"
                                                                   : "backward_weights";
  constexpr Index images = 32;
  add_case(text("conv/", l.net, '/', images, 'x', l.in, 'x', l.side, 'x', l.side, "_to_", l.out, "_k", l.k, '/', what,
                mode == ConvMode::exact ? "/exact" : ""),
           [l, direction, mode](benchmark::State& state) {
             set_conv_mode(mode);
             kernels::Conv2dShape s;
             s.N = images, s.C = l.in, s.H = s.W = l.side, s.O = l.out, s.KH = s.KW = l.k, s.pad_h = s.pad_w = l.k / 2;
             Tensor<float> x = random({s.N, s.C, s.H, s.W}, 1), y = random({s.N, s.O, s.H, s.W}, 2);
             Tensor<float> w = random({s.O, s.C, s.KH, s.KW}, 3), bias = random({s.O}, 4);
             const double seconds = timed(state, 1, [&] {
               if (direction == Direction::forward)
                 kernels::conv2d_forward(Cpu{}, s, x.data(), w.data(), bias.data(), y.data());
               else if (direction == Direction::backward_data)
                 kernels::conv2d_backward_data(Cpu{}, s, y.data(), w.data(), x.data(), Write::set);
               else kernels::conv2d_backward_weights(Cpu{}, s, x.data(), y.data(), w.data(), bias.data(), Write::set);
             });
             set_conv_mode(ConvMode::fast);
             const Index pixels = s.N * s.H * s.W, taps = s.C * s.KH * s.KW;
             rate(state, "gflops", 2e-9 * static_cast<double>(pixels) * static_cast<double>(s.O * taps), seconds);
           });
}

/// As many weights as the teacher has, in whole buckets of 256.
constexpr Index weights = 256 * 20800;

void quantize(benchmark::State& state) {
  const Tensor<float> v = random({weights}, 1);
  Tensor<float> q = Tensor<float>::empty({weights});
  kernels::UniformRule<float> rule;
  rule.levels = 16, rule.bucket_size = 256;
  const double seconds = timed(state, 2, [&] {
    kernels::uniform_quantize(Cpu{}, weights, v.data(), rule, kernels::UniformResult<float>{.values = q.data()});
  });
  rate(state, "gbytes_per_second", 8e-9 * static_cast<double>(weights), seconds);
}

/// Nearest of 16 points, and the points' gradient. The scales of the buckets are found anew, as the peer does, or kept,
/// as in training, where the weights do not change.
void quantize_to_points(benchmark::State& state, bool keep_scales) {
  constexpr Index bucket = 256, count = 16;
  const Tensor<float> v = random({weights}, 1), g = random({weights}, 2);
  Tensor<float> z = Tensor<float>::empty({weights}), q = Tensor<float>::empty({weights});
  Tensor<float> alpha = Tensor<float>::empty({weights / bucket}), beta = Tensor<float>::empty({weights / bucket});
  float points[count], gradient[count];
  for (Index j = 0; j < count; ++j) points[j] = static_cast<float>(j) / (count - 1);
  const auto scale = [&] {
    kernels::scale_buckets(Cpu{}, weights, v.data(), bucket, alpha.data(), beta.data(), z.data());
  };
  scale();
  kernels::PointsInput<float> in;
  in.n = weights, in.bucket_size = bucket, in.points = points;
  in.z = z.data(), in.alpha = alpha.data(), in.beta = beta.data();
  timed(state, 2, [&] {
    if (!keep_scales) scale();
    kernels::points_quantize<float>(Cpu{}, in, q.data(), nullptr);
    kernels::points_gradient(Cpu{}, in, g.data(), gradient, Write::set);
    benchmark::DoNotOptimize(gradient);
  });
}

void copy(benchmark::State& state) {
  const Tensor<float> from = random({weights}, 1);
  Tensor<float> to = Tensor<float>::empty({weights});
  const double seconds = timed(state, 2, [&] { copy_elements(from.data(), to.data(), weights); });
  rate(state, "gbytes_per_second", 8e-9 * static_cast<double>(weights), seconds);
}

void add_cases() {
  for (const Product& p : {Product{"gemm/256", 256, 256, 256},
                           {"gemm/512", 512, 512, 512},
                           {"gemm/1024", 1024, 1024, 1024},
                           {"gemm/2048", 2048, 2048, 2048},
                           {"gemm/76x1024x684", 76, 1024, 684},
                           {"gemm/126x256x1134", 126, 256, 1134},
                           {"gemm/148x64x1332", 148, 64, 1332},
                           {"gemm/8192x148x1332", 8192, 148, 1332},
                           {"gemm/64x2000x500", 64, 2000, 500},
                           {"gemm/1600x2000x500", 1600, 2000, 500},
                           {"gemm/1600x10000x500", 1600, 10000, 500},
                           {"gemm/128x1200x2368", 128, 1200, 2368, false, true},  // teacher's linear layer, forward
                           {"gemm/1200x2368x128", 1200, 2368, 128, true, false},  // the gradient of its weight
                           {"gemm/1024x2048x512", 1024, 2048, 512},
                           {"gemv/4096", 1, 4096, 4096, false, true}})
    gemm_case(p), openblas_case(p);
  for (const Layer& l : {Layer{"teacher", 3, 32, 76, 3},
                         {"teacher", 76, 32, 76, 3},
                         {"teacher", 76, 16, 126, 3},
                         {"teacher", 126, 16, 126, 3},
                         {"teacher", 126, 8, 148, 3},
                         {"teacher", 148, 8, 148, 3},
                         {"student", 3, 32, 75, 5},
                         {"student", 75, 32, 50, 5},
                         {"student", 50, 16, 50, 5},
                         {"student", 50, 16, 25, 5}})
    for (const Direction d : {Direction::forward, Direction::backward_data, Direction::backward_weights})
      for (const ConvMode mode : {ConvMode::fast, ConvMode::exact})
        if (mode == ConvMode::fast || l.in >= 32) conv_case(l, d, mode);  // the first layers have one algorithm
  add_case("bucket_quantize_5m", quantize);
  add_case("points_quantize_5m", [](benchmark::State& state) { quantize_to_points(state, false); });
  add_case("points_quantize_5m/scales_kept", [](benchmark::State& state) { quantize_to_points(state, true); });
  add_case("copy_5m", copy);
}

}  // namespace qdistill_bench

int main(int argc, char** argv) {
  qdistill_bench::add_cases();
  return qdistill_bench::run(argc, argv);
}
